//! The jobs of this service.

pub mod partition_manage;
