//! What recon-svc adds to the suite's settings: the chain, the rules of the comparison, the neighbours' tables.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use eidos_chain::ChainSettings;
use eidos_settings::{CronLine, Problems, ServiceSettings, SourceName, SuiteSettings, duration_text};
use eidos_types::{Address, Amount, Clock as _, SystemClock};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::dimensions::balance::schema::{Schema, SchemaProfileSection};
use crate::dimensions::balance::sources::price_check;
use eidos_recon::severity::Thresholds;

/// With less, a warning would be critical before its second reading.
const MIN_ESCALATION: Duration = Duration::from_mins(1);
/// Each is compared in every run.
const MOST_CANARIES: usize = 100;

/// Rows of a table that an explanation may hold in memory.
const MAX_EXPLAINED_ROWS: u32 = 100_000;
/// How long the server waits for an answer to a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The sections of recon-svc.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReconSettings {
    /// Which node, which contracts.
    pub chain: ChainSettings,
    /// The rules of the comparison.
    pub reconciliation: ReconciliationSection,
    /// The neighbours' tables.
    pub schema_profile: SchemaProfileSection,
}

/// The own keys of recon-svc's jobs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReconOptions {
    /// Those of `reconciliation`.
    pub reconciliation: ReconciliationOptions,
}

/// The own keys of `jobs.reconciliation`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReconciliationOptions {
    /// When a run is a full one (ruling 2). `None`: only on demand.
    pub full_cron: Option<CronLine>,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// The Vault's balances and its solvency. The others are read at its cut, so it is always on.
    Balance,
    /// Deposits against Deposit events.
    Deposit,
    /// Withdrawals against Withdraw events.
    Withdrawal,
    /// Trades against the events and views of the Settlement contract.
    Settlement,
    /// The platform's fee account against the fees that trades paid.
    FeeAccount,
}

impl Dimension {
    /// The name in tables and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Balance => "balance",
            Self::Deposit => "deposit",
            Self::Withdrawal => "withdrawal",
            Self::Settlement => "settlement",
            Self::FeeAccount => "fee_account",
        }
    }
}

/// The rules of the comparison.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReconciliationSection {
    /// What is compared; balance is always among them.
    pub dimensions: Vec<Dimension>,
    /// Differences below this many USDC are logged and added to the dust.
    pub ignore_below_usdc: Amount,
    /// Differences above this many USDC are critical and pause operations.
    pub critical_above_usdc: Amount,
    /// Dust of one token in one run above this many USDC is a finding of its own.
    pub dust_limit_usdc: Amount,
    /// How long a suspect rests before it is read again.
    #[serde(with = "duration_text")]
    pub recheck_delay: Duration,
    /// How often a moving account is read again before it is left to the next run.
    pub recheck_attempts: u32,
    /// Readings at distinct finalized blocks before operations are paused.
    pub critical_confirmations: u32,
    /// How long a run waits for further finalized blocks to confirm a critical break; the next run goes on.
    #[serde(with = "duration_text")]
    pub confirm_wait: Duration,
    /// How often the finalized block is asked for while waiting.
    #[serde(with = "duration_text")]
    pub confirm_poll: Duration,
    /// Unresolved warnings that are older become critical, without pausing anything. `None`: age alone changes nothing.
    #[serde(default, with = "duration_text::option")]
    pub escalate_warnings_after: Option<Duration>,
    /// How long a deposit may be known and not credited.
    #[serde(with = "duration_text")]
    pub in_flight_max_age: Duration,
    /// How long a withdrawal may be submitted and not mined, or mined and not confirmed.
    #[serde(with = "duration_text")]
    pub withdrawal_max_age: Duration,
    /// How long a trade may be matched and not settled, or settled and not confirmed.
    #[serde(with = "duration_text")]
    pub settlement_max_age: Duration,
    /// How far back a full run reads settled trades: no longer than the archive of trades keeps them.
    #[serde(with = "duration_text")]
    pub settlement_history: Duration,
    /// Fees of settled trades that are in no table any more, by token.
    #[serde(default)]
    pub fee_account_opening: BTreeMap<String, Amount>,
    /// The most in-flight movements held in memory.
    pub max_in_flight_lines: usize,
    /// Accounts per page: one chain read and one durable step.
    pub page_accounts: usize,
    /// Ranges of wallets in a full run, 1 to 256.
    pub shard_count: u16,
    /// Ranges worked at the same time.
    pub parallelism: usize,
    /// How far back an incremental run looks beyond its last one: longer than the longest transaction.
    #[serde(with = "duration_text")]
    pub overlap_window: Duration,
    /// Quiet wallets an incremental run looks at anyway.
    pub sample_wallets: u32,
    /// More suspects than this end the run: a difference everywhere is a wrong setting, not a thousand breaks.
    pub max_suspects: usize,
    /// An indexer further behind the finalized block than this is a finding; sooner where the node keeps less state.
    pub indexer_max_lag_blocks: u64,
    /// How often a run pins a new cut when the chain's state is gone or reorganised.
    pub repin_attempts: u32,
    /// Accounts whose difference was planted: every run must find it.
    pub canaries: Vec<CanarySettings>,
    /// The block the Vault was deployed in; its events are read from here.
    pub vault_deployed_at_block: u64,
    /// Blocks whose events are read and stored together.
    pub event_blocks: u64,
    /// Breaks listed in the report; all are in the table.
    pub report_breaks: usize,
    /// Blocks that one explanation of a break searches for events, the newest first.
    pub explain_max_blocks: u64,
    /// Rows of each table that one explanation reads, the newest first.
    pub explain_max_rows: u32,
    /// Longest time of one explanation.
    #[serde(with = "duration_text")]
    pub explain_timeout: Duration,
    /// USDC per token.
    #[serde(default)]
    pub prices: BTreeMap<String, PriceSettings>,
    /// What a token without any price means at start.
    pub unpriced: Unpriced,
    /// A table with prices; its rows win over `prices`.
    #[serde(default)]
    pub price_table: Option<PriceTable>,
    /// Older prices make at least a warning.
    #[serde(with = "duration_text")]
    pub max_price_age: Duration,
    /// Operations that a critical shortfall (and insolvency) of a token pauses.
    pub pause_on_shortfall: Vec<Operation>,
    /// Operations that a critical surplus of a token pauses.
    pub pause_on_surplus: Vec<Operation>,
    /// Redis keys of pauses are `<prefix>:{operation}:{token}`.
    pub pause_key_prefix: String,
    /// Posted to when a pause is set or lifted.
    #[serde(default)]
    pub webhooks: Vec<String>,
    /// Longest time for one webhook.
    #[serde(with = "duration_text")]
    pub webhook_timeout: Duration,
}

