//! Every SQL statement of this service. Those on the other services' tables are templates that [`crate::profile::Schema`]
//! renders; constants on our own tables are prepared in one test, as are the templates with the names of the documents.

pub mod activity;
pub mod candles;
pub mod catalogue;
pub mod ledger;
pub mod proofs;
pub mod repairs;
pub mod statistics;
pub mod trades;

use eidos_core::CoreError;

/// The error of a statement: what was being done, and what the server said.
fn failed(doing: &'static str) -> impl FnOnce(sqlx::Error) -> CoreError {
    move |cause| CoreError::Sql { doing, cause }
}

#[cfg(test)]
mod tests {
    use super::{catalogue, ledger, repairs, statistics};
    use eidos_testkit::{TestDb, assert_prepares};

    /// A statement that does not fit the schema fails here and not in front of a caller (ADR 3).
    #[tokio::test]
    async fn every_statement_is_valid_on_our_schema() {
        let db = TestDb::migrated().await;
        let statements = [
            ("catalogue::BEGINS_WITH", catalogue::BEGINS_WITH),
            ("catalogue::COLUMNS", catalogue::COLUMNS),
            ("catalogue::DATABASE", catalogue::DATABASE),
            ("catalogue::PRIVILEGES", catalogue::PRIVILEGES),
            ("catalogue::UNIQUE_KEY", catalogue::UNIQUE_KEY),
            ("ledger::ABANDON", ledger::ABANDON),
            ("ledger::COUNTS", ledger::COUNTS),
            ("ledger::NOTE_DIRTY", ledger::NOTE_DIRTY),
            ("ledger::NOTE_INCOMPLETE", ledger::NOTE_INCOMPLETE),
            ("ledger::OPEN", ledger::OPEN),
            ("ledger::RESOLVE", ledger::RESOLVE),
            ("repairs::AGREE", repairs::AGREE),
            ("repairs::COUNTS", repairs::COUNTS),
            ("repairs::DECIDE", repairs::DECIDE),
            ("repairs::FORGET", repairs::FORGET),
            ("repairs::NOTE", repairs::NOTE),
            ("repairs::NOTED", repairs::NOTED),
            ("repairs::PLAN", repairs::PLAN),
            ("repairs::PLANNED", repairs::PLANNED),
            ("repairs::SETTLED", repairs::SETTLED),
            ("statistics::DAY", statistics::DAY),
            ("statistics::LAST_DAY", statistics::LAST_DAY),
            ("statistics::OF_DAY", statistics::OF_DAY),
            ("statistics::SO_FAR", statistics::SO_FAR),
            ("statistics::WRITE", statistics::WRITE),
            ("statistics::ZERO", statistics::ZERO),
        ];
        assert_prepares(db.pool(), statements).await;
    }
}
