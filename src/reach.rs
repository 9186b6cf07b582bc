//! A TCP connection to a host by its name, with as many addresses as the name has.
//!
//! Owns which addresses are tried, in which order, and that they race; and that a simulation's network
//! may stand for the system's (`simulation`). Owns not: what is spoken on the connection, the socket's
//! options, nor the deadline, which is the caller's and covers the whole operation. Invariants: names are resolved on every attempt; a silent address hides no
//! other.

use std::io;
use std::net::SocketAddr;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpStream;

use crate::limits;

/// A connection, before anything is spoken on it.
#[cfg(not(feature = "simulation"))]
pub(crate) type Socket = TcpStream;

/// A connection, before anything is spoken on it.
#[cfg(feature = "simulation")]
pub(crate) type Socket = tokio_util::either::Either<TcpStream, crate::simulation::Connection>;

/// The system's socket below, for its options.
#[cfg(not(feature = "simulation"))]
pub(crate) const fn tcp(socket: &Socket) -> Option<&TcpStream> {
    Some(socket)
}

/// The system's socket below, for its options.
#[cfg(feature = "simulation")]
pub(crate) fn tcp(socket: &Socket) -> Option<&TcpStream> {
    match socket {
        Socket::Left(socket) => Some(socket),
        Socket::Right(_) => None,
    }
}

/// A connection to one address.
///
/// # Cancel safety
/// Dropping it closes what was opened.
pub(crate) async fn open(address: SocketAddr) -> io::Result<Socket> {
    #[cfg(feature = "simulation")]
    if let Some(connecting) = crate::simulation::connect(address) {
        return connecting.await.map(Socket::Right);
    }
    let socket = TcpStream::connect(address).await?;
    #[cfg(feature = "simulation")]
    let socket = Socket::Left(socket);
    Ok(socket)
}

/// An address that did not take the connection, and why.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) address: SocketAddr,
    pub(crate) source: io::Error,
}

/// The addresses of a host, at least one; the error is absent where the name has none.
///
/// # Cancel safety
/// Nothing is kept of what is dropped.
pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Option<io::Error>> {
    let found = tokio::net::lookup_host((host, port)).await.map_err(Some)?;
    let addresses = alternate(found.collect());
    if addresses.is_empty() {
        return Err(None);
    }
    Ok(addresses)
}

/// IPv6 and IPv4 in turn, beginning with the kind that the resolver put first.
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (same, other): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut out = Vec::new();
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    while out.len() < limits::ADDRESSES {
        let pair = [same.next(), other.next()];
        if pair == [None, None] {
            break;
        }
        out.extend(pair.into_iter().flatten());
    }
    out
}

/// A connection to the first address that answers; each gets a head start of a quarter of a second.
/// The refusal is the last one, and absent where there was no address.
///
/// # Cancel safety
/// Dropping it closes what was opened.
pub(crate) async fn connect(addresses: Vec<SocketAddr>) -> Result<Socket, Option<Refusal>> {
    let mut left = addresses.into_iter();
    let mut racing = FuturesUnordered::new();
    let mut last = None;
    loop {
        if let Some(address) = left.next() {
            racing.push(async move {
                open(address)
                    .await
                    .map_err(|source| Refusal { address, source })
            });
        }
        let start = tokio::time::sleep(limits::NEXT_ADDRESS);
        tokio::select! {
            biased;
            done = racing.next() => match done {
                Some(Ok(socket)) => return Ok(socket),
                Some(Err(refusal)) => last = Some(refusal),
                None => break,
            },
            () = start, if left.len() > 0 => {}
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn kinds_of_addresses_take_turns_and_are_bounded() {
        let v6: SocketAddr = "[::1]:1".parse().unwrap();
        let v4: SocketAddr = "127.0.0.1:1".parse().unwrap();
        assert_eq!(alternate(vec![v6, v6, v4]), [v6, v4, v6]);
        assert_eq!(alternate(vec![v4, v4, v6]), [v4, v6, v4]);
        assert_eq!(alternate(vec![v4; 99]).len(), limits::ADDRESSES);
        assert!(alternate(Vec::new()).is_empty());
    }

    #[tokio::test]
    async fn an_address_that_refuses_hides_no_other() {
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refuses = closed.local_addr().unwrap();
        drop(closed);
        let address = open.local_addr().unwrap();
        let socket = connect(vec![refuses, address]).await.unwrap();
        assert_eq!(tcp(&socket).unwrap().peer_addr().unwrap(), address);
        let refusal = connect(vec![refuses]).await.unwrap_err();
        assert_eq!(refusal.unwrap().address, refuses);
        assert!(connect(Vec::new()).await.unwrap_err().is_none());
    }
}
