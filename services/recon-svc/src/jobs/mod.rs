//! The jobs of this service.

pub mod reconciliation;
