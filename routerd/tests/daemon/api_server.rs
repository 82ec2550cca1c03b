//! The daemon and how it may reach an API server.

use std::fs;

use crate::world::{ROUTERD, World};

/// The certificate of an authority that has signed nothing.
const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----
MIIBhjCCASugAwIBAgIUZt/B46tH3fsC7ECqfNZ5ieE9MNUwCgYIKoZIzj0EAwIw
FzEVMBMGA1UEAwwMY2Egb2YgYSB0ZXN0MCAXDTI2MTEyMjEwMzg0MloYDzIxMjYx
MDI5MTAzODQyWjAXMRUwEwYDVQQDDAxjYSBvZiBhIHRlc3QwWTATBgcqhkjOPQIB
BggqhkjOPQMBBwNCAARzxhtW7KRXBSCkfePD+3Y/AF9fUel/glLEzczi0oUTF1kF
zd5Xsyr9YNcwTsLgUEQJLuBBT8CBRTWU27T9HsR7o1MwUTAdBgNVHQ4EFgQUVCVN
2qXtpTXcSoOTQqwaNRyA+SUwHwYDVR0jBBgwFoAUVCVN2qXtpTXcSoOTQqwaNRyA
+SUwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEAxeAgncjmKbRE
jcD0nyD62yGuQiNe2i0/0eLGQeyCjC8CIQD4DtT8aY5pQgeNPp0F6PzSb5qWEzuf
TMUxBquiVALzaQ==
-----END CERTIFICATE-----
";

const UNVERIFIED: &str = "apiVersion: v1
kind: Config
current-context: a
contexts: [{name: a, context: {cluster: a, user: a}}]
clusters: [{name: a, cluster: {server: \"https://127.0.0.1:1\", insecure-skip-tls-verify: true}}]
users: [{name: a, user: {token: x}}]
";

/// Starts the daemon on a machine without certificates of the system and waits until it has tried to connect. Nobody listens
/// there, but that is only found out by who has come so far.
fn tries_to_connect(world: &mut World, script: &str) {
    let run_dir = world.path("run");
    let mut command = world.namespace.command("unshare");
    command
        .args(["--mount", "sh", "-ec", script])
        .env("ROUTERD", format!("{ROUTERD} --run-dir={} --hostname-override=node1", run_dir.display()))
        .env("FOLDER", world.path("."))
        .envs([("SSL_CERT_FILE", "/nonexistent"), ("SSL_CERT_DIR", "/nonexistent")])
        // It is for others.
        .env("HTTPS_PROXY", "http://192.0.2.99:3128");
    world.start_as(&mut command);
    world.until("a refused connection", |status| {
        status["cluster"]["problems"].to_string().contains("Connection refused")
    });
}

#[test]
fn a_server_that_is_not_to_be_verified_needs_no_certificates_of_the_system() {
    let mut world = World::new("api");
    fs::write(world.path("kubeconfig"), UNVERIFIED).unwrap();
    tries_to_connect(&mut world, "exec $ROUTERD --kubeconfig=$FOLDER/kubeconfig");
}

#[test]
fn a_master_of_the_service_accounts_authority_needs_no_certificates_of_the_system() {
    let mut world = World::new("api");
    fs::write(world.path("ca.crt"), AUTHORITY).unwrap();
    tries_to_connect(
        &mut world,
        "mount -t tmpfs none /run
        mkdir -p /var/run/secrets/kubernetes.io/serviceaccount
        cp $FOLDER/ca.crt /var/run/secrets/kubernetes.io/serviceaccount
        exec $ROUTERD --master=https://127.0.0.1:1",
    );
}
