//! The cluster: the only home of `kube`, and the only way to the API server.
//!
//! Owns credentials ([`client`]), connections and their pool, requests that stream both ways and
//! upgrades ([`proxy`]), our own typed calls ([`objects`]), identity ([`run_as`] for the caller's, [`identity`] for the cluster's).
//! Owns not: who may ask for what (`policy`), nor how an answer travels to the gateway
//! (`commands`). Invariants: no credential is in an error, a log line or a `Debug`; a redirect is
//! never followed; a request that is dropped closes its connection.

pub mod capacity;
pub mod census;
pub mod certificate;
pub mod client;
pub mod clock;
pub mod discovery;
pub mod error;
pub mod identity;
pub mod kinds;
pub mod logs;
pub mod metrics;
pub mod objects;
pub(crate) mod occurrence;
pub mod proxy;
pub mod run_as;
pub(crate) mod written;

mod calls;
mod connection;
mod pool;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::sync::Semaphore;

use crate::limits;
use crate::tasks::Tasks;
use client::Signer;
use connection::Dialler;
use pool::Pool;

pub use client::{Config, Credentials};
pub use connection::{Probe, Shaken};
pub use error::{ClusterError, ConnectError};
pub use objects::{ObjectError, Objects};
pub use proxy::{Answer, AnswerBody, Outgoing, Upload};
pub use run_as::RunAs;

/// The way to one API server. Cloning shares it.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    signer: Signer,
    dialler: Dialler,
    pool: Arc<Pool>,
    /// The credentials are themselves set to act as somebody else.
    acts_as_another: bool,
    /// Turns to read a page of a list.
    lists: Semaphore,
    /// Turns to read a large event of a watch.
    large: Arc<Semaphore>,
    /// Objects that all followers know.
    followed: Arc<AtomicUsize>,
    /// Which resource a kind is.
    kinds: kinds::Memory,
    /// Turns to read every pod.
    surveys: Semaphore,
    calls: calls::Calls,
}

impl Cluster {
    /// Reads the credentials and prepares the way; the API server need not be up yet.
    ///
    /// `tasks` gets one task, which closes idle connections.
    ///
    /// # Errors
    /// When there are no credentials, or they cannot be used.
    pub async fn connect(config: Config, tasks: &Tasks) -> Result<Self, ConnectError> {
        let client::Way {
            signer,
            dialler,
            acts_as_another,
        } = client::prepare(config).await?;
        let pool = Pool::new();
        let expired = Arc::downgrade(&pool);
        tasks.spawn_logged("pool", pool::expire(expired, tasks.stopping()));
        Ok(Self {
            inner: Arc::new(Inner {
                signer,
                dialler,
                pool,
                acts_as_another,
                lists: Semaphore::new(limits::OBJECT_LISTS),
                large: Arc::new(Semaphore::new(limits::WATCH_LARGE_AT_ONCE)),
                followed: Arc::default(),
                kinds: kinds::Memory::default(),
                surveys: Semaphore::new(limits::SURVEYS),
                calls: calls::Calls::default(),
            }),
        })
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}
