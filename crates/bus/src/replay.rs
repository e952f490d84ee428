//! [`replay`]: writes dead letters back to the topic that they were read from.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eidos_settings::KafkaSection;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use crate::consumer::{Client, MemberOptions, connect};
use crate::dead_letter::{self, ATTEMPTS, GROUP, OFFSET, PARTITION, REASON, REPLAYS, TIMESTAMP, TOPIC};
use crate::producer::{Producer, Record};
use crate::{BusError, Received, Topic, topics};

/// The limit of each question to a broker.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
/// A letter that is known to be there comes within this time.
const LETTER_TIMEOUT: Duration = Duration::from_secs(30);

/// What to replay.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReplayOptions {
    /// Only reads.
    pub dry_run: bool,
    /// At most this many letters. `None`: all that were there at the start.
    pub limit: Option<u64>,
}

/// A message that could not be handled.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DeadLetter {
    /// The partition of the dead-letter topic.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// The key. `None`: there is none, or it is not text.
    pub key: Option<String>,
    /// Why it could not be handled.
    pub reason: String,
    /// The group that could not handle it.
    pub group: String,
    /// The partition it was read from. `None`: the header is missing.
    pub original_partition: Option<i32>,
    /// Its offset there. `None`: the header is missing.
    pub original_offset: Option<i64>,
    /// Its timestamp there, in epoch milliseconds. `None`: it had none.
    pub original_timestamp_ms: Option<i64>,
    /// How often it was tried.
    pub attempts: u32,
    /// How often it was replayed before.
    pub replays: u32,
    /// The trace of its producer. `None`: it had none.
    pub traceparent: Option<String>,
}

/// Writes the dead letters of `topic` back to it, oldest first in each partition, and tells `each` about every one. A
/// letter is replayed once: the next replay starts after it. After a crash the last letter may be replayed twice, and
/// so may those of two replays at the same time. Returns how many there were.
pub async fn replay(
    settings: &KafkaSection,
    topic: &Topic,
    options: ReplayOptions,
    mut each: impl FnMut(&DeadLetter) + Send,
) -> Result<u64, BusError> {
    let letters = dead_letter::dead_letter_topic(settings, topic)?;
    let source = Source::open(settings, topic, letters)?;
    topics::require(
        &source.client,
        &settings.brokers,
        &[topic.clone(), source.letters.clone()],
    )
    .await?;
    let producer = Producer::connect(settings)?;
    let limit = options.limit.unwrap_or(u64::MAX);
    let mut count = 0;
    for part in source.parts().await? {
        if count >= limit {
            break;
        }
        source.read_from(&part)?;
        let mut next = part.from;
        while next < part.end && count < limit {
            let message = source.next(&part).await?;
            next = message.offset().saturating_add(1);
            // A topic for the dead letters of several topics has others between ours.
            if message.header(TOPIC) != Some(topic.as_str()) || message.offset() >= part.end {
                continue;
            }
            let letter = DeadLetter::of(&message);
            if !options.dry_run {
                write_back(&producer, topic, &message, letter.replays).await?;
                source.commit(&part, next).await?;
            }
            each(&letter);
            count += 1;
        }
    }
    Ok(count)
}

async fn write_back(
    producer: &Producer,
    topic: &Topic,
    message: &Received,
    replays: u32,
) -> Result<(), BusError> {
    use rdkafka::message::Message as _;
    let headers = dead_letter::kept(message, &[REPLAYS]);
    let record = Record {
        key: message.message().key(),
        payload: message.message().payload(),
        headers: dead_letter::add(headers, REPLAYS, &replays.saturating_add(1).to_string()),
    };
    producer.write(topic, record).await.map(drop)
}

impl DeadLetter {
    fn of(message: &Received) -> Self {
        let text = |name| message.header(name).unwrap_or_default().to_owned();
        Self {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(str::to_owned),
            reason: text(REASON),
            group: text(GROUP),
            original_partition: number(message, PARTITION),
            original_offset: number(message, OFFSET),
            original_timestamp_ms: number(message, TIMESTAMP),
            attempts: number(message, ATTEMPTS).unwrap_or_default(),
            replays: number(message, REPLAYS).unwrap_or_default(),
            traceparent: message.traceparent().map(str::to_owned),
        }
    }
}

