//! The engine: books, their source, and the way out for events.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use eidos_types::SharedClock;
use sqlx::PgPool;
use tokio::sync::mpsc;

use super::book::{Answer, Ask, Books, Outgoing, Resting};
use super::misbehaviour::Misbehaviour;

/// The mark, in `created_by`, of orders whose rows are open but which no book has.
pub const NOT_IN_BOOK: &str = "devnet: not in the book";
/// How long the database may take.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(10);

/// Every open order, or the open ones of `$2`.
const OPEN: &str = "
    SELECT order_id, market, wallet, expire_at, remaining_amount::text AS remaining, remaining_amount = 0 AS is_empty
    FROM eidos_trading_orders
    WHERE status IN (0, 1, 2, 7) AND created_by IS DISTINCT FROM $1 AND ($2::text[] IS NULL OR order_id = ANY($2))";

/// Takes requests one batch after the other.
#[derive(Debug)]
pub(super) struct Engine {
    trading: PgPool,
    clock: SharedClock,
    books: Mutex<Books>,
}

impl Engine {
    pub(super) const fn new(trading: PgPool, clock: SharedClock, books: Books) -> Self {
        Self {
            trading,
            clock,
            books: Mutex::new(books),
        }
    }

    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn misbehaviour(&self) -> Misbehaviour {
        self.books().misbehaviour.clone()
    }

    /// Empties the books and fills them from the rows. Returns how many orders they have.
    pub(super) async fn reload(&self) -> anyhow::Result<usize> {
        let orders = self.open(None).await?;
        let mut books = self.books();
        books.reload(orders);
        Ok(books.len())
    }

    /// Decides about each of `asks`, in order, and hands the events over. `None`: dropped.
    pub(super) async fn ask(
        &self,
        asks: &[Ask],
        outbox: &mpsc::Sender<Outgoing>,
    ) -> anyhow::Result<Vec<Option<Answer>>> {
        self.meet(asks).await?;
        let now_ms = self.clock.now_ms();
        let mut answers: Vec<Option<Answer>> = {
            let mut books = self.books();
            asks.iter().map(|ask| books.decide(ask, now_ms)).collect()
        };
        for answer in answers.iter_mut().flatten() {
            for outgoing in answer.events.drain(..) {
                let sent = outbox.send(outgoing).await;
                ensure!(sent.is_ok(), "the engine is stopping");
            }
        }
        Ok(answers)
    }

    /// Orders that came since the start are taken into the books when somebody asks for them.
    async fn meet(&self, asks: &[Ask]) -> anyhow::Result<()> {
        let unknown: Vec<String> = {
            let books = self.books();
            let unknown = asks.iter().filter(|ask| !books.knows(&ask.order_id));
            unknown.map(|ask| ask.order_id.clone()).collect()
        };
        if !unknown.is_empty() {
            let orders = self.open(Some(unknown)).await?;
            self.books().meet(orders);
        }
        Ok(())
    }

    async fn open(&self, order_ids: Option<Vec<String>>) -> anyhow::Result<Vec<Resting>> {
        let read = sqlx::query_as(OPEN)
            .bind(NOT_IN_BOOK)
            .bind(order_ids)
            .fetch_all(&self.trading);
        tokio::time::timeout(DATABASE_TIMEOUT, read)
            .await
            .context("the trading database does not answer")?
            .context("reading open orders")
    }
}
