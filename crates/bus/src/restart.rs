//! Where a partition starts again when its offset cannot be used.
//!
//! With `auto.offset.reset=error` librdkafka reports such a partition once and then reads nothing more from it: a seek is
//! refused, an assignment with an offset is what starts it. All partitions of the member are looked at, since the
//! report does not name one.

use std::sync::Arc;
use std::time::Duration;

use eidos_settings::OffsetReset;
use rdkafka::consumer::{Consumer as _, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};

use crate::BusError;
use crate::consumer::Client;
use crate::membership::Place;

/// The limit of each question to a broker.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);

/// A partition that started at another offset than its group's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Restarted {
    pub(crate) place: Place,
    /// Where the group was. `None`: it had no offset.
    pub(crate) was_at: Option<i64>,
    pub(crate) starts_at: i64,
    /// Offsets between where the group was and the log.
    pub(crate) lost: u64,
}

/// What to do with a partition.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// Its offset is in the log.
    Continue { at: i64 },
    /// It starts elsewhere.
    Start { at: i64, lost: u64 },
    /// An operator decides.
    Fail { lost: u64 },
}

/// Decides for a log of the offsets `low..high`.
fn decide(next: Option<i64>, low: i64, high: i64, reset: OffsetReset) -> Decision {
    let lost = match next {
        Some(next) if (low..=high).contains(&next) => return Decision::Continue { at: next },
        Some(next) if next < low => next.abs_diff(low),
        Some(next) => next.abs_diff(high),
        None => 0,
    };
    match reset {
        OffsetReset::Earliest => Decision::Start { at: low, lost },
        OffsetReset::Latest => Decision::Start { at: high, lost },
        OffsetReset::Fail => Decision::Fail { lost },
    }
}

/// Starts every partition of `client` whose offset cannot be used where `reset` says, and the others where they were.
pub(crate) async fn restart(
    client: &Arc<Client>,
    group: &str,
    reset: OffsetReset,
) -> Result<Vec<Restarted>, BusError> {
    let (client, group) = (Arc::clone(client), group.to_owned());
    tokio::task::spawn_blocking(move || restart_blocking(&client, &group, reset))
        .await
        .map_err(|_join| BusError::Closed)?
}

fn restart_blocking(client: &Client, group: &str, reset: OffsetReset) -> Result<Vec<Restarted>, BusError> {
    let failed = |error: KafkaError| BusError::Group {
        group: group.to_owned(),
        reason: format!("the offsets to start at cannot be read: {error}"),
    };
    let assigned = client.assignment().map_err(failed)?;
    let committed = client
        .committed_offsets(assigned, QUESTION_TIMEOUT)
        .map_err(failed)?;
    let mut starts = TopicPartitionList::new();
    let mut restarted = Vec::new();
    for element in committed.elements() {
        let place: Place = (element.topic().to_owned(), element.partition());
        let stored = match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        let next = client.context().due(&place).or(stored);
        let (low, high) = client
            .fetch_watermarks(&place.0, place.1, QUESTION_TIMEOUT)
            .map_err(failed)?;
        let at = match decide(next, low, high, reset) {
            Decision::Continue { at } => at,
            Decision::Start { at, lost } => {
                restarted.push(Restarted {
                    place: place.clone(),
                    was_at: next,
                    starts_at: at,
                    lost,
                });
                at
            }
            Decision::Fail { lost } => {
                return Err(BusError::NoUsableOffset {
                    group: group.to_owned(),
                    topic: place.0,
                    partition: place.1,
                    next,
                    low,
                    high,
                    lost,
                });
            }
        };
        starts
            .add_partition_offset(&place.0, place.1, Offset::Offset(at))
            .map_err(failed)?;
    }
    assign(client, &starts).map_err(failed)?;
    Ok(restarted)
}

fn assign(client: &Client, starts: &TopicPartitionList) -> KafkaResult<()> {
    match client.rebalance_protocol() {
        RebalanceProtocol::Cooperative => {
            client.incremental_unassign(starts)?;
            client.incremental_assign(starts)
        }
        RebalanceProtocol::None | RebalanceProtocol::Eager => client.assign(starts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_in_the_log_is_kept_whatever_the_setting() {
        for reset in [OffsetReset::Earliest, OffsetReset::Latest, OffsetReset::Fail] {
            for next in [5, 7, 9] {
                assert_eq!(decide(Some(next), 5, 9, reset), Decision::Continue { at: next });
            }
        }
    }

    #[test]
    fn a_gap_is_counted_on_both_sides() {
        use OffsetReset::{Earliest, Fail, Latest};
        let start = |at, lost| Decision::Start { at, lost };
        assert_eq!(decide(Some(2), 5, 9, Earliest), start(5, 3));
        assert_eq!(decide(Some(2), 5, 9, Latest), start(9, 3));
        assert_eq!(decide(Some(12), 5, 9, Earliest), start(5, 3));
        assert_eq!(decide(None, 5, 9, Earliest), start(5, 0));
        assert_eq!(decide(None, 5, 9, Latest), start(9, 0));
        assert_eq!(decide(Some(2), 5, 9, Fail), Decision::Fail { lost: 3 });
        assert_eq!(decide(None, 5, 9, Fail), Decision::Fail { lost: 0 });
    }
}
