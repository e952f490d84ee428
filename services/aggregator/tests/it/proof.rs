//! Candles of one minute are compared with their trades, and repaired on request.

use std::collections::BTreeSet;
use std::time::Duration;

use aggregator::jobs::kline_agg::{KlineAggParams, Report};
use aggregator::store::proofs::Difference;
use eidos_market::Interval;
use eidos_runtime::{Job, JobError};
use eidos_testkit::eventually;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::fixture::{Fixture, HOUR_MS, at, ms};
use crate::world::{World, list, trade};

const MARKET: &str = "BTC-USDC";
const FROM: &str = "2026-03-08T00:00:00Z";
const TO: &str = "2026-03-08T12:00:00Z";
const SLOT: &str = "2026-03-08T12:10:00Z";
const BUILT: [Interval; 2] = [Interval::H1, Interval::H4];
const ONE: i128 = 1_000_000_000_000_000_000;
const WITHIN: Duration = Duration::from_mins(1);

impl Fixture {
    async fn prove(&self, params: serde_json::Value, dry_run: bool) -> Result<Report, JobError> {
        let ctx = self
            .context("kline-agg", at(SLOT), dry_run, Duration::from_mins(30))
            .await;
        let params: KlineAggParams = serde_json::from_value(params).unwrap();
        Box::pin(self.kline_agg().run(&ctx, params)).await
    }

    async fn repair(&self) -> Result<Report, JobError> {
        let params = json!({ "proof_read": true, "repair": true, "from": FROM, "to": TO });
        self.prove(params, false).await
    }
}

/// Half a day with its trades, and one trade after it.
async fn half_a_day(yaml: &str, seed: u64, markets: &[&str]) -> (Fixture, World, (i64, i64)) {
    let fixture = Fixture::with(yaml).await;
    let range = (ms(FROM), ms(TO));
    let mut world = World::generate(seed, markets, range);
    for market in markets {
        world.add(market, range.0 - 1_000, trade(2 * ONE, ONE));
        world.add(market, range.1 + 599_000, trade(3 * ONE, ONE));
        list(&fixture, market, 0).await;
        world.store(&fixture, market, range).await;
        world
            .store_trades(&fixture, market, (range.0 - 1_000, range.1 + 600_000))
            .await;
    }
    (fixture, world, range)
}

/// Three minutes whose candles are wrong, each in its way, from 08:00 on: differs, missing, extra.
async fn spoil(fixture: &Fixture) -> [i64; 3] {
    let of = async |number: i64, condition: &str| {
        fixture
            .market
            .number(&format!(
                "SELECT open_time FROM eidos_market_klines WHERE market = '{MARKET}' AND interval = '1m' AND open_time >= {} \
                   AND {condition} ORDER BY open_time OFFSET {number} LIMIT 1",
                ms("2026-03-08T08:00:00Z")
            ))
            .await
    };
    let minutes = [
        of(3, "trade_count > 0").await,
        of(9, "trade_count > 0").await,
        of(2, "trade_count = 0").await,
    ];
    let [differs, missing, extra] = minutes;
    fixture
        .sql(&format!(
            "UPDATE eidos_market_klines SET volume = volume + 0.000000000000000001, high = high + 1 \
               WHERE interval = '1m' AND open_time = {differs}; \
             DELETE FROM eidos_market_klines WHERE interval = '1m' AND open_time = {missing}; \
             UPDATE eidos_market_klines SET volume = 3, quote_volume = 3, trade_count = 1 \
               WHERE interval = '1m' AND open_time = {extra}"
        ))
        .await;
    minutes
}

const DIFFERENCES: &str = "SELECT count(*) FROM eidos_jobs_kline_differences";
const REPAIRS: &str = "SELECT count(*) FROM eidos_jobs_kline_repairs";

