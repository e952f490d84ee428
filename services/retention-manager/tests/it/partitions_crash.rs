//! Killed at any moment, `partition-manage` leaves whole partitions and every row where it can be seen.

use crate::fixture::{Fixture, WITHIN, count, sql};
use crate::partitions_fixture::{DEFAULT, EVENTS};

const ATTACHED: &str = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'eidos_chain_events'::regclass";
const CONTENT: &str =
    "SELECT md5(string_agg(e::text, ',' ORDER BY created_at, id)) FROM eidos_chain_events e";

async fn content(fixture: &Fixture) -> String {
    sqlx::query_scalar(CONTENT)
        .fetch_one(fixture.books())
        .await
        .unwrap()
}

#[tokio::test]
async fn killed_again_and_again_it_loses_no_row_and_leaves_nothing_half_done() {
    let fixture = Fixture::new("").await;
    sql(fixture.books(), &format!("{EVENTS}; {DEFAULT}")).await;
    sql(
        fixture.books(),
        "INSERT INTO eidos_chain_events (created_at, amount, note) \
         SELECT (extract(epoch FROM now()) * 1000)::bigint - n * 60000, n, repeat('x', n % 90) \
         FROM generate_series(1, 12000) n",
    )
    .await;
    let before = content(&fixture).await;
    let settings = |round: u32| {
        vec![
            (
                "JOBS__PARTITION_MANAGE__TABLES".to_owned(),
                "eidos_chain_events".to_owned(),
            ),
            (
                "JOBS__PARTITION_MANAGE__DRAIN_MAX_ROWS".to_owned(),
                "150".to_owned(),
            ),
            // As if the dead node's lease had ended at once: the fence is what counts.
            (
                "REDIS__LOCK_PREFIX".to_owned(),
                format!("{}:{round}", fixture.jobs.name()),
            ),
        ]
    };
    for round in 0..4 {
        let settings = settings(round);
        let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (&**key, &**value)).collect();
        let attached = count(fixture.books(), ATTACHED).await;
        let child = fixture.command(&["run", "partition-manage"], &settings).spawn();
        eidos_testkit::eventually("some partitions are made", WITHIN, async || {
            let now = count(fixture.books(), ATTACHED).await;
            if now > attached + i64::from(round) {
                Ok(())
            } else {
                Err(now)
            }
        })
        .await;
        child.kill();
        assert_eq!(content(&fixture).await, before, "round {round}");
    }
    let settings = settings(99);
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (&**key, &**value)).collect();
    let finished = eidos_testkit::eventually("the last statements of the dead end", WITHIN, async || {
        let (status, child) = fixture.run("partition-manage", &[], &settings).await;
        if status.success() {
            Ok(child)
        } else {
            Err(child.stderr())
        }
    })
    .await;
    drop(finished);
    assert_eq!(content(&fixture).await, before);
    assert_eq!(
        count(fixture.books(), "SELECT count(*) FROM eidos_chain_events_default").await,
        0
    );
    let tables = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'eidos_chain_events%'";
    assert_eq!(
        count(fixture.books(), tables).await,
        count(fixture.books(), ATTACHED).await,
        "every table is attached"
    );
}
