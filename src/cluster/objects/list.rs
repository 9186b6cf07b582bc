//! A list, page by page.
//!
//! Owns the continuation, and what becomes of one that is too old. Invariants: a page has at most
//! [`limits::OBJECT_PAGE`] items, of which only the caller's type is kept; not more than
//! [`limits::OBJECT_LISTS`] pages are read at once.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::items::{Items, NoList};
use super::{Collection, ObjectError, Objects, parse};
use crate::limits;

/// One page.
#[derive(Debug)]
pub struct Page<T> {
    /// Its items.
    pub items: Vec<T>,
    /// The list begins anew with this page: what came before counts for nothing.
    pub restarted: bool,
    /// The list's resourceVersion, on the last page: a watch goes on from there.
    pub version: Option<String>,
}

/// The pages of a list.
pub struct Pages<T> {
    objects: Objects,
    collection: Collection,
    exact: Option<String>,
    next: Option<String>,
    restarts: u32,
    restarted: bool,
    done: bool,
    reading: Option<Reading<T>>,
}

type Reading<T> = Pin<Box<dyn Future<Output = Result<(Vec<T>, Metadata), ObjectError>> + Send>>;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Head {
    metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    resource_version: String,
    #[serde(rename = "continue")]
    next: String,
}

impl<T> std::fmt::Debug for Pages<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").finish_non_exhaustive()
    }
}

impl From<NoList> for ObjectError {
    fn from(error: NoList) -> Self {
        match error {
            NoList::TooLarge(most) => Self::TooLarge(most),
            NoList::Malformed => Self::Malformed("not a list"),
        }
    }
}

impl<T: DeserializeOwned + Send + 'static> Pages<T> {
    pub(super) fn new(objects: Objects, collection: &Collection) -> Self {
        Self {
            objects,
            collection: collection.clone(),
            exact: None,
            next: None,
            restarts: 0,
            restarted: false,
            done: false,
            reading: None,
        }
    }

    /// The list as it was at this resourceVersion, or [`ObjectError::Gone`].
    #[must_use]
    pub fn exactly(mut self, version: &str) -> Self {
        self.exact = Some(version.to_owned());
        self
    }

    /// The next page; nothing after the last.
    ///
    /// # Errors
    /// See [`ObjectError`]; `Gone` when the list grew too old again and again, or at once for one
    /// that was asked for exactly. After an error the same page may be asked for again.
    ///
    /// # Cancel safety
    /// A page that is being read goes on with the next call.
    pub async fn next(&mut self) -> Result<Option<Page<T>>, ObjectError> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`Pages::next`].
    ///
    /// # Errors
    /// As [`Pages::next`].
    pub fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Page<T>>, ObjectError>> {
        loop {
            if self.done {
                return Poll::Ready(Ok(None));
            }
            if self.reading.is_none() {
                self.reading = Some(self.begin());
            }
            let Some(reading) = self.reading.as_mut() else {
                return Poll::Ready(Ok(None));
            };
            let read = ready!(reading.as_mut().poll(cx));
            self.reading = None;
            match read {
                Ok((items, metadata)) => {
                    let last = metadata.next.is_empty();
                    self.done = last;
                    self.next = (!last).then_some(metadata.next);
                    return Poll::Ready(Ok(Some(Page {
                        items,
                        restarted: std::mem::take(&mut self.restarted),
                        version: last.then_some(metadata.resource_version),
                    })));
                }
                // The snapshot behind the continuation is gone: only another begins.
                Err(ObjectError::Gone(_))
                    if self.next.is_some()
                        && self.exact.is_none()
                        && self.restarts < limits::OBJECT_RESTARTS =>
                {
                    self.restarts += 1;
                    self.restarted = true;
                    self.next = None;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn begin(&self) -> Reading<T> {
        let limit = limits::OBJECT_PAGE.to_string();
        let mut parameters = vec![("limit", limit.as_str())];
        match (&self.next, &self.exact) {
            (Some(next), _) => parameters.push(("continue", next)),
            (None, Some(exact)) => {
                parameters.push(("resourceVersion", exact));
                parameters.push(("resourceVersionMatch", "Exact"));
            }
            (None, None) => {}
        }
        let target = self.collection.target(&parameters);
        let accept = self.collection.accept_list();
        let objects = self.objects.clone();
        Box::pin(async move { objects.timed(page(&objects, &target, accept)).await })
    }
}

async fn page<T: DeserializeOwned>(
    objects: &Objects,
    target: &str,
    accept: &str,
) -> Result<(Vec<T>, Metadata), ObjectError> {
    let _turn = objects.cluster.inner.lists.acquire().await;
    let mut body = objects
        .answered(&http::Method::GET, target, accept, None)
        .await?;
    let mut cutter = Items::new(limits::OBJECT_BYTES, limits::OBJECT_REFUSAL);
    let mut items = Vec::new();
    while let Some(chunk) = body.chunk().await? {
        cutter.feed::<ObjectError>(&chunk, &mut |item| {
            // More than were asked for would be more than were reckoned with.
            if items.len() == limits::OBJECT_PAGE {
                return Err(ObjectError::Malformed("a page with too many items"));
            }
            items.push(parse(item)?);
            Ok(())
        })?;
    }
    let head: Head = parse(&cutter.finish().map_err(ObjectError::from)?)?;
    Ok((items, head.metadata))
}