/// An account whose difference was planted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CanarySettings {
    /// Whose account it is.
    pub wallet: Address,
    /// Token symbol.
    pub token: String,
    /// Chain − books, in whole tokens, above zero.
    pub difference: Amount,
}

/// What the start does with a token that has no price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unpriced {
    /// The start is refused, and names it.
    Refuse,
    /// It is compared: each shortfall of it is critical, each surplus a warning, whatever the size.
    Accept,
}

/// An operation of the exchange that a pause stops for one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Users take tokens out.
    Withdrawal,
    /// Deposits are credited.
    Deposit,
    /// Batches are submitted.
    Settlement,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 3] = [Self::Withdrawal, Self::Deposit, Self::Settlement];

    /// The name in keys, tables and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Withdrawal => "withdrawal",
            Self::Deposit => "deposit",
            Self::Settlement => "settlement",
        }
    }

    /// From its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.as_str() == name)
    }
}

/// A configured price.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceSettings {
    /// USDC for one whole token.
    pub usdc: Decimal,
    /// When it was true; absent means by definition.
    #[serde(default)]
    pub as_of: Option<DateTime<Utc>>,
    /// Who says so.
    pub source: String,
}

/// Where prices are stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceTable {
    /// In which database.
    pub database: SourceName,
    /// The table.
    pub table: String,
    /// Token symbol.
    pub symbol_column: String,
    /// USDC for one whole token.
    pub price_column: String,
    /// Epoch milliseconds.
    pub time_ms_column: String,
}

impl ReconciliationSection {
    /// The two boundaries.
    #[must_use]
    pub const fn thresholds(&self) -> Thresholds {
        Thresholds {
            ignore_below: self.ignore_below_usdc,
            critical_above: self.critical_above_usdc,
        }
    }
}

impl ServiceSettings for ReconSettings {
    const DEFAULTS: &'static str = include_str!("../settings.default.yaml");
    type Options = ReconOptions;

    fn validate(&self, _options: &ReconOptions, suite: &SuiteSettings, problems: &mut Problems) {
        self.validate_sources(suite, problems);
        for problem in self.chain.problems() {
            // The defaults name no Vault. In dev a file without one loads (the requirement's own example has none)
            // and the start refuses it, because there is no code at that address; elsewhere it is refused here.
            if !problems.is_strict(suite) && self.chain.vault == Address::ZERO && problem.key == "vault" {
                continue;
            }
            problems.add_value(
                format!("chain.{}", problem.key),
                problem.value,
                problem.reason,
                problem.fix,
            );
        }
        if let Err(found) = Schema::resolve(&self.schema_profile) {
            for problem in found {
                problems.add("schema_profile", problem, "correct the name");
            }
        }
        self.validate_rules(problems);
        self.validate_canaries(problems);
        self.validate_explanations(problems);
        self.validate_prices(SystemClock::default().now(), problems);
    }
}

impl ReconSettings {
    fn validate_sources(&self, suite: &SuiteSettings, problems: &mut Problems) {
        for (source, why) in [
            (SourceName::Trading, "balances, orders and trades are read there"),
            (SourceName::Chain, "what the indexer stored is read there"),
            (SourceName::Admin, "the token table is read there"),
        ] {
            problems.needs_source(suite, source, why);
        }
        if let Some(table) = &self.reconciliation.price_table {
            problems.needs_source(suite, table.database, "reconciliation.price_table is there");
        }
    }

