//! A node with the contracts, and balances whose truth the test knows.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alloy_primitives::{Bytes, U256, keccak256};
use alloy_sol_types::SolCall;
use eidos_chain::contracts::{self, IToken, IVault, encode, evm};
use eidos_chain::{ChainReader, ChainSettings, Finality, TokenSettings, vault_balance_slots};
use eidos_sandbox::{Anvil, AnvilOptions};
use eidos_types::{Address, BaseUnits, Hash32};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::{Value, json};

pub(crate) struct Fixture {
    pub(crate) node: Node,
    pub(crate) vault: Address,
    pub(crate) settlement: Address,
    pub(crate) usdc: Address,
    pub(crate) weth: Address,
    /// Owner and operator of everything.
    pub(crate) owner: Address,
    /// Funded accounts beside the owner.
    pub(crate) users: Vec<Address>,
    pub(crate) fees: Address,
    _anvil: Anvil,
}

/// Raw JSON-RPC: what the tests do to the chain must not go through what they test.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) url: String,
    http: reqwest::Client,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Node {
    pub(crate) fn at(url: String) -> Self {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let _another_test_was_first = rustls::crypto::ring::default_provider().install_default();
        }
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .build()
            .unwrap();
        Self { url, http }
    }

    pub(crate) async fn post(&self, body: Vec<u8>) -> Vec<u8> {
        let request = self
            .http
            .post(&self.url)
            .header("content-type", "application/json")
            .body(body);
        request.send().await.unwrap().bytes().await.unwrap().to_vec()
    }

    pub(crate) async fn rpc(&self, method: &str, params: Value) -> Value {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let answer: Value = serde_json::from_slice(&self.post(body.to_string().into_bytes()).await).unwrap();
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    pub(crate) async fn batch(&self, calls: Vec<(&str, Value)>) {
        let calls: Vec<Value> = calls
            .into_iter()
            .map(|(method, params)| json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
            .collect();
        let answer = self.post(serde_json::to_vec(&calls).unwrap()).await;
        let answer: Vec<Value> = serde_json::from_slice(&answer).unwrap();
        assert!(answer.iter().all(|one| one.get("error").is_none()), "{answer:?}");
    }

    /// Sends a transaction, which anvil mines at once; its hash and the contract it created.
    pub(crate) async fn send(
        &self,
        from: Address,
        to: Option<Address>,
        data: Bytes,
        value: u64,
    ) -> (Hash32, Option<Address>) {
        let mut tx = json!({"from": from, "data": data, "value": format!("{value:#x}")});
        if let Some(to) = to {
            tx["to"] = json!(to);
        }
        let hash = self.rpc("eth_sendTransaction", json!([tx])).await;
        let receipt = self.receipt(&hash).await;
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        let contract = serde_json::from_value(receipt["contractAddress"].clone()).ok();
        (serde_json::from_value(hash).unwrap(), contract)
    }

    /// anvil mines at once, but answers the sender first.
    async fn receipt(&self, hash: &Value) -> Value {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let receipt = self.rpc("eth_getTransactionReceipt", json!([hash])).await;
            if !receipt.is_null() {
                return receipt;
            }
            assert!(Instant::now() < deadline, "{hash} is not mined");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn call(&self, from: Address, to: Address, call: &impl SolCall) -> Hash32 {
        self.send(from, Some(to), encode(call), 0).await.0
    }

    pub(crate) async fn mine(&self, blocks: u64) {
        self.rpc("anvil_mine", json!([format!("{blocks:#x}")])).await;
    }

    pub(crate) async fn deploy(&self, owner: Address, code: Bytes) -> Address {
        self.send(owner, None, code, 0).await.1.unwrap()
    }
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::with(AnvilOptions::default()).await
    }

    pub(crate) async fn with(options: AnvilOptions) -> Self {
        let anvil = Anvil::start(options).await.unwrap();
        let node = Node::at(anvil.url());
        let accounts: Vec<Address> =
            serde_json::from_value(node.rpc("eth_accounts", json!([])).await).unwrap();
        let (owner, fees) = (accounts[0], Address::new([0xfe; 20]));
        let vault = node
            .deploy(owner, contracts::vault_deployment(&owner, &owner).unwrap())
            .await;
        let settlement = contracts::settlement_deployment(&owner, &owner, &vault, &fees).unwrap();
        let settlement = node.deploy(owner, settlement).await;
        let usdc = node
            .deploy(
                owner,
                contracts::test_token_deployment("USD Coin", "USDC", 6).unwrap(),
            )
            .await;
        let weth = node
            .deploy(
                owner,
                contracts::test_token_deployment("Ether", "WETH", 18).unwrap(),
            )
            .await;
        let set = IVault::setSettlementContractCall {
            newContract: evm(&settlement),
        };
        node.call(owner, vault, &set).await;
        Self {
            node,
            vault,
            settlement,
            usdc,
            weth,
            owner,
            users: accounts[1..].to_vec(),
            fees,
            _anvil: anvil,
        }
    }

    /// Settings for this fixture through `url` (the node, or a proxy before it), head = final.
    pub(crate) fn settings_at(&self, url: &str) -> ChainSettings {
        let token = |symbol: &str, address, decimals| TokenSettings {
            symbol: symbol.to_owned(),
            address,
            decimals,
        };
        let mut settings = ChainSettings::new(url, 31_337, self.vault);
        settings.settlement = Some(self.settlement);
        settings.finality = Finality::Depth(0);
        settings.tokens = vec![
            token("USDC", self.usdc, 6),
            token("WETH", self.weth, 18),
            token("ETH", Address::ZERO, 18),
        ];
        settings.bulk.start_wallets = 40;
        settings.bulk.max_wallets = 100;
        settings.rpc.retry_base = Duration::from_millis(5);
        settings.rpc.retry_max = Duration::from_millis(20);
        settings.rpc.start_patience = Duration::from_millis(500);
        settings.rpc.rate_limit_budget = Duration::from_secs(3);
        settings
    }

    pub(crate) fn settings(&self) -> ChainSettings {
        self.settings_at(&self.node.url)
    }

    pub(crate) async fn reader(&self) -> ChainReader {
        connect(&self.settings()).await
    }

    /// Puts random balances of both tokens into the Vault's storage: zeros, small, large and the largest.
    pub(crate) async fn fill(&self, wallets: usize, seed: u64) -> (Vec<(Address, Address)>, Vec<BaseUnits>) {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut pairs, mut totals, mut writes) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..wallets {
            let mut bytes = [0; 20];
            rng.fill_bytes(&mut bytes);
            for token in [self.usdc, self.weth] {
                let wallet = Address::new(bytes);
                let total = random_total(&mut rng);
                let slots = vault_balance_slots(&wallet, &token).unwrap();
                writes.push((
                    "anvil_setStorageAt",
                    json!([self.vault, slots.total, Hash32::new(total.to_be_bytes())]),
                ));
                pairs.push((wallet, token));
                totals.push(total);
            }
        }
        self.node.batch(writes).await;
        self.node.mine(1).await;
        (pairs, totals)
    }

    /// Mints to `user` and deposits through the contracts.
    pub(crate) async fn deposit(&self, user: Address, token: Address, amount: u64) -> Hash32 {
        let amount = U256::from(amount);
        self.node
            .call(
                user,
                token,
                &IToken::mintCall {
                    to: evm(&user),
                    amount,
                },
            )
            .await;
        self.node
            .call(
                user,
                token,
                &IToken::approveCall {
                    spender: evm(&self.vault),
                    amount,
                },
            )
            .await;
        self.node
            .call(
                user,
                self.vault,
                &IVault::depositCall {
                    token: evm(&token),
                    amount,
                },
            )
            .await
    }

    /// The hash of the code that `install_multicall` installs.
    pub(crate) fn multicall_hash() -> Hash32 {
        let code = contracts::test_multicall_artifact().unwrap().deployed_bytecode;
        Hash32::new(keccak256(&code).0)
    }

    /// Puts `aggregate3` at the canonical address; returns the hash of its code.
    pub(crate) async fn install_multicall(&self) -> Hash32 {
        let code = contracts::test_multicall_artifact().unwrap().deployed_bytecode;
        let address = self.settings().bulk.multicall;
        self.node.rpc("anvil_setCode", json!([address, code])).await;
        // It changes the state of the head, whose header has another state root then.
        self.node.mine(1).await;
        Hash32::new(keccak256(&code).0)
    }
}

pub(crate) async fn connect(settings: &ChainSettings) -> ChainReader {
    ChainReader::connect_with_rng(settings, eidos_chain::rng(7))
        .await
        .unwrap()
}

fn random_total(rng: &mut StdRng) -> BaseUnits {
    match rng.random_range(0..10) {
        0..5 => BaseUnits::ZERO,
        5 => BaseUnits::from(1),
        6..9 => BaseUnits::from(u128::from(rng.next_u64())),
        _ => BaseUnits::MAX,
    }
}
