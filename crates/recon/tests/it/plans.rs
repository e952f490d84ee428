//! Lists of many breaks: whatever is asked for, a page reads about as many rows as it shows.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use eidos_recon::life::{Age, State};
use eidos_recon::store::listing::{self, Filter};
use eidos_testkit::TestDb;
use eidos_types::BreakId;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

/// Where the plan matters.
const MANY: i32 = 200_000;
/// Where only the answer does.
const SOME: i32 = 20_000;
/// Rows of a page.
const LIMIT: i64 = 100;
/// The most that a place of a page may read: some pages for each of the five states.
const BOUND: u64 = 3_000;

/// Many breaks of few dimensions, tokens and persons, over a year. Without the triggers, which a million rows would fire.
const SEED: &str = "INSERT INTO eidos_jobs_breaks (break_id, dimension, subject, subject_detail, wallet_address, token, reference, \
        kind, severity, direction, first_seen, last_seen, evidence, state, status, live, resolved_at, assignee) \
    SELECT gen_random_uuid(), (ARRAY['balance', 'deposits', 'withdrawals', 'settlement'])[1 + n % 4], 's' || n, '{}', \
        '0x' || lpad(to_hex(n % 5000), 40, '0'), 'T' || n % 13, n::text, 'shortfall', \
        CASE WHEN n % 7 = 0 THEN 'critical' ELSE 'warning' END, CASE WHEN n % 3 = 0 THEN 'surplus' ELSE 'shortfall' END, \
        at, at, '{}', state, status, status = 'open', CASE WHEN status = 'open' THEN NULL ELSE at END, \
        CASE WHEN (n / 4) % 2 = 0 THEN 'person ' || (n / 8) % 20 END \
    FROM generate_series(1, $1::int) AS n, \
        LATERAL (SELECT $2::timestamptz - n * interval '2 minutes' AS at, \
            (ARRAY['open', 'acknowledged', 'resolved', 'written_off', 'auto_closed'])[1 + (n / 11) % 5] AS state) AS s, \
        LATERAL (SELECT CASE WHEN state IN ('open', 'acknowledged') THEN 'open' ELSE 'resolved' END AS status) AS t";

async fn seeded(rows: i32, now: DateTime<Utc>) -> TestDb {
    let db = TestDb::migrated().await;
    let mut tx = db.pool().begin().await.unwrap();
    sqlx::raw_sql("SET LOCAL session_replication_role = replica")
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query(SEED)
        .bind(rows)
        .bind(now)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    sqlx::raw_sql("VACUUM ANALYZE eidos_jobs_breaks")
        .execute(db.pool())
        .await
        .unwrap();
    db
}

/// What a page may be filtered by; each may be there or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    Dimension,
    Token,
    Wallet,
    Subject,
    Assignee,
    Age,
    After,
}

const FILTERS: [By; 7] = [
    By::Dimension,
    By::Token,
    By::Wallet,
    By::Subject,
    By::Assignee,
    By::Age,
    By::After,
];

/// Adds what a plan read: the tables that were read in sequence, and the rows that were read and not shown.
fn read(plan: &Value, scans: &mut BTreeSet<String>, rows: &mut u64) {
    let node = plan["Node Type"].as_str().unwrap_or_default();
    if node == "Seq Scan" {
        scans.insert(plan["Relation Name"].as_str().unwrap_or_default().to_owned());
    }
    if plan["Relation Name"].is_string() || node.contains("Bitmap Index") {
        // PostgreSQL 18 writes two decimals.
        let of = |key: &str| -> u64 {
            let text = plan[key].to_string();
            text.split('.')
                .next()
                .and_then(|whole| whole.parse().ok())
                .unwrap_or(0)
        };
        *rows += (of("Actual Rows") + of("Rows Removed by Filter")) * of("Actual Loops");
    }
    for child in plan["Plans"].as_array().into_iter().flatten() {
        read(child, scans, rows);
    }
}

async fn explain(
    pool: &PgPool,
    filters: &BTreeSet<By>,
    states: &[&str],
    place: i16,
    now: DateTime<Utc>,
) -> (BTreeSet<String>, u64) {
    let has = |by: By| filters.contains(&by);
    let day = now - TimeDelta::days(1);
    let statement = format!("EXPLAIN (ANALYZE, FORMAT JSON) {}", listing::page_statement());
    let plan: Value = sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
        .bind(states)
        .bind(place)
        .bind(has(By::Dimension).then_some("deposits"))
        .bind(has(By::Token).then_some("T5"))
        .bind(has(By::Wallet).then_some("0x0000000000000000000000000000000000000005"))
        .bind(has(By::Subject).then_some("s5"))
        .bind(has(By::Assignee).then_some("person 4"))
        .bind(has(By::Age).then_some(now - TimeDelta::days(7)))
        .bind(has(By::Age).then_some(day))
        .bind(has(By::After).then_some(now - TimeDelta::days(100)))
        .bind(has(By::After).then_some(Uuid::max()))
        .bind(LIMIT)
        .persistent(false)
        .fetch_one(pool)
        .await
        .unwrap();
    let (mut scans, mut rows) = (BTreeSet::new(), 0);
    read(&plan[0]["Plan"], &mut scans, &mut rows);
    (scans, rows)
}

