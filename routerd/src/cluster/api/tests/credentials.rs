//! Credentials that are wrong, and those that change.

use std::fs;
use std::path::Path;

use super::*;

#[tokio::test]
async fn credentials_that_cannot_be_read_are_named_by_file() {
    let (sender, mut messages) = mpsc::channel(64);
    let (_, ends) = Task::new(settings());
    let server = ApiServer { kubeconfig: Some("/nonexistent/kubeconfig".into()), ..ApiServer::default() };
    drop(spawn(server, sender, ends.handle, Writers::default()));
    let message = messages.recv().await.unwrap();
    assert!(says(&message, "API server", "/nonexistent/kubeconfig"), "{message:?}");
}

/// A kubeconfig whose user and cluster have these fields more.
fn kubeconfig(address: SocketAddr, user: &str, cluster: &str) -> String {
    format!(
        "apiVersion: v1
kind: Config
current-context: a
contexts: [{{name: a, context: {{cluster: a, user: a}}}}]
clusters: [{{name: a, cluster: {{server: \"http://{address}\"{cluster}}}}}]
users: [{{name: a, user: {{{user}}}}}]
"
    )
}

/// A world whose source has the credentials of a kubeconfig.
fn world_of(kubeconfig: &Path, address: SocketAddr) -> World {
    let (content, _) = published::channel(Content::default());
    let (sender, messages) = mpsc::channel(64);
    let server = ApiServer { kubeconfig: Some(kubeconfig.to_owned()), ..ApiServer::default() };
    let (_, ends) = Task::new(settings());
    drop(spawn_patient(server, sender, ends.handle, Writers::default(), Duration::from_secs(2)));
    World { content, messages, address }
}

impl World {
    /// From now on the server takes only this token, and wants the pods to be listed anew.
    fn takes_only(&self, token: &str) {
        self.content.send_modify(|content| content.token = Some(token.to_owned()));
        let gone = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "too old", "reason": "Expired", "code": 410});
        self.event("ERROR", &gone);
    }
}

/// Rotates the token at the server, then by `rotate`.
async fn goes_on_with_a_new_token(mut world: World, rotate: impl FnOnce()) {
    world.content.send_modify(|content| content.token = Some("old".into()));
    world.listen().await;
    world.until(|message| is_complete(message, Kind::Pod, 0)).await;
    world.takes_only("new");
    world.until(|message| says(message, "API server, watch of Pod", "credentials refused")).await;
    rotate();
    world.until(|message| is_complete(message, Kind::Pod, 0)).await;
}

#[tokio::test]
async fn a_kubeconfig_that_is_written_anew_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let (path, address) = (folder.path().join("kubeconfig"), free_address().await);
    fs::write(&path, kubeconfig(address, "token: old", "")).unwrap();
    let new = kubeconfig(address, "token: new", "");
    goes_on_with_a_new_token(world_of(&path, address), || fs::write(&path, new).unwrap()).await;
}

#[tokio::test]
async fn a_token_file_may_end_with_a_line_feed_and_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let (path, address) = (folder.path().join("kubeconfig"), free_address().await);
    let token = folder.path().join("token");
    fs::write(&token, "old\n").unwrap();
    fs::write(&path, kubeconfig(address, "tokenFile: token", "")).unwrap();
    goes_on_with_a_new_token(world_of(&path, address), || fs::write(&token, "new\n").unwrap()).await;
}

#[tokio::test]
async fn a_proxy_of_the_kubeconfig_is_named_as_what_is_not_supported() {
    let folder = tempfile::tempdir().unwrap();
    let (path, address) = (folder.path().join("kubeconfig"), free_address().await);
    fs::write(&path, kubeconfig(address, "token: t", ", proxy-url: \"http://192.0.2.1:3128\"")).unwrap();
    let mut world = world_of(&path, address);
    let text = "names the proxy http://192.0.2.1:3128, and proxies are not supported";
    world.until(|message| says(message, "API server", text)).await;
}
