//! Metrics of candles and statistics.

use std::time::Duration;

use super::as_gauge;

/// `kline_lag_seconds`: time since the end of the newest whole window of an interval.
pub fn kline_lag(interval: &str, lag: Duration) {
    metrics::gauge!("kline_lag_seconds", "interval" => interval.to_owned()).set(lag.as_secs_f64());
}

/// `kline_windows_incomplete`: windows of the ledger that are not whole, by state.
pub fn kline_windows_incomplete(interval: &str, state: &'static str, count: u64) {
    metrics::gauge!("kline_windows_incomplete", "interval" => interval.to_owned(), "state" => state)
        .set(as_gauge(count));
}

/// `kline_windows_total`: windows that runs judged, by outcome.
pub fn kline_windows(interval: &str, outcome: &'static str, count: u64) {
    metrics::counter!("kline_windows_total", "interval" => interval.to_owned(), "outcome" => outcome)
        .increment(count);
}

/// `kline_differences`: candles of one minute that do not say the same as their trades, by kind.
pub fn kline_differences(kind: &'static str, count: u64) {
    metrics::gauge!("kline_differences", "kind" => kind).set(as_gauge(count));
}

/// `kline_minutes_proved_total`: minutes whose candles were compared with their trades.
pub fn kline_minutes_proved(count: u64) {
    metrics::counter!("kline_minutes_proved_total").increment(count);
}

/// `kline_repairs_total`: candles of one minute that were to be repaired, by outcome.
pub fn kline_repairs(outcome: &'static str, count: u64) {
    metrics::counter!("kline_repairs_total", "outcome" => outcome).increment(count);
}

/// `statistics_lag_seconds`: time since the end of the newest hour that has statistics.
pub fn statistics_lag(lag: Duration) {
    metrics::gauge!("statistics_lag_seconds").set(lag.as_secs_f64());
}

/// `statistics_refused_rows`: rows that the newest run did not count, because their numbers cannot be right.
pub fn statistics_refused_rows(count: u64) {
    metrics::gauge!("statistics_refused_rows").set(as_gauge(count));
}

/// `statistics_unpriced_hours`: hours of the newest run without a total in the quote currency, for want of a price.
pub fn statistics_unpriced_hours(count: u64) {
    metrics::gauge!("statistics_unpriced_hours").set(as_gauge(count));
}

/// `statistics_rows_written_total`: rows of statistics that were inserted or changed.
pub fn statistics_rows_written(kind: &'static str, count: u64) {
    metrics::counter!("statistics_rows_written_total", "kind" => kind).increment(count);
}

/// `statistics_keys_refreshed_total`: turns in which the statistics in Redis were written, by outcome.
pub fn statistics_keys_refreshed(outcome: &'static str, count: u64) {
    metrics::counter!("statistics_keys_refreshed_total", "outcome" => outcome).increment(count);
}
