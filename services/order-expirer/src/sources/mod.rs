//! Adapters to other systems: the matching engine ([`engine`]) and the Redis of the exchange ([`cache`]).

pub mod cache;
pub mod engine;
