//! What a plan promises: blocked is what a run would refuse, and the locks are those that others will feel.

use serde_json::{Value, json};

use crate::cleanup_fixture::{DEPOSITS, JobFixture, WITHDRAWALS, message};
use crate::fixture::sql;
use crate::partitions_fixture::ms;

const TABLE: &str = "eidos_chain_deposit_records";
const SLOT: &str = "2024-07-31T04:00:00Z";

async fn fixture() -> JobFixture {
    let fixture = JobFixture::new(&[DEPOSITS]).await;
    for (first, next) in [
        ("2023-10-01", "2023-11-01"),
        ("2023-11-01", "2023-12-01"),
        ("2023-12-01", "2024-01-01"),
        ("2024-07-01", "2024-08-01"),
    ] {
        fixture.month(TABLE, first, next, 20).await;
    }
    fixture
}

fn rules() -> Value {
    let archived = json!({ "retention_months": 6, "archive_before_drop": true, "quarantine_days": 7 });
    json!({
        "partitioned_tables": {
            TABLE: archived, "eidos_chain_events": archived, "eidos_chain_blocks": archived, "eidos_chain_gone": archived,
        },
        "regular_tables": {
            "eidos_chain_withdrawal_txs": { "retention_months": 6, "sleep_ms": 0 },
            "eidos_chain_prices": { "retention_months": 6, "sleep_ms": 0 },
        },
    })
}

/// Of each kind one: a view, bare numerics, a newest partition, a table that is not there, a cascade, a type of a plain
/// table. Only two months of deposits can leave.
async fn obstructed() -> JobFixture {
    let fixture = fixture().await;
    sql(
        fixture.pool(),
        &format!(
            "CREATE VIEW november AS SELECT id FROM {TABLE}_2023_11; \
             CREATE TABLE eidos_chain_events (id BIGINT, created_at BIGINT NOT NULL, amount NUMERIC) PARTITION BY RANGE (created_at); \
             CREATE TABLE eidos_chain_events_old PARTITION OF eidos_chain_events FOR VALUES FROM (1698796800000) TO (1701388800000); \
             CREATE TABLE eidos_chain_events_new PARTITION OF eidos_chain_events FOR VALUES FROM (1701388800000) TO (MAXVALUE); \
             CREATE TABLE eidos_chain_blocks (id BIGINT, created_at BIGINT NOT NULL) PARTITION BY RANGE (created_at); \
             CREATE TABLE eidos_chain_blocks_only PARTITION OF eidos_chain_blocks FOR VALUES FROM (1698796800000) TO (1701388800000); \
             {WITHDRAWALS}; CREATE TABLE notes (withdrawal BIGINT REFERENCES eidos_chain_withdrawal_txs (id) ON DELETE CASCADE); \
             CREATE TABLE eidos_chain_prices (id BIGINT PRIMARY KEY, created_at BIGINT NOT NULL, price NUMERIC)"
        ),
    )
    .await;
    fixture
}

#[tokio::test]
async fn a_plan_counts_as_blocked_whatever_a_run_would_refuse() {
    let fixture = obstructed().await;
    let job = fixture.job(rules()).await;
    let report = fixture.plan(&job, SLOT).await;
    let text = report.plan.render();
    assert!(text.contains("2 to do, 6 blocked"), "{text}");
    let why = |object: &str| {
        let item = report.plan.items.iter().find(|item| item.object == object);
        item.unwrap_or_else(|| panic!("no {object}: {text}"))
            .blocked
            .clone()
            .unwrap_or_default()
    };
    for (object, named) in [
        ("eidos_chain_deposit_records_2023_11", "view public.november"),
        ("eidos_chain_events_old", "amount"),
        ("eidos_chain_blocks_only", "newest"),
        ("eidos_chain_gone", "does not exist"),
        ("eidos_chain_withdrawal_txs", "change it to NO ACTION"),
        ("eidos_chain_prices", "price"),
    ] {
        assert!(why(object).contains(named), "{object}: {}", why(object));
    }
    // The run refuses these, by the same words, and nothing else; nothing of them was begun.
    let error = fixture.run(&job, SLOT).await.unwrap_err();
    let told = message(&error);
    for item in &report.plan.items {
        if let Some(blocked) = &item.blocked {
            assert!(told.contains(blocked.as_str()), "{blocked}\n{told}");
        }
    }
    assert!(told.starts_with("6 of "), "{told}");
    assert_eq!(
        fixture.units().await,
        [
            "eidos_chain_deposit_records_2023_10 quarantined",
            "eidos_chain_deposit_records_2023_12 quarantined"
        ]
    );
}

