//! [`cluster`]: what the brokers say of themselves, asked without a client of a group.
//!
//! The client library says neither who the controller is nor where its memory ends when an answer is not Kafka's. One request of
//! the protocol says the first and is bounded in time and bytes.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::BusError;

/// The request for metadata, in a version that every broker since 0.11 has.
const METADATA: i16 = 3;
const VERSION: i16 = 4;
/// Names the answer.
const CORRELATION: i32 = 1;
/// A cluster of a hundred thousand partitions fits.
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;

/// The cluster as one broker sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// The ids of brokers that are alive.
    pub brokers: Vec<i32>,
    /// The broker that takes changes; `None`: there is none.
    pub controller: Option<i32>,
    /// How many partitions there are.
    pub partitions: usize,
    /// Partitions with fewer replicas in step than there should be, `topic[partition]`.
    pub under_replicated: Vec<String>,
    /// Partitions that nobody can write to or read from, `topic[partition]`.
    pub without_leader: Vec<String>,
}

/// Asks `brokers`, `host:port` each, and takes the first answer within `limit`.
///
/// # Errors
/// [`BusError::Unreachable`] with what the last one said.
pub async fn cluster(brokers: &[String], limit: Duration) -> Result<Cluster, BusError> {
    let unreachable = |reason: String| BusError::Unreachable {
        brokers: brokers.to_vec(),
        waited: limit,
        reason,
    };
    // All at once: one that does not answer takes no time from the others.
    let asking = async {
        let mut last = "no broker is named".to_owned();
        let mut answers: FuturesUnordered<_> = brokers.iter().map(|broker| ask(broker)).collect();
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(cluster) => return Ok(cluster),
                Err(reason) => last = reason,
            }
        }
        Err(last)
    };
    match tokio::time::timeout(limit, asking).await {
        Ok(answer) => answer.map_err(unreachable),
        Err(_elapsed) => Err(unreachable("it did not answer".to_owned())),
    }
}

async fn ask(broker: &str) -> Result<Cluster, String> {
    let text = |error: std::io::Error| format!("{broker}: {error}");
    let mut stream = TcpStream::connect(broker).await.map_err(text)?;
    stream.write_all(&request()).await.map_err(text)?;
    let length = stream.read_i32().await.map_err(text)?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= LONGEST_ANSWER)
        .ok_or_else(|| format!("{broker}: its answer would have {length} bytes: is it Kafka?"))?;
    let mut answer = Vec::new();
    let bound = u64::try_from(length).unwrap_or(u64::MAX);
    stream.take(bound).read_to_end(&mut answer).await.map_err(text)?;
    if answer.len() < length {
        return Err(format!(
            "{broker}: it closed after {} of {length} bytes",
            answer.len()
        ));
    }
    read(&answer).ok_or_else(|| format!("{broker}: its answer is not Kafka's"))
}

/// All topics, and none is to be created.
fn request() -> Vec<u8> {
    const CLIENT: &[u8] = b"eidos";
    let mut body = Vec::new();
    body.extend_from_slice(&METADATA.to_be_bytes());
    body.extend_from_slice(&VERSION.to_be_bytes());
    body.extend_from_slice(&CORRELATION.to_be_bytes());
    body.extend_from_slice(&5_i16.to_be_bytes());
    body.extend_from_slice(CLIENT);
    body.extend_from_slice(&(-1_i32).to_be_bytes());
    body.push(0);
    let length = i32::try_from(body.len()).unwrap_or(i32::MAX);
    [length.to_be_bytes().as_slice(), &body].concat()
}

/// The rest of an answer. Counts are never believed before their bytes are there.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn i16(&mut self) -> Option<i16> {
        self.take().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    /// A text, or nothing for one that is null.
    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.i16()?).unwrap_or_default();
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(String::from_utf8_lossy(taken).into_owned())
    }

    fn list<T>(&mut self, mut entry: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.i32()?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(entry(self)?);
        }
        Some(list)
    }
}

fn read(answer: &[u8]) -> Option<Cluster> {
    let mut bytes = Bytes(answer);
    (bytes.i32()? == CORRELATION).then_some(())?;
    let _throttled_ms = bytes.i32()?;
    let brokers = bytes.list(|bytes| {
        let id = bytes.i32()?;
        let _host = bytes.text()?;
        let _port = bytes.i32()?;
        let _rack = bytes.text()?;
        Some(id)
    })?;
    let _cluster_id = bytes.text()?;
    let controller = bytes.i32()?;
    let mut cluster = Cluster {
        brokers,
        controller: (controller >= 0).then_some(controller),
        ..Cluster::default()
    };
    bytes.list(|bytes| topic(bytes, &mut cluster))?;
    Some(cluster)
}

fn topic(bytes: &mut Bytes<'_>, cluster: &mut Cluster) -> Option<()> {
    let _error = bytes.i16()?;
    let topic = bytes.text()?;
    let [_is_internal] = bytes.take()?;
    let partitions = bytes.list(|bytes| {
        let _error = bytes.i16()?;
        let (partition, leader) = (bytes.i32()?, bytes.i32()?);
        let replicas = bytes.list(Bytes::i32)?;
        let in_step = bytes.list(Bytes::i32)?;
        Some((partition, leader, replicas.len(), in_step.len()))
    })?;
    for (partition, leader, replicas, in_step) in partitions {
        cluster.partitions += 1;
        if leader < 0 {
            cluster.without_leader.push(format!("{topic}[{partition}]"));
        } else if in_step < replicas {
            cluster.under_replicated.push(format!("{topic}[{partition}]"));
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 4 as Kafka's own documents describe it: one broker of two is left.
    fn answer(controller: i32, leader: i32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let text = |bytes: &mut Vec<u8>, text: &str| {
            bytes.extend_from_slice(&i16::try_from(text.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        };
        for number in [CORRELATION, 0, 1, 7] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        text(&mut bytes, "host");
        bytes.extend_from_slice(&9092_i32.to_be_bytes());
        bytes.extend_from_slice(&(-1_i16).to_be_bytes());
        text(&mut bytes, "cluster");
        bytes.extend_from_slice(&controller.to_be_bytes());
        bytes.extend_from_slice(&1_i32.to_be_bytes());
        bytes.extend_from_slice(&0_i16.to_be_bytes());
        text(&mut bytes, "orders");
        bytes.push(0);
        bytes.extend_from_slice(&1_i32.to_be_bytes());
        bytes.extend_from_slice(&0_i16.to_be_bytes());
        for number in [3, leader, 2, 7, 8, 1, 7] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn an_answer_is_read_and_a_part_of_one_is_none() {
        let found = read(&answer(7, 7)).unwrap();
        assert_eq!(
            (found.brokers.as_slice(), found.controller),
            ([7].as_slice(), Some(7))
        );
        assert_eq!(
            (found.partitions, found.under_replicated),
            (1, vec!["orders[3]".to_owned()])
        );
        let found = read(&answer(-1, -1)).unwrap();
        assert_eq!(
            (found.controller, found.without_leader),
            (None, vec!["orders[3]".to_owned()])
        );
        let whole = answer(7, 7);
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), None, "{length}");
        }
        // A count that is not there is not believed.
        let mut huge = whole[..8].to_vec();
        huge.extend_from_slice(&i32::MAX.to_be_bytes());
        assert_eq!(read(&huge), None);
    }
}
