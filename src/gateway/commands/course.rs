//! The closed list of commands that a caller may run over HTTP, and how each survives a lost channel.
//!
//! Owns that table only. Invariant: a command that is not in it is not offered, whatever an agent
//! knows.

use serde_json::{Map, Value};

use crate::protocol::message::Class;

/// How a command goes on when its channel is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    /// It is opened again with its cursors, as often as it takes (P-71).
    Observes,
    /// It only reads and has an end: it is run again while nothing of its answer was passed on.
    Reads,
    /// With a key it is sent again, for the agent to say what came of it (P-73); without, never.
    Changes,
}

const OFFERED: [(&str, Course, Class); 15] = [
    ("connectivity.check", Course::Reads, Class::Api),
    ("events.watch", Course::Observes, Class::Api),
    ("features.get", Course::Reads, Class::Api),
    ("health.run", Course::Reads, Class::Api),
    ("logs.follow", Course::Observes, Class::Bulk),
    ("logs.get", Course::Observes, Class::Bulk),
    ("metrics.watch", Course::Observes, Class::Api),
    ("resources.apply", Course::Changes, Class::Api),
    ("resources.delete", Course::Changes, Class::Api),
    ("services.list", Course::Reads, Class::Api),
    ("services.watch", Course::Observes, Class::Api),
    ("status.get", Course::Reads, Class::Api),
    ("status.watch", Course::Observes, Class::Api),
    ("workloads.restart", Course::Changes, Class::Api),
    ("workloads.scale", Course::Changes, Class::Api),
];

/// A command that is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offered {
    pub(crate) name: &'static str,
    pub(crate) course: Course,
    pub(crate) class: Class,
}

impl Offered {
    /// Whether it ends by itself, with these arguments.
    pub(crate) fn ends(self, args: &Map<String, Value>) -> bool {
        self.course != Course::Observes
            || self.name == "logs.get"
            || self.name == "metrics.watch" && args.contains_key("samples")
    }
}

/// The command of this name, or why it is not offered.
pub(crate) fn offered(name: &str) -> Result<Offered, String> {
    let found = OFFERED.iter().find(|(offered, ..)| *offered == name);
    if let Some(&(name, course, class)) = found {
        return Ok(Offered {
            name,
            course,
            class,
        });
    }
    Err(match name {
        "k8s.request" => {
            "requests to the API go to /clusters/{id}/k8s/, as kubectl sends them".into()
        }
        "channel.echo" => "channel.echo carries bytes both ways, which HTTP/1.1 does not".into(),
        _ => {
            let names: Vec<_> = OFFERED.iter().map(|(name, ..)| *name).collect();
            format!("no such command; there are {}", names.join(", "))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Command;

    #[test]
    fn every_command_of_the_protocol_is_offered_or_says_the_right_way() {
        for name in Command::NAMES {
            match offered(name) {
                Ok(found) => assert_eq!(found.name, *name),
                Err(why) => assert!(!why.starts_with("no such"), "{name} is not offered"),
            }
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_list() {
        assert!(offered("logs.eat").unwrap_err().contains("logs.follow"));
        assert!(offered("k8s.request").unwrap_err().contains("/k8s/"));
    }
}
