//! Statistics equal a naive recomputation from the rows, and a second run writes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use aggregator::jobs::stats_agg::{Report, StatsAgg, StatsAggParams};
use aggregator::store::activity::Activity;
use aggregator::store::statistics::Prices;
use eidos_runtime::Job;
use eidos_types::{Amount, Slot};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::fixture::{Fixture, HOUR_MS, at, ms};
use crate::world::list;

const FROM: &str = "2026-03-02T00:00:00Z";
const TO: &str = "2026-03-04T00:00:00Z";
const SLOT: &str = "2026-03-04T00:05:00Z";

type Key = (Option<String>, String);

impl Fixture {
    pub(crate) fn stats_agg(&self) -> StatsAgg {
        let profile = &self.settings.service.aggregation_profile;
        StatsAgg {
            options: self.settings.options.stats_agg.clone(),
            codes: profile.codes.clone(),
            trading: self.external.clone(),
            market: self.external.clone(),
            activity: Activity::new(&profile.trading().unwrap()),
            prices: Prices::new(&profile.market().unwrap()),
        }
    }

    pub(crate) async fn stats_at(&self, slot: Slot) -> Report {
        let ctx = self
            .context("stats-agg", slot, false, Duration::from_mins(30))
            .await;
        Box::pin(self.stats_agg().run(&ctx, StatsAggParams::default()))
            .await
            .unwrap()
    }

    /// Figures of a period by market and metric, without zeros.
    pub(crate) async fn figures(&self, date: &str, hour: Option<i32>) -> BTreeMap<Key, Amount> {
        let rows: Vec<(Option<String>, String, String)> = sqlx::query_as(
            "SELECT market, metric_name, metric_value::text FROM eidos_jobs_statistics \
             WHERE stat_date = $1::date AND stat_hour IS NOT DISTINCT FROM $2 AND metric_value <> 0",
        )
        .bind(chrono::NaiveDate::parse_from_str(date, "%Y-%m-%d").unwrap())
        .bind(hour)
        .fetch_all(self.jobs.pool())
        .await
        .unwrap();
        rows.into_iter()
            .map(|(market, metric, value)| ((market, metric), value.parse().unwrap()))
            .collect()
    }

    pub(crate) async fn statistics_digest(&self) -> String {
        sqlx::query_scalar(
            "SELECT md5(string_agg(concat_ws('|', stat_type, stat_date, stat_hour, market, metric_name, metric_value), ';' \
               ORDER BY stat_type, stat_date, stat_hour, market, metric_name)) FROM eidos_jobs_statistics",
        )
        .fetch_one(self.jobs.pool())
        .await
        .unwrap()
    }

    pub(crate) async fn statistics_versions(&self) -> String {
        sqlx::query_scalar(
            "SELECT md5(string_agg(ctid::text || xmin::text, '|' ORDER BY ctid)) FROM eidos_jobs_statistics",
        )
        .fetch_one(self.jobs.pool())
        .await
        .unwrap()
    }
}

/// Rows of the trading service, added up the plain way.
#[derive(Default)]
pub(crate) struct Naive {
    hours: BTreeMap<i64, BTreeMap<Key, Amount>>,
}

impl Naive {
    fn add(&mut self, at_ms: i64, market: Option<&str>, metric: &str, value: Amount) {
        let hour = at_ms.div_euclid(HOUR_MS) * HOUR_MS;
        let key = (market.map(str::to_owned), metric.to_owned());
        let sum = self.hours.entry(hour).or_default().entry(key).or_default();
        *sum = sum.checked_add(value).unwrap();
    }

    fn of(&self, from_ms: i64, to_ms: i64) -> BTreeMap<Key, Amount> {
        let mut sums: BTreeMap<Key, Amount> = BTreeMap::new();
        for figures in self.hours.range(from_ms..to_ms).map(|(_, figures)| figures) {
            for (key, value) in figures {
                let sum = sums.entry(key.clone()).or_default();
                *sum = sum.checked_add(*value).unwrap();
            }
        }
        sums
    }
}

fn scaled(value: i128) -> Amount {
    Amount::from_scaled(value).unwrap()
}