    /// What can be known about prices without the databases: the start looks again with the books' token table.
    fn validate_prices(&self, now: DateTime<Utc>, problems: &mut Problems) {
        let rules = &self.reconciliation;
        for problem in price_check::entries(&rules.prices, now) {
            problems.add_value(
                format!("reconciliation.prices.{}", problem.key),
                problem.value,
                problem.reason,
                problem.fix,
            );
        }
        if self.chain.tokens.is_empty() {
            return;
        }
        let symbols: Vec<&str> = self
            .chain
            .tokens
            .iter()
            .map(|token| token.symbol.as_str())
            .collect();
        // What a table prices is known at start.
        let missing_is_known = rules.price_table.is_none() && rules.unpriced == Unpriced::Refuse;
        for problem in price_check::names(&symbols, &rules.prices) {
            problems.add("reconciliation.prices", problem, "correct the name");
        }
        if missing_is_known {
            for problem in price_check::missing(&symbols, |symbol| rules.prices.contains_key(symbol)) {
                problems.add("reconciliation.prices", problem, price_check::PRICE_FIX);
            }
        }
    }

    fn validate_canaries(&self, problems: &mut Problems) {
        let canaries = &self.reconciliation.canaries;
        if canaries.len() > MOST_CANARIES {
            problems.add_value(
                "reconciliation.canaries",
                canaries.len().to_string(),
                "are too many",
                format!("name {MOST_CANARIES} at most"),
            );
        }
        for (index, canary) in canaries.iter().enumerate() {
            if canary.difference <= Amount::ZERO {
                problems.add_value(
                    format!("reconciliation.canaries.{index}.difference"),
                    canary.difference.to_string(),
                    "is not above zero: a canary that lacks something on chain would make the Vault look insolvent",
                    "plant a difference of which the chain has more than the books",
                );
            }
        }
    }

    fn validate_explanations(&self, problems: &mut Problems) {
        let rules = &self.reconciliation;
        let mut refuse = |key: &str, value: String, reason: &str, fix: &str| {
            problems.add_value(format!("reconciliation.{key}"), value, reason, fix);
        };
        if rules.explain_max_blocks == 0 {
            refuse(
                "explain_max_blocks",
                "0".to_owned(),
                "searches nothing",
                "use 1000000",
            );
        }
        if !(1..=MAX_EXPLAINED_ROWS).contains(&rules.explain_max_rows) {
            let value = rules.explain_max_rows.to_string();
            refuse("explain_max_rows", value, "is not 1 to 100000", "use 5000");
        }
        if rules.explain_timeout.is_zero() || rules.explain_timeout >= REQUEST_TIMEOUT {
            let value = format!("{:?}", rules.explain_timeout);
            refuse(
                "explain_timeout",
                value,
                "is zero, or as long as a request may take (30s)",
                "use 20s",
            );
        }
    }

    fn validate_rules(&self, problems: &mut Problems) {
        let rules = &self.reconciliation;
        let mut refuse = |key: &str, value: String, reason: &str, fix: &str| {
            problems.add_value(format!("reconciliation.{key}"), value, reason, fix);
        };
        if rules.ignore_below_usdc.is_negative() || rules.ignore_below_usdc > rules.critical_above_usdc {
            refuse(
                "ignore_below_usdc",
                rules.ignore_below_usdc.to_string(),
                "is negative or above critical_above_usdc",
                "use 0.01 and 100",
            );
        }
        if !rules.dimensions.contains(&Dimension::Balance) {
            refuse(
                "dimensions",
                rules
                    .dimensions
                    .iter()
                    .map(|on| on.as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
                "does not have balance, at whose cut the others are read",
                "add balance",
            );
        }
        for (key, value) in [
            ("page_accounts", rules.page_accounts),
            ("parallelism", rules.parallelism),
            ("shard_count", usize::from(rules.shard_count)),
            ("recheck_attempts", rules.recheck_attempts as usize),
            ("critical_confirmations", rules.critical_confirmations as usize),
            ("repin_attempts", rules.repin_attempts as usize),
            ("max_suspects", rules.max_suspects),
        ] {
            if value == 0 {
                refuse(key, value.to_string(), "is zero", "use 1 or more");
            }
        }
        if rules.shard_count > 256 {
            refuse(
                "shard_count",
                rules.shard_count.to_string(),
                "is above 256",
                "use 1 to 256",
            );
        }
        if let Some(after) = rules
            .escalate_warnings_after
            .filter(|after| *after < MIN_ESCALATION)
        {
            refuse(
                "escalate_warnings_after",
                format!("{after:?}"),
                "is below one minute",
                "use 24h, or null to let age alone change nothing",
            );
        }
        if rules.event_blocks == 0 {
            refuse("event_blocks", "0".to_owned(), "is zero", "use 50000");
        }
        for url in &rules.webhooks {
            if !(url.starts_with("https://") || url.starts_with("http://")) {
                refuse(
                    "webhooks",
                    "(hidden)".to_owned(),
                    "is not an http or https URL",
                    "use https://host/path",
                );
            }
        }
    }
}
