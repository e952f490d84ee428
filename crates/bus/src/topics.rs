//! Which topics exist. Kafka never tells a consumer that its topic is missing.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::MetadataTopic;

use crate::consumer::Client;
use crate::{BusError, Topic};

/// The limit of one question.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

/// Checks that the brokers have all of `topics`.
pub(crate) async fn require(
    client: &Arc<Client>,
    brokers: &[String],
    topics: &[Topic],
) -> Result<(), BusError> {
    let (client, asked) = (Arc::clone(client), topics.to_vec());
    let missing = tokio::task::spawn_blocking(move || missing(&client, &asked))
        .await
        .map_err(|_join| BusError::Closed)?
        .map_err(|reason| BusError::Unreachable {
            brokers: brokers.to_vec(),
            waited: QUESTION_TIMEOUT,
            reason,
        })?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(BusError::MissingTopics {
        brokers: brokers.to_vec(),
        topics: missing,
    })
}

/// Asks for each topic by name, which needs no right to see the others.
fn missing(client: &Client, topics: &[Topic]) -> Result<Vec<String>, String> {
    let mut missing = Vec::new();
    for topic in topics {
        let metadata = client
            .fetch_metadata(Some(topic.as_str()), QUESTION_TIMEOUT)
            .map_err(|error| error.to_string())?;
        let answer = metadata
            .topics()
            .iter()
            .find(|found| found.name() == topic.as_str());
        let code = answer.and_then(MetadataTopic::error).map(RDKafkaErrorCode::from);
        match code {
            Some(code) if BusError::is_refusal(code) => missing.push(format!("{topic} ({code})")),
            _ if answer.is_none() => missing.push(topic.to_string()),
            // A topic without a leader, or one that is being created, exists.
            _ => {}
        }
    }
    Ok(missing)
}
