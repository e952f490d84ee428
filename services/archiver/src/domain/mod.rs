//! Decisions without a database: what is old enough, how an archive table must follow
//! its source, which range a person means.

pub mod cutoff;
pub mod drift;
