//! The jobs of this service.

pub mod data_cleanup;
pub mod partition_manage;
