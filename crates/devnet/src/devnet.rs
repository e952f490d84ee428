//! [`Devnet`]: a local exchange. A Vault on a real EVM node, the neighbours' tables in a real PostgreSQL, and the
//! oracle that both were written from.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use eidos_types::{Address, Amount, Clock, SystemClock};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::ledger::{Key, Ledger};
use crate::manifest::{Fault, Manifest, MovementFault, Trap};
use crate::movements::{Batch, Deposit, LateCommit, Withdrawal};
use crate::neighbours;
use crate::node::{Block, Node};
use crate::tokens::Token;
use crate::traffic::{Traffic, Tx};

/// Life on the exchange starts this long before now.
const PAST_MS: i64 = 2 * 3_600_000;
/// How old the chain's newest block is until the first trap: older than any sensible limit for what may be in flight, so that
/// a fault is not taken for a delay.
const OLD_MS: i64 = 90 * 60_000;
/// Between two events of the past.
const STEP_MS: i64 = 100;
/// How old the newest events are: younger than any sensible limit for what may be in flight.
pub(crate) const RECENT_MS: i64 = 60_000;

/// What to build.
#[derive(Debug, Clone)]
pub struct DevnetOptions {
    /// How many wallets, [`DevnetOptions::MIN_WALLETS`] or more.
    pub wallets: usize,
    /// Faults to plant, each on wallets of its own.
    pub faults: Vec<Fault>,
    /// Faults of single movements to plant.
    pub movements: Vec<MovementFault>,
    /// Traps to set, each on wallets of its own.
    pub traps: Vec<Trap>,
    /// Whether one account differs on purpose, as a canary.
    pub canary: bool,
}

impl DevnetOptions {
    /// Every fault and trap has its own wallet; this many are needed for all of them at once.
    pub const MIN_WALLETS: usize = 40;

    /// A devnet without faults and traps.
    pub const fn clean(wallets: usize) -> Self {
        Self {
            wallets,
            faults: Vec::new(),
            movements: Vec::new(),
            traps: Vec::new(),
            canary: false,
        }
    }

    /// Every class of fault, every trap, and a canary.
    pub fn complete(wallets: usize) -> Self {
        Self {
            wallets,
            faults: Fault::ALL.to_vec(),
            movements: MovementFault::ALL.to_vec(),
            traps: Trap::ALL.to_vec(),
            canary: true,
        }
    }
}

/// The contracts and accounts of a devnet.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The chain's id.
    pub chain_id: u64,
    /// The Vault.
    pub vault: Address,
    /// The Settlement contract.
    pub settlement: Address,
    /// Gets every fee.
    pub fee_recipient: Address,
    /// Owns the Vault.
    pub owner: Address,
    /// Locks funds and settles batches.
    pub operator: Address,
    /// The block the Vault was deployed in.
    pub deployed_in: u64,
}

/// A local exchange. See the crate's documentation for how to use it in a test.
#[derive(Debug)]
pub struct Devnet {
    pub(crate) traffic: Traffic,
    pub(crate) pool: PgPool,
    pub(crate) rng: StdRng,
    pub(crate) ledger: Ledger,
    pub(crate) addresses: Addresses,
    pub(crate) tokens: BTreeMap<&'static str, Token>,
    pub(crate) manifest: Manifest,
    /// Wallets that live a normal life and carry neither fault nor trap yet.
    pub(crate) ordinary: Vec<Address>,
    /// Wallets nothing ever happened to.
    pub(crate) untouched: Vec<Address>,
    pub(crate) mixed_case: BTreeSet<Address>,
    pub(crate) approved: BTreeSet<Key>,
    pub(crate) withdrawal_nonces: BTreeMap<Address, u64>,
    pub(crate) unindexed: Vec<Deposit>,
    pub(crate) waiting_deposits: Vec<Deposit>,
    pub(crate) open_withdrawals: Vec<Withdrawal>,
    pub(crate) open_batches: Vec<Batch>,
    pub(crate) late: Option<LateCommit>,
    pub(crate) rows: Vec<(&'static str, Value)>,
    next_ms: i64,
    /// How old the chain's newest block is made.
    chain_age_ms: i64,
    pub(crate) cut: Option<Block>,
    pub(crate) indexed_to: u64,
    /// Wallets that came later.
    pub(crate) customers: usize,
    /// True if a cut is only taken when it is final.
    pub(crate) waits_for_finality: bool,
}

impl Devnet {
    /// Builds a devnet: installs the neighbours' tables into the empty database behind `pool`, deploys the contracts on
    /// the development node at `anvil_url`, makes ordinary traffic, proves that both sides agree, then plants faults and traps.
    ///
    /// # Errors
    /// If a server refuses, or if the devnet is not consistent before the first fault (a defect of this crate).
    pub async fn build(
        seed: u64,
        anvil_url: &str,
        pool: PgPool,
        options: DevnetOptions,
    ) -> anyhow::Result<Self> {
        ensure!(
            options.wallets >= DevnetOptions::MIN_WALLETS,
            "{} wallets are too few: faults and traps need {} of their own",
            options.wallets,
            DevnetOptions::MIN_WALLETS
        );
        neighbours::install(&pool).await?;
        let mut devnet = Self::found(seed, Node::new(anvil_url)?, pool, options.wallets).await?;
        devnet.live().await?;
        devnet.cut().await?;
        devnet.ensure_consistent().await?;
        let (after_cut, before_cut): (Vec<Trap>, Vec<Trap>) =
            options.traps.into_iter().partition(|trap| trap.is_above_cut());
        for fault in options.faults {
            devnet.plant(fault).await?;
        }
        for fault in options.movements {
            devnet.plant_movement(fault).await?;
        }
        for trap in before_cut.into_iter().chain(after_cut) {
            devnet.set_trap(trap).await?;
        }
        if options.canary {
            devnet.plant_canary().await?;
        }
        Ok(devnet)
    }

