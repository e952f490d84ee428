//! What a partition shares with the rest of the database: what must stay stays, and whatever else hangs on it is named
//! before it is frozen.

use std::time::Duration;

use eidos_disposal::unit::UnitState;

use crate::fixture::{Fixture, JANUARY, MONTHS, TABLE, approval, refusal};
use crate::partition_servers::server_version;

/// As after the usual conversion: the old `bigserial` table is the first partition, and owns the ids of all of them.
async fn converted(fixture: &Fixture, named_by_a_default: bool) {
    fixture
        .sql(&format!(
            "CREATE SEQUENCE audit_ids START 100000 OWNED BY {JANUARY}.id; \
             ALTER TABLE {JANUARY} ALTER COLUMN id SET DEFAULT nextval('audit_ids')"
        ))
        .await;
    if named_by_a_default {
        fixture
            .sql(&format!(
                "ALTER TABLE ONLY {TABLE} ALTER COLUMN id SET DEFAULT nextval('audit_ids')"
            ))
            .await;
    }
}

/// What the application does, in the words it always used.
async fn inserts(fixture: &Fixture) {
    fixture
        .sql(&format!(
            "INSERT INTO {TABLE} (id, created_at) VALUES (nextval('public.audit_ids'), {})",
            MONTHS[2]
        ))
        .await;
}

#[tokio::test]
async fn the_sequence_that_numbers_the_whole_table_stays_when_the_partition_that_owns_it_leaves() {
    for named_by_a_default in [true, false] {
        let fixture = Fixture::new().await;
        converted(&fixture, named_by_a_default).await;
        let unit = fixture.quarantined().await;
        inserts(&fixture).await;
        let later = fixture.later_run().await;
        let done = later.disposal().resume(unit).await.unwrap();
        assert_eq!(done.unit.state, UnitState::Dropped);
        inserts(&fixture).await;
        let owner =
            format!("SELECT count(*) WHERE pg_get_serial_sequence('{TABLE}', 'id') = 'public.audit_ids'");
        assert_eq!(
            fixture.count(&owner).await,
            1,
            "it goes when the table goes, and not before"
        );
    }
}

#[tokio::test]
async fn a_sequence_that_its_table_cannot_own_is_owned_by_nobody_and_stays() {
    let fixture = Fixture::new().await;
    converted(&fixture, true).await;
    // A sequence lies in the schema of its owner.
    fixture
        .sql(&format!(
            "CREATE SCHEMA old; ALTER TABLE {JANUARY} SET SCHEMA old"
        ))
        .await;
    let unit = fixture.quarantined().await;
    let later = fixture.later_run().await;
    let done = later.disposal().resume(unit).await.unwrap();
    assert_eq!(done.unit.state, UnitState::Dropped);
    assert_eq!(fixture.count("SELECT nextval('old.audit_ids')").await, 100_000);
}

#[tokio::test]
async fn the_sequence_stays_where_the_detach_is_concurrent_too() {
    let fixture = Fixture::new().await;
    converted(&fixture, false).await;
    fixture.verified().await;
    let mut reader = fixture.books.pool().begin().await.unwrap();
    let query = format!("SELECT count(*) FROM {TABLE}");
    sqlx::query(sqlx::AssertSqlSafe(query))
        .execute(&mut *reader)
        .await
        .unwrap();
    let run = fixture.run().await;
    let identity = fixture.identity(&run, JANUARY).await;
    let disposal = run.disposal();
    let word = approval();
    let leaving = disposal.advance(&identity, &word);
    let pending =
        async {
            eidos_testkit::eventually("the detach is half way", Duration::from_secs(30), async || {
                match fixture
                    .count("SELECT count(*) FROM pg_inherits WHERE inhdetachpending")
                    .await
                {
                    1 => Ok(()),
                    _ => Err("not yet"),
                }
            })
            .await;
            reader.rollback().await.unwrap();
        };
    let (left, ()) = tokio::join!(leaving, pending);
    assert_eq!(left.unwrap().unit.state, UnitState::Quarantined);
    inserts(&fixture).await;
}