/// Two days of trades, orders, deposits and withdrawals.
pub(crate) async fn trading(fixture: &Fixture, seed: u64) -> Naive {
    let mut random = StdRng::seed_from_u64(seed);
    let mut naive = Naive::default();
    for market in ["BTC-USDC", "ETH-USDC"] {
        list(fixture, market, 0).await;
    }
    let mut statements = trades(&mut random, &mut naive);
    statements.extend(orders_and_movements(&mut random, &mut naive));
    fixture.sql(&statements.concat()).await;
    naive
}

fn trades(random: &mut StdRng, naive: &mut Naive) -> Vec<String> {
    let mut statements = Vec::new();
    let (from, to) = (ms(FROM), ms(TO));
    let one = Amount::from_whole(1).unwrap();
    for number in 0..400 {
        let at_ms = random.random_range(from..to);
        let market = ["BTC-USDC", "ETH-USDC"][random.random_range(0..2)];
        let (amount, quote) = (
            random.random_range(1..9_000_000_000_000_000_000_i128),
            random.random_range(1..i128::pow(10, 22)),
        );
        let (maker, taker) = (
            random.random_range(-1_000_000_i128..1_000_000),
            random.random_range(1..9_000_000_000_i128),
        );
        let token = ["USDC", "ETH"][random.random_range(0..2)];
        let rolled_back = random.random_range(0..10) == 0;
        statements.push(format!(
            "INSERT INTO eidos_trading_trades (trade_id, market, maker_order_id, taker_order_id, maker_wallet, taker_wallet, \
             price, amount, quote_amount, maker_fee, taker_fee, fee_token, maker_side, settlement_status, matched_at, \
             created_at, updated_at) VALUES ('t{number}', '{market}', 'm', 't', '0x{}', '0x{}', 1, {}, {}, {}, {}, \
             '{token}', 1, {}, {at_ms}, {at_ms}, {at_ms});\n",
            number % 7,
            number % 11,
            scaled(amount),
            scaled(quote),
            scaled(maker),
            scaled(taker),
            if rolled_back { 5 } else { 3 },
        ));
        if rolled_back {
            continue;
        }
        naive.add(at_ms, Some(market), "trade_volume", scaled(amount));
        naive.add(at_ms, Some(market), "quote_volume", scaled(quote));
        naive.add(at_ms, None, "quote_volume:USDC", scaled(quote));
        naive.add(at_ms, None, "trade_volume:USDC", scaled(quote));
        for market in [Some(market), None] {
            naive.add(at_ms, market, "trade_count", one);
            naive.add(
                at_ms,
                market,
                &format!("fee_total:{token}"),
                scaled(maker + taker),
            );
        }
    }
    statements
}

fn orders_and_movements(random: &mut StdRng, naive: &mut Naive) -> Vec<String> {
    let mut statements = Vec::new();
    let (from, to) = (ms(FROM), ms(TO));
    let one = Amount::from_whole(1).unwrap();
    for number in 0..300 {
        let (at_ms, market) = (
            random.random_range(from..to - 1),
            ["BTC-USDC", "ETH-USDC"][number % 2],
        );
        let ended_ms = random.random_range(at_ms..to);
        let cancelled = number % 3 == 0;
        statements.push(format!(
            "INSERT INTO eidos_trading_orders (order_id, wallet, market, side, order_type, amount, remaining_amount, status, \
             nonce, freeze_token, created_at, updated_at) VALUES ('o{number}', '0x{}', '{market}', 1, 1, 1, 0, {}, 1, 'USDC', \
             {at_ms}, {ended_ms});\n",
            number % 13,
            if cancelled { 4 } else { 3 },
        ));
        for market in [Some(market), None] {
            naive.add(at_ms, market, "order_count", one);
            if cancelled {
                naive.add(ended_ms, market, "cancel_count", one);
            }
        }
        let (amount, token) = (
            random.random_range(1..i128::pow(10, 21)),
            ["USDC", "ETH"][number % 2],
        );
        let credited = number % 5 != 0;
        statements.push(format!(
            "INSERT INTO eidos_trading_deposits (deposit_id, wallet, token, amount, tx_hash, log_index, block_num, status, \
             detected_at, credited_at, created_at, updated_at) VALUES ('d{number}', '0x1', '{token}', {}, '0x', {number}, 1, {}, \
             1, {ended_ms}, 1, 1);\n\
             INSERT INTO eidos_trading_withdrawals (withdraw_id, wallet, token, amount, to_address, nonce, status, confirmed_at, \
             created_at, updated_at) VALUES ('w{number}', '0x1', '{token}', {}, '0x', {number}, {}, {at_ms}, 1, 1);\n",
            scaled(amount),
            if credited { 2 } else { 1 },
            scaled(amount),
            if credited { 3 } else { 4 },
        ));
        if credited {
            naive.add(ended_ms, None, &format!("deposit_volume:{token}"), scaled(amount));
            naive.add(at_ms, None, &format!("withdraw_volume:{token}"), scaled(amount));
        }
    }
    statements
}

