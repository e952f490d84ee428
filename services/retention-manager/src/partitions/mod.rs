//! The SQL of `partition-manage`.
