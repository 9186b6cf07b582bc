//! One entry after the other: where the reader is, and what a single key may hold.
//!
//! Owns the rules of names, texts, times, targets and queries. Owns not: which keys go together
//! ([`super`]). Invariant: a fault is kept with its place; reading goes on.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::{HeaderName, Method};

use super::Problem;
use crate::extensions::channels::{self, Pointer};
use crate::extensions::config::Span;
use crate::extensions::http::Target;
use crate::kubeapi::RequestPath;
use crate::limits;
use crate::policy::{Policy, Subject};

/// Reads one entry after the other, and remembers where it is.
pub(super) struct Reader<'a> {
    pub(super) policy: &'a Policy,
    pub(super) found: Vec<Problem>,
    pub(super) at: String,
}

impl Reader<'_> {
    pub(super) fn at(&mut self, at: impl Into<String>) {
        self.at = at.into();
    }

    pub(super) fn fault(&mut self, problem: impl Into<String>, remedy: impl Into<String>) {
        self.found.push(Problem {
            at: self.at.clone(),
            problem: problem.into(),
            remedy: remedy.into(),
        });
    }

    /// A fault of one key of the entry.
    pub(super) fn key(&mut self, key: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        self.found.push(Problem {
            at: format!("{}.{key}", self.at),
            problem: problem.into(),
            remedy: remedy.into(),
        });
    }

    /// Every entry of a list; those with faults are left out.
    pub(super) fn list<C, T>(
        &mut self,
        key: &str,
        entries: &[C],
        mut one: impl FnMut(&mut Self, &C) -> Option<T>,
    ) -> Vec<T> {
        let most = match key {
            "health_checks" => limits::EXTENSION_CHECKS,
            "event_handlers" => limits::EXTENSION_HANDLERS,
            "channels" => limits::EXTENSION_CHANNELS,
            _ => limits::EXTENSION_PANELS,
        };
        if entries.len() > most {
            self.at(format!("extensions.{key}"));
            let problem = format!("there are {}", entries.len());
            self.fault(problem, format!("declare at most {most}"));
        }
        let mut read = Vec::new();
        for (index, entry) in entries.iter().enumerate().take(most) {
            self.at(format!("extensions.{key}[{index}]"));
            read.extend(one(self, entry));
        }
        read
    }

    pub(super) fn distinct<'n>(&mut self, key: &str, names: impl Iterator<Item = &'n String>) {
        let mut known = BTreeSet::new();
        self.at(format!("extensions.{key}"));
        for name in names {
            if !known.insert(name) {
                let problem = format!("`{name}` stands there twice");
                self.fault(problem, "give each a name of its own");
            }
        }
    }

    pub(super) fn one_of<T>(&mut self, keys: &str) -> Option<T> {
        let problem = format!("it has none of {keys}, or more than one");
        self.fault(problem, "give exactly one");
        None
    }

    pub(super) fn name(&mut self, key: &str, name: &str) {
        if !is_name(name) {
            let most = limits::EXTENSION_NAME;
            let remedy = format!("use up to {most} of a-z, 0-9, _ and -, a letter first");
            self.key(key, "it cannot be used as a name", remedy);
        }
    }

    pub(super) fn fields<'n>(
        &mut self,
        key: &str,
        names: impl ExactSizeIterator<Item = &'n String>,
    ) {
        let most = limits::EXTENSION_FIELDS;
        if !(1..=most).contains(&names.len()) {
            let remedy = format!("name from 1 to {most}");
            self.key(key, "there are none, or too many", remedy);
        }
        for name in names {
            if name == channels::ERROR {
                self.key(key, "`error` tells why there are none", "choose another");
            } else {
                self.name(key, name);
            }
        }
    }

    pub(super) fn text(&mut self, key: &str, text: &str) {
        let most = limits::EXTENSION_TEXT;
        if !(1..=most).contains(&text.len()) || text.contains(char::is_control) {
            let remedy = format!("give up to {most} bytes without control characters");
            self.key(key, "it is empty, too long or unprintable", remedy);
        }
    }

    pub(super) fn pointer(&mut self, key: &str, text: &str) -> Option<Pointer> {
        let pointer = Pointer::parse(text);
        if pointer.is_none() {
            let problem = "it is not a JSON pointer";
            self.key(key, problem, "begin with a slash, /status/phase");
        }
        pointer
    }

    pub(super) fn target(&mut self, key: &str, url: &str) -> Option<Target> {
        let read = Target::parse(url);
        if let Err(problem) = read {
            self.key(key, problem, "write it as https://host:port/path");
        }
        read.ok()
    }

    pub(super) fn span(
        &mut self,
        key: &str,
        given: Option<Span>,
        otherwise: u64,
        (least, most): (Duration, Duration),
    ) -> Duration {
        let allowed: RangeInclusive<_> = least..=most;
        let span = given.map_or(Duration::from_secs(otherwise), |span| span.0);
        if !allowed.contains(&span) {
            let remedy = format!("it is from {least:?} to {}s", most.as_secs());
            self.key(key, "it is out of range", remedy);
        }
        span
    }

    /// A GET of the Kubernetes API that ends by itself and that the preset allows.
    pub(super) fn query(&mut self, text: &str) -> Option<String> {
        const KEY: &str = "kubernetes.path";
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (text, None),
        };
        let read = match RequestPath::parse(&Method::GET, path, query, None) {
            Ok(read) => read,
            Err(error) => {
                let remedy = "write it as kubectl get --raw takes it";
                self.key(KEY, error.to_string(), remedy);
                return None;
            }
        };
        let about = read.attributes();
        if about.long_running {
            let problem = "the answer may never end";
            self.key(KEY, problem, "ask for an object or a list");
            return None;
        }
        if about.resource_request && about.resource == "secrets" {
            let problem = "secrets are never shown";
            self.key(KEY, problem, "ask for something else");
            return None;
        }
        if let Err(denied) = self.policy.allows(&Subject::Kubernetes(Box::new(read))) {
            let remedy = "ask for what the preset lists, or choose another preset with --access";
            self.key(KEY, denied.to_string(), remedy);
            return None;
        }
        Some(text.to_owned())
    }
}

/// A name that can be a label, an event's name and part of a component.
fn is_name(name: &str) -> bool {
    (1..=limits::EXTENSION_NAME).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
}

/// Headers that an exchange sets itself must stay its own.
pub(super) fn may_carry(name: &HeaderName) -> bool {
    !matches!(
        name.as_str(),
        "host"
            | "connection"
            | "content-length"
            | "content-type"
            | "transfer-encoding"
            | "upgrade"
            | "user-agent"
            | "accept"
            | "te"
            | "trailer"
            | "idempotency-key"
    )
}
