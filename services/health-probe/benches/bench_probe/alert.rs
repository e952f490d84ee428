//! From a service's death to the alert at a webhook, with the default settings.

use std::time::Duration;

use anyhow::{Context, ensure};
use eidos_types::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::met;
use crate::prober::{Prober, Targets};
use crate::scale::{next_slot_ms, sleep_until_ms};
use crate::servers::{Services, Webhook};

/// Services that die one after another within the thirty seconds between two rounds: the first half stops listening, the
/// second accepts and never answers.
const DEATHS: usize = 8;
/// Within the rounds that a death falls between, after the last probe of the one and before the first of the other.
const FIRST_AFTER: Duration = Duration::from_secs(2);
const APART: Duration = Duration::from_millis(3_500);
const INTERVAL_MS: i64 = 30_000;
/// Two intervals, the time limit of a probe, and a second, from the beginning of the first round that failed.
const GOAL_MS: i64 = 2 * INTERVAL_MS + 8_000 + 1_000;

/// One death, in epoch milliseconds.
struct Death {
    how: &'static str,
    died_ms: i64,
    first_failing_ms: i64,
    told_ms: i64,
}

pub(crate) async fn measure() -> anyhow::Result<Value> {
    let services = (0..DEATHS)
        .map(|_| Services::start(1))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let webhook = Webhook::start()?;
    let targets: Targets = services
        .iter()
        .enumerate()
        .map(|(number, service)| (format!("service-{number}"), service.url(0)))
        .collect();
    let prober = Prober::start(&targets, Some(&webhook.url()), ("", "")).await?;
    let slot_ms = next_slot_ms();
    sleep_until_ms(slot_ms).await;
    tokio::time::sleep(FIRST_AFTER).await;
    let mut died = Vec::new();
    for (number, service) in services.iter().enumerate() {
        let how = if number < DEATHS / 2 { "refuses" } else { "hangs" };
        if how == "refuses" {
            service.stop();
        } else {
            service.fall_silent();
        }
        died.push((how, SystemClock::default().now_ms()));
        tokio::time::sleep(APART).await;
    }
    let first_failing_ms = slot_ms + INTERVAL_MS;
    sleep_until_ms(first_failing_ms + GOAL_MS + INTERVAL_MS).await;
    drop(prober);
    let alerts = webhook.arrived();
    let deaths = died.iter().zip(&targets).map(|((how, died_ms), (name, _))| {
        let alert = alerts.iter().find(|alert| alert.target == *name);
        let alert = alert.with_context(|| format!("{name}, which {how}, has no alert"))?;
        ensure!(
            alert.severity == "critical",
            "the first alert of {name} is {}",
            alert.severity
        );
        Ok(Death {
            how,
            died_ms: *died_ms,
            first_failing_ms,
            told_ms: alert.at_ms,
        })
    });
    Ok(judge(&deaths.collect::<anyhow::Result<Vec<_>>>()?))
}

fn judge(deaths: &[Death]) -> Value {
    let seconds = |ms: i64| Duration::from_millis(ms.max(0).unsigned_abs()).as_secs_f64();
    let span = |of: fn(&Death) -> i64, how: &str| {
        let all = deaths.iter().filter(|death| death.how == how).map(of);
        let (least, most) = all.fold((i64::MAX, 0), |(least, most), ms| (least.min(ms), most.max(ms)));
        (seconds(least), seconds(most))
    };
    println!(
        "alert at the webhook, default settings, least and most of {} deaths each",
        DEATHS / 2
    );
    let mut ways = serde_json::Map::new();
    for how in ["refuses", "hangs"] {
        let since_round = span(|death| death.told_ms - death.first_failing_ms, how);
        let since_death = span(|death| death.told_ms - death.died_ms, how);
        println!(
            "  {how:<8} after the first failing round began {:.2} to {:.2} s, after the death {:.2} to {:.2} s",
            since_round.0, since_round.1, since_death.0, since_death.1
        );
        ways.insert(
            how.into(),
            json!({ "after_first_failing_round_s": since_round, "after_death_s": since_death }),
        );
    }
    let late = |death: &Death| death.told_ms - death.first_failing_ms;
    let early = deaths.iter().any(|death| late(death) < 2 * INTERVAL_MS);
    let is_met = !early && deaths.iter().all(|death| late(death) <= GOAL_MS);
    println!("  before the third round: {early}");
    println!(
        "  goal, within {} s of the first failing round: {}",
        seconds(GOAL_MS),
        met(is_met)
    );
    json!({ "ways": ways, "before_the_third_round": early, "goal_met": is_met })
}
