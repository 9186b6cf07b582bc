//! The handlers, between a gateway's session and a scripted API server.

mod channel_echo;
mod connectivity_check;
mod events_watch;
mod features_get;
mod health_run;
mod k8s_request;
mod logs_follow;
mod logs_get;
mod metrics_watch;
mod overview;
mod resources_apply;
mod resources_delete;
mod services_list;
mod services_watch;
mod status_get;
mod status_watch;
mod telling;
mod watching;
mod workloads_restart;
mod workloads_scale;

use pipeops_agent::policy::Access;
use pipeops_agent::protocol::ErrorCode;
use pipeops_agent::tasks::Tasks;
use serde_json::Value;

use crate::dispatch::pair;
use crate::support::objects::Objects;
use crate::support::pair::{Ask, Outcome, Pair, Setting};

/// A pair in front of a server that keeps objects.
async fn objects(tasks: &Tasks) -> (Objects, Pair) {
    let objects = Objects::start(tasks).await;
    let pair = pair(&objects.server, tasks, Setting::default()).await;
    (objects, pair)
}

async fn ask(pair: &Pair, name: &str, args: &Value) -> Outcome {
    pair.open(Ask::new(name, args)).outcome().await
}

/// The result of a command that must have ended well.
async fn result(pair: &Pair, name: &str, args: &Value) -> Value {
    match ask(pair, name, args).await.end {
        Ok(Some(result)) => result,
        other => panic!("{name} {args} ended with {other:?}"),
    }
}

/// The preset `readonly` refuses the command, and the API server hears nothing of it.
async fn readonly_refuses(name: &str, args: &Value) {
    let tasks = Tasks::new();
    let objects = Objects::start(&tasks).await;
    let setting = Setting {
        access: Access::Readonly,
        ..Setting::default()
    };
    let pair = pair(&objects.server, &tasks, setting).await;
    let error = ask(&pair, name, args).await.end.unwrap_err();
    assert_eq!(error.code, ErrorCode::Forbidden);
    assert!(error.message.contains("readonly"), "{}", error.message);
    assert!(error.message.contains("it writes"), "{}", error.message);
    assert!(objects.server.seen().is_empty());
}
