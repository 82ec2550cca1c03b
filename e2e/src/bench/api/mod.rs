//! As much of an API server as an agent that watches needs: lists in pages and watches, as JSON over plain HTTP.
//!
//! Ours and the peer learn the same cluster from it in the same way. A real one takes minutes to be filled with ten thousand
//! pods, and its own work on the same processor would be in the figures. One thread owns the objects; connections ask it.

mod http;
mod store;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

use self::http::Request;
use self::store::{Filter, Page, Store};

pub(super) use self::store::Kind;

/// Where it listens, in the network of its node.
pub(super) const ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 6443);

/// How programs find it.
pub(super) fn kubeconfig() -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: bench\nclusters: [{{name: bench, cluster: {{server: \"http://{ADDRESS}\"}}}}]\n\
         users: [{{name: bench, user: {{}}}}]\ncontexts: [{{name: bench, context: {{cluster: bench, user: bench}}}}]\n"
    )
}

/// A server that runs until the process ends.
#[derive(Debug, Clone)]
pub(super) struct Api(Door);

/// How connections reach the owner of the objects.
#[derive(Debug, Clone)]
struct Door(Sender<Ask>);

enum Ask {
    Put(Kind, Value),
    Forget(Sender<()>),
    Get(Kind, String, String, Sender<Option<String>>),
    List(Kind, Filter, usize, usize, Sender<Page>),
    Watch(Kind, u64, Sender<String>),
}

/// What a connection sends back.
enum Answer {
    Text { status: &'static str, body: String },
    Watch(Receiver<String>),
}

impl Api {
    /// Starts it in the calling thread's network, with these objects.
    pub(super) fn start(objects: impl IntoIterator<Item = (Kind, Value)>) -> Result<Self> {
        let (sender, asks) = mpsc::channel();
        std::thread::spawn(move || own(&asks));
        let api = Self(Door(sender));
        for (kind, object) in objects {
            api.put(kind, object)?;
        }
        // Nobody is measured by how long the objects take to get in.
        api.0.asked(Ask::Forget)?;
        let listener = TcpListener::bind(ADDRESS).with_context(|| format!("listening on {ADDRESS}"))?;
        let door = api.0.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let door = door.clone();
                // A client that goes ends its connection, which is no news.
                std::thread::spawn(move || http::serve(connection, &door));
            }
        });
        ask_once()?;
        Ok(api)
    }

    /// Adds or replaces an object. Watchers hear of it at once.
    pub(super) fn put(&self, kind: Kind, object: Value) -> Result<()> {
        self.0.tell(Ask::Put(kind, object))
    }
}

/// Who asks first waits until the pages of this program are read that answer.
fn ask_once() -> Result<()> {
    let mut connection = TcpStream::connect(ADDRESS).context("asking the API server of the bench")?;
    connection.write_all(b"GET /api/v1/namespaces/none/services?labelSelector=a%3Db HTTP/1.1\r\n\r\n")?;
    connection.shutdown(Shutdown::Write)?;
    connection.read_to_end(&mut Vec::new())?;
    Ok(())
}

fn own(asks: &Receiver<Ask>) {
    let mut store = Store::default();
    for ask in asks {
        // Who asked may be gone.
        match ask {
            Ask::Put(kind, object) => store.put(kind, object),
            Ask::Forget(done) => {
                store.forget();
                let _gone = done.send(());
            }
            Ask::Get(kind, namespace, name, answer) => {
                let _gone = answer.send(store.get(kind, &namespace, &name).map(str::to_owned));
            }
            Ask::List(kind, filter, from, limit, answer) => {
                let _gone = answer.send(store.list(kind, &filter, from, limit));
            }
            Ask::Watch(kind, since, watcher) => store.watch(kind, since, watcher),
        }
    }
}

impl Door {
    fn tell(&self, ask: Ask) -> Result<()> {
        self.0.send(ask).map_err(|_| anyhow!("the API server of the bench has ended"))
    }

    fn asked<T>(&self, ask: impl FnOnce(Sender<T>) -> Ask) -> Result<T> {
        let (sender, answer) = mpsc::channel();
        self.tell(ask(sender))?;
        Ok(answer.recv()?)
    }

    fn answer(&self, request: &Request) -> Result<Answer> {
        let found = Kind::of_path(&request.path).filter(|_| request.method == "GET");
        let Some((kind, namespace, name)) = found else {
            return Ok(refusal("404 Not Found", 404, "NotFound"));
        };
        if let Some(name) = name {
            let namespace = namespace.unwrap_or_default();
            let object = self.asked(|answer| Ask::Get(kind, namespace, name, answer))?;
            return Ok(object.map_or_else(
                || refusal("404 Not Found", 404, "NotFound"),
                |body| Answer::Text { status: "200 OK", body },
            ));
        }
        if request.of("watch").is_some_and(|value| value == "true" || value == "1") {
            if request.of("sendInitialEvents") == Some("true") {
                // As servers without this feature answer; the client lists instead.
                return Ok(refusal("422 Unprocessable Entity", 422, "Invalid"));
            }
            let (watcher, lines) = mpsc::channel();
            self.tell(Ask::Watch(kind, request.number("resourceVersion").unwrap_or(0), watcher))?;
            return Ok(Answer::Watch(lines));
        }
        let number = |key| request.number(key).and_then(|number| usize::try_from(number).ok());
        let (from, limit) = (number("continue").unwrap_or(0), number("limit").filter(|limit| *limit > 0));
        let labels = request.of("labelSelector").map(Filter::labels_of).unwrap_or_default();
        let filter = Filter { namespace, labels };
        let limit = limit.unwrap_or(usize::MAX);
        let page = self.asked(|answer| Ask::List(kind, filter, from, limit, answer))?;
        Ok(Answer::Text { status: "200 OK", body: page.0 })
    }
}

fn refusal(status: &'static str, code: u16, reason: &str) -> Answer {
    let body =
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code});
    Answer::Text { status, body: body.to_string() }
}
