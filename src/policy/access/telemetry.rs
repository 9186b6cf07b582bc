//! What the commands that tell of usage, features and health need.
//!
//! Owns these four lists. Invariant: a command asks the API server for nothing that is not here.

use super::Need;
use crate::kubeapi::Verb;
use crate::protocol::command::features_get;
use crate::protocol::command::metrics_watch::{Request, What};

const USAGE: &str = "metrics.k8s.io";
const REVIEWS: &str = "authorization.k8s.io";

/// `metrics.watch`. Nodes and pods themselves are read where usage is missing, which nobody knows
/// beforehand.
pub(super) fn metrics(request: &Request) -> Vec<Need> {
    let mut needs = vec![
        Need::resource(Verb::List, USAGE, "nodes"),
        Need::resource(Verb::List, "", "nodes"),
        Need::resource(Verb::List, "", "pods"),
    ];
    let of_pods = [What::Namespaces, What::Pods, What::Containers];
    if request.what.iter().any(|what| of_pods.contains(what)) {
        let pods = Need::resource(Verb::List, USAGE, "pods");
        if request.namespaces.is_empty() {
            needs.push(pods);
        } else {
            let namespaces = request.namespaces.iter();
            needs.extend(namespaces.map(|namespace| pods.clone().within(namespace)));
        }
    }
    needs
}

/// `features.get`. The watch is a WebSocket that is opened to see whether one can be.
pub(super) fn features(request: &features_get::Request) -> Vec<Need> {
    let mut needs = vec![
        Need::path("/version"),
        Need::path("/api"),
        Need::path("/apis"),
        Need::resource(Verb::Watch, "", "namespaces"),
        Need::resource(Verb::Create, REVIEWS, "selfsubjectaccessreviews"),
    ];
    let rules = Need::resource(Verb::Create, REVIEWS, "selfsubjectrulesreviews");
    let namespaces = request.namespaces.iter();
    needs.extend(namespaces.map(|namespace| rules.clone().within(namespace)));
    if request.namespaces.is_empty() {
        needs.push(rules);
    }
    needs
}

/// `connectivity.check`.
pub(super) fn connectivity() -> Vec<Need> {
    vec![Need::path("/version"), Need::path("/readyz")]
}

/// `health.run`.
pub(super) fn health() -> Vec<Need> {
    vec![
        Need::path("/readyz"),
        Need::resource(Verb::Create, REVIEWS, "selfsubjectaccessreviews"),
        Need::resource(Verb::Create, REVIEWS, "selfsubjectrulesreviews"),
    ]
}
