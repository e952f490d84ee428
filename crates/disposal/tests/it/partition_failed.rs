//! A failure that cannot heal: the partition takes writes again, the cause and the row are named, and it is not tried again
//! until something changed.

use std::time::Duration;

use eidos_disposal::DisposalError;
use eidos_disposal::partition::UnitOutcome;
use eidos_disposal::unit::UnitState;
use eidos_plan::Approval;
use eidos_testkit::eventually;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::fixture::{Fixture, JANUARY, Login, MONTHS, TABLE, approval};

const WITHIN: Duration = Duration::from_secs(30);

/// Takes January as far as it goes, on the schedule's word.
async fn scheduled(fixture: &Fixture) -> Result<UnitOutcome, DisposalError> {
    let run = fixture.run().await;
    let identity = fixture.identity(&run, JANUARY).await;
    let policy = Approval {
        approved_by: "policy".to_owned(),
        ..approval()
    };
    run.disposal().advance(&identity, &policy).await
}

async fn is_frozen(fixture: &Fixture) -> bool {
    fixture.shape().await.partitioning.unwrap().partitions[0].frozen
}

/// One statement in a session of its own, whose counts of changed rows are there when this returns.
async fn counted(fixture: &Fixture, statement: &str) {
    let mut session = PgConnection::connect(&fixture.books.url()).await.unwrap();
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut session)
        .await
        .unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(&mut session)
        .await
        .unwrap();
    session.close().await.unwrap();
    eventually("the session is gone", WITHIN, async || {
        let left = fixture
            .count(&format!(
                "SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"
            ))
            .await;
        if left == 0 { Ok(()) } else { Err("not yet") }
    })
    .await;
}

/// Sessions of a pool tell how many rows they changed some seconds late, and each count is a change: waits for those that
/// filled January.
async fn rows_are_counted(fixture: &Fixture) {
    eventually("the rows of January are counted", WITHIN, async || {
        let counted = fixture
            .count(&format!(
                "SELECT pg_stat_get_tuples_inserted('{JANUARY}'::regclass)"
            ))
            .await;
        if counted == 400 { Ok(()) } else { Err(counted) }
    })
    .await;
}

/// Nothing begins any more.
async fn is_not_tried_again(fixture: &Fixture, cause: &str) {
    let units = fixture.states().await;
    for _again in 0..2 {
        let error = scheduled(fixture).await.unwrap_err();
        assert_eq!(error.refusal(), Some("failed_before"), "{error}");
        assert!(error.to_string().contains(cause), "still says why: {error}");
    }
    assert_eq!(fixture.states().await, units, "no new unit");
}

