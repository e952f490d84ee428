//! Every reason to leave a partition alone.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use eidos_disposal::catalogue;
use eidos_disposal::unit::{self, Change, NewUnit, Unit, UnitState};
use eidos_types::SystemClock;
use sqlx::AssertSqlSafe;

use crate::fixture::{Fixture, JANUARY, MONTHS, TABLE, approval, refusal};

#[tokio::test]
async fn a_run_that_was_replaced_can_neither_freeze_nor_quarantine_nor_drop() {
    let fixture = Fixture::new().await;
    // Replaced in the source database only: its own fence is what stops it there.
    let replaced = "UPDATE eidos_jobs_fence SET epoch = epoch + 1";
    let restored = "UPDATE eidos_jobs_fence SET epoch = epoch - 1";
    let run = fixture.run().await;
    fixture.sql(replaced).await;
    assert!(fixture.advance(&run).await.unwrap_err().ends_the_run());
    assert_eq!(fixture.states().await, ["planned"]);
    assert!(!fixture.shape().await.partitioning.unwrap().partitions[0].frozen);
    fixture.sql(restored).await;

    fixture.verified().await;
    let run = fixture.run().await;
    fixture.sql(replaced).await;
    assert!(fixture.advance(&run).await.unwrap_err().ends_the_run());
    assert_eq!(
        (fixture.rows().await, fixture.states().await),
        (1200, vec!["verified".to_owned()])
    );
    fixture.sql(restored).await;

    let unit = fixture.quarantined().await;
    let stale = fixture.later_run().await;
    fixture.sql(replaced).await;
    assert!(
        stale
            .disposal()
            .resume(unit.clone())
            .await
            .unwrap_err()
            .ends_the_run()
    );
    fixture.sql(restored).await;
    let resting = format!("SELECT count(*) FROM {}", unit.quarantine_table.clone().unwrap());
    assert_eq!(fixture.count(&resting).await, 400);

    // And replaced in our own database: it cannot even write down what it is about to do.
    let _newer = fixture.later_run().await;
    let error = stale.disposal().resume(fixture.unit().await).await.unwrap_err();
    assert!(error.ends_the_run(), "{error:?}");
    assert_eq!(fixture.count(&resting).await, 400);
}

#[tokio::test]
async fn a_legal_hold_stops_every_step() {
    let fixture = Fixture::new().await;
    fixture.hold().await;
    let run = fixture.run().await;
    assert_eq!(refusal(fixture.advance(&run).await), "hold");
    assert!(!fixture.shape().await.partitioning.unwrap().partitions[0].frozen);
    fixture.lift().await;
    let unit = fixture.quarantined().await;
    fixture.hold().await;
    let later = fixture.later_run().await;
    assert_eq!(refusal(later.disposal().resume(unit.clone()).await), "hold");
    assert_eq!(fixture.states().await, ["quarantined"]);
    fixture.lift().await;
    assert_eq!(
        later.disposal().resume(unit).await.unwrap().unit.state,
        UnitState::Dropped
    );
}

#[tokio::test]
async fn clocks_that_disagree_stop_every_act_that_cannot_be_undone() {
    let fixture = Fixture::new().await;
    fixture.verified().await;
    for minutes in [-2, 2] {
        let clock = Arc::new(SystemClock::skewed(TimeDelta::minutes(minutes)));
        let run = fixture.run_with("2026-01-01T00:00:00Z", clock.clone()).await;
        assert_eq!(refusal(fixture.advance(&run).await), "clock");
        assert_eq!(fixture.rows().await, 1200);
    }
    let unit = fixture.quarantined().await;
    let clock = Arc::new(SystemClock::skewed(TimeDelta::minutes(2)));
    let run = fixture.run_with("2026-01-09T00:00:00Z", clock).await;
    assert_eq!(refusal(run.disposal().resume(unit).await), "clock");
    assert_eq!(
        fixture.states().await,
        ["quarantined"],
        "the announcement was taken back"
    );
}

