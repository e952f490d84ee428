//! The one catalogue of metrics. [`crate::metric`] has a typed function for each row.

/// What a metric measures with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// One metric of the suite.
#[derive(Debug, Clone, Copy)]
pub struct MetricDescription {
    /// The exposed name.
    pub name: &'static str,
    /// What it measures with.
    pub kind: Kind,
    /// The unit; `1` for a plain count.
    pub unit: &'static str,
    /// The labels, in the order the functions take them.
    pub labels: &'static [&'static str],
    /// What it tells an operator.
    pub meaning: &'static str,
}

/// Every metric of the suite. The names of `requirements/eidos-jobs.md` §7 are exact (ruling 45).
#[must_use]
pub const fn catalogue() -> &'static [MetricDescription] {
    CATALOGUE
}

const fn row(
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    labels: &'static [&'static str],
    meaning: &'static str,
) -> MetricDescription {
    MetricDescription {
        name,
        kind,
        unit,
        labels,
        meaning,
    }
}

const CATALOGUE: &[MetricDescription] = &[
    row(
        "job_execution_total",
        Kind::Counter,
        "1",
        &["job", "status"],
        "Executions that ended, by final status.",
    ),
    row(
        "job_execution_duration_seconds",
        Kind::Histogram,
        "s",
        &["job"],
        "Time from the start of an execution to its final status.",
    ),
    row(
        "job_failures_total",
        Kind::Counter,
        "1",
        &["job", "failure_kind"],
        "Executions that failed, by failure kind.",
    ),
    row(
        "job_last_success_timestamp",
        Kind::Gauge,
        "s",
        &["job"],
        "Unix time of the last success; loaded from the database at start.",
    ),
    row(
        "job_last_failure_timestamp",
        Kind::Gauge,
        "s",
        &["job", "failure_kind", "retried"],
        "Unix time of the newest failed execution of the last day, of any process; 0: none. retried: whether a later \
         attempt for the same slot exists.",
    ),
    row(
        "job_last_skip_timestamp",
        Kind::Gauge,
        "s",
        &["job"],
        "Unix time of the newest slot of the last day that was recorded as skipped; 0: none.",
    ),
    row(
        "job_known_since_timestamp",
        Kind::Gauge,
        "s",
        &["job"],
        "Unix time at which this process began to schedule the job; without a schedule there is no series.",
    ),
    row(
        "job_running",
        Kind::Gauge,
        "1",
        &["job"],
        "1 while this process runs the job.",
    ),
    row(
        "job_paused",
        Kind::Gauge,
        "1",
        &["job"],
        "1 while the job is paused.",
    ),
    row(
        "job_next_run_timestamp",
        Kind::Gauge,
        "s",
        &["job"],
        "Unix time of the next scheduled slot.",
    ),
    row(
        "job_schedule_period_seconds",
        Kind::Gauge,
        "s",
        &["job"],
        "Largest gap between two slots of the schedule.",
    ),
    row(
        "slot_start_delay_seconds",
        Kind::Histogram,
        "s",
        &["job"],
        "Time from a slot to the start of its run.",
    ),
    row(
        "slot_claim_total",
        Kind::Counter,
        "1",
        &["job", "result"],
        "Attempts to claim a slot, by result.",
    ),
    row(
        "slots_missed_total",
        Kind::Counter,
        "1",
        &["job"],
        "Slots that passed without a run of their own.",
    ),
    row(
        "slots_skipped_total",
        Kind::Counter,
        "1",
        &["job", "reason"],
        "Slots that were claimed and recorded as skipped.",
    ),
    row(
        "lease_acquire_total",
        Kind::Counter,
        "1",
        &["job", "result"],
        "Attempts to take a lease, by result.",
    ),
    row(
        "lease_acquire_duration_seconds",
        Kind::Histogram,
        "s",
        &["job"],
        "Time to take a lease.",
    ),
    row(
        "lease_renew_duration_seconds",
        Kind::Histogram,
        "s",
        &["job"],
        "Time to renew a lease.",
    ),
    row(
        "lease_lost_total",
        Kind::Counter,
        "1",
        &["job", "reason"],
        "Leases lost during a run, by reason.",
    ),
    row(
        "fence_rejected_total",
        Kind::Counter,
        "1",
        &["job"],
        "Writes that the fence refused because a newer run had replaced theirs.",
    ),
    row(
        "executions_orphaned_total",
        Kind::Counter,
        "1",
        &["job"],
        "Executions of dead processes that a newer run closed as failed.",
    ),
    row(
        "execution_retries_total",
        Kind::Counter,
        "1",
        &["job"],
        "Attempts after the first.",
    ),
    row(
        "runtime_loop_last_tick_timestamp",
        Kind::Gauge,
        "s",
        &["loop_name"],
        "Unix time of a background loop's last heartbeat.",
    ),
    row(
        "worker_restarts_total",
        Kind::Counter,
        "1",
        &["worker"],
        "Restarts of workers that ended without being cancelled.",
    ),
    row(
        "dependency_up",
        Kind::Gauge,
        "1",
        &["dependency"],
        "1 while the dependency answers.",
    ),
    row(
        "http_requests_total",
        Kind::Counter,
        "1",
        &["route", "method", "status"],
        "HTTP requests answered.",
    ),
    row(
        "grpc_requests_total",
        Kind::Counter,
        "1",
        &["method", "code"],
        "gRPC requests answered.",
    ),
    row(
        "chain_rpc_requests_total",
        Kind::Counter,
        "1",
        &["method", "outcome"],
        "JSON-RPC calls to the node, by outcome.",
    ),
    row(
        "chain_rpc_duration_seconds",
        Kind::Histogram,
        "s",
        &["method"],
        "Time of a JSON-RPC call.",
    ),
    row(
        "chain_balances_read_total",
        Kind::Counter,
        "1",
        &["rung"],
        "Balances read in bulk, by read strategy.",
    ),
    row(
        "chain_rung_rejected_total",
        Kind::Counter,
        "1",
        &["rung", "reason"],
        "Fallbacks from a read strategy to the next one, by reason.",
    ),
    row(
        "bus_events_total",
        Kind::Counter,
        "1",
        &["topic", "outcome"],
        "Events sent to Kafka, by outcome.",
    ),
    row(
        "bus_messages_handled_total",
        Kind::Counter,
        "1",
        &["group", "topic", "outcome"],
        "Messages read from Kafka and dealt with: done, poison or exhausted (refused after every attempt).",
    ),
    row(
        "bus_message_retries_total",
        Kind::Counter,
        "1",
        &["group", "topic"],
        "Further attempts to handle a message.",
    ),
    row(
        "bus_dead_letters_total",
        Kind::Counter,
        "1",
        &["group", "topic"],
        "Messages written to the dead-letter topic, by the topic they were read from.",
    ),
    row(
        "bus_offsets_lost_total",
        Kind::Counter,
        "1",
        &["group", "topic"],
        "Offsets between where a group was and what the log still has: messages deleted before they were read, or \
         read and then truncated.",
    ),
    row(
        "bus_consumer_lag_messages",
        Kind::Gauge,
        "1",
        &["group", "topic", "partition"],
        "Messages that a partition of this member has and the group has not handled; 0: none, or not this member's.",
    ),
    row(
        "bus_consumer_answer_age_seconds",
        Kind::Gauge,
        "s",
        &["group"],
        "Time since a broker last answered this consumer.",
    ),
    row(
        "outbox_deliveries_total",
        Kind::Counter,
        "1",
        &["destination", "outcome"],
        "Attempts to deliver an event to a destination, by outcome.",
    ),
    row(
        "outbox_pending_events",
        Kind::Gauge,
        "1",
        &["destination"],
        "Events that are not delivered to a destination yet.",
    ),
    row(
        "outbox_oldest_pending_seconds",
        Kind::Gauge,
        "s",
        &["destination"],
        "Age of the oldest event that is not delivered to a destination yet; 0: none.",
    ),
    row(
        "outbox_dead_events",
        Kind::Gauge,
        "1",
        &["destination"],
        "Events whose delivery to a destination was given up; an operator sends them again or deletes them.",
    ),
    row(
        "reconciliation_diff_count",
        Kind::Gauge,
        "1",
        &["dimension", "token", "severity"],
        "Open differences.",
    ),
    row(
        "reconciliation_diff_amount",
        Kind::Gauge,
        "tokens",
        &["dimension", "token"],
        "Sum of the absolute open differences in whole tokens; rounded, for display only.",
    ),
    row(
        "reconciliation_unresolved_breaks",
        Kind::Gauge,
        "1",
        &["dimension", "status", "severity", "age"],
        "Breaks that are open or acknowledged, by age: lt_1h, lt_24h, lt_7d, ge_7d.",
    ),
    row(
        "reconciliation_oldest_break_seconds",
        Kind::Gauge,
        "s",
        &["dimension", "status", "severity"],
        "Age of the oldest break that is open or acknowledged; 0: none.",
    ),
    row(
        "reconciliation_checked_total",
        Kind::Counter,
        "1",
        &["dimension"],
        "Accounts compared.",
    ),
    row(
        "reconciliation_in_flight_amount",
        Kind::Gauge,
        "tokens",
        &["dimension", "token"],
        "Sum of the absolute in-flight lines in whole tokens; rounded, for display only.",
    ),
    row(
        "reconciliation_dust_amount",
        Kind::Gauge,
        "tokens",
        &["dimension", "token"],
        "Sum of the ignored differences in whole tokens; rounded, for display only.",
    ),
    row(
        "reconciliation_verified_timestamp",
        Kind::Gauge,
        "s",
        &["dimension", "mode"],
        "Unix time of the cut of the last complete run.",
    ),
    row(
        "reconciliation_oldest_verified_timestamp",
        Kind::Gauge,
        "s",
        &["dimension"],
        "Unix time at which the least recently verified account was verified.",
    ),
    row(
        "reconciliation_coverage_ratio",
        Kind::Gauge,
        "1",
        &["dimension", "window"],
        "Share of the accounts that one run of the window (24h, 7d) proved, of those that the newest full run compared.",
    ),
    row(
        "reconciliation_last_clean_timestamp",
        Kind::Gauge,
        "s",
        &["dimension"],
        "Unix time at which the newest run ended that found no break and left nothing undecided.",
    ),
    row(
        "reconciliation_indexer_lag_blocks",
        Kind::Gauge,
        "blocks",
        &[],
        "Finalized blocks the indexer has not applied yet.",
    ),
    row(
        "reconciliation_node_lag_blocks",
        Kind::Gauge,
        "blocks",
        &[],
        "Blocks that the indexer has applied and the node has not reached, in the newest run.",
    ),
    row(
        "reconciliation_canaries_missed",
        Kind::Gauge,
        "1",
        &[],
        "Accounts with a planted difference that the newest run compared and did not find; absent without any.",
    ),
    row(
        "reconciliation_node_behind_accounts",
        Kind::Gauge,
        "1",
        &[],
        "Accounts that the newest run did not judge because the node had not reached a block that the ledger names.",
    ),
    row(
        "operation_pauses_active",
        Kind::Gauge,
        "1",
        &["operation", "token"],
        "1 while an operation is paused for a token.",
    ),
    row(
        "reconciliation_repins_total",
        Kind::Counter,
        "1",
        &["reason"],
        "New cuts that runs took because the block of the earlier one was reorganised or no longer readable.",
    ),
    row(
        "disposal_rows_total",
        Kind::Counter,
        "rows",
        &["job", "source", "table", "action"],
        "Rows that were moved, exported, deleted, dropped or restored, by action.",
    ),
    row(
        "disposal_refusals_total",
        Kind::Counter,
        "1",
        &["job", "table", "reason"],
        "Refusals to remove data because a check failed, by reason.",
    ),
    row(
        "disposal_refusals",
        Kind::Gauge,
        "1",
        &["job", "table"],
        "Refusals of the job's newest run, in any process, to remove data of a table.",
    ),
    row(
        "disposal_units_open",
        Kind::Gauge,
        "1",
        &["source", "table", "state"],
        "Partitions and months of rows whose disposal has not ended, by state.",
    ),
    row(
        "expired_orders_overdue",
        Kind::Gauge,
        "orders",
        &[],
        "Orders that were still open long after they expired, as the newest complete sweep counted them; should be 0.",
    ),
    row(
        "expired_orders_overlooked",
        Kind::Gauge,
        "orders",
        &[],
        "Overdue orders that no request had been made for when the newest complete sweep counted them; should be 0.",
    ),
    row(
        "expiry_sweep_completed_timestamp",
        Kind::Gauge,
        "s",
        &[],
        "Unix time of the slot of the newest complete sweep; 0: none yet.",
    ),
    row(
        "expiry_verdicts_total",
        Kind::Counter,
        "1",
        &["verdict"],
        "Requests to remove an order, by answer; unanswered: none came.",
    ),
    row(
        "expiry_outcomes_total",
        Kind::Counter,
        "1",
        &["outcome"],
        "Orders whose end was confirmed after a request to remove them, by how they ended.",
    ),
    row(
        "expiry_events_total",
        Kind::Counter,
        "1",
        &["event", "effect"],
        "Messages about the end of orders (removal: of the engine; update: of the trading service), by what they did.",
    ),
    row(
        "expiry_confirmation_lag_seconds",
        Kind::Histogram,
        "s",
        &[],
        "Time from the expiry of an order to the change of its row to EXPIRED.",
    ),
    row(
        "expiry_requests_open",
        Kind::Gauge,
        "orders",
        &["state"],
        "Orders that were asked for and have not ended, by state.",
    ),
    row(
        "expiry_oldest_open_seconds",
        Kind::Gauge,
        "s",
        &[],
        "Time since the first request for the order that has waited longest for its end; 0: none waits.",
    ),
    row(
        "expiry_contradictions",
        Kind::Gauge,
        "orders",
        &[],
        "Orders that the engine says it does not have while their rows are open.",
    ),
    row(
        "orders_cancelling_stuck",
        Kind::Gauge,
        "orders",
        &[],
        "Orders in status cancelling for too long, as the newest complete sweep counted them.",
    ),
    row(
        "expiry_cache_keys_unlinked_total",
        Kind::Counter,
        "keys",
        &[],
        "Redis keys of old cancelled orders that were unlinked.",
    ),
    row(
        "archive_stored_bytes_total",
        Kind::Counter,
        "bytes",
        &["source", "table"],
        "Bytes of verified exports.",
    ),
    row(
        "archive_rot_units",
        Kind::Gauge,
        "1",
        &[],
        "Exports that passed verification once and fail it now.",
    ),
    row(
        "archive_oldest_eligible_age_seconds",
        Kind::Gauge,
        "seconds",
        &["table"],
        "Time since the oldest row that should be archived was due; 0: none is due.",
    ),
    row(
        "archive_batch_duration_seconds",
        Kind::Histogram,
        "seconds",
        &["table"],
        "Time of a batch, from the selection of its rows to its commit.",
    ),
    row(
        "quarantine_bytes",
        Kind::Gauge,
        "bytes",
        &["source"],
        "Disk space of detached partitions that are not dropped yet.",
    ),
    row(
        "partition_months_ahead",
        Kind::Gauge,
        "months",
        &["source", "table"],
        "Whole months after the current one that have a partition.",
    ),
    row(
        "partition_gaps",
        Kind::Gauge,
        "1",
        &["source", "table"],
        "Time ranges without a partition, for which none could be created.",
    ),
    row(
        "partition_default_rows",
        Kind::Gauge,
        "rows",
        &["source", "table"],
        "Rows in a default partition.",
    ),
    row(
        "retention_tables_without_rule",
        Kind::Gauge,
        "1",
        &["source"],
        "Tables without a retention rule.",
    ),
    row(
        "retention_approvals_waiting",
        Kind::Gauge,
        "1",
        &["table"],
        "Planned changes of a table that wait for an approval.",
    ),
    row(
        "kline_lag_seconds",
        Kind::Gauge,
        "s",
        &["interval"],
        "Time since the end of the newest whole window of an interval; without one there is no series.",
    ),
    row(
        "kline_windows_incomplete",
        Kind::Gauge,
        "1",
        &["interval", "state"],
        "Windows that could not be published as whole, by state (missing, partial, unusable), and windows to be built \
         again (dirty).",
    ),
    row(
        "kline_windows_total",
        Kind::Counter,
        "1",
        &["interval", "outcome"],
        "Windows that runs judged, by outcome.",
    ),
    row(
        "kline_differences",
        Kind::Gauge,
        "1",
        &["kind"],
        "Candles of one minute that do not say the same as their trades, by kind (missing, extra, differs), and minutes with \
         a trade that cannot be true (unusable).",
    ),
    row(
        "kline_minutes_proved_total",
        Kind::Counter,
        "1",
        &[],
        "Minutes whose candles were compared with their trades.",
    ),
    row(
        "kline_repairs_total",
        Kind::Counter,
        "1",
        &["outcome"],
        "Candles of one minute that were to be repaired: done, or not_done because the candle or its trades had changed.",
    ),
    row(
        "statistics_lag_seconds",
        Kind::Gauge,
        "s",
        &[],
        "Time since the end of the newest hour that has statistics.",
    ),
    row(
        "statistics_refused_rows",
        Kind::Gauge,
        "1",
        &[],
        "Rows that the newest run did not count, because their numbers cannot be right.",
    ),
    row(
        "statistics_unpriced_hours",
        Kind::Gauge,
        "1",
        &[],
        "Hours of the newest run without a total in the quote currency, for want of a price.",
    ),
    row(
        "statistics_rows_written_total",
        Kind::Counter,
        "1",
        &["kind"],
        "Rows of statistics that were inserted or changed.",
    ),
    row(
        "statistics_keys_refreshed_total",
        Kind::Counter,
        "1",
        &["outcome"],
        "Turns in which the statistics in Redis were written, by outcome (ok, failed).",
    ),
    row(
        "probe_success",
        Kind::Gauge,
        "1",
        &["target", "kind"],
        "1 if the newest probe of a target was answered, else 0.",
    ),
    row(
        "probe_duration_seconds",
        Kind::Gauge,
        "s",
        &["target", "kind"],
        "How long the newest probe of a target took.",
    ),
    row(
        "probe_level",
        Kind::Gauge,
        "1",
        &["target", "kind"],
        "Level of a target: 0 ok, 1 warning, 2 critical, 3 unknown.",
    ),
    row(
        "probe_failures_in_a_row",
        Kind::Gauge,
        "1",
        &["target", "kind"],
        "Failed probes of a target since the last one that was answered.",
    ),
    row(
        "probe_results_total",
        Kind::Counter,
        "1",
        &["kind", "result"],
        "Probes, by kind of target and by result.",
    ),
    row(
        "probe_start_delay_seconds",
        Kind::Histogram,
        "s",
        &[],
        "Time from when a probe was to start until it did.",
    ),
    row(
        "probe_round_seconds",
        Kind::Gauge,
        "s",
        &[],
        "How long the newest round of probes took.",
    ),
    row(
        "prober_blind",
        Kind::Gauge,
        "1",
        &[],
        "1 while no target of the network and no control answers: what the prober reports says nothing.",
    ),
    row(
        "probe_state_saves_total",
        Kind::Counter,
        "1",
        &["result"],
        "Attempts to replace the state file, by result.",
    ),
    row(
        "alerts_open",
        Kind::Gauge,
        "1",
        &["severity"],
        "Alerts that this process keeps open, by severity.",
    ),
    row(
        "alert_notifications_total",
        Kind::Counter,
        "1",
        &["sink", "event", "result"],
        "Attempts to tell a receiver of an alert, by receiver, by what it was told, and by result.",
    ),
    row(
        "alert_delivery_pending_seconds",
        Kind::Gauge,
        "s",
        &["sink"],
        "Age of the oldest change of an alert that a receiver has not accepted; 0: it knows everything.",
    ),
    row(
        "alert_sharing_failures_total",
        Kind::Counter,
        "1",
        &[],
        "Times that Redis did not say what other replicas told receivers: each tells every receiver.",
    ),
    row(
        "probers_voting",
        Kind::Gauge,
        "1",
        &[],
        "Probers that decide together on each alert, this one included; 1: it decides alone.",
    ),
    row(
        "alerts_outvoted",
        Kind::Gauge,
        "1",
        &[],
        "Alerts that this process holds back because too few other probers see the target fail.",
    ),
    row(
        "heartbeats_total",
        Kind::Counter,
        "1",
        &["heartbeat", "result"],
        "Requests to addresses that notice when they are no longer asked, by result.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_follow_prometheus() {
        let names: BTreeSet<_> = catalogue().iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), catalogue().len());
        for metric in catalogue() {
            let snake = metric
                .name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            assert!(snake, "{}", metric.name);
            assert_eq!(
                metric.kind == Kind::Counter,
                metric.name.ends_with("_total"),
                "{}",
                metric.name
            );
            if metric.kind == Kind::Histogram {
                assert!(metric.name.ends_with("_seconds"), "{}", metric.name);
            }
        }
    }

    #[test]
    fn ruling_45_the_requirements_names_are_there() {
        for name in [
            "job_execution_total",
            "job_execution_duration_seconds",
            "job_failures_total",
            "job_last_success_timestamp",
            "reconciliation_diff_count",
            "reconciliation_diff_amount",
        ] {
            assert!(catalogue().iter().any(|metric| metric.name == name), "{name}");
        }
    }
}
