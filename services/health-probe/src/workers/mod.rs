//! Loops that run until they are cancelled.

pub mod delivery;
