//! Adapters to other systems: the way to the matching engine ([`transport`]: gRPC, [`engine`], or Kafka,
//! [`cancel_requests`]), what comes back on topics ([`events`]), and the Redis of the exchange ([`cache`]).

pub mod cache;
pub mod cancel_requests;
pub mod engine;
pub mod events;
pub mod transport;

/// A text of another system is stored and shown up to this many characters.
const REASON_CHARACTERS: usize = 300;

/// What PostgreSQL and a terminal can show, and no more of it than helps.
fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(REASON_CHARACTERS)
        .collect()
}
