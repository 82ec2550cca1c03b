//! A look at what a plane holds, for whoever asks questions of it: on the plane's own thread, between two runs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::mpsc::Sender;

use tokio::sync::oneshot;

use super::Problem;
use super::worker::Message;
use crate::ruleset::Ruleset;

/// What a plane holds at one moment. The plane waits while it is looked at, so a look only copies what it needs.
pub struct Held<'a, K, V> {
    /// What should be in the kernel, and is as far as `problems` does not say otherwise.
    pub values: &'a BTreeMap<K, V>,
    /// What could not be done.
    pub problems: &'a [Problem],
    /// The [`Problem::item`] of a key.
    pub item: &'a dyn Fn(&K) -> Option<String>,
    /// Its part of the nft table as it was last written; `None` if the plane has none.
    pub wanted: &'a dyn Fn() -> Option<Ruleset>,
}

/// What is done at the moment of a look.
type Looking<K, V> = dyn FnOnce(&Held<'_, K, V>) + Send;

/// A look that waits for its moment.
pub(super) struct Look<K, V>(pub(super) Box<Looking<K, V>>);

impl<K, V> fmt::Debug for Look<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Look")
    }
}

/// The way to look at what a plane holds.
pub struct Window<K, V>(pub(super) Sender<Message<K, V>>);

impl<K, V> Clone for Window<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> fmt::Debug for Window<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Window")
    }
}

impl<K: Send + 'static, V: Send + 'static> Window<K, V> {
    /// What `look` sees, once everything that the plane was told before is applied. `None` if the plane has not seen the
    /// first complete view yet, or is gone.
    pub async fn look<T, F>(&self, look: F) -> Option<T>
    where
        T: Send + 'static,
        F: FnOnce(&Held<'_, K, V>) -> T + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let look = Look(Box::new(move |held: &Held<'_, K, V>| {
            // Who asked may have lost patience.
            let _ = reply.send(look(held));
        }));
        self.0.send(Message::Look(look)).ok()?;
        answer.await.ok()
    }
}
