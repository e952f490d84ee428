//! What is compared, one module for each dimension. The engine that compares is the crate `eidos-recon`.

pub mod balance;
pub mod deposits;
pub mod fees;
pub mod movements;
pub mod settlement;
pub mod withdrawals;
