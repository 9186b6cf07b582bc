//! A test of the way to the control plane, which leaves nothing behind there.
//!
//! Owns the test: the steps of a connection, then the channel's upgrade with the agent's token,
//! closed again before `hello` (P-5), so that nobody is registered and no replica appears. Owns
//! not: what an outcome means to a person (`health`). Invariants: everything has a deadline; the
//! token goes where the agent itself would send it, and nowhere else.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::header::{CONTENT_TYPE, DATE, SERVER, VIA};
use http::{HeaderMap, HeaderValue};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::dial::steps::Steps;
use super::dial::{Connection, DialError, Dialler};
use super::handshake::upgrade;
use super::register::Refusal;
use super::sse;
use super::tls::Tls;
use crate::config::proxy::Proxy;
use crate::config::secret::SecretSource;
use crate::config::value::ApiUrl;
use crate::limits;
use crate::link::websocket;
use crate::protocol::error::{ErrorBody, ErrorCode};
use crate::telemetry::error_chain;

/// The channel's path where nobody has registered to learn it.
const CHANNEL: &str = "/channel";
/// How many seconds longer than usual the gateway is asked to wait for `hello` (P-5).
const CHECK: &str = "pipeops-check";

/// The way that is tested.
#[derive(Debug, Clone)]
pub struct Config {
    /// The control plane's base URL.
    pub api_url: ApiUrl,
    /// The agent's token.
    pub token: SecretSource,
    /// Authorities to trust beside the public ones.
    pub ca_file: Option<PathBuf>,
    /// The proxy on the way.
    pub proxy: Option<Proxy>,
}

/// Tests the way.
#[derive(Debug)]
pub struct Prober {
    dialler: Dialler,
    token: SecretSource,
    ca_file: Option<PathBuf>,
}

/// How far a test came. What is absent was not tried.
#[derive(Debug, Default)]
pub struct Probe {
    /// The proxy on the way, without credentials.
    pub proxy: Option<String>,
    /// Resolving the name, the proxy's where there is one; nothing for an address.
    pub name: Option<Result<Duration, Failure>>,
    /// Connecting, to the proxy where there is one.
    pub tcp: Option<Result<Duration, Failure>>,
    /// The proxy's tunnel.
    pub tunnel: Option<Result<Duration, Failure>>,
    /// The TLS handshake.
    pub tls: Option<Result<Duration, Failure>>,
    /// The first certificate, trusted or not, as DER.
    pub certificate: Option<Vec<u8>>,
    /// What the request for the channel was answered with.
    pub channel: Option<Channel>,
    /// Whether requests pass, where no WebSocket did.
    pub requests: Option<Result<Requests, String>>,
}

/// How requests pass that take the place of a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requests {
    /// What is said comes at once.
    AtOnce,
    /// Something on the way keeps an answer back until it is whole.
    KeptBack,
}

/// What a step failed at.
#[derive(Debug)]
pub struct Failure {
    /// Of which kind.
    pub kind: Kind,
    /// Everything that is known, in words.
    pub message: String,
}

/// The kinds of failures.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// The name does not resolve.
    Name,
    /// Nobody listens there.
    Refused,
    /// Nothing came in time.
    Slow,
    /// The authorities' file.
    Setup,
    /// The certificate is not trusted, and why not.
    Untrusted(rustls::Error),
    /// No common version or cipher of TLS.
    Incompatible,
    /// Anything else.
    Other,
}

/// What the request for the channel was answered with.
#[derive(Debug)]
pub struct Channel {
    /// From the request to its answer.
    pub took: Duration,
    /// What it was.
    pub answer: Answer,
    /// The answer's `Date`.
    pub date: Option<String>,
    /// Who says that it answered, by `Via` or `Server`.
    pub by: Option<String>,
}

/// An answer to the request for the channel.
#[derive(Debug)]
pub enum Answer {
    /// Upgraded, with our subprotocol.
    Upgraded,
    /// Another status.
    Status {
        /// Which.
        status: u16,
        /// What the control plane itself has said, where it was it that spoke.
        said: Option<Said>,
        /// Its body is a web page.
        web_page: bool,
    },
    /// 101, but not a WebSocket of ours, or no HTTP at all.
    Broken(String),
    /// Nothing came in time.
    Slow,
    /// The token cannot be read; nothing was sent.
    NoToken(String),
}

impl Answer {
    /// Whether it may be the path that lets no WebSocket pass.
    const fn is_obstacle(&self) -> bool {
        match self {
            Self::Upgraded | Self::NoToken(_) => false,
            Self::Broken(_) | Self::Slow | Self::Status { said: None, .. } => true,
            Self::Status {
                said: Some(said), ..
            } => matches!(said.verdict, Verdict::NoUpgrade | Verdict::Version),
        }
    }
}

/// The control plane's own words in a refusal (P-3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// What they come to.
    pub verdict: Verdict,
    /// The words.
    pub words: String,
}

