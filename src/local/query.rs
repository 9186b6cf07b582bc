//! The query of a request: what its parameters are called and worth.
//!
//! Owns looking them up. Owns not: the unescaping, which is axum's. Invariant: any query is one; what
//! is not well escaped stays as it was written.

/// Names and values in their order, as a handler takes them.
pub(super) type Pairs = Vec<(String, String)>;

/// The first value of this name.
pub(super) fn value<'q>(query: &'q [(String, String)], name: &str) -> Option<&'q str> {
    let pair = query.iter().find(|(known, _)| known == name);
    pair.map(|(_, value)| value.as_str())
}

/// The first name that is none of these.
pub(super) fn other_than<'q>(query: &'q [(String, String)], names: &[&str]) -> Option<&'q str> {
    let mut all = query.iter().map(|(name, _)| name.as_str());
    all.find(|name| !names.contains(name))
}

#[cfg(test)]
mod tests {
    use axum::extract::Query;

    use super::*;

    fn parsed(query: &'static str) -> Pairs {
        let uri = http::Uri::from_static(query);
        let Query(pairs) = Query::<Pairs>::try_from_uri(&uri).expect("any query is one");
        pairs
    }

    #[test]
    fn a_query_is_read_as_it_was_meant() {
        let query = parsed("/?selector=app%3Dweb,tier+in+(a)&tail=5&follow&x=%zz%C3%A9%");
        assert_eq!(value(&query, "selector"), Some("app=web,tier in (a)"));
        assert_eq!(value(&query, "tail"), Some("5"));
        assert_eq!(value(&query, "follow"), Some(""));
        assert_eq!(value(&query, "x"), Some("%zzé%"));
        assert_eq!(value(&query, "none"), None);
        let known = ["selector", "tail", "x"];
        assert_eq!(other_than(&query, &known), Some("follow"));
        for any in ["/", "/?", "/?&&=&", "/?%ff=%ff%fe", "/?a=1&a=2"] {
            assert_eq!(value(&parsed(any), "none"), None, "{any}");
        }
    }
}
