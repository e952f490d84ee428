//! Every SQL statement of this service: on the trading service's tables by fenced steps, on our own by steps. Constants are
//! prepared in one test; the others are assembled of checked parts for tables that are known at run time.

pub mod archive_table;
pub mod batch;
pub(crate) mod estimates;
pub mod holds;
pub mod progress;
pub(crate) mod side_table;
pub mod source;
pub(crate) mod stage;
pub mod statement;
pub(crate) mod triggers;
pub mod units;

#[cfg(test)]
mod tests {
    use super::{batch, estimates, progress, source, stage, triggers, units};
    use eidos_testkit::{TestDb, assert_prepares};

    /// A statement that does not fit the schema fails here and not in front of a caller (ADR 3).
    #[tokio::test]
    async fn every_statement_is_valid_on_our_schema() {
        let db = TestDb::migrated().await;
        let statements = [
            ("batch::LIMIT_WAIT", batch::LIMIT_WAIT),
            ("estimates::AVOID_SCANS", estimates::AVOID_SCANS),
            ("progress::RECORD", progress::RECORD),
            ("source::IS_STANDBY", source::IS_STANDBY),
            ("source::NOW", source::NOW),
            ("stage::LIMIT_STATEMENTS", stage::LIMIT_STATEMENTS),
            ("triggers::FIRED", triggers::FIRED),
            ("units::EXPORTED", units::EXPORTED),
            ("units::OF_PLAN", units::OF_PLAN),
            ("units::OPEN_NAMES", units::OPEN_NAMES),
            ("units::OPEN_STATE", units::OPEN_STATE),
            ("units::ROTTEN", units::ROTTEN),
        ];
        assert_prepares(db.pool(), statements).await;
    }
}
