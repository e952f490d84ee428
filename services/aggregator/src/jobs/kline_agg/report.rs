//! What a run found and wrote, per interval.

use std::collections::BTreeMap;
use std::fmt::Write;

use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use eidos_types::Slot;
use serde::{Deserialize, Serialize};

use crate::domain::Level;
use crate::store::candles::{Judged, Verdict};
use crate::store::proofs::{Differing, Minute};

/// Windows that a report names, of each level.
const NAMED: usize = 20;

/// The report of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Finest first.
    pub levels: Vec<LevelReport>,
    /// Late trades.
    pub late_trades: LateReport,
    /// The proof-read of candles of one minute; `None`: the run's time was over before it.
    #[serde(default)]
    pub proof: Option<ProofReport>,
    /// Markets with candles that are not in the table of markets; not folded.
    pub unknown_markets: Vec<String>,
    /// Markets with candles of one minute that begin after the slot; these are not folded.
    pub markets_ahead: Vec<String>,
    /// Whether the run's time was over before all was done. The next run continues.
    pub to_be_continued: bool,
}

/// What was found about late trades.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateReport {
    /// Whether they were looked for. They are not if no index of the trades begins with the time of storing.
    pub looked: bool,
    /// Windows that were noted to be built again.
    pub noted: u64,
}

/// What the proof-read found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofReport {
    /// Beginning of the oldest minute that was compared, epoch ms; `None`: none was.
    pub from_ms: Option<i64>,
    /// End of the newest, epoch ms.
    pub until_ms: Option<i64>,
    /// Why nothing could be proved; `None`: something was.
    pub unproved: Option<String>,
    /// Minutes with a candle or a trade that were compared.
    pub minutes: u64,
    /// Their trades.
    pub trades: u64,
    /// Minutes that differ.
    pub differing: u64,
    /// The first of them.
    pub named: Vec<Differing>,
    /// Candles that were repaired; in a dry run those that would be.
    pub repaired: u64,
    /// Candles that were not repaired, because they or their trades had changed meanwhile, or could be deleted.
    pub changed: u64,
    /// Minutes that differ and whose trades make no candle.
    pub unclear: u64,
    /// More differed than one run may repair, so none was repaired; this many.
    pub refused: Option<u64>,
}

/// One interval.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LevelReport {
    /// The interval.
    pub interval: String,
    /// What it is built from.
    pub source: String,
    /// Beginning of the first window that was judged in order, epoch ms; `None`: none was.
    pub from_ms: Option<i64>,
    /// Every window that ended by this instant was judged, epoch ms.
    pub until_ms: Option<i64>,
    /// End of the newest whole window, epoch ms; `None`: there is none.
    pub newest_whole_ms: Option<i64>,
    /// Windows, by what was found.
    pub windows: BTreeMap<Verdict, u64>,
    /// Candles that were inserted or changed; in a dry run those that would be.
    pub written: u64,
    /// Whole windows whose candle is as it was.
    pub unchanged: u64,
    /// Source candles that are not there because their time had no trade.
    #[serde(default)]
    pub quiet: u64,
    /// Windows of the ledger that were looked at again.
    pub reopened: u64,
    /// Windows that were given up.
    pub abandoned: u64,
    /// The first windows that are not whole.
    pub named: Vec<Named>,
}

/// A window that is not whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The market.
    pub market: String,
    /// Its beginning, epoch ms.
    pub open_ms: i64,
    /// What was found.
    pub verdict: Verdict,
    /// Source candles.
    pub found: u32,
    /// Source candles of a whole window.
    pub expected: u32,
}

impl Report {
    pub(super) fn new(dry_run: bool) -> Self {
        Self {
            dry_run,
            ..Self::default()
        }
    }

