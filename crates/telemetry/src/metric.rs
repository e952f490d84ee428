//! One typed function per metric of the [catalogue](mod@crate::catalogue): its name and its labels, spelled once.

use std::time::Duration;

use chrono::{DateTime, Utc};
use eidos_types::Total;

use crate::catalogue::{Kind, catalogue};

mod bus;
mod disposal;
mod expiry;
mod market;
mod probe;

pub use bus::*;
pub use disposal::*;
pub use expiry::*;
pub use market::*;
pub use probe::*;

/// Passes every row's meaning to the recorder, which prints it as `# HELP`.
pub(crate) fn describe_all() {
    for metric in catalogue() {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.meaning),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.meaning),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.meaning),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float by definition; counts this large do not occur"
)]
const fn as_gauge(count: u64) -> f64 {
    count as f64
}

/// Seconds since 1970 with millisecond precision.
#[expect(
    clippy::cast_precision_loss,
    clippy::float_arithmetic,
    reason = "a Prometheus timestamp is a float of seconds"
)]
fn unix_seconds(at: DateTime<Utc>) -> f64 {
    at.timestamp_millis() as f64 / 1000.0
}

/// A total as a gauge: rounded, for display only. No decision depends on it.
fn rounded(total: Total) -> f64 {
    total.to_string().parse().unwrap_or(f64::NAN)
}

/// `job_execution_total`: executions that ended, by final status.
pub fn job_execution_ended(job: &str, status: &'static str) {
    metrics::counter!("job_execution_total", "job" => job.to_owned(), "status" => status).increment(1);
}

/// `job_execution_duration_seconds`: time from the start of an execution to its final status.
pub fn job_execution_duration(job: &str, duration: Duration) {
    metrics::histogram!("job_execution_duration_seconds", "job" => job.to_owned()).record(duration);
}

/// `job_failures_total`: executions that failed, by failure kind.
pub fn job_failed(job: &str, failure_kind: &'static str) {
    metrics::counter!("job_failures_total", "job" => job.to_owned(), "failure_kind" => failure_kind)
        .increment(1);
}

/// `job_last_success_timestamp`: unix time of the last success; loaded from the database at start.
pub fn job_last_success(job: &str, at: DateTime<Utc>) {
    metrics::gauge!("job_last_success_timestamp", "job" => job.to_owned()).set(unix_seconds(at));
}

/// `job_known_since_timestamp`: unix time at which this process began to schedule the job.
pub fn job_known_since(job: &str, at: DateTime<Utc>) {
    metrics::gauge!("job_known_since_timestamp", "job" => job.to_owned()).set(unix_seconds(at));
}

/// `job_last_failure_timestamp`: unix time of the newest failed execution within a day; `None`: there is none.
pub fn job_last_failure(job: &str, failure_kind: &'static str, retried: bool, at: Option<DateTime<Utc>>) {
    metrics::gauge!("job_last_failure_timestamp", "job" => job.to_owned(), "failure_kind" => failure_kind,
        "retried" => if retried { "true" } else { "false" })
    .set(at.map_or(0.0, unix_seconds));
}

/// `job_last_skip_timestamp`: unix time of the newest skipped slot within a day; `None`: there is none.
pub fn job_last_skip(job: &str, at: Option<DateTime<Utc>>) {
    metrics::gauge!("job_last_skip_timestamp", "job" => job.to_owned()).set(at.map_or(0.0, unix_seconds));
}

/// The values that labels of a job's series can have: those of the tables and of the guards, which the callers know.
#[derive(Debug, Clone, Copy)]
pub struct JobLabels<'a> {
    /// `job_failures_total{failure_kind}`.
    pub failure_kinds: &'a [&'static str],
    /// `lease_acquire_total{result}`.
    pub acquire_results: &'a [&'static str],
    /// `lease_lost_total{reason}`.
    pub lost_reasons: &'a [&'static str],
    /// `slot_claim_total{result}`.
    pub claim_results: &'a [&'static str],
    /// `slots_skipped_total{reason}`.
    pub skip_reasons: &'a [&'static str],
}

