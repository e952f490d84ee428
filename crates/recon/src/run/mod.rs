//! One logical run of a dimension.
//!
//! 1. [`Run::begin`]: a new run, or an unfinished one that can be continued.
//! 2. [`Run::read_shard`], or [`Run::commit_page`] for each page: the first reading; a page is durable together with its
//!    checkpoint.
//! 3. [`Run::second_reading`]: a suspect is a break only if it is read again and has not changed.
//! 4. [`Run::record`], [`Run::confirm_critical`]: breaks with their evidence, and their confirmations.
//! 5. [`Run::close`]: what was compared and not seen is resolved; nothing of the run is unfinished.
//!
//! What a crash leaves behind: pages up to the last step, the suspects they gave, and the run's head. The next execution
//! continues at the same cut, or starts every shard again.

mod breaks;
mod close;
mod first_reading;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eidos_runtime::{JobContext, JobError};
use eidos_types::ExecutionId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::compare::CutPoint;
use crate::outcome::Suspect;
use crate::source::Source;
use crate::store::breaks::Actor;
use crate::store::checkpoints::{ShardKey, ShardState};
use crate::store::records::RecordOf;

pub use breaks::Decided;
pub use close::{CARRY_OVER, Closing, Done};

/// Limits and patience of a run.
#[derive(Debug, Clone)]
pub struct Rules {
    /// More suspects than this are a wrong setting and end the run.
    pub max_suspects: usize,
    /// Ignored differences that a shard stores as examples; the dust has their sum.
    pub dust_records_per_shard: u32,
    /// How often suspects are read again.
    pub recheck_attempts: u32,
    /// How long the run waits before each time.
    pub recheck_delay: Duration,
    /// Readings at distinct cuts that a critical break needs.
    pub critical_confirmations: u32,
    /// How long the run waits for them; half of what is left of its budget, if that is less.
    pub confirm_wait: Duration,
    /// How often it asks for a newer cut.
    pub confirm_poll: Duration,
}

/// An unfinished run, stored so that the next execution continues it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    run_id: Uuid,
    /// Where it reads.
    block: CutPoint,
    /// The settings it began with.
    digest: String,
}

/// A shard's state of this source.
pub type StateOf<S> = ShardState<<S as Source>::Cursor, <S as Source>::Tally>;

/// A run in progress.
#[derive(Debug)]
pub struct Run<'a, S: Source> {
    /// The job's context.
    pub ctx: &'a JobContext,
    /// What it covers, as tables name it: `full` or `incremental`.
    pub mode: &'static str,
    /// Its identity: the same after a crash.
    pub id: Uuid,
    /// What the settings are that a continued run must share.
    pub digest: String,
    is_resumable: bool,
    rules: Rules,
    escalate_after: Option<Duration>,
    shared: Mutex<Shared<S>>,
}

#[derive(Debug)]
struct Shared<S: Source> {
    states: BTreeMap<u16, StateOf<S>>,
    /// Only in a dry run; otherwise they are in checkpoints.
    suspects: Vec<Suspect<S::Subject>>,
    suspect_count: usize,
    checked: u64,
    resumed: Option<u64>,
}

impl<S: Source> Default for Shared<S> {
    fn default() -> Self {
        Self {
            states: BTreeMap::new(),
            suspects: Vec::new(),
            suspect_count: 0,
            checked: 0,
            resumed: None,
        }
    }
}

