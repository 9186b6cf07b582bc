//! The operator's own channels and panels, as the agent's configuration declares them.
//!
//! Owns their way to clients. Owns not: where the data comes from (`extensions`). Invariant: a
//! channel is told when it changes, and asking for it costs its source nothing.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::hub::Channel;
use super::{Config, Shared};

/// A channel of the operator's own.
#[derive(Debug, Clone)]
pub struct OwnChannel {
    /// Its name.
    pub name: String,
    /// The message type of `/ws` that asks for its data.
    pub message_type: Option<String>,
    /// Its data, an object; empty before there is any.
    pub data: watch::Receiver<Arc<Value>>,
}

/// Tells of the channels until their data ends.
pub(super) async fn run(shared: Shared) {
    let channels = (0..).zip(shared.config.channels.iter().cloned());
    join_all(channels.map(|(place, channel)| tell(&shared, place, channel.data))).await;
}

async fn tell(shared: &Shared, place: u8, mut data: watch::Receiver<Arc<Value>>) {
    while data.changed().await.is_ok() {
        let now = Arc::clone(&data.borrow_and_update());
        let at = shared.clock.now();
        shared.hub.publish(Channel::Own(place), &at, &now);
    }
}

/// The message types that they are asked for by.
pub(super) fn types(config: &Config) -> impl Iterator<Item = &str> {
    let channels = config.channels.iter();
    channels.filter_map(|channel| channel.message_type.as_deref())
}

/// What a message of this type is answered with, if it is one of theirs.
pub(super) fn answer(config: &Config, kind: &str) -> Option<Value> {
    let asked = |channel: &&OwnChannel| channel.message_type.as_deref() == Some(kind);
    let channel = config.channels.iter().find(asked)?;
    let data = Arc::clone(&channel.data.borrow());
    Some(json!({ "type": kind, "channel": channel.name, "data": *data }))
}

/// `GET /api/panels`.
pub(super) async fn panels(State(shared): State<Shared>) -> Response {
    let mut told = shared.config.panels.clone();
    // What a page may ask for: one channel that is not there would have all of its request refused.
    told["channels"] = shared.hub.names().into();
    Json(told).into_response()
}