/// The counters and histograms of a job at zero: a series that first appears with its first event shows no increase, and its
/// panel shows nothing until there are two.
pub fn job_series_from_zero(job: &str, labels: &JobLabels<'_>) {
    for name in [
        "slots_missed_total",
        "fence_rejected_total",
        "executions_orphaned_total",
        "execution_retries_total",
    ] {
        metrics::counter!(name, "job" => job.to_owned()).increment(0);
    }
    for (name, label, values) in [
        ("job_execution_total", "status", &["success", "failed"][..]),
        ("job_failures_total", "failure_kind", labels.failure_kinds),
        ("lease_acquire_total", "result", labels.acquire_results),
        ("lease_lost_total", "reason", labels.lost_reasons),
        ("slot_claim_total", "result", labels.claim_results),
        ("slots_skipped_total", "reason", labels.skip_reasons),
    ] {
        for value in values {
            metrics::counter!(name, "job" => job.to_owned(), label => *value).increment(0);
        }
    }
    for name in [
        "job_execution_duration_seconds",
        "slot_start_delay_seconds",
        "lease_acquire_duration_seconds",
        "lease_renew_duration_seconds",
    ] {
        let _empty = metrics::histogram!(name, "job" => job.to_owned());
    }
}

/// `job_running`: 1 while this process runs the job.
pub fn job_running(job: &str, running: bool) {
    metrics::gauge!("job_running", "job" => job.to_owned()).set(f64::from(u8::from(running)));
}

/// `job_paused`: 1 while the job is paused.
pub fn job_paused(job: &str, paused: bool) {
    metrics::gauge!("job_paused", "job" => job.to_owned()).set(f64::from(u8::from(paused)));
}

/// `job_next_run_timestamp`: unix time of the next scheduled slot.
pub fn job_next_run(job: &str, at: DateTime<Utc>) {
    metrics::gauge!("job_next_run_timestamp", "job" => job.to_owned()).set(unix_seconds(at));
}

/// `job_schedule_period_seconds`: largest gap between two slots of the schedule.
pub fn job_schedule_period(job: &str, period: Duration) {
    metrics::gauge!("job_schedule_period_seconds", "job" => job.to_owned()).set(period.as_secs_f64());
}

/// `slot_start_delay_seconds`: time from a slot to the start of its run.
pub fn slot_start_delay(job: &str, delay: Duration) {
    metrics::histogram!("slot_start_delay_seconds", "job" => job.to_owned()).record(delay);
}

/// `slot_claim_total`: attempts to claim a slot, by result.
pub fn slot_claim(job: &str, result: &'static str) {
    metrics::counter!("slot_claim_total", "job" => job.to_owned(), "result" => result).increment(1);
}

/// `slots_missed_total`: slots that passed without a run of their own.
pub fn slots_missed(job: &str, count: u64) {
    metrics::counter!("slots_missed_total", "job" => job.to_owned()).increment(count);
}

/// `slots_skipped_total`: slots that were claimed and recorded as skipped.
pub fn slot_skipped(job: &str, reason: &'static str) {
    metrics::counter!("slots_skipped_total", "job" => job.to_owned(), "reason" => reason).increment(1);
}

/// `lease_acquire_total`: attempts to take a lease, by result.
pub fn lease_acquire(job: &str, result: &'static str) {
    metrics::counter!("lease_acquire_total", "job" => job.to_owned(), "result" => result).increment(1);
}

/// `lease_acquire_duration_seconds`: time to take a lease.
pub fn lease_acquire_duration(job: &str, duration: Duration) {
    metrics::histogram!("lease_acquire_duration_seconds", "job" => job.to_owned()).record(duration);
}

/// `lease_renew_duration_seconds`: time to renew a lease.
pub fn lease_renew_duration(job: &str, duration: Duration) {
    metrics::histogram!("lease_renew_duration_seconds", "job" => job.to_owned()).record(duration);
}

/// `lease_lost_total`: leases lost during a run, by reason.
pub fn lease_lost(job: &str, reason: &'static str) {
    metrics::counter!("lease_lost_total", "job" => job.to_owned(), "reason" => reason).increment(1);
}

/// `fence_rejected_total`: writes that the fence refused because a newer run had replaced theirs.
pub fn fence_rejected(job: &str) {
    metrics::counter!("fence_rejected_total", "job" => job.to_owned()).increment(1);
}

/// `executions_orphaned_total`: executions of dead processes that a newer run closed as failed.
pub fn executions_orphaned(job: &str, count: u64) {
    metrics::counter!("executions_orphaned_total", "job" => job.to_owned()).increment(count);
}

/// `execution_retries_total`: attempts after the first.
pub fn execution_retried(job: &str) {
    metrics::counter!("execution_retries_total", "job" => job.to_owned()).increment(1);
}