/// A case: what is made, what must be named, and how it is taken away.
const DEPENDENTS: &[(&str, &str, &str, &str)] = &[
    (
        "referenced",
        "CREATE VIEW looking AS SELECT id FROM eidos_risk_audit_logs_2024_01",
        "view public.looking",
        "DROP VIEW looking",
    ),
    (
        "referenced",
        "CREATE MATERIALIZED VIEW summed AS SELECT sum(amount) FROM eidos_risk_audit_logs_2024_01",
        "materialized view public.summed",
        "DROP MATERIALIZED VIEW summed",
    ),
    (
        "referenced",
        "CREATE FUNCTION of_january() RETURNS SETOF eidos_risk_audit_logs_2024_01 LANGUAGE plpgsql AS 'BEGIN END'",
        "function public.of_january()",
        "DROP FUNCTION of_january()",
    ),
    (
        "referenced",
        "CREATE FUNCTION counted() RETURNS bigint LANGUAGE sql BEGIN ATOMIC \
             SELECT count(*) FROM eidos_risk_audit_logs_2024_01; END",
        "function public.counted()",
        "DROP FUNCTION counted()",
    ),
    (
        "referenced",
        "CREATE TABLE keeper (id BIGINT, log eidos_risk_audit_logs_2024_01)",
        "table column public.keeper.log",
        "DROP TABLE keeper",
    ),
    (
        "referenced",
        "CREATE TABLE guarded (id BIGINT); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY known ON guarded USING (id IN (SELECT id FROM eidos_risk_audit_logs_2024_01))",
        "policy known on public.guarded",
        "DROP TABLE guarded",
    ),
    (
        "referenced",
        "CREATE TABLE notes (log_id BIGINT, log_at BIGINT, CONSTRAINT note_of FOREIGN KEY (log_id, log_at) \
             REFERENCES eidos_risk_audit_logs_2024_01)",
        "note_of of public.notes",
        "DROP TABLE notes",
    ),
    (
        "referenced",
        "CREATE VIEW grouped AS SELECT id, created_at, actor FROM eidos_risk_audit_logs_2024_01 GROUP BY id, created_at",
        "view public.grouped",
        "DROP VIEW grouped",
    ),
    (
        "publication",
        "CREATE PUBLICATION of_one FOR TABLE eidos_risk_audit_logs_2024_01",
        "ALTER PUBLICATION \"of_one\" DROP TABLE",
        "DROP PUBLICATION of_one",
    ),
    (
        "cascade",
        "CREATE TABLE actors (actor VARCHAR(64) PRIMARY KEY); \
         ALTER TABLE eidos_risk_audit_logs ADD CONSTRAINT by_actor FOREIGN KEY (actor) REFERENCES actors \
             ON DELETE CASCADE NOT VALID",
        "by_actor",
        "ALTER TABLE eidos_risk_audit_logs DROP CONSTRAINT by_actor; DROP TABLE actors",
    ),
    (
        "cascade",
        "CREATE TABLE actors (actor VARCHAR(64) PRIMARY KEY); \
         ALTER TABLE eidos_risk_audit_logs_2024_01 ADD CONSTRAINT by_actor FOREIGN KEY (actor) REFERENCES actors \
             ON UPDATE SET NULL NOT VALID",
        "ON UPDATE SET NULL",
        "ALTER TABLE eidos_risk_audit_logs_2024_01 DROP CONSTRAINT by_actor; DROP TABLE actors",
    ),
];

#[tokio::test]
async fn whatever_hangs_on_a_partition_is_named_before_it_is_frozen() {
    let fixture = Fixture::new().await;
    for (label, make, named, unmake) in DEPENDENTS {
        // A foreign key that is NOT VALID cannot be put on a partitioned table.
        let make = make.replace("NOT VALID", "");
        fixture.sql(&format!("TRUNCATE {TABLE}; {make}")).await;
        let run = fixture.run().await;
        let error = fixture.advance(&run).await.unwrap_err();
        assert_eq!(error.refusal(), Some(*label), "{make}: {error}");
        assert!(error.to_string().contains(named), "{make}: {error}");
        assert!(fixture.states().await.is_empty(), "{make}: a unit was begun");
        fixture
            .sql(&format!(
                "INSERT INTO {TABLE} (id, created_at) VALUES (7000, {}); {unmake}",
                MONTHS[0]
            ))
            .await;
    }
    let run = fixture.run().await;
    assert_eq!(
        fixture.advance(&run).await.unwrap().unit.state,
        UnitState::Quarantined
    );
}