#[tokio::test]
async fn a_column_that_appears_after_the_plan_after_the_export_or_in_quarantine_stops_it() {
    let fixture = Fixture::new().await;
    let run = fixture.run().await;
    let planned = fixture.identity(&run, JANUARY).await;
    fixture
        .sql(&format!("ALTER TABLE {TABLE} ADD COLUMN fresh TEXT"))
        .await;
    assert_eq!(
        refusal(run.disposal().advance(&planned, &approval()).await),
        "changed"
    );
    fixture.verified().await;
    let run = fixture.run().await;
    let planned = fixture.identity(&run, JANUARY).await;
    fixture
        .sql(&format!(
            "ALTER TABLE {TABLE} ADD COLUMN fresher TEXT DEFAULT 'x'"
        ))
        .await;
    assert_eq!(
        refusal(run.disposal().advance(&planned, &approval()).await),
        "changed"
    );
    assert_eq!(fixture.rows().await, 1200);
    // A plan that knows the column begins again, with an export that has it.
    let unit = fixture.quarantined().await;
    assert_eq!(fixture.states().await, ["abandoned", "quarantined"]);
    assert_eq!(fixture.manifests().len(), 1);
    let resting = unit.quarantine_table.clone().unwrap();
    fixture
        .sql(&format!("ALTER TABLE {resting} ADD COLUMN freshest TEXT"))
        .await;
    let later = fixture.later_run().await;
    assert_eq!(refusal(later.disposal().resume(unit).await), "columns");
    assert_eq!(fixture.states().await, ["abandoned", "quarantined"]);
}

/// While the drop waits for its lock, `meanwhile` happens, and is committed before the lock is given.
async fn resumed_while(fixture: &Fixture, unit: Unit, meanwhile: &str, hold: bool) -> &'static str {
    let resting = unit.quarantine_table.clone().unwrap();
    let mut later = fixture.later_run().await;
    later.settings.lock_timeout = Duration::from_secs(10);
    let mut other = fixture.books.pool().begin().await.unwrap();
    let lock = format!("LOCK TABLE {resting} IN ROW EXCLUSIVE MODE");
    sqlx::query(AssertSqlSafe(lock))
        .execute(&mut *other)
        .await
        .unwrap();
    let disposal = later.disposal();
    let dropping = disposal.resume(unit);
    let interfering = async {
        eidos_testkit::eventually("the drop waits for its lock", Duration::from_secs(20), async || {
            let waiting = fixture
                .count("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE ONLY%'")
                .await;
            if waiting > 0 { Ok(()) } else { Err("not yet") }
        })
        .await;
        if hold {
            fixture.hold().await;
        }
        sqlx::raw_sql(AssertSqlSafe(meanwhile.to_owned()))
            .execute(&mut *other)
            .await
            .unwrap();
        other.commit().await.unwrap();
    };
    let (outcome, ()) = tokio::join!(dropping, interfering);
    refusal(outcome)
}

#[tokio::test]
async fn a_hold_that_is_placed_while_the_drop_is_under_way_keeps_the_table() {
    let fixture = Fixture::new().await;
    let unit = fixture.quarantined().await;
    assert_eq!(resumed_while(&fixture, unit, "SELECT 1", true).await, "hold");
    assert_eq!(fixture.states().await, ["quarantined"]);
}

#[tokio::test]
async fn a_table_that_is_attached_again_while_the_drop_waits_is_not_dropped() {
    let fixture = Fixture::new().await;
    let unit = fixture.quarantined().await;
    let attach = format!(
        "ALTER TABLE {TABLE} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})",
        unit.quarantine_table.as_deref().unwrap(),
        MONTHS[0],
        MONTHS[1]
    );
    assert_eq!(resumed_while(&fixture, unit, &attach, false).await, "moved");
    assert_eq!(fixture.rows().await, 1200);
}

#[tokio::test]
async fn a_hold_on_the_table_the_rows_came_from_keeps_a_partition_too() {
    let fixture = Fixture::new().await;
    fixture.hold().await;
    fixture
        .jobs_sql("UPDATE eidos_jobs_legal_holds SET table_name = 'eidos_risk_hot'")
        .await;
    let mut run = fixture.run().await;
    run.policy.held_with = vec![catalogue::Relation::new("public", "eidos_risk_hot")];
    assert_eq!(refusal(fixture.advance(&run).await), "hold");
    fixture.lift().await;
    let run = fixture.run().await;
    assert_eq!(
        fixture.advance(&run).await.unwrap().unit.state,
        UnitState::Quarantined
    );
}