/// Fails as said, and leaves the partition to its writers; nothing begins again until `correction`.
async fn fails_once(fixture: &Fixture, parts: &[&str], correction: &str) {
    rows_are_counted(fixture).await;
    let error = scheduled(fixture).await.unwrap_err();
    for part in parts {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    assert!(
        error.refusal().is_some(),
        "it counts, and raises the alert: {error:?}"
    );
    assert!(!is_frozen(fixture).await, "nobody is kept from correcting it");
    assert_eq!(fixture.states().await, ["abandoned"]);
    assert!(fixture.objects().is_empty(), "{:?}", fixture.objects());

    is_not_tried_again(fixture, parts[0]).await;
    // A person who insists is obeyed.
    let run = fixture.run().await;
    let insisted = fixture.advance(&run).await.unwrap_err();
    assert_ne!(insisted.refusal(), Some("failed_before"), "{insisted}");
    assert!(!is_frozen(fixture).await);

    counted(fixture, correction).await;
    eventually(
        "a corrected partition is tried again",
        WITHIN,
        async || match scheduled(fixture).await {
            Ok(outcome) if outcome.unit.state == UnitState::Quarantined => Ok(()),
            Ok(outcome) => Err(outcome.unit.state.to_string()),
            Err(error) => Err(error.to_string()),
        },
    )
    .await;
}

#[tokio::test]
async fn a_byte_that_is_not_utf8_names_its_row_and_is_not_exported_again_until_it_is_corrected() {
    let fixture = Fixture::new().await;
    // As an old server, or a file that was copied into place, leaves it.
    counted(
        &fixture,
        &format!(
            "CREATE CAST (bytea AS text) WITHOUT FUNCTION; \
             UPDATE {TABLE} SET actor = '\\x41ff42'::bytea::text WHERE id = 7"
        ),
    )
    .await;
    fails_once(
        &fixture,
        &["id=7", "actor", "not UTF-8"],
        &format!("UPDATE {TABLE} SET actor = 'AB' WHERE id = 7"),
    )
    .await;
}

#[tokio::test]
async fn a_byte_that_the_server_cannot_convert_names_its_row() {
    let mut fixture = Fixture::new().await;
    // A database in SQL_ASCII checks nothing on the way in, and refuses on the way out.
    fixture
        .sql("UPDATE pg_database SET encoding = pg_char_to_encoding('SQL_ASCII') WHERE datname = current_database()")
        .await;
    counted(
        &fixture,
        &format!("UPDATE {TABLE} SET actor = E'A\\xffB' WHERE id = 7"),
    )
    .await;
    fixture.reconnect().await;
    fails_once(
        &fixture,
        &["id=7", "column actor", "invalid byte sequence", "ctid"],
        &format!("UPDATE {TABLE} SET actor = 'AB' WHERE id = 7"),
    )
    .await;
}

#[tokio::test]
async fn a_value_no_archive_can_keep_is_not_tried_again_until_it_is_corrected() {
    let fixture = Fixture::new().await;
    counted(
        &fixture,
        &format!("UPDATE {TABLE} SET amount = 'NaN' WHERE id = 7"),
    )
    .await;
    fails_once(
        &fixture,
        &["id=7", "amount"],
        &format!("UPDATE {TABLE} SET amount = 0 WHERE id = 7"),
    )
    .await;
}

/// The job's login owns the tables and is no superuser, as it should be.
async fn owner_of(fixture: &mut Fixture) -> Login {
    let login = fixture.work_as("", &[]).await;
    let role = &login.0;
    fixture
        .sql(&format!(
            "GRANT ALL ON SCHEMA public, eidos_quarantine TO {role}; \
             GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}; ALTER TABLE {TABLE} OWNER TO {role}; \
             ALTER TABLE {TABLE}_2024_01 OWNER TO {role}; ALTER TABLE {TABLE}_2024_02 OWNER TO {role}; \
             ALTER TABLE {TABLE}_2024_03 OWNER TO {role}"
        ))
        .await;
    login
}

#[tokio::test]
async fn forced_row_security_is_refused_by_name_before_anything_is_frozen() {
    let mut fixture = Fixture::new().await;
    let login = owner_of(&mut fixture).await;
    fixture
        .sql(&format!(
            "ALTER TABLE {JANUARY} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; \
             CREATE POLICY few ON {JANUARY} USING (id < 10)"
        ))
        .await;
    let error = scheduled(&fixture).await.unwrap_err();
    assert_eq!(error.refusal(), Some("rights"), "{error}");
    assert!(error.to_string().contains("BYPASSRLS"), "{error}");
    assert!(!is_frozen(&fixture).await);
    assert!(fixture.states().await.is_empty());
    fixture
        .sql(&format!("ALTER TABLE {JANUARY} NO FORCE ROW LEVEL SECURITY"))
        .await;
    assert_eq!(
        scheduled(&fixture).await.unwrap().unit.state,
        UnitState::Quarantined
    );
    login.gone(&fixture).await;
}

#[tokio::test]
async fn row_security_that_comes_after_the_freeze_thaws_the_partition() {
    let mut fixture = Fixture::new().await;
    let login = owner_of(&mut fixture).await;
    fixture.frozen().await;
    fixture
        .sql(&format!(
            "ALTER TABLE {JANUARY} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
        ))
        .await;
    let error = scheduled(&fixture).await.unwrap_err();
    assert!(error.to_string().contains("row-level security"), "{error}");
    assert_eq!(error.refusal(), Some("rights"), "{error}");
    assert!(!is_frozen(&fixture).await);
    assert_eq!(fixture.states().await, ["abandoned"]);
    login.gone(&fixture).await;
}

#[tokio::test]
async fn a_right_that_is_missing_after_the_export_thaws_the_partition() {
    let mut fixture = Fixture::new().await;
    let login = owner_of(&mut fixture).await;
    fixture.verified().await;
    rows_are_counted(&fixture).await;
    fixture
        .sql(&format!("REVOKE ALL ON SCHEMA eidos_quarantine FROM {}", login.0))
        .await;
    let error = scheduled(&fixture).await.unwrap_err();
    assert!(error.to_string().contains("eidos_quarantine"), "{error}");
    assert!(error.refusal().is_some(), "{error:?}");
    assert!(!is_frozen(&fixture).await);
    assert_eq!(
        (fixture.rows().await, fixture.states().await),
        (1200, vec!["abandoned".to_owned()])
    );
    fixture
        .sql(&format!("GRANT ALL ON SCHEMA eidos_quarantine TO {}", login.0))
        .await;
    assert_eq!(
        scheduled(&fixture).await.unwrap().unit.state,
        UnitState::Quarantined
    );
    login.gone(&fixture).await;
}

#[tokio::test]
async fn a_reference_that_comes_after_the_freeze_thaws_the_partition() {
    let fixture = Fixture::new().await;
    fixture.verified().await;
    fixture
        .sql(&format!(
            "CREATE TABLE notes (log_id BIGINT, log_at BIGINT, \
                 CONSTRAINT note_of FOREIGN KEY (log_id, log_at) REFERENCES {TABLE})"
        ))
        .await;
    let error = scheduled(&fixture).await.unwrap_err();
    assert_eq!(error.refusal(), Some("referenced"), "{error}");
    assert!(!is_frozen(&fixture).await);
    fixture
        .sql(&format!(
            "INSERT INTO {TABLE} (id, created_at) VALUES (5000, {})",
            MONTHS[0]
        ))
        .await;
}

#[tokio::test]
async fn what_heals_by_itself_keeps_its_freeze() {
    let fixture = Fixture::new().await;
    fixture.frozen().await;
    assert!(is_frozen(&fixture).await, "a store that is away comes back");
    fixture.hold().await;
    let error = scheduled(&fixture).await.unwrap_err();
    assert_eq!(error.refusal(), Some("hold"));
    assert!(is_frozen(&fixture).await, "a hold is lifted again");
}
