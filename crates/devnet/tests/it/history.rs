//! A history is what its manifest says, the same for the same seed, with its traps set.

use eidos_devnet::history::{self, Content, HistoryManifest, HistoryPlan, HistoryTrap, content, expect};
use eidos_devnet::neighbours;
use eidos_testkit::TestDb;
use sqlx::AssertSqlSafe;

/// 2026-11-21T10:00:00Z
const UNTIL_MS: i64 = 1_795_255_200_000;

struct Old {
    exchange: TestDb,
    jobs: TestDb,
    manifest: HistoryManifest,
}

async fn old(plan: &HistoryPlan) -> Old {
    let (exchange, jobs) = (TestDb::empty().await, TestDb::migrated().await);
    neighbours::install(exchange.pool()).await.unwrap();
    let manifest = history::fill(exchange.pool(), Some(jobs.pool()), plan)
        .await
        .unwrap();
    Old {
        exchange,
        jobs,
        manifest,
    }
}

impl Old {
    async fn number(&self, query: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
            .fetch_one(self.exchange.pool())
            .await
            .unwrap()
    }

    async fn content(&self, table: &str, predicate: &str) -> Content {
        content::of_table(self.exchange.pool(), table, predicate)
            .await
            .unwrap()
    }
}

fn every_trap() -> HistoryPlan {
    let mut plan = HistoryPlan::complete(7, UNTIL_MS, 60);
    plan.traps.extend(HistoryTrap::ALL);
    plan
}

#[tokio::test]
async fn the_manifest_is_what_is_in_the_database() {
    let old = old(&every_trap()).await;
    assert_eq!(old.manifest.facts.len(), expect::TABLES.len());
    for (table, added) in &old.manifest.added {
        assert_eq!(*added, 28 * 60, "{table}");
    }
    for facts in old
        .manifest
        .facts
        .iter()
        .filter(|facts| !facts.table.starts_with("eidos_jobs"))
    {
        assert_eq!(
            old.content(facts.table, "true").await,
            facts.content,
            "{}",
            facts.table
        );
        let changed = old.content(facts.table, "ctid <> '(0,1)'").await;
        assert_ne!(changed.digest, facts.content.digest, "{}", facts.table);
    }
    // Every status, open business that is years old, and rows that finished long after younger ones.
    let statuses = old
        .number("SELECT count(DISTINCT status) FROM eidos_trading_orders")
        .await;
    assert_eq!(statuses, 8);
    let statuses = old
        .number("SELECT count(DISTINCT settlement_status) FROM eidos_trading_trades")
        .await;
    assert_eq!(statuses, 6);
    let year = UNTIL_MS - 365 * 86_400_000;
    for (table, open) in [
        ("eidos_trading_orders", "status IN (0, 1, 2, 7)"),
        ("eidos_trading_trades", "settlement_status IN (0, 1, 2)"),
        ("eidos_chain_withdrawal_txs", "status IN (0, 1)"),
        ("eidos_risk_withdrawal_reviews", "status = 'pending'"),
    ] {
        let query = format!("SELECT count(*) FROM {table} WHERE {open} AND created_at < {year}");
        assert!(old.number(&query).await > 0, "{table}");
    }
    let late = format!(
        "SELECT count(*) FROM eidos_trading_orders WHERE status IN (3, 4, 5, 6) AND created_at < {year} AND updated_at > {}",
        UNTIL_MS - 20 * 86_400_000
    );
    assert!(old.number(&late).await > 10);
    let out_of_order = "SELECT count(*) FROM (SELECT created_at < lag(created_at) OVER (ORDER BY id) AS b FROM eidos_trading_orders) x WHERE b";
    assert!(old.number(out_of_order).await > 100);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_rows_and_another_one_others() {
    let mut plan = HistoryPlan::complete(7, UNTIL_MS, 20);
    let (one, same) = (old(&plan).await, old(&plan).await);
    assert_eq!(one.manifest, same.manifest);
    plan.seed = 8;
    let other = old(&plan).await;
    for (one, other) in one.manifest.facts.iter().zip(&other.manifest.facts) {
        assert_ne!(one.content.digest, other.content.digest, "{}", one.table);
    }
}

#[tokio::test]
async fn every_trap_is_set() {
    let old = old(&every_trap()).await;
    assert_eq!(old.manifest.traps.len(), HistoryTrap::ALL.len());
    let bounds = |name: &str| {
        format!(
            "SELECT (regexp_match(pg_get_expr(relpartbound, oid), '\\d+'))[1]::bigint FROM pg_class WHERE relname = '{name}'"
        )
    };
    for trapped in &old.manifest.traps {
        let object = &trapped.object;
        match trapped.trap {
            HistoryTrap::HugeJson => {
                let query = "SELECT max(octet_length(details::text))::bigint FROM eidos_risk_events";
                assert!(old.number(query).await > 5 << 20);
            }
            HistoryTrap::DefaultRows => {
                let query = "SELECT count(*) FROM ONLY eidos_risk_audit_logs_default";
                assert_eq!(old.number(query).await, 121);
                assert_eq!(trapped.rows, 121);
            }
            HistoryTrap::NanNumeric => {
                let query = format!("SELECT count(*) FROM {object} WHERE amount = 'NaN'");
                assert_eq!(old.number(&query).await, 1);
            }
            HistoryTrap::ShanghaiBounds => {
                let lower = old.number(&bounds(object)).await;
                assert_eq!(lower, old.manifest.first_ms - 8 * 3_600_000);
                let query = format!(
                    "SELECT count(*) FROM {object} WHERE created_at < {}",
                    old.manifest.first_ms
                );
                assert_eq!(old.number(&query).await, 8);
            }
            HistoryTrap::NewYorkBounds => {
                let lower = old.number(&bounds(object)).await;
                assert_eq!(lower % 86_400_000, 4 * 3_600_000, "a summer month of New York");
            }
            HistoryTrap::PendingDetach => {
                let query = "SELECT count(*) FROM pg_inherits WHERE inhdetachpending";
                assert_eq!(old.number(query).await, 1);
                assert_eq!(trapped.rows, 60);
            }
            HistoryTrap::Namesake => {
                let query = format!("SELECT count(*) FROM pg_inherits WHERE inhrelid = '{object}'::regclass");
                assert_eq!(old.number(&query).await, 0);
            }
            HistoryTrap::LegalHold => {
                let held: i64 = sqlx::query_scalar("SELECT count(*) FROM eidos_jobs_legal_holds")
                    .fetch_one(old.jobs.pool())
                    .await
                    .unwrap();
                assert_eq!((held, old.manifest.holds.len()), (1, 1));
            }
        }
    }
}

#[tokio::test]
async fn coarser_candles_are_what_the_minutes_add_up_to_but_for_the_broken_ones() {
    let old = old(&HistoryPlan::complete(7, UNTIL_MS, 5)).await;
    assert_eq!(old.manifest.broken_windows.len(), 4);
    for (finer, coarser, width) in [
        ("1m", "1h", 3_600_000),
        ("1h", "4h", 14_400_000),
        ("4h", "1d", 86_400_000),
    ] {
        let disagreeing: Vec<(String, i64)> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT f.market, f.w FROM (SELECT market, open_time / {width} * {width} AS w, sum(volume) AS v, sum(trade_count) AS n,
                 max(high) FILTER (WHERE trade_count > 0) AS h FROM eidos_market_klines WHERE interval = '{finer}' GROUP BY 1, 2) f
             LEFT JOIN eidos_market_klines c ON c.market = f.market AND c.interval = '{coarser}' AND c.open_time = f.w
             WHERE (c.volume, c.trade_count, c.high) IS DISTINCT FROM (f.v, f.n, f.h) ORDER BY 2"
        )))
        .fetch_all(old.exchange.pool())
        .await
        .unwrap();
        let own = |window: &&history::BrokenWindow| window.prover == coarser;
        for broken in old.manifest.broken_windows.iter().filter(own) {
            let planted = (broken.market.to_owned(), broken.window_ms.0);
            assert!(
                disagreeing.contains(&planted),
                "{broken:?} not in {disagreeing:?}"
            );
        }
        // A broken window also disagrees with the level above it, which is still kept then.
        let windows = old
            .manifest
            .broken_windows
            .iter()
            .filter(|w| w.prover == coarser || w.prover == finer);
        assert_eq!(disagreeing.len(), windows.count(), "{finer} {disagreeing:?}");
    }
}

