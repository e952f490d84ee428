//! CPU time of an HTTP probe: ours with state, metrics and one reader of them a round, the peer with its answer to Prometheus.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::blackbox::Blackbox;
use crate::met;
use crate::prober::{Prober, Targets, sum};
use crate::servers::Services;

const TARGETS: usize = 1_000;
/// A round every five seconds, as quick as the checks of the settings allow; the rest are the defaults.
const PROBES: &str = "  spread: 2s\n  timeout: 1500ms\n  slow_after: 1s";
const JOBS: &str = "health-monitor: { cron: \"*/5 * * * * *\", timeout: 4500ms }";
/// The last probes of a round have been reduced by then.
const ROUND_ENDS_WITHIN: Duration = Duration::from_millis(500);
const STALLED: Duration = Duration::from_secs(30);
/// The peer should be at least this many times as expensive.
const GOAL: f64 = 3.0;

pub(crate) async fn measure(probes: usize) -> anyhow::Result<Value> {
    let rounds = u32::try_from(probes.div_ceil(TARGETS))?;
    let services = Services::start(TARGETS)?;
    let ours = ours(&services, rounds).await?;
    let before: u32 = services.asked().iter().sum();
    let urls: Vec<String> = (0..TARGETS * rounds as usize)
        .map(|number| services.url(number % TARGETS))
        .collect();
    let peer = peer(&urls).await?;
    let asked = services.asked().iter().sum::<u32>() - before;
    ensure!(
        asked as usize >= urls.len(),
        "the peer asked {asked} times for {} probes",
        urls.len()
    );
    let ratio = peer.0 / ours.0;
    println!(
        "CPU of an HTTP probe, {} probes of {TARGETS} targets each",
        urls.len()
    );
    println!("  ours               {:.3} ms   peak {:.0} MiB", ours.0, ours.1);
    println!(
        "  blackbox_exporter  {:.3} ms   peak {:.0} MiB   {ratio:.1} times ours",
        peer.0, peer.1
    );
    println!("  goal, {GOAL} times: {}", met(ratio >= GOAL));
    Ok(json!({
        "probes": urls.len(), "ours_cpu_ms": ours.0, "ours_peak_mib": ours.1,
        "blackbox_cpu_ms": peer.0, "blackbox_peak_mib": peer.1, "ratio": ratio, "goal_met": ratio >= GOAL,
    }))
}

/// Milliseconds of a probe and MiB; the first round is not counted.
async fn ours(services: &Services, rounds: u32) -> anyhow::Result<(f64, f64)> {
    let targets: Targets = (0..TARGETS)
        .map(|number| (format!("service-{number}"), services.url(number)))
        .collect();
    let prober = Prober::start(&targets, None, (PROBES, JOBS)).await?;
    let mut cpu_s = 0.0;
    for round in 0..=rounds {
        round_ends(services, round + 1).await?;
        let metrics = prober.metrics().await?;
        let failed = sum(&metrics, "probe_results_total", &["result=\"failed\""]);
        ensure!(failed == 0.0, "{failed} probes failed");
        if round == 0 {
            cpu_s = prober.cpu_s()?;
        }
    }
    let count = f64::from(rounds) * f64::from(u32::try_from(TARGETS)?);
    Ok(((prober.cpu_s()? - cpu_s) * 1_000.0 / count, prober.peak_mib()?))
}

async fn round_ends(services: &Services, round: u32) -> anyhow::Result<()> {
    let ends = async {
        while services.asked().iter().any(|asked| *asked < round) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    ensure!(
        tokio::time::timeout(STALLED, ends).await.is_ok(),
        "round {round} does not end within {STALLED:?}"
    );
    tokio::time::sleep(ROUND_ENDS_WITHIN).await;
    Ok(())
}

/// Milliseconds of a probe and MiB, after a tenth as many to warm up.
async fn peer(urls: &[String]) -> anyhow::Result<(f64, f64)> {
    let blackbox = Blackbox::start().await?;
    blackbox.probe(urls.split_at(urls.len() / 10).0).await?;
    let before = blackbox.cpu_s()?;
    blackbox.probe(urls).await?;
    let probes = f64::from(u32::try_from(urls.len())?);
    Ok((
        (blackbox.cpu_s()? - before) * 1_000.0 / probes,
        blackbox.peak_mib()?,
    ))
}
