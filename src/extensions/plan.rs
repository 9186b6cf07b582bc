//! From what an operator wrote to what is done, or to all that is wrong with it.
//!
//! Owns the rules: names, bounds, which keys go together, and that a query to the Kubernetes API is
//! one that the access preset allows. Owns not: the doing. Pure, but for files of authorities,
//! which are looked at once. Invariant: every fault is told, each with its place and its remedy.

mod reader;

use std::fmt;

use super::channels::{self, Channel};
use super::checks::{self, Check};
use super::config::{self, Config, Severity};
use super::handlers::{self, Handler};
use super::http::{Bearer, Client};
use super::panels::{self, Panel};
use super::prometheus::Selector;
use crate::limits;
use crate::policy::{Policy, Subject};
use crate::status::HealthState;
use reader::{Reader, may_carry};

/// A fault in the section `extensions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, `extensions.channels[0].every`.
    pub at: String,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.at, self.problem, self.remedy)
    }
}

/// Everything that is wrong with the section.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalid(pub Vec<Problem>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// What is to be done.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) client: Client,
    pub(super) checks: Vec<Check>,
    pub(super) handlers: Vec<Handler>,
    pub(super) channels: Vec<Channel>,
    pub(super) panels: Vec<Panel>,
}

impl Plan {
    /// Reads a configuration.
    pub(super) fn of(config: &Config, policy: &Policy) -> Result<Self, Invalid> {
        let client = Client::new(config.ca_file.clone());
        let mut read = Reader {
            policy,
            found: Vec::new(),
            at: String::new(),
        };
        if client.tls().is_err() {
            read.at("extensions.ca_file");
            read.fault(
                "the file cannot be read or holds no certificate",
                "name a PEM file that the agent may read",
            );
        }
        let checks = read.list("health_checks", &config.health_checks, Reader::check);
        let handlers = read.list("event_handlers", &config.event_handlers, Reader::handler);
        let channels = read.list("channels", &config.channels, Reader::channel);
        read.distinct(
            "health_checks",
            config.health_checks.iter().map(|c| &c.name),
        );
        read.distinct(
            "event_handlers",
            config.event_handlers.iter().map(|h| &h.name),
        );
        read.distinct("channels", config.channels.iter().map(|c| &c.name));
        let types = config
            .channels
            .iter()
            .filter_map(|c| c.message_type.as_ref());
        read.distinct("channels", types);
        let own: Vec<_> = config.channels.iter().map(|c| c.name.as_str()).collect();
        let panels = read.list("panels", &config.panels, |read, panel| {
            read.panel(panel, &own)
        });
        if read.found.is_empty() {
            Ok(Self {
                client,
                checks,
                handlers,
                channels,
                panels,
            })
        } else {
            Err(Invalid(read.found))
        }
    }
}

