//! Reading what a command that observes tells.

use pipeops_agent::protocol::ErrorBody;
use pipeops_agent::session::Item;
use serde_json::Value;

use crate::support::pair::Running;

/// All events up to some point, or all that came of a command.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) events: Vec<Value>,
    pub(super) end: Result<Option<Value>, ErrorBody>,
}

impl Told {
    pub(super) fn result(&self) -> Value {
        self.end.clone().expect("a good end").expect("a result")
    }

    /// The items of all events of this name.
    pub(super) fn items(&self, event: &str) -> Vec<Value> {
        let of = self.events.iter().filter_map(|told| told.get(event));
        of.flat_map(|told| told["items"].as_array().unwrap().clone())
            .collect()
    }

    /// Their names, in order, with their namespace.
    pub(super) fn names(&self, event: &str) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut names: Vec<String> = self
            .items(event)
            .iter()
            .map(|item| format!("{}/{}", text(&item["namespace"]), text(&item["name"])))
            .collect();
        names.sort();
        names
    }

    /// Where to resume: the cursor of the last event that has one.
    pub(super) fn cursor(&self) -> String {
        let Ok(Some(cursor)) = &self.end else {
            panic!("{self:?} has no cursor");
        };
        cursor.as_str().unwrap().to_owned()
    }
}

/// A command that is read bit by bit.
pub(super) struct Reading {
    running: Running,
}

impl Reading {
    pub(super) fn new(running: Running) -> Self {
        Self { running }
    }

    /// The next event: its name and its value.
    pub(super) async fn next(&mut self) -> (String, Value) {
        match self.running.next().await {
            Item::Event(event) => {
                let Value::Object(event) = serde_json::from_str(event.get()).unwrap() else {
                    panic!("{event} is no object");
                };
                event.into_iter().next().expect("an event has a name")
            }
            other => panic!("an event was expected, not {other:?}"),
        }
    }

    /// All events up to the next `synced`, whose cursor stands as the end.
    pub(super) async fn synced(&mut self) -> Told {
        let mut events = Vec::new();
        loop {
            let (name, value) = self.next().await;
            if name == "synced" {
                let end = Ok(Some(value["cursor"].clone()));
                return Told { events, end };
            }
            events.push(serde_json::json!({ name: value }));
        }
    }

    /// The value of the next event of this name; others are skipped.
    pub(super) async fn until(&mut self, wanted: &str) -> Value {
        loop {
            let (name, value) = self.next().await;
            if name == wanted {
                return value;
            }
        }
    }

    /// The end; events before it are skipped.
    pub(super) async fn end(mut self) -> Result<Option<Value>, ErrorBody> {
        loop {
            if let Item::End(end) = self.running.next().await {
                return end
                    .map(|result| result.map(|raw| serde_json::from_str(raw.get()).unwrap()));
            }
        }
    }
}

/// All that comes of a command that ends.
pub(super) async fn told_by(mut running: Running) -> Told {
    let mut events = Vec::new();
    loop {
        match running.next().await {
            Item::Event(event) => events.push(serde_json::from_str(event.get()).unwrap()),
            Item::End(end) => {
                let end = end.map(|result| {
                    result.map(|raw| serde_json::from_str::<Value>(raw.get()).unwrap())
                });
                return Told { events, end };
            }
            Item::Fin => {}
            Item::Data(bytes) => panic!("{} bytes were not to come", bytes.len()),
        }
    }
}