/// `runtime_loop_last_tick_timestamp`: unix time of a background loop's last heartbeat.
pub fn loop_ticked(loop_name: &str, at: DateTime<Utc>) {
    metrics::gauge!("runtime_loop_last_tick_timestamp", "loop_name" => loop_name.to_owned())
        .set(unix_seconds(at));
}

/// `worker_restarts_total`: restarts of workers that ended without being cancelled.
pub fn worker_restarted(worker: &str) {
    metrics::counter!("worker_restarts_total", "worker" => worker.to_owned()).increment(1);
}

/// `worker_restarts_total` at zero: a series that first appears at 1 shows no increase.
pub fn worker_restarts_from_zero(worker: &str) {
    metrics::counter!("worker_restarts_total", "worker" => worker.to_owned()).increment(0);
}

/// `dependency_up`: 1 while the dependency answers.
pub fn dependency_up(dependency: &str, up: bool) {
    metrics::gauge!("dependency_up", "dependency" => dependency.to_owned()).set(f64::from(u8::from(up)));
}

/// `http_requests_total`: HTTP requests answered.
pub fn http_request(route: &str, method: &'static str, status: u16) {
    metrics::counter!("http_requests_total", "route" => route.to_owned(), "method" => method, "status" => status.to_string()).increment(1);
}

/// `grpc_requests_total`: gRPC requests answered.
pub fn grpc_request(method: &'static str, code: &'static str) {
    metrics::counter!("grpc_requests_total", "method" => method, "code" => code).increment(1);
}

/// `grpc_requests_total` at zero.
pub fn grpc_requests_from_zero(method: &'static str, code: &'static str) {
    metrics::counter!("grpc_requests_total", "method" => method, "code" => code).increment(0);
}

/// `chain_rpc_requests_total`: JSON-RPC calls to the node, by outcome.
pub fn chain_rpc_request(method: &'static str, outcome: &'static str) {
    metrics::counter!("chain_rpc_requests_total", "method" => method, "outcome" => outcome).increment(1);
}

/// `chain_rpc_duration_seconds`: time of a JSON-RPC call.
pub fn chain_rpc_duration(method: &'static str, duration: Duration) {
    metrics::histogram!("chain_rpc_duration_seconds", "method" => method).record(duration);
}

/// `chain_rpc_requests_total` and `chain_rpc_duration_seconds` at zero: a series that first appears with its first request
/// shows no increase.
pub fn chain_rpc_from_zero(method: &'static str, outcomes: &[&'static str]) {
    for outcome in outcomes {
        metrics::counter!("chain_rpc_requests_total", "method" => method, "outcome" => *outcome).increment(0);
    }
    let _empty = metrics::histogram!("chain_rpc_duration_seconds", "method" => method);
}

/// `chain_balances_read_total`: balances read in bulk, by read strategy.
pub fn chain_balances_read(rung: &'static str, count: u64) {
    metrics::counter!("chain_balances_read_total", "rung" => rung).increment(count);
}

/// `chain_rung_rejected_total`: fallbacks from a read strategy to the next one, by reason.
pub fn chain_rung_rejected(rung: &'static str, reason: &'static str) {
    metrics::counter!("chain_rung_rejected_total", "rung" => rung, "reason" => reason).increment(1);
}

/// `chain_rung_rejected_total` at zero.
pub fn chain_rung_rejected_from_zero(rung: &'static str, reason: &'static str) {
    metrics::counter!("chain_rung_rejected_total", "rung" => rung, "reason" => reason).increment(0);
}

/// `outbox_deliveries_total`: attempts to deliver events, by destination and outcome (`delivered`, `failed`).
pub fn outbox_deliveries(destination: &str, outcome: &'static str, count: u64) {
    metrics::counter!("outbox_deliveries_total", "destination" => destination.to_owned(), "outcome" => outcome)
        .increment(count);
}

/// `outbox_deliveries_total` at zero: a series that first appears at 1 shows no increase.
pub fn outbox_from_zero(destination: &str) {
    for outcome in ["delivered", "failed"] {
        outbox_deliveries(destination, outcome, 0);
    }
}

/// `outbox_pending_events`, `outbox_oldest_pending_seconds`, `outbox_dead_events`: what a destination has not received.
pub fn outbox_backlog(destination: &str, pending: u64, oldest_pending: Duration, dead: u64) {
    metrics::gauge!("outbox_pending_events", "destination" => destination.to_owned()).set(as_gauge(pending));
    metrics::gauge!("outbox_oldest_pending_seconds", "destination" => destination.to_owned())
        .set(oldest_pending.as_secs_f64());
    metrics::gauge!("outbox_dead_events", "destination" => destination.to_owned()).set(as_gauge(dead));
}