fn number<T: std::str::FromStr>(message: &Received, header: &str) -> Option<T> {
    message.header(header)?.parse().ok()
}

/// The dead-letter topic, read without a group's assignment: its group only remembers what was replayed.
struct Source {
    client: Arc<Client>,
    letters: Topic,
}

/// One partition and the letters to replay, `from..end`.
#[derive(Debug, Clone, Copy)]
struct Part {
    partition: i32,
    from: i64,
    end: i64,
}

impl Source {
    fn open(settings: &KafkaSection, topic: &Topic, letters: Topic) -> Result<Self, BusError> {
        let group = format!("eidos-dead-letters-{topic}");
        Ok(Self {
            client: Arc::new(connect(settings, MemberOptions::reading(&group))?),
            letters,
        })
    }

    fn refused(&self, error: &KafkaError) -> BusError {
        BusError::Refused {
            topic: self.letters.to_string(),
            reason: error.to_string(),
        }
    }

    /// Returns the partitions with letters that were not replayed.
    async fn parts(&self) -> Result<Vec<Part>, BusError> {
        let (client, name) = (Arc::clone(&self.client), self.letters.to_string());
        let asked = tokio::task::spawn_blocking(move || parts(&client, &name));
        asked
            .await
            .map_err(|_join| BusError::Closed)?
            .map_err(|error| self.refused(&error))
    }

    fn read_from(&self, part: &Part) -> Result<(), BusError> {
        let mut start = TopicPartitionList::new();
        start
            .add_partition_offset(self.letters.as_str(), part.partition, Offset::Offset(part.from))
            .and_then(|()| self.client.assign(&start))
            .map_err(|error| self.refused(&error))
    }

    async fn next(&self, part: &Part) -> Result<Received, BusError> {
        let until = Instant::now() + LETTER_TIMEOUT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.client.recv()).await {
                Err(_elapsed) => {
                    return Err(BusError::Timeout {
                        topic: format!("{}[{}]", self.letters, part.partition),
                        waited: LETTER_TIMEOUT,
                    });
                }
                Ok(Ok(message)) => return Ok(Received::new(message.detach())),
                // The client tries again by itself.
                Ok(Err(error)) => tracing::warn!(topic = %self.letters, %error, "reading is interrupted"),
            }
        }
    }

    async fn commit(&self, part: &Part, next: i64) -> Result<(), BusError> {
        let mut done = TopicPartitionList::new();
        done.add_partition_offset(self.letters.as_str(), part.partition, Offset::Offset(next))
            .map_err(|error| self.refused(&error))?;
        let client = Arc::clone(&self.client);
        tokio::task::spawn_blocking(move || client.commit(&done, CommitMode::Sync))
            .await
            .map_err(|_join| BusError::Closed)?
            .map_err(|error| self.refused(&error))
    }
}

fn parts(client: &Client, letters: &str) -> Result<Vec<Part>, KafkaError> {
    let metadata = client.fetch_metadata(Some(letters), QUESTION_TIMEOUT)?;
    let mut all = TopicPartitionList::new();
    for partition in metadata
        .topics()
        .iter()
        .flat_map(rdkafka::metadata::MetadataTopic::partitions)
    {
        all.add_partition(letters, partition.id());
    }
    let replayed = client.committed_offsets(all, QUESTION_TIMEOUT)?;
    let mut parts = Vec::new();
    for element in replayed.elements() {
        let partition = element.partition();
        let (low, end) = client.fetch_watermarks(letters, partition, QUESTION_TIMEOUT)?;
        let from = match element.offset() {
            Offset::Offset(next) => next.max(low),
            _ => low,
        };
        if from < end {
            parts.push(Part { partition, from, end });
        }
    }
    Ok(parts)
}
