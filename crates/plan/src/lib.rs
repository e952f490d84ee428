//! What a job would change, as a plan: surveyed, read, approved by its digest, applied as it was read, audited.
//!
//! A job that takes away or rearranges data implements [`PlannedJob`]; [`run`] is the one order in which such a job
//! works. This crate knows plans ([`Plan`]), who approved them ([`Approval`], [`Approved`]), what keeps data
//! ([`hold`]) and what is written down about every act ([`audit`]). How rows leave a database, it does not know.

mod approval;
pub mod audit;
mod error;
mod find;
pub mod hold;
mod job;
mod plan;
mod render;
mod verify;

pub use approval::{Approval, Approved, POLICY};
pub use error::{PlanError, server_words};
pub use find::find_planned;
pub use job::{Failure, PlannedJob, Request, Surveyed, run};
pub use plan::{Action, Note, Plan, PlanItem};
pub use verify::{PlanChanged, verify_remaining};
