//! GET of one object and LIST of many.
//!
//! Owns: pages, their continue tokens, and the three forms of an answer. Owns not: watches
//! (`watch`), nor what is computed on each request (`metrics`).
//! Invariant: every page of one LIST shows the same version, or the client is told to begin again.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Value, json};

use super::answer::{self, Answer, Failure};
use super::catalog::Resource;
use super::clock::Millis;
use super::request::{Form, Query, Target};
use super::selector::Selector;
use super::store::{Expired, Key, Snapshot, Store};
use super::table::{self, Include};

/// One object by its name.
pub(super) fn get(
    store: &Store,
    target: &Target,
    name: &str,
    query: &Query,
    form: Form,
    now: Millis,
) -> Result<Answer, Failure> {
    let namespace = target.namespace.as_deref().unwrap_or_default();
    let key = Key::new(target.resource, namespace, name);
    let object = store
        .get(&key)
        .ok_or_else(|| not_found(target.resource, name))?;
    Ok(answer::json(
        StatusCode::OK,
        &one(target.resource, &object, query, form, now),
    ))
}

/// One object in the wanted form.
pub(super) fn one(
    resource: &Resource,
    object: &Value,
    query: &Query,
    form: Form,
    now: Millis,
) -> Value {
    match form {
        Form::Object | Form::Discovery => object.clone(),
        Form::Partial => table::partial(object),
        Form::Table => {
            let include = Include::of(query.text("includeObject"));
            let version = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            table::table(resource, [object], include, &version, true, now)
        }
    }
}

/// 404 about an object that could be there.
pub(super) fn not_found(resource: &Resource, name: &str) -> Failure {
    let group = resource.group;
    let qualified = match group {
        "" => resource.plural.to_owned(),
        _ => format!("{}.{group}", resource.plural),
    };
    let message = format!("{qualified} \"{name}\" not found");
    let mut details = json!({"name": name, "kind": resource.plural});
    if !group.is_empty() {
        details["group"] = group.into();
    }
    Failure::new(StatusCode::NOT_FOUND, "NotFound", message).with_details(details)
}

/// Many objects, perhaps one page of them.
pub(super) fn list(
    store: &Store,
    target: &Target,
    query: &Query,
    form: Form,
    now: Millis,
) -> Result<Answer, Failure> {
    let selector = Selector::of(query, target.resource)?;
    let namespace = target.namespace.as_deref();
    let limit = query.number("limit")?.unwrap_or(0);
    let (snapshot, after) = match query.text("continue") {
        Some(token) => {
            let (version, after) = read_token(token)?;
            let snapshot = store.list_at(target.resource, namespace, version);
            (snapshot.map_err(page_expired)?, Some(after))
        }
        None => (at_version(store, target.resource, namespace, query)?, None),
    };
    let mut objects: Vec<(Key, Arc<Value>)> = snapshot
        .objects
        .into_iter()
        .filter(|(key, _)| {
            after
                .as_ref()
                .is_none_or(|(namespace, name)| (&key.namespace, &key.name) > (namespace, name))
        })
        .filter(|(_, object)| selector.matches(object))
        .collect();
    let mut metadata = json!({"resourceVersion": snapshot.version.to_string()});
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if limit > 0 && objects.len() > limit {
        let remaining = objects.len() - limit;
        objects.truncate(limit);
        if let Some((last, _)) = objects.last() {
            metadata["continue"] = write_token(snapshot.version, last).into();
        }
        // As on a real server: not known where a selector is at work.
        if query.text("labelSelector").is_none() && query.text("fieldSelector").is_none() {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    let objects = objects.iter().map(|(_, object)| &**object);
    let document = many(target.resource, objects, query, form, &metadata, now);
    Ok(answer::json(StatusCode::OK, &document))
}

/// A list of objects in the wanted form.
pub(super) fn many<'object>(
    resource: &Resource,
    objects: impl Iterator<Item = &'object Value>,
    query: &Query,
    form: Form,
    metadata: &Value,
    now: Millis,
) -> Value {
    match form {
        Form::Object | Form::Discovery => json!({
            "kind": format!("{}List", resource.kind),
            "apiVersion": resource.api_version(),
            "metadata": metadata,
            "items": objects.collect::<Vec<_>>(),
        }),
        Form::Partial => json!({
            "kind": "PartialObjectMetadataList",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata,
            "items": objects.map(table::partial).collect::<Vec<_>>(),
        }),
        Form::Table => {
            let include = Include::of(query.text("includeObject"));
            table::table(resource, objects, include, metadata, true, now)
        }
    }
}

fn at_version(
    store: &Store,
    resource: &Resource,
    namespace: Option<&str>,
    query: &Query,
) -> Result<Snapshot, Failure> {
    let wanted = version(query)?;
    if query.text("resourceVersionMatch") == Some("Exact") {
        let snapshot = store.list_at(resource, namespace, wanted.unwrap_or_default());
        return snapshot.map_err(page_expired);
    }
    let snapshot = store.list(resource, namespace);
    match wanted {
        Some(wanted) if wanted > snapshot.version => Err(too_new(wanted, snapshot.version)),
        _ => Ok(snapshot),
    }
}

/// The version that a request asks for.
pub(super) fn version(query: &Query) -> Result<Option<u64>, Failure> {
    let Some(text) = query.text("resourceVersion") else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        Failure::bad_request(format!(
            "Invalid value: {text:?}: the resource version is a number"
        ))
    })
}

/// 504: the client has seen a version that is not reached here yet.
pub(super) fn too_new(wanted: u64, current: u64) -> Failure {
    Failure::new(
        StatusCode::GATEWAY_TIMEOUT,
        "Timeout",
        format!("Too large resource version: {wanted}, current: {current}"),
    )
    .with_details(json!({
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }))
}

fn page_expired(expired: Expired) -> Failure {
    Failure::expired(format!(
        "The provided continue parameter is too old to display a consistent list result (oldest \
        version: {}). You must start a new list without the continue parameter.",
        expired.oldest
    ))
}

fn write_token(version: u64, last: &Key) -> String {
    URL_SAFE_NO_PAD.encode(format!("{version}/{}/{}", last.namespace, last.name))
}

fn read_token(token: &str) -> Result<(u64, (String, String)), Failure> {
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let (version, rest) = text.split_once('/')?;
        let (namespace, name) = rest.split_once('/')?;
        Some((
            version.parse().ok()?,
            (namespace.to_owned(), name.to_owned()),
        ))
    };
    read().ok_or_else(|| Failure::bad_request("continue key is not valid"))
}
