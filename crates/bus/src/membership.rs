//! [`Membership`]: what the client tells in callbacks about itself, and the offsets to commit.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::{Offset, TopicPartitionList};

/// A topic and one of its partitions.
pub(crate) type Place = (String, i32);

/// The state of one member of a group, as its client reports it.
#[derive(Debug)]
pub(crate) struct Membership {
    group: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The words of the client for what it is doing while it is not in the group. `None`: it is in the group.
    joining: Option<String>,
    /// Since when `joining` is what it is, `None` or not.
    since: Instant,
    answered: Option<Instant>,
    last_error: Option<String>,
    lag: BTreeMap<Place, u64>,
    /// The next offsets of handled messages that are not known to be committed.
    done: BTreeMap<Place, i64>,
    /// Since when `done` is not empty, or its last commit.
    uncommitted_since: Option<Instant>,
    committing: bool,
}

/// How a member is.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// `None`: it is in the group.
    pub(crate) joining: Option<String>,
    /// For how long it has been in the group, or outside of it.
    pub(crate) for_long: Duration,
    /// `None`: no broker has answered yet.
    pub(crate) answered_ago: Option<Duration>,
    /// For how long a commit has been due; zero when none is.
    pub(crate) uncommitted_for: Duration,
    pub(crate) last_error: Option<String>,
    pub(crate) lag: BTreeMap<Place, u64>,
}

impl Membership {
    pub(crate) fn new(group: &str) -> Self {
        Self {
            group: group.to_owned(),
            state: Mutex::new(State {
                joining: Some("starting".to_owned()),
                since: Instant::now(),
                answered: None,
                last_error: None,
                lag: BTreeMap::new(),
                done: BTreeMap::new(),
                uncommitted_since: None,
                committing: false,
            }),
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let state = self.state();
        Snapshot {
            joining: state.joining.clone(),
            for_long: state.since.elapsed(),
            answered_ago: state.answered.map(|at| at.elapsed()),
            uncommitted_for: state
                .uncommitted_since
                .map_or(Duration::ZERO, |since| since.elapsed()),
            last_error: state.last_error.clone(),
            lag: state.lag.clone(),
        }
    }

    /// Notes that everything in `place` before `next` is done.
    pub(crate) fn done(&self, place: Place, next: i64) {
        let mut state = self.state();
        state.done.insert(place, next);
        state.uncommitted_since.get_or_insert_with(Instant::now);
    }

    /// Returns the offset that this process will commit for `place`. `None`: nothing is due.
    pub(crate) fn due(&self, place: &Place) -> Option<i64> {
        self.state().done.get(place).copied()
    }

    pub(crate) fn has_due(&self) -> bool {
        !self.state().done.is_empty()
    }

    /// Returns what to commit, and notes that somebody does. `None`: nothing is due, or a commit is under way.
    pub(crate) fn begin_commit(&self) -> KafkaResult<Option<TopicPartitionList>> {
        let mut state = self.state();
        if state.committing || state.done.is_empty() {
            return Ok(None);
        }
        let offsets = list(state.done.iter())?;
        state.committing = true;
        Ok(Some(offsets))
    }

    /// Notes how the commit of `offsets` ended.
    pub(crate) fn end_commit(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let mut state = self.state();
        state.committing = false;
        if let Err(error) = result {
            tracing::warn!(
                group = %self.group, %error,
                "the commit failed; it is sent again while the partitions are this member's"
            );
            state.last_error = Some(error.to_string());
            return;
        }
        for element in offsets.elements() {
            let place = (element.topic().to_owned(), element.partition());
            if let (Offset::Offset(committed), Some(&next)) = (element.offset(), state.done.get(&place))
                && committed >= next
            {
                state.done.remove(&place);
            }
        }
        state.uncommitted_since = (!state.done.is_empty()).then(Instant::now);
    }

    /// Commits and forgets what is done in partitions that this member loses; whoever gets them starts there.
    fn give_up(&self, client: &BaseConsumer<Self>, lost: &TopicPartitionList) {
        let mut given_up = BTreeMap::new();
        {
            let mut state = self.state();
            for element in lost.elements() {
                let place = (element.topic().to_owned(), element.partition());
                if let Some(lag) = state.lag.get_mut(&place) {
                    *lag = 0;
                }
                if let Some(next) = state.done.remove(&place) {
                    given_up.insert(place, next);
                }
            }
            if state.done.is_empty() {
                state.uncommitted_since = None;
            }
        }
        if given_up.is_empty() {
            return;
        }
        // Not waited for: the client sends it before it leaves the partitions. If it fails they are read again.
        let sent = list(given_up.iter()).and_then(|offsets| client.commit(&offsets, CommitMode::Async));
        if let Err(error) = sent {
            tracing::warn!(group = %self.group, %error, "the last commit of revoked partitions was not sent");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn set_joining(&mut self, joining: Option<String>) {
        if self.joining.is_some() != joining.is_some() {
            self.since = Instant::now();
        }
        self.joining = joining;
    }
}

fn list<'a>(offsets: impl Iterator<Item = (&'a Place, &'a i64)>) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for ((topic, partition), next) in offsets {
        list.add_partition_offset(topic, *partition, Offset::Offset(*next))?;
    }
    Ok(list)
}

impl ClientContext for Membership {
    fn stats(&self, statistics: Statistics) {
        let newest = statistics
            .brokers
            .values()
            .filter_map(|broker| u64::try_from(broker.rxidle).ok())
            .min();
        let mut state = self.state();
        if let Some(idle) = newest {
            state.answered = Instant::now().checked_sub(Duration::from_micros(idle));
        }
        if let Some(group) = &statistics.cgrp {
            let joined = group.state == "up" && group.join_state == "steady";
            state.set_joining((!joined).then(|| format!("{}, {}", group.state, group.join_state)));
        }
        for topic in statistics.topics.values() {
            for partition in topic.partitions.values().filter(|partition| partition.desired) {
                // -1: not known yet.
                if let Ok(lag) = u64::try_from(partition.consumer_lag) {
                    state.lag.insert((topic.topic.clone(), partition.partition), lag);
                }
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(group = %self.group, %error, reason, "the kafka client reports");
        self.state().last_error = Some(format!("{error}: {reason}"));
    }
}

impl ConsumerContext for Membership {
    fn pre_rebalance(&self, client: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(lost) = rebalance {
            self.give_up(client, lost);
        }
    }

    fn post_rebalance(&self, _client: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                tracing::info!(group = %self.group, partitions = list.count(), "partitions are assigned");
            }
            Rebalance::Revoke(list) => {
                tracing::info!(group = %self.group, partitions = list.count(), "partitions are revoked");
            }
            Rebalance::Error(error) => {
                tracing::warn!(group = %self.group, %error, "the rebalance failed");
            }
        }
    }
}
