//! [`ChainSettings`]: which node, which contracts, which tokens, and how hard the node may be asked.

use eidos_types::Address;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::{ChainError, Finality};

mod checksum;
mod limits;

pub use limits::{BulkSettings, LogSettings, RpcSettings};

/// The `chain` section of a service's settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainSettings {
    /// The node's JSON-RPC endpoint (`http` or `https`). May hold credentials, so it is never shown: errors and
    /// logs name scheme, host and port only.
    #[serde(serialize_with = "masked")]
    pub rpc_url: SecretString,
    /// Another node of the same chain, of another provider, that the logs of each range are also asked of. `None`: the first
    /// one's logs are controlled by its own state and headers only.
    #[serde(default, serialize_with = "masked", skip_serializing_if = "Option::is_none")]
    pub second_rpc_url: Option<SecretString>,
    /// The chain id the node must answer with.
    pub chain_id: u64,
    /// The Vault.
    #[serde(deserialize_with = "checksum::address")]
    pub vault: Address,
    /// The Settlement contract; without it batches and fees cannot be read.
    #[serde(default, deserialize_with = "checksum::optional")]
    pub settlement: Option<Address>,
    /// The fee recipient; read from the Settlement contract if absent, compared with it if present.
    #[serde(default, deserialize_with = "checksum::optional")]
    pub fee_recipient: Option<Address>,
    /// Which views the Vault offers.
    #[serde(default)]
    pub profile: AbiProfile,
    /// Which blocks are final.
    #[serde(default)]
    pub finality: Finality,
    /// Whether the state is proven against the header (`eth_getProof`) before the first read at a block. Where it is not,
    /// or the node offers no proofs, the nonces of the block's senders are compared.
    #[serde(default = "yes")]
    pub state_proof: bool,
    /// The tokens that are read. Decimals are compared with the contract's at start.
    #[serde(default)]
    pub tokens: Vec<TokenSettings>,
    /// How requests are made.
    #[serde(default)]
    pub rpc: RpcSettings,
    /// How balances are read in bulk.
    #[serde(default)]
    pub bulk: BulkSettings,
    /// How logs are read.
    #[serde(default)]
    pub logs: LogSettings,
}

/// The views of a Vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AbiProfile {
    /// Interface A of the data model: `getTotalBalance`, `getLockedBalance`, …
    #[default]
    EidosVault,
    /// `balanceOf`, `deposited` and `withdrawn` per user and token.
    Seed,
}

/// One token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    /// The symbol the books use.
    pub symbol: String,
    /// The contract; zero is the native coin.
    #[serde(deserialize_with = "checksum::address")]
    pub address: Address,
    /// Decimals, 0 to 77; 18 for the native coin.
    pub decimals: u8,
}

/// A setting that cannot work, found without asking the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsProblem {
    /// The key below the section, as `tokens.1.decimals`.
    pub key: String,
    /// The value (never a credential).
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
    /// What to do.
    pub fix: String,
}

impl ChainSettings {
    /// Returns settings with every default, for `http://…`, one Vault and no tokens.
    pub fn new(rpc_url: impl Into<String>, chain_id: u64, vault: Address) -> Self {
        Self {
            rpc_url: SecretString::from(rpc_url.into()),
            second_rpc_url: None,
            chain_id,
            vault,
            settlement: None,
            fee_recipient: None,
            profile: AbiProfile::default(),
            finality: Finality::default(),
            state_proof: true,
            tokens: Vec::new(),
            rpc: RpcSettings::default(),
            bulk: BulkSettings::default(),
            logs: LogSettings::default(),
        }
    }

    /// Returns the settings of the second provider. `None`: there is none.
    #[must_use]
    pub fn second(&self) -> Option<Self> {
        let url = self.second_rpc_url.clone()?;
        Some(Self {
            rpc_url: url,
            second_rpc_url: None,
            ..self.clone()
        })
    }

    /// Returns scheme, host and port of the node, without credentials or path.
    #[must_use]
    pub fn endpoint(&self) -> String {
        crate::rpc::endpoint_of(self.rpc_url.expose_secret()).unwrap_or_default()
    }