#[tokio::test]
async fn statistics_equal_a_naive_recomputation_and_a_second_run_writes_no_row() {
    let fixture = Fixture::new().await;
    let naive = trading(&fixture, 1).await;
    let report = fixture.stats_at(at(SLOT)).await;
    assert_eq!((report.days, report.refused), (2, 0), "{report:#?}");
    for hour in 0..48 {
        let from = ms(FROM) + hour * HOUR_MS;
        let date = if hour < 24 { "2026-03-02" } else { "2026-03-03" };
        let found = fixture
            .figures(date, Some(i32::try_from(hour % 24).unwrap()))
            .await;
        assert_eq!(found, naive.of(from, from + HOUR_MS), "hour {hour}");
    }
    let mut day = fixture.figures("2026-03-03", None).await;
    let users = (None, "active_users".to_owned());
    assert_eq!(day.remove(&users), Some(Amount::from_whole(13).unwrap()));
    assert_eq!(day, naive.of(ms("2026-03-03T00:00:00Z"), ms(TO)));

    let versions = fixture.statistics_versions().await;
    let again = fixture.stats_at(at(SLOT)).await;
    assert_eq!(fixture.statistics_versions().await, versions, "a row was written");
    assert!(again.hours >= 3 && again.written == 0, "{again:#?}");
}

#[tokio::test]
async fn ruling_7_a_stop_of_30_hours_leaves_the_same_statistics_and_no_day_is_missed() {
    let (steady, stopped) = (Fixture::new().await, Fixture::new().await);
    trading(&steady, 2).await;
    trading(&stopped, 2).await;
    for hour in 1..=48 {
        let slot = Slot::from_ms(ms(FROM) + hour * HOUR_MS + 300_000).unwrap();
        steady.stats_at(slot).await;
        if hour <= 10 || hour > 40 {
            stopped.stats_at(slot).await;
        }
    }
    assert_eq!(
        stopped.statistics_digest().await,
        steady.statistics_digest().await
    );
    let days = "SELECT count(DISTINCT stat_date) FROM eidos_jobs_statistics WHERE stat_type = 'daily'";
    assert!(steady.jobs_number(days).await >= 2);
}

