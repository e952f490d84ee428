//! The first reading, page by page; each page is durable together with its checkpoint.

use chrono::{DateTime, Utc};
use eidos_runtime::JobError;

use super::{Run, StateOf, own};
use crate::compare::CutPoint;
use crate::outcome::Suspect;
use crate::source::{Outcome, Pages, Source};
use crate::store::checkpoints::{self, ShardState};
use crate::store::records;
use crate::tally::Tally;

impl<S: Source> Run<'_, S> {
    /// Reads the pages of a shard that are not durable yet.
    ///
    /// # Errors
    /// Those of the source and of the jobs database; what is durable stays.
    pub async fn read_shard(
        &self,
        source: &S,
        shard: u16,
        point: &CutPoint,
        read_at: DateTime<Utc>,
        pages: &mut impl Pages<S>,
    ) -> Result<(), S::Fault> {
        let mut state = self.shard_state(shard, point).await?;
        if !state.done && state.point != *point {
            state.mixed_cuts |= state.pages > 0;
            state.point = point.clone();
        }
        while !state.done {
            self.ctx.check_cancelled()?;
            let page = pages.page(state.after.as_ref()).await?;
            state.after = Some(page.upto);
            state.done = page.last;
            self.commit_page(source, shard, &mut state, page.outcome, read_at)
                .await?;
        }
        Ok(())
    }

    /// The state of a shard: what this run has of it, what was durable before, or its start.
    pub async fn shard_state(&self, shard: u16, point: &CutPoint) -> Result<StateOf<S>, S::Fault> {
        if let Some(state) = self.shared().states.get(&shard) {
            return Ok(state.clone());
        }
        if self.ctx.dry_run() {
            return Ok(ShardState::at_start(point.clone()));
        }
        let loaded = checkpoints::load(self.ctx.jobs_db().control(), self.shard_key(shard))
            .await
            .map_err(own)?;
        if let Some(state) = &loaded {
            self.note_durable(shard, state);
        }
        Ok(loaded.unwrap_or_else(|| ShardState::at_start(point.clone())))
    }

    /// A shard that is done is not read again, and its sums still belong to the run.
    fn note_durable(&self, shard: u16, state: &StateOf<S>) {
        let checked = state.tally.checked();
        self.count(checked);
        let mut held = self.shared();
        held.resumed = Some(held.resumed.unwrap_or_default() + checked);
        held.suspect_count += usize::try_from(state.suspects).unwrap_or(usize::MAX);
        held.states.insert(shard, state.clone());
    }

    fn count(&self, checked: u64) {
        let mut held = self.shared();
        held.checked += checked;
        self.ctx.progress(held.checked, None);
    }

    /// Adds a page to a shard's state and makes it durable: suspects, examples of dust and the checkpoint, in one step.
    ///
    /// # Errors
    /// Those of the jobs database; more suspects than the rules allow.
    pub async fn commit_page(
        &self,
        source: &S,
        shard: u16,
        state: &mut StateOf<S>,
        page: Outcome<S>,
        read_at: DateTime<Utc>,
    ) -> Result<(), S::Fault> {
        let judged = page.judged_suspects();
        state.tally.merge(&page.tally);
        state.suspects += judged as u64;
        state.pages += 1;
        self.count(page.tally.checked());
        for (subject, difference) in &page.dust {
            source.ignored(subject, difference);
        }
        if self.ctx.dry_run() {
            self.hold(shard, state, judged, page.suspects);
            return self.check_suspects(source);
        }
        let mut step = self.ctx.step().await?;
        if !page.suspects.is_empty() {
            let key = format!("{}/{shard:03}/{:06}", self.suspects_prefix(), state.pages);
            step.save_checkpoint(&key, &page.suspects).await?;
        }
        for (subject, difference) in &page.dust {
            if state.dust_records >= self.rules.dust_records_per_shard {
                break;
            }
            let identity = source.identity(subject);
            let (conn, of) = (step.conn(), self.record_of());
            records::difference(conn, of, &identity, difference, &state.point, None)
                .await
                .map_err(own)?;
            state.dust_records += 1;
        }
        let epoch = step.epoch();
        checkpoints::save(step.conn(), self.shard_key(shard), state, read_at, epoch)
            .await
            .map_err(own)?;
        step.commit().await?;
        self.hold(shard, state, judged, Vec::new());
        self.check_suspects(source)
    }

    fn hold(&self, shard: u16, state: &StateOf<S>, judged: usize, suspects: Vec<Suspect<S::Subject>>) {
        let mut held = self.shared();
        held.suspect_count += judged;
        held.suspects.extend(suspects);
        held.states.insert(shard, state.clone());
    }

    fn check_suspects(&self, source: &S) -> Result<(), S::Fault> {
        let (count, limit) = (self.shared().suspect_count, self.rules.max_suspects);
        if count <= limit {
            return Ok(());
        }
        Err(JobError::fail(source.too_many(count, limit)).into())
    }
}
