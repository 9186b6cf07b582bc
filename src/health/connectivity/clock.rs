//! This clock against others', as the `Date` of an answer tells them.
//!
//! Owns how much of a difference the way explains, and what the rest means. Invariant: a difference
//! that the way or the cut to whole seconds explains is none.

use std::time::Duration;

use super::{Check, Outcome, wall};
use crate::cluster::clock::{Told, date};
use crate::cluster::{Cluster, ObjectError};
use crate::limits;
use crate::uplink::probe::Channel;

/// Compares with the API server.
///
/// # Cancel safety
/// Dropping it closes its connection.
pub async fn test(cluster: &Cluster) -> Check {
    let objects = cluster.objects().within(limits::CLUSTER_CALL);
    let before = wall();
    let told = objects.head_of("/version").await;
    against_api_server(&told, before)
}

/// Compares with the control plane, which answered some time after `before`.
pub(super) fn against_control_plane(channel: &Channel, before: i64) -> Check {
    let name = "control_plane.clock";
    let said = channel.date.as_deref().and_then(date);
    match said {
        // Between `before` and the request lies the connection, which has a bound.
        Some(said) => compared(
            name,
            said,
            before,
            channel.took + limits::CHECK_CONNECT,
            "the control plane",
        ),
        None => Check::skipped(name, "the control plane does not say what time it is"),
    }
}

/// The server's date is that of some moment between question and answer, cut to a second.
fn against_api_server(told: &Result<Told, ObjectError>, before: i64) -> Check {
    let name = "clock.skew";
    let told = match told {
        Ok(told) => told,
        Err(error) => {
            let remedy = "mend the way to the API server first";
            return Check::bad(name, Outcome::Warn, error.to_string(), remedy);
        }
    };
    let Some(date) = told.date else {
        let message = "the API server does not say what time it is";
        return Check::bad(name, Outcome::Warn, message, "look for a proxy in between");
    };
    compared(name, date, before, told.took, "the API server")
}

/// `date` is that of some moment between `before` and `took` later, cut to a second.
fn compared(name: &'static str, date: i64, before: i64, took: Duration, of: &str) -> Check {
    let took = i64::try_from(took.as_secs()).unwrap_or(i64::MAX);
    // What the second and the way may explain is no skew.
    let skew = if date < before - 1 {
        date - before
    } else if date > before.saturating_add(took) + 1 {
        date - before - took
    } else {
        0
    };
    let message = match skew {
        0 => format!("within a second of {of}'s"),
        ahead if ahead < 0 => format!("this clock is {} s ahead of {of}'s", -ahead),
        behind => format!("this clock is {behind} s behind {of}'s"),
    };
    let remedy = "set the clock of the agent's node by NTP";
    let (warn, fail) = limits::SKEW;
    match skew.unsigned_abs() {
        by if by >= fail => Check::bad(name, Outcome::Fail, message, remedy),
        by if by >= warn => Check::bad(name, Outcome::Warn, message, remedy),
        _ => Check::ok(name, None, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(date: Option<i64>, took: u64) -> Result<Told, ObjectError> {
        Ok(Told {
            took: Duration::from_secs(took),
            date,
            status: 200,
        })
    }

    #[test]
    fn a_clock_is_wrong_only_beyond_what_the_way_explains() {
        let (warn, fail) = limits::SKEW;
        let (warn, fail) = (i64::try_from(warn).unwrap(), i64::try_from(fail).unwrap());
        for (date, took, outcome) in [
            (1000, 0, Outcome::Ok),
            (999, 0, Outcome::Ok),
            (1001, 0, Outcome::Ok),
            (1009, 9, Outcome::Ok),
            (1000 - warn + 1, 0, Outcome::Ok),
            (1000 - warn, 0, Outcome::Warn),
            (1000 + warn, 0, Outcome::Warn),
            (1000 + warn, 9, Outcome::Ok),
            (1000 - fail, 0, Outcome::Fail),
            (1000 + fail, 0, Outcome::Fail),
        ] {
            let check = against_api_server(&told(Some(date), took), 1000);
            assert_eq!(check.outcome, outcome, "{date} {took}: {}", check.message);
            assert_eq!(check.remedy.is_none(), outcome == Outcome::Ok);
        }
        assert_eq!(
            against_api_server(&told(None, 0), 1000).outcome,
            Outcome::Warn
        );
        let behind = against_api_server(&told(Some(1100), 0), 1000);
        assert_eq!(
            behind.message,
            "this clock is 100 s behind the API server's"
        );
    }
}
