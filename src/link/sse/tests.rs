//! Both halves of a link that requests carry, without requests.

use futures_util::{FutureExt, SinkExt, StreamExt};

use super::*;
use crate::link::carriage::read_body;

fn text(bytes: usize) -> Wire {
    Wire::Text("x".repeat(bytes))
}

fn parcels(messages: &[Wire]) -> Vec<Option<Parcel>> {
    let parcels = messages.iter().cloned().map(Parcel::Message);
    parcels.map(Some).collect()
}

#[tokio::test]
async fn the_session_waits_while_too_much_is_not_acknowledged() {
    let (mut link, port) = pair(1000);
    link.send(text(1000)).await.unwrap();
    assert!(link.send(text(1)).now_or_never().is_none(), "no room");
    let body = read_body(port.body()).unwrap();
    assert_eq!((body.first, body.parcels.len()), (1, 1));
    // Sent again, it is the same.
    assert_eq!(read_body(port.body()).unwrap(), body);
    port.acknowledged(1).unwrap();
    link.send(text(1)).await.unwrap();
    assert_eq!(read_body(port.body()).unwrap().first, 2);
    assert_eq!(port.acknowledged(9), Err(NotTaken::OutOfOrder));
    let error = link.next().await.unwrap().unwrap_err();
    assert!(matches!(error, LinkError::Protocol(_)), "{error}");
}

#[tokio::test]
async fn what_the_session_does_not_read_is_bounded_and_refused_whole() {
    let (mut link, port) = pair(1000);
    let large = parcels(&[text(limits::SSE_TAKEN)]);
    port.arrived(1, large).unwrap();
    assert_eq!(port.arrived(2, parcels(&[text(1)])), Err(NotTaken::Full));
    assert_eq!(port.taken(), 1, "nothing of it was taken");
    assert!(port.room().now_or_never().is_none());
    assert!(link.next().await.unwrap().is_ok());
    port.room().await;
    port.arrived(1, parcels(&[text(1), text(2)])).unwrap();
    assert_eq!(
        link.next().await.unwrap().unwrap(),
        text(2),
        "the first was repeated"
    );
}

#[tokio::test]
async fn a_gap_ends_what_is_read_and_the_goodbye_still_goes() {
    let (mut link, port) = pair(1000);
    assert_eq!(
        port.arrived(2, parcels(&[text(1)])),
        Err(NotTaken::OutOfOrder)
    );
    assert!(link.next().await.unwrap().is_err());
    assert_eq!(port.arrived(1, parcels(&[text(1)])), Err(NotTaken::Over));
    link.set_close(1002, "malformed");
    assert!(
        link.close().now_or_never().is_none(),
        "until it has arrived"
    );
    let body = read_body(port.body()).unwrap();
    assert_eq!(body.parcels, [Parcel::Close(1002, "malformed".into())]);
    port.acknowledged(1).unwrap();
    link.close().await.unwrap();
}

#[tokio::test]
async fn the_peer_s_goodbye_ends_the_stream_and_is_acknowledged_at_once() {
    let (mut link, port) = pair(1000);
    let goodbye = Parcel::Close(4401, "unauthorized".into());
    let all = vec![Some(Parcel::Message(text(3))), None, Some(goodbye)];
    port.arrived(1, all).unwrap();
    assert!(port.work().now_or_never() == Some(true), "it is owed");
    assert_eq!(read_body(port.body()).unwrap().acknowledged, 3);
    assert!(port.work().now_or_never().is_none());
    port.unheard();
    assert!(port.work().now_or_never() == Some(true), "it was lost");
    assert_eq!(link.next().await.unwrap().unwrap(), text(3));
    assert!(link.next().await.is_none());
    assert_eq!(link.peer_close(), Some((4401, "unauthorized".into())));
    assert_eq!(
        port.arrived(4, vec![None]),
        Ok(()),
        "what says nothing may follow"
    );
    let more = parcels(&[text(1)]);
    assert_eq!(port.arrived(5, more), Err(NotTaken::OutOfOrder));
}

#[tokio::test]
async fn either_end_s_going_ends_the_other() {
    let (link, port) = pair(1000);
    drop(link);
    assert!(port.over().is_cancelled() && !port.work().await);
    assert_eq!(port.arrived(1, parcels(&[text(1)])), Err(NotTaken::Over));
    assert_eq!(port.resume(0), Err(NotTaken::Over));
    let (mut link, port) = pair(1000);
    port.fail(io::ErrorKind::TimedOut.into());
    let error = link.next().await.unwrap().unwrap_err();
    assert!(matches!(error, LinkError::Io(_)), "{error}");
    assert!(link.next().await.is_none());
    assert!(link.send(text(1)).await.is_err());
}

#[test]
fn a_carrier_that_begins_anew_gets_what_was_not_acknowledged() {
    let (mut link, port) = pair(1000);
    for bytes in 1..=3 {
        Pin::new(&mut link).start_send(text(bytes)).unwrap();
    }
    port.resume(1).unwrap();
    let mut events = BytesMut::new();
    assert_eq!(port.events(1, 1, &mut events), 2, "one at least");
    assert_eq!(port.events(2, usize::MAX, &mut events), 3);
    let written = String::from_utf8(events.to_vec()).unwrap();
    assert_eq!(written, "id: 2\ndata: xx\n\nid: 3\ndata: xxx\n\n");
    assert_eq!(
        port.resume(0),
        Err(NotTaken::OutOfOrder),
        "given back before"
    );
}
