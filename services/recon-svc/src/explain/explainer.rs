//! [`Explainer`]: what an explanation reads through, and why there may be none.

use std::sync::Arc;

use eidos_chain::ChainReader;
use eidos_core::db::JobsDb;
use eidos_types::BreakId;
use tokio::sync::Semaphore;

use crate::dimensions::balance::account::TokenList;
use crate::dimensions::balance::schema::Schema;
use crate::dimensions::balance::sources::SourceError;
use crate::dimensions::balance::sources::books::Books;
use crate::dimensions::balance::sources::snapshot::Databases;
use crate::jobs::reconciliation::Reconciliation;
use crate::settings::ReconSettings;

/// What the sides are called.
pub(super) const SIDES: (&str, &str) = ("books", "chain");

/// Explanations of one process at the same time: each holds a session of the trading database and asks the node.
pub const AT_ONCE: usize = 2;

/// Explains breaks through what the job reads through.
#[derive(Debug)]
pub struct Explainer {
    pub(super) jobs: JobsDb,
    pub(super) settings: Arc<ReconSettings>,
    pub(super) databases: Databases,
    pub(super) schema: Arc<Schema>,
    pub(super) tokens: Arc<TokenList>,
    pub(super) books: Books,
    pub(super) chain: Arc<ChainReader>,
    pub(super) gate: Semaphore,
}

/// Why a break is not explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// There is no such break.
    #[error("there is no break {0}")]
    NoBreak(BreakId),
    /// Enough of them are being explained.
    #[error("{AT_ONCE} breaks are being explained already; try again in some seconds")]
    Busy,
    /// The token of the break is in no list any more.
    #[error("the token of this break is not among the tokens of this chain's settings any more")]
    UnknownToken,
    /// Neither side was read in time.
    #[error("the sides were not read within {0:?} (reconciliation.explain_timeout)")]
    TooLong(std::time::Duration),
    /// Our own tables could not be read.
    #[error("reading the break failed: {0}")]
    Jobs(#[source] sqlx::Error),
    /// A side could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl Explainer {
    /// Reads what this job reads.
    #[must_use]
    pub fn of(job: &Reconciliation, jobs: JobsDb) -> Self {
        Self {
            jobs,
            settings: Arc::clone(&job.settings),
            databases: job.databases.clone(),
            schema: Arc::clone(&job.schema),
            tokens: Arc::clone(&job.tokens),
            books: job.books.clone(),
            chain: Arc::clone(&job.chain),
            gate: Semaphore::new(AT_ONCE),
        }
    }
}

/// Without the zeros that the column adds.
pub(super) fn plain(digits: &str) -> &str {
    if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.')
    } else {
        digits
    }
}
