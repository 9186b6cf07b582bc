//! Every command and page over HTTP, through gateway and agent, on the sample cluster.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pipeops_agent::tasks::Tasks;
use serde_json::Value;

use super::{Program, agent};
use crate::gateway::rig::tls;
use crate::support::soon;

/// A demo that runs until this is dropped.
struct Demo {
    _program: Program,
    address: SocketAddr,
    ca_pem: String,
    authorization: String,
    tasks: Tasks,
}

/// An answer, read until there was enough of it.
struct Got {
    status: StatusCode,
    text: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    /// The values of the events of this name.
    fn events(&self, name: &str) -> Vec<Value> {
        let json = self.json();
        let events = json["events"].as_array().expect("events").iter();
        events
            .filter_map(|event| event.get(name).cloned())
            .collect()
    }
}

impl Demo {
    fn start() -> Self {
        let child = agent().args(["demo", "--output", "json"]).spawn();
        let mut program = Program(child.expect("it starts"));
        let mut stdout = BufReader::new(program.0.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        let said: Value = serde_json::from_str(&line).expect("JSON");
        let file = |name: &str| {
            let path = said[name].as_str().expect("a path");
            std::fs::read_to_string(path).expect("the file")
        };
        let url = said["gateway_url"].as_str().expect("a URL");
        let header = file("header");
        Self {
            _program: program,
            address: url
                .trim_start_matches("https://")
                .parse()
                .expect("an address"),
            ca_pem: file("ca"),
            authorization: header
                .trim()
                .split_once(": ")
                .expect("a header")
                .1
                .to_owned(),
            tasks: Tasks::new(),
        }
    }

    /// An answer, up to its end or until `enough` of it is there.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        enough: impl Fn(&str) -> bool,
    ) -> Got {
        let io = TokioIo::new(tls(self.address, &self.ca_pem).await.unwrap());
        let (mut sender, connection) = http1::handshake(io).await.unwrap();
        let connection = self.tasks.spawn("caller", async move {
            let _ = connection.await;
        });
        let request = Request::builder()
            .method(method)
            .uri(format!("/clusters/sample{path}"))
            .header("host", "demo.test")
            .header("accept", accept)
            .header("authorization", &self.authorization)
            .body(Full::<Bytes>::default())
            .unwrap();
        let mut answer = soon(sender.send_request(request)).await.unwrap();
        let mut text = String::new();
        while !enough(&text)
            && let Some(frame) = soon(answer.body_mut().frame()).await
        {
            let bytes = frame.expect("a whole answer").into_data().unwrap();
            text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
        connection.abort();
        Got {
            status: answer.status(),
            text,
        }
    }

    async fn json(&self, method: Method, path: &str) -> Got {
        let got = self.ask(method, path, "application/json", |_| false).await;
        assert_eq!(got.status, StatusCode::OK, "{path}: {}", got.text);
        got
    }

    /// A stream until it has had this event.
    async fn stream(&self, path: &str, until: &str) -> String {
        let end = format!("event: {until}\n");
        let got = self
            .ask(Method::GET, path, "text/event-stream", |text| {
                text.contains(&end)
            })
            .await;
        assert_eq!(got.status, StatusCode::OK, "{path}: {}", got.text);
        got.text
    }
}

#[tokio::test]
async fn every_command_and_page_answers_on_the_sample() {
    let demo = Demo::start();
    let lines = |count| move |text: &str| text.lines().count() >= count;

    // As the demo's own line asks for them.
    let path = "/logs?namespace=sample-shop&selector=&tail=2&follow";
    let got = demo.ask(Method::GET, path, "*/*", lines(30)).await;
    assert_eq!(got.status, StatusCode::OK, "{}", got.text);
    for line in got.text.lines() {
        assert!(line.starts_with('[') && !line.contains("---"), "{line}");
    }
    let path = "/logs?namespace=sample-shop&selector=&tail=3";
    let got = demo.ask(Method::GET, path, "*/*", |_| false).await;
    assert!(got.text.lines().count() > 3, "{}", got.text);
    let path = "/logs?namespace=sample-shop&selector=&tail=1&timestamps";
    let text = demo.stream(path, "lines").await;
    assert!(text.contains("\nid: "), "{text}");
    let got = demo.json(Method::GET, "/events").await;
    assert!(!got.events("event").is_empty(), "{}", got.text);
    let text = demo.stream("/events", "synced").await;
    assert!(text.contains("event: event\n"), "{text}");
    let got = demo.json(Method::GET, "/metrics/live").await;
    assert_eq!(got.events("cluster").len(), 1, "{}", got.text);
    assert!(got.events("unavailable").is_empty(), "{}", got.text);
    let text = demo
        .stream("/metrics/live?what=pods&every=5", "sampled")
        .await;
    assert!(text.contains("event: pods\n"), "{text}");
    let got = demo.json(Method::GET, "/status").await;
    assert_eq!(got.events("cluster").len(), 1, "{}", got.text);
    assert!(!got.events("nodes").is_empty(), "{}", got.text);
    let text = demo.stream("/status", "synced").await;
    assert!(text.contains("event: summary\n"), "{text}");
    let got = demo.json(Method::GET, "/services").await;
    let services = got.events("services");
    let items: Vec<_> = services
        .iter()
        .flat_map(|some| some["items"].as_array().expect("items"))
        .collect();
    assert!(
        items
            .iter()
            .any(|service| service["ready"].as_u64() > Some(0)),
        "{}",
        got.text
    );
    demo.stream("/services", "synced").await;

    for command in ["features.get", "connectivity.check", "health.run"] {
        let got = demo
            .json(Method::POST, &format!("/commands/{command}"))
            .await;
        assert!(
            !got.json()["result"].is_null() || got.text.len() > 30,
            "{}",
            got.text
        );
    }
    for command in [
        "resources.apply",
        "resources.delete",
        "workloads.scale",
        "workloads.restart",
    ] {
        let path = format!("/commands/{command}");
        let got = demo.ask(Method::POST, &path, "*/*", |_| false).await;
        // Without arguments nothing is decided; with them, by the policy.
        assert_eq!(
            got.status,
            StatusCode::BAD_REQUEST,
            "{command}: {}",
            got.text
        );
    }
}
