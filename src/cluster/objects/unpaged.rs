//! A list that comes whole, however long: the API server's Tables, and servers behind it that know
//! no pages (metrics.k8s.io).
//!
//! Owns the reading of it piece by piece, as fast as its caller asks. Invariants: what is held is
//! one piece of the answer and at most one item; a caller who does not ask reads nothing, and
//! dropping it closes the connection.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use super::items::Items;
use super::{ObjectError, Objects, ResponseBody, parse};
use crate::cluster::ClusterError;
use crate::limits;

/// What such a list looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// An ordinary list.
    List,
    /// A Table, as kubectl shows it; only the cells, not the objects.
    Table,
}

impl Shape {
    const fn accept(self) -> &'static str {
        match self {
            Self::List => super::JSON,
            Self::Table => "application/json;as=Table;g=meta.k8s.io;v=v1",
        }
    }

    const fn key(self) -> &'static str {
        match self {
            Self::List => "\"items\"",
            Self::Table => "\"rows\"",
        }
    }
}

/// The rest of such a list.
pub struct Unpaged<T> {
    body: ResponseBody,
    cutter: Option<Items>,
    idle: std::time::Duration,
    item: PhantomData<fn() -> T>,
}

impl<T> std::fmt::Debug for Unpaged<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpaged").finish_non_exhaustive()
    }
}

impl Objects {
    /// Begins to read such a list; the deadline holds up to the head, and then for each piece.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub async fn unpaged<T: DeserializeOwned>(
        &self,
        target: &str,
        shape: Shape,
    ) -> Result<Unpaged<T>, ObjectError> {
        let body = self.open(target, shape.accept()).await?;
        let cutter = Items::new(limits::OBJECT_SMALL, limits::OBJECT_REFUSAL);
        Ok(Unpaged {
            body,
            cutter: Some(cutter.called(shape.key())),
            idle: self.deadline,
            item: PhantomData,
        })
    }
}

impl<T: DeserializeOwned> Unpaged<T> {
    /// The next items, perhaps none yet; nothing at the end of a list that came whole.
    ///
    /// # Errors
    /// See [`ObjectError`]; what came before an error is not the whole list.
    ///
    /// # Cancel safety
    /// May be dropped and asked again.
    pub async fn next(&mut self) -> Result<Option<Vec<T>>, ObjectError> {
        let Some(cutter) = &mut self.cutter else {
            return Ok(None);
        };
        let chunk = tokio::time::timeout(self.idle, self.body.chunk())
            .await
            .unwrap_or(Err(ClusterError::Deadline(self.idle)))?;
        let mut items = Vec::new();
        if let Some(chunk) = chunk {
            cutter.feed::<ObjectError>(&chunk, &mut |item| {
                items.push(parse(item)?);
                Ok(())
            })?;
            return Ok(Some(items));
        }
        if let Some(cutter) = self.cutter.take() {
            cutter.finish().map_err(ObjectError::from)?;
        }
        Ok(None)
    }
}
