//! The recon-svc configuration of a devnet.

use std::fmt::Write;

use std::collections::BTreeMap;

use crate::devnet::{Addresses, Devnet};
use crate::manifest::Canary;
use crate::tokens::Token;

/// Tokens of the development API: role and secret.
pub(super) const API_TOKENS: [(&str, &str); 3] = [
    ("viewer", "quickstart-viewer-token"),
    ("operator", "quickstart-operator-token"),
    ("admin", "quickstart-admin-token"),
];

/// Where a recon-svc finds everything.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// Our own database.
    pub jobs_database: String,
    /// The neighbours' database, as the read-only role.
    pub exchange_database: String,
    /// Redis.
    pub redis: String,
    /// Kafka's bootstrap servers, `host:port` separated by commas; empty for none.
    pub kafka: String,
    /// The EVM node.
    pub rpc: String,
    /// Where its HTTP API will listen.
    pub http_port: u16,
    /// Where its gRPC API will listen.
    pub grpc_port: u16,
}

/// What is reconciled: a [`Devnet`] or a bulk one.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Seed of the devnet, for the file's first line.
    pub seed: u64,
    /// Contracts and accounts.
    pub addresses: &'a Addresses,
    /// Tokens by symbol.
    pub tokens: &'a BTreeMap<&'static str, Token>,
    /// True if some wallet of the books is written with capital letters.
    pub mixed_case: bool,
    /// Accounts that differ on purpose.
    pub canaries: &'a [Canary],
}

impl<'a> From<&'a Devnet> for Target<'a> {
    fn from(devnet: &'a Devnet) -> Self {
        Self {
            seed: devnet.manifest().seed,
            addresses: devnet.addresses(),
            tokens: devnet.tokens(),
            mixed_case: devnet.has_mixed_case(),
            canaries: &devnet.manifest().canaries,
        }
    }
}

/// The YAML with which a recon-svc reconciles `target`. Everything it does not say is the default.
pub fn recon_config<'a>(target: impl Into<Target<'a>>, endpoints: &Endpoints) -> String {
    let target = target.into();
    let addresses = target.addresses;
    let mut yaml = format!(
        "# Written by `devnet quickstart`: a recon-svc for the devnet of seed {seed}.\n\
         service:\n  name: recon-svc\n  env: dev\n  version: quickstart\n  http_host: 127.0.0.1\n  \
         http_port: {http}\n  grpc_host: 127.0.0.1\n  grpc_port: {grpc}\n\n\
         telemetry:\n  log_level: warn\n  log_format: text\n\n\
         redis:\n  url: \"{redis}\"\n\nkafka:\n  brokers: [{kafka}]\n\n\
         databases:\n  jobs:\n    url: \"{jobs}\"\n",
        seed = target.seed,
        http = endpoints.http_port,
        grpc = endpoints.grpc_port,
        redis = endpoints.redis,
        kafka = quoted_list(&endpoints.kafka),
        jobs = endpoints.jobs_database,
    );
    for source in ["trading", "market", "chain", "risk", "admin"] {
        let _ = writeln!(yaml, "  {source}:\n    url: \"{}\"", endpoints.exchange_database);
    }
    push_api_tokens(&mut yaml);
    let _ = write!(
        yaml,
        "\nchain:\n  rpc_url: \"{}\"\n  chain_id: {}\n  vault: \"{}\"\n  settlement: \"{}\"\n  fee_recipient: \"{}\"\n",
        endpoints.rpc, addresses.chain_id, addresses.vault, addresses.settlement, addresses.fee_recipient,
    );
    push_rules(&mut yaml, &target);
    yaml
}

/// The callers that a service answers: [`API_TOKENS`].
pub(super) fn push_api_tokens(yaml: &mut String) {
    yaml.push_str("\nauth:\n  tokens:\n");
    for (role, token) in API_TOKENS {
        let _ = writeln!(yaml, "    - {{ name: {role}, role: {role}, token: {token} }}");
    }
}

fn push_rules(yaml: &mut String, target: &Target<'_>) {
    let case = if target.mixed_case {
        "mixed # one wallet is written with its checksum"
    } else {
        "lower"
    };
    let _ = write!(
        yaml,
        "\nschema_profile:\n  wallet_case: {case}\n  \
         market_tokens: {{ BTC: WBTC, ETH: WETH }}\n\n\
         reconciliation:\n  vault_deployed_at_block: {}\n  recheck_delay: 100ms\n  \
         critical_confirmations: 1 # nobody mines here, so there is no second finalized block to wait for\n  \
         confirm_wait: 1s\n  prices:\n",
        target.addresses.deployed_in,
    );
    let unpriced: Vec<&str> = target
        .tokens
        .values()
        .filter(|token| token.price_usdc.is_none())
        .map(|token| token.symbol)
        .collect();
    let as_of = chrono::DateTime::from_timestamp_millis(crate::devnet::now_ms()).unwrap_or_default();
    for token in target.tokens.values() {
        if let Some(price) = token.price_usdc {
            let _ = writeln!(
                yaml,
                "    {}: {{ usdc: \"{price}\", as_of: \"{}\", source: devnet }}",
                token.symbol,
                as_of.format("%Y-%m-%dT%H:%M:%SZ"),
            );
        }
    }
    push_canaries(yaml, target.canaries);
    if !unpriced.is_empty() {
        let _ = writeln!(
            yaml,
            "  unpriced: accept # nobody prices {}: a shortfall of it is critical whatever its size",
            unpriced.join(", "),
        );
    }
}

fn push_canaries(yaml: &mut String, canaries: &[Canary]) {
    if canaries.is_empty() {
        return;
    }
    yaml.push_str("  canaries:\n");
    for canary in canaries {
        let _ = writeln!(
            yaml,
            "    - {{ wallet: \"{}\", token: {}, difference: \"{}\" }}",
            canary.wallet, canary.token, canary.difference,
        );
    }
}

fn quoted_list(brokers: &str) -> String {
    let quoted: Vec<String> = brokers
        .split(',')
        .map(str::trim)
        .filter(|broker| !broker.is_empty())
        .map(|broker| format!("\"{broker}\""))
        .collect();
    quoted.join(", ")
}
