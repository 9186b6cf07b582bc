//! Where requests go: straight to the API server, or through the tunnel.
//!
//! Owns the facts of a test cluster, the two programs between, and the client. Both ways use the
//! same client with the same TLS settings.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use pipeops_agent::tasks::Tasks;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::process::Process;

/// The env file of a test cluster.
pub(crate) struct Cluster(HashMap<String, String>);

impl Cluster {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Ok(Self(
            pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        ))
    }

    fn fact(&self, name: &str) -> anyhow::Result<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .with_context(|| format!("the env file has no {name}"))
    }

    /// The API server itself.
    pub(crate) fn direct(&self) -> anyhow::Result<Target> {
        let ca = std::fs::read(self.fact("CLUSTER_CA")?)?;
        Target::new(
            self.fact("CLUSTER_API")?,
            &ca,
            self.fact("CLUSTER_ADMIN_TOKEN")?,
        )
    }
}

/// One base URL with its trust and its bearer token.
#[derive(Clone)]
pub(crate) struct Target {
    host: String,
    port: u16,
    prefix: String,
    authorization: String,
    connector: TlsConnector,
}

/// A connection that takes requests one after the other.
pub(crate) type Connection = SendRequest<Full<Bytes>>;

impl Target {
    pub(crate) fn new(url: &str, ca: &[u8], token: &str) -> anyhow::Result<Self> {
        let url: http::Uri = url.parse()?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca)?)?;
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            host: url.host().context("a URL has a host")?.to_owned(),
            port: url.port_u16().unwrap_or(443),
            prefix: url.path().trim_end_matches('/').to_owned(),
            authorization: format!("Bearer {token}"),
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    pub(crate) async fn connect(&self, tasks: &Tasks) -> anyhow::Result<Connection> {
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from(self.host.clone())?;
        let tls = self.connector.connect(name, socket).await?;
        let (send, driver) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
        tasks.spawn("connection", driver);
        Ok(send)
    }

    /// Sends a request; the answer must be a success.
    pub(crate) async fn send(
        &self,
        connection: &mut Connection,
        method: &str,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<Incoming> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .header("host", format!("{}:{}", self.host, self.port))
            .header("authorization", &self.authorization)
            .header("accept", "application/json")
            .header("accept-encoding", "identity");
        if !body.is_empty() {
            let kind = if method == "PATCH" {
                "application/merge-patch+json"
            } else {
                "application/json"
            };
            request = request.header("content-type", kind);
        }
        connection.ready().await?;
        let answer = connection
            .send_request(request.body(Full::new(body))?)
            .await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.into_body());
        }
        let text = answer.into_body().collect().await?.to_bytes();
        anyhow::bail!(
            "{method} {path}: {status} {}",
            String::from_utf8_lossy(&text)
        )
    }

    /// A GET, and how many bytes came.
    pub(crate) async fn get(&self, connection: &mut Connection, path: &str) -> anyhow::Result<u64> {
        let mut body = self.send(connection, "GET", path, Bytes::new()).await?;
        let mut count = 0;
        while let Some(frame) = body.frame().await {
            count += frame?.data_ref().map_or(0, |data| data.len() as u64);
        }
        Ok(count)
    }
}

/// The two programs, between the client and the API server.
pub(crate) struct Tunnel {
    pub(crate) gateway: Process,
    pub(crate) agent: Process,
    pub(crate) target: Target,
    folder: PathBuf,
}

const CLUSTER: &str = "bench";
/// How long the agent may take to connect.
const READY: Duration = Duration::from_secs(30);

impl Tunnel {
    /// Starts both programs with their defaults, logs going nowhere.
    pub(crate) async fn start(cluster: &Cluster, compression: &str) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("pipeops-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let tokens = folder.join("tokens.json");
        let certificate = folder.join("cert");
        let agent_token = token(&tokens, &["agent", CLUSTER])?;
        let user_token = token(&tokens, &["user", "bench"])?;
        let token_file = folder.join("agent.token");
        std::fs::write(&token_file, agent_token)?;
        let mut gateway = Process::start(
            Command::new(env!("CARGO_BIN_EXE_pipeops-gateway"))
                .args(["serve", "--listen", "127.0.0.1:0"])
                .args(["--compression", compression])
                .arg("--dev-cert")
                .arg(&certificate)
                .arg("--tokens")
                .arg(&tokens)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        )?;
        let output = gateway.output().context("the gateway has an output")?;
        let line = BufReader::new(output)
            .lines()
            .next()
            .context("the gateway says where it is")??;
        let url = line
            .split_whitespace()
            .next_back()
            .context("the gateway says where it is")?;
        let ca = certificate.join("ca.crt");
        let agent = Process::start(
            Command::new(env!("CARGO_BIN_EXE_pipeops-agent"))
                .args(["--api-url", url, "--access", "admin"])
                .args(["--listen", "127.0.0.1:0"])
                .args(["--kubeconfig", cluster.fact("KUBECONFIG")?])
                .arg("--ca-file")
                .arg(&ca)
                .arg("--token-file")
                .arg(&token_file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )?;
        let target = Target::new(
            &format!("{url}/clusters/{CLUSTER}/k8s"),
            &std::fs::read(&ca)?,
            &user_token,
        )?;
        let tunnel = Self {
            gateway,
            agent,
            target,
            folder,
        };
        tokio::time::timeout(READY, tunnel.ready())
            .await
            .context("the agent did not connect")?;
        Ok(tunnel)
    }

    async fn ready(&self) {
        let tasks = Tasks::new();
        loop {
            if let Ok(mut connection) = self.target.connect(&tasks).await
                && self.target.get(&mut connection, "/version").await.is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn token(file: &Path, whom: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_pipeops-gateway"))
        .args(["token", "--tokens"])
        .arg(file)
        .arg("add")
        .args(whom)
        .output()?;
    anyhow::ensure!(output.status.success(), "no token for {whom:?}");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
