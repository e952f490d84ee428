//! [`Api`]: what the routes work with, and what they check of every request.

use std::sync::Arc;

use eidos_core::db::JobsDb;
use eidos_core::outbox;
use eidos_recon::store::listing::{self, BreakRow, Filter};
use eidos_server::ApiError;
use eidos_types::{Address, BreakId, SharedClock};

use crate::explain::Explainer;
use crate::jobs::reconciliation::events;
use crate::jobs::reconciliation::movements::{DEPOSIT, FEE_ACCOUNT, SETTLEMENT, WITHDRAWAL};
use crate::jobs::reconciliation::pause_keys::PauseKeys;
use crate::jobs::reconciliation::run::DIMENSION;
use crate::jobs::reconciliation::solvency::SOLVENCY;
use crate::store::pauses::{self, PauseRow};

/// Most rows of one answer.
pub(super) const MAX_LIMIT: i64 = 1_000;

/// The state of the routes.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) db: JobsDb,
    pub(super) clock: SharedClock,
    pub(super) pause_keys: Option<PauseKeys>,
    /// `chain.tokens`; empty if they are taken from the books.
    pub(super) configured_tokens: Arc<[String]>,
    /// `None`: the service's parts were not built, as in a test of its routes.
    pub(super) explainer: Option<Arc<Explainer>>,
}

impl Api {
    pub(super) async fn break_of(&self, id: BreakId) -> Result<BreakRow, ApiError> {
        listing::one(self.db.read(), id)
            .await
            .map_err(ApiError::sql("read a break"))?
            .ok_or_else(|| ApiError::NotFound(format!("there is no break {id}")))
    }

    pub(super) async fn position_of(&self, id: BreakId) -> Result<listing::Position, ApiError> {
        listing::position(self.db.read(), id)
            .await
            .map_err(ApiError::sql("read a break"))?
            .ok_or_else(|| ApiError::NotFound(format!("there is no break {id}")))
    }

    /// Refuses a filter that cannot have any break.
    pub(super) async fn filter_exists(&self, filter: &Filter) -> Result<(), ApiError> {
        if let Some(token) = &filter.unit {
            self.token_exists(token).await?;
        }
        match &filter.dimension {
            Some(dimension) => self.dimension_exists(dimension).await,
            None => Ok(()),
        }
    }

    /// Refuses a dimension that nothing compares.
    pub(super) async fn dimension_exists(&self, dimension: &str) -> Result<(), ApiError> {
        let mut known = listing::dimensions(self.db.read())
            .await
            .map_err(ApiError::sql("read the known dimensions"))?;
        known.extend(
            [DIMENSION, SOLVENCY, DEPOSIT, WITHDRAWAL, SETTLEMENT, FEE_ACCOUNT].map(ToOwned::to_owned),
        );
        known.sort();
        known.dedup();
        if known.iter().any(|known| known == dimension) {
            return Ok(());
        }
        Err(ApiError::Invalid(format!(
            "dimension '{dimension}' is unknown: the dimensions are {}",
            known.join(", ")
        )))
    }

    /// Sets a pause and records the event of it, both or neither. `None`: there is an active pause.
    pub(super) async fn pause(
        &self,
        operation: &str,
        token: &str,
        cause: Option<BreakId>,
        by: &str,
        reason: &str,
    ) -> Result<Option<PauseRow>, ApiError> {
        const DOING: &str = "set a pause";
        let mut tx = self.db.control().begin().await.map_err(ApiError::sql(DOING))?;
        let now = self.clock.now();
        let set = pauses::set(&mut tx, operation, token, cause, reason, by, now)
            .await
            .map_err(ApiError::sql(DOING))?;
        let Some(row) = set else { return Ok(None) };
        outbox::record(&mut tx, &events::pause(&row, false, &*self.clock)).await?;
        tx.commit().await.map_err(ApiError::sql(DOING))?;
        Ok(Some(row))
    }

    /// Makes the keys of Redis equal to the table. False: the next run does it.
    pub(super) async fn announce(&self, changed: &PauseRow) -> bool {
        let Some(keys) = &self.pause_keys else {
            return false;
        };
        let settled = keys.sync(self.db.control(), std::slice::from_ref(changed)).await;
        if let Err(error) = &settled {
            tracing::error!(%error, "the table has it but the keys in Redis have not; the next run writes them");
        }
        settled.is_ok()
    }

    /// Lifts the active pause and records the event of it, both or neither. `None`: there is no active pause.
    pub(super) async fn lift(
        &self,
        operation: &str,
        token: &str,
        by: &str,
        reason: &str,
    ) -> Result<Option<PauseRow>, ApiError> {
        const DOING: &str = "lift a pause";
        let mut tx = self.db.control().begin().await.map_err(ApiError::sql(DOING))?;
        let now = self.clock.now();
        let lifted = pauses::lift(&mut *tx, operation, token, by, reason, now)
            .await
            .map_err(ApiError::sql(DOING))?;
        let Some(row) = lifted else { return Ok(None) };
        outbox::record(&mut tx, &events::pause(&row, true, &*self.clock)).await?;
        tx.commit().await.map_err(ApiError::sql(DOING))?;
        Ok(Some(row))
    }

    /// Refuses a token that nobody has: no break of it is not the same as none.
    pub(super) async fn token_exists(&self, token: &str) -> Result<(), ApiError> {
        let mut known = listing::units(self.db.read())
            .await
            .map_err(ApiError::sql("read the known tokens"))?;
        known.extend(self.configured_tokens.iter().cloned());
        known.sort();
        known.dedup();
        if known.iter().any(|known| known == token) {
            return Ok(());
        }
        let list = if known.is_empty() {
            "no run has compared any token yet".to_owned()
        } else {
            format!("the tokens are {}", known.join(", "))
        };
        Err(ApiError::Invalid(format!("token '{token}' is unknown: {list}")))
    }
}

pub(super) fn break_id(text: &str) -> Result<BreakId, ApiError> {
    text.parse()
        .map_err(|_not_a_uuid| ApiError::Invalid(format!("'{text}' is not the id of a break (a UUID)")))
}

/// A wallet as the table has it.
pub(super) fn address(text: &str) -> Result<String, ApiError> {
    let address: Address = text.to_ascii_lowercase().parse().map_err(|_not_hex| {
        ApiError::Invalid(format!("wallet '{text}' is not an address: 0x and 40 hex digits"))
    })?;
    Ok(address.to_string())
}

pub(super) fn one_of(key: &str, value: Option<String>, allowed: &[&str]) -> Result<Option<String>, ApiError> {
    match value {
        Some(value) if !allowed.contains(&value.as_str()) => Err(ApiError::Invalid(format!(
            "{key} '{value}' is unknown; use {}",
            allowed.join(", ")
        ))),
        value => Ok(value),
    }
}

pub(super) fn checked_limit(limit: Option<i64>) -> Result<i64, ApiError> {
    let limit = limit.unwrap_or(100);
    if (1..=MAX_LIMIT).contains(&limit) {
        Ok(limit)
    } else {
        Err(ApiError::Invalid(format!(
            "limit {limit} is not 1 to {MAX_LIMIT}"
        )))
    }
}

pub(super) fn checked_reason(reason: &str) -> Result<&str, ApiError> {
    let reason = reason.trim();
    if reason.is_empty() || reason.len() > 500 {
        return Err(ApiError::Invalid(
            "reason must have 1 to 500 characters".to_owned(),
        ));
    }
    Ok(reason)
}
