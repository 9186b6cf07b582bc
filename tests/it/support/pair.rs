//! A gateway's and an agent's session over one WebSocket, without a network: the agent's end leads
//! to a `Dispatch`, the gateway's end is the test's.

use std::sync::Arc;

use pipeops_agent::commands::Shared;
use pipeops_agent::dispatch::Dispatch;
use pipeops_agent::dispatch::metrics::Metrics;
use pipeops_agent::health::{self, Monitor};
use pipeops_agent::link::websocket::{self, WebSocket};
use pipeops_agent::policy::{self, Access, Policy};
use pipeops_agent::protocol::command::{Actor, CommandEnvelope};
use pipeops_agent::protocol::message::{Class, Compression};
use pipeops_agent::protocol::{ErrorBody, ErrorCode};
use pipeops_agent::session::{
    self, Incoming, Item, NewStream, Notice, Open, Role, Session, StreamReader, StreamWriter,
};
use pipeops_agent::status::Status;
use pipeops_agent::tasks::Tasks;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role as End;

use super::cut::Cut;
use super::{soon, trace};
use pipeops_agent::cluster::Cluster;

/// Both ends, and what a test looks at.
pub(crate) struct Pair {
    pub(crate) gateway: Session,
    pub(crate) dispatch: Arc<Dispatch>,
    pub(crate) metrics: Metrics,
    /// The agent's commands; stopping it stops them.
    pub(crate) commands: Tasks,
    /// Both sessions; dropping it leaves them be, aborting ends them.
    pub(crate) sessions: Vec<tokio::task::JoinHandle<session::Ended>>,
}

/// What the agent allows and does, and what both sides agreed on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) access: Access,
    pub(crate) impersonate: bool,
    pub(crate) zstd: bool,
    pub(crate) binary: bool,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            access: Access::Admin,
            impersonate: false,
            zstd: false,
            binary: true,
        }
    }
}

/// A gateway has no commands to take.
struct Deaf;

impl Open for Deaf {
    fn open(&self, incoming: Incoming) {
        drop(incoming);
    }

    fn notice(&self, _notice: Notice) {}
}

impl Pair {
    pub(crate) async fn new(cluster: Cluster, tasks: &Tasks, setting: Setting) -> Self {
        trace::install();
        let metrics = Metrics::default();
        let commands = tasks.child();
        let health = health::Config {
            access: setting.access,
            control_plane: None,
        };
        let shared = Shared {
            cluster: cluster.clone(),
            impersonate: setting.impersonate,
            health: Monitor::new(cluster, Status::default(), health),
        };
        let dispatch = Arc::new(Dispatch::new(
            Arc::new(shared),
            Policy::new(policy::Config {
                access: setting.access,
            }),
            metrics.clone(),
            commands.clone(),
            Box::new(drop),
        ));
        let (gateway, sessions) = connect(&dispatch, tasks, setting, usize::MAX).await;
        Self {
            gateway,
            dispatch,
            metrics,
            commands,
            sessions,
        }
    }

    /// The agent comes back after its channel was lost; this one breaks after so many bytes.
    pub(crate) async fn reconnect(&mut self, tasks: &Tasks, setting: Setting, bytes: usize) {
        for session in &self.sessions {
            session.abort();
        }
        (self.gateway, self.sessions) = connect(&self.dispatch, tasks, setting, bytes).await;
    }

    /// Opens a stream for `ask`.
    pub(crate) fn open(&self, ask: Ask) -> Running {
        self.try_open(ask).expect("the session is open")
    }

    /// The same, where the session may be lost.
    pub(crate) fn try_open(&self, ask: Ask) -> Option<Running> {
        let (reader, writer) = self
            .gateway
            .open(NewStream {
                upload: ask.upload,
                class: ask.class,
                compression: ask.compression,
                command: ask.command,
            })
            .ok()?;
        Some(Running { reader, writer })
    }
}

/// Two sessions over one connection that breaks after so many bytes.
async fn connect(
    dispatch: &Arc<Dispatch>,
    tasks: &Tasks,
    setting: Setting,
    bytes: usize,
) -> (Session, Vec<tokio::task::JoinHandle<session::Ended>>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let near = Cut::after(bytes, near);
    let config = websocket::config(16 * 1024);
    let agent = WebSocketStream::from_raw_socket(near, End::Client, Some(config)).await;
    let gateway = WebSocketStream::from_raw_socket(far, End::Server, Some(config)).await;
    let of = |role| session::Config {
        binary: setting.binary,
        zstd: setting.zstd,
        ..session::Config::new(role)
    };
    let (_, drive_agent) =
        session::establish(WebSocket::new(agent), of(Role::Agent), dispatch.clone());
    let (gateway, drive_gateway) =
        session::establish(WebSocket::new(gateway), of(Role::Gateway), Arc::new(Deaf));
    let sessions = vec![
        tasks.spawn("agent", drive_agent),
        tasks.spawn("gateway", drive_gateway),
    ];
    (gateway, sessions)
}