/// What a refusal comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The token is not good.
    Token,
    /// The cluster is no longer wanted.
    Decommissioned,
    /// The token is good, and no upgrade was asked for.
    NoUpgrade,
    /// The token is good, and there is no common version.
    Version,
    /// Not now.
    Later,
    /// Something else, after the token was found good.
    Other,
}

impl Said {
    fn of(body: &ErrorBody) -> Self {
        let verdict = match body.code {
            ErrorCode::Unauthorized | ErrorCode::Forbidden => Verdict::Token,
            ErrorCode::Decommissioned => Verdict::Decommissioned,
            ErrorCode::Malformed | ErrorCode::BadRequest => Verdict::NoUpgrade,
            ErrorCode::Unsupported => Verdict::Version,
            ErrorCode::Busy | ErrorCode::ShuttingDown | ErrorCode::Flood => Verdict::Later,
            _ => Verdict::Other,
        };
        let words = body.to_string();
        Self {
            verdict,
            words: words.chars().take(limits::CHECK_WORDS * 3).collect(),
        }
    }
}

/// How a channel without a byte on it ended.
#[derive(Debug)]
pub enum Idle {
    /// It still stood, and answered.
    Held(Duration),
    /// It was cut without a goodbye.
    Cut {
        /// After so long.
        after: Duration,
        /// By what, as the socket tells it.
        how: String,
    },
    /// It still stood here, but nothing came back any more.
    Silent(Duration),
    /// The control plane itself closed it.
    Closed(Duration),
    /// There was none.
    NotOpened,
}

impl Prober {
    /// A test of this way.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            dialler: Dialler::new(
                config.api_url,
                Tls::new(config.ca_file.clone()),
                config.proxy,
            ),
            token: config.token,
            ca_file: config.ca_file,
        }
    }

    /// The control plane's base URL.
    #[must_use]
    pub fn url(&self) -> &ApiUrl {
        self.dialler.url()
    }

    /// The file of authorities that are trusted beside the public ones.
    #[must_use]
    pub const fn ca_file(&self) -> Option<&PathBuf> {
        self.ca_file.as_ref()
    }

    /// Goes the way once.
    ///
    /// # Cancel safety
    /// Dropping it closes what was opened.
    pub async fn probe(&self) -> Probe {
        let proxy = self.dialler.proxy();
        let steps = match timeout(limits::CHECK_CONNECT, self.dialler.steps()).await {
            Ok(steps) => steps,
            Err(_) => {
                let slow = Err(Failure {
                    kind: Kind::Slow,
                    message: format!("no connection within {:?}", limits::CHECK_CONNECT),
                });
                return Probe {
                    proxy,
                    tcp: Some(slow),
                    ..Probe::default()
                };
            }
        };
        let Steps {
            name,
            tcp,
            tunnel,
            tls,
            certificate,
            connection,
        } = steps;
        let told = |step: Option<Result<Duration, DialError>>| {
            step.map(|done| done.map_err(|error| Failure::of(&error)))
        };
        let channel = match connection {
            Some(connection) => Some(self.channel(connection).await),
            None => None,
        };
        let requests = match &channel {
            Some(channel) if channel.answer.is_obstacle() => Some(self.requests().await),
            _ => None,
        };
        Probe {
            proxy,
            name: told(name),
            tcp: told(tcp),
            tunnel: told(tunnel),
            tls: told(tls),
            certificate,
            channel,
            requests,
        }
    }

    /// The way without a WebSocket (P-120).
    async fn requests(&self) -> Result<Requests, String> {
        let token = self.token.read();
        let token = token.map_err(|error| error_chain(&error).to_string())?;
        match timeout(limits::CHECK_CONNECT, sse::trial(&self.dialler, &token)).await {
            Ok(Ok(sse::Passed::AtOnce)) => Ok(Requests::AtOnce),
            Ok(Ok(sse::Passed::KeptBack)) => Ok(Requests::KeptBack),
            Ok(Err(error)) => Err(error_chain(&error).to_string()),
            Err(_) => Err(format!("no answer within {:?}", limits::CHECK_CONNECT)),
        }
    }

    async fn channel(&self, connection: Connection) -> Channel {
        let began = Instant::now();
        let asked = timeout(limits::CHECK_ANSWER, self.ask(connection, None)).await;
        let took = began.elapsed();
        let (answer, headers) = match asked {
            Err(_) => (Answer::Slow, HeaderMap::new()),
            Ok(Ok((mut socket, headers))) => {
                // The goodbye is a courtesy: it has a bound, and its failure changes nothing.
                let goodbye = socket.close(Some(CloseFrame {
                    code: CloseCode::Normal,
                    reason: "check".into(),
                }));
                let _ = timeout(limits::CHECK_GOODBYE, goodbye).await;
                (Answer::Upgraded, headers)
            }
            Ok(Err((answer, headers))) => (answer, headers),
        };
        let text = |name| {
            let value: &HeaderValue = headers.get(name)?;
            let text = value.to_str().ok()?;
            Some(text.chars().take(limits::CHECK_WORDS).collect::<String>())
        };
        Channel {
            took,
            answer,
            date: text(DATE),
            by: text(VIA).or_else(|| text(SERVER)),
        }
    }

    async fn ask(
        &self,
        connection: Connection,
        hold: Option<Duration>,
    ) -> Result<(WebSocketStream<Connection>, HeaderMap), (Answer, HeaderMap)> {
        let none = HeaderMap::new;
        let token = self
            .token
            .read()
            .map_err(|error| (Answer::NoToken(error_chain(&error).to_string()), none()))?;
        let mut request = upgrade(&self.dialler, &self.dialler.url().below(CHANNEL), &token)
            .map_err(|error| (Answer::Broken(error_chain(&error).to_string()), none()))?;
        if let Some(hold) = hold {
            let longer = HeaderValue::from(hold.as_secs());
            request.headers_mut().insert(CHECK, longer);
        }
        let settings = websocket::config(limits::UPLINK_READ_BUFFER);
        match client_async_with_config(request, connection, Some(settings)).await {
            Ok((socket, response)) => Ok((socket, response.headers().clone())),
            Err(tungstenite::Error::Http(response)) => {
                let body = response.body().as_deref().unwrap_or_default();
                let refusal = Refusal::new(response.status(), response.headers(), body);
                let html = |value: &HeaderValue| value.as_bytes().starts_with(b"text/html");
                let answer = Answer::Status {
                    status: refusal.status.as_u16(),
                    web_page: response.headers().get(CONTENT_TYPE).is_some_and(html),
                    said: refusal.body.as_ref().map(Said::of),
                };
                Err((answer, response.headers().clone()))
            }
            Err(error) => Err((Answer::Broken(error_chain(&error).to_string()), none())),
        }
    }

    /// Holds a channel open without a byte, until it is cut or `hold` has passed.
    ///
    /// # Cancel safety
    /// Dropping it closes the connection.
    pub async fn idle(&self, hold: Duration) -> Idle {
        let opened = timeout(limits::CHECK_CONNECT, async {
            let connection = self.dialler.dial().await.ok()?;
            self.ask(connection, Some(hold)).await.ok()
        });
        let Ok(Some((mut socket, _))) = opened.await else {
            return Idle::NotOpened;
        };
        let began = Instant::now();
        if let Ok(ended) = timeout(hold, socket.next()).await {
            return cut(ended, began.elapsed());
        }
        // A way that forgot the connection says nothing about it: only an answer proves it.
        let proof = async {
            socket.send(Message::Ping("check".into())).await.ok()?;
            socket.next().await
        };
        let idle = match timeout(limits::CHECK_ANSWER, proof).await {
            Err(_) => return Idle::Silent(hold),
            Ok(Some(Ok(Message::Pong(_)))) => Idle::Held(hold),
            Ok(ended) => cut(ended, began.elapsed()),
        };
        let goodbye = socket.close(Some(CloseFrame {
            code: CloseCode::Normal,
            reason: "check".into(),
        }));
        let _ = timeout(limits::CHECK_GOODBYE, goodbye).await;
        idle
    }
}

