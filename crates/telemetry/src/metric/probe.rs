//! Metrics of probes, and of the alerts that they lead to.

use std::time::Duration;

use super::as_gauge;

/// `probe_success`, `probe_duration_seconds` and `probe_results_total`: what one probe of a target found.
pub fn probed(target: &str, kind: &'static str, result: &'static str, took: Duration) {
    metrics::counter!("probe_results_total", "kind" => kind, "result" => result).increment(1);
    // An unknown result says nothing of the target, so its series stay as they are.
    if result != "unknown" {
        let success = if result == "failed" { 0.0 } else { 1.0 };
        metrics::gauge!("probe_success", "target" => target.to_owned(), "kind" => kind).set(success);
        metrics::gauge!("probe_duration_seconds", "target" => target.to_owned(), "kind" => kind)
            .set(took.as_secs_f64());
    }
}

/// `probe_level`: 0 ok, 1 warning, 2 critical, 3 unknown.
pub fn probe_level(target: &str, kind: &'static str, level: u8) {
    metrics::gauge!("probe_level", "target" => target.to_owned(), "kind" => kind).set(f64::from(level));
}

/// `probe_failures_in_a_row`: failed probes since the last one that was answered.
pub fn probe_failures_in_a_row(target: &str, kind: &'static str, failures: u64) {
    metrics::gauge!("probe_failures_in_a_row", "target" => target.to_owned(), "kind" => kind)
        .set(as_gauge(failures));
}

/// `probe_start_delay_seconds`: time from when a probe was to start until it did.
pub fn probe_started_late(delay: Duration) {
    metrics::histogram!("probe_start_delay_seconds").record(delay);
}

/// `probe_round_seconds`: how long the newest round took.
pub fn probe_round(took: Duration) {
    metrics::gauge!("probe_round_seconds").set(took.as_secs_f64());
}

/// `prober_blind`: 1 while nothing of the network answers, the controls included.
pub fn prober_blind(blind: bool) {
    metrics::gauge!("prober_blind").set(f64::from(u8::from(blind)));
}

/// `probe_state_saves_total`: the state file was replaced.
pub fn probe_state_saved() {
    metrics::counter!("probe_state_saves_total", "result" => "saved").increment(1);
}

/// `probe_state_saves_total`: the state file could not be replaced.
pub fn probe_state_save_failed() {
    metrics::counter!("probe_state_saves_total", "result" => "failed").increment(1);
}

/// `alerts_open`: episodes that last, by severity.
pub fn alerts_open(severity: &'static str, count: u64) {
    metrics::gauge!("alerts_open", "severity" => severity).set(as_gauge(count));
}

/// `alert_notifications_total`: attempts to tell a receiver, by what it was told and the outcome.
pub fn alert_notifications(sink: &str, event: &'static str, result: &'static str, count: u64) {
    metrics::counter!("alert_notifications_total", "sink" => sink.to_owned(), "event" => event, "result" => result)
        .increment(count);
}

/// `alert_delivery_pending_seconds`: age of the oldest change that a receiver has not accepted; 0: it knows everything.
pub fn alert_delivery_pending(sink: &str, age: Duration) {
    metrics::gauge!("alert_delivery_pending_seconds", "sink" => sink.to_owned()).set(age.as_secs_f64());
}

/// `alert_sharing_failures_total`: Redis did not answer.
pub fn alert_sharing_failed() {
    metrics::counter!("alert_sharing_failures_total").increment(1);
}

/// `probers_voting`: probers that decide together, this one included.
pub fn probers_voting(count: u64) {
    metrics::gauge!("probers_voting").set(as_gauge(count));
}

/// `alerts_outvoted`: alerts that are held because too few other probers see the target fail.
pub fn alerts_outvoted(count: u64) {
    metrics::gauge!("alerts_outvoted").set(as_gauge(count));
}

/// `heartbeats_total`: an address was asked.
pub fn heartbeat_sent(heartbeat: &str, accepted: bool) {
    let result = if accepted {
        HEARTBEAT_RESULTS[0]
    } else {
        HEARTBEAT_RESULTS[1]
    };
    metrics::counter!("heartbeats_total", "heartbeat" => heartbeat.to_owned(), "result" => result)
        .increment(1);
}

/// `heartbeats_total` of an address at zero.
pub fn heartbeats_from_zero(heartbeat: &str) {
    for result in HEARTBEAT_RESULTS {
        metrics::counter!("heartbeats_total", "heartbeat" => heartbeat.to_owned(), "result" => *result)
            .increment(0);
    }
}

const HEARTBEAT_RESULTS: &[&str] = &["sent", "failed"];

/// The counters and histograms of probes and alerts at zero.
pub fn probe_series_from_zero(
    kinds: &[&'static str],
    results: &[&'static str],
    sinks: &[String],
    events: &[&'static str],
) {
    for kind in kinds {
        for result in results {
            metrics::counter!("probe_results_total", "kind" => *kind, "result" => *result).increment(0);
        }
    }
    for result in ["saved", "failed"] {
        metrics::counter!("probe_state_saves_total", "result" => result).increment(0);
    }
    for sink in sinks {
        for event in events {
            for result in [
                "sent",
                "failed",
                "refused",
                "given_up",
                "silenced",
                "told_by_other",
            ] {
                alert_notifications(sink, event, result, 0);
            }
        }
        alert_delivery_pending(sink, Duration::ZERO);
    }
    prober_blind(false);
    alerts_outvoted(0);
    metrics::counter!("alert_sharing_failures_total").increment(0);
    let _empty = metrics::histogram!("probe_start_delay_seconds");
}
