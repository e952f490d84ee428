//! Adapters to other systems.

pub mod cool_down;
pub mod shared_redis;