#[tokio::test]
async fn ruling_41_a_run_names_the_candles_that_differ_and_a_repair_makes_them_those_of_their_trades() {
    let (fixture, world, range) = half_a_day(
        "jobs: { kline-agg: { proof_read: { look_back: 12h } } }\n",
        31,
        &[MARKET],
    )
    .await;
    let [differs, missing, extra] = spoil(&fixture).await;
    let report = fixture.klines_at(SLOT).await;
    let proof = report.proof.unwrap();
    let named: BTreeSet<(i64, Difference)> = proof
        .named
        .iter()
        .map(|minute| (minute.open_ms, minute.kind))
        .collect();
    let expected = [
        (differs, Difference::Differs),
        (missing, Difference::Missing),
        (extra, Difference::Extra),
    ];
    assert_eq!(named, BTreeSet::from(expected), "{proof:#?}");
    assert_eq!((proof.differing, proof.repaired), (3, 0));
    let fields = proof
        .named
        .iter()
        .find(|minute| minute.open_ms == differs)
        .unwrap();
    assert_eq!(fields.fields, ["high", "volume"]);
    assert_eq!(fixture.jobs_number(DIFFERENCES).await, 3);
    let wrong = format!("eidos_market_klines WHERE interval = '1m' AND open_time = {extra} AND volume = 3");
    assert_eq!(fixture.count(&wrong).await, 1, "a scheduled run repairs nothing");

    let report = fixture.repair().await.unwrap();
    let proof = report.proof.as_ref().unwrap();
    assert_eq!(
        (proof.differing, proof.repaired, proof.changed),
        (3, 3, 0),
        "{report:#?}"
    );
    world
        .assert_candles(
            &fixture,
            &[MARKET],
            &[Interval::M1, Interval::H1, Interval::H4],
            range,
        )
        .await;
    assert_eq!(fixture.jobs_number(DIFFERENCES).await, 0);
    let evidence = "SELECT count(*) FROM eidos_jobs_kline_repairs WHERE state = 'done' AND requested_by = 'ada' \
                    AND after->>'volume' IS NOT NULL AND (before IS NULL) = (kind = 'missing')";
    assert_eq!(fixture.jobs_number(evidence).await, 3);
    let left = "SELECT count(*) FROM eidos_jobs_kline_windows";
    assert_eq!(fixture.jobs_number(left).await, 0, "{report:#?}");

    let versions = fixture.versions().await;
    let again = fixture.repair().await.unwrap();
    assert_eq!(again.proof.unwrap().differing, 0);
    assert_eq!(fixture.versions().await, versions, "a row was written");
    assert_eq!(fixture.jobs_number(REPAIRS).await, 3);
}

#[tokio::test]
async fn whatever_was_spoiled_the_repaired_candles_equal_a_recomputation_from_the_trades() {
    let markets = [MARKET, "ETH-USDC", "SOL-USDC"];
    let (fixture, world, range) = half_a_day(
        "jobs: { kline-agg: { proof_read: { repair_limit: 10000 } } }\n",
        32,
        &markets,
    )
    .await;
    let mut random = StdRng::seed_from_u64(32);
    let mut statements = String::new();
    for _ in 0..150 {
        let market = markets[random.random_range(0..3)];
        let minute = range.0 + random.random_range(0..720) * 60_000;
        let place = format!("WHERE market = '{market}' AND interval = '1m' AND open_time = {minute};\n");
        let change = match random.random_range(0..6) {
            0 => "DELETE FROM eidos_market_klines ".to_owned(),
            1 => "UPDATE eidos_market_klines SET volume = 'NaN' ".to_owned(),
            2 => format!(
                "UPDATE eidos_market_klines SET trade_count = trade_count + {} ",
                random.random_range(1..9)
            ),
            3 => "UPDATE eidos_market_klines SET open = close + 1, low = 0 ".to_owned(),
            4 => "UPDATE eidos_market_klines SET close = close * 2, high = high * 3 ".to_owned(),
            _ => "UPDATE eidos_market_klines SET quote_volume = quote_volume + 0.000000000000000001 "
                .to_owned(),
        };
        statements.push_str(&change);
        statements.push_str(&place);
    }
    fixture.sql(&statements).await;
    fixture.klines_at(SLOT).await;
    let report = fixture.repair().await.unwrap();
    let proof = report.proof.unwrap();
    assert!(
        proof.repaired > 60 && proof.repaired == proof.differing,
        "{proof:#?}"
    );
    world.assert_candles(&fixture, &markets, &BUILT, range).await;
    let stored = "SELECT count(*) FROM eidos_market_klines k WHERE interval = '1m' AND trade_count > 0 AND volume <> \
        (SELECT sum(amount) FROM eidos_market_trades t WHERE t.market = k.market AND timestamp >= k.open_time \
           AND timestamp < k.open_time + 60000)";
    assert_eq!(fixture.market.number(stored).await, 0);
    let versions = fixture.versions().await;
    let again = fixture.repair().await.unwrap();
    assert_eq!(again.proof.unwrap().differing, 0);
    assert_eq!(fixture.versions().await, versions, "a row was written");
}