#[tokio::test]
async fn a_plan_with_blocked_pieces_is_applied_without_them() {
    let fixture = obstructed().await;
    let job = fixture.job(rules()).await;
    let plan = fixture.plan(&job, SLOT).await.plan;
    let refused = fixture.apply(&job, SLOT, &plan.digest).await.unwrap_err();
    assert!(message(&refused).contains("view public.november"), "{refused}");
    assert_eq!(
        fixture.units().await.len(),
        2,
        "what the plan had as free is done"
    );
    // What was blocked in the plan was approved by nobody.
    sql(fixture.pool(), "DROP VIEW november").await;
    let _still = fixture.apply(&job, SLOT, &plan.digest).await;
    assert_eq!(fixture.units().await.len(), 2);
}

#[tokio::test]
async fn a_plan_names_the_locks_on_referenced_tables_and_the_sequence_that_stays() {
    let fixture = fixture().await;
    sql(
        fixture.pool(),
        &format!(
            "CREATE TABLE wallets (address VARCHAR(42) PRIMARY KEY); INSERT INTO wallets SELECT DISTINCT wallet_address FROM {TABLE}; \
             ALTER TABLE {TABLE} ADD CONSTRAINT of_wallet FOREIGN KEY (wallet_address) REFERENCES wallets; \
             CREATE TABLE the_rest PARTITION OF {TABLE} DEFAULT; \
             CREATE SEQUENCE deposit_ids OWNED BY {TABLE}_2023_10.id"
        ),
    )
    .await;
    let job = fixture
        .job(json!({ "partitioned_tables": { TABLE: { "retention_months": 6, "archive_before_drop": true, "quarantine_days": 7 } } }))
        .await;
    let report = fixture.plan(&job, SLOT).await;
    let locks = report.plan.items[0].locks.join("\n");
    for line in [
        "SHARE ROW EXCLUSIVE on public.eidos_chain_deposit_records_2023_10, for a moment (freeze)",
        "ACCESS EXCLUSIVE on public.eidos_chain_deposit_records, public.the_rest, public.eidos_chain_deposit_records_2023_10",
        "SHARE ROW EXCLUSIVE on public.wallets, which its rows reference, at most 300 ms at a time (detach)",
        "ACCESS EXCLUSIVE on public.wallets, at most 300 ms at a time (drop)",
        "the sequence public.deposit_ids, which stays",
    ] {
        assert!(locks.contains(line), "{line}\n{locks}");
    }
    let text = report.plan.render();
    assert!(
        text.contains("owns the sequence public.deposit_ids; it stays"),
        "{text}"
    );
    assert!(
        text.contains("rows of public.wallets that its rows reference cannot be deleted"),
        "{text}"
    );
    fixture.run(&job, SLOT).await.unwrap();
    let due = fixture.plan(&job, "2024-08-08T04:00:00Z").await;
    let locks = due.plan.items[0].locks.join("\n");
    assert!(
        locks.contains("ACCESS EXCLUSIVE on public.wallets, which its rows reference"),
        "{locks}"
    );
    fixture.run(&job, "2024-08-08T04:00:00Z").await.unwrap();
    assert_eq!(fixture.count("SELECT nextval('deposit_ids')").await, 1);
}

#[tokio::test]
async fn a_frozen_partition_that_cannot_leave_any_more_is_let_go_and_told() {
    let fixture = fixture().await;
    let rule =
        json!({ "partitioned_tables": { TABLE: { "retention_months": 6, "archive_before_drop": true } } });
    let mut broken = fixture.job(rule.clone()).await;
    broken.store = None;
    let _frozen = fixture.run(&broken, SLOT).await.unwrap_err();
    assert_eq!(
        fixture.units().await,
        ["eidos_chain_deposit_records_2023_10 frozen"]
    );
    sql(
        fixture.pool(),
        &format!("CREATE VIEW october AS SELECT id FROM {TABLE}_2023_10"),
    )
    .await;
    let job = fixture.job(rule).await;
    let error = fixture.run(&job, SLOT).await.unwrap_err();
    assert!(message(&error).contains("view public.october"), "{error}");
    assert_eq!(
        fixture.units().await[0],
        "eidos_chain_deposit_records_2023_10 abandoned"
    );
    sql(
        fixture.pool(),
        &format!(
            "UPDATE {TABLE} SET note = 'corrected' WHERE created_at < {}",
            ms("2023-11-01T00:00:00Z")
        ),
    )
    .await;
}

