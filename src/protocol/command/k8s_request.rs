//! `k8s.request`: one request to the Kubernetes API, streaming both ways (P-60 to P-66).
//!
//! The request's body is the stream's bytes towards the agent, up to FIN; the answer is one
//! [`Event::Head`], then the answer's body as the stream's bytes, then `end`. An answer 101 turns
//! both directions into the upgraded connection's bytes.

use serde::{Deserialize, Serialize};

/// Header fields in their order; one name may come several times.
pub type Headers = Vec<(String, String)>;

/// The two protocols that a connection may be upgraded to (P-64).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Upgrade {
    /// `Upgrade: websocket`.
    Websocket,
    /// `Upgrade: SPDY/3.1`.
    Spdy,
}

/// The arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Request {
    /// The HTTP method.
    pub method: String,
    /// The canonical path, without the query (P-61).
    pub path: String,
    /// The query as the caller sent it, without the question mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The caller's header fields of the list that goes up (P-62).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Headers,
    /// The stream's bytes are the request's body, up to FIN; otherwise there is none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub body: bool,
    /// Ask the API server for this upgrade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Upgrade>,
}

/// What the command says while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The answer's head; comes once, before any byte.
    Head(Head),
}

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// The header fields of the list that goes down (P-63).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Headers,
}
