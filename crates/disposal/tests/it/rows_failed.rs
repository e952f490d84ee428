//! Rows of a plain table whose export cannot succeed: the cause and the row are named, nothing is deleted, and the month is
//! not tried again until something about it changed.

use eidos_disposal::DisposalError;
use eidos_disposal::rows::RowOutcome;
use eidos_disposal::unit::UnitState;
use eidos_plan::Approval;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::fixture::{Fixture, MONTHS, approval};
use crate::rows::{LOGS, disposal, due, fixture, january, proved};

/// Takes January as far as it goes, on the word of `approved_by`.
async fn advance(fixture: &Fixture, approved_by: &str) -> Result<RowOutcome, DisposalError> {
    let rule = proved();
    let identity = january(fixture, &rule).await;
    let run = fixture.run().await;
    let approval = Approval {
        approved_by: approved_by.to_owned(),
        ..approval()
    };
    disposal(fixture, &run, &rule).advance(&identity, &approval).await
}

async fn is_not_tried_again(fixture: &Fixture, cause: &str) {
    let units = fixture.states().await;
    for _again in 0..2 {
        let error = advance(fixture, "policy").await.unwrap_err();
        assert_eq!(error.refusal(), Some("failed_before"), "{error}");
        assert!(error.to_string().contains(cause), "still says why: {error}");
    }
    assert_eq!(fixture.states().await, units, "no new unit");
}

/// Fails as said and deletes nothing; nothing begins again until `correction`.
async fn fails_once(fixture: &Fixture, parts: &[&str], correction: &str) {
    let rows = due(fixture).await;
    let error = advance(fixture, "policy").await.unwrap_err();
    for part in parts {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    assert!(
        error.refusal().is_some(),
        "it counts, and raises the alert: {error:?}"
    );
    assert_eq!(fixture.states().await, ["abandoned"]);
    assert!(fixture.objects().is_empty(), "{:?}", fixture.objects());
    is_not_tried_again(fixture, parts[0]).await;

    // The table is in use all the time; what happens to other rows is no reason to try again.
    fixture
        .sql(&format!(
            "INSERT INTO {LOGS} (id, lang, created_at, status) VALUES (5000, 'en', {}, 2); \
             UPDATE {LOGS} SET note = 'seen' WHERE created_at >= {}",
            MONTHS[2], MONTHS[1]
        ))
        .await;
    is_not_tried_again(fixture, parts[0]).await;

    // A person who insists is obeyed.
    let insisted = advance(fixture, "ops").await.unwrap_err();
    assert_ne!(insisted.refusal(), Some("failed_before"), "{insisted}");
    is_not_tried_again(fixture, parts[0]).await;

    assert_eq!(due(fixture).await, rows, "nothing was deleted");
    fixture.sql(correction).await;
    let outcome = advance(fixture, "policy").await.unwrap();
    assert_eq!(outcome.unit.state, UnitState::Deleted);
    assert_eq!(due(fixture).await, 0);
}

#[tokio::test]
async fn a_row_that_is_not_utf8_is_named_and_its_month_is_not_exported_again_until_it_is_corrected() {
    let fixture = fixture().await;
    fixture
        .sql(&format!(
            "CREATE CAST (bytea AS text) WITHOUT FUNCTION; \
             UPDATE {LOGS} SET note = '\\x41ff42'::bytea::text WHERE id = 7"
        ))
        .await;
    let correction = format!("UPDATE {LOGS} SET note = 'AB' WHERE id = 7");
    fails_once(&fixture, &["id=7", "note", "not UTF-8"], &correction).await;
}

#[tokio::test]
async fn a_row_of_the_month_that_the_server_cannot_convert_is_named_and_no_row_of_another_month() {
    let mut fixture = fixture().await;
    fixture
        .sql("UPDATE pg_database SET encoding = pg_char_to_encoding('SQL_ASCII') WHERE datname = current_database()")
        .await;
    // Row 298 is of February and comes first: what is written last lies behind. A session knows the encoding from its start.
    let mut session = PgConnection::connect(&fixture.books.url()).await.unwrap();
    for id in [298, 7] {
        let write = format!("UPDATE {LOGS} SET note = E'A\\xffB' WHERE id = {id}");
        sqlx::raw_sql(AssertSqlSafe(write))
            .execute(&mut session)
            .await
            .unwrap();
    }
    session.close().await.unwrap();
    fixture.reconnect().await;
    let correction = format!("UPDATE {LOGS} SET note = 'AB' WHERE id = 7");
    fails_once(
        &fixture,
        &["id=7", "column note", "invalid byte sequence", "ctid"],
        &correction,
    )
    .await;
}

#[tokio::test]
async fn a_value_of_a_row_that_no_archive_can_keep_is_not_tried_again_until_it_is_corrected() {
    let fixture = fixture().await;
    fixture
        .sql(&format!("UPDATE {LOGS} SET amount = 'NaN' WHERE id = 7"))
        .await;
    let correction = format!("UPDATE {LOGS} SET amount = 0 WHERE id = 7");
    fails_once(&fixture, &["amount"], &correction).await;
}