#[tokio::test]
async fn a_slot_that_has_not_come_makes_nothing_old() {
    let fixture = Fixture::new().await;
    let run = fixture.run_at("2062-01-01T00:00:00Z").await;
    assert_eq!(refusal(fixture.advance(&run).await), "slot");
    assert_eq!(fixture.rows().await, 1200);
}

#[tokio::test]
async fn what_no_archive_can_hold_is_said_before_anything_is_frozen() {
    let fixture = Fixture::new().await;
    fixture
        .sql(&format!("ALTER TABLE {TABLE} ADD COLUMN tags TEXT[]"))
        .await;
    let run = fixture.run().await;
    assert_eq!(refusal(fixture.advance(&run).await), "type");
    assert!(fixture.states().await.is_empty());
    fixture
        .sql(&format!(
            "INSERT INTO {TABLE} (id, created_at) VALUES (7000, {})",
            MONTHS[0]
        ))
        .await;
}

#[tokio::test]
async fn a_unit_of_another_job_is_left_to_it() {
    let fixture = Fixture::new().await;
    fixture.frozen().await;
    fixture
        .jobs_sql("UPDATE eidos_jobs_disposal_units SET job_name = 'archive-data'")
        .await;
    let run = fixture.run().await;
    assert_eq!(refusal(fixture.advance(&run).await), "open");
    assert_eq!(fixture.states().await, ["frozen"]);
}

#[tokio::test]
async fn a_row_that_came_in_spite_of_the_freeze_is_exported_again_or_keeps_the_table() {
    let fixture = Fixture::new().await;
    let thaw = |table: &str| {
        format!(
            "DROP TRIGGER eidos_jobs_freeze_rows ON {table}; INSERT INTO {table} (id, created_at) VALUES (7000, {})",
            MONTHS[0]
        )
    };
    fixture.verified().await;
    fixture.sql(&thaw(JANUARY)).await;
    let run = fixture.run().await;
    assert_eq!(refusal(fixture.advance(&run).await), "freeze");
    assert!(
        fixture.objects().is_empty(),
        "an export that proves nothing is no export"
    );
    let run = fixture.run().await;
    let unit = fixture.advance(&run).await.unwrap().unit;
    assert_eq!(
        (unit.row_count, fixture.states().await),
        (Some(401), vec!["abandoned".into(), "quarantined".into()])
    );

    let resting = unit.quarantine_table.clone().unwrap();
    fixture.sql(&thaw(&resting).replace("7000", "7001")).await;
    let later = fixture.later_run().await;
    let error = later.disposal().resume(unit).await.unwrap_err();
    assert_eq!(error.refusal(), Some("mismatch"), "{error}");
    assert!(
        error.to_string().contains("402 rows") && error.to_string().contains("401 rows"),
        "{error}"
    );
    assert_eq!(
        fixture.count(&format!("SELECT count(*) FROM {resting}")).await,
        402
    );
    assert_eq!(fixture.states().await, ["abandoned", "quarantined"]);
}

#[tokio::test]
async fn a_changed_value_is_found_where_a_count_would_not_find_it() {
    let fixture = Fixture::new().await;
    let unit = fixture.quarantined().await;
    let resting = unit.quarantine_table.clone().unwrap();
    fixture
        .sql(&format!(
            "ALTER TABLE {resting} DISABLE TRIGGER ALL; \
             UPDATE {resting} SET amount = amount + 0.000000000000000001 WHERE id = 7; \
             ALTER TABLE {resting} ENABLE ALWAYS TRIGGER eidos_jobs_freeze_rows"
        ))
        .await;
    let later = fixture.later_run().await;
    assert_eq!(refusal(later.disposal().resume(unit).await), "mismatch");
}

