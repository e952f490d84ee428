//! What a person asks of a disposing job instead of a run: to take a unit back, or to accept an archive store.

use crate::destination::{StoreAct, StoreRequest};
use crate::partition::UndoRequest;

/// The parameters by which a person asks for one act, with what belongs to it.
#[derive(Debug, Clone, Copy)]
pub struct PersonsAct<'a> {
    /// `store=…`.
    pub store: Option<StoreAct>,
    /// Which archive store is meant.
    pub location: Option<&'a str>,
    /// Whether a unit is named that is to be taken back.
    pub undo: bool,
    /// Why.
    pub reason: Option<&'a str>,
    /// Whether what is taken back is held afterwards.
    pub hold: Option<bool>,
    /// Whether there are parameters of a run beside it: a plan, tables.
    pub run: bool,
}

impl PersonsAct<'_> {
    /// Checks that the parameters are those of one act, or of a run.
    ///
    /// # Errors
    /// A sentence for the caller.
    pub fn check(&self) -> Result<(), String> {
        let other = self.undo || self.run || self.hold.is_some();
        StoreRequest::check(self.store, self.location, self.reason, other)?;
        if self.store.is_some() {
            return Ok(());
        }
        UndoRequest::check(self.undo, self.run, self.reason, self.hold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: PersonsAct<'_> = PersonsAct {
        store: None,
        location: None,
        undo: false,
        reason: None,
        hold: None,
        run: true,
    };

    #[test]
    fn an_act_is_asked_for_alone_and_with_what_belongs_to_it() {
        let reason = Some("case 17");
        let undo = PersonsAct {
            undo: true,
            run: false,
            reason,
            ..RUN
        };
        let accept = PersonsAct {
            store: Some(StoreAct::Accept),
            location: Some("s3://b/db"),
            run: false,
            reason,
            ..RUN
        };
        for allowed in [
            RUN,
            PersonsAct { run: false, ..RUN },
            undo,
            PersonsAct {
                hold: Some(false),
                ..undo
            },
            accept,
        ] {
            allowed.check().unwrap();
        }
        for refused in [
            PersonsAct { run: true, ..undo },
            PersonsAct { run: true, ..accept },
            PersonsAct { undo: true, ..accept },
            PersonsAct {
                hold: Some(true),
                ..accept
            },
            PersonsAct { reason, ..RUN },
            PersonsAct {
                hold: Some(true),
                ..RUN
            },
            PersonsAct {
                location: Some("s3://b/db"),
                ..undo
            },
        ] {
            assert!(refused.check().is_err(), "{refused:?}");
        }
    }
}