impl Reader<'_> {
    fn check(&mut self, check: &config::HealthCheck) -> Option<Check> {
        self.name("name", &check.name);
        let every = self.span("every", check.every, 30, limits::EXTENSION_EVERY);
        let timeout = self.span("timeout", check.timeout, 5, limits::EXTENSION_TIMEOUT);
        let failures = check.failures.unwrap_or(2);
        if !(1..=limits::EXTENSION_FAILURES).contains(&failures) {
            let remedy = format!("it is from 1 to {}", limits::EXTENSION_FAILURES);
            self.key("failures", "it is out of range", remedy);
        }
        let what = match (&check.http, &check.tcp, &check.kubernetes) {
            (Some(http), None, None) => self.http_check(http),
            (None, Some(tcp), None) => self.tcp_check(tcp),
            (None, None, Some(condition)) => self.condition(condition),
            _ => self.one_of("http, tcp and kubernetes"),
        }?;
        Some(Check {
            component: checks::component(&check.name),
            what,
            every,
            timeout,
            failures,
            severity: match check.severity {
                Severity::Degraded => HealthState::Degraded,
                Severity::Failing => HealthState::Failing,
            },
        })
    }

    fn http_check(&mut self, http: &config::HttpCheck) -> Option<checks::What> {
        let most = limits::EXTENSION_FIELDS;
        let codes = http.status.iter().all(|code| (100..600).contains(code));
        if !codes || http.status.len() > most {
            let remedy = format!("give up to {most} codes from 100 to 599");
            self.key("http.status", "it holds what is no status", remedy);
        }
        if let Some(text) = &http.contains {
            self.text("http.contains", text);
        }
        Some(checks::What::Http {
            target: self.target("http.url", &http.url)?,
            bearer: http.bearer_file.as_deref().map(Bearer::file),
            statuses: http.status.clone(),
            contains: http.contains.clone(),
        })
    }

    fn tcp_check(&mut self, tcp: &config::TcpCheck) -> Option<checks::What> {
        let read = tcp.address.rsplit_once(':').and_then(|(host, port)| {
            let port: u16 = port.parse().ok().filter(|&port| port != 0)?;
            let bare = host
                .strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'));
            // Without brackets the last group of an IPv6 address would be its port.
            if bare.is_none() && host.contains(':') {
                return None;
            }
            let host = bare.unwrap_or(host);
            let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
            let named = (1..=253).contains(&host.len()) && host.chars().all(plain);
            named.then(|| (host.to_owned(), port))
        });
        let Some((host, port)) = read else {
            self.key(
                "tcp.address",
                "it is not a host and a port",
                "write it as redis.shop.svc:6379",
            );
            return None;
        };
        Some(checks::What::Tcp { host, port })
    }

    fn condition(&mut self, condition: &config::ConditionCheck) -> Option<checks::What> {
        self.text("kubernetes.condition", &condition.condition);
        let status = condition.status.as_deref().unwrap_or("True");
        if !matches!(status, "True" | "False" | "Unknown") {
            let problem = "it is no status of a condition";
            self.key("kubernetes.status", problem, "it is True, False or Unknown");
        }
        Some(checks::What::Condition {
            path: self.query(&condition.path)?,
            condition: condition.condition.clone(),
            status: status.to_owned(),
        })
    }

    fn handler(&mut self, handler: &config::EventHandler) -> Option<Handler> {
        self.name("name", &handler.name);
        let wanted = &handler.matching;
        for (key, texts) in [
            ("match.kind", &wanted.kind),
            ("match.reason", &wanted.reason),
            ("match.type", &wanted.r#type),
            ("match.namespace", &wanted.namespace),
        ] {
            if texts.len() > limits::EXTENSION_FIELDS {
                let remedy = format!("give at most {}", limits::EXTENSION_FIELDS);
                self.key(key, "there are too many", remedy);
            }
            for text in texts {
                self.text(key, text);
            }
        }
        let known = |kind: &String| matches!(kind.as_str(), "Normal" | "Warning");
        if !wanted.r#type.iter().all(known) {
            let problem = "it is no type of an event";
            self.key("match.type", problem, "it is Normal or Warning");
        }
        for need in handlers::needs() {
            if let Err(denied) = self.policy.allows(&Subject::Operation(vec![need])) {
                self.fault(denied.to_string(), "use a preset that lets events be read");
            }
        }
        let action = match (&handler.webhook, &handler.log) {
            (Some(webhook), None) => self.webhook(webhook)?,
            (None, Some(line)) => handlers::Action::Log(line.level),
            _ => self.one_of("webhook and log")?,
        };
        Some(Handler {
            name: handler.name.clone(),
            matching: wanted.clone(),
            repeats: handler.repeats,
            action,
        })
    }

    fn webhook(&mut self, webhook: &config::Webhook) -> Option<handlers::Action> {
        let timeout = self.span(
            "webhook.timeout",
            webhook.timeout,
            5,
            limits::EXTENSION_TIMEOUT,
        );
        let target = self.target("webhook.url", &webhook.url)?;
        let header = match webhook.secret_header.as_deref().map(str::parse) {
            None => None,
            Some(Ok(name)) if may_carry(&name) => Some(name),
            Some(_) => {
                let problem = "it is no header that may carry a secret";
                self.key("webhook.secret_header", problem, "name one, x-hook-token");
                return None;
            }
        };
        if header.is_some() && webhook.secret_file.is_none() {
            let problem = "there is no secret for it";
            self.key("webhook.secret_header", problem, "give secret_file as well");
        }
        let bearer = webhook.secret_file.as_deref().map(|path| Bearer {
            header,
            ..Bearer::file(path)
        });
        Some(handlers::Action::Webhook {
            target,
            bearer,
            timeout,
        })
    }

    fn channel(&mut self, channel: &config::Channel) -> Option<Channel> {
        self.name("name", &channel.name);
        if panels::BUILT_IN.contains(&channel.name.as_str()) {
            self.key("name", "it is a built-in channel", "choose another");
        }
        if let Some(kind) = &channel.message_type {
            self.name("message_type", kind);
            if channels::MESSAGES.contains(&kind.as_str()) {
                self.key("message_type", "it is a built-in type", "choose another");
            }
        }
        let every = self.span("every", channel.every, 15, limits::EXTENSION_EVERY);
        let timeout = self.span("timeout", channel.timeout, 5, limits::EXTENSION_TIMEOUT);
        let source = match (&channel.kubernetes, &channel.prometheus) {
            (Some(query), None) => self.kubernetes(query)?,
            (None, Some(scrape)) => self.prometheus(scrape)?,
            _ => self.one_of("kubernetes and prometheus")?,
        };
        Some(Channel {
            name: channel.name.clone(),
            message_type: channel.message_type.clone(),
            source,
            every,
            timeout,
        })
    }

    fn kubernetes(&mut self, query: &config::KubernetesQuery) -> Option<channels::Source> {
        self.fields("kubernetes.fields", query.fields.keys());
        let mut fields = Vec::new();
        for (name, field) in &query.fields {
            let key = format!("kubernetes.fields.{name}");
            let field = match field {
                config::Field::Pointer(pointer) => {
                    self.pointer(&key, pointer).map(channels::Field::One)
                }
                config::Field::Table(table) => {
                    self.fields(&format!("{key}.pick"), table.pick.keys());
                    let each = self.pointer(&format!("{key}.each"), &table.each);
                    let pick = table.pick.iter().filter_map(|(column, pointer)| {
                        let pointer = self.pointer(&format!("{key}.pick.{column}"), pointer)?;
                        Some((column.clone(), pointer))
                    });
                    let pick = pick.collect();
                    each.map(|each| channels::Field::Table { each, pick })
                }
            };
            fields.extend(field.map(|field| (name.clone(), field)));
        }
        Some(channels::Source::Kubernetes {
            path: self.query(&query.path)?,
            fields,
        })
    }

    fn prometheus(&mut self, scrape: &config::Scrape) -> Option<channels::Source> {
        self.fields("prometheus.metrics", scrape.metrics.keys());
        let mut metrics = Vec::new();
        for (name, selector) in &scrape.metrics {
            let key = format!("prometheus.metrics.{name}");
            self.text(&key, selector);
            match Selector::parse(selector) {
                Some(selector) => metrics.push((name.clone(), selector)),
                None => self.key(
                    &key,
                    "it does not select series",
                    "write it as name or name{label=\"value\"}",
                ),
            }
        }
        Some(channels::Source::Prometheus {
            target: self.target("prometheus.url", &scrape.url)?,
            bearer: scrape.bearer_file.as_deref().map(Bearer::file),
            metrics,
        })
    }

    fn panel(&mut self, panel: &config::Panel, own: &[&str]) -> Option<Panel> {
        self.text("title", &panel.title);
        if let Some(unit) = &panel.unit {
            self.text("unit", unit);
        }
        let known = |name: &&str| *name == panel.source;
        if !own.iter().chain(panels::BUILT_IN).any(known) {
            let all: Vec<_> = own.iter().chain(panels::BUILT_IN).copied().collect();
            let problem = format!("there is no channel `{}`", panel.source);
            self.key(
                "source",
                problem,
                format!("it is one of {}", all.join(", ")),
            );
        }
        self.pointer("field", &panel.field)?;
        Some(Panel {
            title: panel.title.clone(),
            source: panel.source.clone(),
            field: panel.field.clone(),
            kind: panel.kind,
            unit: panel.unit.clone(),
        })
    }
}
