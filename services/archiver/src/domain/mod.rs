//! Decisions without a database: what is old enough, what a batch is as a statement, how an archive table must follow
//! its source, which range a person means.

pub mod cutoff;
pub mod drift;
pub mod statement;
