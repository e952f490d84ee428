//! Where the two sides are read: the books at one snapshot, the chain at one block.

pub mod batch_id;
pub mod books;
pub mod changes;
pub mod column;
pub mod evidence;
pub mod in_flight;
pub mod known;
pub mod ledger;
pub mod price_check;
pub mod prices;
pub mod snapshot;
pub mod tokens;

use eidos_types::copy_binary::CopyError;

use crate::dimensions::balance::merge::OutOfOrder;

/// Why a source could not be read. None of these is ever a difference.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A statement failed.
    #[error("reading {what} failed: {cause}")]
    Database {
        /// Which rows.
        what: &'static str,
        /// The driver's words.
        #[source]
        cause: sqlx::Error,
    },
    /// The stream of a `COPY` is not what PostgreSQL sends.
    #[error("the binary stream of {what} is malformed: {detail}")]
    Malformed {
        /// Which rows.
        what: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// A row cannot be understood; comparing without it would hide it.
    #[error("{table} has a row that cannot be read: {detail}")]
    BadRow {
        /// The table.
        table: String,
        /// Which row and why.
        detail: String,
    },
    /// The books are not in byte order.
    #[error(transparent)]
    Order(#[from] OutOfOrder),
    /// The chain could not be read.
    #[error(transparent)]
    Chain(Box<eidos_chain::ChainError>),
    /// The register of known accounts could not be read.
    #[error("reading the register of accounts seen on chain failed: {0}")]
    Register(#[source] eidos_core::CoreError),
    /// The indexer has written no checkpoint for this chain.
    #[error(
        "{table} has no row for chain {chain_id}: the indexer has not started, so there is no block that the \
         books are known to include"
    )]
    NoIndexer {
        /// The table.
        table: String,
        /// The chain.
        chain_id: u64,
    },
    /// The cut would be at the indexer's block, and the node has no state that old.
    #[error(
        "the books' indexer is at block {indexer}, {lag} blocks behind the finalized {finalized}, and the node keeps no \
         state that old, so nothing was compared: let the indexer catch up (runbook indexer-lag), or use a node that \
         keeps more state ({detail})"
    )]
    IndexerBehindState {
        /// The indexer's block.
        indexer: u64,
        /// The node's finalized block.
        finalized: u64,
        /// How many blocks lie between.
        lag: u64,
        /// The node's words.
        detail: String,
    },
    /// More open movements than the run may hold in memory.
    #[error(
        "{count} or more movements are in flight; the limit is reconciliation.max_in_flight_lines = {limit}"
    )]
    TooManyInFlight {
        /// How many were read.
        count: usize,
        /// The limit.
        limit: usize,
    },
}

impl From<eidos_chain::ChainError> for SourceError {
    fn from(error: eidos_chain::ChainError) -> Self {
        Self::Chain(Box::new(error))
    }
}

impl SourceError {
    /// Names the rows a statement was reading.
    pub fn reading(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |cause| Self::Database { what, cause }
    }

    /// Names the rows whose stream is broken.
    pub fn malformed(what: &'static str) -> impl Fn(CopyError) -> Self {
        move |broken| Self::Malformed {
            what,
            detail: format!("after {} rows, {}", broken.row, broken.what),
        }
    }

    /// True if a new cut, and nothing else, is needed.
    #[must_use]
    pub fn needs_new_pin(&self) -> bool {
        matches!(self, Self::Chain(error) if error.needs_new_pin())
    }

    /// True if the same read may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Database { .. }
            | Self::Malformed { .. }
            | Self::NoIndexer { .. }
            | Self::IndexerBehindState { .. }
            | Self::Register(_) => true,
            Self::Chain(error) => error.is_retryable(),
            Self::BadRow { .. } | Self::Order(_) | Self::TooManyInFlight { .. } => false,
        }
    }
}
