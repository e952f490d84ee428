//! Metrics of what is written to Kafka and read from it.

use std::time::Duration;

use super::as_gauge;

/// `bus_events_total`: events sent to Kafka, by outcome.
pub fn bus_event(topic: &'static str, outcome: &'static str) {
    metrics::counter!("bus_events_total", "topic" => topic, "outcome" => outcome).increment(1);
}

/// `bus_events_total` at zero: a series that first appears at 1 shows no increase.
pub fn bus_events_from_zero(topic: &'static str, outcome: &'static str) {
    metrics::counter!("bus_events_total", "topic" => topic, "outcome" => outcome).increment(0);
}

/// `bus_messages_handled_total`: messages read from Kafka and dealt with.
pub fn bus_message_handled(group: &str, topic: &str, outcome: &'static str) {
    metrics::counter!("bus_messages_handled_total", "group" => group.to_owned(), "topic" => topic.to_owned(), "outcome" => outcome)
        .increment(1);
}

/// `bus_message_retries_total`: further attempts to handle a message.
pub fn bus_message_retried(group: &str, topic: &str) {
    metrics::counter!("bus_message_retries_total", "group" => group.to_owned(), "topic" => topic.to_owned())
        .increment(1);
}

/// `bus_dead_letters_total`: messages written to the dead-letter topic of `topic`.
pub fn bus_dead_letter(group: &str, topic: &str) {
    metrics::counter!("bus_dead_letters_total", "group" => group.to_owned(), "topic" => topic.to_owned())
        .increment(1);
}

/// `bus_offsets_lost_total`: offsets that the log does not have, or does not have any more.
pub fn bus_offsets_lost(group: &str, topic: &str, count: u64) {
    metrics::counter!("bus_offsets_lost_total", "group" => group.to_owned(), "topic" => topic.to_owned())
        .increment(count);
}

/// The counters of a consumer of `topic` at zero: a series that first appears at 1 shows no increase.
pub fn bus_consumer_from_zero(group: &str, topic: &str, outcomes: &[&'static str]) {
    for outcome in outcomes {
        metrics::counter!("bus_messages_handled_total", "group" => group.to_owned(), "topic" => topic.to_owned(), "outcome" => *outcome)
            .increment(0);
    }
    for name in [
        "bus_message_retries_total",
        "bus_dead_letters_total",
        "bus_offsets_lost_total",
    ] {
        metrics::counter!(name, "group" => group.to_owned(), "topic" => topic.to_owned()).increment(0);
    }
}

/// `bus_consumer_lag_messages`: what a partition has and the group has not handled.
pub fn bus_consumer_lag(group: &str, topic: &str, partition: i32, messages: u64) {
    metrics::gauge!("bus_consumer_lag_messages", "group" => group.to_owned(), "topic" => topic.to_owned(), "partition" => partition.to_string())
        .set(as_gauge(messages));
}

/// `bus_consumer_answer_age_seconds`: time since a broker last answered.
pub fn bus_consumer_answer_age(group: &str, age: Duration) {
    metrics::gauge!("bus_consumer_answer_age_seconds", "group" => group.to_owned()).set(age.as_secs_f64());
}
