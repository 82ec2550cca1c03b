//! The hand-shake with the daemon: an ADD returns after the pod's policy is in the kernel.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::RouterdConf;
use crate::error::{CniError, Code};
use crate::ipam::HostLocalConf;
use crate::request::{Request, Wired};
use crate::socket::{self, Attach, Client, ClientError, Detach, Reply};
use crate::undo::Undo;

/// How long DEL tries to tell the daemon. It is on the same machine; what takes longer hangs.
const TELL: Duration = Duration::from_millis(100);

/// Tells the daemon of a wired pod and waits until it says that the pod's policy is in the kernel.
pub(super) fn attach(
    request: &Request,
    conf: &RouterdConf,
    wired: &Wired,
    undo: &mut Undo,
) -> Result<(), CniError> {
    let (forget, conf_of_undo) =
        (detach_message(&request.env.container_id, &request.env.ifname), conf.clone());
    undo.push("the daemon's entry", move || {
        // A daemon that cannot be told has no entry, or sees that the device is gone.
        drop(Client::new(&conf_of_undo.socket).tell(&forget, TELL));
        Ok(())
    });
    let message = socket::Request::Attach(attach_message(request, wired));
    let client = Client::new(&conf.socket);
    let answer = if conf.required {
        client.ask(&message, conf.timeout, conf.away)
    } else {
        client.ask_once(&message, conf.timeout)
    };
    match answer {
        Ok(Reply::Committed) => Ok(()),
        Ok(Reply::Error(error)) => Err(CniError::new(Code(error.code), error.msg).context("routerd")),
        Ok(other) => Err(CniError::new(Code::PROTOCOL, format!("routerd answered {other:?} to attach"))
            .with_details(SAME_RELEASE)),
        Err(ClientError::Unreachable { .. } | ClientError::Timeout { .. }) if !conf.required => Ok(()),
        Err(error) => Err(client_error(&error)),
    }
}

const SAME_RELEASE: &str =
    "plugin and daemon must be of the same release; restart the routerd pod of this node";

/// The CNI error for a daemon that gave no usable answer.
pub(super) fn client_error(error: &ClientError) -> CniError {
    let (code, details) = match error {
        ClientError::Unreachable { .. } | ClientError::Timeout { .. } => (
            Code::TRY_AGAIN,
            "a pod is only started when its network policy is in force; look at the routerd pod of this node, \
             it will be tried again",
        ),
        ClientError::Untrusted { .. } => (Code::PROTOCOL, "another program listens there; stop it"),
        // One of them is being replaced: that passes.
        other if other.is_version() => (Code::TRY_AGAIN, SAME_RELEASE),
        ClientError::Protocol { .. } => (Code::PROTOCOL, SAME_RELEASE),
    };
    CniError::new(code, error.to_string()).with_details(details)
}

/// Tells the daemon that an attachment goes away. It never waits for an answer, and its absence is no failure.
pub(super) fn detach(conf: &RouterdConf, container_id: &str, ifname: &str) {
    drop(Client::new(&conf.socket).tell(&detach_message(container_id, ifname), TELL));
}

/// The daemon would serve an attach.
pub(super) fn status(conf: &RouterdConf) -> Result<(), CniError> {
    let not_ready = |msg: String| Err(CniError::new(Code::NOT_READY, msg));
    match Client::new(&conf.socket).ask_once(&socket::Request::Status, Duration::from_secs(1)) {
        Ok(Reply::Status { ready: true, .. }) => Ok(()),
        Ok(Reply::Status { reason, .. }) => not_ready(format!("routerd is not ready: {reason}")),
        Ok(other) => not_ready(format!("routerd answered {other:?} to status")),
        Err(error) => not_ready(error.to_string()),
    }
}

fn detach_message(container_id: &str, ifname: &str) -> socket::Request {
    socket::Request::Detach(Detach {
        container_id: container_id.to_owned(),
        interface: ifname.to_owned(),
        at: socket::moment(),
    })
}

fn attach_message(request: &Request, wired: &Wired) -> Attach {
    let pod = &request.args.pod;
    Attach {
        network: request.conf.name.clone(),
        pod_namespace: pod.namespace.clone(),
        pod_name: pod.name.clone(),
        pod_uid: pod.uid.clone(),
        container_id: request.env.container_id.clone(),
        interface: request.env.ifname.clone(),
        netns: request.env.netns.clone().unwrap_or_default(),
        host_interface: wired.host_interface.clone(),
        addresses: wired.result.ips.iter().map(|ip| ip.address.address).collect(),
        mac: wired.mac.to_string(),
        leases: lease_folder(request),
        started: request.env.started,
    }
}

/// Where the daemon can see whose the addresses are; nowhere if another plugin gave them.
fn lease_folder(request: &Request) -> PathBuf {
    let ipam = request.conf.fields().object("ipam").ok().flatten();
    let of = ipam.and_then(|ipam| ipam.text_or_empty("type").ok().map(str::to_owned));
    if of.as_deref() == Some("host-local") { HostLocalConf::folder(&request.conf) } else { PathBuf::new() }
}
