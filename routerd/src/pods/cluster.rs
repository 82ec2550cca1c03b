//! The cluster as the plugin's socket sees it: who commits policies, and if that works.

use tokio::sync::watch;

use super::Pods;
use super::refusal::Refusal;
use crate::cluster::objects::Attachment;
use crate::cluster::status::ClusterStatus;
use crate::cluster::task::Handle;
use crate::runner::Status;

/// Who is asked if an attach would be served, apart from the socket itself.
#[derive(Debug, Clone)]
pub enum Gate {
    /// The plane that commits policies.
    Plane(watch::Receiver<Status>),
    /// It could not be started.
    Closed,
    /// Policies are not asked for.
    Open,
}

/// The way to the cluster task, and what is published of the work that an attach waits for.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The cluster task.
    pub handle: Handle,
    /// What it says of its view.
    pub view: watch::Receiver<ClusterStatus>,
    /// Who commits.
    pub gate: Gate,
}

impl Pods for Cluster {
    async fn attach(&self, attachment: Attachment) -> Result<(), Refusal> {
        self.handle.attach(attachment).await.map_err(Refusal::from)
    }

    async fn detach(&self, container: String, interface: String) {
        self.handle.detach(container, interface).await;
    }

    async fn restore(&self, attachments: Vec<Attachment>) {
        self.handle.restore(attachments).await;
    }

    fn ready(&self) -> Result<(), String> {
        let view = self.view.borrow();
        if !view.complete {
            return Err(format!(
                "the first complete view of the cluster has not come yet from {}",
                view.source
            ));
        }
        match &self.gate {
            Gate::Open => Ok(()),
            Gate::Closed => Err("the policy plane could not be started".to_owned()),
            Gate::Plane(status) => plane_ready(&status.borrow()),
        }
    }
}

fn plane_ready(status: &Status) -> Result<(), String> {
    if !status.synced {
        return Err(format!("{}: the first sync is under way", status.name));
    }
    let whole = status.problems.iter().find(|problem| problem.item == status.name);
    whole.map_or(Ok(()), |problem| Err(format!("{}: {}", status.name, problem.message)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::Problem;

    #[test]
    fn a_plane_is_ready_once_it_has_synced_and_as_long_as_it_works_as_a_whole() {
        let mut status = Status { name: "policy", ..Status::default() };
        assert!(plane_ready(&status).unwrap_err().contains("first sync"));
        status.synced = true;
        let problem = |item: &str| Problem { item: item.into(), message: "refused".into(), retry: true };
        status.problems = vec![problem("NetworkPolicy a/b")];
        assert_eq!(plane_ready(&status), Ok(()), "one policy's trouble is not the node's");
        status.problems.push(problem("policy"));
        assert_eq!(plane_ready(&status), Err("policy: refused".into()));
    }
}
