//! What a correct service leaves where it is: one predicate per table, from the requirement's retention table, written
//! independently of the services.

use super::HistoryManifest;

const DAY_MS: i64 = 86_400_000;
/// Days after which finished orders and settled trades move (requirement §3.3).
const MOVED_AFTER_DAYS: i64 = 30;

/// How long rows stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// Whole months of a partitioned table, by its key.
    Partitions {
        /// The partition key.
        key: &'static str,
        /// Whole months.
        months: u32,
    },
    /// Whole months of a plain table, unless they are unfinished business.
    Rows {
        /// Whole months.
        months: u32,
        /// What finished rows are.
        finished: &'static str,
    },
    /// Until 30 days after it was finished, with every trade of it.
    Orders,
    /// Until 30 days after it was settled or rolled back.
    Trades,
    /// Days per interval, while nothing proves it.
    Candles,
}

/// One table of the exchange or of ours.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// `databases.<source>`.
    pub source: &'static str,
    /// Its name.
    pub table: &'static str,
    /// How long.
    pub keeps: Keeps,
    /// Whether what leaves must exist as a verified export before it is destroyed.
    pub archived: bool,
    /// Which of its rows are looked at; those of the running programs are not.
    pub rows: &'static str,
}

const fn kept(source: &'static str, table: &'static str, archived: bool, keeps: Keeps) -> Kept {
    Kept {
        source,
        table,
        keeps,
        archived,
        rows: "true",
    }
}

const fn partitions(key: &'static str, months: u32) -> Keeps {
    Keeps::Partitions { key, months }
}

const fn rows(months: u32, finished: &'static str) -> Keeps {
    Keeps::Rows { months, finished }
}

/// The requirement's tables (§3.3, §3.8).
pub const TABLES: [Kept; 14] = [
    kept("trading", "eidos_trading_orders", true, Keeps::Orders),
    kept("trading", "eidos_trading_trades", true, Keeps::Trades),
    kept(
        "market",
        "eidos_market_trade_history",
        true,
        partitions("traded_at", 12),
    ),
    kept("market", "eidos_market_klines", false, Keeps::Candles),
    kept("chain", "eidos_chain_events", false, partitions("created_at", 6)),
    kept(
        "chain",
        "eidos_chain_deposit_records",
        true,
        partitions("created_at", 24),
    ),
    kept(
        "chain",
        "eidos_chain_withdrawal_txs",
        true,
        rows(24, "status IN (2, 3)"),
    ),
    kept(
        "chain",
        "eidos_chain_settlement_batches",
        true,
        rows(24, "status IN (2, 3)"),
    ),
    kept(
        "risk",
        "eidos_risk_audit_logs",
        false,
        partitions("created_at", 6),
    ),
    kept("risk", "eidos_risk_events", true, partitions("created_at", 12)),
    kept(
        "risk",
        "eidos_risk_withdrawal_reviews",
        true,
        rows(24, "status IN ('approved', 'rejected')"),
    ),
    kept("admin", "eidos_admin_audit_logs", true, rows(24, "true")),
    Kept {
        // The others write while they are looked at.
        rows: "job_name = 'stats-agg'",
        ..kept(
            "jobs",
            "eidos_jobs_executions",
            false,
            partitions("started_at", 3),
        )
    },
    kept("jobs", "eidos_jobs_reconciliation_records", true, rows(6, "true")),
];

impl Kept {
    /// Whether it is a table of the jobs database.
    pub(crate) fn is_ours(&self) -> bool {
        self.source == "jobs"
    }

    /// The rows that a run for `slot_ms` leaves where they are, as a predicate.
    ///
    /// # Errors
    /// If the slot is beyond the calendar.
    pub fn stays(&self, manifest: &HistoryManifest, slot_ms: i64) -> anyhow::Result<String> {
        let moved_before = slot_ms - MOVED_AFTER_DAYS * DAY_MS;
        let trade_stays = |alias: &str| {
            format!(
                "NOT ({alias}settlement_status IN (3, 5) AND coalesce({alias}settled_at, {alias}updated_at) < {moved_before})"
            )
        };
        let expired_before = |months| anyhow::Ok(super::month_of(slot_ms)?.minus(months).start_ms());
        Ok(match self.keeps {
            Keeps::Partitions { key, months } => {
                format!(
                    "({key} >= {}{})",
                    expired_before(months)?,
                    self.held(manifest, key)
                )
            }
            Keeps::Rows { months, finished } => {
                format!(
                    "(created_at >= {} OR NOT ({finished}){})",
                    expired_before(months)?,
                    self.held(manifest, "created_at")
                )
            }
            Keeps::Trades => trade_stays(""),
            // Equality joins, so that a million rows are hashed and not compared with each other.
            Keeps::Orders => format!(
                "(NOT (status IN (3, 4, 5, 6) AND updated_at < {moved_before})
                  OR order_id IN (SELECT t.maker_order_id FROM eidos_trading_trades t WHERE {trade})
                  OR order_id IN (SELECT t.taker_order_id FROM eidos_trading_trades t WHERE {trade}))",
                trade = trade_stays("t.")
            ),
            Keeps::Candles => candles(manifest, slot_ms),
        })
    }

    fn held(&self, manifest: &HistoryManifest, key: &str) -> String {
        manifest
            .holds
            .iter()
            .filter(|hold| hold.table == self.table)
            .map(|hold| format!(" OR ({key} >= {} AND {key} < {})", hold.from_ms, hold.to_ms))
            .collect::<Vec<_>>()
            .concat()
    }
}

fn candles(manifest: &HistoryManifest, slot_ms: i64) -> String {
    let today = slot_ms.div_euclid(DAY_MS) * DAY_MS;
    let mut keeps = vec!["interval NOT IN ('1m', '5m', '15m', '30m', '1h', '4h')".to_owned()];
    for (interval, days) in [
        ("1m", 7),
        ("5m", 30),
        ("15m", 90),
        ("30m", 180),
        ("1h", 365),
        ("4h", 730),
    ] {
        keeps.push(format!(
            "interval = '{interval}' AND open_time >= {}",
            today - days * DAY_MS
        ));
    }
    for broken in &manifest.broken_windows {
        let finer: Vec<String> = broken.finer.iter().map(|finer| format!("'{finer}'")).collect();
        keeps.push(format!(
            "market = '{}' AND interval IN ({}) AND open_time >= {} AND open_time < {}",
            broken.market,
            finer.join(", "),
            broken.window_ms.0,
            broken.window_ms.1
        ));
    }
    format!("(({}))", keeps.join(") OR ("))
}