#[tokio::test]
async fn every_dependent_is_named_at_once() {
    let fixture = Fixture::new().await;
    for (_, make, _, _) in DEPENDENTS.iter().take(2) {
        fixture.sql(make).await;
    }
    let run = fixture.run().await;
    let error = fixture.advance(&run).await.unwrap_err().to_string();
    assert!(
        error.contains("public.looking") && error.contains("public.summed"),
        "{error}"
    );
}

#[tokio::test]
async fn an_identity_of_a_partition_that_others_draw_from_keeps_the_partition() {
    let fixture = Fixture::new().await;
    let identity = format!(
        "ALTER TABLE {JANUARY} ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (SEQUENCE NAME january_ids)"
    );
    if server_version(&fixture).await >= 17 {
        // There the identity is the table's, and no partition has one.
        let refused = fixture.try_sql(&identity).await.unwrap_err().to_string();
        assert!(
            refused.contains("cannot add identity to a column of a partition"),
            "{refused}"
        );
        return;
    }
    fixture.sql(&identity).await;
    // Nothing else makes ids: whoever writes takes them from this sequence, by its name.
    let run = fixture.run().await;
    let error = fixture.advance(&run).await.unwrap_err();
    assert_eq!(error.refusal(), Some("sequence"), "{error}");
    assert!(error.to_string().contains("public.january_ids"), "{error}");
    fixture
        .sql(&format!(
            "ALTER TABLE ONLY {TABLE} ALTER COLUMN id SET DEFAULT nextval('january_ids')"
        ))
        .await;
    let error = fixture.advance(&fixture.run().await).await.unwrap_err();
    assert_eq!(error.refusal(), Some("referenced"), "{error}");
    assert!(
        error
            .to_string()
            .contains(&format!("default value for public.{TABLE}.id")),
        "{error}"
    );
    // With a source of ids of its own the table does not need the partition's.
    fixture
        .sql(&format!(
            "CREATE SEQUENCE ids; ALTER TABLE ONLY {TABLE} ALTER COLUMN id SET DEFAULT nextval('ids')"
        ))
        .await;
    assert_eq!(fixture.quarantined().await.state, UnitState::Quarantined);
}

#[tokio::test]
async fn what_is_the_partition_s_own_goes_with_it() {
    let fixture = Fixture::new().await;
    fixture
        .sql(&format!(
            "CREATE STATISTICS january_stats ON id, actor FROM {JANUARY}; \
             CREATE POLICY january_policy ON {JANUARY} USING (true); \
             CREATE INDEX january_index ON {JANUARY} (actor); \
             CREATE INDEX of_all ON {TABLE} (actor); \
             CREATE TABLE kinds (actor VARCHAR(64) PRIMARY KEY); \
             ALTER TABLE {TABLE} ADD CHECK (id >= 0); \
             CREATE RULE january_rule AS ON INSERT TO {JANUARY} DO ALSO NOTIFY january; \
             CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
             CREATE TRIGGER seen BEFORE INSERT ON {TABLE} FOR EACH ROW EXECUTE FUNCTION seen(); \
             CREATE VIEW everything AS SELECT id FROM {TABLE}; \
             CREATE PUBLICATION of_all FOR TABLE {TABLE}"
        ))
        .await;
    let unit = fixture.quarantined().await;
    let later = fixture.later_run().await;
    let done = later.disposal().resume(unit).await.unwrap();
    assert_eq!(done.unit.state, UnitState::Dropped);
    assert_eq!(fixture.count("SELECT count(*) FROM everything").await, 800);
}