    /// Returns everything that is wrong and can be seen without a node.
    pub fn problems(&self) -> Vec<SettingsProblem> {
        let mut problems = Vec::new();
        let mut refuse = |key: &str, value: String, reason: &str, fix: &str| {
            problems.push(SettingsProblem {
                key: key.to_owned(),
                value,
                reason: reason.to_owned(),
                fix: fix.to_owned(),
            });
        };
        if crate::rpc::endpoint_of(self.rpc_url.expose_secret()).is_none() {
            refuse(
                "rpc_url",
                "(hidden)".into(),
                "is not an http or https URL",
                "use http://host:port/path",
            );
        }
        if let Some(second) = &self.second_rpc_url {
            let fix = "use http://host:port/path of another provider's node, or null";
            if crate::rpc::endpoint_of(second.expose_secret()).is_none() {
                refuse(
                    "second_rpc_url",
                    "(hidden)".into(),
                    "is not an http or https URL",
                    fix,
                );
            } else if second.expose_secret() == self.rpc_url.expose_secret() {
                refuse(
                    "second_rpc_url",
                    "(hidden)".into(),
                    "is also chain.rpc_url: a node does not control itself",
                    fix,
                );
            }
        }
        if self.chain_id == 0 {
            refuse(
                "chain_id",
                "0".into(),
                "no chain has this id",
                "ask the node with eth_chainId",
            );
        }
        if self.vault == Address::ZERO {
            refuse(
                "vault",
                self.vault.to_string(),
                "is the zero address",
                "set the Vault's address",
            );
        }
        self.contract_problems(&mut refuse);
        self.limit_problems(&mut refuse);
        self.token_problems(&mut refuse);
        problems
    }

    /// Refuses one address in two places: the second is a slip of the clipboard.
    fn contract_problems(&self, refuse: &mut impl FnMut(&str, String, &str, &str)) {
        let vault = (self.vault != Address::ZERO).then_some(self.vault);
        if let Some(settlement) = self.settlement {
            if settlement == Address::ZERO {
                let fix = "set the Settlement contract's address, or null";
                refuse("settlement", settlement.to_string(), "is the zero address", fix);
            } else if Some(settlement) == vault {
                refuse(
                    "settlement",
                    settlement.to_string(),
                    "is also chain.vault",
                    "they are two contracts: set the Settlement contract's own address",
                );
            }
        }
    }

    fn limit_problems(&self, refuse: &mut impl FnMut(&str, String, &str, &str)) {
        let (rpc, bulk, logs) = (&self.rpc, &self.bulk, &self.logs);
        let sizes = [
            ("rpc.parallel_requests", rpc.parallel_requests, 1, 256),
            ("rpc.max_attempts", rpc.max_attempts, 1, 20),
            ("rpc.batch_calls", rpc.batch_calls, 1, 5_000),
            ("rpc.max_response_bytes", rpc.max_response_bytes, 65_536, 1 << 30),
            ("bulk.start_wallets", bulk.start_wallets, 1, bulk.max_wallets),
            ("bulk.max_wallets", bulk.max_wallets, 1, 200_000),
            ("bulk.sample", bulk.sample, 1, 10_000),
        ];
        for (key, value, least, most) in sizes {
            if !(least..=most).contains(&value) {
                refuse(
                    key,
                    value.to_string(),
                    "is out of range",
                    &format!("use {least} to {most}"),
                );
            }
        }
        if !(1..=logs.max_blocks).contains(&logs.start_blocks) {
            refuse(
                "logs.start_blocks",
                logs.start_blocks.to_string(),
                "is out of range",
                "use 1 to logs.max_blocks",
            );
        }
        if bulk.call_gas < 1_000_000 {
            refuse(
                "bulk.call_gas",
                bulk.call_gas.to_string(),
                "is too little for a bulk call",
                "use 50000000",
            );
        }
        if bulk.rungs.is_empty() {
            refuse(
                "bulk.rungs",
                "[]".into(),
                "leaves no way to read balances",
                "name at least `single`",
            );
        }
        for (key, value) in [
            ("rpc.request_timeout", rpc.request_timeout),
            ("rpc.connect_timeout", rpc.connect_timeout),
            ("rpc.retry_base", rpc.retry_base),
            ("rpc.rate_limit_budget", rpc.rate_limit_budget),
        ] {
            if value.is_zero() {
                refuse(key, "0s".into(), "is zero", "use a duration such as 500ms or 30s");
            }
        }
    }

    fn token_problems(&self, refuse: &mut impl FnMut(&str, String, &str, &str)) {
        for (index, token) in self.tokens.iter().enumerate() {
            let key = |field: &str| format!("tokens.{index}.{field}");
            let earlier = &self.tokens[..index];
            if token.symbol.is_empty() || earlier.iter().any(|other| other.symbol == token.symbol) {
                refuse(
                    &key("symbol"),
                    token.symbol.clone(),
                    "is empty or used twice",
                    "give each token its own symbol",
                );
            }
            if earlier.iter().any(|other| other.address == token.address) {
                refuse(
                    &key("address"),
                    token.address.to_string(),
                    "is used twice",
                    "list each token once",
                );
            }
            if token.decimals > 77 {
                refuse(
                    &key("decimals"),
                    token.decimals.to_string(),
                    "is more than a uint256 has",
                    "use 0 to 77",
                );
            }
            if token.address == Address::ZERO && token.decimals != 18 {
                refuse(
                    &key("decimals"),
                    token.decimals.to_string(),
                    "is not the native coin's",
                    "use 18",
                );
            }
        }
    }

