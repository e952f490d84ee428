//! recon-svc as a process against real servers: PostgreSQL, Redis, an EVM node, and a world with an oracle.

mod crash;
mod incremental;
mod refused;
mod repin;
mod second_reading;
mod stand;
mod thresholds;
mod world;
