use serde_json::json;

use super::*;

fn retention(value: &Value) -> DataRetention {
    let mut whole = json!({ "partitioned_tables": {}, "regular_tables": {}, "timescaledb": {} });
    for (section, rules) in value.as_object().unwrap() {
        whole[section] = rules.clone();
    }
    serde_json::from_value(whole).unwrap()
}

/// The keys of everything that is wrong.
fn wrong(value: &Value, archive_before_cleanup: bool) -> Vec<String> {
    let mut found = Problems::default();
    problems(&retention(value), archive_before_cleanup, &mut found);
    let text = format!("{found:?}");
    text.match_indices("key: \"")
        .map(|(at, mark)| {
            let rest = &text[at + mark.len()..];
            rest[..rest.find('"').unwrap()]
                .trim_start_matches("data_retention.")
                .to_owned()
        })
        .collect()
}

fn candles(rule: &Value) -> Value {
    json!({ "timescaledb": { "eidos_market_klines": rule } })
}

#[test]
fn what_the_requirement_calls_finished_needs_no_setting() {
    let rules = Rules::of(
        &retention(&json!({ "regular_tables": {
            "eidos_chain_withdrawal_txs": { "retention_months": 24 },
            "eidos_chain_settlement_batches": { "retention_months": 24, "batch_size": 500 },
            "eidos_risk_withdrawal_reviews": { "retention_months": 24 },
            "eidos_jobs_reconciliation_records": { "retention_months": 6 },
            "eidos_admin_audit_logs": { "retention_months": 24, "archive_before_delete": false },
        }})),
        true,
        7,
    );
    let finished = |table: &str| {
        let rule = rules
            .plain
            .iter()
            .find(|rule| rule.table.as_str() == table)
            .unwrap();
        rule.rows
            .finished
            .as_ref()
            .map(|finished| json!([finished.column, finished.values]))
    };
    assert_eq!(
        finished("eidos_chain_withdrawal_txs"),
        Some(json!(["status", [2, 3]]))
    );
    assert_eq!(
        finished("eidos_chain_settlement_batches"),
        Some(json!(["status", [2, 3]]))
    );
    assert_eq!(
        finished("eidos_risk_withdrawal_reviews"),
        Some(json!(["status", ["approved", "rejected"]]))
    );
    assert_eq!(finished("eidos_admin_audit_logs"), None);
    let records = rules
        .plain
        .iter()
        .find(|rule| rule.source == SourceName::Jobs)
        .unwrap();
    assert_eq!(
        records
            .rows
            .stays_while
            .as_ref()
            .map(|stays| stays.table.as_str()),
        Some("eidos_jobs_breaks")
    );
    let archived: Vec<bool> = rules
        .plain
        .iter()
        .map(|rule| rule.rows.archive.is_some())
        .collect();
    assert_eq!(
        archived,
        [false, true, true, true, true],
        "each table's own word, else the job's"
    );
    assert!(rules.archives());
}

#[test]
fn a_table_that_demands_an_archive_is_not_overruled_in_silence() {
    let rules = json!({
        "partitioned_tables": {
            "eidos_risk_events": { "retention_months": 12, "archive_before_drop": true },
            "eidos_risk_audit_logs": { "retention_months": 6 },
        },
        "regular_tables": {
            "eidos_chain_withdrawal_txs": { "retention_months": 24, "archive_before_delete": true },
            "eidos_admin_audit_logs": { "retention_months": 24 },
        },
    });
    assert_eq!(wrong(&rules, true), Vec::<String>::new());
    assert_eq!(
        wrong(&rules, false),
        [
            "partitioned_tables.eidos_risk_events.archive_before_drop",
            "regular_tables.eidos_chain_withdrawal_txs.archive_before_delete"
        ]
    );
}

#[test]
fn rules_that_cannot_be_are_refused_by_key() {
    assert_eq!(
        wrong(
            &json!({
                "partitioned_tables": { "orders": { "retention_months": 1 }, "eidos_risk_events": { "retention_months": 1 } },
                "regular_tables": {
                    "eidos_risk_events": { "retention_months": 1 },
                    "eidos_admin_x": { "retention_months": 1, "time_column": "a b", "finished": { "column": "s", "values": [] } },
                    "eidos_admin_y": { "retention_months": 1, "finished": { "column": "s;", "values": [1.5] } },
                },
            }),
            true
        ),
        [
            "partitioned_tables.orders.source",
            "regular_tables.eidos_admin_x.time_column",
            "regular_tables.eidos_admin_x.finished.values",
            "regular_tables.eidos_admin_y.finished.column",
            "regular_tables.eidos_admin_y.finished.values",
            "regular_tables.eidos_risk_events",
        ]
    );
}

