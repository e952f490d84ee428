//! The rules of candles: per interval how long, and what proves it.

use std::collections::BTreeMap;

use eidos_core::ident::SqlIdent;
use eidos_market::Interval;
use eidos_settings::Problems;

use super::{CandleRule, Prover, ident, source};
use crate::domain::candles::default_prover;
use crate::settings::CandleRetention;

/// The rules of the intervals that are not kept for ever, finest first.
pub(super) fn of(
    table: &str,
    retention: &CandleRetention,
    all: &BTreeMap<String, CandleRetention>,
    problems: &mut Problems,
) -> Vec<CandleRule> {
    let key = format!("data_retention.timescaledb.{table}");
    for finer in retention.proved_by.keys() {
        if finer.parse::<Interval>().is_err() {
            problems.add(
                format!("{key}.proved_by.{finer}"),
                "is not a candle interval",
                "use 1m, 5m, ... 1w",
            );
        }
    }
    let (Some(source), Some(name)) = (
        source(&key, table, retention.source, problems),
        table.parse::<SqlIdent>().ok(),
    ) else {
        return Vec::new();
    };
    let mut rules = Vec::new();
    for interval in Interval::STANDARD {
        let days = retention
            .retention_by_interval
            .get(&interval.to_string())
            .copied()
            .unwrap_or(0);
        if days == 0 {
            continue;
        }
        if let Some(prover) = prover(&key, table, interval, days, retention, all, problems) {
            rules.push(CandleRule {
                source,
                table: name.clone(),
                interval,
                days,
                prover,
                require_approval: retention.require_approval,
                alone_in_table: retention.retention_by_interval.len() == 1,
            });
        }
    }
    rules
}

/// What proves an interval: `1h`, or `eidos_market_klines_1h:1h` where each interval has a table of its own.
fn prover(
    key: &str,
    table: &str,
    interval: Interval,
    days: u32,
    retention: &CandleRetention,
    all: &BTreeMap<String, CandleRetention>,
    problems: &mut Problems,
) -> Option<Prover> {
    let proof_key = format!("{key}.proved_by.{interval}");
    let named = retention.proved_by.get(&interval.to_string());
    let written = named
        .cloned()
        .or_else(|| default_prover(interval).map(|prover| prover.to_string()));
    let Some(written) = written else {
        problems.add(
            format!("{key}.retention_by_interval.{interval}"),
            "would delete candles that no coarser one proves",
            if interval == Interval::W1 {
                "keep it for ever (0)".to_owned()
            } else {
                format!("keep it for ever (0), or name what proves it: proved_by.{interval}: 1w")
            },
        );
        return None;
    };
    let (prover_table, prover_interval) = written.rsplit_once(':').unwrap_or((table, &written));
    let prover_name = ident(&proof_key, prover_table, problems)?;
    let coarser = match prover_interval.parse::<Interval>() {
        Ok(coarser) if interval.is_part_of(coarser) => coarser,
        Ok(_) => {
            problems.add_value(
                proof_key,
                &written,
                "is not made of whole finer candles",
                "name a coarser interval",
            );
            return None;
        }
        Err(error) => {
            problems.add_value(proof_key, &written, error.to_string(), "name a coarser interval");
            return None;
        }
    };
    let kept = super::rule_of(all, &prover_name)
        .and_then(|rule| rule.retention_by_interval.get(&coarser.to_string()))
        .copied()
        .unwrap_or(0);
    if kept != 0 && kept < days {
        problems.add_value(
            format!("{key}.retention_by_interval.{interval}"),
            days,
            format!(
                "is longer than the {kept} days of {coarser}, which proves it: it could never be deleted"
            ),
            format!("keep {coarser} at least as long, or {interval} shorter"),
        );
    }
    Some(Prover {
        table: prover_name,
        interval: coarser,
    })
}
