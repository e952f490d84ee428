//! What `partition-manage` does to one table: reading its layout, and creating one partition in one fenced transaction
//! ([`create::Creation`]).

pub mod create;
mod error;
mod name;
pub mod parent;
mod transaction;