#[tokio::test]
async fn an_unarchived_table_is_counted_again_before_it_goes() {
    let fixture = Fixture::new().await;
    let run = fixture.run().await.unarchived();
    let unit = fixture.advance(&run).await.unwrap().unit;
    let resting = unit.quarantine_table.clone().unwrap();
    fixture
        .sql(&format!(
            "ALTER TABLE {resting} DISABLE TRIGGER ALL; DELETE FROM {resting} WHERE id = 3"
        ))
        .await;
    let later = fixture.later_run().await.unarchived();
    assert_eq!(refusal(later.disposal().resume(unit).await), "mismatch");
    // Demanded meanwhile, an export is demanded of what rests there too.
    let later = fixture.later_run().await;
    assert_eq!(
        refusal(later.disposal().resume(fixture.unit().await).await),
        "evidence"
    );
}

#[tokio::test]
async fn another_table_of_the_same_name_is_another_table() {
    let fixture = Fixture::new().await;
    let recreate = format!(
        "DROP TABLE {JANUARY}; CREATE TABLE {JANUARY} PARTITION OF {TABLE} FOR VALUES FROM ({}) TO ({})",
        MONTHS[0], MONTHS[1]
    );
    let run = fixture.run().await;
    let planned = fixture.identity(&run, JANUARY).await;
    fixture.sql(&recreate).await;
    assert_eq!(
        refusal(run.disposal().advance(&planned, &approval()).await),
        "changed"
    );
    // Frozen only: the namesake begins anew. Proved: its export may be the only copy, a person decides.
    fixture.frozen().await;
    fixture.sql(&recreate).await;
    fixture.verified().await;
    assert_eq!(fixture.states().await, ["abandoned", "verified"]);
    fixture.sql(&recreate).await;
    let run = fixture.run().await;
    assert_eq!(refusal(fixture.advance(&run).await), "changed");
    assert_eq!(fixture.manifests().len(), 1);
}

#[tokio::test]
async fn a_table_that_somebody_took_out_of_quarantine_or_removed_is_said_so() {
    let fixture = Fixture::new().await;
    let unit = fixture.quarantined().await;
    let resting = unit.quarantine_table.clone().unwrap();
    fixture
        .sql(&format!("ALTER TABLE {resting} SET SCHEMA public"))
        .await;
    let later = fixture.later_run().await;
    assert_eq!(refusal(later.disposal().resume(unit.clone()).await), "moved");
    let name = resting.rsplit('.').next().unwrap().to_owned();
    assert_eq!(fixture.count(&format!("SELECT count(*) FROM {name}")).await, 400);
    fixture.sql(&format!("DROP TABLE {name}")).await;
    assert_eq!(refusal(later.disposal().resume(unit).await), "removed");
    assert_eq!(
        refusal(later.disposal().recover(&TABLE.parse().unwrap()).await),
        "removed"
    );
    assert_eq!(fixture.states().await, ["quarantined"], "not covered up");
    assert_eq!(fixture.manifests().len(), 1);
}

#[tokio::test]
async fn foreign_keys_and_views_are_named() {
    let fixture = Fixture::new().await;
    fixture
        .sql(&format!(
            "CREATE TABLE notes (log_id BIGINT, log_at BIGINT, \
                 CONSTRAINT note_of FOREIGN KEY (log_id, log_at) REFERENCES {TABLE})"
        ))
        .await;
    let run = fixture.run().await;
    let error = fixture.advance(&run).await.unwrap_err();
    assert!(error.to_string().contains("note_of of public.notes"), "{error}");
    assert_eq!(fixture.rows().await, 1200);
    fixture.sql("DROP TABLE notes").await;
    let unit = fixture.quarantined().await;
    let resting = unit.quarantine_table.clone().unwrap();
    fixture
        .sql(&format!("CREATE VIEW looking AS SELECT id FROM {resting}"))
        .await;
    let later = fixture.later_run().await;
    let error = later.disposal().resume(unit).await.unwrap_err();
    assert_eq!(error.refusal(), Some("referenced"), "{error}");
    assert_eq!(
        fixture.count(&format!("SELECT count(*) FROM {resting}")).await,
        400
    );
}

