//! How the kinds of this dimension are weighed (ruling 25).

use std::time::Duration;

use chrono::{DateTime, Utc};
use eidos_recon::severity::{Price, Severity, Thresholds, weigh};
use eidos_types::Amount;

use super::kind::BreakKind;

const DAY: Duration = Duration::from_hours(24);

fn now() -> DateTime<Utc> {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn price(usdc: &str, as_of: Option<&str>) -> Price {
    Price {
        usdc: usdc.parse().unwrap(),
        as_of: as_of.map(|text| text.parse().unwrap()),
        source: "test".into(),
    }
}

fn weigh_at(kind: BreakKind, diff: &str, price: Option<&Price>) -> Severity {
    let thresholds = Thresholds {
        ignore_below: "0.01".parse().unwrap(),
        critical_above: "100".parse().unwrap(),
    };
    weigh(kind, Some(diff.parse().unwrap()), price, now(), DAY, thresholds).severity
}

#[test]
fn ruling_25_both_boundaries_are_warnings() {
    let par = price("1", None);
    for (diff, expected) in [
        ("0.009999999999999999", Severity::Ignored),
        ("0.01", Severity::Warning),
        ("-0.01", Severity::Warning),
        ("100", Severity::Warning),
        ("-100", Severity::Warning),
        ("100.000000000000000001", Severity::Critical),
        ("-100.000000000000000001", Severity::Critical),
    ] {
        assert_eq!(
            weigh_at(BreakKind::Shortfall, diff, Some(&par)),
            expected,
            "{diff}"
        );
    }
    let ether = price("2000", Some("2026-11-20T11:00:00Z"));
    assert_eq!(
        weigh_at(BreakKind::Surplus, "0.000004", Some(&ether)),
        Severity::Ignored
    );
    assert_eq!(
        weigh_at(BreakKind::Surplus, "0.000005", Some(&ether)),
        Severity::Warning
    );
    assert_eq!(
        weigh_at(BreakKind::Surplus, "0.050001", Some(&ether)),
        Severity::Critical
    );
}

#[test]
fn ruling_25_a_missing_price_never_lowers_attention() {
    for (kind, diff, expected) in [
        (BreakKind::Shortfall, "-0.000001", Severity::Critical),
        (BreakKind::MissingOnChain, "-0.000001", Severity::Critical),
        (BreakKind::Insolvent, "-0.000001", Severity::Critical),
        (BreakKind::Insolvent, "0", Severity::Critical),
        (BreakKind::Residue, "-0.0000001", Severity::Critical),
        (BreakKind::Surplus, "0.000001", Severity::Warning),
        (BreakKind::Surplus, "1000000", Severity::Warning),
        (BreakKind::MissingInBooks, "0.000001", Severity::Warning),
    ] {
        assert_eq!(weigh_at(kind, diff, None), expected, "{kind} {diff}");
    }
}

#[test]
fn ruling_25_a_stale_price_is_at_least_a_warning() {
    let stale = price("1", Some("2026-11-19T11:59:59Z"));
    assert_eq!(
        weigh_at(BreakKind::Shortfall, "0.001", Some(&stale)),
        Severity::Warning
    );
    assert_eq!(
        weigh_at(BreakKind::Shortfall, "101", Some(&stale)),
        Severity::Critical
    );
}

#[test]
fn ruling_25_presence_is_never_small() {
    let par = price("1", None);
    assert_eq!(
        weigh_at(BreakKind::MissingInBooks, "0.005", Some(&par)),
        Severity::Warning
    );
    assert_eq!(
        weigh_at(BreakKind::MissingOnChain, "-0.005", Some(&par)),
        Severity::Warning
    );
    assert_eq!(
        weigh_at(BreakKind::MissingInBooks, "101", Some(&par)),
        Severity::Critical
    );
}

#[test]
fn what_cannot_be_valued_is_critical() {
    let par = price("1000", None);
    let thresholds = Thresholds {
        ignore_below: Amount::ZERO,
        critical_above: Amount::ZERO,
    };
    assert_eq!(
        weigh(BreakKind::BeyondDecimal, None, Some(&par), now(), DAY, thresholds).severity,
        Severity::Critical
    );
    assert_eq!(
        weigh_at(BreakKind::Surplus, "999999999999999999", Some(&par)),
        Severity::Critical
    );
}
