//! What all commands share that change something (P-97, P-98, P-103).
//!
//! Owns one change: the moment after which nobody can say any more that nothing was changed, and
//! what an answer, or none, means then. Owns not: what is changed (each command), nor keys
//! (`dispatch`). Invariants: nothing is sent after the command's time; an error that is not
//! `indeterminate` says that this change was not carried out; what the API server says of a Secret
//! stays here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{CommandError, Context, Done};
use crate::cluster::objects::{Changed, Collection, Refusal};
use crate::cluster::{Cluster, ClusterError, ObjectError, Objects};
use crate::limits;
use crate::protocol::object::{Name, Reference};
use crate::protocol::{ErrorBody, ErrorCode};

/// Whether a command may have changed something yet. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Sent(Arc<AtomicBool>);

impl Sent {
    /// Whether anything that changes something may have reached the API server.
    #[must_use]
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// What is sent next changes something. Says what held before, for [`Sent::restore`].
    fn set(&self) -> bool {
        self.0.swap(true, Ordering::Relaxed)
    }

    /// It was surely not carried out.
    fn restore(&self, before: bool) {
        self.0.store(before, Ordering::Relaxed);
    }
}

/// A command's way to the API server.
#[derive(Debug)]
pub(super) struct Operation {
    cluster: Cluster,
    objects: Objects,
    sent: Sent,
    /// After it nothing is sent or waited for, so that the answer is no guess.
    pub(super) until: Instant,
}

/// Where an object is, by the API server's own words.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: String,
    /// Absent where the kind has none.
    pub(super) namespace: Option<Name>,
    /// What is said of it must not hold what is in it.
    secret: bool,
}

impl Place {
    /// Of an object whose resource is known.
    pub(super) fn known(path: String, namespace: &Name) -> Self {
        Self {
            path,
            namespace: Some(namespace.clone()),
            secret: false,
        }
    }

    pub(super) const fn is_secret(&self) -> bool {
        self.secret
    }
}

impl Operation {
    pub(super) fn new(context: &Context) -> Self {
        let now = Instant::now();
        let left = context
            .deadline
            .map_or(limits::OPERATE_DEADLINE, |deadline| {
                deadline.saturating_duration_since(now)
            });
        Self {
            cluster: context.shared.cluster.clone(),
            objects: context.objects(),
            sent: context.sent.clone(),
            until: now + left.saturating_sub(limits::OPERATE_ANSWER.min(left / 4)),
        }
    }

