//! What the gateway says about a session, for the loop that serves it.
//!
//! Owns the newest of each thing said. Owns not: what follows from it (`uplink`). Invariants: what
//! an earlier session was told counts for that one alone; commands pass through untouched.

use std::sync::Arc;

use tokio::sync::watch;

use crate::protocol::error::ErrorCode;
use crate::protocol::hello::SessionRole;
use crate::protocol::message::Goaway;
use crate::session::{Incoming, Notice, Open};
use crate::status::Status;

/// What a session's gateway has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// Whether this session carries the cluster's telemetry.
    pub(super) role: SessionRole,
    /// It takes no new streams; those that run may go on (P-42).
    pub(super) goaway: Option<Goaway>,
}

/// The owner of one session: hands on what the commands' owner gets, and keeps what is the loop's.
pub(super) struct Hearing {
    commands: Arc<dyn Open>,
    status: Status,
    said: watch::Sender<Said>,
}

impl Hearing {
    /// An ear for a session that begins with this role, and what it hears.
    pub(super) fn new(
        commands: Arc<dyn Open>,
        status: Status,
        role: SessionRole,
    ) -> (Arc<Self>, watch::Receiver<Said>) {
        let (said, heard) = watch::channel(Said { role, goaway: None });
        let hearing = Self {
            commands,
            status,
            said,
        };
        (Arc::new(hearing), heard)
    }
}

impl Open for Hearing {
    fn open(&self, incoming: Incoming) {
        self.commands.open(incoming);
    }

    fn notice(&self, notice: Notice) {
        match &notice {
            Notice::Role(role) => {
                self.said
                    .send_if_modified(|said| std::mem::replace(&mut said.role, *role) != *role);
            }
            Notice::Warning(warning) => self.status.warned(warning.code.as_str(), &warning.message),
            Notice::Goaway(goaway) if drains(goaway) => {
                self.said
                    .send_modify(|said| said.goaway = Some(goaway.clone()));
            }
            Notice::Report(_) | Notice::Heartbeat(_) | Notice::Ack(_) | Notice::Goaway(_) => {}
        }
        self.commands.notice(notice);
    }
}

/// Whether the session drains; with any other code it ends now.
fn drains(goaway: &Goaway) -> bool {
    matches!(
        goaway.code,
        ErrorCode::ShuttingDown | ErrorCode::IdsExhausted
    )
}
