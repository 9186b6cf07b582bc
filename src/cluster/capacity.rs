//! What the nodes have, and what the pods on them ask for: what is known without metrics-server.
//!
//! Owns the reading of nodes and pods for it, and how a pod's demand is reckoned (as the scheduler
//! and `kubectl describe node` do). Owns not: how often (`commands`). Invariants: of a pod only its
//! demand is kept, added to its node's; at most [`limits::SURVEYS`] surveys run at once in the
//! process, because each reads every pod.

use std::collections::HashMap;

use serde::Deserialize;

use super::metrics::{Named, Used};
use super::objects::{Collection, ObjectError, Objects};
use crate::kubeapi::Quantity;
use crate::limits;

/// CPU, memory and pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// CPU and memory.
    pub used: Used,
    /// Pods.
    pub pods: i64,
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeRoom {
    /// Its name.
    pub name: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it takes no new pods.
    pub unschedulable: bool,
    /// What it has.
    pub capacity: Room,
    /// What of it pods may use.
    pub allocatable: Room,
}

/// What some pods ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    /// How many there are.
    pub pods: u32,
    /// What the scheduler sets aside for them.
    pub requests: Used,
    /// What they may use at most, as far as they say.
    pub limits: Used,
}

/// All pods.
#[derive(Debug, Clone, Default)]
pub struct PodDemand {
    /// By phase: pending, running, succeeded, failed, unknown.
    pub phases: [u32; 5],
    /// Those that have not ended, together.
    pub total: Demand,
    /// The same by node.
    pub nodes: HashMap<String, Demand>,
}

/// Every node.
///
/// # Errors
/// See [`ObjectError`].
pub async fn nodes(objects: &Objects) -> Result<Vec<NodeRoom>, ObjectError> {
    let mut pages = objects.list::<Node>(&Collection::new("", "v1", "nodes"));
    let mut nodes = Vec::new();
    while let Some(page) = pages.next().await? {
        if page.restarted {
            nodes.clear();
        }
        nodes.extend(page.items.into_iter().map(Node::room));
    }
    Ok(nodes)
}

/// What every pod asks for.
///
/// # Errors
/// See [`ObjectError`].
pub async fn pods(objects: &Objects) -> Result<PodDemand, ObjectError> {
    let _turn = objects.cluster().surveys().await;
    let mut pages = objects.list::<Pod>(&Collection::new("", "v1", "pods"));
    let mut all = PodDemand::default();
    while let Some(page) = pages.next().await? {
        if page.restarted {
            all = PodDemand::default();
        }
        for pod in page.items {
            all.add(&pod);
        }
    }
    Ok(all)
}

impl PodDemand {
    fn add(&mut self, pod: &Pod) {
        let phase = phase(&pod.status.phase);
        self.phases[phase] += 1;
        if matches!(phase, 2 | 3) {
            return;
        }
        let (requests, limits) = pod.spec.demand();
        let node = &pod.spec.node_name;
        let known = self.nodes.len() < limits::SURVEY_NODES || self.nodes.contains_key(node);
        let of_node = (known && !node.is_empty()).then(|| self.nodes.entry(node.clone()));
        let of_node = of_node.map(std::collections::hash_map::Entry::or_default);
        for demand in of_node.into_iter().chain([&mut self.total]) {
            demand.pods += 1;
            demand.requests.add(requests);
            demand.limits.add(limits);
        }
    }
}

