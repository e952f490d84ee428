//! The first reading: every account of a shard, or the chosen wallets, page by page.

use std::collections::BTreeMap;

use eidos_recon::feed::Feed;
use eidos_recon::store::checkpoints::ShardState;
use eidos_recon::{Page, Pages};
use eidos_types::Address;
use futures::{StreamExt, TryStreamExt, stream};

use super::compare::{Against, PageOutcome};
use super::run::{Balance, Fault, Run};
use crate::dimensions::balance::account::{AccountKey, BooksValue};
use crate::dimensions::balance::merge::{Account, BooksRow, LinesByAccount, merge_page};
use crate::dimensions::balance::point::point_of;
use crate::dimensions::balance::shard::{Shard, shards};
use crate::dimensions::balance::sources::SourceError;
use crate::dimensions::balance::sources::books::{BalanceTable, BooksStream};
use crate::dimensions::balance::sources::snapshot::SnapshotTicket;

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

/// A shard as a stream of pages.
struct ShardPages<'r> {
    balance: &'r Balance<'r>,
    reading: &'r Reading<'r>,
    shard: Shard,
    open: Option<Streams>,
}

/// Balances, sub-accounts' balances and the accounts that the chain has shown.
struct Streams(BooksStream, BooksStream, Feed<AccountKey, SourceError>);

impl ShardPages<'_> {
    fn open(&self, after: Option<Address>) -> Streams {
        let (job, ticket) = (self.balance.job, &self.reading.ticket);
        let open = |table| job.books.stream(ticket.clone(), table, self.shard, after);
        Streams(
            open(BalanceTable::Balances),
            open(BalanceTable::Subaccounts),
            self.balance.register().stream(&job.tokens, self.shard, after),
        )
    }
}

impl<'a> Pages<Balance<'a>> for ShardPages<'_> {
    async fn page(&mut self, after: Option<&Address>) -> Result<Page<Balance<'a>>, Fault> {
        let (balance, reading, shard, after) = (self.balance, self.reading, self.shard, after.copied());
        let streams = match self.open.take() {
            Some(streams) => streams,
            None => self.open(after),
        };
        let Streams(balances, subaccounts, known) = self.open.insert(streams);
        let rows = balance.job.rules().page_accounts;
        let bounds = [
            balances.feed.fill(rows).await?,
            subaccounts.feed.fill(rows).await?,
            known.fill(rows).await?,
        ];
        let upto = bounds.into_iter().flatten().min().unwrap_or(shard.last);
        let mut others = subaccounts.feed.take_upto(&upto);
        let low = after.unwrap_or(shard.first);
        let inside = |row: &&BooksRow| {
            row.key.wallet <= upto && row.key.wallet >= low && after != Some(row.key.wallet)
        };
        others.extend(reading.strays.iter().filter(inside).cloned());
        others.sort_by_key(|row| row.key);
        let accounts = merge_page(
            after.or_else(|| before(shard.first)),
            balances.feed.take_upto(&upto),
            others,
            known.take_upto(&upto),
            reading.lines,
            upto,
        )
        .map_err(SourceError::from)?;
        let accounts = balance.without_fees(accounts);
        Ok(Page {
            outcome: balance.job.compare(reading.against, accounts).await?,
            upto,
            last: upto >= shard.last,
        })
    }
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
        let mut pages = ShardPages {
            balance: &self.balance,
            reading,
            shard,
            open: None,
        };
        let (point, read_at) = (point_of(&reading.against.block), reading.against.at);
        self.engine
            .read_shard(&self.balance, shard.index, &point, read_at, &mut pages)
            .await
    }

    /// Compares the wallets of an incremental run.
    pub(super) async fn read_wallets(
        &self,
        reading: &Reading<'_>,
        conn: &mut sqlx::PgConnection,
        wallets: &[Address],
    ) -> Result<(), Fault> {
        let mut state = ShardState::at_start(point_of(&reading.against.block));
        for chunk in wallets.chunks(self.job.rules().page_accounts.max(1)) {
            self.ctx.check_cancelled()?;
            let accounts = self.balance.accounts_of(reading, conn, chunk).await?;
            let accounts = self.balance.without_fees(accounts);
            let page = self.job.compare(reading.against, accounts).await?;
            self.engine
                .commit_page(&self.balance, 0, &mut state, page, reading.against.at)
                .await?;
        }
        Ok(())
    }

    /// Compares the fee recipient, in every run, as a shard of its own.
    pub(super) async fn read_fees_once(&self, reading: &Reading<'_>) -> Result<(), Fault> {
        let shard = self.job.rules().shard_count.max(1);
        let point = point_of(&reading.against.block);
        let mut state = self.engine.shard_state(shard, &point).await?;
        if state.done {
            return Ok(());
        }
        let mut session = reading.ticket.join().await?;
        let page = self.balance.read_fees(reading, &mut session).await?;
        state.done = true;
        self.engine
            .commit_page(&self.balance, shard, &mut state, page, reading.against.at)
            .await
    }
}

impl Balance<'_> {
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
        for (symbol, amount) in
            crate::dimensions::balance::sources::changes::fee_totals(conn, &self.job.schema).await?
        {
            let Some(token) = self.job.tokens.by_symbol(&symbol) else {
                continue;
            };
            let key = AccountKey {
                wallet: recipient,
                token,
            };
            let account = accounts.entry(key).or_insert_with(|| Account {
                key,
                books: BooksValue::Absent,
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
