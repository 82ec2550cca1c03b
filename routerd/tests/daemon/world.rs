//! A daemon in a namespace of its own, with a folder of manifests.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use cni_plugin::socket::{Attach, Client, ClientError, Detach, Reply, Request, moment};
use kernel::testing::TestNs;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const ROUTERD: &str = env!("CARGO_BIN_EXE_routerd");
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) const NODE: &str = "apiVersion: v1
kind: Node
metadata: {name: node1}
spec: {podCIDR: 10.244.1.0/24}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
";

/// Pods of `node1` by name, each with the label `app` that goes with it.
pub(crate) fn pods<'a>(apps: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pod = |(name, app)| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {app}}}}}\nspec: {{nodeName: node1}}\n"
        )
    };
    apps.into_iter().map(pod).collect()
}

/// A pod of a node, with the label `app` and the address of its status.
pub(crate) fn placed(name: &str, app: &str, node: &str, address: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {app}}}}}\nspec: {{nodeName: {node}}}\nstatus: {{podIP: {address}, podIPs: [{{ip: {address}}}]}}\n"
    )
}

/// A policy with this spec in the flow style of YAML.
pub(crate) fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
    )
}

/// Namespace, folders, and at most one daemon. All of it goes when this is dropped.
pub(crate) struct World {
    pub(crate) namespace: TestNs,
    folder: TempDir,
    daemon: Option<Child>,
}

impl World {
    /// Everything but the daemon. The folder of manifests is there, with the node in it.
    pub(crate) fn new(purpose: &str) -> Self {
        let namespace = TestNs::new(purpose);
        namespace.run("ip", &["link", "add", "up0", "type", "bridge"]);
        namespace.run("ip", &["link", "set", "up0", "up"]);
        namespace.run("ip", &["address", "add", "192.0.2.1/24", "dev", "up0"]);
        let world = Self { namespace, folder: tempfile::tempdir().unwrap(), daemon: None };
        fs::create_dir(world.path("manifests")).unwrap();
        world.write("node.yaml", NODE);
        fs::write(world.path("cni.conflist.template"), include_str!("../../../cni/10-kuberouter.conflist"))
            .unwrap();
        world
    }

    /// The same with a running daemon that has a complete view.
    pub(crate) fn running(purpose: &str) -> Self {
        let mut world = Self::new(purpose);
        world.start();
        world.until("a complete view", |status| status["cluster"]["complete"] == true);
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of the folder of manifests.
    pub(crate) fn write(&self, name: &str, text: &str) {
        self.place().write(name, text);
    }

    /// What a thread needs to change the world.
    pub(crate) fn place(&self) -> Place {
        Place { folder: self.folder.path().to_owned() }
    }

    pub(crate) fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Starts the daemon with more flags.
    pub(crate) fn start_with(&mut self, flags: &[&str]) {
        let mut command = self.command();
        self.start_as(command.args(flags));
    }

    /// Starts the daemon by a command that becomes it.
    pub(crate) fn start_as(&mut self, command: &mut Command) {
        assert!(self.daemon.is_none());
        self.daemon = Some(command.stderr(Stdio::inherit()).spawn().unwrap());
    }

    /// The command of a daemon of this world.
    pub(crate) fn command(&self) -> Command {
        let argument = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
        let mut command = self.namespace.command(ROUTERD);
        command
            .arg(argument("manifests", &self.path("manifests")))
            .arg(argument("run-dir", &self.path("run")))
            .args(["--hostname-override=node1", "--metrics-port=20245"])
            .env("KUBE_ROUTER_CNI_CONF_FILE", self.path("cni.conflist"));
        command
    }

    /// Ends the daemon with `signal` and returns how it ended.
    pub(crate) fn end(&mut self, signal: Signal) -> ExitStatus {
        let mut daemon = self.daemon.take().unwrap();
        kill(Pid::from_raw(daemon.id().try_into().unwrap()), signal).unwrap();
        daemon.wait().unwrap()
    }

    /// Stops the daemon, or lets it go on. When it returns it stands still, with all its threads.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.daemon.as_ref().unwrap().id().try_into().unwrap());
        kill(pid, signal).unwrap();
        if signal == Signal::SIGSTOP {
            assert_eq!(waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap(), WaitStatus::Stopped(pid, signal));
        }
    }

