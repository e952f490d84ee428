//! [`Slot`]: a dimension's place in a run, whether it is switched on or not.

use super::super::branch::Fork;
use super::super::fault::Fault;
use super::super::params::Mode;
use super::super::run::View;
use super::{DimensionReport, MovementBreak, MovementRun, Outcome, Side, Sides};

/// A dimension that is read, or that is not.
#[derive(Debug)]
pub struct Slot<'a, D: Side> {
    run: Option<MovementRun<'a, D>>,
    /// Why it is not read although it is switched on.
    missing: Option<(Mode, &'static str)>,
    decided: Option<Outcome>,
}

impl<'a, D: Side> Slot<'a, D> {
    /// Begins its run if it is switched on and the settings have what it reads.
    pub(in crate::jobs::reconciliation) async fn begin(
        sides: Sides<'a>,
        mode: Mode,
        is_on: bool,
        fork: Option<&Fork>,
    ) -> Result<Self, Fault> {
        let mut slot = Self {
            run: None,
            missing: None,
            decided: None,
        };
        match D::missing(sides.job) {
            _ if !is_on => {}
            Some(reason) => slot.missing = Some((mode, reason)),
            None => slot.run = Some(MovementRun::begin(sides, mode, fork).await?),
        }
        Ok(slot)
    }

    /// Follows the chain to another branch, before an attempt at another cut.
    pub(in crate::jobs::reconciliation) async fn follow(&mut self, fork: &Fork) -> Result<(), Fault> {
        match &mut self.run {
            Some(run) => run.follow(fork).await,
            None => Ok(()),
        }
    }

    /// Forgets what was read, also what is durable.
    pub(in crate::jobs::reconciliation) async fn restart(&mut self) -> Result<(), Fault> {
        match &mut self.run {
            Some(run) => run.restart().await,
            None => Ok(()),
        }
    }

    /// The first reading.
    pub(in crate::jobs::reconciliation) async fn read(&mut self, view: &mut View) -> Result<(), Fault> {
        match &mut self.run {
            Some(run) => run.read(view).await,
            None => Ok(()),
        }
    }

    /// The second reading, and what it proves.
    pub(in crate::jobs::reconciliation) async fn decide(&mut self) -> Result<(), Fault> {
        if let Some(run) = &self.run {
            self.decided = Some(run.decide().await?);
        }
        Ok(())
    }

    /// Its breaks, once decided.
    pub(in crate::jobs::reconciliation) fn breaks(&self) -> impl Iterator<Item = MovementBreak> {
        self.decided.iter().flat_map(Outcome::reports)
    }

    /// The last step. `None`: it is switched off.
    pub(in crate::jobs::reconciliation) async fn close(&mut self) -> Result<Option<DimensionReport>, Fault> {
        if let (Some(run), Some(decided)) = (&self.run, self.decided.take()) {
            return run.close(decided).await.map(Some);
        }
        let unread = |(mode, reason)| DimensionReport::unread(D::NAME, mode, reason);
        Ok(self.missing.map(unread))
    }
}
