//! Values as parameters.

use eidos_types::Amount;

/// A number as PostgreSQL's `bigint` has it.
pub(super) fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// An amount as the text of a `numeric` parameter.
pub(super) fn numeric(amount: Option<Amount>) -> Option<String> {
    amount.map(|amount| amount.to_string())
}

/// A stored text that this release does not know.
pub(super) fn undecodable(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}
