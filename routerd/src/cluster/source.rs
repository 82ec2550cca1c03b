//! What a source tells the task that owns the index.

use super::{Event, Kind, Object};

/// A message of a source.
#[derive(Debug)]
pub enum SourceMessage {
    /// The complete list of the objects of a kind; what is not in it is gone. The first one of every kind makes the
    /// view of the cluster complete.
    Complete(Kind, Vec<Object>),
    /// A few objects that a new node cannot do without, before the first complete list of their kinds. They are no part of
    /// the view: planes may add for them, and nothing else.
    Early(Vec<Object>),
    /// Single objects that came, changed or went.
    Events(Vec<Event>),
    /// What is wrong with an item (an object, a file, a connection); an empty list says that nothing is any more.
    Problems {
        /// The item, as `Service default/web`.
        item: String,
        /// What is wrong with it.
        messages: Vec<String>,
    },
    /// Everything that is wrong, from a source that knows it all at once; replaces what it said before.
    AllProblems(Vec<(String, String)>),
}
