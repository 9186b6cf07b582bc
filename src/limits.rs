//! Every ceiling, with its reason.

// === Requests of the Kubernetes API ===

/// Longest path of a request, in bytes, raw and canonical. The longest that Kubernetes' own names
/// can make is under 2 KiB; the rest is for what stands behind `/proxy/`.
pub const KUBE_PATH_BYTES: usize = 8 * 1024;

/// Longest query of a request, in bytes: exec carries its whole command there.
pub const KUBE_QUERY_BYTES: usize = 60 * 1024;

/// Longest path and query together, in bytes: the most that `http::Uri` can hold, so a request
/// parsed here can always be sent.
pub const KUBE_TARGET_BYTES: usize = u16::MAX as usize - 1;

/// Most parameters in a query. Go's `net/url` reads none at all of a query with more (since 1.25),
/// and all of them before that: beyond it the two ends could differ.
pub const KUBE_QUERY_PARAMETERS: usize = 10_000;

/// Most headers of a request or answer, before filtering. A busy browser sends 30; API servers put
/// each warning in one.
pub const KUBE_HEADERS: usize = 256;

/// Most bytes of header names and values together, before filtering: what hyper and Go's servers
/// read by default lies between 64 KiB and 1 MiB, and nothing legitimate comes near.
pub const KUBE_HEADER_BYTES: usize = 64 * 1024;