#[tokio::test]
async fn more_differences_than_the_limit_are_refused_by_their_number_and_nothing_is_repaired() {
    let yaml = "jobs: { kline-agg: { proof_read: { look_back: 12h, repair: true, repair_limit: 2 } } }\n";
    let (fixture, _, _) = half_a_day(yaml, 33, &[MARKET]).await;
    spoil(&fixture).await;
    let minutes = "SELECT md5(string_agg(k::text, '|' ORDER BY open_time))::text FROM eidos_market_klines k WHERE interval = '1m'";
    let of_minutes = async || -> String {
        sqlx::query_scalar(minutes)
            .fetch_one(fixture.market.pool())
            .await
            .unwrap()
    };
    let before = of_minutes().await;
    let refused = fixture.repair().await.unwrap_err().to_string();
    assert!(
        refused.contains("3 minutes differ") && refused.contains("repair_limit is 2"),
        "{refused}"
    );
    let scheduled = fixture.klines_at(SLOT).await;
    assert_eq!(scheduled.proof.unwrap().refused, Some(3));
    assert_eq!(of_minutes().await, before);
    assert_eq!(fixture.jobs_number(REPAIRS).await, 0);
    // The market service corrects two of them; what is left is within the limit, and the settings allow the repair.
    let extra = "UPDATE eidos_market_klines SET volume = 0, quote_volume = 0, trade_count = 0 WHERE interval = '1m' AND volume = 3";
    fixture.sql(extra).await;
    let scheduled = fixture.klines_at(SLOT).await;
    let proof = scheduled.proof.unwrap();
    assert_eq!((proof.refused, proof.repaired), (None, 2), "{proof:#?}");
    let by_schedule = "SELECT count(*) FROM eidos_jobs_kline_repairs WHERE state = 'done'";
    assert_eq!(fixture.jobs_number(by_schedule).await, 2);
}

#[tokio::test]
async fn a_dry_run_shows_what_a_repair_would_change_and_changes_nothing() {
    let (fixture, _, _) = half_a_day("", 34, &[MARKET]).await;
    let [differs, ..] = spoil(&fixture).await;
    let versions = fixture.versions().await;
    let params = json!({ "proof_read": true, "repair": true, "from": FROM, "to": TO, "market": MARKET });
    let report = fixture.prove(params, true).await.unwrap();
    let text = fixture.kline_agg().render(&report);
    let proof = report.proof.unwrap();
    assert_eq!((proof.differing, proof.repaired), (3, 3));
    let minute = proof
        .named
        .iter()
        .find(|minute| minute.open_ms == differs)
        .unwrap();
    assert_ne!(minute.stored, minute.traded);
    let traded = minute.traded.as_ref().unwrap();
    assert!(
        text.contains(&format!("traded open {}", traded.open)) && text.contains("Dry run"),
        "{text}"
    );
    assert_eq!(fixture.versions().await, versions);
    for table in [DIFFERENCES, REPAIRS] {
        assert_eq!(fixture.jobs_number(table).await, 0, "{table}");
    }
    let unknown = fixture
        .prove(json!({ "proof_read": true, "market": "X" }), true)
        .await;
    assert!(unknown.unwrap_err().to_string().contains("no market X"));
}

