//! `check-config` says everything that is wrong in one go.

use std::process::Command;

/// Exit code and what was printed.
fn check_config(config: &str, environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.yaml");
    std::fs::write(&path, config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_recon-svc"))
        .args(["check-config", "--config"])
        .arg(&path)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(printed).unwrap())
}

const STRONG: &str = "
service: { env: prod, version: 1.4.2 }
redis: { url: 'rediss://redis/0', password: 7f3c9a1be2d84650937fc1aa55e0d2b8 }
";

#[test]
fn what_is_missing_and_what_is_wrong_is_said_together() {
    let config = format!(
        "{STRONG}
databases:
  jobs: {{ url: '${{JOBS_DSN}}' }}
  trading: {{ url: '${{TRADING_DSN}}' }}
  admin: {{ url: 'postgres://admin@db/admin' }}
chain:
  vault: '0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD'
  tokens:
    - {{ symbol: USDC, address: '0x0000000000000000000000000000000000000001', decimals: 200 }}
"
    );
    let (code, said) = check_config(&config, &[]);
    assert_eq!(code, Some(78), "{said}");
    for line in [
        "databases.jobs.url: is not set: every service keeps its history there",
        "JOBS_DSN is not set",
        "databases.trading.url: is not set: balances, orders and trades are read there",
        "TRADING_DSN is not set",
        "databases.chain.url: is not set",
        "databases.admin.url: is plain text",
        "has a wrong checksum (EIP-55)",
        "chain.tokens.0.decimals: '200' is more than a uint256 has",
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }
    assert!(said.contains("6 problems"), "{said}");
}

#[test]
fn one_address_for_two_contracts_is_refused_by_name() {
    let config = "
chain:
  vault: '0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed'
  settlement: '0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed'
";
    let (code, said) = check_config(config, &[]);
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("chain.settlement") && said.contains("is also chain.vault"),
        "{said}"
    );
}

#[test]
fn what_is_no_secret_is_shown_and_secrets_are_not() {
    let tokens = r#"[{"name": "ops", "role": "viewer", "token": "hunter2hunter2"}]"#;
    let contracts =
        r#"[{"symbol": "USDC", "address": "0x0000000000000000000000000000000000000001", "decimals": 6}]"#;
    let (code, said) = check_config(
        "",
        &[
            ("EIDOS__AUTH__TOKENS", tokens),
            ("EIDOS__CHAIN__TOKENS", contracts),
            ("EIDOS__RECONCILIATION__WEBHOOKS", "https://chat.example/hunter2"),
        ],
    );
    assert_eq!(code, Some(0), "{said}");
    let shown = |key: &str| {
        let line = said
            .lines()
            .find(|line| line.split_whitespace().next() == Some(key));
        line.and_then(|line| line.split_whitespace().nth(1))
            .unwrap_or_default()
    };
    assert_eq!(shown("auth.tokens.0.name"), "ops", "{said}");
    assert_eq!(shown("auth.tokens.0.role"), "viewer");
    assert_eq!(shown("auth.tokens.0.token"), "********");
    assert_eq!(shown("chain.tokens.0.symbol"), "USDC");
    assert_eq!(shown("chain.tokens.0.decimals"), "6");
    assert_eq!(shown("schema_profile.market_tokens.BTC"), "WBTC");
    assert_eq!(shown("reconciliation.webhook_timeout"), "5s");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn an_explanation_has_bounds_and_less_time_than_a_request() {
    let config = format!(
        "{STRONG}
reconciliation: {{ explain_max_blocks: 0, explain_max_rows: 100001, explain_timeout: 30s }}
"
    );
    let (code, said) = check_config(&config, &[]);
    assert_eq!(code, Some(78), "{said}");
    for line in [
        "reconciliation.explain_max_blocks",
        "reconciliation.explain_max_rows: '100001' is not 1 to 100000",
        "reconciliation.explain_timeout",
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }
}
