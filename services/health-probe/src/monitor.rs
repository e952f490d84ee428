//! [`Monitor`]: what is known of every target and what every receiver was told; in memory, and in the state file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eidos_alerting::{Alert, Desk, EpisodeId, Fingerprint, Severity};
use eidos_telemetry::metric;
use eidos_types::Clock;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::claims::{Claims, Situation};
use crate::domain::address::TARGET_ALERTS;
use crate::domain::observation::{Observation, Seen};
use crate::domain::reducer::{Level, Rules, TargetState, Transition, step};
use crate::domain::vote::{Ballot, Rule, count};
use crate::probes::Target;
use crate::state_file::StateFile;

/// The alert about the prober itself.
const BLIND_ALERT: &str = "ProberBlind";
/// How the prober itself is called in reports and logs.
const PROBER: &str = "prober";
/// A disk that does not answer delays an alert by no more than this.
const SAVE_LIMIT: Duration = Duration::from_secs(1);
/// Of the state file; a file of another version is put aside.
const VERSION: u32 = 2;

/// What is known. Shared by the job and the workers.
#[derive(Debug)]
pub struct Monitor {
    rules: Rules,
    vote: Rule,
    /// A hash of the names and kinds of the targets.
    ballot_targets: String,
    /// What each target cannot work without, over others as well.
    dependencies: BTreeMap<String, BTreeSet<String>>,
    inner: Mutex<Inner>,
    /// Counts changes; whoever delivers waits for it.
    changes: watch::Sender<u64>,
    file: Option<StateFile>,
    /// The change that the file has. One save at a time.
    saved: tokio::sync::Mutex<u64>,
    seeing_round_ms: AtomicI64,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Inner {
    version: u32,
    /// The slot of the newest round, epoch milliseconds.
    round_ms: i64,
    targets: BTreeMap<String, TargetState>,
    prober: TargetState,
    desk: Desk,
    /// The alerts of targets.
    claims: Claims,
    /// What the other probers say; empty: there are none, or they are not known.
    #[serde(skip)]
    others: Vec<Ballot>,
}

impl Monitor {
    /// Starts from the state file. A file that cannot be read is put aside: watching anew is better than not at all.
    pub async fn open(
        rules: Rules,
        vote: Rule,
        targets: &[Target],
        sinks: Vec<String>,
        file: Option<StateFile>,
        clock: &dyn Clock,
    ) -> Self {
        let reading = file.clone();
        let stored = tokio::task::spawn_blocking(move || reading.and_then(|file| stored(&file)));
        let mut inner = stored.await.ok().flatten().unwrap_or_default();
        inner.version = VERSION;
        inner.desk.set_sinks(sinks);
        inner.forget_others(targets, clock.now_ms());
        Self {
            rules,
            vote,
            ballot_targets: hash(targets),
            dependencies: dependencies(targets),
            inner: Mutex::new(inner),
            changes: watch::Sender::new(0),
            file,
            saved: tokio::sync::Mutex::new(0),
            seeing_round_ms: AtomicI64::new(0),
        }
    }

    /// Whether the round of this slot counts: a slot counts once.
    pub fn begin_round(&self, slot_ms: i64) -> bool {
        let mut inner = self.inner();
        let is_new = slot_ms > inner.round_ms;
        if is_new {
            inner.round_ms = slot_ms;
        }
        is_new
    }

    /// Adds the result of a probe. Receivers are told at once of what it changes.
    pub fn observe(&self, target: &Target, observation: &Observation, now_ms: i64) {
        let kind = target.address.kind();
        let labels = BTreeMap::from([
            ("kind".to_owned(), kind.to_owned()),
            ("target".to_owned(), target.name.clone()),
        ]);
        let mut inner = self.inner();
        let state = inner.targets.entry(target.name.clone()).or_default();
        let transition = step(state, observation.seen, now_ms, &self.rules);
        let is_flapping = state.is_flapping(now_ms, &self.rules);
        show(&target.name, kind, state);
        metric::probed(&target.name, kind, observation.seen.as_str(), observation.took);
        if let Some(transition) = transition {
            let alert = target.address.alert();
            let about = About {
                alert: alert.name,
                subject: &target.name,
                runbook: alert.runbook,
                labels,
                is_flapping,
            };
            if let Some(alert) = about.alert(observation, transition) {
                inner.claims.claim(&target.name, alert);
            }
            self.settle(&mut inner, &target.name, now_ms);
        }
        drop(inner);
        if transition.is_some() {
            self.changed();
        }
    }

