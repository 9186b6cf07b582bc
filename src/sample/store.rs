//! The sample cluster's objects and their recent history.
//!
//! Owns: the objects, the one counter of resource versions, and a ring of the last changes from
//! which watches and pages are answered. Owns not: what changes (`life`), nor the wire (`watch`).
//! Invariant: a reader keeps a version and nothing here; a reader that falls behind the ring is
//! told so and must list again, so that no reader costs memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

use super::catalog::{self, Resource};

/// Changes kept for watches and for pages of a LIST. At about two changes a second this is eight
/// minutes, more than kubectl pauses between pages, and a few megabytes.
const HISTORY: usize = 1_024;

/// Where an object lives. `resource` orders keys by kind; `namespace` is empty without one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    resource: (&'static str, &'static str),
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Key {
    /// The key of `name` in `namespace` (empty for resources without namespaces).
    pub(super) fn new(resource: &Resource, namespace: &str, name: &str) -> Self {
        Self {
            resource: (resource.group, resource.plural),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The key of a whole object, if its kind is served.
    fn of(object: &Value) -> Option<Self> {
        let resource = catalog::of_kind(object["apiVersion"].as_str()?, object["kind"].as_str()?)?;
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        Some(Self::new(
            resource,
            namespace,
            object["metadata"]["name"].as_str()?,
        ))
    }

    fn is_of(&self, resource: &Resource, namespace: Option<&str>) -> bool {
        self.resource == (resource.group, resource.plural)
            && namespace.is_none_or(|wanted| self.namespace == wanted)
    }
}

/// One change of one object.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) key: Key,
    /// The object after the change; for a deletion its last state with the version of the deletion.
    pub(super) object: Arc<Value>,
    /// The object before the change; none when it was created.
    pub(super) previous: Option<Arc<Value>>,
    pub(super) deleted: bool,
}

impl Change {
    /// Whether the change concerns this collection.
    pub(super) fn is_of(&self, resource: &Resource, namespace: Option<&str>) -> bool {
        self.key.is_of(resource, namespace)
    }
}

/// The asked version is no longer in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expired {
    /// The oldest version that can be asked for.
    pub(super) oldest: u64,
}

/// A collection at one version, in the order of its keys.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) version: u64,
    pub(super) objects: Vec<(Key, Arc<Value>)>,
}

/// The objects and their history.
#[derive(Debug)]
pub(super) struct Store {
    state: Mutex<State>,
    version: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    objects: BTreeMap<Key, Arc<Value>>,
    changes: VecDeque<Arc<Change>>,
    version: u64,
    /// The version just before the oldest change that is kept.
    horizon: u64,
}

// === impl Store ===

impl Store {
    /// An empty store whose versions begin after `version`.
    pub(super) fn new(version: u64) -> Self {
        let state = State {
            objects: BTreeMap::new(),
            changes: VecDeque::with_capacity(HISTORY),
            version,
            horizon: version,
        };
        Self {
            state: Mutex::new(state),
            version: watch::Sender::new(version),
        }
    }

    /// Creates or replaces an object. Nothing happens if it is the same but for its version.
    pub(super) fn put(&self, mut object: Value) {
        let Some(key) = Key::of(&object) else {
            tracing::error!(kind = %object["kind"], "Sample object has no served kind");
            return;
        };
        let version = {
            let mut state = self.lock();
            let previous = state.objects.get(&key).cloned();
            if let Some(previous) = &previous {
                object["metadata"]["resourceVersion"] =
                    previous["metadata"]["resourceVersion"].clone();
                if **previous == object {
                    return;
                }
            }
            let version = state.version + 1;
            object["metadata"]["resourceVersion"] = version.to_string().into();
            let object = Arc::new(object);
            state.objects.insert(key.clone(), Arc::clone(&object));
            state.record(Change {
                version,
                key,
                object,
                previous,
                deleted: false,
            });
            version
        };
        self.version.send_replace(version);
    }

    /// Changes an object in place, if it exists.
    pub(super) fn update(&self, key: &Key, change: impl FnOnce(&mut Value)) {
        if let Some(object) = self.get(key) {
            let mut object = Value::clone(&object);
            change(&mut object);
            self.put(object);
        }
    }

    /// Deletes an object, if it exists.
    pub(super) fn remove(&self, key: &Key) {
        let version = {
            let mut state = self.lock();
            let Some(previous) = state.objects.remove(key) else {
                return;
            };
            let version = state.version + 1;
            let mut last = Value::clone(&previous);
            last["metadata"]["resourceVersion"] = version.to_string().into();
            state.record(Change {
                version,
                key: key.clone(),
                object: Arc::new(last),
                previous: Some(previous),
                deleted: true,
            });
            version
        };
        self.version.send_replace(version);
    }

