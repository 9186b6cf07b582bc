//! The text of a Prometheus endpoint, read line by line for a few sums.
//!
//! Owns selectors and the reading of samples. By hand: the crates that read this format
//! (prometheus-parse, prometheus-exposition-format-rs, prom_text_format_parser) take a whole text
//! and keep every sample of it. Pure. Invariants: what is held is one line of bounded
//! length and one number for each selector, whatever the endpoint sends; a line that cannot be read
//! is passed over.

use crate::limits;

/// Which series are added up: a name, and labels that must have these values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selector {
    name: String,
    labels: Vec<(String, String)>,
}

impl Selector {
    /// Reads `name` or `name{label="value",...}`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let sample = Sample::head(text.trim())?;
        sample.1.trim().is_empty().then_some(sample.0)
    }

    fn selects(&self, series: &Self) -> bool {
        let has = |wanted| series.labels.contains(wanted);
        self.name == series.name && self.labels.iter().all(has)
    }
}

struct Sample;

impl Sample {
    /// A series, and what stands behind it.
    fn head(line: &str) -> Option<(Selector, &str)> {
        let end = line.find(|c: char| !is_name(c)).unwrap_or(line.len());
        let (name, mut rest) = line.split_at(end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let mut labels = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside.trim_start();
            while !rest.starts_with('}') {
                let (label, after) = rest.split_once('=')?;
                let (value, after) = quoted(after.trim_start())?;
                let label = label.trim();
                if label.is_empty() || !label.chars().all(is_name) {
                    return None;
                }
                labels.push((label.to_owned(), value));
                rest = after.trim_start();
                rest = match rest.strip_prefix(',') {
                    Some(more) => more.trim_start(),
                    None if rest.starts_with('}') => rest,
                    None => return None,
                };
            }
            rest = &rest[1..];
        }
        let name = name.to_owned();
        Some((Selector { name, labels }, rest))
    }

    /// A series and its value.
    fn of(line: &str) -> Option<(Selector, f64)> {
        let (series, rest) = Self::head(line)?;
        let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
        Some((series, value))
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// A quoted value and what stands behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let inside = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut chars = inside.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &inside[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

/// An answer that is being read.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    selectors: Vec<&'a Selector>,
    sums: Vec<Option<f64>>,
    line: Vec<u8>,
    /// The line is longer than any that is read.
    long: bool,
}

impl<'a> Reading<'a> {
    pub(super) fn new(selectors: impl IntoIterator<Item = &'a Selector>) -> Self {
        let selectors: Vec<_> = selectors.into_iter().collect();
        Self {
            sums: vec![None; selectors.len()],
            selectors,
            line: Vec::new(),
            long: false,
        }
    }

    /// Takes the next piece.
    pub(super) fn take(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.add(&bytes[..end]);
            self.end_line();
            bytes = &bytes[end + 1..];
        }
        self.add(bytes);
    }

    /// The sum of each selector that had any series.
    pub(super) fn finish(mut self) -> Vec<Option<f64>> {
        self.end_line();
        self.sums
    }

    fn add(&mut self, bytes: &[u8]) {
        if self.line.len() + bytes.len() > limits::EXTENSION_LINE {
            self.long = true;
        }
        if !self.long {
            self.line.extend_from_slice(bytes);
        }
    }

    fn end_line(&mut self) {
        let long = std::mem::take(&mut self.long);
        if let (false, Ok(line)) = (long, std::str::from_utf8(&self.line)) {
            let line = line.trim();
            // Most lines are of series that nobody asked for.
            let asked = self.selectors.iter().any(|s| line.starts_with(&s.name));
            if asked && let Some((series, value)) = Sample::of(line) {
                for (selector, sum) in self.selectors.iter().zip(&mut self.sums) {
                    if selector.selects(&series) && value.is_finite() {
                        *sum = Some(sum.unwrap_or_default() + value);
                    }
                }
            }
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "# HELP http_requests_total Requests\n# TYPE http_requests_total counter\n\
        http_requests_total{code=\"200\",path=\"/a,b}\\\"\"} 3 1700000000\n\
        http_requests_total{code=\"200\",path=\"/\"} 4.5 # {trace=\"x\"} 1\n\
        http_requests_total{code=\"500\",} 1\n\
        http_requests_total_more 99\nup 1\nqueue NaN\nodd{ 3\n# EOF\n";

    fn sums(text: &str, pieces: usize, selectors: &[&str]) -> Vec<Option<f64>> {
        let selectors: Vec<_> = selectors
            .iter()
            .map(|text| Selector::parse(text).unwrap())
            .collect();
        let mut reading = Reading::new(&selectors);
        for piece in text.as_bytes().chunks(pieces) {
            reading.take(piece);
        }
        reading.finish()
    }

    #[test]
    fn series_that_are_selected_are_added_up_however_they_arrive() {
        let wanted = [
            "http_requests_total",
            "http_requests_total{code=\"200\"}",
            "http_requests_total{path=\"/a,b}\\\"\"}",
            "up",
            "queue",
            "missing",
        ];
        for pieces in [1, 3, 7, 10_000] {
            let sums = sums(TEXT, pieces, &wanted);
            let expected = [Some(8.5), Some(7.5), Some(3.0), Some(1.0), None, None];
            assert_eq!(sums, expected, "{pieces}");
        }
    }

    #[test]
    fn a_line_beyond_the_bound_is_passed_over_and_not_kept() {
        let long = "x".repeat(limits::EXTENSION_LINE);
        let text = format!("up{{a=\"{long}\"}} 5\nup 1\n");
        assert_eq!(sums(&text, 1000, &["up"]), [Some(1.0)]);
        let selector = Selector::parse("up").unwrap();
        let mut reading = Reading::new([&selector]);
        for _ in 0..1000 {
            reading.take(long.as_bytes());
        }
        assert!(reading.line.len() <= limits::EXTENSION_LINE);
    }

    #[test]
    fn what_selects_nothing_is_no_selector() {
        for bad in [
            "",
            "9up",
            "up{",
            "up{a}",
            "up{a=1}",
            "up 1",
            "{a=\"1\"}",
            "up{a=\"1\"}x",
        ] {
            assert_eq!(Selector::parse(bad), None, "{bad}");
        }
        assert!(Selector::parse(" up{ a = \"1\" } ").is_some());
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in ".{0,200}", line in r#"up[\{\}a="\\, 1]{0,20}"#) {
            let _ = sums(&text, 5, &["up"]);
            let _ = sums(&line, 5, &["up{a=\"1\"}"]);
        }
    }
}
