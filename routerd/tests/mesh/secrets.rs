//! Passwords of external peers that are mounted as a Secret.

use crate::external::{Bird, VIP, objects, service};
use crate::lab::Lab;

/// The password in the annotations, in base64.
const IN_ANNOTATION: &str = "password: czNjcmV0";

/// BIRD's password for the first node's session is another one from now on; it begins anew.
fn other_password(bird: &Bird, secret: &str) {
    bird.configure(|text| text.replacen("\"s3cret\"", &format!("\"{secret}\""), 1));
}

#[test]
fn a_password_of_a_mounted_secret_is_changed_live_and_other_sessions_stay() {
    let mut lab = Lab::new(2);
    let secrets = tempfile::tempdir().unwrap();
    let write = |secret: &str| {
        std::fs::write(secrets.path().join(".new"), secret).unwrap();
        std::fs::rename(secrets.path().join(".new"), secrets.path().join("tor")).unwrap();
    };
    write("s3cret\n");
    let flag = format!("--bgp-password-dir={}", secrets.path().display());
    lab.nodes[0].flags = vec!["--strict-external-ip-validation=false", flag.leak()];
    for node in &mut lab.nodes {
        node.start();
    }
    let bird = Bird::start(&lab, "on");
    // The first node has it from the Secret, the second one from its annotation.
    let objects = objects(&lab).replacen(IN_ANNOTATION, "passwordkey: tor", 1);
    lab.tell(&(objects.clone() + &service(1, true)));
    let up = |bird: &Bird| bird.ask("show protocols").matches("Established").count() == 2;
    bird.until("both sessions", up);
    let session = |number: usize| {
        let peers = lab.nodes[number].status()["bgp"]["peers"].clone();
        let peer = peers.as_array().unwrap().iter().find(|peer| peer["asn"] == 65001).cloned();
        peer.map(|peer| (peer["established"].as_u64().unwrap(), peer["lost"].as_u64().unwrap()))
    };
    bird.until("the Service's address", |bird| bird.ways() == [1]);
    let mesh = lab.nodes[0].asks_daemon(&["bgp", "neighbors"]);
    assert!(mesh.contains("192.0.2.2 "), "{mesh}");
    write("other");
    other_password(&bird, "other");
    bird.until("the session with the other password", |bird| {
        up(bird) && session(0).is_some_and(|(established, _)| established >= 2)
    });
    bird.until("its routes", |bird| bird.ways() == [1]);
    assert_eq!(session(1), Some((1, 0)), "the other session was not touched");
    // Taken away: no session without it, and the others stay.
    std::fs::remove_file(secrets.path().join("tor")).unwrap();
    bird.until("no session without the password", |bird| {
        !bird.ask("show protocols n1").contains("Established")
    });
    bird.until("the reason in the status", |_| {
        lab.nodes[0].status().to_string().contains("no password \\\"tor\\\"")
    });
    assert!(bird.ask("show protocols n2").contains("Established"), "{VIP}: {}", bird.story());
    assert!(!lab.nodes[0].story().contains("s3cret"));
}
