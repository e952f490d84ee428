//! What newer servers, and the settings of roles and databases, change under our feet.

use eidos_disposal::export::{LongRead, content_of, lift_transaction_timeout};
use eidos_disposal::unit::UnitState;

use crate::fixture::{Fixture, JANUARY, MONTHS, TABLE};

pub(crate) async fn server_version(fixture: &Fixture) -> i64 {
    fixture
        .count("SELECT current_setting('server_version_num')::bigint / 10000")
        .await
}

/// January frozen, exported, quarantined and dropped.
async fn is_disposed_of(fixture: &Fixture) {
    let unit = fixture.quarantined().await;
    let later = fixture.later_run().await;
    let done = later.disposal().resume(unit).await.unwrap();
    assert_eq!(done.unit.state, UnitState::Dropped);
    assert_eq!(fixture.rows().await, 800);
}

#[tokio::test]
async fn a_not_null_that_was_never_validated_lets_old_nulls_be_exported() {
    let fixture = Fixture::new().await;
    let constrain = format!("ALTER TABLE {JANUARY} ADD CONSTRAINT must NOT NULL actor NOT VALID");
    let constrained = fixture.try_sql(&constrain).await;
    if server_version(&fixture).await < 18 {
        assert!(constrained.is_err(), "PostgreSQL 18 brought it");
        // What older servers say of such a table: NOT NULL, and a NULL in it. That is a value nobody can keep, by name.
        fixture
            .sql(&format!(
                "UPDATE pg_attribute SET attnotnull = true WHERE attrelid = '{JANUARY}'::regclass AND attname = 'actor'"
            ))
            .await;
        let run = fixture.run().await;
        let error = fixture.advance(&run).await.unwrap_err();
        assert!(error.is_about_a_value(), "{error}");
        assert!(!error.to_string().contains("damaged on their way"), "{error}");
        assert!(!fixture.shape().await.partitioning.unwrap().partitions[0].frozen);
        return;
    }
    constrained.unwrap();
    let unit = fixture.quarantined().await;
    let export = fixture.store.manifest(&unit.manifest().unwrap()).await.unwrap();
    let actor = export
        .columns
        .iter()
        .find(|column| column.name == "actor")
        .unwrap();
    assert!(actor.nullable, "the archive says what the rows are");
    let later = fixture.later_run().await;
    let done = later.disposal().resume(unit).await.unwrap();
    assert_eq!(done.unit.state, UnitState::Dropped);
}

#[tokio::test]
async fn the_transaction_limit_of_a_role_does_not_end_what_is_long_by_its_nature() {
    let mut fixture = Fixture::new().await;
    if server_version(&fixture).await < 17 {
        let unknown = fixture
            .try_sql("SET transaction_timeout = '2s'")
            .await
            .unwrap_err();
        assert!(unknown.to_string().contains("transaction_timeout"), "{unknown}");
        let mut conn = fixture.external.acquire().await.unwrap();
        lift_transaction_timeout(&mut conn, &fixture.settings)
            .await
            .unwrap();
        return;
    }
    let login = fixture
        .work_as("SUPERUSER", &["transaction_timeout = '2s'"])
        .await;
    let run = fixture.run().await;
    let mut read = LongRead::open(&fixture.external, &fixture.settings)
        .await
        .unwrap();
    let content = content_of(&run.ctx, &mut read, "SELECT pg_sleep(3)", 1)
        .await
        .unwrap();
    assert_eq!(content.rows, 1);
    read.close().await;
    // And the transaction of the DROP.
    let unit = fixture.quarantined().await;
    fixture
        .sql(
            "CREATE FUNCTION slowly() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN \
                 IF tg_tag = 'DROP TABLE' THEN PERFORM pg_sleep(3); END IF; END $$; \
             CREATE EVENT TRIGGER slow_drops ON sql_drop EXECUTE FUNCTION slowly()",
        )
        .await;
    let later = fixture.later_run().await;
    let done = later.disposal().resume(unit).await.unwrap();
    assert_eq!(done.unit.state, UnitState::Dropped);
    login.gone(&fixture).await;
}

#[tokio::test]
async fn quote_all_identifiers_is_harmless() {
    let mut fixture = Fixture::new().await;
    let run = fixture.run().await;
    let planned = fixture.identity(&run, JANUARY).await;
    let login = fixture
        .work_as("SUPERUSER", &["quote_all_identifiers = on"])
        .await;
    let mut conn = fixture.external.acquire().await.unwrap();
    let quoted = eidos_disposal::catalogue::read_by_oid(&mut conn, planned.table_oid)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        quoted.columns_fingerprint(),
        planned.columns_fingerprint,
        "{:?}",
        quoted.columns
    );
    drop(conn);
    is_disposed_of(&fixture).await;
    login.gone(&fixture).await;
}

#[tokio::test]
async fn an_empty_search_path_is_harmless() {
    let mut fixture = Fixture::new().await;
    let login = fixture.work_as("SUPERUSER", &["search_path = ''"]).await;
    let run = fixture.run().await;
    assert_eq!(run.recover().await, []);
    let mut conn = fixture.external.acquire().await.unwrap();
    let found = eidos_disposal::catalogue::read_table(&mut conn, &TABLE.parse().unwrap())
        .await
        .unwrap();
    assert_eq!(found.unwrap().relation.schema, "public");
    drop(conn);
    is_disposed_of(&fixture).await;
    login.gone(&fixture).await;
}

/// Since 17 a partitioned table may have an identity, which its partitions take their ids from.
#[tokio::test]
async fn the_identity_of_the_table_goes_on_when_a_partition_has_left() {
    let fixture = Fixture::new().await;
    if server_version(&fixture).await < 17 {
        return;
    }
    fixture
        .sql(&format!(
            "ALTER TABLE {TABLE} ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (START 100000)"
        ))
        .await;
    let insert = format!("INSERT INTO {TABLE} (created_at) VALUES ({})", MONTHS[1]);
    let resting = fixture.quarantined().await;
    fixture.sql(&insert).await;
    let later = fixture.later_run().await;
    let done = later.disposal().resume(resting).await.unwrap();
    assert_eq!(done.unit.state, UnitState::Dropped);
    fixture.sql(&insert).await;
    let by_identity = format!("SELECT count(*) FROM {TABLE} WHERE id >= 100000");
    assert_eq!(fixture.count(&by_identity).await, 2);
}
