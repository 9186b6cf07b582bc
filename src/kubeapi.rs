//! What must be understood of a Kubernetes request, for every layer that touches one.
//!
//! Owns the parsing of paths and queries ([`RequestPath`]), the two header allow-lists
//! ([`headers`]) and the `Status` objects that we compose ([`status`]). Gateway, policy, cluster,
//! dispatch and sample share it, so that what one decides on is what the other sends.
//!
//! Does not own who may do what (`policy`), nor any transport: it is pure, holds no state, reads
//! no clock and never panics on what a peer sends.
//!
//! Invariant: a decision is made on the parsed request and the request is rebuilt from the same
//! parts; the received path is never forwarded.

pub mod headers;
pub mod status;

mod attributes;
mod escape;
mod location;
mod path;
mod quantity;
pub(crate) mod query;
mod selector;
mod upgrade;

pub use attributes::{Attributes, Verb};
pub use headers::HeaderError;
pub use path::{PathError, RequestPath};
pub use quantity::{NotQuantity, Quantity};
pub use upgrade::Upgrade;
