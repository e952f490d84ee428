//! The jobs of this service.

pub mod alert_drill;
pub mod health_monitor;
