//! Medians, ratios and markdown.

use std::fmt::Write;

/// The middle one, or the mean of the middle two.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        even if even.is_multiple_of(2) => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

/// The median of the ratios of rounds that ran one after the other.
pub(crate) fn ratio(values: &[f64], base: &[f64]) -> f64 {
    let ratios: Vec<f64> = values.iter().zip(base).map(|(a, b)| a / b).collect();
    median(&ratios)
}

/// Three figures that count.
pub(crate) fn short(value: f64) -> String {
    if !value.is_finite() {
        return "?".to_owned();
    }
    match value.abs() {
        x if x >= 1000.0 => {
            let digits = format!("{value:.0}");
            let split = digits.len() - 3;
            format!("{},{}", &digits[..split], &digits[split..])
        }
        x if x >= 100.0 => format!("{value:.0}"),
        x if x >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A markdown table.
#[derive(Debug)]
pub(crate) struct Table(String);

impl Table {
    pub(crate) fn new(heads: &[&str]) -> Self {
        let mut text = String::new();
        let _ = writeln!(text, "| {} |", heads.join(" | "));
        let _ = writeln!(text, "|{}", "---|".repeat(heads.len()));
        Self(text)
    }

    pub(crate) fn row(&mut self, cells: &[String]) {
        let _ = writeln!(self.0, "| {} |", cells.join(" | "));
    }

    /// The text, with the machine's load where a head says `{load}`.
    pub(crate) fn with_load(self) -> String {
        let load = format!("{:.1}", crate::process::load());
        self.0.replace("{load}", &load)
    }
}