    /// One object.
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Value>> {
        self.lock().objects.get(key).cloned()
    }

    /// A collection as it is now.
    pub(super) fn list(&self, resource: &Resource, namespace: Option<&str>) -> Snapshot {
        let state = self.lock();
        Snapshot {
            version: state.version,
            objects: state.collection(resource, namespace),
        }
    }

    /// A collection as it was at `version`, by taking back what changed since.
    ///
    /// # Errors
    /// [`Expired`] when the history no longer reaches back that far.
    pub(super) fn list_at(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        version: u64,
    ) -> Result<Snapshot, Expired> {
        let state = self.lock();
        if version < state.horizon {
            return Err(Expired {
                oldest: state.horizon,
            });
        }
        let mut objects: BTreeMap<_, _> =
            state.collection(resource, namespace).into_iter().collect();
        let later = state
            .changes
            .iter()
            .rev()
            .take_while(|change| change.version > version);
        for change in later.filter(|change| change.is_of(resource, namespace)) {
            match &change.previous {
                Some(previous) => objects.insert(change.key.clone(), Arc::clone(previous)),
                None => objects.remove(&change.key),
            };
        }
        Ok(Snapshot {
            version,
            objects: objects.into_iter().collect(),
        })
    }

    /// Up to `limit` changes after `version`, oldest first.
    ///
    /// # Errors
    /// [`Expired`] when some of them are no longer kept.
    pub(super) fn since(&self, version: u64, limit: usize) -> Result<Vec<Arc<Change>>, Expired> {
        let state = self.lock();
        if version < state.horizon {
            return Err(Expired {
                oldest: state.horizon,
            });
        }
        let first = state
            .changes
            .partition_point(|change| change.version <= version);
        Ok(state.changes.range(first..).take(limit).cloned().collect())
    }

    /// The newest version.
    pub(super) fn version(&self) -> u64 {
        self.lock().version
    }

    /// Tells of each new version. Changes are then read with [`Store::since`].
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// A panic while the lock is held leaves whole objects behind, so poisoning is ignored.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn collection(&self, resource: &Resource, namespace: Option<&str>) -> Vec<(Key, Arc<Value>)> {
        self.objects
            .range(Key::new(resource, namespace.unwrap_or_default(), "")..)
            .take_while(|(key, _)| key.is_of(resource, namespace))
            .map(|(key, object)| (key.clone(), Arc::clone(object)))
            .collect()
    }

    fn record(&mut self, change: Change) {
        if self.changes.len() >= HISTORY
            && let Some(dropped) = self.changes.pop_front()
        {
            self.horizon = dropped.version;
        }
        self.version = change.version;
        self.changes.push_back(Arc::new(change));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config_map(name: &str, value: u64) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "a"}, "data": {"value": value}})
    }

    fn resource() -> &'static Resource {
        catalog::find("", "v1", "configmaps").unwrap()
    }

    #[test]
    fn an_older_version_can_be_listed_while_the_history_reaches_back() {
        let store = Store::new(10);
        store.put(config_map("one", 1));
        store.put(config_map("two", 1));
        let then = store.version();
        store.put(config_map("one", 2));
        store.remove(&Key::new(resource(), "a", "two"));
        store.put(config_map("three", 1));

        let old = store.list_at(resource(), Some("a"), then).unwrap();
        let seen: Vec<_> = old
            .objects
            .iter()
            .map(|(key, object)| (key.name.as_str(), object["data"]["value"].as_u64()))
            .collect();
        assert_eq!(seen, [("one", Some(1)), ("two", Some(1))]);
        assert_eq!(store.list(resource(), None).objects.len(), 2);
    }

    #[test]
    fn a_reader_behind_the_ring_is_told_so() {
        let store = Store::new(0);
        for value in 0..=HISTORY as u64 {
            store.put(config_map("one", value));
        }
        assert_eq!(store.since(0, 10).unwrap_err(), Expired { oldest: 1 });
        assert_eq!(store.since(1, 10).unwrap().len(), 10);
        assert!(store.list_at(resource(), None, 0).is_err());
    }

    #[test]
    fn putting_the_same_object_again_is_no_change() {
        let store = Store::new(0);
        store.put(config_map("one", 1));
        store.put(config_map("one", 1));
        assert_eq!(store.version(), 1);
    }
}
