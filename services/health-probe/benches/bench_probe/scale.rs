//! Many targets every thirty seconds, of which one in ten accepts and never answers.

use std::time::Duration;

use anyhow::ensure;
use eidos_types::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::met;
use crate::prober::{Prober, Targets, sum};
use crate::servers::{Services, Webhook};

const INTERVAL: Duration = Duration::from_secs(30);
/// Half of the round to start in, and room for those that hang: a tenth of the targets for the whole time limit.
const PROBES: &str = "  spread: 15s\n  concurrency: 2000";
const JOBS: &str = "health-monitor: { timeout: 25s }";
const GOAL_LATE_S: &str = "0.25";
const GOAL_MIB: f64 = 150.0;
/// Failures in a row that make a target critical, and the slots until then.
const FAILURES: u32 = 3;

pub(crate) async fn measure(targets: usize, rounds: u32) -> anyhow::Result<Value> {
    let silent = targets / 10;
    let (healthy, holes) = (
        Services::start(targets - silent)?,
        Services::start_silent(silent)?,
    );
    let webhook = Webhook::start()?;
    let names: Targets = (0..targets - silent)
        .map(|number| (format!("service-{number}"), healthy.url(number)))
        .chain((0..silent).map(|number| (format!("hole-{number}"), holes.url(number))))
        .collect();
    let prober = Prober::start(&names, Some(&webhook.url()), (PROBES, JOBS)).await?;
    let first_ms = next_slot_ms();
    let mut cpu_s = 0.0;
    for round in 0..rounds {
        sleep_until_ms(first_ms + i64::from(round + 1) * interval_ms() - 1_000).await;
        let total = prober.cpu_s()?;
        println!(
            "round {}: {:.2} CPU-s, peak {:.0} MiB, {} alerts sent",
            round + 1,
            total - cpu_s,
            prober.peak_mib()?,
            webhook.arrived().len()
        );
        cpu_s = total;
    }
    let metrics = prober.metrics().await?;
    let (asked, peak_mib) = ([healthy.asked(), holes.asked()].concat(), prober.peak_mib()?);
    drop(prober);
    let skipped = asked
        .iter()
        .map(|asked| rounds.saturating_sub(*asked))
        .sum::<u32>();
    let unknown = sum(&metrics, "probe_results_total", &["result=\"unknown\""]);
    let late = Lateness::read(&metrics)?;
    let alerts = alerts(&webhook, first_ms);
    ensure!(
        rounds < FAILURES || alerts.0 == silent,
        "{} alerts of {silent} holes",
        alerts.0
    );
    let is_met = skipped == 0 && unknown == 0.0 && late.within_goal >= 0.99 && peak_mib < GOAL_MIB;
    println!("{targets} targets, {silent} of which never answer, {rounds} rounds:");
    println!("  skipped {skipped}, without a result {unknown}");
    println!(
        "  starts within {GOAL_LATE_S} s: {:.3} %, p50 at most {} s, p99 at most {} s",
        late.within_goal * 100.0,
        late.p50_s,
        late.p99_s
    );
    println!(
        "  peak {peak_mib:.0} MiB; {} alerts, the last {:.1} s after the third round began",
        alerts.0, alerts.1
    );
    println!(
        "  goal, none skipped, p99 of starts below {GOAL_LATE_S} s, below {GOAL_MIB} MiB: {}",
        met(is_met)
    );
    Ok(json!({
        "targets": targets, "silent": silent, "rounds": rounds, "skipped": skipped, "without_a_result": unknown,
        "starts_within_goal": late.within_goal, "start_p50_at_most_s": late.p50_s, "start_p99_at_most_s": late.p99_s,
        "peak_mib": peak_mib, "cpu_s": cpu_s, "alerts": alerts.0, "last_alert_after_third_round_s": alerts.1,
        "goal_met": is_met,
    }))
}

/// How late probes started, as the prober's own histogram has it.
struct Lateness {
    within_goal: f64,
    p50_s: String,
    p99_s: String,
}

impl Lateness {
    fn read(metrics: &str) -> anyhow::Result<Self> {
        let name = "probe_start_delay_seconds_bucket";
        let buckets = metrics.lines().filter(|line| line.starts_with(name));
        let buckets: Vec<(String, f64)> = buckets
            .filter_map(|line| {
                let bound = line.split("le=\"").nth(1)?.split('"').next()?;
                Some((bound.to_owned(), line.rsplit(' ').next()?.parse().ok()?))
            })
            .collect();
        let all = buckets.last().map_or(0.0, |(_, count)| *count);
        ensure!(all > 0.0, "{name} has no value");
        let share = |count: f64| count / all;
        let at_most = |part: f64| {
            let bucket = buckets.iter().find(|(_, count)| share(*count) >= part);
            bucket.map_or_else(String::new, |(bound, _)| bound.clone())
        };
        let within = buckets.iter().find(|(bound, _)| bound == GOAL_LATE_S);
        Ok(Self {
            within_goal: within.map_or(0.0, |(_, count)| share(*count)),
            p50_s: at_most(0.5),
            p99_s: at_most(0.99),
        })
    }
}

/// How many alerts opened, and when the last did, in seconds after the round that opens them began.
fn alerts(webhook: &Webhook, first_ms: i64) -> (usize, f64) {
    let third_ms = first_ms + i64::from(FAILURES - 1) * interval_ms();
    let opened: Vec<i64> = webhook
        .arrived()
        .iter()
        .filter(|alert| alert.event == "open" && alert.severity == "critical")
        .map(|alert| alert.at_ms - third_ms)
        .collect();
    let last_ms = opened.iter().max().copied().unwrap_or_default();
    (
        opened.len(),
        Duration::from_millis(last_ms.max(0).unsigned_abs()).as_secs_f64(),
    )
}

fn interval_ms() -> i64 {
    i64::try_from(INTERVAL.as_millis()).unwrap_or_default()
}

/// The beginning of the next round.
pub(crate) fn next_slot_ms() -> i64 {
    (SystemClock::default().now_ms() / interval_ms() + 1) * interval_ms()
}

pub(crate) async fn sleep_until_ms(at_ms: i64) {
    let left = at_ms - SystemClock::default().now_ms();
    tokio::time::sleep(Duration::from_millis(left.max(0).unsigned_abs())).await;
}
