//! The real binary behind a real pooler: its work in session mode, a refusal in transaction mode.

use eidos_testkit::{PoolMode, Pooler, PoolerOptions, shared_postgres};

use crate::fixture::{Fixture, count, sql};

const JOB: &str = "partition-manage";

/// `PgBouncer` as many run it: start-up options are dropped without a word.
async fn pooler(mode: PoolMode) -> Pooler {
    let options = PoolerOptions {
        mode,
        config_lines: vec!["ignore_startup_parameters = extra_float_digits,options".to_owned()],
        ..PoolerOptions::default()
    };
    Pooler::start(shared_postgres().await, options).await.unwrap()
}

#[tokio::test]
async fn behind_a_pooler_partitions_are_made_in_session_mode_and_transaction_mode_is_refused() {
    let fixture = Fixture::new("").await;
    let table = "CREATE TABLE eidos_risk_events (id BIGSERIAL, created_at BIGINT NOT NULL, \
                 PRIMARY KEY (created_at, id)) PARTITION BY RANGE (created_at)";
    sql(fixture.books(), table).await;
    let made =
        "SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relkind = 'r'";
    for (mode, code) in [(PoolMode::Transaction, 78), (PoolMode::Session, 0)] {
        let pooler = pooler(mode).await;
        let books = fixture.books.url_via(pooler.port());
        let jobs = fixture.jobs.url_via(pooler.port());
        for (jobs, source) in [(fixture.jobs.url(), "risk"), (jobs, "jobs")] {
            let settings = [
                ("DATABASES__JOBS__URL", jobs.as_str()),
                ("DATABASES__RISK__URL", books.as_str()),
                ("JOBS__PARTITION_MANAGE__TABLES", "eidos_risk_events"),
            ];
            let (status, child) = fixture.run(JOB, &[], &settings).await;
            let said = format!("{status}\n{}\n{}", child.stdout(), child.stderr());
            assert_eq!(status.code(), Some(code), "{mode:?}: {said}");
            if code != 0 {
                assert!(said.contains(&format!("databases.{source}.url")), "{said}");
                assert!(said.contains("pool_mode = session"), "{said}");
                assert_eq!(count(fixture.books(), made).await, 0, "nothing was begun");
            }
        }
    }
    assert!(count(fixture.books(), made).await > 0);
}
