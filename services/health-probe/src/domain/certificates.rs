//! [`judge`]: what the certificates of a server say.

use std::time::Duration;

use super::limits::Limits;
use super::observation::Seen;
use super::text::{instant, span};
use super::verdict::Verdict;

/// What a probe reads of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whom it is for.
    pub subject: String,
    /// Its serial number, hexadecimal.
    pub serial: String,
    /// When it begins to be valid, epoch seconds.
    pub not_before_s: i64,
    /// When it expires, epoch seconds.
    pub not_after_s: i64,
    /// Whether it names itself as its authority.
    pub is_self_signed: bool,
}

/// What a server presented.
#[derive(Debug, Clone)]
pub struct Presented {
    /// The server's own certificate first, then those of authorities.
    pub chain: Vec<Certificate>,
    /// Why the chain is not trusted; `None`: it is.
    pub refusal: Option<String>,
    /// The certificate that the server should present, from its file; `None`: no file is named.
    pub on_disk: Option<Result<Certificate, String>>,
}

/// Judges the whole chain: trust, expiry of each certificate, and whether the server uses the one that it was given.
#[must_use]
pub fn judge(presented: &Presented, now_s: i64, limits: &Limits) -> Verdict {
    let mut verdict = Verdict::default();
    let Some((own, authorities)) = presented.chain.split_first() else {
        return Verdict::of(Seen::Failed, "the server presented no certificate");
    };
    if let Some(refusal) = &presented.refusal {
        let kind = if own.is_self_signed {
            "is self-signed"
        } else {
            "is not trusted"
        };
        verdict.add(
            Seen::Failed,
            format!("the certificate of {} {kind}: {refusal}", own.subject),
        );
    }
    verdict.and(validity(own, now_s, limits));
    for authority in authorities {
        let of_authority = validity(authority, now_s, limits);
        // A chain that is trusted by another path outlives a certificate of an authority that it does not need.
        if of_authority.seen() == Seen::Failed
            && presented.refusal.is_none()
            && authority.not_after_s <= now_s
        {
            verdict.add(
                Seen::Degraded,
                format!("{}; it is not needed: remove it", of_authority.why()),
            );
        } else {
            verdict.and(of_authority);
        }
    }
    match &presented.on_disk {
        Some(Ok(file)) if file.serial != own.serial || file.not_after_s != own.not_after_s => {
            verdict.add(Seen::Degraded, not_reloaded(own, file));
        }
        Some(Err(why)) => verdict.add(Seen::Unknown, format!("the file of the certificate: {why}")),
        Some(Ok(_)) | None => {}
    }
    verdict
}

fn validity(certificate: &Certificate, now_s: i64, limits: &Limits) -> Verdict {
    let Certificate {
        subject, not_after_s, ..
    } = certificate;
    if certificate.not_before_s > now_s {
        let from = instant(certificate.not_before_s);
        return Verdict::of(
            Seen::Failed,
            format!("the certificate of {subject} is valid only from {from} on"),
        );
    }
    let until = instant(*not_after_s);
    let Ok(left_s) = u64::try_from(not_after_s.saturating_sub(now_s)) else {
        return Verdict::of(
            Seen::Failed,
            format!("the certificate of {subject} has expired: {until}"),
        );
    };
    let left = Duration::from_secs(left_s);
    let seen = match left {
        left if left < limits.certificate_critical => Seen::Failed,
        left if left < limits.certificate_warning => Seen::Degraded,
        _ => Seen::Good,
    };
    let left = span(left);
    Verdict::of(
        seen,
        format!("the certificate of {subject} expires in {left}, {until}"),
    )
}

fn not_reloaded(own: &Certificate, file: &Certificate) -> String {
    let (presented, on_disk) = (instant(own.not_after_s), instant(file.not_after_s));
    if file.not_before_s >= own.not_before_s {
        format!(
            "the certificate was renewed but not reloaded: the server presents {} (until {presented}), its file has {} \
             (until {on_disk}); reload the server",
            own.serial, file.serial
        )
    } else {
        format!(
            "the server presents {} (until {presented}), its file has the older {} (until {on_disk}); correct the file, or \
             probes.targets.<name>.certificate",
            own.serial, file.serial
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const DAY: i64 = 86_400;

    fn certificate(subject: &str, not_after_s: i64) -> Certificate {
        Certificate {
            subject: subject.to_owned(),
            serial: format!("{not_after_s:x}"),
            not_before_s: not_after_s - 90 * DAY,
            not_after_s,
            is_self_signed: false,
        }
    }

    fn presented(ends: &[i64]) -> Presented {
        let names = ["server", "authority", "older authority"];
        Presented {
            chain: names
                .iter()
                .zip(ends)
                .map(|(name, end)| certificate(name, *end))
                .collect(),
            refusal: None,
            on_disk: None,
        }
    }

    #[test]
    fn every_certificate_of_the_chain_is_measured_at_its_limits() {
        let year = NOW + 80 * DAY;
        for (ends, seen, part) in [
            (vec![year, year], Seen::Good, ""),
            (vec![NOW + 30 * DAY, year], Seen::Good, ""),
            (
                vec![NOW + 30 * DAY - 1, year],
                Seen::Degraded,
                "server expires in 29d 23h",
            ),
            (vec![NOW + 7 * DAY, year], Seen::Degraded, "server expires in 7d"),
            (
                vec![NOW + 7 * DAY - 1, year],
                Seen::Failed,
                "server expires in 6d 23h",
            ),
            (vec![year, NOW + DAY], Seen::Failed, "authority expires in 1d"),
            (vec![NOW - 1, year], Seen::Failed, "server has expired"),
            (vec![year, NOW - 1], Seen::Degraded, "it is not needed"),
            (vec![NOW + 91 * DAY], Seen::Failed, "valid only from"),
            (vec![], Seen::Failed, "presented no certificate"),
        ] {
            let verdict = judge(&presented(&ends), NOW, &Limits::defaults());
            assert_eq!(verdict.seen(), seen, "{ends:?}: {}", verdict.why());
            assert!(verdict.why().contains(part), "{ends:?}: {}", verdict.why());
        }
    }

    #[test]
    fn a_renewed_certificate_that_is_not_loaded_and_one_without_trust_are_said() {
        let (old, new) = (NOW + 40 * DAY, NOW + 80 * DAY);
        let mut server = presented(&[old]);
        server.on_disk = Some(Ok(certificate("server", new)));
        let verdict = judge(&server, NOW, &Limits::defaults());
        assert_eq!(verdict.seen(), Seen::Degraded);
        assert!(
            verdict.why().contains("renewed but not reloaded"),
            "{}",
            verdict.why()
        );
        server.on_disk = Some(Ok(certificate("server", old)));
        assert_eq!(judge(&server, NOW, &Limits::defaults()).seen(), Seen::Good);
        server.on_disk = Some(Ok(certificate("server", NOW + DAY)));
        assert!(
            judge(&server, NOW, &Limits::defaults())
                .why()
                .contains("the older")
        );
        server.on_disk = Some(Err("no such file".to_owned()));
        assert_eq!(judge(&server, NOW, &Limits::defaults()).seen(), Seen::Unknown);
        server.refusal = Some("UnknownIssuer".to_owned());
        server.chain[0].is_self_signed = true;
        let verdict = judge(&server, NOW, &Limits::defaults());
        assert!(verdict.seen() == Seen::Failed && verdict.why().contains("is self-signed"));
    }
}
