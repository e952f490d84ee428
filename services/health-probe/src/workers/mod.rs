//! Loops that run until they are cancelled.

pub mod delivery;
pub(crate) mod heartbeat;
pub(crate) mod silences;
pub(crate) mod voting;
