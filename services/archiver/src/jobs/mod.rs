//! The jobs.

pub mod archive_data;
pub mod restore_archive;
pub mod verify_archive;
