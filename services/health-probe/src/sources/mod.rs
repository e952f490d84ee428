//! Adapters to other systems.

pub mod ballots;
pub mod cool_down;
pub mod shared_redis;
