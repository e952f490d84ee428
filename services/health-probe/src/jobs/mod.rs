//! The job of this service.

pub mod health_monitor;
