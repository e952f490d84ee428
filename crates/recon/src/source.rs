//! What a dimension gives the engine: its two sides, read at one cut.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};

use chrono::{DateTime, Utc};
use eidos_core::CoreError;
use eidos_core::outbox::OutboxEvent;
use eidos_runtime::JobError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::compare::{CutPoint, Difference};
use crate::outcome::{Found, PageOutcome, Suspect};
use crate::subject::{Identity, Subject};
use crate::tally::Tally;

/// What a page of this source gave.
pub type Outcome<S> = PageOutcome<<S as Source>::Subject, <S as Source>::Tally>;

/// The subjects that still differ, as they differ now.
pub type Reread<S> = BTreeMap<<S as Source>::Subject, Suspect<<S as Source>::Subject>>;

/// A dimension: two sides, and what is known about their subjects. A side that does not answer is an error of the reading
/// or an unproven verdict, never a difference.
pub trait Source: Sized + Sync {
    /// The dimension's name in tables and metrics.
    const NAME: &'static str;
    /// What is compared.
    type Subject: Subject;
    /// What is counted.
    type Tally: Tally;
    /// Both sides at one cut.
    type Cut: Send + Sync;
    /// What pages are sorted by: the subject, or the group that it belongs to.
    type Cursor: Clone + PartialEq + Debug + Display + Send + Sync + Serialize + DeserializeOwned;
    /// A first guess at a break's cause; `()` if nobody guesses.
    type Hint: Clone + Debug + Send + Sync + Serialize;
    /// Why a side cannot be read, and what that means for the run.
    type Fault: From<JobError> + From<CoreError> + Send;

    /// How a subject is stored.
    fn identity(&self, subject: &Self::Subject) -> Identity;

    /// Opens both sides at a new cut.
    fn open(&self) -> impl Future<Output = Result<Self::Cut, Self::Fault>> + Send;

    /// True if a run that read at `point` and was interrupted can be continued there.
    fn can_read_at(&self, point: &CutPoint) -> impl Future<Output = bool> + Send;

    /// The number of the newest cut that could be opened now. Asked often: it must be cheap.
    fn newest(&self) -> impl Future<Output = Result<u64, Self::Fault>> + Send;

    /// Where a cut was read.
    fn point(cut: &Self::Cut) -> CutPoint;

    /// When a cut was read.
    fn read_at(cut: &Self::Cut) -> DateTime<Utc>;

    /// Compares some subjects again. Returns those that still differ by more than dust.
    fn read_again(
        &self,
        cut: &mut Self::Cut,
        suspects: &[Suspect<Self::Subject>],
    ) -> impl Future<Output = Result<Reread<Self>, Self::Fault>> + Send;

    /// Guesses at the causes of breaks, in their order.
    fn hints(
        &self,
        cut: &mut Self::Cut,
        breaks: &[(Suspect<Self::Subject>, CutPoint)],
    ) -> impl Future<Output = Result<Vec<Self::Hint>, Self::Fault>> + Send;

    /// What reproduces a break that was first read at `first`.
    fn evidence(
        &self,
        cut: &Self::Cut,
        suspect: &Suspect<Self::Subject>,
        first: &CutPoint,
        hint: &Self::Hint,
    ) -> Value;

    /// The event of a break that was opened; `None`: nobody is notified.
    fn opened(&self, found: &Found<Self::Subject, Self::Hint>) -> Option<OutboxEvent>;

    /// Keeps an ignored difference for the report; the dust has its size.
    fn ignored(&self, subject: &Self::Subject, difference: &Difference<Self::Subject>);

    /// What to say when more than `limit` subjects differ.
    fn too_many(&self, count: usize, limit: usize) -> String;

    /// The job's checkpoint of this name. Dimensions of one job have different ones.
    fn checkpoint(name: &str) -> String {
        format!("{}/{name}", Self::NAME)
    }
}

/// One page of a first reading.
#[derive(Debug)]
pub struct Page<S: Source> {
    /// What it gave.
    pub outcome: Outcome<S>,
    /// The last key of it.
    pub upto: S::Cursor,
    /// True if it is the last one.
    pub last: bool,
}

/// The pages of one shard.
pub trait Pages<S: Source>: Send {
    /// The page after `after`, with a bounded number of subjects. The next call continues after its `upto`.
    fn page(&mut self, after: Option<&S::Cursor>) -> impl Future<Output = Result<Page<S>, S::Fault>> + Send;
}
