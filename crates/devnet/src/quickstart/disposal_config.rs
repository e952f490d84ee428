//! The configurations of retention-manager and archiver for a devnet.

use std::fmt::Write;

use super::config::push_api_tokens;

/// Where both find everything.
#[derive(Debug, Clone)]
pub(super) struct DisposalEndpoints {
    /// Our own database, as the service's role.
    pub(super) jobs_database: String,
    /// The neighbours' database, as the service's role.
    pub(super) exchange_database: String,
    /// Redis.
    pub(super) redis: String,
    /// Where exports go, as `file:///somewhere`.
    pub(super) archive_url: String,
}

/// Neighbours' tables that are kept on purpose. What is in neither this list nor the requirement's is a finding.
const KEPT_FOR_EVER: [&str; 16] = [
    "eidos_trading_balances",
    "eidos_trading_balance_logs",
    "eidos_trading_fee_accounts",
    "eidos_trading_orders*",
    "eidos_trading_trades*",
    "eidos_trading_settlement_batches",
    "eidos_trading_deposits",
    "eidos_trading_withdrawals",
    "eidos_trading_used_nonces",
    "eidos_trading_outbox_messages",
    "eidos_trading_subaccount*",
    "eidos_chain_block_checkpoints",
    "eidos_admin_token_configs",
    "eidos_market_markets",
    "eidos_market_trades",
    "eidos_jobs_*",
];

/// The YAML with which a retention-manager looks after the devnet: the requirement's retention table, which is the
/// default, with two tables that leave quarantine at once so that a drop can be seen.
pub(super) fn retention_config(endpoints: &DisposalEndpoints) -> String {
    let mut yaml = common("retention-manager", endpoints);
    yaml.push_str(
        "disposal: { quarantine_days: 7 }\n\
         data_retention:\n  partitioned_tables:\n    \
         eidos_risk_events: { quarantine_days: 0 }\n    \
         eidos_chain_deposit_records: { quarantine_days: 0 }\n  \
         regular_tables:\n",
    );
    for table in [
        "eidos_chain_withdrawal_txs",
        "eidos_chain_settlement_batches",
        "eidos_risk_withdrawal_reviews",
        "eidos_jobs_reconciliation_records",
        "eidos_admin_audit_logs",
    ] {
        let _ = writeln!(yaml, "    {table}: {{ sleep_ms: 5 }}");
    }
    yaml.push_str("  keep_forever:\n");
    for pattern in KEPT_FOR_EVER {
        let _ = writeln!(yaml, "    - \"{pattern}\"");
    }
    yaml
}

/// The YAML with which an archiver works in the devnet. Expired months of the archive leave without a rest.
pub(super) fn archiver_config(endpoints: &DisposalEndpoints) -> String {
    let mut yaml = common("archiver", endpoints);
    yaml.push_str("disposal: { quarantine_days: 0 }\njobs:\n  archive-data: { sleep_ms: 5 }\n");
    yaml
}

fn common(service: &str, endpoints: &DisposalEndpoints) -> String {
    let mut yaml = format!(
        "# Written by `devnet quickstart --all`: {service} for the devnet.\n\
         service: {{ name: {service}, env: dev, version: quickstart, http_host: 127.0.0.1, http_port: 0, \
         grpc_host: 127.0.0.1, grpc_port: 0 }}\n\
         telemetry: {{ log_level: warn, log_format: text }}\n\
         redis: {{ url: \"{}\" }}\n\
         archive_store: {{ url: \"{}\" }}\n\
         databases:\n  jobs: {{ url: \"{}\" }}\n",
        endpoints.redis, endpoints.archive_url, endpoints.jobs_database,
    );
    for source in ["trading", "market", "chain", "risk", "admin"] {
        let _ = writeln!(yaml, "  {source}: {{ url: \"{}\" }}", endpoints.exchange_database);
    }
    push_api_tokens(&mut yaml);
    yaml
}
