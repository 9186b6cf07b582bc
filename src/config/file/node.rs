//! YAML as a tree of texts with their lines.
//!
//! Owns the reading of the syntax. Invariant: a scalar is the text that stands in the file, whatever
//! YAML takes it for: `0123`, `no` and `1e3` are what was written.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Error, Location, Options, Spanned};

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Nothing,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Place, Node)>),
}

impl Node {
    /// The line of the entry at a path such as `a.b[0].c`; of the last on the way that is there.
    pub(super) fn line(&self, path: &str) -> Option<u64> {
        let mut node = self;
        let mut line = None;
        for step in path.split(['.', '[']) {
            let (found, at) = match (node, step.strip_suffix(']')) {
                (Self::List(parts), Some(index)) => {
                    let Some(part) = index.parse().ok().and_then(|at: usize| parts.get(at)) else {
                        break;
                    };
                    let first = match part {
                        Self::Map(pairs) => pairs.first().map(|(key, _)| key.line),
                        Self::Nothing | Self::Text(_) | Self::List(_) => None,
                    };
                    (part, first.or(line))
                }
                (Self::Map(pairs), None) => {
                    let Some((key, value)) = pairs.iter().find(|(key, _)| key.text == step) else {
                        break;
                    };
                    (value, Some(key.line))
                }
                _ => break,
            };
            (node, line) = (found, at);
        }
        line
    }
}

/// A key, and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) text: String,
    pub(super) line: u64,
}

/// Why a text is no YAML.
#[derive(Debug)]
pub(super) struct Malformed {
    pub(super) line: Option<u64>,
    pub(super) problem: String,
}

/// Reads a text.
pub(super) fn parse(text: &str) -> Result<Node, Malformed> {
    let Spanned { value, defined, .. } = typed::<Spanned<Parsed>>(text)?;
    Ok(value.node(text, defined))
}

/// Reads a text as a type of its own.
pub(super) fn typed<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, Malformed> {
    let mut options = Options::default();
    options.with_snippet = false;
    serde_saphyr::from_str_with_options(text, options).map_err(|error| Malformed {
        line: error.location().map(|location| location.line()),
        problem: said(&error),
    })
}

/// The parser's words in one line, without the place, which is said before them.
fn said(error: &Error) -> String {
    let text = error.without_snippet().to_string();
    let text = text.lines().next().unwrap_or_default();
    // Behind these it says where, or how its own options would be set.
    let end = [" at line ", ", set "]
        .iter()
        .filter_map(|mark| text.find(mark))
        .min();
    text[..end.unwrap_or(text.len())].to_owned()
}

/// A value as the parser gives it: what is not text for YAML is looked up in the file.
enum Parsed {
    Nothing,
    Text(String),
    Written,
    List(Vec<Spanned<Parsed>>),
    Map(Vec<(Spanned<String>, Spanned<Parsed>)>),
}

impl Parsed {
    fn node(self, text: &str, location: Location) -> Node {
        match self {
            Self::Nothing => Node::Nothing,
            Self::Text(text) => Node::Text(text),
            Self::Written => Node::Text(written(text, location).trim().to_owned()),
            Self::List(parts) => {
                let parts = parts.into_iter();
                Node::List(
                    parts
                        .map(|part| part.value.node(text, part.defined))
                        .collect(),
                )
            }
            Self::Map(pairs) => {
                let pairs = pairs.into_iter().map(|(key, part)| {
                    let line = key.referenced.line();
                    let place = Place {
                        text: key.value,
                        line,
                    };
                    (place, part.value.node(text, part.defined))
                });
                Node::Map(pairs.collect())
            }
        }
    }
}

fn written(text: &str, location: Location) -> &str {
    let span = location.span();
    let range = span
        .byte_offset()
        .zip(span.byte_len())
        .and_then(|(at, length)| {
            let at = usize::try_from(at).ok()?;
            text.get(at..at.checked_add(usize::try_from(length).ok()?)?)
        });
    range.unwrap_or_default()
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Shape)
    }
}

struct Shape;

impl<'de> Visitor<'de> for Shape {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a list or a map")
    }

    fn visit_str<E>(self, text: &str) -> Result<Parsed, E> {
        Ok(Parsed::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Parsed, E> {
        Ok(Parsed::Written)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Parsed, E> {
        Ok(Parsed::Written)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Parsed, E> {
        Ok(Parsed::Written)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Parsed, E> {
        Ok(Parsed::Written)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Parsed, E> {
        Ok(Parsed::Written)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Parsed, E> {
        Ok(Parsed::Written)
    }

    fn visit_unit<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Nothing)
    }

    fn visit_none<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Parsed, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Parsed, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = access.next_element()? {
            parts.push(part);
        }
        Ok(Parsed::List(parts))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Parsed, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = access.next_entry()? {
            pairs.push(pair);
        }
        Ok(Parsed::Map(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_a_line_or_as_far_as_there_is_one() {
        let node = parse("a:\n  b:\n    - c: 1\n      d: 2\n    - c: 3\n  e: x\n").unwrap();
        for (path, line) in [
            ("a", Some(1)),
            ("a.b[0]", Some(3)),
            ("a.b[0].d", Some(4)),
            ("a.b[1].c", Some(5)),
            ("a.b[1].d.f", Some(5)),
            ("a.b[7].d", Some(2)),
            ("a.e.g", Some(6)),
            ("z", None),
        ] {
            assert_eq!(node.line(path), line, "{path}");
        }
    }

    #[test]
    fn scalars_are_what_is_written_and_keys_have_lines() {
        let text = "a: 0123\nb:\n  - no\n  - \"x y\"\n  - 1e3   # note\nc: ~\nd: {e: ''}\nf: &g 9\nh: *g\n";
        let Node::Map(pairs) = parse(text).unwrap() else {
            panic!("a map was written");
        };
        let of = |name: &str| pairs.iter().find(|(key, _)| key.text == name).unwrap();
        let text = |text: &str| Node::Text(text.into());
        assert_eq!(of("a").1, text("0123"));
        let parts = ["no", "x y", "1e3"].map(text);
        assert_eq!(of("b").1, Node::List(parts.into()));
        assert_eq!(of("c").1, Node::Nothing);
        assert_eq!(of("h").1, text("9"));
        let lines: Vec<_> = pairs.iter().map(|(key, _)| key.line).collect();
        assert_eq!(lines, [1, 2, 6, 7, 8, 9]);
    }

    #[test]
    fn what_is_no_yaml_says_where() {
        for (text, line) in [("a: 1\nb: [", 2), ("a:\n\t- b", 2), ("a: 1\na: 2", 2)] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.line, Some(line), "{text:?} {error:?}");
            assert!(!error.problem.is_empty() && !error.problem.contains('\n'));
        }
    }
}
