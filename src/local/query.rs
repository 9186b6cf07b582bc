//! The query of a request, as browsers and curl write it.
//!
//! Pure. Owns the unescaping. Invariant: what is not well escaped stays as it was written.

/// Names and values in their order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&');
        let pairs = pairs.filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(name), unescape(value))
        });
        Self(pairs.collect())
    }

    /// The first value of this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(known, _)| known == name);
        pair.map(|(_, value)| value.as_str())
    }

    /// The first name that is none of these.
    pub(super) fn other_than(&self, names: &[&str]) -> Option<&str> {
        let mut all = self.0.iter().map(|(name, _)| name.as_str());
        all.find(|name| !names.contains(name))
    }
}

fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, escaped) {
            (_, Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', None) => out.push(b' '),
            (byte, None) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_it_was_meant() {
        let query = Query::parse(Some(
            "selector=app%3Dweb,tier+in+(a)&tail=5&follow&x=%zz%C3%A9%",
        ));
        assert_eq!(query.get("selector"), Some("app=web,tier in (a)"));
        assert_eq!(query.get("tail"), Some("5"));
        assert_eq!(query.get("follow"), Some(""));
        assert_eq!(query.get("x"), Some("%zzé%"));
        assert_eq!(query.get("none"), None);
        assert_eq!(query.other_than(&["selector", "tail", "x"]), Some("follow"));
        assert_eq!(Query::parse(None), Query::default());
    }
}