    async fn found(seed: u64, node: Node, pool: PgPool, wallets: usize) -> anyhow::Result<Self> {
        let chain_id = node.chain_id().await?;
        let mut traffic = Traffic::take_over(node).await?;
        let (addresses, tokens) = crate::genesis::deploy(&mut traffic, chain_id, seed).await?;
        let mut untouched: Vec<Address> = (0..wallets)
            .map(|index| traffic.know(crate::signer::key(seed, "wallet", index)))
            .collect();
        let ordinary = untouched.split_off(UNTOUCHED.min(wallets));
        let mut devnet = Self {
            traffic,
            pool,
            rng: StdRng::seed_from_u64(seed),
            ledger: Ledger::default(),
            indexed_to: addresses.deployed_in.saturating_sub(1),
            addresses,
            tokens,
            manifest: Manifest {
                seed,
                wallets,
                ..Manifest::default()
            },
            ordinary,
            untouched,
            mixed_case: BTreeSet::new(),
            approved: BTreeSet::new(),
            withdrawal_nonces: BTreeMap::new(),
            unindexed: Vec::new(),
            waiting_deposits: Vec::new(),
            open_withdrawals: Vec::new(),
            open_batches: Vec::new(),
            late: None,
            rows: Vec::new(),
            next_ms: now_ms() - PAST_MS,
            chain_age_ms: OLD_MS,
            cut: None,
            customers: 0,
            waits_for_finality: true,
        };
        devnet.register_tokens()?;
        Ok(devnet)
    }

    /// What was planted so far.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Contracts and accounts.
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The tokens by symbol.
    pub const fn tokens(&self) -> &BTreeMap<&'static str, Token> {
        &self.tokens
    }

    /// True if some wallet of the books is written with capital letters.
    pub(crate) fn has_mixed_case(&self) -> bool {
        !self.mixed_case.is_empty()
    }

    /// The oracle.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The EVM node.
    pub const fn node(&self) -> &Node {
        self.traffic.node()
    }

    /// The database with the neighbours' tables, as their owner.
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The block of the indexer's checkpoint: where both sides are compared.
    pub(crate) fn cut_block(&self) -> anyhow::Result<Block> {
        self.cut.context("there is no cut yet")
    }

    /// Mines empty blocks.
    ///
    /// # Errors
    /// If the node refuses.
    pub async fn mine_blocks(&self, blocks: u64) -> anyhow::Result<()> {
        self.node().mine(blocks).await
    }

    /// Sends transactions and mines them in one block.
    pub(crate) async fn mine(&mut self, txs: &[Tx]) -> anyhow::Result<Vec<crate::traffic::Mined>> {
        self.traffic.mine(txs).await
    }

