//! nf_tables: rule sets as values, committed whole or not at all, and read back to compare.
//!
//! - A [`Transaction`] is an ordered list of operations on [`Table`]s, [`Chain`]s, [`Rule`]s, [`Set`]s (sets, maps and
//!   verdict maps) and [`Element`]s. [`Nft::commit`] sends it as one batch. If the kernel refuses it, the
//!   [`CommitError`] names the operation, and of a bulk of elements the very element.
//! - [`Nft`]'s `list_…` functions give the same values back, so that what is there can be compared with what should be.
//! - The encoding is our own, over [`crate::netlink`]: no `nft` program and no C library.
//!
//! Elements of one operation may be many: they are spread over as many messages as they need, and the socket's buffers
//! grow with the batch (which needs CAP_NET_ADMIN).

mod batch;
mod chain;
mod connection;
mod datum;
mod element;
mod expression;
mod field;
mod identity;
mod list;
mod lookup;
mod name;
mod probe;
mod register;
mod rule;
mod set;
mod state;
mod statement;
mod table;
mod transaction;
mod userdata;
mod verdict;
mod watch;
mod wire;

pub use chain::{BaseChain, Chain, ChainType, Hook, Policy, priority};
pub use connection::{CommitError, Nft};
pub use datum::{DataType, Datum, Key};
pub use element::{Data, Element, Span};
pub use expression::kinds::{
    Comparison, CtDirection, CtKey, CtState, CtStatus, FibFlags, FibResult, MetaKey, NatFlags, NatKind,
    PayloadBase, RouteKey, TimeUnit, Unreachable, address_type,
};
pub use expression::{Expression, LogTarget, Reject};
pub use field::{Field, NFPROTO_IP4, NFPROTO_IP6};
pub use identity::Identity;
pub use list::{ListedChain, ListedRule, ListedSet, ListedTable};
pub use name::{ChainName, SetName, TableFamily, TableName};
pub use register::Register;
pub use rule::Rule;
pub use set::{Set, SetData, Shape};
pub use table::Table;
pub use transaction::{Operation, Position, Removal, Transaction};
pub use verdict::Verdict;
pub use watch::{Change, Watch};
