//! The end of a run: what is resolved, and what the next run starts from.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use eidos_core::fence::Step;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Run, own};
use crate::compare::CutPoint;
use crate::outcome::Suspect;
use crate::source::Source;
use crate::store::breaks::{self, Clean};
use crate::store::checkpoints;

/// The checkpoint with the groups that the next run has to look at: what one run skips, the next one reads.
pub const CARRY_OVER: &str = "debts";

/// What the last finished run of a mode left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// When its left side was read.
    pub at: DateTime<Utc>,
    /// Where both sides were read.
    pub block: CutPoint,
    /// Which run.
    pub run_id: Uuid,
}

/// What a run compared.
#[derive(Debug)]
pub struct Closing<'a, S: Source> {
    /// Where it read.
    pub point: CutPoint,
    /// When.
    pub read_at: DateTime<Utc>,
    /// The groups it compared; `None` for all.
    pub groups: Option<Vec<String>>,
    /// What it could not decide.
    pub undecided: &'a [Suspect<S::Subject>],
}

impl<S: Source> Run<'_, S> {
    /// Commits the last step, after which nothing of the run is unfinished: the breaks that were compared and not seen are
    /// resolved. Returns how many. `step` has what the dimension adds to it.
    pub async fn close(
        &self,
        source: &S,
        mut step: Step<'_>,
        closing: Closing<'_, S>,
    ) -> Result<u64, S::Fault> {
        let group = |suspect: &Suspect<S::Subject>| source.identity(&suspect.subject).key.group().to_owned();
        let undecided: Vec<String> = closing
            .undecided
            .iter()
            .map(group)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let clean = Clean {
            dimension: S::NAME,
            groups: closing.groups.as_deref(),
            undecided: &undecided,
            point: &closing.point,
            actor: self.actor(),
        };
        let resolved = breaks::resolve(step.conn(), clean).await.map_err(own)?;
        if let Some(after) = self.escalate_after {
            let actor = self.actor();
            breaks::escalate(step.conn(), S::NAME, after, actor)
                .await
                .map_err(own)?;
        }
        step.save_checkpoint(&S::checkpoint(CARRY_OVER), &undecided)
            .await?;
        let done = Done {
            at: closing.read_at,
            block: closing.point,
            run_id: self.id,
        };
        step.save_checkpoint(&Self::done_key(self.mode), &done).await?;
        let epoch = step.epoch();
        checkpoints::finish(step.conn(), S::NAME, self.mode, epoch)
            .await
            .map_err(own)?;
        step.delete_checkpoint(&self.head_key()).await?;
        step.delete_checkpoints(&self.suspects_prefix()).await?;
        step.commit().await?;
        Ok(resolved)
    }

    /// The checkpoint of the last finished run of a mode.
    #[must_use]
    pub fn done_key(mode: &str) -> String {
        S::checkpoint(&format!("done/{mode}"))
    }
}