#[tokio::test]
async fn late_rows_within_the_look_back_correct_hour_and_day_and_rolled_back_ones_leave_zero() {
    let fixture = Fixture::new().await;
    trading(&fixture, 3).await;
    fixture.stats_at(at(SLOT)).await;
    let late = ms("2026-03-03T23:10:00Z");
    fixture
        .sql(&format!(
            "UPDATE eidos_trading_trades SET settlement_status = 5 WHERE matched_at >= {late}; \
             INSERT INTO eidos_trading_deposits (deposit_id, wallet, token, amount, tx_hash, log_index, block_num, status, \
               detected_at, credited_at, created_at, updated_at) VALUES ('late', '0x1', 'DAI', 5, '0x', 999, 1, 2, 1, {late}, 1, 1); \
             INSERT INTO eidos_trading_balances (wallet, token, created_at, updated_at) VALUES ('0xnew', 'ETH', {late}, 1)"
        ))
        .await;
    fixture.stats_at(at("2026-03-04T01:05:00Z")).await;
    let day = fixture.figures("2026-03-03", None).await;
    let of = |metric: &str| day.get(&(None, metric.to_owned())).copied();
    assert_eq!(of("deposit_volume:DAI"), Some(Amount::from_whole(5).unwrap()));
    assert_eq!(of("new_users"), Some(Amount::from_whole(1).unwrap()));
    let left = "SELECT count(*) FROM eidos_jobs_statistics WHERE stat_date = '2026-03-03' AND stat_hour = 23 \
                AND metric_name = 'trade_volume' AND metric_value <> 0 AND market = 'BTC-USDC'";
    let trades = format!(
        "eidos_trading_trades WHERE market = 'BTC-USDC' AND settlement_status = 3 AND matched_at >= {}",
        ms("2026-03-03T23:00:00Z")
    );
    assert_eq!(
        fixture.jobs_number(left).await,
        fixture.count(&trades).await.min(1)
    );
}

#[tokio::test]
async fn numbers_that_cannot_be_true_are_counted_as_refused_and_unpriced_tokens_are_named() {
    let fixture = Fixture::new().await;
    trading(&fixture, 4).await;
    list(&fixture, "ARB-ETH", 0).await;
    let at_ms = ms("2026-03-03T12:10:00Z");
    fixture
        .sql(&format!(
            "UPDATE eidos_trading_trades SET amount = 'NaN' WHERE trade_id = (SELECT min(trade_id) FROM eidos_trading_trades \
               WHERE settlement_status = 3); \
             UPDATE eidos_trading_trades SET quote_amount = -1 WHERE trade_id = (SELECT max(trade_id) FROM eidos_trading_trades \
               WHERE settlement_status = 3); \
             UPDATE eidos_trading_trades SET market = 'ARB-ETH', quote_amount = 2, matched_at = {at_ms} \
               WHERE trade_id = (SELECT trade_id FROM eidos_trading_trades WHERE settlement_status = 3 \
                 ORDER BY trade_id OFFSET 5 LIMIT 1)"
        ))
        .await;
    let report = fixture.stats_at(at(SLOT)).await;
    assert_eq!(report.refused, 2, "{report:#?}");
    assert_eq!(report.unpriced.len(), 1);
    assert_eq!(
        (report.unpriced[0].hour_ms, &report.unpriced[0].names[..]),
        (ms("2026-03-03T12:00:00Z"), &["ETH".to_owned()][..])
    );
    let total = (None, "trade_volume:USDC".to_owned());
    let hour = fixture.figures("2026-03-03", Some(12)).await;
    assert!(!hour.contains_key(&total));
    let day = fixture.figures("2026-03-03", None).await;
    assert!(!day.contains_key(&total), "23 hours are not the day");
    assert!(fixture.figures("2026-03-02", None).await.contains_key(&total));
    assert_eq!(
        hour[&(None, "quote_volume:ETH".to_owned())],
        Amount::from_whole(2).unwrap()
    );
}

#[tokio::test]
async fn a_total_that_is_not_known_any_more_is_kept_and_not_set_to_zero() {
    let fixture = Fixture::new().await;
    trading(&fixture, 5).await;
    fixture.stats_at(at(SLOT)).await;
    let total = (None, "trade_volume:USDC".to_owned());
    let known = fixture.figures("2026-03-03", Some(23)).await[&total];
    list(&fixture, "ARB-ETH", 0).await;
    let late = ms("2026-03-03T23:10:00Z");
    fixture
        .sql(&format!(
            "UPDATE eidos_trading_trades SET market = 'ARB-ETH' WHERE trade_id = (SELECT min(trade_id) \
               FROM eidos_trading_trades WHERE settlement_status = 3 AND matched_at >= {late})"
        ))
        .await;
    let report = fixture.stats_at(at("2026-03-04T01:05:00Z")).await;
    assert_eq!(report.unpriced.len(), 1, "{report:#?}");
    assert_eq!(fixture.figures("2026-03-03", Some(23)).await[&total], known);
}
