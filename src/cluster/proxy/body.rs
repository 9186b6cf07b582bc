//! Bodies: the caller's on its way up, the API server's on its way down.
//!
//! Owns when a connection goes back to the pool: after the last byte, and only if it may.
//! Invariant: nothing is read from the API server but when a chunk is asked for, so a stalled
//! reader holds one read buffer and no more.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;

use crate::cluster::connection::Live;
use crate::cluster::error::ClusterError;
use crate::cluster::pool::Pool;

/// A request's body. Its errors end the request; hyper asks only that they can be shown.
pub type Upload = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// The body as hyper takes it: absent, or the caller's.
#[derive(Debug)]
pub(in crate::cluster) struct RequestBody {
    upload: Option<Upload>,
    /// Set while bytes are still to come.
    open: Arc<AtomicBool>,
}

impl RequestBody {
    /// The body, and a flag that is set as long as it has not been read to its end.
    pub(super) fn new(upload: Option<Upload>) -> (Self, Option<Arc<AtomicBool>>) {
        let open = Arc::new(AtomicBool::new(upload.is_some()));
        let uploading = upload.is_some().then(|| open.clone());
        (Self { upload, open }, uploading)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(upload) = self.upload.as_mut() else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(upload).poll_frame(cx);
        if !matches!(polled, Poll::Pending | Poll::Ready(Some(Ok(_)))) {
            self.upload = None;
            self.open.store(false, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.upload.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.upload
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.open.store(false, Ordering::Relaxed);
    }
}

/// An answer's body, with the connection that it comes on.
pub struct ResponseBody {
    incoming: Incoming,
    live: Option<Live>,
    /// Where the connection goes afterwards; nowhere, and it is closed, if an upgrade was asked.
    pool: Option<Arc<Pool>>,
    uploading: Option<Arc<AtomicBool>>,
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}

impl ResponseBody {
    pub(super) fn new(
        incoming: Incoming,
        live: Live,
        pool: Option<Arc<Pool>>,
        uploading: Option<Arc<AtomicBool>>,
    ) -> Self {
        Self {
            incoming,
            live: Some(live),
            pool,
            uploading,
        }
    }

    /// The next bytes, never empty; nothing at the end.
    ///
    /// # Errors
    /// When the answer breaks off; it must then not look complete to anybody.
    ///
    /// # Cancel safety
    /// Bytes are taken only when they are returned.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClusterError> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// As [`ResponseBody::chunk`].
    pub fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, ClusterError>> {
        loop {
            if let Poll::Ready(taken) = self.poll_incoming(cx) {
                return Poll::Ready(taken);
            }
            // Asking made the connection want to read: now let it.
            let Some(live) = self.live.as_mut() else {
                return Poll::Ready(Err(ClusterError::Unusable("the connection ended early")));
            };
            if live.poll_drive(cx).is_ready() {
                // The rest, or the error, is with the body.
                self.live = None;
                continue;
            }
            return self.poll_incoming(cx);
        }
    }

    /// Moves the request's own body on while the answer cannot be passed on; reads nothing that
    /// would have to be kept.
    pub fn poll_upload(&mut self, cx: &mut Context<'_>) {
        let uploading = self
            .uploading
            .as_ref()
            .is_some_and(|open| open.load(Ordering::Relaxed));
        if uploading
            && let Some(live) = self.live.as_mut()
            && live.poll_drive(cx).is_ready()
        {
            self.live = None;
        }
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ClusterError>> {
        loop {
            return match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(None) => {
                    self.finish(cx);
                    Poll::Ready(Ok(None))
                }
                Poll::Ready(Some(Err(error))) => {
                    self.live = None;
                    Poll::Ready(Err(ClusterError::http(error)))
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => Poll::Ready(Ok(Some(data))),
                    // Trailers have no place on the way down.
                    _ => continue,
                },
            };
        }
    }

    /// After the last byte: keeps the connection, if it takes another request.
    fn finish(&mut self, cx: &mut Context<'_>) {
        if let (Some(mut live), Some(pool)) = (self.live.take(), self.pool.take())
            && live.poll_usable(cx)
        {
            pool.put(live);
        }
    }
}
