//! The SQL of `partition-manage`: reading a table's layout, counting what lies in its default partition, and creating
//! one partition in one fenced transaction ([`create::Creation`]).

pub mod astray;
pub mod create;
mod error;
mod name;
pub mod parent;
mod transaction;
