//! The way to the control plane: each step, the token, the upgrade, the clock.
//!
//! Owns what an outcome means and the remedy. Owns not: going the way (`uplink::probe`). Invariant:
//! what the control plane itself has said is told apart from what something in between has said.

use std::borrow::Cow;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::certificate::{Side, blame};
use super::{Check, Outcome, clock, wall};
use crate::authorities;
use crate::cluster::certificate::Certificate;
use crate::uplink::probe::{
    Answer, Channel, Failure, Idle, Kind, Probe, Prober, Requests, Verdict,
};

const DNS: &str = "control_plane.dns";
const TCP: &str = "control_plane.tcp";
const PROXY: &str = "control_plane.proxy";
const TLS: &str = "control_plane.tls";
const AUTH: &str = "control_plane.auth";
const WEBSOCKET: &str = "control_plane.websocket";
const CLOCK: &str = "control_plane.clock";
const IDLE: &str = "control_plane.idle";

/// Tests the way to the control plane. Nothing is registered there.
///
/// # Cancel safety
/// Dropping it closes what was opened.
pub async fn test(prober: &Prober) -> Vec<Check> {
    let before = wall();
    let probe = prober.probe().await;
    told(prober, &probe, before)
}

fn told(prober: &Prober, probe: &Probe, before: i64) -> Vec<Check> {
    let host = prober.url().host();
    let first = match &probe.proxy {
        Some(proxy) => format!("the proxy {proxy}"),
        None => host.to_owned(),
    };
    let mut checks = Vec::new();
    checks.push(match &probe.name {
        None if probe.tcp.is_some() => {
            Check::ok(DNS, None, "given by its address: nothing to resolve")
        }
        None => Check::skipped(DNS, "not reached"),
        Some(Ok(took)) => Check::ok(DNS, Some(*took), format!("the name of {first} resolves")),
        Some(Err(failure)) => Check::bad(
            DNS,
            Outcome::Fail,
            failure.message.clone(),
            "check the DNS of this machine or pod, and the spelling of the URL",
        ),
    });
    checks.push(match &probe.tcp {
        None => Check::skipped(TCP, "its name does not resolve"),
        Some(Ok(took)) => Check::ok(TCP, Some(*took), format!("{first} takes connections")),
        Some(Err(failure)) => Check::bad(
            TCP,
            Outcome::Fail,
            format!("no connection to {first}: {}", failure.message),
            match failure.kind {
                Kind::Refused => "nobody listens there: check the port, and that it runs",
                Kind::Slow => {
                    "nothing answers: allow this connection in firewalls and network policies, or set HTTPS_PROXY"
                }
                _ => "check the route and the firewalls on the way",
            },
        ),
    });
    if probe.proxy.is_some() {
        checks.push(match &probe.tunnel {
            None => Check::skipped(PROXY, "the proxy is not reached"),
            Some(Ok(took)) => Check::ok(PROXY, Some(*took), format!("{first} makes a tunnel")),
            Some(Err(failure)) => Check::bad(
                PROXY,
                Outcome::Fail,
                failure.message.clone(),
                format!("allow CONNECT to {}, or check the proxy's credentials; NO_PROXY goes around it", prober.url().authority()),
            ),
        });
    }
    checks.push(match &probe.tls {
        None => Check::skipped(TLS, "there is no connection"),
        Some(Ok(took)) => trusted(host, probe, before).taking(*took),
        Some(Err(failure)) => untrusted(prober, failure, probe, before),
    });
    match &probe.channel {
        None => {
            for name in [AUTH, WEBSOCKET, CLOCK] {
                checks.push(Check::skipped(name, "there is no trusted connection"));
            }
        }
        Some(channel) => {
            checks.push(auth(channel));
            checks.push(beside(websocket(host, channel), probe.requests.as_ref()));
            checks.push(clock::against_control_plane(channel, before));
        }
    }
    checks
}

fn trusted(host: &str, probe: &Probe, now: i64) -> Check {
    match probe.certificate.as_deref().and_then(Certificate::read) {
        None => Check::ok(TLS, None, format!("the certificate of {host} is trusted")),
        Some(certificate) => super::api_server::trusted(
            TLS,
            &format!("the certificate of {host}"),
            &certificate,
            now,
            "renew the control plane's certificate",
        ),
    }
}

