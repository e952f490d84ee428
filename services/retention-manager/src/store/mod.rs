//! Every SQL statement of this service, by subject. Constants are prepared in one test; the others are assembled of
//! checked parts for tables that are known at run time.

pub(crate) mod astray;
pub(crate) mod candles;
pub(crate) mod drain;
pub(crate) mod history;
pub(crate) mod hypertable;
pub(crate) mod names;
pub(crate) mod plans;
pub(crate) mod progress;
pub(crate) mod tables;

#[cfg(test)]
mod tests {
    use super::{astray, candles, history, hypertable, names, plans, progress, tables};
    use eidos_testkit::{TestDb, assert_prepares};

    /// A statement that does not fit the schema fails here and not in front of a caller (ADR 3). Those on TimescaleDB's own
    /// views are left out: the extension is not installed where the tests run.
    #[tokio::test]
    async fn every_statement_is_valid_on_our_schema() {
        let db = TestDb::migrated().await;
        let statements = [
            ("astray::DELETE_TRIGGERS", astray::DELETE_TRIGGERS),
            ("candles::LIMIT_WAIT", candles::LIMIT_WAIT),
            ("history::DISPOSALS", history::DISPOSALS),
            ("history::UNITS", history::UNITS),
            ("hypertable::VERSION", hypertable::VERSION),
            ("names::DIFFERENT_COLUMNS", names::DIFFERENT_COLUMNS),
            ("names::OCCUPANT", names::OCCUPANT),
            ("plans::CREATED_BY_PLAN", plans::CREATED_BY_PLAN),
            ("plans::DELETED_BY_PLAN", plans::DELETED_BY_PLAN),
            ("plans::UNITS_OF_PLAN", plans::UNITS_OF_PLAN),
            ("progress::NOTE", progress::NOTE),
            ("tables::PARTITIONED", tables::PARTITIONED),
            ("tables::SIZE", tables::SIZE),
        ];
        assert_prepares(db.pool(), statements).await;
    }
}
