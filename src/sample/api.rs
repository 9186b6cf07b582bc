//! From a request to an answer.
//!
//! Owns: who may ask, which module answers, and what is refused. Owns not: connections
//! (`server`).
//! Invariant: nothing here changes the store; every method but GET and HEAD is refused, the
//! SelfSubject reviews apart.
//!
//! | path | answered by |
//! |---|---|
//! | `/healthz`, `/livez`, `/readyz`, `/version` | here, without a token too |
//! | `/api`, `/apis`, `/apis/G`, `/api/v1`, `/apis/G/V` | `discovery` |
//! | `/openapi/v3`, `/openapi/v3/...` | `openapi` |
//! | a pod's `/log` | `logs` |
//! | `?watch=true` | `watch` |
//! | `metrics.k8s.io` | `metrics` |
//! | other resources | `collection` |

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, UPGRADE};
use http::request::Parts;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::answer::{self, Answer, Failure};
use super::catalog::Serves;
use super::objects::SERVER_VERSION;
use super::request::{Form, Query, Target};
use super::store::Store;
use super::{clock, collection, discovery, logs, metrics, openapi, review, watch};

/// Bytes of a request's body that are read. A review has some hundred; what kubectl sends before
/// it hears that nothing can be written is an object of at most a few hundred kilobytes.
const MAX_BODY: usize = 1024 * 1024;
/// How long a client may take to send its body.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// What every request needs.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) store: Arc<Store>,
    pub(super) token: SecretString,
    pub(super) address: String,
    /// Ends watches and followed logs when the server stops.
    pub(super) stop: CancellationToken,
}

impl Api {
    /// Answers one request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        // The body is read first, also where it is of no use: an answer that comes while the
        // client still writes would be lost with the connection.
        let body = if matches!(parts.method, Method::GET | Method::HEAD) {
            Ok(Bytes::new())
        } else {
            read(body).await
        };
        let answer = body.and_then(|body| self.route(&parts, &body));
        answer.unwrap_or_else(Answer::from)
    }

    fn route(&self, parts: &Parts, body: &[u8]) -> Result<Answer, Failure> {
        let path = parts.uri.path();
        let open = matches!(
            path,
            "/healthz" | "/livez" | "/readyz" | "/version" | "/version/"
        );
        let known = self.authenticate(parts)?;
        if !known && !open {
            return Err(unauthorized());
        }
        let query = Query::of(parts.uri.query().unwrap_or_default());
        let trimmed = path.trim_matches('/');
        let segments: Vec<&str> = trimmed.split('/').collect();
        if segments.iter().any(|segment| segment.contains('%')) {
            return Err(Failure::no_such_path());
        }
        let target = Target::of(&segments);
        if let Some(target) = &target
            && let Some(refused) = refuse(target, parts)
        {
            return Err(refused);
        }
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            return match target {
                Some(target) if target.resource.serves == Serves::Review => {
                    review::answer(target.resource, &parts.headers, body)
                }
                _ => Err(read_only(parts.method.as_str(), path)),
            };
        }
        match target {
            Some(target) => self.read(&target, &query, parts),
            None => self.document(path, &segments, &query, parts),
        }
    }

    /// Reads objects.
    fn read(&self, target: &Target, query: &Query, parts: &Parts) -> Result<Answer, Failure> {
        let now = clock::now();
        if target.resource.is("", "pods")
            && let (Some(name), Some("log")) = (&target.name, target.subresource.as_deref())
        {
            return logs::answer(&self.store, target, name, query, self.stop.clone());
        }
        match target.subresource.as_deref() {
            None | Some("status") => {}
            Some(_) => return Err(Failure::no_such_path()),
        }
        let form = Form::of(&parts.headers)?;
        match target.resource.serves {
            Serves::Review => Err(read_only(parts.method.as_str(), parts.uri.path())),
            Serves::Metrics if query.flag("watch") => Err(read_only("WATCH", parts.uri.path())),
            Serves::Metrics => metrics::answer(&self.store, target, query, form, now),
            Serves::Stored if query.flag("watch") => {
                watch::answer(&self.store, target, query, form, self.stop.clone())
            }
            Serves::Stored => match &target.name {
                Some(name) => collection::get(&self.store, target, name, query, form, now),
                None => collection::list(&self.store, target, query, form, now),
            },
        }
    }

    /// Reads what is no object.
    fn document(
        &self,
        path: &str,
        segments: &[&str],
        query: &Query,
        parts: &Parts,
    ) -> Result<Answer, Failure> {
        let found = match segments {
            ["healthz" | "livez" | "readyz"] => Some(health(path, query.has("verbose"))),
            ["version"] => Some(version()),
            [""] => Some(paths()),
            ["api"] => Some(discovery::core(Form::of(&parts.headers)?, &self.address)),
            ["apis"] => Some(discovery::groups(Form::of(&parts.headers)?)),
            ["apis", group] => discovery::group(group),
            ["api", version] => discovery::resources("", version),
            ["apis", group, version] => discovery::resources(group, version),
            ["openapi", "v3"] => Some(openapi::index()),
            ["openapi", "v3", "api", version] => openapi::document("", version),
            ["openapi", "v3", "apis", group, version] => openapi::document(group, version),
            _ => None,
        };
        found.ok_or_else(Failure::no_such_path)
    }

    /// Whether the request brings the token. A wrong one is refused everywhere.
    fn authenticate(&self, parts: &Parts) -> Result<bool, Failure> {
        let Some(value) = parts.headers.get(AUTHORIZATION) else {
            return Ok(false);
        };
        let token = self.token.expose_secret().as_bytes();
        let given = value.as_bytes();
        let right = given
            .split_at_checked(7)
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
            .is_some_and(|(_, given)| same(given, token));
        if right { Ok(true) } else { Err(unauthorized()) }
    }
}

