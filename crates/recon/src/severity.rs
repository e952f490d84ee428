//! How bad a difference is, in USDC at a dated price (ruling 25).

use std::time::Duration;

use chrono::{DateTime, Utc};
use eidos_types::Amount;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::subject::Kind;

/// How bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Below the lower threshold: logged and added to the dust.
    Ignored,
    /// A person looks at it.
    Warning,
    /// Paged, and the operations it concerns are paused.
    Critical,
}

impl Severity {
    /// The name in tables, metrics and alerts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ignored => "ignored",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What one whole token is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// USDC for one whole token.
    pub usdc: Decimal,
    /// When it was true; `None` means by definition (USDC itself).
    pub as_of: Option<DateTime<Utc>>,
    /// Who says so.
    pub source: String,
}

/// The two boundaries, in USDC. Both belong to the warning: 0.01 and 100 are warnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Strictly below is ignored.
    pub ignore_below: Amount,
    /// Strictly above is critical.
    pub critical_above: Amount,
}

/// A weighed difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    /// How bad.
    pub severity: Severity,
    /// Magnitude in USDC; `None` without price or amount.
    pub value_usdc: Option<Amount>,
    /// What the severity rests on when it is not simply the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

impl Weight {
    /// Of a subject that could not be judged: a warning until it is.
    #[must_use]
    pub fn undecided(because: &str) -> Self {
        at_least(Severity::Warning, None, because)
    }
}

/// Weighs a difference. `now` is the snapshot's instant, so that a re-run weighs the same.
#[must_use]
pub fn weigh(
    kind: impl Kind,
    diff: Option<Amount>,
    price: Option<&Price>,
    now: DateTime<Utc>,
    max_price_age: Duration,
    thresholds: Thresholds,
) -> Weight {
    let Some(diff) = diff else {
        return at_least(
            Severity::Critical,
            None,
            "one side is no DECIMAL(36,18); its size is unknown",
        );
    };
    let Some(price) = price else {
        return unpriced(kind, diff);
    };
    let Ok(value) = diff.abs().valued_at(price.usdc) else {
        return at_least(Severity::Critical, None, "its value needs more than 36 digits");
    };
    let by_value = if value < thresholds.ignore_below {
        Severity::Ignored
    } else if value > thresholds.critical_above {
        Severity::Critical
    } else {
        Severity::Warning
    };
    let floor = floor(kind, price, now, max_price_age);
    match floor {
        Some(reason) if by_value < Severity::Warning => at_least(Severity::Warning, Some(value), &reason),
        _ => Weight {
            severity: by_value,
            value_usdc: Some(value),
            because: floor.filter(|_| by_value < Severity::Critical),
        },
    }
}

/// Without a price nobody knows how much is missing, so a shortfall counts as the worst.
fn unpriced(kind: impl Kind, diff: Amount) -> Weight {
    if kind.is_always_short() || diff.is_negative() {
        at_least(
            Severity::Critical,
            None,
            "a shortfall of a token without a price: its value is unknown",
        )
    } else {
        at_least(Severity::Warning, None, "no price for this token")
    }
}

/// Why the severity may not go below a warning.
fn floor(kind: impl Kind, price: &Price, now: DateTime<Utc>, max_price_age: Duration) -> Option<String> {
    if kind.is_never_small() {
        return Some(format!("{kind} is never small"));
    }
    let age = now.signed_duration_since(price.as_of?);
    let stale = age.to_std().is_ok_and(|age| age > max_price_age);
    stale.then(|| format!("the price of {} is {} h old", price.source, age.num_hours()))
}

fn at_least(severity: Severity, value_usdc: Option<Amount>, because: &str) -> Weight {
    Weight {
        severity,
        value_usdc,
        because: Some(because.to_owned()),
    }
}