    /// What `routerd status --json` prints; `None` while nobody answers.
    pub(crate) fn status(&self) -> Option<Value> {
        let output = Command::new(ROUTERD)
            .args(["status", "--json", "--run-dir"])
            .arg(self.path("run"))
            .output()
            .unwrap();
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// Waits until the status is as wanted.
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = None;
        wait(&format!("{what} in the status"), || {
            last = self.status();
            last.clone().filter(|status| wanted(status))
        })
    }

    /// Waits until what the start has set in motion is over: for a while no plane has written anything.
    pub(crate) fn at_rest(&self) -> Value {
        wait("rest", || {
            let before = self.status()?;
            std::thread::sleep(Duration::from_secs(1));
            let after = self.status()?;
            (written(&before) == written(&after)).then_some(after)
        })
    }

    /// Waits until what `nft` prints of our table is as wanted.
    pub(crate) fn until_rules(&self, what: &str, wanted: impl Fn(&str) -> bool) {
        wait(what, || wanted(&self.rules()).then_some(()));
    }

    /// What `nft` prints of the namespace, without counters.
    pub(crate) fn rules(&self) -> String {
        self.namespace.run("nft", &["-s", "list", "ruleset"])
    }

    /// The answer to a GET of this path: status line and body.
    pub(crate) fn get(&self, port: u16, path: &str) -> (u16, String) {
        let answer = self.namespace.run_in(|| {
            let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (code, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    /// Tells the daemon of a pod's interface, as the plugin does.
    pub(crate) fn attach(&self, pod: &str, address: &str) -> Reply {
        self.place().try_attach(pod, address).unwrap()
    }
}

/// The folders of a world.
pub(crate) struct Place {
    folder: PathBuf,
}

impl Place {
    /// In one step: whoever reads the file sees the old or the new one.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let new = self.folder.join(format!("new-{name}"));
        fs::write(&new, text).unwrap();
        fs::rename(new, self.folder.join("manifests").join(name)).unwrap();
    }

    fn client(&self) -> Client {
        Client::new(self.folder.join("run").join("cni.sock"))
    }

    /// Takes an attachment away, if there is a daemon.
    pub(crate) fn try_detach(&self, pod: &str) -> Result<Reply, ClientError> {
        let (container_id, interface) = (format!("container-of-{pod}"), "eth0".into());
        let detach = Detach { container_id, interface, at: moment() };
        self.client().ask_once(&Request::Detach(detach), PATIENCE)
    }

    /// Tells a daemon, if there is one soon, of a pod's interface.
    pub(crate) fn try_attach(&self, pod: &str, address: &str) -> Result<Reply, ClientError> {
        let attach = Attach {
            network: "kubernetes".into(),
            pod_namespace: "default".into(),
            pod_name: pod.into(),
            container_id: format!("container-of-{pod}"),
            interface: "eth0".into(),
            // A device that exists; a restarted daemon forgets attachments without.
            host_interface: "up0".into(),
            addresses: vec![address.parse().unwrap()],
            started: moment(),
            ..Attach::default()
        };
        self.client().ask(&Request::Attach(attach), PATIENCE, PATIENCE)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// What each plane has written.
pub(crate) fn written(status: &Value) -> Vec<u64> {
    let planes = status["planes"].as_array().unwrap();
    planes.iter().map(|plane| plane["writes"].as_u64().unwrap()).collect()
}

/// Tries until there is something; fails the test when it takes too long.
pub(crate) fn wait<T>(what: &str, mut tries: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = tries() {
            return found;
        }
        assert!(Instant::now() < end, "no {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