#[tokio::test]
async fn a_minute_whose_trades_or_candles_may_be_deleted_is_neither_reported_nor_repaired() {
    let (fixture, _, _) = half_a_day("", 35, &[MARKET]).await;
    spoil(&fixture).await;
    let purged = ms("2026-03-08T11:00:00Z");
    fixture
        .sql(&format!(
            "DELETE FROM eidos_market_trades WHERE timestamp < {purged}"
        ))
        .await;
    let versions = fixture.versions().await;
    let report = fixture.repair().await.unwrap();
    let proof = report.proof.unwrap();
    assert_eq!((proof.differing, proof.repaired), (0, 0), "{proof:#?}");
    assert!(proof.from_ms.unwrap() > purged, "{proof:#?}");
    assert_eq!(fixture.versions().await, versions);
    for yaml in [
        "jobs: { kline-agg: { trades_retention: 70m } }\n",
        "jobs: { kline-agg: { source_retention: 70m } }\n",
    ] {
        let (fixture, _, _) = half_a_day(yaml, 35, &[MARKET]).await;
        spoil(&fixture).await;
        let report = fixture.repair().await.unwrap();
        let proof = report.proof.unwrap();
        assert_eq!(proof.from_ms, Some(ms("2026-03-08T11:00:00Z")), "{proof:#?}");
        assert_eq!(proof.differing, 0, "{proof:#?}");
    }
    // Nothing of what is asked can be proved.
    let params = json!({ "proof_read": true, "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z" });
    let report = fixture.prove(params, false).await.unwrap();
    assert!(report.proof.unwrap().unproved.is_some());
}

/// Holds a repair between its reading and its writing while `meanwhile` happens.
async fn held(fixture: &Fixture, meanwhile: impl AsyncFnOnce()) -> Result<Report, JobError> {
    let mut lock = fixture.jobs.pool().begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE eidos_jobs_kline_repairs IN SHARE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let hold = async {
        eventually("the repair is about to be planned", WITHIN, async || {
            let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'eidos_jobs_kline_repairs'::regclass";
            if fixture.jobs_number(waits).await > 0 {
                Ok(())
            } else {
                Err("it is not yet")
            }
        })
        .await;
        meanwhile().await;
        lock.commit().await.unwrap();
    };
    let (done, ()) = tokio::join!(Box::pin(fixture.repair()), hold);
    done
}

#[tokio::test]
async fn a_candle_or_trades_that_changed_meanwhile_are_left_as_they_are() {
    let (fixture, _, _) = half_a_day("", 36, &[MARKET]).await;
    let [differs, missing, extra] = spoil(&fixture).await;
    let report = held(&fixture, async || {
        fixture
            .sql(&format!(
                "UPDATE eidos_market_klines SET volume = 77 WHERE interval = '1m' AND open_time = {differs}; \
                 INSERT INTO eidos_market_trades VALUES ('new', '{MARKET}', 1, 1, 1, 0, {}, 0), ('newer', '{MARKET}', 1, 1, 1, 0, {}, 0)",
                missing + 7, extra + 7
            ))
            .await;
    })
    .await
    .unwrap();
    let proof = report.proof.unwrap();
    assert_eq!((proof.repaired, proof.changed), (0, 3), "{proof:#?}");
    let kept = format!("eidos_market_klines WHERE interval = '1m' AND open_time = {differs} AND volume = 77");
    assert_eq!(fixture.count(&kept).await, 1);
    let absent = format!("eidos_market_klines WHERE interval = '1m' AND open_time = {missing}");
    assert_eq!(fixture.count(&absent).await, 0);
    let evidence = "SELECT count(*) FROM eidos_jobs_kline_repairs WHERE state = 'not_done'";
    assert_eq!(fixture.jobs_number(evidence).await, 3);
    assert_eq!(fixture.jobs_number(DIFFERENCES).await, 3, "they still differ");
}

#[tokio::test]
async fn trades_that_retention_deletes_meanwhile_keep_the_candle() {
    let (fixture, _, _) = half_a_day("", 37, &[MARKET]).await;
    // A candle with one trade too many: after the deletion its minute has no trade at all, and it would become flat.
    let [_, _, extra] = spoil(&fixture).await;
    let report = held(&fixture, async || {
        fixture
            .sql(&format!(
                "DELETE FROM eidos_market_trades WHERE timestamp < {}",
                ms(TO)
            ))
            .await;
    })
    .await
    .unwrap();
    let proof = report.proof.unwrap();
    assert_eq!((proof.repaired, proof.changed), (0, 3), "{proof:#?}");
    let kept = format!("eidos_market_klines WHERE interval = '1m' AND open_time = {extra} AND volume = 3");
    assert_eq!(fixture.count(&kept).await, 1);
}

#[tokio::test]
async fn a_run_that_was_replaced_meanwhile_repairs_nothing() {
    let (fixture, _, _) = half_a_day("", 38, &[MARKET]).await;
    let [differs, ..] = spoil(&fixture).await;
    let versions = fixture.versions().await;
    let refused = held(&fixture, async || {
        fixture
            .sql("UPDATE eidos_jobs_fence SET epoch = epoch + 1 WHERE job_name = 'kline-agg'")
            .await;
    })
    .await;
    assert!(matches!(refused, Err(JobError::Fenced)), "{differs}: {refused:?}");
    assert_eq!(fixture.versions().await, versions);
}