#[test]
fn the_requirement_s_own_candles_have_provers() {
    let own = candles(&json!({ "retention_by_interval":
        { "1m": 7, "5m": 30, "15m": 90, "30m": 180, "1h": 365, "4h": 730, "1d": 0, "1w": 0 } }));
    assert_eq!(wrong(&own, true), Vec::<String>::new());
    let rules = Rules::of(&retention(&own), true, 7);
    let pairs: Vec<String> = rules
        .candles
        .iter()
        .map(|rule| format!("{} {}", rule.interval, rule.prover.interval))
        .collect();
    assert_eq!(pairs, ["1m 1h", "5m 1h", "15m 1h", "30m 1h", "1h 4h", "4h 1d"]);
    assert!(rules.candles.iter().all(|rule| !rule.alone_in_table));
}

#[test]
fn candles_that_nothing_could_prove_are_refused() {
    let key = |interval: &str| format!("timescaledb.eidos_market_klines.retention_by_interval.{interval}");
    // The hour would be gone before the minute it proves.
    let shorter = json!({ "retention_by_interval": { "1m": 400, "1h": 365 } });
    assert_eq!(wrong(&candles(&shorter), true), [key("1m")]);
    // Nothing is coarser by itself than a day; a week is, where configured; nothing than a week.
    assert_eq!(
        wrong(&candles(&json!({ "retention_by_interval": { "1d": 30 } })), true),
        [key("1d")]
    );
    let by_week = json!({ "retention_by_interval": { "1d": 30 }, "proved_by": { "1d": "1w" } });
    assert_eq!(wrong(&candles(&by_week), true), Vec::<String>::new());
    assert_eq!(
        wrong(&candles(&json!({ "retention_by_interval": { "1w": 30 } })), true),
        [key("1w")]
    );
    for prover in ["1m", "5m", "7x", "a b:1h"] {
        let rule = json!({ "retention_by_interval": { "5m": 30 }, "proved_by": { "5m": prover } });
        assert_eq!(
            wrong(&candles(&rule), true),
            ["timescaledb.eidos_market_klines.proved_by.5m"],
            "{prover}"
        );
    }
}

#[test]
fn an_interval_may_have_a_table_of_its_own() {
    let rules = json!({ "timescaledb": {
        "eidos_market_klines_1m": { "retention_by_interval": { "1m": 7 }, "proved_by": { "1m": "eidos_market_klines_1h:1h" } },
        "eidos_market_klines_1h": { "retention_by_interval": { "1h": 0 } },
    }});
    assert_eq!(wrong(&rules, true), Vec::<String>::new());
    let rules = Rules::of(&retention(&rules), true, 7);
    assert_eq!(rules.candles.len(), 1);
    assert_eq!(rules.candles[0].prover.table.as_str(), "eidos_market_klines_1h");
    assert!(rules.candles[0].alone_in_table);
}

#[test]
fn ruling_37_a_table_is_decided_about_by_a_rule_or_on_purpose() {
    let rules = Rules::of(
        &retention(&json!({
            "partitioned_tables": { "eidos_risk_events": { "retention_months": 12 } },
            "keep_forever": ["eidos_admin_*", "audit.*", "eidos_*_markets", "exact"],
        })),
        true,
        7,
    );
    for (schema, name) in [
        ("public", "eidos_risk_events"),
        ("public", "eidos_admin_roles"),
        ("audit", "anything"),
        ("public", "eidos_market_markets"),
        ("public", "exact"),
        ("public", "eidos_jobs_disposals"),
    ] {
        assert!(rules.decides_about(schema, name, true), "{schema}.{name}");
    }
    for (schema, name) in [
        ("public", "eidos_risk_events_2"),
        ("public", "admin"),
        ("public", "eidos_markets"),
        ("public", "exactly"),
        ("public", "audit"),
        ("public", "eidos_jobs_statistics"),
    ] {
        assert!(!rules.decides_about(schema, name, true), "{schema}.{name}");
    }
}

#[test]
fn a_star_stands_for_any_characters() {
    for (pattern, name, fits) in [
        ("*", "", true),
        ("*", "abc", true),
        ("a*c", "abc", true),
        ("a*c", "ac", true),
        ("a*c", "abcd", false),
        ("a*b*c", "axbxc", true),
        ("a*b*c", "axc", false),
        ("abc", "abc", true),
        ("abc", "abcd", false),
        ("*b*", "abc", true),
        ("ab*ba", "aba", false),
        ("**", "x", true),
    ] {
        assert_eq!(matches_pattern(pattern, name), fits, "{pattern} {name}");
    }
}