/// `reconciliation_diff_count`: open differences.
pub fn reconciliation_diff_count(dimension: &'static str, token: &str, severity: &'static str, count: u64) {
    metrics::gauge!("reconciliation_diff_count", "dimension" => dimension, "token" => token.to_owned(), "severity" => severity).set(as_gauge(count));
}

/// `reconciliation_diff_amount`: sum of the absolute open differences in whole tokens; rounded, for display only.
pub fn reconciliation_diff_amount(dimension: &'static str, token: &str, amount: Total) {
    metrics::gauge!("reconciliation_diff_amount", "dimension" => dimension, "token" => token.to_owned())
        .set(rounded(amount));
}

/// `reconciliation_unresolved_breaks`: breaks of one status, severity and age.
pub fn reconciliation_unresolved_breaks(
    dimension: &str,
    status: &'static str,
    severity: &'static str,
    age: &'static str,
    count: u64,
) {
    metrics::gauge!("reconciliation_unresolved_breaks", "dimension" => dimension.to_owned(), "status" => status, "severity" => severity, "age" => age).set(as_gauge(count));
}

/// `reconciliation_oldest_break_seconds`: age of the oldest break of one status and severity; zero if there is none.
pub fn reconciliation_oldest_break(
    dimension: &str,
    status: &'static str,
    severity: &'static str,
    age: Duration,
) {
    metrics::gauge!("reconciliation_oldest_break_seconds", "dimension" => dimension.to_owned(), "status" => status, "severity" => severity).set(age.as_secs_f64());
}

/// `reconciliation_checked_total`: accounts compared.
pub fn reconciliation_checked(dimension: &'static str, count: u64) {
    metrics::counter!("reconciliation_checked_total", "dimension" => dimension).increment(count);
}

/// `reconciliation_in_flight_amount`: sum of the absolute in-flight lines in whole tokens; rounded, for display only.
pub fn reconciliation_in_flight_amount(dimension: &'static str, token: &str, amount: Total) {
    metrics::gauge!("reconciliation_in_flight_amount", "dimension" => dimension, "token" => token.to_owned())
        .set(rounded(amount));
}

/// `reconciliation_dust_amount`: sum of the ignored differences in whole tokens; rounded, for display only.
pub fn reconciliation_dust_amount(dimension: &'static str, token: &str, amount: Total) {
    metrics::gauge!("reconciliation_dust_amount", "dimension" => dimension, "token" => token.to_owned())
        .set(rounded(amount));
}

/// `reconciliation_verified_timestamp`: unix time of the cut of the last complete run.
pub fn reconciliation_verified(dimension: &'static str, mode: &'static str, at: DateTime<Utc>) {
    metrics::gauge!("reconciliation_verified_timestamp", "dimension" => dimension, "mode" => mode)
        .set(unix_seconds(at));
}

/// `reconciliation_oldest_verified_timestamp`: unix time at which the least recently verified account was verified.
pub fn reconciliation_oldest_verified(dimension: &'static str, at: DateTime<Utc>) {
    metrics::gauge!("reconciliation_oldest_verified_timestamp", "dimension" => dimension)
        .set(unix_seconds(at));
}

/// `reconciliation_coverage_ratio`: share of the accounts that was proved in a window, between 0 and 1. A hundredth of a percent
/// is as much of 1 as 100 µs are of a second.
pub fn reconciliation_coverage(dimension: &str, window: &'static str, basis_points: u64) {
    metrics::gauge!("reconciliation_coverage_ratio", "dimension" => dimension.to_owned(), "window" => window)
        .set(Duration::from_micros(basis_points.saturating_mul(100)).as_secs_f64());
}

/// `reconciliation_last_clean_timestamp`: unix time at which the newest run ended that found no break.
pub fn reconciliation_last_clean(dimension: &str, at: DateTime<Utc>) {
    metrics::gauge!("reconciliation_last_clean_timestamp", "dimension" => dimension.to_owned())
        .set(unix_seconds(at));
}

/// `reconciliation_indexer_lag_blocks`: finalized blocks the indexer has not applied yet.
pub fn reconciliation_indexer_lag(blocks: u64) {
    metrics::gauge!("reconciliation_indexer_lag_blocks").set(as_gauge(blocks));
}