fn cut(ended: Option<Result<Message, tungstenite::Error>>, after: Duration) -> Idle {
    match ended {
        // Whatever it says, it is the control plane that speaks.
        Some(Ok(_)) => Idle::Closed(after),
        Some(Err(error)) => Idle::Cut {
            after,
            how: error_chain(&error).to_string(),
        },
        None => Idle::Cut {
            after,
            how: "the connection was closed".to_owned(),
        },
    }
}

impl Failure {
    fn of(error: &DialError) -> Self {
        Self {
            kind: kind(error),
            message: error_chain(error).to_string(),
        }
    }
}

fn kind(error: &DialError) -> Kind {
    match error {
        DialError::Resolve { .. } => Kind::Name,
        DialError::Connect { source, .. } => match source.kind() {
            std::io::ErrorKind::ConnectionRefused => Kind::Refused,
            std::io::ErrorKind::TimedOut => Kind::Slow,
            _ => Kind::Other,
        },
        DialError::OldTls { .. } => Kind::Incompatible,
        DialError::Setup(_) => Kind::Setup,
        DialError::Untrusted { source, .. } => Kind::Untrusted(source.clone()),
        DialError::Proxy { source, .. } => kind(source),
        DialError::NoTunnel { .. } => Kind::Other,
        DialError::Handshake { source, .. } => {
            let cause = source.get_ref().and_then(|cause| cause.downcast_ref());
            match cause {
                Some(
                    rustls::Error::PeerIncompatible(_)
                    | rustls::Error::AlertReceived(
                        rustls::AlertDescription::ProtocolVersion
                        | rustls::AlertDescription::HandshakeFailure,
                    ),
                ) => Kind::Incompatible,
                _ => Kind::Other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_plane_s_words_are_bounded() {
        let body = ErrorBody::new(ErrorCode::Unauthorized, "ü".repeat(9999));
        let said = Said::of(&body);
        assert_eq!(said.verdict, Verdict::Token);
        assert_eq!(said.words.chars().count(), limits::CHECK_WORDS * 3);
    }
}
