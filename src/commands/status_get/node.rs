//! Nodes: what is read of one, and what of it is not as it should be.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::condition::Condition;
use super::text::cut;
use crate::cluster::objects::Object;
use crate::protocol::command::status_get::{self as wire, Room};

/// The label of a role: its name stands behind the slash.
const ROLE: &str = "node-role.kubernetes.io/";
/// Roles and conditions that are told of one node.
const PARTS: usize = 8;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::commands) struct Node {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    uid: String,
    resource_version: String,
    labels: BTreeMap<String, IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    unschedulable: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    capacity: Amounts,
    allocatable: Amounts,
    conditions: Vec<Condition>,
    node_info: Info,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Amounts {
    cpu: String,
    memory: String,
    pods: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Info {
    kubelet_version: String,
}

impl Object for Node {
    fn uid(&self) -> &str {
        &self.metadata.uid
    }

    fn version(&self) -> &str {
        &self.metadata.resource_version
    }
}

impl Condition {
    /// `Ready` should be true; all others name a trouble.
    fn is_problem(&self) -> bool {
        if self.kind == "Ready" {
            self.status != "True"
        } else {
            self.status == "True"
        }
    }
}

impl Node {
    /// What is told of it.
    pub(in crate::commands) fn told(self) -> wire::Node {
        let conditions = self.status.conditions.iter();
        let ready = conditions
            .clone()
            .any(|condition| condition.kind == "Ready" && condition.status == "True");
        let problems = conditions
            .filter(|condition| condition.is_problem())
            .take(PARTS);
        let roles = self
            .metadata
            .labels
            .keys()
            .filter_map(|label| label.strip_prefix(ROLE));
        wire::Node {
            name: cut(&self.metadata.name),
            ready,
            unschedulable: self.spec.unschedulable,
            roles: roles.take(PARTS).map(cut).collect(),
            version: cut(&self.status.node_info.kubelet_version),
            capacity: room(&self.status.capacity),
            allocatable: room(&self.status.allocatable),
            problems: problems
                .map(|condition| wire::Condition {
                    kind: cut(&condition.kind),
                    status: cut(&condition.status),
                    reason: cut(&condition.reason),
                    message: cut(&condition.message),
                    since: cut(condition
                        .last_transition_time
                        .as_deref()
                        .unwrap_or_default()),
                })
                .collect(),
        }
    }
}

fn room(amounts: &Amounts) -> Room {
    Room {
        cpu: cut(&amounts.cpu),
        memory: cut(&amounts.memory),
        pods: cut(&amounts.pods),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;
    use serde_json::json;

    #[test]
    fn a_node_says_what_is_not_as_it_should_be() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": "",
                                                 "kubernetes.io/os": "linux"}},
            "spec": {"unschedulable": true},
            "status": {"capacity": {"cpu": "4", "memory": "8Gi", "pods": "110", "hugepages-2Mi": "0"},
                       "allocatable": {"cpu": "3920m"}, "nodeInfo": {"kubeletVersion": "v1.36.3"},
                       "conditions": [
                           {"type": "MemoryPressure", "status": "False"},
                           {"type": "DiskPressure", "status": "True", "reason": "KubeletHasDiskPressure"},
                           {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]}}))
        .unwrap();
        let told = node.told();
        assert!(!told.ready && told.unschedulable);
        assert_eq!(told.roles, ["control-plane"]);
        assert_eq!(
            (told.capacity.cpu.as_str(), told.version.as_str()),
            ("4", "v1.36.3")
        );
        let problems: Vec<&str> = told
            .problems
            .iter()
            .map(|problem| problem.kind.as_str())
            .collect();
        assert_eq!(problems, ["DiskPressure", "Ready"]);
    }

    #[test]
    fn an_event_of_nodes_fits_a_message_whoever_wrote_them() {
        let long = "\u{1}".repeat(2000);
        let condition = json!({"type": long, "status": "True", "reason": long, "message": long,
                               "lastTransitionTime": long});
        let node = json!({"metadata": {"name": long}, "status": {
            "conditions": vec![condition; 50], "capacity": {"cpu": long, "memory": long}}});
        let node: Node = serde_json::from_value(node).unwrap();
        let told = node.told();
        let items = super::super::text::fill(&mut std::iter::repeat(told));
        let text = serde_json::to_string(&items).unwrap();
        assert!(text.len() < limits::TEXT_MESSAGE * 3 / 4, "{}", text.len());
    }
}