/// Partitions and rows alike, with one sentence for all of a table.
#[tokio::test]
async fn what_would_go_to_a_store_that_nobody_accepted_is_blocked_in_the_plan_and_refused_by_the_run() {
    let fixture = fixture().await;
    sql(fixture.pool(), WITHDRAWALS).await;
    let spent = ms("2023-05-01T00:00:00Z");
    sql(
        fixture.pool(),
        &format!("INSERT INTO eidos_chain_withdrawal_txs (withdraw_id, amount, status, created_at) SELECT 'w' || n, 1, 2, {spent} + n FROM generate_series(1, 5) AS n"),
    )
    .await;
    let job = fixture
        .job(json!({
            "partitioned_tables": { TABLE: { "retention_months": 6, "archive_before_drop": true } },
            "regular_tables": { "eidos_chain_withdrawal_txs": { "retention_months": 6, "archive_before_delete": true } },
        }))
        .await;
    sqlx::query("DELETE FROM eidos_jobs_archive_stores")
        .execute(fixture.jobs.pool())
        .await
        .unwrap();
    let report = fixture.plan(&job, SLOT).await;
    assert_eq!(report.plan.items.len(), 4, "{}", report.plan.render());
    for item in &report.plan.items {
        let blocked = item.blocked.as_deref().unwrap_or_default();
        assert!(
            blocked.contains("retention-manager store accept"),
            "{}: {blocked}",
            item.object
        );
    }
    let told = message(&fixture.run(&job, SLOT).await.unwrap_err());
    assert_eq!(
        told.matches("was never accepted").count(),
        2,
        "once for each table: {told}"
    );
    assert_eq!(fixture.units().await, [""; 0]);
    assert_eq!(
        fixture
            .count("SELECT count(*) FROM eidos_chain_withdrawal_txs")
            .await,
        5
    );
}

#[tokio::test]
async fn a_plan_says_of_what_failed_for_good_that_nothing_has_changed_and_does_not_block_it() {
    let fixture = fixture().await;
    let (withdrawals, old) = ("eidos_chain_withdrawal_txs", ms("2023-11-05T00:00:00Z"));
    sql(fixture.pool(), WITHDRAWALS).await;
    sql(
        fixture.pool(),
        &format!(
            "INSERT INTO {withdrawals} (withdraw_id, amount, status, created_at) VALUES ('w', 'NaN', 2, {old}); \
             UPDATE {TABLE} SET amount = 'NaN' WHERE id = (SELECT min(id) FROM {TABLE}_2023_11)"
        ),
    )
    .await;
    let archived = json!({ "retention_months": 6, "archive_before_drop": true, "quarantine_days": 7 });
    let rules = json!({
        "partitioned_tables": { TABLE: archived },
        "regular_tables": { withdrawals: { "retention_months": 6, "sleep_ms": 0 } },
    });
    let job = fixture.job(rules).await;
    fixture.run(&job, SLOT).await.unwrap_err();
    let again = fixture.plan(&job, SLOT).await.plan.render();
    for object in [format!("{TABLE}_2023_11"), format!("{withdrawals}@2023-11")] {
        let note = format!("{object} was given up by unit ");
        assert!(again.contains(&note), "{object}: {again}");
    }
    assert!(again.contains("2 to do, 0 blocked"), "{again}");

    sql(
        fixture.pool(),
        &format!("UPDATE {withdrawals} SET amount = 1; UPDATE {TABLE} SET amount = 1 WHERE amount = 'NaN'"),
    )
    .await;
    let corrected = fixture.plan(&job, SLOT).await.plan.render();
    assert!(!corrected.contains("given up"), "{corrected}");
}
