//! Which resource a kind is, as the API server says.
//!
//! Owns the question and a short memory of its answers. Invariants: at most
//! [`limits::DISCOVERIES`] group versions are remembered, each for [`limits::DISCOVERY_KEPT`]; a
//! kind that is not found in memory is looked for once more, so that a new one is found at once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use tokio::time::Instant;

use super::{Cluster, ObjectError};
use crate::limits;

/// Where objects of a kind are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The plural name.
    pub plural: String,
    /// Its objects are in namespaces.
    pub namespaced: bool,
}

type Kinds = Arc<BTreeMap<String, Resource>>;

/// What was learnt of late.
#[derive(Debug, Default)]
pub(super) struct Memory {
    known: Mutex<HashMap<String, (Instant, Kinds)>>,
}

#[derive(Deserialize)]
struct List {
    resources: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    name: String,
    kind: String,
    namespaced: bool,
}

impl Cluster {
    /// The resource of a kind; none where the API server does not know it. Asked as the agent
    /// itself: what exists is no secret to anybody who may ask.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    ///
    /// # Cancel safety
    /// May be dropped and asked again.
    pub async fn resource(
        &self,
        group: &str,
        version: &str,
        kind: &str,
    ) -> Result<Option<Resource>, ObjectError> {
        let path = if group.is_empty() {
            format!("/api/{version}")
        } else {
            format!("/apis/{group}/{version}")
        };
        if let Some(kinds) = self.inner.kinds.recall(&path, Instant::now())
            && let Some(resource) = kinds.get(kind)
        {
            return Ok(Some(resource.clone()));
        }
        let list: List = match self.objects().get(&path).await {
            Ok(list) => list,
            Err(ObjectError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut kinds = BTreeMap::new();
        for item in list.resources {
            // Subresources have a slash, and often the kind of something else.
            if !item.name.contains('/') {
                kinds.entry(item.kind).or_insert(Resource {
                    plural: item.name,
                    namespaced: item.namespaced,
                });
            }
        }
        let found = kinds.get(kind).cloned();
        self.inner.kinds.keep(path, Arc::new(kinds), Instant::now());
        Ok(found)
    }
}

impl Memory {
    fn recall(&self, path: &str, now: Instant) -> Option<Kinds> {
        let known = self.known.lock().expect("no holder of this lock panics");
        let (learnt, kinds) = known.get(path)?;
        let age = now.saturating_duration_since(*learnt);
        (age < limits::DISCOVERY_KEPT).then(|| Arc::clone(kinds))
    }

    fn keep(&self, path: String, kinds: Kinds, now: Instant) {
        let mut known = self.known.lock().expect("no holder of this lock panics");
        known.retain(|_, (learnt, _)| {
            now.saturating_duration_since(*learnt) < limits::DISCOVERY_KEPT
        });
        // What finds no room is asked for again each time.
        if known.len() < limits::DISCOVERIES || known.contains_key(&path) {
            known.insert(path, (now, kinds));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_short_and_bounded() {
        let memory = Memory::default();
        let now = Instant::now();
        for number in 0..=limits::DISCOVERIES {
            memory.keep(format!("/apis/g{number}/v1"), Kinds::default(), now);
        }
        let last = format!("/apis/g{}/v1", limits::DISCOVERIES);
        assert!(memory.recall("/apis/g0/v1", now).is_some());
        assert!(memory.recall(&last, now).is_none());
        let later = now + limits::DISCOVERY_KEPT;
        assert!(memory.recall("/apis/g0/v1", later).is_none());
        memory.keep(last.clone(), Kinds::default(), later);
        assert!(memory.recall(&last, later).is_some());
    }
}