    /// Writes the pending rows and the changed balances, in one transaction.
    pub(crate) async fn flush(&mut self) -> anyhow::Result<()> {
        let mut by_table: BTreeMap<&'static str, Vec<Value>> = BTreeMap::new();
        for (table, row) in std::mem::take(&mut self.rows) {
            by_table.entry(table).or_default().push(row);
        }
        let changes = self.ledger.take_changes();
        let now = self.next_ms;
        let mut transaction = self.pool.begin().await?;
        for (table, rows) in by_table {
            neighbours::insert(&mut transaction, table, &rows).await?;
        }
        crate::books::write_changes(&mut transaction, changes, now, &|wallet| self.wallet_text(wallet))
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Makes the chain's time that of what happens now: the past is over.
    pub(crate) async fn enter_the_present(&mut self) -> anyhow::Result<()> {
        self.chain_age_ms = RECENT_MS;
        self.advance_time().await
    }

    /// Makes the next block's time the one that it has to have, unless the chain is already there.
    pub(crate) async fn advance_time(&self) -> anyhow::Result<()> {
        let seconds = u64::try_from((now_ms() - self.chain_age_ms) / 1_000)?;
        self.traffic.advance_time_to(seconds).await
    }

    /// Queues a row for the next [`Self::flush`].
    pub(crate) fn row(&mut self, table: &'static str, row: Value) {
        self.rows.push((table, row));
    }

    /// Queues a row of the balance's log; `details` are its other columns.
    pub(crate) fn log_balance(
        &mut self,
        key: Key,
        kind: i16,
        amount: Amount,
        at: i64,
        details: &[(&str, Value)],
    ) {
        let mut row = json!({
            "wallet": self.wallet_text(key.0), "token": key.1, "type": kind, "amount": amount,
            "balance_before": "0", "balance_after": "0", "order_id": null, "trade_id": null, "tx_hash": null,
            "remark": null, "created_at": at,
        });
        for (column, value) in details {
            row[*column] = value.clone();
        }
        self.row("eidos_trading_balance_logs", row);
    }

    /// From now on a cut is taken at the head, final or not: for reconcilers with `chain.finality.depth: 0`.
    pub const fn cut_at_the_head(&mut self) {
        self.waits_for_finality = false;
    }

    /// What happens next happens now.
    pub(crate) fn catch_up(&mut self) {
        self.next_ms = self.next_ms.max(recent_ms());
    }

    /// The instant of the next event of the past, in milliseconds.
    pub(crate) const fn tick(&mut self) -> i64 {
        self.next_ms += STEP_MS;
        self.next_ms
    }

    /// How the trading service writes a wallet.
    pub(crate) fn wallet_text(&self, wallet: Address) -> String {
        if self.mixed_case.contains(&wallet) {
            eidos_chain::contracts::evm(&wallet).to_checksum(None)
        } else {
            wallet.to_string()
        }
    }

    pub(crate) fn token(&self, symbol: &str) -> anyhow::Result<&Token> {
        self.tokens
            .get(symbol)
            .with_context(|| format!("there is no token {symbol}"))
    }

    /// A random amount between two thousandths of whole tokens, with every decimal of the token in use.
    pub(crate) fn random_amount(
        &mut self,
        symbol: &str,
        from_milli: u32,
        to_milli: u32,
    ) -> anyhow::Result<Amount> {
        let decimals = u32::from(self.token(symbol)?.decimals);
        let milli = u128::from(self.rng.random_range(from_milli..to_milli));
        let unit = 10_u128.pow(decimals - 3);
        let below: u128 = self.rng.random_range(0..unit);
        self.token(symbol)?.amount(milli * unit + below)
    }

    /// A seeded id in UUID notation, as the services use for their rows.
    pub(crate) fn new_id(&mut self) -> String {
        let bytes: [u8; 16] = self.rng.random();
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// A wallet that lived normally and has no fault or trap yet.
    pub(crate) fn next_ordinary(&mut self) -> anyhow::Result<Address> {
        self.ordinary
            .pop()
            .context("no wallet is left for another fault or trap: build the devnet with more wallets")
    }

    /// A wallet nothing ever happened to.
    pub(crate) fn next_untouched(&mut self) -> anyhow::Result<Address> {
        self.untouched
            .pop()
            .context("no untouched wallet is left for another fault: build the devnet with more wallets")
    }
}

/// Wallets kept out of normal life, for faults that need a wallet one side has never seen.
const UNTOUCHED: usize = 6;

/// Now, in milliseconds.
pub(crate) fn now_ms() -> i64 {
    SystemClock::default().now_ms()
}

/// The instant of something that is still in flight, in milliseconds.
pub(crate) fn recent_ms() -> i64 {
    now_ms() - RECENT_MS
}