#[tokio::test]
async fn no_filter_reads_the_table_in_sequence_or_much_more_than_it_shows() {
    let now = "2026-11-30T12:00:00Z".parse().unwrap();
    let db = seeded(MANY, now).await;
    let every = State::ALL.map(State::as_str);
    let (mut worst, mut which) = (0, String::new());
    for chosen in 0..1_u32 << FILTERS.len() {
        let filters: BTreeSet<By> = FILTERS
            .into_iter()
            .enumerate()
            .filter(|(bit, _)| chosen & (1 << bit) != 0)
            .map(|(_, by)| by)
            .collect();
        for states in [&every[..], &every[..2], &every[4..]] {
            for place in [0, 3] {
                let (scans, rows) = explain(db.pool(), &filters, states, place, now).await;
                let asked = format!("{filters:?} {states:?} place {place}");
                assert_eq!(scans, BTreeSet::new(), "{asked}");
                if rows > worst {
                    (worst, which) = (rows, asked);
                }
            }
        }
    }
    assert!(worst <= BOUND, "{worst} rows were read for {which}");
}

/// Every break of a list, page by page.
async fn all(pool: &PgPool, mut filter: Filter) -> Vec<Uuid> {
    let mut found = Vec::new();
    loop {
        let page = listing::page(pool, &filter).await.unwrap();
        found.extend(page.iter().map(|row| row.break_id));
        let Some(last) = page.last() else { return found };
        filter.after = listing::position(pool, BreakId::from_uuid(last.break_id))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn pages_are_what_picking_by_hand_gives() {
    let now = "2026-11-30T12:00:00Z".parse().unwrap();
    let db = seeded(SOME, now).await;
    let by_hand = "SELECT break_id FROM eidos_jobs_breaks WHERE token = 'T5' AND dimension = 'deposits' \
                   AND state IN ('open', 'acknowledged') AND first_seen <= $1 - interval '7 days' \
                   AND ($2::text IS NULL OR assignee = $2) ORDER BY place, first_seen DESC, break_id DESC";
    for (assignee, at_least) in [(None, 50), (Some("person 8"), 1)] {
        let expected: Vec<Uuid> = sqlx::query_scalar(by_hand)
            .bind(now)
            .bind(assignee)
            .fetch_all(db.pool())
            .await
            .unwrap();
        assert!(expected.len() > at_least, "{assignee:?}: {}", expected.len());
        for limit in [7, 1_000] {
            let filter = Filter {
                states: State::UNRESOLVED.to_vec(),
                dimension: Some("deposits".to_owned()),
                unit: Some("T5".to_owned()),
                assignee: assignee.map(ToOwned::to_owned),
                age: Some((Age::Older, now)),
                limit,
                ..Filter::default()
            };
            assert_eq!(all(db.pool(), filter).await, expected, "{assignee:?} by {limit}");
        }
    }
    assert_eq!(
        listing::dimensions(db.pool()).await.unwrap(),
        ["balance", "deposits", "settlement", "withdrawals"]
    );
    assert_eq!(listing::units(db.pool()).await.unwrap().len(), 13);
}

#[tokio::test]
async fn ages_are_counted_as_they_are_listed() {
    let now = "2026-11-30T12:00:00Z".parse().unwrap();
    let db = seeded(SOME, now).await;
    let unresolved = listing::unresolved(db.pool(), now).await.unwrap();
    let total: u64 = unresolved.iter().map(|row| row.count).sum();
    let open: i64 = sqlx::query_scalar("SELECT count(*) FROM eidos_jobs_breaks WHERE status = 'open'")
        .fetch_one(db.pool())
        .await
        .unwrap();
    assert_eq!(total, open.unsigned_abs());
    for age in Age::ALL {
        let of_age = unresolved.iter().filter(|row| row.age == age);
        let counted: u64 = of_age.map(|row| row.count).sum();
        let filter = Filter {
            age: Some((age, now)),
            limit: 1_000,
            ..Filter::default()
        };
        let listed = listing::page(db.pool(), &filter).await.unwrap();
        assert_eq!(listed.len() as u64, counted.min(1_000), "{age:?}");
        for row in &listed {
            assert_eq!(Age::of_s(row.age_s(now)), age, "{row:?}");
        }
    }
}
