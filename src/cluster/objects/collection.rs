//! The objects of one resource, all or of one namespace, with selectors.
//!
//! Owns how such a request is spelled. Invariant: a name never changes what is asked for: what
//! would be read as more than one segment is refused by `kubeapi` when the request is made.

use std::fmt::Write;

use super::JSON;

/// Which objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    path: String,
    resource: String,
    selectors: String,
    metadata_only: bool,
}

impl Collection {
    /// All objects of a resource by its plural name; the core group's name is empty.
    #[must_use]
    pub fn new(group: &str, version: &str, resource: &str) -> Self {
        let mut path = String::new();
        if group.is_empty() {
            path.push_str("/api");
        } else {
            path.push_str("/apis");
            segment(&mut path, group);
        }
        segment(&mut path, version);
        let mut name = String::new();
        segment(&mut name, resource);
        Self {
            path,
            resource: name,
            selectors: String::new(),
            metadata_only: false,
        }
    }

    /// Those of one namespace; of all where it is empty.
    #[must_use]
    pub fn within(mut self, namespace: &str) -> Self {
        if !namespace.is_empty() {
            self.path.push_str("/namespaces");
            segment(&mut self.path, namespace);
        }
        self
    }

    /// Those that a label selector picks; all where it is empty.
    #[must_use]
    pub fn labels(self, selector: &str) -> Self {
        self.select("labelSelector", selector)
    }

    /// Those that a field selector picks; all where it is empty.
    #[must_use]
    pub fn fields(self, selector: &str) -> Self {
        self.select("fieldSelector", selector)
    }

    /// Only the metadata of each object.
    #[must_use]
    pub const fn metadata_only(mut self) -> Self {
        self.metadata_only = true;
        self
    }

    /// What a list of it is asked for as.
    pub(super) const fn accept_list(&self) -> &'static str {
        if self.metadata_only {
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        } else {
            JSON
        }
    }

    /// What each of its objects is asked for as.
    pub(super) const fn accept_each(&self) -> &'static str {
        if self.metadata_only {
            "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
        } else {
            JSON
        }
    }

    /// The path of the collection itself, for a POST.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}{}", self.path, self.resource)
    }

    /// The path of one object of it. An empty name is refused when the request is made.
    #[must_use]
    pub fn item(&self, name: &str) -> String {
        let mut path = self.path();
        segment(&mut path, name);
        if name.is_empty() {
            // Two slashes are no path; one would be the collection.
            path.push('/');
        }
        path
    }

    /// The path of one object's subresource, `scale`.
    #[must_use]
    pub fn below(&self, name: &str, subresource: &str) -> String {
        let mut path = self.item(name);
        segment(&mut path, subresource);
        path
    }

    /// The target of a request for it, with these further parameters.
    pub(in crate::cluster) fn target(&self, parameters: &[(&str, &str)]) -> String {
        let mut target = self.path();
        let mut separator = '?';
        for (key, value) in parameters {
            target.push(separator);
            target.push_str(key);
            target.push('=');
            escape(&mut target, value);
            separator = '&';
        }
        if !self.selectors.is_empty() {
            target.push(separator);
            target.push_str(&self.selectors);
        }
        target
    }

    fn select(mut self, kind: &str, selector: &str) -> Self {
        if !selector.is_empty() {
            if !self.selectors.is_empty() {
                self.selectors.push('&');
            }
            self.selectors.push_str(kind);
            self.selectors.push('=');
            escape(&mut self.selectors, selector);
        }
        self
    }
}

fn segment(path: &mut String, name: &str) {
    path.push('/');
    escape(path, name);
}

/// Everything but what RFC 3986 calls unreserved.
fn escape(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => write!(out, "%{other:02X}").expect("writing to a string cannot fail"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubeapi::RequestPath;
    use http::Method;

    #[test]
    fn a_collection_is_spelled_as_the_api_server_reads_it() {
        let pods = Collection::new("", "v1", "pods")
            .within("a b")
            .labels("x in (y,z)");
        assert_eq!(
            pods.target(&[("limit", "250")]),
            "/api/v1/namespaces/a%20b/pods?limit=250&labelSelector=x%20in%20%28y%2Cz%29"
        );
        let apps = Collection::new("apps", "v1", "deployments").fields("metadata.name=web");
        assert_eq!(
            apps.target(&[]),
            "/apis/apps/v1/deployments?fieldSelector=metadata.name%3Dweb"
        );
        assert_eq!(
            apps.below("web", "scale"),
            "/apis/apps/v1/deployments/web/scale"
        );
    }

    #[test]
    fn a_name_that_is_more_than_one_segment_makes_no_request() {
        let pods = Collection::new("", "v1", "pods").within("d");
        for name in ["a/log", "..", ".", "", "a%2Flog", "a\0"] {
            let parsed = RequestPath::parse(&Method::GET, &pods.item(name), None, None);
            assert!(parsed.is_err(), "{name:?}");
        }
        for namespace in ["d/pods/x", "..", "%2e%2e"] {
            let path = Collection::new("", "v1", "pods")
                .within(namespace)
                .item("a");
            let parsed = RequestPath::parse(&Method::GET, &path, None, None);
            assert!(parsed.is_err(), "{namespace:?}");
        }
    }
}