const SHORT: [(&str, &str); 3] = [
    ("JOBS__KLINE-AGG__LOCK__TTL", "20s"),
    ("SCHEDULER__CANCEL_GRACE", "500ms"),
    ("REDIS__RESPONSE_TIMEOUT", "300ms"),
];
const BUSY: i32 = 75;

/// The candle was written, and the process died before the ledger knew: the next run decides what was planned, and builds
/// what follows from it again.
#[tokio::test]
async fn killed_between_the_repair_and_the_ledger_the_next_run_finishes_it() {
    let (fixture, world, range) = half_a_day("", 39, &[MARKET]).await;
    let slot = ["--slot", SLOT, "--format", "json"];
    spoil(&fixture).await;
    fixture.klines_at(SLOT).await;
    fixture
        .jobs
        .sql(
            "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$; \
             CREATE TRIGGER linger BEFORE UPDATE ON eidos_jobs_kline_repairs FOR EACH ROW EXECUTE FUNCTION linger()",
        )
        .await;
    let mut repair = vec![
        "run",
        "kline-agg",
        "--proof-read",
        "--repair",
        "--from",
        FROM,
        "--to",
        TO,
    ];
    repair.extend(slot);
    killed_after_the_repair(&fixture, &repair).await;
    let mut run = vec!["run", "kline-agg"];
    run.extend(slot);
    eventually("the job's lease is free", WITHIN, async || {
        let (status, child) = fixture.command(&run, &SHORT).run(WITHIN).await;
        match status.code() {
            Some(0) => Ok(()),
            Some(BUSY) => Err("busy"),
            _ => panic!("{status}\n{}\n{}", child.stdout(), child.stderr()),
        }
    })
    .await;
    assert_eq!(
        fixture
            .jobs_number("SELECT count(*) FROM eidos_jobs_kline_repairs WHERE state = 'done'")
            .await,
        3
    );
    assert_eq!(fixture.jobs_number(DIFFERENCES).await, 0);
    world.assert_candles(&fixture, &[MARKET], &BUILT, range).await;
}

/// Kills a repair that has written the candles, and has not recorded it.
async fn killed_after_the_repair(fixture: &Fixture, repair: &[&str]) {
    let child = fixture.command(repair, &SHORT).spawn();
    eventually("the candles are repaired", WITHIN, async || {
        let ended = child.exit_status();
        assert!(
            ended.is_none(),
            "{ended:?}\n{}\n{}",
            child.stdout(),
            child.stderr()
        );
        if fixture
            .count("eidos_market_klines WHERE interval = '1m' AND volume = 3")
            .await
            == 0
        {
            Ok(())
        } else {
            Err("not yet")
        }
    })
    .await;
    child.kill();
    assert_eq!(
        fixture
            .jobs_number("SELECT count(*) FROM eidos_jobs_kline_repairs WHERE state = 'planned'")
            .await,
        3
    );
    fixture
        .jobs
        .sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%eidos_jobs_kline_repairs r SET%' \
               AND datname = current_database() AND pid <> pg_backend_pid(); \
             DROP TRIGGER linger ON eidos_jobs_kline_repairs",
        )
        .await;
}

/// What differs is compared again by later runs, also when it is older than what they look back.
#[tokio::test]
async fn a_difference_is_noted_until_the_candle_is_corrected() {
    let (fixture, world, range) = half_a_day("", 40, &[MARKET]).await;
    spoil(&fixture).await;
    let params = json!({ "proof_read": true, "from": FROM, "to": TO });
    fixture.prove(params, false).await.unwrap();
    fixture.klines_at(SLOT).await;
    assert_eq!(fixture.jobs_number(DIFFERENCES).await, 3);
    world.store(&fixture, MARKET, (range.0, range.1)).await;
    let report = fixture.klines_at(SLOT).await;
    assert_eq!(report.proof.unwrap().differing, 0);
    assert_eq!(fixture.jobs_number(DIFFERENCES).await, 0);
    assert!(range.1 - range.0 > HOUR_MS);
}