    pub(super) fn render(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_BORDERS_ONLY).set_header([
            "interval",
            "from",
            "until",
            "written",
            "unchanged",
            "again",
            "not whole",
        ]);
        for level in &self.levels {
            let incomplete: Vec<String> = level
                .windows
                .iter()
                .filter(|(verdict, _)| verdict.is_incomplete())
                .map(|(verdict, count)| format!("{count} {verdict}"))
                .collect();
            table.add_row([
                format!("{} from {}", level.interval, level.source),
                instant(level.from_ms),
                instant(level.until_ms),
                level.written.to_string(),
                level.unchanged.to_string(),
                level.reopened.to_string(),
                incomplete.join(", "),
            ]);
        }
        let mut text = table.to_string();
        if self.dry_run {
            text.push_str("\nDry run: nothing was written.");
        }
        if !self.unknown_markets.is_empty() {
            let _ = write!(
                text,
                "\nNot in the table of markets, not folded: {}",
                self.unknown_markets.join(", ")
            );
        }
        if !self.markets_ahead.is_empty() {
            let _ = write!(
                text,
                "\nCandles that begin after the slot, not folded: {}",
                self.markets_ahead.join(", ")
            );
        }
        for level in &self.levels {
            for window in &level.named {
                let _ = write!(
                    text,
                    "\n{} {} at {}: {}, {} of {} source candles",
                    window.market,
                    level.interval,
                    instant(Some(window.open_ms)),
                    window.verdict,
                    window.found,
                    window.expected
                );
            }
        }
        if let Some(proof) = &self.proof {
            proof.render(&mut text);
        }
        if !self.levels.is_empty() && !self.dry_run && !self.late_trades.looked {
            text.push_str("\nLate trades were not looked for, see docs/runbooks/kline-agg.md.");
        }
        if self.to_be_continued {
            text.push_str("\nThe run's time was over; the next run continues.");
        }
        text
    }
}

impl ProofReport {
    fn render(&self, text: &mut String) {
        if let Some(reason) = &self.unproved {
            let _ = write!(text, "\nCandles of one minute were not proved: {reason}");
            return;
        }
        let _ = write!(
            text,
            "\nCandles of one minute from {} to {}: {} minutes and {} trades compared, {} differ, {} repaired",
            instant(self.from_ms),
            instant(self.until_ms),
            self.minutes,
            self.trades,
            self.differing,
            self.repaired
        );
        for (number, what) in [
            (
                self.changed,
                "were not repaired: they or their trades had changed meanwhile",
            ),
            (self.unclear, "differ, and their trades make no candle"),
            (
                self.refused.unwrap_or_default(),
                "differ, more than proof_read.repair_limit: none was repaired",
            ),
        ] {
            if number > 0 {
                let _ = write!(text, "\n{number} {what}");
            }
        }
        for minute in &self.named {
            let _ = write!(
                text,
                "\n{} 1m at {}: {} {}\n  stored {}\n  traded {}",
                minute.market,
                instant(Some(minute.open_ms)),
                minute.kind,
                minute.fields.join(", "),
                shown(minute.stored.as_ref()),
                shown(minute.traded.as_ref())
            );
        }
    }
}

fn shown(minute: Option<&Minute>) -> String {
    minute.map_or_else(
        || "-".to_owned(),
        |minute| {
            format!(
                "open {} high {} low {} close {} volume {} quote volume {} trades {}",
                minute.open,
                minute.high,
                minute.low,
                minute.close,
                minute.volume,
                minute.quote_volume,
                minute.trade_count
            )
        },
    )
}

impl LevelReport {
    pub(super) fn new(level: &Level) -> Self {
        Self {
            interval: level.interval.to_string(),
            source: level.source.to_string(),
            from_ms: None,
            until_ms: None,
            newest_whole_ms: None,
            windows: BTreeMap::new(),
            written: 0,
            unchanged: 0,
            quiet: 0,
            reopened: 0,
            abandoned: 0,
            named: Vec::new(),
        }
    }

    /// Adds windows that were judged, also to the counters.
    pub(super) fn count(&mut self, judged: &[Judged]) {
        let mut outcomes: BTreeMap<&'static str, u64> = BTreeMap::new();
        for window in judged {
            *self.windows.entry(window.verdict).or_default() += 1;
            self.quiet += u64::from(window.quiet);
            let outcome = match window.verdict {
                _ if window.written => "written",
                Verdict::Whole => "unchanged",
                verdict => verdict.as_str(),
            };
            *outcomes.entry(outcome).or_default() += 1;
            if window.is_incomplete() && self.named.len() < NAMED {
                self.named.push(Named {
                    market: window.market.clone(),
                    open_ms: window.open_ms,
                    verdict: window.verdict,
                    found: window.found,
                    expected: window.expected,
                });
            }
        }
        self.written += outcomes.get("written").copied().unwrap_or_default();
        self.unchanged += outcomes.get("unchanged").copied().unwrap_or_default();
        for (outcome, count) in outcomes {
            eidos_telemetry::metric::kline_windows(&self.interval, outcome, count);
        }
    }
}

fn instant(epoch_ms: Option<i64>) -> String {
    let slot = epoch_ms.and_then(Slot::from_ms);
    slot.map_or_else(
        || "-".to_owned(),
        |slot| slot.instant().format("%Y-%m-%d %H:%M").to_string(),
    )
}
