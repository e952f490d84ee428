//! The workers of this service.

pub mod confirmations;