fn untrusted(prober: &Prober, failure: &Failure, probe: &Probe, now: i64) -> Check {
    let host = prober.url().host();
    let presented = probe.certificate.as_deref().and_then(Certificate::read);
    let by = |it: &Certificate| format!("; it presents a certificate issued by '{}'", it.issuer);
    match &failure.kind {
        Kind::Untrusted(error) => {
            let authorities = prober
                .ca_file()
                .map(|path| issuers(path))
                .unwrap_or_default();
            let side = Side {
                of: host,
                authorities: &authorities,
                given_by: "--ca-file",
                public: true,
            };
            let said = blame(&side, error, presented.as_ref(), now);
            Check::bad(TLS, Outcome::Fail, said.message, said.remedy)
        }
        Kind::Setup => Check::bad(
            TLS,
            Outcome::Fail,
            failure.message.clone(),
            "name a file of PEM certificates with --ca-file",
        ),
        Kind::Incompatible => Check::bad(
            TLS,
            Outcome::Fail,
            format!(
                "{host} does not speak TLS 1.3{}",
                presented.as_ref().map_or(String::new(), by)
            ),
            "a proxy that opens the connection speaks an older version: let the connection pass unopened, or let it speak TLS 1.3",
        ),
        _ => Check::bad(
            TLS,
            Outcome::Fail,
            failure.message.clone(),
            "check that the URL is a control plane's; a firewall that judges by the server's name also cuts here",
        ),
    }
}

/// The names of a file's authorities; those of a root are its own and its issuer's alike.
fn issuers(path: &std::path::Path) -> Vec<String> {
    let pem = authorities::read(path).unwrap_or_default();
    CertificateDer::pem_slice_iter(&pem)
        .filter_map(|der| Some(Certificate::read(&der.ok()?)?.issuer))
        .collect()
}

fn auth(channel: &Channel) -> Check {
    let took = channel.took;
    let refused = |message: String| {
        Check::bad(
            AUTH,
            Outcome::Fail,
            message,
            "create a new token in the control plane and put it into PIPEOPS_TOKEN_FILE; check that it is an agent's, and this control plane's",
        )
        .taking(took)
    };
    match &channel.answer {
        Answer::Upgraded => Check::ok(
            AUTH,
            Some(took),
            "it accepts the token; nothing was registered",
        ),
        Answer::NoToken(why) => refused(format!("the token cannot be read: {why}")),
        Answer::Status { status: 407, .. } => Check::skipped(AUTH, "a proxy has answered"),
        Answer::Status {
            said: Some(said), ..
        } => match said.verdict {
            Verdict::Token => refused(format!("it refuses the token: {}", said.words)),
            Verdict::Decommissioned => Check::bad(
                AUTH,
                Outcome::Fail,
                format!("it no longer wants this cluster: {}", said.words),
                "register the cluster again, or uninstall the agent",
            ),
            // The token comes first: what is wrong is something else.
            Verdict::NoUpgrade | Verdict::Version | Verdict::Later | Verdict::Other => Check::ok(
                AUTH,
                Some(took),
                "it accepts the token; nothing was registered",
            ),
        },
        Answer::Status { status, .. } if matches!(status, 401 | 403) => refused(format!(
            "{} refuses the request ({status}), not in the control plane's words",
            answered_by(channel)
        )),
        Answer::Status { .. } | Answer::Broken(_) | Answer::Slow => Check::skipped(
            AUTH,
            "the control plane has not answered; see control_plane.websocket",
        ),
    }
}

fn answered_by(channel: &Channel) -> String {
    match &channel.by {
        Some(by) => format!("'{by}'"),
        None => "something".to_owned(),
    }
}

/// Where no WebSocket passes, the agent goes another way if there is one.
fn beside(mut check: Check, requests: Option<&Result<Requests, String>>) -> Check {
    if check.outcome != Outcome::Fail {
        return check;
    }
    match requests {
        None => {}
        Some(Ok(passed)) => {
            check.outcome = Outcome::Warn;
            check.message.push_str(match passed {
                Requests::AtOnce => "; SSE and POST pass, and the agent goes by them",
                Requests::KeptBack => {
                    "; SSE and POST pass, and the agent goes by them, but answers are kept back until they are whole, which slows it down"
                }
            });
        }
        Some(Err(error)) => {
            check
                .message
                .push_str("; SSE and POST do not pass either: ");
            check.message.push_str(error);
        }
    }
    check
}