#[tokio::test]
async fn the_roles_of_disposal_own_what_they_drop_and_are_no_superusers() {
    let old = old(&HistoryPlan::complete(7, UNTIL_MS, 2)).await;
    for _again in 0..2 {
        neighbours::install_disposal(old.exchange.pool(), old.jobs.pool())
            .await
            .unwrap();
    }
    for (role, password) in [
        (neighbours::RETENTION_ROLE, neighbours::RETENTION_PASSWORD),
        (neighbours::ARCHIVER_ROLE, neighbours::ARCHIVER_PASSWORD),
    ] {
        let url = as_role(&old.exchange.url(), role, password);
        let pool = sqlx::PgPool::connect(&url).await.unwrap();
        let superuser: bool = sqlx::query_scalar(
            "SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = current_user",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        assert!(!superuser, "{role}");
    }
    let (role, password) = (neighbours::RETENTION_ROLE, neighbours::RETENTION_PASSWORD);
    for (url, table) in [
        (old.exchange.url(), "eidos_risk_events_2025_01"),
        (old.jobs.url(), "eidos_jobs_executions_2025_01"),
    ] {
        let pool = sqlx::PgPool::connect(&as_role(&url, role, password))
            .await
            .unwrap();
        let parent = table.trim_end_matches("_2025_01");
        let away = format!(
            "ALTER TABLE {parent} DETACH PARTITION {table}; ALTER TABLE {table} SET SCHEMA eidos_quarantine; \
             DROP TABLE eidos_quarantine.{table}"
        );
        sqlx::raw_sql(AssertSqlSafe(away)).execute(&pool).await.unwrap();
        let refused = sqlx::raw_sql("CREATE ROLE somebody").execute(&pool).await;
        assert!(refused.is_err());
    }
}

fn as_role(url: &str, role: &str, password: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{role}:{password}@{host}")
}
