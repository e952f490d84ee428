//! How bad a difference of a movement is.

use std::time::Duration;

use chrono::{DateTime, Utc};
use eidos_recon::Difference;
use eidos_recon::severity::{Price, Severity, Thresholds, Weight, weigh};
use eidos_types::Amount;

use super::key::Movement;

/// Weighs a difference: by its size (ruling 25), by the whole amount where the whole amount went astray, and as a warning
/// where only a status is behind.
#[must_use]
pub fn weigh_movement(
    difference: &Difference<Movement>,
    price: Option<&Price>,
    now: DateTime<Utc>,
    max_price_age: Duration,
    thresholds: Thresholds,
) -> Weight {
    let kind = difference.kind;
    let at_stake = if kind.is_of_the_whole() {
        difference.right.map(Amount::abs).map(Amount::negated)
    } else {
        difference.diff
    };
    let mut weight = weigh(kind, at_stake, price, now, max_price_age, thresholds);
    if kind.is_of_status() {
        weight.severity = Severity::Warning;
        weight.because = Some(format!("{kind}: a status is behind, no money is lost"));
    }
    weight
}
