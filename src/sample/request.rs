//! What a request asks for.
//!
//! Owns: the path's parts, the query, and the form that the answer shall have. Owns not: the
//! answer (`api`).
//! Invariant: a path is taken apart once; a segment that is not plain text is not served.

use http::HeaderMap;
use http::header::ACCEPT;

use super::answer::Failure;
use super::catalog::{self, Resource};

/// A path below `/api/v1` or `/apis/GROUP/VERSION` that names a served resource.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) resource: &'static Resource,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) subresource: Option<String>,
}

impl Target {
    /// Reads the segments of a path. `None` where nothing is served.
    pub(super) fn of(segments: &[&str]) -> Option<Self> {
        let (group, version, rest) = match segments {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, plural, rest @ ..]
                if catalog::find(group, version, plural).is_some_and(|it| it.namespaced) =>
            {
                (Some(*namespace), [&[*plural], rest].concat())
            }
            _ => (None, rest.to_vec()),
        };
        let (plural, rest) = rest.split_first()?;
        let resource = catalog::find(group, version, plural)?;
        let (name, subresource) = match rest {
            [] => (None, None),
            [name] => (Some(*name), None),
            [name, subresource @ ..] => (Some(*name), Some(subresource.join("/"))),
        };
        // A namespaced object without its namespace is not addressable.
        if name.is_some() && resource.namespaced && namespace.is_none() {
            return None;
        }
        Some(Self {
            resource,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            subresource,
        })
    }
}

/// The query, decoded.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query string.
    pub(super) fn of(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        });
        Self(pairs.collect())
    }

    /// A parameter that is there and not empty.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| known == key)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// A parameter that says true, as Go reads it.
    pub(super) fn flag(&self, key: &str) -> bool {
        let found = self.0.iter().find(|(known, _)| known == key);
        found.is_some_and(|(_, value)| matches!(value.as_str(), "1" | "t" | "true" | "True"))
    }

    /// A parameter that is a number, if it is there.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, Failure> {
        let Some(text) = self.text(key) else {
            return Ok(None);
        };
        let number = text.parse();
        number.map(Some).map_err(|_| {
            Failure::bad_request(format!(
                "invalid value {text:?} of {key}: a number is expected"
            ))
        })
    }

    /// Whether the parameter is there at all, as in `?verbose`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(known, _)| known == key)
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next(), rest.next()].map(|digit| {
                    digit
                        .and_then(|digit| char::from(digit).to_digit(16))
                        .unwrap_or_default()
                });
                bytes.push(u8::try_from(digits[0] * 16 + digits[1]).unwrap_or_default());
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The form of an answer, as the Accept header asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Object,
    Table,
    /// Metadata only.
    Partial,
    /// Aggregated discovery.
    Discovery,
}

impl Form {
    /// The first form of the Accept header that is served.
    ///
    /// # Errors
    /// 406 when no JSON form is acceptable.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        let accept: Vec<&str> = headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        if accept.is_empty() {
            return Ok(Self::Object);
        }
        for range in accept.iter().flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            if !matches!(
                parts.next(),
                Some("application/json" | "application/*" | "*/*" | "text/plain")
            ) {
                continue;
            }
            let form = parts.find_map(|part| part.strip_prefix("as="));
            match form {
                None => return Ok(Self::Object),
                Some("Table") => return Ok(Self::Table),
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => {
                    return Ok(Self::Partial);
                }
                Some("APIGroupDiscoveryList")
                    if range.contains("v=v2;") || range.ends_with("v=v2") =>
                {
                    return Ok(Self::Discovery);
                }
                Some(_) => {}
            }
        }
        Err(Failure::new(
            http::StatusCode::NOT_ACCEPTABLE,
            "NotAcceptable",
            "only the following media types are accepted: application/json",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts = (String, Option<String>, Option<String>, Option<String>);

    fn target(path: &str) -> Option<Parts> {
        let segments: Vec<&str> = path.split('/').collect();
        Target::of(&segments).map(|target| {
            let plural = target.resource.plural.to_owned();
            (plural, target.namespace, target.name, target.subresource)
        })
    }

    #[test]
    fn paths_are_taken_apart() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            target("api/v1/pods"),
            Some(("pods".into(), None, None, None))
        );
        assert_eq!(
            target("api/v1/namespaces/a/pods/b/log"),
            Some(("pods".into(), some("a"), some("b"), some("log")))
        );
        assert_eq!(
            target("api/v1/namespaces/a"),
            Some(("namespaces".into(), None, some("a"), None))
        );
        assert_eq!(
            target("apis/apps/v1/namespaces/a/deployments"),
            Some(("deployments".into(), some("a"), None, None))
        );
        assert_eq!(target("apis/apps/v1/pods"), None);
        assert_eq!(target("api/v1/pods/b"), None);
        assert_eq!(target("api/v2/pods"), None);
        assert_eq!(target("healthz"), None);
    }

    #[test]
    fn the_first_served_form_of_accept_wins() {
        let form = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            Form::of(&headers)
        };
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert_eq!(form(table).unwrap(), Form::Table);
        assert_eq!(
            form("application/vnd.kubernetes.protobuf,application/json").unwrap(),
            Form::Object
        );
        assert_eq!(form("*/*").unwrap(), Form::Object);
        let discovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        assert_eq!(form(discovery).unwrap(), Form::Discovery);
        assert!(form("application/vnd.kubernetes.protobuf").is_err());
    }

    #[test]
    fn a_query_is_decoded() {
        let query = Query::of("labelSelector=a%3Db%2Cc&limit=5&watch=1&verbose");
        assert_eq!(query.text("labelSelector"), Some("a=b,c"));
        assert_eq!(query.number("limit").unwrap(), Some(5));
        assert!(query.flag("watch"));
        assert!(query.has("verbose"));
        assert!(Query::of("limit=x").number("limit").is_err());
        assert_eq!(Query::of("a=%").text("a"), Some("\0"));
    }
}
