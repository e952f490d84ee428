//! `store accept` and `store show`: what a person asks a disposing job about its archive store.

use std::fmt;

use chrono::SecondsFormat;
use eidos_archive_store::ArchiveStore;
use eidos_runtime::JobContext;
use serde::{Deserialize, Serialize};

use super::accepted::{self, AcceptedStore};
use super::{NOT_ACCEPTED, Standing, program_of, stored_standing};
use crate::DisposalError;
use crate::export::stored;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreAct {
    /// Exports may go to the configured location from now on.
    Accept,
    /// Which location is configured, and which were accepted.
    Show,
}

/// An act with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreRequest {
    /// The act.
    pub act: StoreAct,
    /// The location that is meant; must be the configured one.
    pub location: String,
    /// Why it is accepted.
    pub reason: String,
}

impl StoreRequest {
    /// Checks that a run's parameters are either those of an act on the store or those of something else.
    ///
    /// # Errors
    /// A sentence for the caller.
    pub fn check(
        act: Option<StoreAct>,
        location: Option<&str>,
        reason: Option<&str>,
        other: bool,
    ) -> Result<(), String> {
        let blank = |text: Option<&str>| text.is_none_or(|text| text.trim().is_empty());
        match act {
            None if location.is_some() => {
                Err("location belongs to store=accept: it names the archive store".to_owned())
            }
            Some(_) if other => {
                Err("store is about the archive store and does nothing else: leave out the other parameters".to_owned())
            }
            Some(StoreAct::Accept) if blank(location) || blank(reason) => Err(
                "store=accept needs location, as `store show` prints it, and reason: who accepts a store names it and says \
                 why"
                .to_owned(),
            ),
            Some(StoreAct::Show) if location.is_some() || reason.is_some() => {
                Err("store=show takes no location and no reason".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// From parameters that passed [`Self::check`].
    #[must_use]
    pub fn of(act: StoreAct, location: Option<&str>, reason: Option<&str>) -> Self {
        Self {
            act,
            location: location.unwrap_or_default().trim().to_owned(),
            reason: reason.unwrap_or_default().trim().to_owned(),
        }
    }
}

/// What is known about the archive store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreReport {
    /// The configured location.
    pub location: String,
    /// Whether exports may go there.
    pub accepted: bool,
    /// What to do, or what was found, as sentences.
    pub told: Vec<String>,
    /// Every accepted location, the oldest first.
    pub stores: Vec<AcceptedStore>,
}

/// Does what was asked. To accept, the store is proved first, so that a bucket which does not exist is not accepted.
///
/// # Errors
/// [`DisposalError::Refused`] where another location is named than the configured one; [`DisposalError::Store`] where the
/// store cannot do what an archive needs; [`DisposalError::Job`]; [`DisposalError::Sql`].
pub async fn requested(
    ctx: &JobContext,
    store: &ArchiveStore,
    request: &StoreRequest,
) -> Result<StoreReport, DisposalError> {
    let location = store.location();
    let mut told = Vec::new();
    if request.act == StoreAct::Accept {
        if request.location != location {
            return Err(DisposalError::refused(
                NOT_ACCEPTED,
                format!(
                    "{} is not the configured archive store, which is {location}: nothing was accepted. Correct the \
                     command, or archive_store.url and archive_store.endpoint",
                    request.location
                ),
            ));
        }
        if let Some(known) = accepted::find(ctx.jobs_db().control(), &location).await? {
            told.push(format!("it was accepted before: {known}"));
        } else {
            let probed = stored(ctx, store.probe(ctx.job().as_str()).await)?;
            told.push(format!("it does what an archive needs; {probed}"));
            let by = ctx.requested_by().unwrap_or("unnamed");
            accepted::add(ctx, &location, by, &request.reason, None).await?;
        }
    }
    let accepted = match stored_standing(ctx, store).await? {
        Standing::Accepted => true,
        Standing::Adoptable(manifest) => {
            told.push(format!(
                "it has exports from before stores were accepted ({manifest}), so the next export goes there and records it"
            ));
            true
        }
        Standing::Unknown => {
            told.push(format!(
                "nothing is exported to it until: {} store accept --location '{location}' --reason 'why'",
                program_of(ctx.job().as_str())
            ));
            false
        }
    };
    if request.act == StoreAct::Show {
        told.push(store.versions().await.to_string());
    }
    Ok(StoreReport {
        stores: accepted::list(ctx.jobs_db().control()).await?,
        location,
        accepted,
        told,
    })
}

impl fmt::Display for AcceptedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} by {} at {}: {}",
            self.location,
            self.accepted_by,
            self.accepted_at.to_rfc3339_opts(SecondsFormat::Secs, true),
            self.reason
        )
    }
}

impl fmt::Display for StoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.accepted { "accepted" } else { "NOT accepted" };
        write!(f, "archive store {}: {word}", self.location)?;
        for sentence in &self.told {
            write!(f, "\n  {sentence}")?;
        }
        for store in &self.stores {
            write!(f, "\naccepted: {store}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_accepts_a_store_names_it_and_says_why() {
        let check = StoreRequest::check;
        let (accept, show) = (Some(StoreAct::Accept), Some(StoreAct::Show));
        check(accept, Some("s3://b/db"), Some("new"), false).unwrap();
        check(show, None, None, false).unwrap();
        check(None, None, Some("of an undo"), true).unwrap();
        for (act, location, reason, other) in [
            (accept, None, Some("new"), false),
            (accept, Some("s3://b/db"), None, false),
            (accept, Some("s3://b/db"), Some("  "), false),
            (accept, Some("s3://b/db"), Some("new"), true),
            (show, Some("s3://b/db"), None, false),
            (None, Some("s3://b/db"), None, false),
        ] {
            assert!(
                check(act, location, reason, other).is_err(),
                "{act:?} {location:?} {reason:?}"
            );
        }
    }
}
