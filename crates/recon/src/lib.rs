//! The reconciliation engine: whether two sides agree, subject by subject.
//!
//! | the engine is generic over | which says |
//! |---|---|
//! | [`Subject`] | what is compared, its kinds of difference, its text key and detail ([`Identity`]) |
//! | [`Source`] | how the two sides are read at one cut, and what reproduces a break |
//! | [`Tolerance`] | which differences are none; [`Exact`] unless a dimension says otherwise |
//!
//! The engine owns the comparison ([`judge`]), the second reading, severity, breaks and their life, evidence,
//! confirmations, dust, the checkpoints of a run ([`Run`]), why a subject differs ([`explain`](mod@explain)), and
//! reports ([`report`]). A dimension owns how its sides are read and what its report
//! looks like.
//!
//! Invariants: both sides are read at one cut; an answer that is missing proves nothing; nothing is rounded; a difference is
//! a break only when it was seen twice and did not change; units are never added together; a checkpoint moves only with the
//! results it stands for. Memory is bounded by pages, suspects and shards, never by the number of subjects.
//!
//! Read in this order: [`subject`], [`compare`], [`source`], [`run`], [`life`], [`audit`],
//! [`explain`](mod@explain), [`store`].

pub mod audit;
pub mod compare;
pub mod dust;
pub mod explain;
pub mod feed;
pub mod life;
pub mod merge;
#[cfg(test)]
mod model_tests;
pub mod outcome;
pub mod report;
pub mod run;
pub mod second_reading;
pub mod severity;
pub mod source;
pub mod store;
pub mod subject;
pub mod sum;
pub mod tally;
#[cfg(test)]
mod toy;

pub use compare::{CutPoint, Difference, Exact, Pair, Presence, Tolerance, Verdict, judge};
pub use outcome::{Found, PageOutcome, Suspect};
pub use run::{Rules, Run};
pub use source::{Page, Pages, Source};
pub use subject::{Identity, Kind, Relation, Subject, SubjectKey};
