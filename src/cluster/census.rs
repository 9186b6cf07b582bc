//! How many nodes and pods there are, and how they do: a few numbers for a heartbeat.
//!
//! Owns the cheapest way to them: Tables without their objects, from the API server's own cache, a
//! twentieth of the bytes of the objects. The server itself reckons what a pod's state is called,
//! as for `kubectl get pods`. Owns not: how often. Invariant: nothing is kept but counts.

use serde::Deserialize;
use serde_json::Value;

use super::Cluster;
use super::objects::{ObjectError, Objects, Shape};
use crate::limits;

/// The counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Nodes that are ready.
    pub nodes_ready: u32,
    /// All nodes.
    pub nodes: u32,
    /// Pods by phase: pending, running, succeeded, failed, unknown.
    pub pods: [u32; 5],
    /// Pods that should run and do not, or are not ready.
    pub unhealthy: u32,
}

const PHASES: [&str; 5] = ["Pending", "Running", "Succeeded", "Failed", "Unknown"];

#[derive(Debug, Deserialize)]
struct Row {
    #[serde(default)]
    cells: Vec<Value>,
}

impl Row {
    fn cell(&self, at: usize) -> &str {
        self.cells.get(at).and_then(Value::as_str).unwrap_or("")
    }

    /// A node's second column: `Ready,SchedulingDisabled`.
    fn is_ready_node(&self) -> bool {
        self.cell(1).split(',').next() == Some("Ready")
    }

    /// A pod's columns: name, ready (`1/2`), status, restarts, age.
    fn is_unhealthy(&self, phase: &str) -> bool {
        let status = self.cell(2);
        match phase {
            "Succeeded" => false,
            "Running" => match status {
                "Running" => {
                    let ready = self.cell(1).split_once('/');
                    ready.is_none_or(|(ready, all)| ready != all)
                }
                // On its way out, or one container of it has done its work.
                "Terminating" | "Completed" => false,
                _ => true,
            },
            "Pending" => {
                let failed = status.contains("BackOff") || status.contains("Err");
                failed || (status != "Terminating" && !is_young(self.cell(4)))
            }
            _ => true,
        }
    }
}

/// Whether an age as the API server writes it (`45s`, `3m20s`, `2d`) is under five minutes.
fn is_young(age: &str) -> bool {
    let digits = age.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = age.split_at(digits);
    match (number.parse::<u32>(), unit.bytes().next()) {
        (Ok(_), Some(b's')) => true,
        (Ok(minutes), Some(b'm')) => minutes < 5,
        _ => false,
    }
}

impl Cluster {
    /// Counts.
    ///
    /// # Errors
    /// See [`ObjectError`].
    ///
    /// # Cancel safety
    /// May be dropped and asked again.
    pub async fn census(&self) -> Result<Counts, ObjectError> {
        let _turn = self.surveys().await;
        let objects = self.objects();
        let mut counts = Counts::default();
        each(&objects, "/api/v1/nodes", "", |row| {
            counts.nodes += 1;
            counts.nodes_ready += u32::from(row.is_ready_node());
        })
        .await?;
        for (phase, count) in PHASES.iter().zip(&mut counts.pods) {
            let selector = format!("&fieldSelector=status.phase%3D{phase}");
            let mut unhealthy = 0;
            each(&objects, "/api/v1/pods", &selector, |row| {
                *count += 1;
                unhealthy += u32::from(row.is_unhealthy(phase));
            })
            .await?;
            counts.unhealthy += unhealthy;
        }
        Ok(counts)
    }

    /// A turn to read every pod of the cluster.
    pub(super) async fn surveys(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.inner.surveys.acquire().await.ok()
    }
}

/// Every row of a table, out of the API server's cache.
async fn each(
    objects: &Objects,
    path: &str,
    selector: &str,
    mut count: impl FnMut(&Row),
) -> Result<(), ObjectError> {
    let target = format!("{path}?includeObject=None&resourceVersion=0{selector}");
    let mut rows = objects.unpaged::<Row>(&target, Shape::Table).await?;
    let mut seen = 0;
    while let Some(some) = rows.next().await? {
        seen += some.len();
        if seen > limits::CENSUS_ROWS {
            return Err(ObjectError::TooLarge(limits::CENSUS_ROWS));
        }
        some.iter().for_each(&mut count);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn unhealthy(phase: &str, ready: &str, status: &str, age: &str) -> bool {
        let cells = json!({"cells": ["p", ready, status, "0", age]});
        let row: Row = serde_json::from_value(cells).unwrap();
        row.is_unhealthy(phase)
    }

    #[test]
    fn a_pod_is_unhealthy_that_should_run_and_does_not() {
        assert!(!unhealthy("Running", "1/1", "Running", "5d"));
        assert!(unhealthy("Running", "1/2", "Running", "5d"));
        assert!(unhealthy("Running", "0/1", "CrashLoopBackOff", "5d"));
        assert!(!unhealthy("Running", "0/1", "Terminating", "5d"));
        assert!(!unhealthy("Running", "0/1", "Completed", "5d"));
        assert!(!unhealthy("Succeeded", "0/1", "Completed", "5d"));
        assert!(unhealthy("Failed", "0/1", "Evicted", "5d"));
        assert!(unhealthy("Unknown", "0/1", "Unknown", "5d"));
        assert!(!unhealthy("Pending", "0/1", "ContainerCreating", "45s"));
        assert!(!unhealthy("Pending", "0/1", "Init:0/1", "4m59s"));
        assert!(unhealthy("Pending", "0/1", "Pending", "5m"));
        assert!(unhealthy("Pending", "0/1", "Pending", "3h"));
        assert!(unhealthy("Pending", "0/1", "ImagePullBackOff", "45s"));
        assert!(unhealthy("Pending", "0/1", "ErrImagePull", "45s"));
    }

    #[test]
    fn rows_that_are_none_count_as_what_is_worse() {
        for cells in [
            json!({}),
            json!({"cells": []}),
            json!({"cells": [1, 2, null, {}]}),
        ] {
            let row: Row = serde_json::from_value(cells).unwrap();
            assert!(row.is_unhealthy("Running"));
            assert!(!row.is_ready_node());
        }
    }
}