impl<'a, S: Source> Run<'a, S> {
    /// Begins a run. An unfinished one of the same `digest` is continued if this one `is_resumable` and the source can still
    /// read at its cut, which is returned. Otherwise everything starts again.
    pub async fn begin(
        ctx: &'a JobContext,
        source: &S,
        mode: &'static str,
        digest: String,
        rules: Rules,
        is_resumable: bool,
    ) -> Result<(Self, Option<CutPoint>), S::Fault> {
        let mut run = Self {
            ctx,
            mode,
            id: ctx.execution_id().as_uuid(),
            digest,
            is_resumable,
            rules,
            escalate_after: None,
            shared: Mutex::default(),
        };
        if ctx.dry_run() {
            return Ok((run, None));
        }
        let head: Option<Head> = if is_resumable {
            ctx.load_checkpoint(&run.head_key()).await?
        } else {
            None
        };
        if let Some(head) = head {
            let can_read = source.can_read_at(&head.block).await;
            if head.digest == run.digest && can_read {
                tracing::info!(run_id = %head.run_id, cut = head.block.number, "an unfinished run is continued");
                run.id = head.run_id;
                return Ok((run, Some(head.block)));
            }
            tracing::warn!(
                same_settings = head.digest == run.digest,
                can_read,
                "an unfinished run cannot be continued: every shard starts again"
            );
        }
        let mut step = ctx.step().await?;
        step.delete_checkpoints(&S::checkpoint(&format!("suspects/{mode}/")))
            .await?;
        step.delete_checkpoint(&run.head_key()).await?;
        step.commit().await?;
        Ok((run, None))
    }

    /// Unresolved warnings that are older become critical when the run closes. `None`: age alone changes nothing.
    #[must_use]
    pub const fn escalating(mut self, after: Option<Duration>) -> Self {
        self.escalate_after = after;
        self
    }

    /// Stores where a resumable run reads, so that it can be continued.
    pub async fn save_head(&self, point: &CutPoint) -> Result<(), S::Fault> {
        if !self.is_resumable || self.ctx.dry_run() {
            return Ok(());
        }
        let head = Head {
            run_id: self.id,
            block: point.clone(),
            digest: self.digest.clone(),
        };
        let mut step = self.ctx.step().await?;
        step.save_checkpoint(&self.head_key(), &head).await?;
        Ok(step.commit().await?)
    }

    fn head_key(&self) -> String {
        S::checkpoint(&format!("run/{}", self.mode))
    }

    fn suspects_prefix(&self) -> String {
        S::checkpoint(&format!("suspects/{}/{}", self.mode, self.id))
    }

    fn shard_key(&self, shard: u16) -> ShardKey<'_> {
        ShardKey {
            dimension: S::NAME,
            mode: self.mode,
            shard,
            run: self.id,
            digest: &self.digest,
        }
    }

    /// What a record of this run says of the run.
    #[must_use]
    pub fn record_of(&self) -> RecordOf<'static> {
        RecordOf {
            dimension: S::NAME,
            mode: self.mode,
            run: self.id,
            execution: self.ctx.execution_id(),
            now_ms: self.ctx.clock().now_ms(),
        }
    }

    /// Who acts on breaks.
    #[must_use]
    pub fn actor(&self) -> Actor<'_> {
        Actor {
            by: self.ctx.job().as_str(),
            run: self.id,
            execution: self.ctx.execution_id(),
            at: self.ctx.clock().now(),
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared<S>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The states of all shards that were read.
    #[must_use]
    pub fn states(&self) -> Vec<StateOf<S>> {
        self.shared().states.values().cloned().collect()
    }

    /// How many subjects were durable before this execution began; `None` for a fresh run.
    #[must_use]
    pub fn resumed(&self) -> Option<u64> {
        self.shared().resumed
    }

    /// Starts every shard again under a new identity: what was read belongs to a cut that does not hold.
    ///
    /// # Errors
    /// Those of the jobs database.
    pub async fn restart(&mut self) -> Result<(), S::Fault> {
        self.forget();
        if self.ctx.dry_run() {
            return Ok(());
        }
        let mut step = self.ctx.step().await?;
        step.delete_checkpoints(&self.suspects_prefix()).await?;
        step.delete_checkpoint(&self.head_key()).await?;
        step.commit().await?;
        self.id = ExecutionId::new(&**self.ctx.clock()).as_uuid();
        Ok(())
    }

    /// Forgets what was read, because the cut is gone.
    pub fn forget(&self) {
        let resumed = self.resumed();
        *self.shared() = Shared {
            resumed,
            ..Shared::default()
        };
    }
}

/// An error of one of our own tables.
fn own(error: sqlx::Error) -> JobError {
    JobError::retry(error)
}
