//! What a source tells the task that owns the index.

use std::convert::Infallible;

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{Event, Kind, Object};

/// A message of a source.
#[derive(Debug)]
pub enum SourceMessage {
    /// The complete list of the objects of a kind; what is not in it is gone. The first one of every kind makes the
    /// view of the cluster complete.
    Complete(Kind, Vec<Object>),
    /// A few objects that a new node cannot do without, before the first complete list of their kinds. They are no part of
    /// the view: planes may add for them, and nothing else. Each plane that does has the hold until it is done.
    Early(Vec<Object>, Hold),
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

/// Somebody still works on something. It is over when this and all its clones are dropped, however that comes.
#[derive(Debug, Clone)]
pub struct Hold {
    _sender: Sender<Infallible>,
}

/// Who waits for the end of a [`Hold`].
#[derive(Debug)]
pub struct Release(Receiver<Infallible>);

/// A hold, and how to wait for its end.
pub fn hold() -> (Hold, Release) {
    let (sender, receiver) = channel(1);
    (Hold { _sender: sender }, Release(receiver))
}

impl Release {
    /// Returns when nobody has the hold any more.
    pub async fn wait(mut self) {
        // Nothing is ever sent, so this is the end of all senders.
        let _none = self.0.recv().await;
    }
}
