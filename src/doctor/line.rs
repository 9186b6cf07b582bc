//! One line of the doctor's report.
//!
//! Owns its shape for people and for programs. Invariant: a line that is not well has a remedy, and
//! every line names where it is explained.

use serde::Serialize;

use crate::health::connectivity::{Check, Outcome};

/// One check, as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The check.
    pub check: Check,
    /// Something to paste, in several lines.
    pub details: Option<String>,
}

/// As JSON.
#[derive(Serialize)]
pub(super) struct Told<'a> {
    category: &'a str,
    name: &'a str,
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<f64>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a str>,
    reference: String,
}

impl Line {
    /// A check without more.
    #[must_use]
    pub const fn of(check: Check) -> Self {
        Self {
            check,
            details: None,
        }
    }

    /// What it is about: the first part of its name.
    #[must_use]
    pub fn category(&self) -> &'static str {
        let name = self.check.name;
        name.split_once('.').map_or(name, |(category, _)| category)
    }

    /// How it went.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.check.outcome
    }

    /// Milliseconds, to a tenth.
    pub(super) fn milliseconds(&self) -> Option<f64> {
        let took = self.check.latency?;
        Some((took.as_secs_f64() * 10_000.0).round() / 10.0)
    }

    pub(super) fn told(&self) -> Told<'_> {
        let Check {
            name,
            outcome,
            message,
            remedy,
            ..
        } = &self.check;
        Told {
            category: self.category(),
            name,
            outcome: outcome.as_str(),
            latency_ms: self.milliseconds(),
            message,
            remedy: remedy.as_deref(),
            details: self.details.as_deref(),
            reference: self.check.reference(),
        }
    }
}