    /// Records whether the prober saw anything in a round.
    pub fn observe_prober(&self, blind: Option<&str>, now_ms: i64) {
        metric::prober_blind(blind.is_some());
        let observation = Observation {
            seen: if blind.is_some() { Seen::Failed } else { Seen::Good },
            why: blind.unwrap_or_default().to_owned(),
            took: Duration::ZERO,
        };
        let mut inner = self.inner();
        let transition = step(&mut inner.prober, observation.seen, now_ms, &self.rules);
        if let Some(transition) = transition {
            let about = About {
                alert: BLIND_ALERT,
                subject: PROBER,
                runbook: "prober-blind.md",
                labels: BTreeMap::new(),
                is_flapping: false,
            };
            match (about.alert(&observation, transition), transition) {
                (Some(alert), _) => inner.desk.raise(alert),
                (None, Transition::Resolved { opened_at_ms }) => {
                    let fingerprint = Fingerprint::of(BLIND_ALERT, &BTreeMap::new());
                    let episode = EpisodeId::of(&fingerprint, opened_at_ms);
                    inner.desk.resolve(&episode, now_ms);
                }
                (None, Transition::Raised { .. }) => {}
            }
        }
        drop(inner);
        if transition.is_some() {
            self.changed();
        }
    }

    /// The state of a target.
    #[must_use]
    pub fn state(&self, target: &str) -> TargetState {
        self.inner().targets.get(target).cloned().unwrap_or_default()
    }

    /// Sets the gauges of targets as they are known.
    pub fn show(&self, targets: &[Target]) {
        let inner = self.inner();
        let fresh = TargetState::default();
        for target in targets {
            let state = inner.targets.get(&target.name).unwrap_or(&fresh);
            show(&target.name, target.address.kind(), state);
        }
        inner.show_open();
    }

    /// Works on what receivers were told, and remembers that it may have changed.
    pub fn with_desk<T>(&self, work: impl FnOnce(&mut Desk) -> T) -> T {
        let result = work(&mut self.inner().desk);
        self.changes.send_modify(|changes| *changes += 1);
        result
    }

    /// Looks at what receivers were told.
    pub fn look_at_desk<T>(&self, look: impl FnOnce(&Desk) -> T) -> T {
        look(&self.inner().desk)
    }

