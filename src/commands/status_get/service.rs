//! Services, as far as they are counted.

use serde::Deserialize;

use crate::cluster::objects::{Collection, Object};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::commands) struct Service {
    metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    namespace: String,
    uid: String,
    resource_version: String,
}

/// The services of a namespace; of all where it is empty.
pub(in crate::commands) fn collection(namespace: &str) -> Collection {
    let services = Collection::new("", "v1", "services");
    services.within(namespace).metadata_only()
}

impl Service {
    pub(in crate::commands) fn namespace(&self) -> &str {
        &self.metadata.namespace
    }
}

impl Object for Service {
    fn uid(&self) -> &str {
        &self.metadata.uid
    }

    fn version(&self) -> &str {
        &self.metadata.resource_version
    }
}
