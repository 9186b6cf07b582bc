//! Whose certificate it is that is not trusted, in words that name who stands there.
//!
//! Owns the judgement on a refused certificate and its remedy. Pure. Invariant: nothing is claimed
//! that the certificate does not show; what has two explanations is told with both.

use rustls::{CertificateError, Error};

use crate::cluster::certificate::{Certificate, date};
use crate::limits;

/// What is said about a certificate that is not trusted, and what to do.
pub(super) struct Blame {
    pub(super) message: String,
    pub(super) remedy: String,
}

/// Whose certificate, and what we trust there.
pub(super) struct Side<'a> {
    /// `gateway.example`, `the API server`.
    pub(super) of: &'a str,
    /// The names of the authorities that were given for it.
    pub(super) authorities: &'a [String],
    /// What gave them: `--ca-file`, `the CA of the credentials`.
    pub(super) given_by: &'static str,
    /// Whether public authorities are trusted beside them.
    pub(super) public: bool,
}

/// Names what is wrong with the certificate that was presented, `now` in seconds since 1970.
pub(super) fn blame(
    side: &Side<'_>,
    error: &Error,
    presented: Option<&Certificate>,
    now: i64,
) -> Blame {
    let of = side.of;
    let issuer = presented.map_or("somebody unknown", |it| it.issuer.as_str());
    let period = presented.map(|it| (it.not_before, it.not_after));
    match error {
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Blame {
            message: format!(
                "the certificate of {of}, issued by '{issuer}', is for another name{}",
                match error {
                    Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                        presented,
                        ..
                    }) if !presented.is_empty() => format!(": {}", shown(presented)),
                    _ => String::new(),
                }
            ),
            remedy: "check the address; something else, such as a captive portal, may answer there"
                .into(),
        },
        _ => match period {
            Some((from, until)) if now < from || now > until => Blame {
                message: format!(
                    "the certificate of {of}, issued by '{issuer}', holds from {} to {}, and this clock says {}",
                    date(from),
                    date(until),
                    date(now)
                ),
                remedy: "set this machine's clock by NTP; if it is right, renew the certificate"
                    .into(),
            },
            _ => stranger(side, error, issuer),
        },
    }
}

fn stranger(side: &Side<'_>, error: &Error, issuer: &str) -> Blame {
    let Side {
        of,
        authorities,
        given_by,
        public,
    } = side;
    if authorities.iter().any(|known| known == issuer) {
        return Blame {
            message: format!(
                "the certificate of {of} is issued by '{issuer}', and {given_by} has an authority of that name with another key: it is of an older or another installation"
            ),
            remedy: format!("get the CA's certificate of this installation anew, for {given_by}"),
        };
    }
    let trusted = match (authorities.is_empty(), public) {
        (true, true) => "not by a public authority".to_owned(),
        (true, false) => "which is not trusted".to_owned(),
        (false, true) => format!(
            "neither by a public authority nor by {} of {given_by}",
            shown(authorities)
        ),
        (false, false) => format!("not by {} of {given_by}", shown(authorities)),
    };
    let why = match error {
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => "",
        _ => ", and TLS does not accept it",
    };
    Blame {
        message: format!(
            "the certificate of {of} is issued by '{issuer}', {trusted}{why}: a proxy opens this connection, or {of} has that authority of its own"
        ),
        remedy: if *public {
            format!(
                "if '{issuer}' is your proxy's or your own, add its CA certificate with --ca-file; otherwise let the connection pass unopened"
            )
        } else {
            format!(
                "let the connection pass unopened; if '{issuer}' is the cluster's own authority, mend {given_by}"
            )
        },
    }
}

fn shown(names: &[String]) -> String {
    let quoted: Vec<_> = names
        .iter()
        .take(limits::CHECK_AUTHORITIES)
        .map(|name| format!("'{name}'"))
        .collect();
    let quoted = quoted.join(", ");
    match names.len().saturating_sub(limits::CHECK_AUTHORITIES) {
        0 => quoted,
        more => format!("{quoted} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(issuer: &str) -> Certificate {
        Certificate {
            issuer: issuer.into(),
            not_before: 1000,
            not_after: 100_000,
        }
    }

    fn unknown() -> Error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer)
    }

    #[test]
    fn the_issuer_of_a_proxy_is_named_and_an_authority_of_the_same_name_is_no_proxy() {
        let ours = ["PipeOps CA".to_owned()];
        let side = |authorities| Side {
            of: "gateway.example",
            authorities,
            given_by: "--ca-file",
            public: true,
        };
        for authorities in [&[][..], &ours] {
            let said = blame(
                &side(authorities),
                &unknown(),
                Some(&by("Corp Proxy CA")),
                2000,
            );
            assert!(
                said.message
                    .contains("the certificate of gateway.example is issued by 'Corp Proxy CA', n")
                    && said.message.contains("a proxy opens this connection"),
                "{}",
                said.message
            );
            assert!(said.remedy.contains("--ca-file"), "{}", said.remedy);
        }
        let said = blame(&side(&ours), &unknown(), Some(&by("PipeOps CA")), 2000);
        assert!(said.message.contains("another key"), "{}", said.message);
        assert!(!said.message.contains("proxy"), "{}", said.message);
    }

    #[test]
    fn a_bundle_is_known_whole_and_shown_in_part() {
        let bundle: Vec<_> = (0..limits::CHECK_AUTHORITIES + 5)
            .map(|at| format!("Authority {at}"))
            .collect();
        let side = Side {
            of: "gateway.example",
            authorities: &bundle,
            given_by: "--ca-file",
            public: true,
        };
        let last = by(bundle.last().unwrap());
        let said = blame(&side, &unknown(), Some(&last), 2000);
        assert!(said.message.contains("another key"), "{}", said.message);
        let said = blame(&side, &unknown(), Some(&by("Corp Proxy CA")), 2000);
        let shown = said.message.matches("'Authority ").count();
        assert_eq!(shown, limits::CHECK_AUTHORITIES, "{}", said.message);
        assert!(
            said.message.contains(" and 5 more of --ca-file"),
            "{}",
            said.message
        );
    }

    #[test]
    fn a_clock_out_of_the_certificate_s_time_is_blamed_before_the_issuer() {
        let side = Side {
            of: "the API server",
            authorities: &[],
            given_by: "the CA of the credentials",
            public: false,
        };
        for (now, blames) in [(10, true), (2000, false), (200_000, true)] {
            let said = blame(&side, &unknown(), Some(&by("x")), now);
            assert_eq!(said.message.contains("this clock says"), blames, "{now}");
        }
        let said = blame(&side, &unknown(), None, 10);
        assert!(
            said.message.contains("somebody unknown"),
            "{}",
            said.message
        );
    }
}
