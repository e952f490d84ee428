//! Orders of every kind, and what must happen to each.
//!
//! [`fill`] writes orders, the balances that they froze and, into the schema `oracle` beside them, a copy of both with
//! each order's [`Fate`]. A trigger records every later change of an order's status. [`verdict()`] compares the tables with
//! the oracle.

mod verdict;

use anyhow::Context;
use sqlx::PgPool;

use crate::matching::NOT_IN_BOOK;

pub use verdict::{Comparison, Finding, still_open, verdict};

const ORACLE: &str = include_str!("oracle.sql");
const HOUR_MS: i64 = 3_600_000;

/// What must happen to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// It has expired: its row becomes EXPIRED, once, and its freeze is given back, once.
    Expires,
    /// Nothing is left of it: its row becomes FILLED, once.
    Ends,
    /// It stays as it is, to the last column.
    Stays,
}

impl Fate {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Expires => "expires",
            Self::Ends => "ends",
            Self::Stays => "stays",
        }
    }
}

/// How many orders of each kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrdersOptions {
    /// The present, epoch milliseconds.
    pub now_ms: i64,
    /// The markets that orders are spread over.
    pub markets: Vec<String>,
    /// How many wallets own them.
    pub wallets: u32,
    /// The beginning of each order's id: orders can be added under another one.
    pub prefix: String,
    /// Open and partially filled, expired between `expired_for_ms` and 36 hours before; every third is only pending.
    pub expired: u32,
    /// The youngest expired order is this old: more than the grace time of who looks for them.
    pub expired_for_ms: i64,
    /// Open, with an expiry in the next hours.
    pub live: u32,
    /// Open, without an expiry.
    pub unlimited: u32,
    /// In the book without a remaining quantity.
    pub zero_quantity: u32,
    /// In cancelling for a day, expired; nobody but the trading service may end them.
    pub cancelling: u32,
    /// Cancelled 25 to 72 hours ago.
    pub cancelled_long_ago: u32,
    /// Cancelled within the last hour.
    pub cancelled_recently: u32,
    /// Filled, with an expiry that has passed since.
    pub filled: u32,
    /// Expired, and in no book: the engine does not find them.
    pub not_in_book: u32,
}

impl OrdersOptions {
    /// Returns some of each kind, about ten times `scale` orders.
    #[must_use]
    pub fn some(now_ms: i64, scale: u32) -> Self {
        Self {
            now_ms,
            markets: ["BTC-USDC", "ETH-USDC", "SOL-USDC"].map(str::to_owned).to_vec(),
            wallets: 20,
            prefix: "o".to_owned(),
            expired: scale * 4,
            expired_for_ms: 5 * 60_000,
            live: scale,
            unlimited: scale,
            zero_quantity: scale / 2,
            cancelling: scale / 2,
            cancelled_long_ago: scale,
            cancelled_recently: scale / 2,
            filled: scale,
            not_in_book: 0,
        }
    }

    /// Returns nothing but `count` expired orders.
    #[must_use]
    pub fn expired(now_ms: i64, count: u32) -> Self {
        Self {
            expired: count,
            ..Self::some(now_ms, 0)
        }
    }

    const fn kinds(&self) -> [Kind; 9] {
        let expired = Kind::new("expired", self.expired, Fate::Expires);
        let live = Kind::new("live", self.live, Fate::Stays);
        [
            expired,
            live,
            Kind::new("unlimited", self.unlimited, Fate::Stays),
            Kind::new("zero", self.zero_quantity, Fate::Ends),
            Kind::new("cancelling", self.cancelling, Fate::Stays),
            Kind::new("cancelled", self.cancelled_long_ago, Fate::Stays),
            Kind::new("recent", self.cancelled_recently, Fate::Stays),
            Kind::new("filled", self.filled, Fate::Stays),
            Kind::new("bookless", self.not_in_book, Fate::Stays),
        ]
    }
}

/// Some orders of the same sort.
struct Kind {
    name: &'static str,
    count: u32,
    fate: Fate,
}

impl Kind {
    const fn new(name: &'static str, count: u32, fate: Fate) -> Self {
        Self { name, count, fate }
    }
}

/// What [`fill`] wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Orders that must become EXPIRED.
    pub expires: u64,
    /// Orders that must leave the book for another reason.
    pub ends: u64,
    /// Orders that must stay as they are.
    pub stays: u64,
}

/// Writes orders, their freezes and the oracle's copy. It may be called again with another prefix.
///
/// # Errors
/// If the database refuses, for instance because orders of this prefix exist.
pub async fn fill(trading: &PgPool, seed: u64, options: &OrdersOptions) -> anyhow::Result<Expected> {
    let mut transaction = trading.begin().await?;
    sqlx::raw_sql(ORACLE)
        .execute(&mut *transaction)
        .await
        .context("orders/oracle.sql does not apply")?;
    let mut expected = Expected {
        expires: 0,
        ends: 0,
        stays: 0,
    };
    for kind in options.kinds() {
        let written = sqlx::query(include_str!("orders.sql"))
            .bind(i64::try_from(seed)?)
            .bind(&options.prefix)
            .bind(kind.name)
            .bind(i64::from(kind.count))
            .bind(&options.markets)
            .bind(i64::from(options.wallets.max(1)))
            .bind(options.now_ms)
            .bind(options.expired_for_ms.min(36 * HOUR_MS))
            .bind(NOT_IN_BOOK)
            .execute(&mut *transaction)
            .await
            .with_context(|| format!("{} orders", kind.name))?;
        copy(&mut transaction, options, &kind).await?;
        match kind.fate {
            Fate::Expires => expected.expires += written.rows_affected(),
            Fate::Ends => expected.ends += written.rows_affected(),
            Fate::Stays => expected.stays += written.rows_affected(),
        }
    }
    freeze(&mut transaction, options).await?;
    transaction.commit().await?;
    Ok(expected)
}

/// The oracle's copy of the orders of one kind.
async fn copy(
    connection: &mut sqlx::PgConnection,
    options: &OrdersOptions,
    kind: &Kind,
) -> anyhow::Result<()> {
    sqlx::query(
        "INSERT INTO oracle.orders (order_id, fate, before)
         SELECT order_id, $1, o FROM eidos_trading_orders o WHERE starts_with(order_id, $2)",
    )
    .bind(kind.fate.as_str())
    .bind(format!("{}-{}-", options.prefix, kind.name))
    .execute(connection)
    .await?;
    Ok(())
}

/// The balances behind the orders that were written now: what they froze, and as much again that is free.
async fn freeze(connection: &mut sqlx::PgConnection, options: &OrdersOptions) -> anyhow::Result<()> {
    sqlx::query(include_str!("freeze.sql"))
        .bind(format!("{}-", options.prefix))
        .bind(options.now_ms)
        .execute(connection)
        .await
        .context("balances")?;
    Ok(())
}
