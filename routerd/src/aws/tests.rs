//! Against a stand-in for the metadata service and the API.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::runtime::Runtime;

use super::*;
use crate::runner::{Apply as _, Scope};

const ROLE: &str = r#"{"AccessKeyId":"AKIDEXAMPLE","SecretAccessKey":"secret","Token":"session"}"#;

/// What is answered to a request: status and text.
type Answers = fn(&str) -> (u16, &'static str);

fn request(stream: &mut TcpStream) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).unwrap_or(0);
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |text| text.parse().unwrap());
        if count == 0 || (text.contains("\r\n\r\n") && body.len() >= length) {
            return text;
        }
    }
}

fn stand_in(answers: Answers) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (heard, requests): (Sender<String>, _) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let text = request(&mut stream);
            let (status, body) = answers(text.lines().next().unwrap_or_default());
            // Known before the asker goes on.
            if heard.send(text).is_err() {
                return;
            }
            let _ = write!(
                stream,
                "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    (url, requests)
}

fn good(line: &str) -> (u16, &'static str) {
    match line.split(' ').nth(1).unwrap_or_default() {
        "/latest/api/token" => (200, "a-session"),
        "/latest/meta-data/placement/region" => (200, "eu-west-1"),
        "/latest/meta-data/iam/security-credentials/" => (200, "nodes"),
        "/latest/meta-data/iam/security-credentials/nodes" => (200, ROLE),
        "/" => (200, "<return>true</return>"),
        _ => (404, "not found"),
    }
}

fn applier(runtime: &Runtime, url: &str) -> Applier {
    Applier::new(runtime.handle().clone(), Endpoints { metadata: url.to_owned(), ec2: Some(url.to_owned()) })
}

fn desired() -> BTreeMap<(), InstanceId> {
    BTreeMap::from([((), InstanceId::of_provider("aws:///eu-west-1a/i-0123456789abcdef0").unwrap())])
}

#[test]
fn only_an_instance_of_aws_is_one() {
    let known = |id| InstanceId::of_provider(id).is_some();
    assert!(known("aws:///eu-west-1a/i-0123456789abcdef0"));
    for other in
        ["", "gce://p/z/i-1", "aws:///eu-west-1a/fargate-ip-10-0-0-1", "aws:///z/i-", "aws:///z/i-1&Action=X"]
    {
        assert!(!known(other), "{other}");
    }
}

#[test]
fn the_check_of_the_nodes_own_instance_is_switched_off_once_by_a_signed_request() {
    let runtime = Runtime::new().unwrap();
    let (url, requests) = stand_in(good);
    let mut applier = applier(&runtime, &url);
    let report = applier.apply(&desired(), &Scope::Everything);
    assert_eq!(report.problems, []);
    let heard: Vec<String> = requests.try_iter().collect();
    assert_eq!(heard.len(), 5, "{heard:?}");
    assert!(heard[0].starts_with("PUT /latest/api/token") && heard[0].contains("ttl-seconds: 60"));
    assert!(heard[1..4].iter().all(|text| text.contains("x-aws-ec2-metadata-token: a-session")));
    let asked = &heard[4];
    assert!(asked.ends_with("Action=ModifyInstanceAttribute&InstanceId=i-0123456789abcdef0&SourceDestCheck.Value=false&Version=2016-11-15"));
    for part in [
        "/eu-west-1/ec2/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=",
        "x-amz-security-token: session",
    ] {
        assert!(asked.contains(part), "{asked}");
    }
    assert_eq!(applier.apply(&desired(), &Scope::Everything).problems, []);
    assert_eq!(requests.try_iter().count(), 0, "once is enough");
}

#[test]
fn what_is_refused_or_away_is_a_problem_of_the_instance_and_says_what_to_do() {
    let runtime = Runtime::new().unwrap();
    let problem = |answers: Answers| {
        let (url, _requests) = stand_in(answers);
        applier(&runtime, &url).apply(&desired(), &Scope::Everything).problems.remove(0)
    };
    let forbidden =
        problem(|line| if line.starts_with("POST") { (403, "UnauthorizedOperation") } else { good(line) });
    assert!(!forbidden.retry && forbidden.message.contains("ec2:ModifyInstanceAttribute"), "{forbidden:?}");
    assert!(forbidden.message.contains("UnauthorizedOperation") && forbidden.item != NAME);
    let broken = problem(|line| if line.starts_with("POST") { (503, "busy") } else { good(line) });
    assert!(broken.retry && broken.message.contains("503"), "{broken:?}");
    let bare = problem(|line| if line.contains("security-credentials") { (404, "") } else { good(line) });
    assert!(bare.message.contains("no role"), "{bare:?}");
    let nonsense = problem(|line| if line.contains("credentials/nodes") { (200, "{") } else { good(line) });
    assert!(nonsense.message.contains("role nodes"), "{nonsense:?}");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = applier(&runtime, &format!("http://{closed}")).apply(&desired(), &Scope::Everything);
    assert!(away.problems[0].retry && away.problems[0].message.contains("metadata"), "{away:?}");
}