/// `reconciliation_node_lag_blocks`: blocks that the indexer has applied and the node has not reached.
pub fn reconciliation_node_lag(blocks: u64) {
    metrics::gauge!("reconciliation_node_lag_blocks").set(as_gauge(blocks));
}

/// `reconciliation_canaries_missed`: canaries that the newest run with canaries compared and did not find.
pub fn reconciliation_canaries_missed(count: u64) {
    metrics::gauge!("reconciliation_canaries_missed").set(as_gauge(count));
}

/// `reconciliation_node_behind_accounts`: accounts that were not judged because the node had not reached a block that the
/// ledger names.
pub fn reconciliation_node_behind_accounts(accounts: u64) {
    metrics::gauge!("reconciliation_node_behind_accounts").set(as_gauge(accounts));
}

/// `operation_pauses_active`: 1 while an operation is paused for a token.
pub fn operation_pause_active(operation: &'static str, token: &str, active: bool) {
    metrics::gauge!("operation_pauses_active", "operation" => operation, "token" => token.to_owned())
        .set(f64::from(u8::from(active)));
}

/// `reconciliation_repins_total`: new cuts that runs took because the block of the earlier one was reorganised or no
/// longer readable.
pub fn reconciliation_repinned(reason: &'static str) {
    metrics::counter!("reconciliation_repins_total", "reason" => reason).increment(1);
}