/// Where in an array by phase.
pub(super) fn phase(name: &str) -> usize {
    let phases = ["Pending", "Running", "Succeeded", "Failed"];
    let at = phases.iter().position(|phase| *phase == name);
    at.unwrap_or(phases.len())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Node {
    metadata: Named,
    spec: NodeSpec,
    status: NodeStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeSpec {
    unschedulable: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    capacity: Amounts,
    allocatable: Amounts,
    conditions: Vec<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl Node {
    fn room(self) -> NodeRoom {
        let ready = |c: &Condition| c.kind == "Ready" && c.status == "True";
        NodeRoom {
            name: self.metadata.name,
            ready: self.status.conditions.iter().any(ready),
            unschedulable: self.spec.unschedulable,
            capacity: self.status.capacity.room(),
            allocatable: self.status.allocatable.room(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pod {
    spec: Spec,
    status: PodStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodStatus {
    phase: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: String,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    overhead: Amounts,
    /// Of the pod as a whole (KEP-2837).
    resources: Option<Resources>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    restart_policy: String,
    resources: Resources,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: Amounts,
    limits: Amounts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Amounts {
    cpu: Option<String>,
    memory: Option<String>,
    pods: Option<String>,
}

fn read(text: Option<&String>) -> Option<Quantity> {
    text.and_then(|text| Quantity::parse(text).ok())
}

impl Amounts {
    fn used(&self) -> Used {
        Used {
            cpu: read(self.cpu.as_ref()).unwrap_or_default(),
            memory: read(self.memory.as_ref()).unwrap_or_default(),
        }
    }

    fn room(&self) -> Room {
        Room {
            used: self.used(),
            pods: read(self.pods.as_ref()).map_or(0, Quantity::units),
        }
    }
}

impl Spec {
    /// Requests and limits of the pod as a whole.
    fn demand(&self) -> (Used, Used) {
        let whole = self.resources.as_ref();
        (
            self.of(|of| &of.requests, whole.map(|whole| &whole.requests)),
            self.of(|of| &of.limits, whole.map(|whole| &whole.limits)),
        )
    }

    /// Containers run together, init containers one after the other before them; those among these
    /// that restart (sidecars) go on beside all that come after them.
    fn of(&self, pick: impl Fn(&Resources) -> &Amounts, whole: Option<&Amounts>) -> Used {
        let mut together = Used::default();
        for container in &self.containers {
            together.add(pick(&container.resources).used());
        }
        let (mut sidecars, mut peak) = (Used::default(), Used::default());
        for container in &self.init_containers {
            let mut now = pick(&container.resources).used();
            if container.restart_policy == "Always" {
                together.add(now);
                sidecars.add(now);
                now = sidecars;
            } else {
                now.add(sidecars);
            }
            peak = peak.most(now);
        }
        let mut all = together.most(peak);
        if let Some(whole) = whole {
            all.cpu = read(whole.cpu.as_ref()).unwrap_or(all.cpu);
            all.memory = read(whole.memory.as_ref()).unwrap_or(all.memory);
        }
        if all != Used::default() {
            all.add(self.overhead.used());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn demand(spec: serde_json::Value) -> [i64; 4] {
        let spec: Spec = serde_json::from_value(spec).unwrap();
        let (requests, limits) = spec.demand();
        [
            requests.cpu.millis(),
            requests.memory.units(),
            limits.cpu.millis(),
            limits.memory.units(),
        ]
    }

    #[test]
    fn a_pod_asks_for_what_the_scheduler_sets_aside() {
        let of =
            |cpu: &str| json!({"requests": {"cpu": cpu, "memory": "1Ki"}, "limits": {"cpu": "1"}});
        let plain =
            json!({"containers": [{"resources": of("100m")}, {"resources": of("200m")}, {}]});
        assert_eq!(demand(plain), [300, 2048, 2000, 0]);
        // An init container that asks for more than all that run later decides.
        let init = json!({"containers": [{"resources": of("100m")}],
            "initContainers": [{"resources": of("250m")}, {"resources": of("50m")}]});
        assert_eq!(demand(init)[0], 250);
        // A sidecar runs beside what comes after it, and beside the containers.
        let sidecar = json!({"containers": [{"resources": of("100m")}],
            "initContainers": [{"resources": of("30m"), "restartPolicy": "Always"}, {"resources": of("250m")}]});
        assert_eq!(demand(sidecar)[0], 280);
        let overhead =
            json!({"containers": [{"resources": of("100m")}], "overhead": {"cpu": "10m"}});
        assert_eq!(demand(overhead)[0], 110);
        let whole = json!({"containers": [{"resources": of("100m")}],
            "resources": {"requests": {"cpu": "1"}}});
        assert_eq!(demand(whole)[..2], [1000, 1024]);
        assert_eq!(demand(json!({"overhead": {"cpu": "10m"}})), [0; 4]);
    }

    #[test]
    fn pods_that_have_ended_ask_for_nothing_more() {
        let mut all = PodDemand::default();
        for (phase, node) in [
            ("Running", "a"),
            ("Running", "b"),
            ("Pending", ""),
            ("Succeeded", "a"),
            ("Failed", "a"),
            ("Odd", "a"),
        ] {
            let pod = json!({"spec": {"nodeName": node, "containers": [{"resources": {"requests": {"cpu": "1"}}}]},
                             "status": {"phase": phase}});
            all.add(&serde_json::from_value(pod).unwrap());
        }
        assert_eq!(all.phases, [1, 2, 1, 1, 1]);
        assert_eq!(all.total.pods, 4);
        assert_eq!(all.total.requests.cpu.millis(), 4000);
        assert_eq!(all.nodes["a"].pods, 2);
        assert_eq!(all.nodes.len(), 2, "a pod without a node is nobody's");
    }

    #[test]
    fn nodes_beyond_the_bound_are_in_the_sum_and_not_told_apart() {
        let mut all = PodDemand::default();
        let pod = |node: usize| {
            let pod = json!({"spec": {"nodeName": format!("node-{node}")},
                             "status": {"phase": "Running"}});
            serde_json::from_value::<Pod>(pod).unwrap()
        };
        for node in 0..=limits::SURVEY_NODES {
            all.add(&pod(node));
        }
        // One that is known already counts on.
        all.add(&pod(0));
        assert_eq!(all.nodes.len(), limits::SURVEY_NODES);
        assert_eq!(all.nodes["node-0"].pods, 2);
        assert_eq!(all.total.pods as usize, limits::SURVEY_NODES + 2);
    }
}
