//! How others talk to the task that owns the index.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::super::objects::{Attachment, LearntRoute, ObjectName, Pod};
use super::super::source::SourceMessage;
use super::super::{InForce, Index, Passwords};

/// The longest time an ADD waits for its policy, all that it waits for included: most of what the plugin waits.
const ATTACH_TIMEOUT: Duration = cni_plugin::socket::ATTACH_ANSWERED;
/// The longest time that it waits for what it needs to know; the kernel must have some time left.
pub const WAITS_AT_MOST: Duration = ATTACH_TIMEOUT.saturating_sub(Duration::from_secs(2));

/// Why an attachment is refused. The plugin answers CNI error 11 (try again later).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// Nothing is known of the cluster yet.
    #[error(
        "the first complete view of the cluster has not come yet from {view}; pods can be added once it has"
    )]
    NoView {
        /// Where it is to come from.
        view: String,
    },
    /// No source has shown the pod.
    #[error("pod {pod} is not known from {view}; its policy cannot be told")]
    UnknownPod {
        /// The pod.
        pod: ObjectName,
        /// Where it was looked for.
        view: String,
    },
    /// The pod went away meanwhile.
    #[error("pod {pod} was deleted while it was being added")]
    Deleted {
        /// The pod.
        pod: ObjectName,
    },
    /// Its interface was taken away meanwhile.
    #[error("the interface of pod {pod} was taken away while it was being added")]
    Detached {
        /// The pod.
        pod: ObjectName,
    },
    /// The kernel did not take the policy.
    #[error("the policy of pod {pod} is not in the kernel: {reason}")]
    NotCommitted {
        /// The pod.
        pod: ObjectName,
        /// Why.
        reason: String,
    },
    /// It takes too long.
    #[error("the policy of pod {pod} was not in the kernel after {} s", ATTACH_TIMEOUT.as_secs())]
    TooSlow {
        /// The pod.
        pod: ObjectName,
    },
    /// The daemon ends.
    #[error("routerd is ending")]
    Ending,
}

/// An attachment that waits for its answer.
#[derive(Debug)]
pub(super) struct Attach {
    pub(super) attachment: Attachment,
    pub(super) reply: oneshot::Sender<Result<(), AttachError>>,
}

/// What is done at the moment of a look.
type Looking = dyn FnOnce(&Index) + Send;

/// A question to the index that waits for its moment.
pub(super) struct Look(pub(super) Box<Looking>);

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Look")
    }
}

/// What the task is told.
#[derive(Debug)]
pub(super) enum Input {
    Source(SourceMessage),
    Attach(Attach),
    /// Attachments of before the start, that nobody waits for.
    Restore(Vec<Attachment>),
    Detach(String, String),
    Routes(Vec<LearntRoute>),
    InForce(InForce),
    Passwords(Passwords),
    /// What the API server says of a pod that was asked for; `None` if it has no such pod.
    Looked(ObjectName, Option<Box<Pod>>),
    /// Somebody asks what the index holds.
    Look(Look),
}

/// The way to the task that owns the index. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    inputs: mpsc::Sender<Input>,
}

impl Handle {
    pub(super) fn new(inputs: mpsc::Sender<Input>) -> Self {
        Self { inputs }
    }

    /// The plugin has wired a pod: returns when what its policies say of it is in the kernel. After an error the
    /// attachment is forgotten again, as the plugin takes the interface away.
    pub async fn attach(&self, attachment: Attachment) -> Result<(), AttachError> {
        let (reply, answer) = oneshot::channel();
        let pod = attachment.pod.clone();
        let (container, interface) = (attachment.container.clone(), attachment.interface.clone());
        let sent = self.inputs.send(Input::Attach(Attach { attachment, reply })).await;
        sent.map_err(|_| AttachError::Ending)?;
        let outcome = match tokio::time::timeout(ATTACH_TIMEOUT, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(AttachError::Ending),
            Err(_) => Err(AttachError::TooSlow { pod }),
        };
        if outcome.is_err() {
            self.detach(container, interface).await;
        }
        outcome
    }

    /// The plugin has taken an interface away.
    pub async fn detach(&self, container: String, interface: String) {
        self.tell(Input::Detach(container, interface)).await;
    }

    /// Attachments that were made before the daemon started.
    pub async fn restore(&self, attachments: Vec<Attachment>) {
        self.tell(Input::Restore(attachments)).await;
    }

    /// BGP has chosen routes, or lost them (no next hops).
    pub async fn routes(&self, routes: Vec<LearntRoute>) {
        self.tell(Input::Routes(routes)).await;
    }

    /// A plane has programmed virtual addresses, or no longer has them.
    pub async fn in_force(&self, news: InForce) {
        self.tell(Input::InForce(news)).await;
    }

    /// The files of passwords say this now.
    pub async fn passwords(&self, passwords: Passwords) {
        self.tell(Input::Passwords(passwords)).await;
    }

    /// What the API server says of a pod that was asked for.
    pub(in crate::cluster) async fn looked(&self, name: ObjectName, pod: Option<Pod>) {
        self.tell(Input::Looked(name, pod.map(Box::new))).await;
    }

    /// What `look` sees in the index. Everything waits for it, so it only copies what it needs. `None` before the first
    /// complete view.
    pub async fn look<T, F>(&self, look: F) -> Option<T>
    where
        T: Send + 'static,
        F: FnOnce(&Index) -> T + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let look = Look(Box::new(move |index: &Index| {
            // Who asked may have lost patience.
            let _ = reply.send(look(index));
        }));
        self.tell(Input::Look(look)).await;
        answer.await.ok()
    }

    async fn tell(&self, input: Input) {
        // The task ends only with the daemon.
        let _ = self.inputs.send(input).await;
    }
}
