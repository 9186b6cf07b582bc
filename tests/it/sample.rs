//! The sample cluster, over TLS, with a plain HTTP client.
//!
//! Owns: what a client of the API sees. Owns not: how the cluster lives (its unit tests step
//! through hours), nor the agent in front of it.

mod reading;
mod refusals;
mod streams;

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use pipeops_agent::sample::Sample;
use pipeops_agent::tasks::Tasks;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::net::TcpStream;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const SHOP: &str = "/api/v1/namespaces/sample-shop";

struct Cluster {
    sample: Sample,
    tasks: Tasks,
}

impl Cluster {
    async fn start() -> Self {
        let tasks = Tasks::new();
        let sample = Sample::start(&tasks).await.unwrap();
        Self { sample, tasks }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: &[u8],
    ) -> Request<Full<Bytes>> {
        let token = self.sample.token().expose_secret();
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", "sample")
            .header(ACCEPT, accept)
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .body(Full::new(Bytes::copy_from_slice(body)))
            .unwrap()
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.sample.ca_pem().as_bytes()).unwrap();
        roots.add(ca).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let url = self.sample.url();
        let socket = TcpStream::connect(url.strip_prefix("https://").unwrap())
            .await
            .unwrap();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = connector.connect(name, socket).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        self.tasks
            .spawn("client", async move { _ = connection.await });
        sender.send_request(request).await.unwrap()
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: &[u8],
    ) -> (StatusCode, String) {
        let response = self.send(self.request(method, path, accept, body)).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.get_as(path, "application/json").await
    }

    async fn get_as(&self, path: &str, accept: &str) -> (StatusCode, Value) {
        let (status, body) = self.ask(Method::GET, path, accept, b"").await;
        (status, serde_json::from_str(&body).unwrap())
    }

    async fn found(&self, path: &str) -> Value {
        let (status, value) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {value}");
        value
    }

    /// A body that goes on: lines as they come.
    async fn follow(&self, path: &str) -> Lines {
        let response = self
            .send(self.request(Method::GET, path, "application/json", b""))
            .await;
        assert_eq!(response.status(), StatusCode::OK);
        Lines {
            body: response.into_body(),
            held: String::new(),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

struct Lines {
    body: Incoming,
    held: String,
}

impl Lines {
    /// The next line, or `None` at the end. Fails when neither comes.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((line, rest)) = self.held.split_once('\n') {
                let line = line.to_owned();
                self.held = rest.to_owned();
                return Some(line);
            }
            let frame = tokio::time::timeout(Duration::from_secs(40), self.body.frame()).await;
            let frame = frame
                .expect("neither a line nor the end within 40 s")?
                .unwrap();
            self.held
                .push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    }

    async fn event(&mut self) -> Value {
        serde_json::from_str(&self.next().await.expect("an event")).unwrap()
    }
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}