#[tokio::test]
async fn the_newest_the_current_and_the_divided_partition_stay() {
    let fixture = Fixture::new().await;
    let run = fixture.run().await;
    let march = fixture.identity(&run, "eidos_risk_audit_logs_2024_03").await;
    assert_eq!(
        refusal(run.disposal().advance(&march, &approval()).await),
        "newest"
    );
    let young = fixture.run_at("2024-01-31T23:59:59Z").await;
    assert_eq!(refusal(fixture.advance(&young).await), "young");
    fixture
        .sql(&format!(
            "CREATE TABLE divided PARTITION OF {TABLE} FOR VALUES FROM (1) TO (100) PARTITION BY RANGE (id); \
             CREATE TABLE divided_a PARTITION OF divided FOR VALUES FROM (1) TO (100)"
        ))
        .await;
    let run = fixture.run().await;
    let divided = fixture.identity(&run, "divided").await;
    assert_eq!(
        refusal(run.disposal().advance(&divided, &approval()).await),
        "kind"
    );
    fixture.sql("DROP FUNCTION eidos_jobs_refuse_write").await;
    assert_eq!(refusal(fixture.advance(&run).await), "setup");
    assert_eq!(fixture.rows().await, 1200);
}

#[tokio::test]
async fn rows_that_row_security_hides_are_never_left_out() {
    let fixture = Fixture::new().await;
    fixture
        .sql(&format!(
            "CREATE ROLE limited_{0} LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO limited_{0}; \
             ALTER TABLE {JANUARY} ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON {JANUARY} USING (id < 10)",
            std::process::id()
        ))
        .await;
    let options: sqlx::postgres::PgConnectOptions = fixture.books.url().parse().unwrap();
    let limited = options.username(&format!("limited_{}", std::process::id()));
    let pool = sqlx::PgPool::connect_with(limited).await.unwrap();
    let run = fixture.run().await;
    let mut read = eidos_disposal::export::LongRead::open(&pool, &fixture.settings)
        .await
        .unwrap();
    let select = format!("SELECT id FROM {JANUARY}");
    let outcome = eidos_disposal::export::content_of(&run.ctx, &mut read, &select, 1).await;
    assert!(outcome.unwrap_err().to_string().contains("row-level security"));
    drop(read);
    pool.close().await;
    fixture
        .sql(&format!(
            "DROP OWNED BY limited_{0}; DROP ROLE limited_{0}",
            std::process::id()
        ))
        .await;
}

#[tokio::test]
async fn a_unit_that_somebody_else_moved_on_is_not_moved_twice() {
    let fixture = Fixture::new().await;
    let seen = fixture.verified().await;
    fixture.quarantined().await;
    let run = fixture.run().await;
    let mut step = run.ctx.step().await.unwrap();
    let moved = unit::move_on(
        &mut step,
        &run.ctx,
        &seen,
        UnitState::Quarantined,
        &Change::default(),
    )
    .await;
    assert_eq!(refusal(moved), "moved");
    // Nor does a second unit begin while one is on its way.
    let identity = fixture.unit().await;
    let again = NewUnit {
        unit_id: run.ctx.execution_id().as_uuid(),
        source: identity.source,
        table: identity.table,
        unit_name: identity.unit_name,
        kind: identity.kind,
        table_oid: identity.table_oid,
        lower_ms: identity.lower_ms,
        upper_ms: identity.upper_ms,
        archive: None,
        columns_fingerprint: String::new(),
        approval: approval(),
    };
    assert_eq!(refusal(unit::create(&mut step, &run.ctx, &again).await), "open");
}

#[tokio::test]
async fn a_value_that_cannot_be_kept_is_refused_by_name_and_may_be_corrected() {
    let fixture = Fixture::new().await;
    fixture
        .sql(&format!("UPDATE {TABLE} SET amount = 'NaN' WHERE id = 7"))
        .await;
    let error = {
        let run = fixture.run().await;
        fixture.advance(&run).await.unwrap_err()
    };
    assert!(error.is_about_a_value(), "{error}");
    assert!(
        error.to_string().contains("amount") && error.to_string().contains("id=7"),
        "{error}"
    );
    assert_eq!(fixture.states().await, ["abandoned"]);
    assert!(
        fixture.objects().is_empty(),
        "a part of an export that was refused is left"
    );

    fixture
        .sql(&format!("UPDATE {TABLE} SET amount = 0 WHERE id = 7"))
        .await;
    let run = fixture.run().await;
    let outcome = fixture.advance(&run).await.unwrap();
    assert_eq!(outcome.unit.state, UnitState::Quarantined);
}