fn websocket(host: &str, channel: &Channel) -> Check {
    let bad = |message: String, remedy: &'static str| {
        let remedy: Cow<'static, str> = remedy.into();
        Check::bad(WEBSOCKET, Outcome::Fail, message, remedy).taking(channel.took)
    };
    const PASS: &str = "let the proxy on the way pass Upgrade and Connection for this host (nginx: proxy_http_version 1.1, proxy_set_header Upgrade and Connection), or go around it";
    let by = answered_by(channel);
    match &channel.answer {
        Answer::Upgraded => Check::ok(
            WEBSOCKET,
            Some(channel.took),
            "the channel was opened and closed again",
        ),
        Answer::NoToken(_) => Check::skipped(WEBSOCKET, "there is no token to ask with"),
        Answer::Slow => bad(
            format!("{host} does not answer the request for the channel"),
            "look for a proxy that holds WebSocket requests back; see the control plane's log",
        ),
        Answer::Status {
            said: Some(said), ..
        } => match said.verdict {
            Verdict::Token | Verdict::Decommissioned => {
                Check::skipped(WEBSOCKET, "the token is refused")
            }
            Verdict::NoUpgrade => bad(
                format!(
                    "the request reached the control plane without its Upgrade ({}): something in between strips it",
                    said.words
                ),
                PASS,
            ),
            Verdict::Version => bad(
                format!(
                    "agent and control plane have no version of the protocol in common, or something in between strips Sec-WebSocket-Protocol ({})",
                    said.words
                ),
                "upgrade the older of the two; see the release notes for which go together",
            ),
            Verdict::Later => Check::bad(
                WEBSOCKET,
                Outcome::Warn,
                format!(
                    "the control plane does not take the channel now ({})",
                    said.words
                ),
                "try again in a minute",
            ),
            Verdict::Other => bad(
                format!("the control plane refuses the channel ({})", said.words),
                "see the control plane's log",
            ),
        },
        Answer::Status { status: 407, .. } => bad(
            format!("the proxy {by} asks for credentials (407)"),
            "put user and password into the proxy's URL, or its credentials file",
        ),
        Answer::Status { status: 404, .. } => bad(
            format!("{by} knows no channel there (404)"),
            "check the control plane's URL and its path",
        ),
        Answer::Status { status, .. } if matches!(status, 401 | 403) => {
            Check::skipped(WEBSOCKET, format!("the request is refused ({status})"))
        }
        Answer::Status { status, .. } if matches!(status, 502..=504) => bad(
            format!("{by} answers {status}: it does not reach the control plane behind it"),
            "check that the control plane runs, and the balancer or proxy before it",
        ),
        Answer::Status {
            status, web_page, ..
        } if matches!(status, 200..=299 | 400 | 426) => bad(
            format!(
                "{by} answers {status}{} without an Upgrade: something in between strips it or answers in the control plane's place",
                if *web_page { " with a web page," } else { "" }
            ),
            PASS,
        ),
        Answer::Status { status, .. } => bad(
            format!("{by} answers {status} instead of opening the channel"),
            "check the control plane's URL, and what stands before it",
        ),
        Answer::Broken(how) => bad(
            format!("the upgrade broke: {how}: something in between meddles with it"),
            PASS,
        ),
    }
}

/// Holds a channel without a byte for so long: a path that cuts idle connections shows itself.
///
/// # Cancel safety
/// Dropping it closes the connection.
pub async fn idle(prober: &Prober, hold: Duration) -> Check {
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    let fail = |message: String| {
        Check::bad(
            IDLE,
            Outcome::Fail,
            message,
            "raise the idle timeout of the proxy, balancer or firewall on the way above 60 s (nginx: proxy_read_timeout)",
        )
    };
    match prober.idle(hold).await {
        Idle::Held(held) => Check::ok(
            IDLE,
            None,
            format!(
                "a channel without a byte stood for {}; hold it longer with --idle",
                seconds(held)
            ),
        ),
        Idle::Cut { after, how } => fail(format!(
            "the path cuts a channel that is idle for {}: {how}",
            seconds(after)
        )),
        Idle::Silent(held) => fail(format!(
            "the path forgets a channel that is idle for {}: nothing comes back any more",
            seconds(held)
        )),
        Idle::Closed(after) => Check::bad(
            IDLE,
            Outcome::Warn,
            format!(
                "the control plane itself closed a channel that said nothing for {}: the path cannot be judged for longer",
                seconds(after)
            ),
            "choose a shorter --idle",
        ),
        Idle::NotOpened => Check::skipped(IDLE, "there is no channel; see control_plane.websocket"),
    }
}
