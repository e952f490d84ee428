//! PostgreSQL knowledge that several crates need: texts of statements that can hold nothing but what is safe in them
//! ([`Sql`]), names of tables ([`Relation`]), what a partition covers ([`bounds`]) and how one is made ([`NewPartition`]).

pub mod bounds;
mod error;
mod new_partition;
mod relation;
pub mod text;

pub use error::{PgError, is_transient};
pub use new_partition::{NewPartition, reading_grants};
pub use relation::Relation;
pub use text::{Sql, SqlPart};
