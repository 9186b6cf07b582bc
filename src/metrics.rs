//! The Prometheus registry of the agent; `docs/metrics.md` lists what is in it.
//!
//! Owns registering and encoding. Families live with the module that counts; figures that exist
//! anyway are copied in by an observer at each scrape. Invariant: every label is of a bounded set.

use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

/// The media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Observer = Box<dyn Fn() + Send + Sync>;

/// All families of this process.
pub struct Metrics {
    inner: Mutex<Inner>,
}

struct Inner {
    registry: Registry,
    observers: Vec<Observer>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                registry: Registry::default(),
                observers: Vec::new(),
            }),
        }
    }
}

impl Metrics {
    /// Adds families under their full names; counters get the suffix `_total`.
    pub fn register(&self, families: impl FnOnce(&mut Registry)) {
        families(&mut self.lock().registry);
    }

    /// Calls `observer` before each scrape. It must not wait, nor come back here.
    pub fn observe(&self, observer: impl Fn() + Send + Sync + 'static) {
        self.lock().observers.push(Box::new(observer));
    }

    /// Lets the observers copy their figures, as before a scrape.
    pub fn refresh(&self) {
        for observer in &self.lock().observers {
            observer();
        }
    }

    /// Every family as OpenMetrics text.
    pub fn encode(&self) -> String {
        let inner = self.lock();
        for observer in &inner.observers {
            observer();
        }
        let mut out = String::new();
        // Writing to a string does not fail; a family that cannot be encoded ends the text early.
        let _ = text::encode(&mut out, &inner.registry);
        out
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::gauge::Gauge;

    #[test]
    fn an_observer_sets_the_figure_at_each_scrape() {
        let metrics = Metrics::default();
        let gauge = Gauge::<i64>::default();
        metrics
            .register(|registry| registry.register("pipeops_answer", "The answer", gauge.clone()));
        metrics.observe(move || {
            gauge.inc();
        });
        assert!(metrics.encode().contains("pipeops_answer 1\n"));
        let text = metrics.encode();
        assert!(text.contains("pipeops_answer 2\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
