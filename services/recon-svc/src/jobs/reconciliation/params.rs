//! What a run is asked to cover.

use eidos_recon::run::Done;
use eidos_settings::CronLine;
use eidos_types::{Address, Slot, SlotRange};
use serde::{Deserialize, Serialize};

/// What a run covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Accounts that changed, have open breaks or a carry-over, and a sample of quiet ones.
    #[default]
    Incremental,
    /// Every account of both sides.
    Full,
}

impl Mode {
    /// The name in tables and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Incremental => "incremental",
            Self::Full => "full",
        }
    }
}

/// What a caller may ask of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// What to cover.
    pub mode: Mode,
    /// Short for `mode: full`.
    pub full: bool,
    /// Only these wallets, whatever changed: a list, or addresses between commas.
    #[serde(deserialize_with = "eidos_runtime::params::words")]
    pub wallets: Option<Vec<Address>>,
}

/// Wallets one request may name.
pub(super) const MAX_PARAM_WALLETS: usize = 10_000;

/// True if the schedule has a slot in the range: the run also answers for missed ones.
pub(super) fn covers(cron: &CronLine, slots: &SlotRange) -> bool {
    cron.previous_at_or_before(slots.upto.instant())
        .is_some_and(|slot| slots.contains(Slot::at(slot)))
}

/// The mode of a run, and why it is full although nobody asked.
pub(super) fn choose_mode(params: &Params, done: Option<&Done>) -> (Mode, String) {
    if params.full || params.mode == Mode::Full {
        return (Mode::Full, String::new());
    }
    if done.is_none() && params.wallets.is_none() {
        return (Mode::Full, "no earlier run has covered the accounts".to_owned());
    }
    (Mode::Incremental, String::new())
}

#[cfg(test)]
mod tests {
    use eidos_recon::CutPoint;

    use super::*;

    #[test]
    fn ruling_2_a_run_is_full_when_its_slots_cover_the_full_schedule() {
        let cron: CronLine = "0 0 2 * * *".parse().unwrap();
        let slot = |text: &str| Slot::at(text.parse().unwrap());
        let range = |after: Option<&str>, upto: &str| SlotRange {
            after: after.map(slot),
            upto: slot(upto),
        };
        assert!(covers(
            &cron,
            &range(Some("2026-01-01T01:00:00Z"), "2026-01-01T02:00:00Z")
        ));
        assert!(
            covers(
                &cron,
                &range(Some("2026-01-01T01:00:00Z"), "2026-01-01T05:00:00Z")
            ),
            "a missed one"
        );
        assert!(!covers(
            &cron,
            &range(Some("2026-01-01T02:00:00Z"), "2026-01-01T03:00:00Z")
        ));
        assert!(!covers(&cron, &range(None, "2026-01-01T03:00:00Z")));
    }

    #[test]
    fn the_first_run_is_full_unless_wallets_are_named() {
        let done = Done {
            at: "2026-01-01T00:00:00Z".parse().unwrap(),
            block: CutPoint {
                number: 1,
                hash: String::new(),
                timestamp_s: 0,
            },
            run_id: uuid::Uuid::nil(),
        };
        let hourly = Params::default();
        assert_eq!(choose_mode(&hourly, None).0, Mode::Full);
        assert_eq!(choose_mode(&hourly, Some(&done)).0, Mode::Incremental);
        assert_eq!(
            choose_mode(
                &Params {
                    full: true,
                    ..hourly.clone()
                },
                Some(&done)
            )
            .0,
            Mode::Full
        );
        let named = Params {
            wallets: Some(vec![Address::ZERO]),
            ..hourly
        };
        assert_eq!(choose_mode(&named, None).0, Mode::Incremental);
    }
}