    /// Changes are seen there.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Replaces the state file if anything has changed since the last time. Never an error: a prober that cannot write still
    /// probes, and says so.
    pub async fn save(&self) {
        let Some(file) = &self.file else { return };
        let outcome = tokio::time::timeout(SAVE_LIMIT, self.save_to(file)).await;
        let reason = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(reason)) => reason,
            Err(_elapsed) => format!("it took longer than {SAVE_LIMIT:?}"),
        };
        metric::probe_state_save_failed();
        tracing::warn!(path = %file.path().display(), reason, "the state is not saved: a restart would forget it");
    }

    async fn save_to(&self, file: &StateFile) -> Result<(), String> {
        let mut saved = self.saved.lock().await;
        let change = *self.changes.borrow();
        if change == *saved {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&*self.inner()).map_err(|error| error.to_string())?;
        let file = file.clone();
        let writing = tokio::task::spawn_blocking(move || file.replace(&bytes));
        writing
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        *saved = change;
        metric::probe_state_saved();
        Ok(())
    }

    /// A round is over: its counts are worth saving too. `saw`: the prober was not blind in it.
    pub fn end_round(&self, saw: bool, now_ms: i64) {
        let round_ms = {
            let mut inner = self.inner();
            self.settle_all(&mut inner, now_ms);
            inner.show_open();
            inner.round_ms
        };
        if saw {
            self.seeing_round_ms.store(round_ms, Ordering::Relaxed);
        }
        self.changed();
    }

    /// The slot of the newest round of this process that ended and saw something, epoch milliseconds; 0: none has.
    #[must_use]
    pub fn seeing_round_ms(&self) -> i64 {
        self.seeing_round_ms.load(Ordering::Relaxed)
    }

    /// What this prober says to the others.
    #[must_use]
    pub fn ballot(&self) -> Ballot {
        let inner = self.inner();
        let unknown = inner.targets.iter().filter(|(_, state)| !state.is_known());
        let failing = inner.targets.iter().filter(|(_, state)| state.level != Level::Ok);
        Ballot {
            targets: self.ballot_targets.clone(),
            failing: failing.map(|(name, state)| (name.clone(), state.level)).collect(),
            unknown: unknown.map(|(name, _)| name.clone()).collect(),
        }
    }

    /// Records what the other probers say, empty if they are not known, and decides on every alert anew. Returns how many of
    /// them look at the same targets.
    pub fn hear(&self, others: Vec<Ballot>, now_ms: i64) -> usize {
        let mut inner = self.inner();
        inner.others = others;
        inner.others.retain(|other| other.targets == self.ballot_targets);
        let voting = inner.others.len();
        let changed = self.settle_all(&mut inner, now_ms);
        metric::alerts_outvoted(inner.claims.outvoted());
        drop(inner);
        if changed {
            self.changed();
        }
        voting
    }

    /// Whether this prober wants an alert open.
    #[must_use]
    pub fn has_claims(&self) -> bool {
        !self.inner().claims.is_empty()
    }

    fn settle_all(&self, inner: &mut Inner, now_ms: i64) -> bool {
        let targets: Vec<String> = inner.claims.targets().cloned().collect();
        let changes = targets.iter().map(|target| self.settle(inner, target, now_ms));
        changes.fold(false, |changed, one| changed | one)
    }

    fn settle(&self, inner: &mut Inner, target: &str, now_ms: i64) -> bool {
        let state = inner.targets.get(target);
        let level = state.map_or(Level::Ok, |state| state.level);
        let own = state.filter(|state| state.is_known()).map(|state| state.level);
        let mut says: Vec<Option<Level>> = inner.others.iter().map(|other| other.of(target)).collect();
        says.push(own);
        let others = self.dependencies.get(target);
        let situation = Situation {
            fails: level != Level::Ok,
            together: count(self.vote, &says),
            dependency_fails: others.is_some_and(|others| inner.any_fails(others)),
        };
        inner.claims.settle(target, situation, &mut inner.desk, now_ms)
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an alert is about.
struct About<'a> {
    alert: &'static str,
    subject: &'a str,
    runbook: &'static str,
    labels: BTreeMap<String, String>,
    is_flapping: bool,
}

impl About<'_> {
    /// The alert as it is after a transition; `None`: it is over.
    fn alert(&self, observation: &Observation, transition: Transition) -> Option<Alert> {
        let Transition::Raised { opened_at_ms, level } = transition else {
            tracing::info!(target_name = self.subject, "recovered");
            return None;
        };
        tracing::warn!(
            target_name = self.subject,
            level = level.as_str(),
            why = observation.why,
            "the level has changed"
        );
        let mut annotations = BTreeMap::from([
            (
                "summary".to_owned(),
                format!("{}: {}", self.subject, observation.why),
            ),
            ("runbook".to_owned(), self.runbook.to_owned()),
        ]);
        if self.is_flapping {
            let text = "it keeps going up and down; the alert stays open until it was good for longer";
            annotations.insert("flapping".to_owned(), text.to_owned());
        }
        let fingerprint = Fingerprint::of(self.alert, &self.labels);
        Some(Alert {
            name: self.alert.to_owned(),
            labels: self.labels.clone(),
            annotations,
            severity: if level == Level::Critical {
                Severity::Critical
            } else {
                Severity::Warning
            },
            starts_at_ms: opened_at_ms,
            episode: EpisodeId::of(&fingerprint, opened_at_ms),
        })
    }
}

