//! The caller's body, as hyper takes it.
//!
//! Invariant: it ends only with FIN; a stream that breaks off breaks the request off.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;

use crate::session::{Item, StreamError, StreamReader};

/// A stream's bytes up to FIN.
pub(super) struct Body {
    reader: Option<StreamReader>,
}

impl Body {
    pub(super) const fn new(reader: StreamReader) -> Self {
        Self {
            reader: Some(reader),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(reader) = self.reader.as_mut() else {
            return Poll::Ready(None);
        };
        match reader.poll_recv(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(Item::Data(bytes))) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Poll::Ready(Ok(Item::Fin)) => {
                self.reader = None;
                Poll::Ready(None)
            }
            // Only a gateway's reader delivers the others.
            Poll::Ready(Ok(Item::Event(_) | Item::End(_))) => {
                self.reader = None;
                Poll::Ready(Some(Err(StreamError::Ended.into())))
            }
            Poll::Ready(Err(error)) => {
                self.reader = None;
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }
}
