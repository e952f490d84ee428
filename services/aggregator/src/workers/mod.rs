//! What runs as long as the service does.

pub mod statistics_keys;