impl Inner {
    /// One failure is enough: what depends on it may have been asked first.
    fn any_fails(&self, targets: &BTreeSet<String>) -> bool {
        let mut states = targets.iter().filter_map(|target| self.targets.get(target));
        states.any(|state| state.level == Level::Critical || state.failures > 0)
    }

    /// Forgets targets that are no longer configured, and ends their alerts.
    fn forget_others(&mut self, targets: &[Target], now_ms: i64) {
        let known: BTreeSet<(&str, &str)> = targets
            .iter()
            .map(|target| (target.name.as_str(), target.address.kind()))
            .collect();
        let label = |alert: &Alert, name: &str| alert.labels.get(name).cloned().unwrap_or_default();
        let others: Vec<EpisodeId> = self
            .desk
            .open()
            .filter(|alert| {
                TARGET_ALERTS
                    .iter()
                    .any(|of_targets| of_targets.name == alert.name)
            })
            .filter(|alert| {
                !known.contains(&(label(alert, "target").as_str(), label(alert, "kind").as_str()))
            })
            .map(|alert| alert.episode.clone())
            .collect();
        for episode in others {
            self.desk.resolve(&episode, now_ms);
        }
        let is_known = |target: &str, alert: &Alert| known.contains(&(target, label(alert, "kind").as_str()));
        self.claims.forget_others(is_known, &mut self.desk, now_ms);
        let claimed: BTreeSet<String> = self.claims.targets().cloned().collect();
        self.targets.retain(|name, state| {
            let is_known = targets.iter().any(|target| target.name == *name);
            // A target that is asked in another way begins anew.
            is_known && (state.level == Level::Ok || claimed.contains(name))
        });
    }

    fn show_open(&self) {
        for severity in [Severity::Warning, Severity::Critical] {
            let open = self.desk.open().filter(|alert| alert.severity == severity);
            metric::alerts_open(severity.as_str(), open.count() as u64);
        }
    }
}

/// Of the names and kinds of targets: probers that look at the same have the same.
fn hash(targets: &[Target]) -> String {
    let mut names: Vec<(&str, &str)> = targets
        .iter()
        .map(|target| (target.name.as_str(), target.address.kind()))
        .collect();
    names.sort_unstable();
    let mut hash = Sha256::new();
    for (name, kind) in names {
        hash.update(format!("{kind} {name}\n"));
    }
    hex::encode(&hash.finalize()[..16])
}

/// Everything that each target depends on.
fn dependencies(targets: &[Target]) -> BTreeMap<String, BTreeSet<String>> {
    let direct: BTreeMap<&str, &[String]> = targets
        .iter()
        .map(|target| (target.name.as_str(), target.depends_on.as_slice()))
        .collect();
    let all = targets.iter().filter(|target| !target.depends_on.is_empty());
    let all = all.map(|target| {
        let mut found = BTreeSet::new();
        let mut left: Vec<&String> = target.depends_on.iter().collect();
        while let Some(name) = left.pop() {
            if found.insert(name.clone()) {
                left.extend(direct.get(name.as_str()).copied().unwrap_or_default());
            }
        }
        (target.name.clone(), found)
    });
    all.collect()
}

fn show(target: &str, kind: &'static str, state: &TargetState) {
    let level = match state.level {
        Level::Ok if state.is_known() => 0,
        Level::Ok => 3,
        Level::Warning => 1,
        Level::Critical => 2,
    };
    metric::probe_level(target, kind, level);
    metric::probe_failures_in_a_row(target, kind, u64::from(state.failures));
}

fn stored(file: &StateFile) -> Option<Inner> {
    let bytes = match file.read() {
        Ok(bytes) => bytes?,
        Err(error) => {
            tracing::error!(path = %file.path().display(), %error, "the state cannot be read: it begins anew");
            return None;
        }
    };
    let reason = match serde_json::from_slice::<Inner>(&bytes) {
        Ok(inner) if inner.version == VERSION => return Some(inner),
        Ok(inner) => format!("it has version {}, not {VERSION}", inner.version),
        Err(error) => error.to_string(),
    };
    let put_aside = file.put_aside();
    tracing::error!(path = %file.path().display(), reason, put_aside = put_aside.is_ok(),
        "the state is not understood: it begins anew");
    None
}
