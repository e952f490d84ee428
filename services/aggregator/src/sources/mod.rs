//! Adapters to other systems.

pub mod keys;
