//! All lines together, as text or JSON, and the exit code that they come to.
//!
//! Owns the shape of both. Invariant: without colour no byte outside of ASCII is ours, and no
//! control character of anybody else's passes.

use std::fmt::Write;

use serde_json::json;

use super::Line;
use crate::health::connectivity::Outcome;

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    lines: Vec<Line>,
    pub(super) misconfigured: bool,
}

impl Report {
    pub(super) fn push(&mut self, line: Line) {
        self.lines.push(line);
    }

    /// Each check, in the order of the steps.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The worst.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let worst = self.lines.iter().map(Line::outcome).max();
        worst.unwrap_or(Outcome::Ok)
    }

    /// 0 when nothing failed, 1 when something did, 2 when the settings cannot be used.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.outcome() {
            _ if self.misconfigured => 2,
            Outcome::Fail => 1,
            Outcome::Skipped | Outcome::Ok | Outcome::Warn => 0,
        }
    }

    /// The names of what failed.
    #[must_use]
    pub fn failed(&self) -> Vec<&'static str> {
        let failed = |line: &&Line| line.outcome() == Outcome::Fail;
        let lines = self.lines.iter().filter(failed);
        lines.map(|line| line.check.name).collect()
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> String {
        let checks: Vec<_> = self.lines.iter().map(Line::told).collect();
        let report = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "outcome": self.outcome().as_str(),
            "checks": checks,
        });
        format!("{report}\n")
    }

    /// The last line for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |outcome| {
            let same = |line: &&Line| line.outcome() == outcome;
            self.lines.iter().filter(same).count()
        };
        format!(
            "{} ok, {} warnings, {} failed, {} skipped\n",
            count(Outcome::Ok),
            count(Outcome::Warn),
            count(Outcome::Fail),
            count(Outcome::Skipped)
        )
    }
}

/// What stands above the lines of a category.
#[must_use]
pub fn heading(line: &Line) -> &'static str {
    match line.category() {
        "configuration" => "Configuration",
        "control_plane" => "Control plane",
        "api_server" => "API server",
        "clock" => "Clock",
        "permissions" => "Permissions",
        "cluster" => "Cluster",
        other => other,
    }
}

/// A line for people.
#[must_use]
pub fn text(line: &Line, color: bool) -> String {
    let (mark, paint) = match line.outcome() {
        Outcome::Ok => ("ok  ", "32"),
        Outcome::Warn => ("warn", "33"),
        Outcome::Fail => ("FAIL", "31"),
        Outcome::Skipped => ("skip", "2"),
    };
    let mark = if color {
        format!("\u{1b}[{paint}m{mark}\u{1b}[0m")
    } else {
        mark.to_owned()
    };
    let check = &line.check;
    let mut out = format!("  {mark}  {}  {}", check.name, plain(&check.message));
    if let Some(took) = line.milliseconds() {
        let _ = write!(out, " ({took} ms)");
    }
    out.push('\n');
    if let Some(remedy) = &check.remedy {
        let _ = writeln!(out, "        do: {}", plain(remedy));
        let _ = writeln!(out, "        see: {}", check.reference());
    }
    for more in line.details.iter().flat_map(|details| details.lines()) {
        let _ = writeln!(out, "{}", plain(more));
    }
    out
}

fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::health::connectivity::Check;

    fn report() -> Report {
        let mut report = Report::default();
        let took = Some(Duration::from_micros(1_234));
        report.push(Line::of(Check::ok("control_plane.tcp", took, "well")));
        report.push(Line::of(Check::skipped("control_plane.idle", "no")));
        report
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst() {
        let mut report = report();
        assert_eq!((report.outcome(), report.exit_code()), (Outcome::Ok, 0));
        let line = |outcome| Line::of(Check::bad("clock.skew", outcome, "late", "ntp"));
        report.push(line(Outcome::Warn));
        assert_eq!((report.outcome(), report.exit_code()), (Outcome::Warn, 0));
        report.push(line(Outcome::Fail));
        assert_eq!((report.outcome(), report.exit_code()), (Outcome::Fail, 1));
        assert_eq!(report.failed(), ["clock.skew"]);
        report.misconfigured = true;
        assert_eq!(report.exit_code(), 2);
        assert_eq!(report.summary(), "1 ok, 1 warnings, 1 failed, 1 skipped\n");
    }

    #[test]
    fn text_has_a_remedy_a_reference_and_no_colour_unless_allowed() {
        let mut line = Line::of(Check::bad(
            "control_plane.tls",
            Outcome::Fail,
            "by 'x\u{1b}[2J'",
            "add it",
        ));
        line.details = Some("a: 1\nb: 2".into());
        let plain = text(&line, false);
        assert_eq!(
            plain,
            "  FAIL  control_plane.tls  by 'x [2J'\n        do: add it\n        \
             see: docs/check.md#control_planetls\na: 1\nb: 2\n"
        );
        assert!(text(&line, true).starts_with("  \u{1b}[31mFAIL\u{1b}[0m"));
        let told: serde_json::Value = serde_json::from_str(&report().json()).unwrap();
        assert_eq!(told["outcome"], "ok");
        assert_eq!(told["checks"][0]["latency_ms"], 1.2);
        assert_eq!(told["checks"][0]["category"], "control_plane");
    }
}