/// `reconciliation_repins_total` at zero.
pub fn reconciliation_repins_from_zero(reason: &'static str) {
    metrics::counter!("reconciliation_repins_total", "reason" => reason).increment(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls every function once and compares what was emitted with the catalogue.
    #[test]
    fn every_function_emits_its_row_and_every_row_has_a_function() {
        let handle = crate::install_metrics().unwrap();
        let (at, time, total) = (DateTime::<Utc>::UNIX_EPOCH, Duration::from_secs(1), Total::ZERO);

        emit_from_zero(&handle);
        job_execution_ended("x", "x");
        job_execution_duration("x", time);
        job_failed("x", "x");
        job_last_success("x", at);
        job_last_failure("x", "x", true, Some(at));
        job_last_skip("x", None);
        job_known_since("x", at);
        job_running("x", true);
        job_paused("x", true);
        job_next_run("x", at);
        job_schedule_period("x", time);
        slot_start_delay("x", time);
        slot_claim("x", "x");
        slots_missed("x", 1);
        slot_skipped("x", "x");
        lease_acquire("x", "x");
        lease_acquire_duration("x", time);
        lease_renew_duration("x", time);
        lease_lost("x", "x");
        fence_rejected("x");
        executions_orphaned("x", 1);
        execution_retried("x");
        loop_ticked("x", at);
        worker_restarted("x");
        dependency_up("x", true);
        http_request("x", "x", 200);
        grpc_request("x", "x");
        emit_chain(time);
        emit_bus(time);
        outbox_deliveries("x", "x", 1);
        outbox_backlog("x", 1, time, 1);
        emit_breaks(time, total);
        emit_reconciliation(at, total);
        emit_disposal(time);
        emit_expiry(at, time);
        emit_market(time);
        emit_probe(time);
        let text = handle.render();
        for metric in catalogue() {
            let series = text
                .lines()
                .find(|line| line.starts_with(metric.name) && !line.starts_with('#'))
                .unwrap_or_else(|| panic!("{} is never emitted", metric.name));
            for label in metric.labels {
                assert!(
                    series.contains(&format!("{label}=\"")),
                    "{} lacks {label}: {series}",
                    metric.name
                );
            }
        }
        let emitted = text.lines().filter(|line| line.starts_with("# TYPE")).count();
        assert_eq!(
            emitted,
            catalogue().len(),
            "a function emits a name that is not in the catalogue"
        );
    }

    /// Every series that exists before its first event is shown, and is zero.
    fn emit_from_zero(handle: &crate::MetricsHandle) {
        job_series_from_zero(
            "zero",
            &JobLabels {
                failure_kinds: &["x"],
                acquire_results: &["x"],
                lost_reasons: &["x"],
                claim_results: &["x"],
                skip_reasons: &["x"],
            },
        );
        chain_rpc_from_zero("zero", &["x"]);
        chain_rung_rejected_from_zero("zero", "x");
        grpc_requests_from_zero("zero", "x");
        reconciliation_repins_from_zero("zero");
        bus_events_from_zero("zero", "x");
        bus_consumer_from_zero("zero", "x", &["x"]);
        outbox_from_zero("zero");
        worker_restarts_from_zero("zero");
        archive_batch_duration_from_zero("zero");
        expiry_from_zero(&["x"], &["x"]);
        let text = handle.render();
        for line in text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
        {
            assert!(line.ends_with(" 0"), "{line}");
        }
        for name in ["lease_renew_duration_seconds", "archive_batch_duration_seconds"] {
            assert!(
                text.contains(&format!("{name}_count")),
                "no histogram at zero: {text}"
            );
        }
    }

    fn emit_breaks(time: Duration, total: Total) {
        reconciliation_diff_count("x", "x", "x", 1);
        reconciliation_diff_amount("x", "x", total);
        reconciliation_unresolved_breaks("x", "x", "x", "x", 1);
        reconciliation_oldest_break("x", "x", "x", time);
    }

    fn emit_chain(time: Duration) {
        chain_rpc_request("x", "x");
        chain_rpc_duration("x", time);
        chain_balances_read("x", 1);
        chain_rung_rejected("x", "x");
    }

    fn emit_market(time: Duration) {
        kline_lag("x", time);
        kline_windows_incomplete("x", "x", 1);
        kline_windows("x", "x", 1);
        kline_differences("x", 1);
        kline_minutes_proved(1);
        kline_repairs("x", 1);
        statistics_lag(time);
        statistics_refused_rows(1);
        statistics_unpriced_hours(1);
        statistics_rows_written("x", 1);
        statistics_keys_refreshed("x", 1);
    }

    fn emit_reconciliation(at: DateTime<Utc>, total: Total) {
        reconciliation_checked("x", 1);
        reconciliation_in_flight_amount("x", "x", total);
        reconciliation_dust_amount("x", "x", total);
        reconciliation_verified("x", "x", at);
        reconciliation_oldest_verified("x", at);
        reconciliation_coverage("x", "x", 1);
        reconciliation_last_clean("x", at);
        reconciliation_indexer_lag(1);
        reconciliation_node_lag(1);
        reconciliation_canaries_missed(1);
        reconciliation_node_behind_accounts(1);
        operation_pause_active("x", "x", true);
        reconciliation_repinned("x");
    }

    fn emit_probe(time: Duration) {
        probed("x", "x", "good", time);
        probe_level("x", "x", 1);
        probe_failures_in_a_row("x", "x", 1);
        probe_started_late(time);
        probe_round(time);
        prober_blind(true);
        probe_state_saved();
        probe_state_save_failed();
        alerts_open("x", 1);
        alert_notifications("x", "x", "x", 1);
        alert_delivery_pending("x", time);
        alert_sharing_failed();
        probers_voting(1);
        alerts_outvoted(1);
        heartbeats_from_zero("x");
        heartbeat_sent("x", true);
    }

    fn emit_expiry(at: DateTime<Utc>, time: Duration) {
        expired_orders_overdue(1);
        expired_orders_overlooked(1);
        expiry_sweep_completed(Some(at));
        expiry_verdicts("x", 1);
        expiry_outcomes("x", 1);
        expiry_events("x", "x", 1);
        expiry_confirmation_lag(time);
        expiry_requests_open("x", 1);
        expiry_oldest_open(time);
        expiry_contradictions(1);
        orders_cancelling_stuck(1);
        expiry_cache_keys_unlinked(1);
    }

    fn emit_bus(time: Duration) {
        bus_event("x", "x");
        bus_message_handled("x", "x", "x");
        bus_message_retried("x", "x");
        bus_dead_letter("x", "x");
        bus_offsets_lost("x", "x", 1);
        bus_consumer_lag("x", "x", 1, 1);
        bus_consumer_answer_age("x", time);
    }

    fn emit_disposal(time: Duration) {
        disposal_rows("x", "x", "x", "x", 1);
        disposal_refused("x", "x", "x");
        disposal_refusals("x", "x", 1);
        disposal_units_open("x", "x", "x", 1);
        archive_stored_bytes("x", "x", 1);
        archive_rot_units(1);
        archive_oldest_eligible_age("x", time);
        archive_batch_duration("x", time);
        quarantine_bytes("x", 1);
        partition_months_ahead("x", "x", 1);
        partition_gaps("x", "x", 1);
        partition_default_rows("x", "x", 1);
        retention_tables_without_rule("x", 1);
        retention_approvals_waiting("x", 1);
    }
}
