//! [`Round`]: every target once.

use std::time::Duration;

use eidos_telemetry::metric;
use eidos_types::SharedClock;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::job::HealthMonitor;
use super::report::Report;
use crate::domain::observation::{Observation, Seen};
use crate::probes::Target;

/// What a round leaves of its time for the last results.
const RESERVE: Duration = Duration::from_millis(250);

/// One round.
pub(super) struct Round<'a> {
    pub(super) job: &'a HealthMonitor,
    /// Only the target of this name; `None`: all.
    pub(super) only: Option<&'a str>,
    /// Whether results change states.
    pub(super) counts: bool,
    pub(super) clock: SharedClock,
    /// When the run is cancelled.
    pub(super) deadline: Instant,
}

/// Whether failures of the network say something of their targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    /// A control or a target answered.
    Works,
    /// The controls have not answered yet.
    Unsure,
    /// No control answered.
    Doubtful,
}

impl<'a> Round<'a> {
    pub(super) async fn run(&self) -> Report {
        let started = Instant::now();
        let permits = Semaphore::new(self.job.settings.concurrency);
        let targets = self.job.targets.iter();
        let targets = targets.filter(|target| self.only.is_none_or(|only| target.name == only));
        let mut results: FuturesUnordered<_> = targets
            .map(|target| {
                self.probe(target, started, &permits)
                    .map(move |seen| (target, seen))
            })
            .collect();
        let mut controls = std::pin::pin!(self.controls());
        let mut report = Report::new(self.counts);
        let (mut network, mut held, mut asking) = (Network::Unsure, Vec::new(), true);
        loop {
            tokio::select! {
                answered = &mut controls, if asking => {
                    asking = false;
                    if network == Network::Unsure {
                        network = if answered { Network::Works } else { Network::Doubtful };
                    }
                }
                result = results.next() => {
                    let Some((target, observation)) = result else { break };
                    if !target.address.is_remote() {
                        self.take(target, &observation, &mut report);
                    } else if observation.seen == Seen::Failed && network != Network::Works {
                        held.push((target, observation));
                    } else {
                        if matches!(observation.seen, Seen::Good | Seen::Degraded) {
                            network = Network::Works;
                        }
                        self.take(target, &observation, &mut report);
                    }
                }
            }
            if network == Network::Works {
                self.release(&mut held, &mut report);
            }
        }
        if asking {
            network = if controls.await {
                Network::Works
            } else {
                Network::Doubtful
            };
        }
        self.end(network, held, &mut report);
        metric::probe_round(started.elapsed());
        report.finish()
    }

    /// What failed while nothing of the network answered: blindness, unless a control answers after all.
    fn end(&self, network: Network, mut held: Vec<(&'a Target, Observation)>, report: &mut Report) {
        if network == Network::Doubtful && !held.is_empty() {
            let why = format!(
                "all {} targets of the network and every control failed in one round; first: {}: {}",
                held.len(),
                held[0].0.name,
                held[0].1.why
            );
            for (target, observation) in &held {
                let unknown = Observation {
                    seen: Seen::Unknown,
                    why: "the prober is blind".to_owned(),
                    ..observation.clone()
                };
                self.take(target, &unknown, report);
            }
            report.blind = Some(why);
        } else {
            self.release(&mut held, report);
        }
        if self.counts {
            let now_ms = self.clock.now_ms();
            self.job.monitor.observe_prober(report.blind.as_deref(), now_ms);
        }
    }

    fn release(&self, held: &mut Vec<(&'a Target, Observation)>, report: &mut Report) {
        for (target, observation) in held.drain(..) {
            self.take(target, &observation, report);
        }
    }

    /// Reduces a result.
    fn take(&self, target: &Target, observation: &Observation, report: &mut Report) {
        if self.counts {
            self.job.monitor.observe(target, observation, self.clock.now_ms());
        }
        let level = self.job.monitor.state(&target.name).level;
        report.add(&target.name, target.address.kind(), observation, level);
    }

    async fn probe(&self, target: &Target, started: Instant, permits: &Semaphore) -> Observation {
        let planned = started + self.offset(&target.name);
        sleep_until(planned).await;
        let last = self.deadline.checked_sub(RESERVE).unwrap_or(self.deadline);
        let Ok(Ok(_permit)) = timeout_at(last, permits.acquire()).await else {
            return too_late(planned);
        };
        if self.counts {
            metric::probe_started_late(planned.elapsed());
        }
        // On the heap, so that the many that wait for their start do not hold the space of the largest kind of probe.
        let probing = Box::pin(self.job.prober.probe(target));
        let Ok(observation) = timeout_at(last, probing).await else {
            return too_late(planned);
        };
        observation.or_slow(self.job.settings.slow_after)
    }

    /// A person does not wait for what spares the targets.
    fn offset(&self, name: &str) -> Duration {
        if self.counts {
            offset(name, self.job.settings.spread)
        } else {
            Duration::ZERO
        }
    }

    /// Whether a control answers; true without any.
    async fn controls(&self) -> bool {
        if self.job.controls.is_empty() {
            return true;
        }
        let probing = self.job.controls.iter();
        let mut probing: FuturesUnordered<_> =
            probing.map(|control| self.job.prober.probe(control)).collect();
        while let Some(observation) = probing.next().await {
            if matches!(observation.seen, Seen::Good | Seen::Degraded) {
                return true;
            }
        }
        false
    }
}

fn too_late(planned: Instant) -> Observation {
    Observation {
        seen: Seen::Unknown,
        why:
            "not probed: the round had no time left; raise probes.concurrency or jobs.health-monitor.timeout"
                .to_owned(),
        took: planned.elapsed(),
    }
}

/// Where in the spread a target of this name starts: the same in every round and process.
fn offset(name: &str, spread: Duration) -> Duration {
    let hash = Sha256::digest(name);
    let bytes: [u8; 4] = [hash[0], hash[1], hash[2], hash[3]];
    let micros = u64::try_from(spread.as_micros()).unwrap_or(u64::MAX);
    let part = (u128::from(micros) * u128::from(u32::from_le_bytes(bytes))) >> 32;
    Duration::from_micros(u64::try_from(part).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_stable_and_fill_the_spread() {
        let spread = Duration::from_secs(10);
        let mut quarters = [0; 4];
        for n in 0..400 {
            let name = format!("target-{n}");
            let at = offset(&name, spread);
            assert!(at < spread);
            assert_eq!(at, offset(&name, spread));
            quarters[usize::try_from(at.as_millis() / 2500).unwrap()] += 1;
        }
        assert!(quarters.iter().all(|count| *count > 60), "{quarters:?}");
        assert_eq!(offset("a", Duration::ZERO), Duration::ZERO);
    }
}
