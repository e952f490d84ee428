//! The comparison of the tables with the oracle.

use std::fmt;

use anyhow::Context;
use comfy_table::{Table, presets};
use sqlx::{AssertSqlSafe, PgPool};

/// An invariant: its sentence, what it is about (a query of `id` and `broken`).
const INVARIANTS: [(&str, &str); 8] = [
    (
        "every expired order is EXPIRED",
        "SELECT f.order_id AS id, o.status IS DISTINCT FROM 5 AS broken
         FROM oracle.orders f LEFT JOIN eidos_trading_orders o USING (order_id) WHERE f.fate = 'expires'",
    ),
    (
        "no order became EXPIRED more than once, or anything after it",
        "SELECT f.order_id AS id, (SELECT count(*) FROM oracle.changes c WHERE c.order_id = f.order_id) > 1 AS broken
         FROM oracle.orders f WHERE f.fate = 'expires'",
    ),
    (
        "an expired order differs from before in its end only",
        "SELECT f.order_id AS id,
                to_jsonb(o) - ARRAY['status', 'updated_at', 'updated_by']
                    <> to_jsonb(f.before) - ARRAY['status', 'updated_at', 'updated_by'] AS broken
         FROM oracle.orders f JOIN eidos_trading_orders o USING (order_id) WHERE f.fate = 'expires'",
    ),
    (
        "every order without quantity left its book as FILLED, once",
        "SELECT f.order_id AS id, o.status IS DISTINCT FROM 3
                OR (SELECT count(*) FROM oracle.changes c WHERE c.order_id = f.order_id) > 1 AS broken
         FROM oracle.orders f LEFT JOIN eidos_trading_orders o USING (order_id) WHERE f.fate = 'ends'",
    ),
    (
        "every other order is as it was, to the last column",
        "SELECT f.order_id AS id, o IS DISTINCT FROM f.before
                OR EXISTS (SELECT FROM oracle.changes c WHERE c.order_id = f.order_id) AS broken
         FROM oracle.orders f LEFT JOIN eidos_trading_orders o USING (order_id) WHERE f.fate = 'stays'",
    ),
    (
        "each freeze of an expired order was given back exactly once",
        "SELECT f.order_id AS id,
                count(l.id) <> 1 OR sum(l.amount) IS DISTINCT FROM (f.before).freeze_amount
                OR bool_or(l.wallet <> (f.before).wallet OR l.token <> (f.before).freeze_token) AS broken
         FROM oracle.orders f LEFT JOIN eidos_trading_balance_logs l ON l.order_id = f.order_id AND l.type = 4
         WHERE f.fate = 'expires' AND (f.before).freeze_amount > 0 GROUP BY f.order_id, f.before",
    ),
    (
        "no freeze of another order was given back",
        "SELECT f.order_id AS id,
                EXISTS (SELECT FROM eidos_trading_balance_logs l WHERE l.order_id = f.order_id AND l.type = 4) AS broken
         FROM oracle.orders f WHERE f.fate <> 'expires' OR (f.before).freeze_amount = 0",
    ),
    (
        "every balance is what the expired orders make it",
        "SELECT b.wallet || ' ' || b.token AS id,
                t.settled_available IS DISTINCT FROM b.available + coalesce(freed.amount, 0)
                OR t.settled_frozen IS DISTINCT FROM b.frozen - coalesce(freed.amount, 0) AS broken
         FROM oracle.balances b LEFT JOIN eidos_trading_balances t USING (wallet, token)
         LEFT JOIN (SELECT (before).wallet AS wallet, (before).freeze_token AS token, sum((before).freeze_amount) AS amount
                    FROM oracle.orders WHERE fate = 'expires' GROUP BY 1, 2) AS freed USING (wallet, token)",
    ),
];

/// One invariant and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The invariant, as a sentence.
    pub invariant: &'static str,
    /// How many orders or balances were looked at.
    pub checked: i64,
    /// How many of them break it.
    pub violations: i64,
    /// One of those.
    pub example: Option<String>,
}

/// The tables against the oracle. It prints as a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// One for each invariant.
    pub findings: Vec<Finding>,
    /// Expired orders whose row is still open: they may only be late.
    pub still_open: i64,
}

impl Comparison {
    /// Checks whether every invariant holds, provided that there was an order that had to expire.
    #[must_use]
    pub fn holds(&self) -> bool {
        let expired = self.findings.first();
        expired.is_some_and(|finding| finding.checked > 0)
            && self.findings.iter().all(|finding| finding.violations == 0)
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header(["invariant", "checked", "violations", "such as"]);
        for finding in &self.findings {
            table.add_row([
                finding.invariant.to_owned(),
                finding.checked.to_string(),
                finding.violations.to_string(),
                finding.example.clone().unwrap_or_default(),
            ]);
        }
        write!(f, "{table}")
    }
}

/// Compares the tables with the oracle of every [`fill`](super::fill) since the database was made.
///
/// # Errors
/// If the database refuses, for instance because nothing was filled.
pub async fn verdict(trading: &PgPool) -> anyhow::Result<Comparison> {
    let mut findings = Vec::with_capacity(INVARIANTS.len());
    for (invariant, query) in INVARIANTS {
        let counted = format!(
            "SELECT count(*), count(*) FILTER (WHERE broken), min(id) FILTER (WHERE broken) FROM ({query}) AS q"
        );
        let (checked, violations, example) = sqlx::query_as(AssertSqlSafe(counted))
            .fetch_one(trading)
            .await
            .with_context(|| format!("the invariant '{invariant}'"))?;
        findings.push(Finding {
            invariant,
            checked,
            violations,
            example,
        });
    }
    Ok(Comparison {
        findings,
        still_open: still_open(trading).await?,
    })
}

/// Returns how many orders that must leave their book are still open: zero means that everything has settled.
///
/// # Errors
/// If the database refuses.
pub async fn still_open(trading: &PgPool) -> anyhow::Result<i64> {
    sqlx::query_scalar(
        "SELECT count(*) FROM oracle.orders f JOIN eidos_trading_orders o USING (order_id)
         WHERE f.fate <> 'stays' AND o.status IN (0, 1, 2, 7)",
    )
    .fetch_one(trading)
    .await
    .context("counting open orders")
}