#[tokio::test]
async fn a_table_in_quarantine_that_owns_a_sequence_is_not_dropped_with_it() {
    let fixture = Fixture::new().await;
    let unit = fixture.quarantined().await;
    // As an older version left it.
    let resting = unit.quarantine_table.clone().unwrap();
    fixture
        .sql(&format!(
            "CREATE SEQUENCE eidos_quarantine.audit_ids OWNED BY {resting}.id"
        ))
        .await;
    let later = fixture.later_run().await;
    let error = later.disposal().resume(unit).await.unwrap_err();
    assert_eq!(error.refusal(), Some("sequence"), "{error}");
    let text = error.to_string();
    let cure = text.split("run: ").nth(1).unwrap();
    fixture.sql(cure.split(". ").next().unwrap()).await;
    assert_eq!(fixture.count("SELECT nextval('public.audit_ids')").await, 1);
    let later = fixture.later_run().await;
    let done = later.disposal().resume(fixture.unit().await).await.unwrap();
    assert_eq!(done.unit.state, UnitState::Dropped);
    assert_eq!(fixture.count("SELECT nextval('public.audit_ids')").await, 2);
}

#[tokio::test]
async fn what_the_server_says_about_dependents_is_passed_on() {
    let fixture = Fixture::new().await;
    fixture
        .sql(&format!("CREATE VIEW looking AS SELECT id FROM {JANUARY}"))
        .await;
    let refused = fixture
        .try_sql(&format!("DROP TABLE {JANUARY}"))
        .await
        .unwrap_err();
    let error = eidos_disposal::DisposalError::sql("drop a table")(refused).to_string();
    assert!(
        error.contains(&format!("view looking depends on table {JANUARY}")),
        "{error}"
    );
    assert!(
        !error.contains("at line"),
        "a line of the server's source tells nobody anything: {error}"
    );
    // The rows of a table are not for logs.
    let refused = fixture
        .try_sql(&format!(
            "INSERT INTO {TABLE} (id, created_at, amount) VALUES (1, {}, NULL)",
            MONTHS[0]
        ))
        .await
        .unwrap_err();
    let error = eidos_disposal::DisposalError::sql("insert a row")(refused).to_string();
    assert!(!error.contains("Failing row contains"), "{error}");
}

#[tokio::test]
async fn a_foreign_key_without_actions_costs_its_table_a_lock_that_the_attempt_waits_for() {
    let fixture = Fixture::new().await;
    fixture
        .sql(&format!(
            "CREATE TABLE actors (actor VARCHAR(64) PRIMARY KEY); INSERT INTO actors SELECT DISTINCT actor FROM {TABLE} \
                 WHERE actor IS NOT NULL; \
             ALTER TABLE {TABLE} ADD CONSTRAINT by_actor FOREIGN KEY (actor) REFERENCES actors"
        ))
        .await;
    let mut writer = fixture.books.pool().begin().await.unwrap();
    sqlx::query("INSERT INTO actors VALUES ('new')")
        .execute(&mut *writer)
        .await
        .unwrap();
    let run = fixture.run().await;
    let error = fixture.advance(&run).await.unwrap_err();
    assert!(
        matches!(error, eidos_disposal::DisposalError::Busy { .. }),
        "{error}"
    );
    writer.rollback().await.unwrap();
    let unit = fixture.quarantined().await;
    let mut reader = fixture.books.pool().begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM actors")
        .execute(&mut *reader)
        .await
        .unwrap();
    let later = fixture.later_run().await;
    let error = later.disposal().resume(unit).await.unwrap_err();
    assert!(
        matches!(error, eidos_disposal::DisposalError::Busy { .. }),
        "{error}"
    );
    reader.rollback().await.unwrap();
    let later = fixture.later_run().await;
    let done = later.disposal().resume(fixture.unit().await).await.unwrap();
    assert_eq!(done.unit.state, UnitState::Dropped);
}

#[tokio::test]
async fn a_database_without_a_place_for_quarantine_is_told_before_anything_is_frozen() {
    let fixture = Fixture::new().await;
    fixture
        .sql("ALTER SCHEMA eidos_quarantine RENAME TO elsewhere")
        .await;
    let run = fixture.run().await;
    assert_eq!(refusal(fixture.advance(&run).await), "setup");
    assert!(fixture.states().await.is_empty());
}
