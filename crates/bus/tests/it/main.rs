//! Against real Kafka protocol: librdkafka's own broker (or the one that `KAFKA_BROKERS` names), and a private Apache
//! Kafka.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failing helper must fail the test that called it"
)]

mod broker;
mod events;
mod faults;
mod loops;
mod running;