    pub(crate) fn check(&self) -> Result<(), ChainError> {
        self.problems().into_iter().next().map_or(Ok(()), |problem| {
            let SettingsProblem {
                key,
                value,
                reason,
                fix,
            } = problem;
            Err(ChainError::refused(key, value, reason, fix))
        })
    }
}

const fn yes() -> bool {
    true
}

/// Never shows a secret, be it optional or not.
fn masked<T, S: serde::Serializer>(_secret: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("***")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Rung;

    fn settings() -> ChainSettings {
        ChainSettings::new(
            "http://user:hunter2@node:8545/v3/key",
            31_337,
            Address::new([1; 20]),
        )
    }

    #[test]
    fn defaults_have_no_problem_and_survive_a_round_trip() {
        assert_eq!(settings().problems(), []);
        let text = serde_json::to_string(&settings()).unwrap();
        assert!(!text.contains("hunter2") && !text.contains("key\""), "{text}");
        let read: ChainSettings = serde_json::from_str(&text).unwrap();
        assert_eq!(read.rpc.request_timeout, Duration::from_secs(30));
        assert!(!format!("{:?}", settings()).contains("hunter2"));
    }

    #[test]
    fn finality_and_rungs_read_as_written() {
        let read: ChainSettings = serde_json::from_value(serde_json::json!({
            "rpc_url": "http://localhost:1", "chain_id": 1,
            "vault": "0x0101010101010101010101010101010101010101",
            "profile": "seed", "finality": {"depth": 12}, "bulk": {"rungs": ["multicall3", "single"]},
            "rpc": {"request_timeout": "1500ms"},
        }))
        .unwrap();
        assert_eq!(read.finality, Finality::Depth(12));
        assert_eq!(read.bulk.rungs, [Rung::Multicall3, Rung::Single]);
        assert_eq!(read.rpc.request_timeout, Duration::from_millis(1_500));
        let unknown = r#"{"rpc_url":"http://x","chain_id":1,"vault":"0x0101010101010101010101010101010101010101","valut":1}"#;
        assert!(serde_json::from_str::<ChainSettings>(unknown).is_err());
    }

    #[test]
    fn one_address_for_two_contracts_is_refused_by_name() {
        let mut broken = settings();
        broken.settlement = Some(broken.vault);
        let found: Vec<_> = broken
            .problems()
            .into_iter()
            .map(|problem| format!("{} {}", problem.key, problem.reason))
            .collect();
        assert_eq!(found, ["settlement is also chain.vault"]);
    }

    #[test]
    fn a_second_provider_is_another_one_and_its_credentials_are_hidden() {
        let mut two = settings();
        assert!(two.second().is_none());
        for (url, reason) in [
            ("ws://node", "is not an http or https URL"),
            (
                "http://user:hunter2@node:8545/v3/key",
                "is also chain.rpc_url: a node does not control itself",
            ),
        ] {
            two.second_rpc_url = Some(SecretString::from(url));
            let found: Vec<_> = two
                .problems()
                .into_iter()
                .map(|found| (found.key, found.reason))
                .collect();
            assert_eq!(found, [("second_rpc_url".to_owned(), reason.to_owned())]);
        }
        two.second_rpc_url = Some(SecretString::from("https://user:hunter3@other/key"));
        assert_eq!(two.problems(), []);
        assert_eq!(two.second().unwrap().endpoint(), "https://other:443");
        let shown = format!("{two:?} {}", serde_json::to_string(&two).unwrap());
        assert!(!shown.contains("hunter"), "{shown}");
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let mut broken = settings();
        broken.rpc_url = SecretString::from("ws://node");
        broken.chain_id = 0;
        broken.rpc.parallel_requests = 0;
        broken.bulk.rungs.clear();
        let token = |symbol: &str, byte, decimals| TokenSettings {
            symbol: symbol.into(),
            address: Address::new([byte; 20]),
            decimals,
        };
        broken.tokens = vec![token("ETH", 0, 6), token("ETH", 2, 78)];
        let keys: Vec<_> = broken.problems().into_iter().map(|problem| problem.key).collect();
        assert_eq!(
            keys,
            [
                "rpc_url",
                "chain_id",
                "rpc.parallel_requests",
                "bulk.rungs",
                "tokens.0.decimals",
                "tokens.1.symbol",
                "tokens.1.decimals"
            ]
        );
    }
}
