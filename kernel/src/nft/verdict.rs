//! What becomes of a packet.

use std::fmt;

use super::wire::data;
use crate::netlink::{AttributeReader, Attributes};

/// A verdict (`enum nft_verdicts`, `NF_ACCEPT`, `NF_DROP`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Let it pass this hook; base chains of a higher priority number still judge it.
    Accept,
    /// Throw it away.
    Drop,
    /// Go on with the next rule.
    Continue,
    /// Go back to the chain that jumped here.
    Return,
    /// Evaluate a chain of the same table and come back.
    Jump(String),
    /// Evaluate a chain of the same table and do not come back.
    Goto(String),
}

impl Verdict {
    fn code(&self) -> i32 {
        match self {
            Verdict::Drop => 0,
            Verdict::Accept => 1,
            Verdict::Continue => -1,
            Verdict::Jump(_) => -3,
            Verdict::Goto(_) => -4,
            Verdict::Return => -5,
        }
    }

    /// The chain it goes to.
    pub fn chain(&self) -> Option<&str> {
        match self {
            Verdict::Jump(chain) | Verdict::Goto(chain) => Some(chain),
            _ => None,
        }
    }

    /// Writes the verdict as the content of `NFTA_DATA_*` under attribute `kind`.
    pub(super) fn write(&self, out: &mut Attributes, kind: u16) {
        out.nested(kind, |out| {
            out.nested(data::VERDICT, |out| {
                out.u32_be(data::VERDICT_CODE, self.code().cast_unsigned());
                if let Some(chain) = self.chain() {
                    out.string(data::VERDICT_CHAIN, chain);
                }
            });
        });
    }

    /// Reads the attributes of `NFTA_DATA_VERDICT`; `None` for a verdict this library does not know, as `queue`.
    pub(super) fn read(verdict: &AttributeReader<'_>) -> Option<Self> {
        let code = verdict.find(data::VERDICT_CODE)?.u32_be().ok()?.cast_signed();
        let chain = || verdict.find(data::VERDICT_CHAIN).map(|chain| chain.string());
        Some(match code {
            0 => Verdict::Drop,
            1 => Verdict::Accept,
            -1 => Verdict::Continue,
            -3 => Verdict::Jump(chain()?),
            -4 => Verdict::Goto(chain()?),
            -5 => Verdict::Return,
            _ => return None,
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accept => f.write_str("accept"),
            Verdict::Drop => f.write_str("drop"),
            Verdict::Continue => f.write_str("continue"),
            Verdict::Return => f.write_str("return"),
            Verdict::Jump(chain) => write!(f, "jump {chain}"),
            Verdict::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}
