//! The first reading: every account of a shard, or the chosen wallets, page by page; each page is durable together
//! with its checkpoint.

use std::collections::BTreeMap;

use eidos_runtime::JobContext;
use eidos_types::Address;
use futures::{StreamExt, TryStreamExt, stream};

use super::compare::{Against, PageOutcome, Suspect};
use super::run::{Fault, Run};
use crate::domain::account::AccountKey;
use crate::domain::merge::{Account, BooksRow, LinesByAccount, merge_page};
use crate::domain::shard::{Shard, shards};
use crate::sources::books::BalanceTable;
use crate::sources::snapshot::SnapshotTicket;
use crate::store::shards::ShardState;
use crate::store::{records, shards as shard_store};

/// Dust records per shard: the ledger has the sums, the records are examples.
const DUST_RECORDS_PER_SHARD: u32 = 1_000;

/// What all pages of one cut share.
#[derive(Debug)]
pub struct Reading<'a> {
    /// Block, instant and prices.
    pub against: Against<'a>,
    /// The books' snapshot.
    pub ticket: SnapshotTicket,
    /// In-flight lines.
    pub lines: &'a LinesByAccount,
    /// Rows that the byte order puts elsewhere.
    pub strays: &'a [BooksRow],
}

impl Run<'_> {
    /// Reads every shard that is not done. Stops at the first fault; what is durable stays.
    pub(super) async fn read_shards(&self, reading: &Reading<'_>) -> Result<(), Fault> {
        let rules = self.job.rules();
        let parallelism = self.job.shard_parallelism.min(rules.parallelism).max(1);
        stream::iter(shards(rules.shard_count))
            .map(|shard| self.read_shard(reading, shard))
            .buffer_unordered(parallelism)
            .try_collect::<Vec<()>>()
            .await
            .map(drop)
    }

    async fn read_shard(&self, reading: &Reading<'_>, shard: Shard) -> Result<(), Fault> {
        let mut state = self.shard_state(shard.index, reading.against.block).await?;
        if state.done {
            return Ok(());
        }
        if state.block != reading.against.block {
            state.mixed_blocks |= state.pages > 0;
            state.block = reading.against.block;
        }
        let books = &self.job.books;
        let open = |table| books.stream(reading.ticket.clone(), table, shard, state.after);
        let (mut balances, mut subaccounts) = (open(BalanceTable::Balances), open(BalanceTable::Subaccounts));
        let mut known = self.register().stream(&self.job.tokens, shard, state.after);
        let rows = self.job.rules().page_accounts;
        while !state.done {
            self.ctx.check_cancelled()?;
            let bounds = [
                balances.feed.fill(rows).await?,
                subaccounts.feed.fill(rows).await?,
                known.fill(rows).await?,
            ];
            let upto = bounds.into_iter().flatten().min().unwrap_or(shard.last);
            let mut others = subaccounts.feed.take_upto(upto);
            let low = state.after.map_or(shard.first, |after| after);
            let inside = |row: &&BooksRow| {
                row.key.wallet <= upto && row.key.wallet >= low && state.after != Some(row.key.wallet)
            };
            others.extend(reading.strays.iter().filter(inside).cloned());
            others.sort_by_key(|row| row.key);
            let after = state.after.or_else(|| before(shard.first));
            let accounts = merge_page(
                after,
                balances.feed.take_upto(upto),
                others,
                known.take_upto(upto),
                reading.lines,
                upto,
            )
            .map_err(crate::sources::SourceError::from)?;
            let page = self
                .job
                .compare(reading.against, self.without_fees(accounts))
                .await?;
            self.advance(&mut state, shard, upto, &page);
            self.commit_page(shard.index, &mut state, page, reading).await?;
        }
        Ok(())
    }

    fn advance(&self, state: &mut ShardState, shard: Shard, upto: Address, page: &PageOutcome) {
        state.tally.merge(&page.tally);
        state.suspects += page.judged_suspects() as u64;
        state.after = Some(upto);
        state.pages += 1;
        state.done = upto >= shard.last;
        self.count(page.tally.checked());
    }

    /// The fee recipient is compared with the fee accounts, not as a user.
    fn without_fees(&self, accounts: Vec<Account>) -> Vec<Account> {
        let Some(recipient) = self.job.chain.fee_recipient() else {
            return accounts;
        };
        accounts
            .into_iter()
            .filter(|account| account.key.wallet != recipient)
            .collect()
    }

    /// Compares the wallets of an incremental run, and in every run the fee recipient.
    pub(super) async fn read_wallets(
        &self,
        reading: &Reading<'_>,
        conn: &mut sqlx::PgConnection,
        wallets: &[Address],
        state: &mut ShardState,
    ) -> Result<(), Fault> {
        for chunk in wallets.chunks(self.job.rules().page_accounts.max(1)) {
            self.ctx.check_cancelled()?;
            let accounts = self.accounts_of(reading, conn, chunk).await?;
            let page = self
                .job
                .compare(reading.against, self.without_fees(accounts))
                .await?;
            state.tally.merge(&page.tally);
            state.suspects += page.judged_suspects() as u64;
            state.pages += 1;
            self.count(page.tally.checked());
            self.commit_page(0, state, page, reading).await?;
        }
        Ok(())
    }

    /// Everything either side knows about some wallets.
    pub(super) async fn accounts_of(
        &self,
        reading: &Reading<'_>,
        conn: &mut sqlx::PgConnection,
        wallets: &[Address],
    ) -> Result<Vec<Account>, Fault> {
        let mut wallets = wallets.to_vec();
        wallets.sort_unstable();
        wallets.dedup();
        let (balances, mut others) = self.job.books.of_wallets(conn, &wallets).await?;
        let wanted = |wallet: &Address| wallets.binary_search(wallet).is_ok();
        others.extend(
            reading
                .strays
                .iter()
                .filter(|row| wanted(&row.key.wallet))
                .cloned(),
        );
        others.sort_by_key(|row| row.key);
        let known = self.register().of_wallets(&self.job.tokens, &wallets).await?;
        let lines: LinesByAccount = reading
            .lines
            .iter()
            .filter(|(key, _)| wanted(&key.wallet))
            .map(|(key, lines)| (*key, lines.clone()))
            .collect();
        let last = Address::new([0xff; 20]);
        merge_page(None, balances, others, known, &lines, last).map_err(|error| Fault::Source(error.into()))
    }

    /// The platform's own account: Σ fee accounts (and whatever else the books keep under its wallet) against the
    /// Vault's balance of the fee recipient.
    pub(super) async fn read_fees(
        &self,
        reading: &Reading<'_>,
        conn: &mut sqlx::PgConnection,
    ) -> Result<PageOutcome, Fault> {
        let Some(recipient) = self.job.chain.fee_recipient() else {
            return Ok(PageOutcome::default());
        };
        let mut accounts: BTreeMap<AccountKey, Account> = self
            .accounts_of(reading, conn, &[recipient])
            .await?
            .into_iter()
            .map(|account| (account.key, account))
            .collect();
        for (symbol, amount) in crate::sources::changes::fee_totals(conn, &self.job.schema).await? {
            let Some(token) = self.job.tokens.by_symbol(&symbol) else {
                continue;
            };
            let key = AccountKey {
                wallet: recipient,
                token,
            };
            let account = accounts.entry(key).or_insert_with(|| Account {
                key,
                books: crate::domain::account::BooksValue::Absent,
                seen_on_chain: false,
                lines: Vec::new(),
            });
            account.books.add(amount);
        }
        Ok(self
            .job
            .compare(reading.against, accounts.into_values().collect())
            .await?)
    }

    pub(super) async fn shard_state(
        &self,
        shard: u16,
        block: eidos_chain::BlockRef,
    ) -> Result<ShardState, Fault> {
        if let Some(state) = self.held_state(shard) {
            return Ok(state);
        }
        let loaded = if self.ctx.dry_run() {
            None
        } else {
            shard_store::load(self.ctx.jobs_db().control(), self.shard_key(shard))
                .await
                .map_err(Fault::own)?
        };
        if let Some(state) = &loaded {
            self.count(state.tally.checked());
            self.note_resumed(state.tally.checked());
            self.count_suspects(usize::try_from(state.suspects).unwrap_or(usize::MAX));
            // A shard that is done is not read again, and its sums still belong to the run.
            self.hold(shard, state.clone(), Vec::new());
        }
        Ok(loaded.unwrap_or_else(|| ShardState::at_start(block)))
    }

    /// Suspects, dust examples and the checkpoint of one page, in one step.
    pub(super) async fn commit_page(
        &self,
        shard: u16,
        state: &mut ShardState,
        page: PageOutcome,
        reading: &Reading<'_>,
    ) -> Result<(), Fault> {
        self.note_ignored(&page.dust);
        let judged = page.judged_suspects();
        if self.ctx.dry_run() {
            self.hold(shard, state.clone(), page.suspects);
            return self.check_suspects();
        }
        let mut step = self.ctx.step().await?;
        if !page.suspects.is_empty() {
            let key = format!("{}/{shard:03}/{:06}", self.suspects_prefix(), state.pages);
            step.save_checkpoint(&key, &page.suspects).await?;
        }
        for (key, difference) in &page.dust {
            if state.dust_records >= DUST_RECORDS_PER_SHARD {
                break;
            }
            let Some(token) = self.job.tokens.get(key.token) else {
                continue;
            };
            let block = reading.against.block;
            records::difference(
                step.conn(),
                self.record_of(),
                Some(key.wallet),
                token,
                difference,
                block,
                None,
            )
            .await
            .map_err(Fault::own)?;
            state.dust_records += 1;
        }
        let epoch = step.epoch();
        shard_store::save(
            step.conn(),
            self.shard_key(shard),
            state,
            reading.against.at,
            epoch,
        )
        .await
        .map_err(Fault::own)?;
        step.commit().await?;
        self.hold(shard, state.clone(), Vec::new());
        self.count_suspects(judged);
        self.check_suspects()
    }
}

/// The address before `first`; `None` for the first of all. A page's lower bound is exclusive.
fn before(first: Address) -> Option<Address> {
    let mut bytes = *first.as_bytes();
    for byte in bytes.iter_mut().rev() {
        if *byte > 0 {
            *byte -= 1;
            return Some(Address::new(bytes));
        }
        *byte = 0xff;
    }
    None
}

/// All suspects of a run, from its checkpoints.
pub async fn load_suspects(ctx: &JobContext, prefix: &str) -> Result<Vec<Suspect>, Fault> {
    let entries = eidos_core::checkpoint::list(ctx.jobs_db().control(), ctx.job(), prefix).await?;
    let mut suspects = Vec::new();
    for entry in entries {
        let page: Vec<Suspect> = serde_json::from_value(entry.value)
            .map_err(|error| Fault::Job(eidos_runtime::JobError::fail(error)))?;
        suspects.extend(page);
    }
    Ok(suspects)
}