/// Compares in a time that does not tell how much of the token was right.
fn same(given: &[u8], token: &[u8]) -> bool {
    given.len() == token.len()
        && given
            .iter()
            .zip(token)
            .fold(0, |differs, (one, other)| differs | (one ^ other))
            == 0
}

async fn read(body: Incoming) -> Result<Bytes, Failure> {
    let body = tokio::time::timeout(BODY_DEADLINE, Limited::new(body, MAX_BODY).collect()).await;
    let body = body.map_err(|_| {
        Failure::new(
            StatusCode::REQUEST_TIMEOUT,
            "Timeout",
            "the request's body did not come",
        )
    })?;
    body.map(http_body_util::Collected::to_bytes).map_err(|_| {
        Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            "the request's body is too large for the sample cluster",
        )
    })
}

fn unauthorized() -> Failure {
    Failure::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
}

fn read_only(method: &str, path: &str) -> Failure {
    let message = format!(
        "this is the built-in sample cluster of the demo, which is read-only: {method} {path} is \
        not possible; use a real cluster with --kubeconfig"
    );
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
}

/// Refuses what would need a container, whatever the method: there are none behind the sample.
fn refuse(target: &Target, parts: &Parts) -> Option<Failure> {
    let subresource = target.subresource.as_deref()?;
    let word = subresource.split('/').next().unwrap_or_default();
    let interactive = matches!(word, "exec" | "attach" | "portforward" | "proxy");
    if !interactive && !parts.headers.contains_key(UPGRADE) {
        return None;
    }
    let message = format!(
        "this is the built-in sample cluster of the demo: its pods are not real, so {word} is not \
        possible; use a real cluster with --kubeconfig"
    );
    Some(Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "MethodNotAllowed",
        message,
    ))
}

fn health(path: &str, verbose: bool) -> Answer {
    let text = if verbose {
        let name = path.trim_matches('/');
        format!("[+]ping ok\n[+]log ok\n[+]sample ok\n{name} check passed\n")
    } else {
        "ok".to_owned()
    };
    answer::whole(StatusCode::OK, "text/plain; charset=utf-8", text.into())
}

fn version() -> Answer {
    answer::json(
        StatusCode::OK,
        &json!({
            "major": "1",
            "minor": "36",
            "gitVersion": SERVER_VERSION,
            "gitCommit": "sample",
            "gitTreeState": "clean",
            "buildDate": "2026-01-01T00:00:00Z",
            "goVersion": "not Go",
            "compiler": "rustc",
            "platform": "linux/amd64",
        }),
    )
}

fn paths() -> Answer {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for (group, version) in super::catalog::groups().into_iter().skip(1) {
        paths.push(format!("/apis/{group}"));
        paths.push(format!("/apis/{group}/{version}"));
    }
    for path in ["/healthz", "/livez", "/openapi/v3", "/readyz", "/version"] {
        paths.push(path.to_owned());
    }
    answer::json(StatusCode::OK, &json!({"paths": paths}))
}