/// A command to be opened.
pub(crate) struct Ask {
    command: CommandEnvelope,
    class: Class,
    compression: Option<Compression>,
    upload: bool,
}

impl Ask {
    pub(crate) fn new(name: &str, args: &Value) -> Self {
        Self {
            command: CommandEnvelope {
                id: "req-1".into(),
                name: name.into(),
                args: RawValue::from_string(args.to_string()).unwrap(),
                deadline_ms: None,
                actor: None,
                idempotency_key: None,
                attempt: 1,
                traceparent: None,
            },
            class: Class::Api,
            compression: None,
            upload: false,
        }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new("k8s.request", &json!({"method": "GET", "path": path}))
    }

    /// A POST whose body the test sends.
    pub(crate) fn post(path: &str) -> Self {
        let args = json!({"method": "POST", "path": path, "body": true,
                          "headers": [["content-type", "application/json"]]});
        Self {
            upload: true,
            ..Self::new("k8s.request", &args)
        }
    }

    /// An exec over SPDY.
    pub(crate) fn exec(path: &str) -> Self {
        let args = json!({"method": "POST", "path": path, "upgrade": "spdy"});
        Self {
            upload: true,
            class: Class::Interactive,
            ..Self::new("k8s.request", &args)
        }
    }

    pub(crate) fn echo(args: &Value) -> Self {
        Self {
            upload: true,
            ..Self::new("channel.echo", args)
        }
    }

    /// The test sends bytes.
    pub(crate) fn uploading(mut self) -> Self {
        self.upload = true;
        self
    }

    #[cfg(feature = "cluster-tests")]
    pub(crate) fn id(mut self, id: &str) -> Self {
        self.command.id = id.into();
        self
    }

    pub(crate) fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    pub(crate) fn deadline_ms(mut self, limit: u64) -> Self {
        self.command.deadline_ms = Some(limit);
        self
    }

    pub(crate) fn key(mut self, key: &str) -> Self {
        self.command.idempotency_key = Some(key.into());
        self
    }

    pub(crate) fn attempt(mut self, attempt: u32) -> Self {
        self.command.attempt = attempt;
        self
    }

    pub(crate) fn zstd(mut self) -> Self {
        self.compression = Some(Compression::Zstd);
        self
    }

    pub(crate) fn actor(mut self, user: &str, groups: &[&str]) -> Self {
        self.command.actor = Some(Actor {
            user: user.into(),
            groups: groups.iter().map(|&group| group.into()).collect(),
            ..Actor::default()
        });
        self
    }
}

/// The gateway's end of a stream.
pub(crate) struct Running {
    pub(crate) reader: StreamReader,
    pub(crate) writer: StreamWriter,
}

/// All that came of a command.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) head: Option<Value>,
    pub(crate) body: Vec<u8>,
    pub(crate) end: Result<Option<Value>, ErrorBody>,
}

impl Outcome {
    pub(crate) fn status(&self) -> u64 {
        self.head.as_ref().expect("there was a head")["status"]
            .as_u64()
            .unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.as_ref()?["headers"]
            .as_array()?
            .iter()
            .find(|pair| pair[0] == name)?[1]
            .as_str()
    }

    /// The error's code; a good end is none.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        self.end.as_ref().err().map(|body| body.code)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the script sends text")
    }
}

impl Running {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        soon(self.writer.send(bytes::Bytes::copy_from_slice(bytes)))
            .await
            .expect("the stream stands");
    }

    /// The next item.
    pub(crate) async fn next(&mut self) -> Item {
        soon(self.reader.recv()).await.expect("the stream stands")
    }

    /// The head, which must come first.
    pub(crate) async fn head(&mut self) -> Value {
        match self.next().await {
            Item::Event(event) => {
                let event: Value = serde_json::from_str(event.get()).unwrap();
                event["head"].clone()
            }
            other => panic!("a head was expected, not {other:?}"),
        }
    }

    /// Bytes, until there are `count` or more.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.next().await {
                Item::Data(bytes) => all.extend_from_slice(&bytes),
                other => panic!("bytes were expected, not {other:?}"),
            }
        }
        all
    }

    /// Everything up to the end.
    pub(crate) async fn outcome(mut self) -> Outcome {
        let mut outcome = Outcome {
            head: None,
            body: Vec::new(),
            end: Ok(None),
        };
        loop {
            match self.next().await {
                Item::Event(event) => {
                    assert!(
                        outcome.head.is_none() && outcome.body.is_empty(),
                        "head first"
                    );
                    let event: Value = serde_json::from_str(event.get()).unwrap();
                    outcome.head = Some(event["head"].clone());
                }
                Item::Data(bytes) => outcome.body.extend_from_slice(&bytes),
                Item::Fin => {}
                Item::End(end) => {
                    outcome.end = end
                        .map(|result| result.map(|raw| serde_json::from_str(raw.get()).unwrap()));
                    return outcome;
                }
            }
        }
    }
}