    fn left(&self) -> Result<Duration, CommandError> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(CommandError::Deadline)
        } else {
            Ok(left)
        }
    }

    /// Where the object is. `fallback` is its namespace where it has one and does not say which.
    pub(super) async fn place(
        &self,
        object: &Reference,
        fallback: Option<&Name>,
    ) -> Result<Place, CommandError> {
        let (group, version) = object.api_version.parts();
        let kind = object.kind.as_str();
        let asked = self.cluster.resource(group, version, kind);
        let resource = tokio::time::timeout(self.left()?, asked)
            .await
            .map_err(|_| CommandError::Deadline)??;
        let Some(resource) = resource else {
            return Err(told(
                ErrorCode::NotFound,
                format!(
                    "the API server has no kind {kind} in {}",
                    object.api_version.as_str()
                ),
            ));
        };
        let collection = Collection::new(group, version, &resource.plural);
        let secret = group.is_empty() && kind == "Secret";
        if !resource.namespaced {
            return match &object.namespace {
                // The policy may have decided by it.
                Some(_) => Err(told(
                    ErrorCode::BadRequest,
                    format!("{kind} is not in a namespace"),
                )),
                None => Ok(Place {
                    path: collection.item(object.name.as_str()),
                    namespace: None,
                    secret,
                }),
            };
        }
        let namespace = match object.namespace.as_ref().or(fallback) {
            Some(namespace) => namespace.clone(),
            None => Name::default_namespace(),
        };
        Ok(Place {
            path: collection
                .within(namespace.as_str())
                .item(object.name.as_str()),
            namespace: Some(namespace),
            secret,
        })
    }

    /// Reads an object; none where it is not there.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        place: &Place,
    ) -> Result<Option<T>, CommandError> {
        let objects = self.objects.clone().within(self.left()?);
        match objects.get(&place.path).await {
            Ok(object) => Ok(Some(object)),
            Err(ObjectError::NotFound(_)) => Ok(None),
            Err(ObjectError::Cluster(ClusterError::Deadline(_))) => Err(CommandError::Deadline),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a change.
    pub(super) async fn change<T: DeserializeOwned>(
        &self,
        place: &Place,
        method: &Method,
        parameters: &[(&str, &str)],
        content_type: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<Changed<T>, CommandError> {
        let body = serde_json::to_vec(body).map_err(CommandError::Encode)?;
        let objects = self.objects.clone().within(self.left()?);
        let target = target(&place.path, parameters);
        let before = self.sent.set();
        let answer = objects.change(method, &target, content_type, body).await;
        answer.map_err(|error| {
            if refused(&error) {
                self.sent.restore(before);
                discreet(error, place.secret)
            } else {
                let said = discreet(error, place.secret).body().message;
                told(
                    ErrorCode::Indeterminate,
                    format!("it is not known whether it was carried out: {said}"),
                )
            }
        })
    }
}

/// Whether the change was surely not carried out. A failure of the server's own may come after the
/// change: etcd's answer may be lost as well as ours.
fn refused(error: &ObjectError) -> bool {
    match error {
        ObjectError::Cluster(ClusterError::CredentialRefused) => true,
        error => {
            error.not_sent()
                || error.refusal().is_some_and(|refusal| {
                    (400..500).contains(&refusal.status) || is_misfit(refusal)
                })
        }
    }
}

/// Whether this is the answer to a manifest that does not fit its schema. A server-side apply
/// checks that before it stores anything, and answers 500 without a reason (structured merge in
/// apimachinery).
fn is_misfit(refusal: &Refusal) -> bool {
    const WORDS: [&str; 3] = [
        "failed to create typed patch object",
        "failed to convert new object",
        "failed to convert live object",
    ];
    refusal.status == 500
        && refusal.reason.is_empty()
        && WORDS.iter().any(|words| refusal.message.starts_with(words))
}

/// The error, without the API server's words where they may quote a Secret.
fn discreet(error: ObjectError, secret: bool) -> CommandError {
    let Some(refusal) = error.refusal() else {
        return error.into();
    };
    let misfit = is_misfit(refusal);
    let code = if misfit {
        ErrorCode::UpstreamRefused
    } else {
        super::object(&error).code
    };
    match (secret, misfit) {
        (true, true) => told(code, "the manifest does not fit its kind"),
        (true, false) => told(
            code,
            format!(
                "the API server answered {} {}",
                refusal.status, refusal.reason
            ),
        ),
        (false, true) => told(code, refusal.message.clone()),
        (false, false) => error.into(),
    }
}

/// An end in our own words.
pub(super) fn told(code: ErrorCode, message: impl Into<String>) -> CommandError {
    CommandError::Told(ErrorBody::new(code, message))
}

/// A result.
pub(super) fn done(result: &impl Serialize) -> Result<Done, CommandError> {
    serde_json::value::to_raw_value(result)
        .map(Some)
        .map_err(CommandError::Encode)
}

/// How a command on several objects ends of which not one was changed: with the first error, but
/// before it with one that leaves open whether something was.
pub(super) fn first_error<'a>(errors: impl Iterator<Item = &'a ErrorBody>) -> Option<ErrorBody> {
    let mut first = None;
    for error in errors {
        if error.code == ErrorCode::Indeterminate {
            return Some(error.clone());
        }
        first = first.or(Some(error));
    }
    first.cloned()
}

/// A path with a query. Field managers may hold any visible character.
fn target(path: &str, parameters: &[(&str, &str)]) -> String {
    use std::fmt::Write;
    let mut target = path.to_owned();
    for (at, (name, value)) in parameters.iter().enumerate() {
        target.push(if at == 0 { '?' } else { '&' });
        target.push_str(name);
        target.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                target.push(char::from(byte));
            } else {
                // Writing to a string does not fail.
                let _ = write!(target, "%{byte:02X}");
            }
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_holds_its_values_whatever_is_in_them() {
        assert_eq!(target("/a", &[]), "/a");
        assert_eq!(
            target("/a", &[("fieldManager", "a&b=c/%"), ("force", "true")]),
            "/a?fieldManager=a%26b%3Dc%2F%25&force=true"
        );
    }

    #[test]
    fn an_open_question_comes_before_a_plain_error() {
        let conflict = ErrorBody::new(ErrorCode::Conflict, "taken");
        let open = ErrorBody::new(ErrorCode::Indeterminate, "who knows");
        let all = [conflict.clone(), open.clone()];
        assert_eq!(first_error(all.iter()), Some(open));
        assert_eq!(first_error(all[..1].iter()), Some(conflict));
        assert_eq!(first_error([].iter()), None);
    }
}
