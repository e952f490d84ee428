//! The trading service's side of the trades, with orders, deposits, withdrawals and balances, and the figures of all of it.

use eidos_types::Amount;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::fill::quote_of;
use super::{Figures, Tape};
use crate::neighbours::insert;

const WALLETS: usize = 40;
/// Settlement status of a trade that is settled, and of one that was rolled back.
const SETTLED: i64 = 3;
const ROLLED_BACK: i64 = 5;

/// Rows for one table.
pub(super) struct Rows {
    table: &'static str,
    rows: Vec<Value>,
}

/// Stores rows of several tables in one transaction.
pub(super) async fn store(trading_db: &PgPool, all: &[Rows]) -> anyhow::Result<()> {
    let mut transaction = trading_db.begin().await?;
    for Rows { table, rows } in all {
        insert(&mut transaction, table, rows).await?;
    }
    transaction.commit().await?;
    Ok(())
}

pub(super) fn wallet(number: usize) -> String {
    format!("0x{:040x}", 0xa11c_e000 + number)
}

fn any_wallet(random: &mut StdRng) -> String {
    wallet(random.random_range(0..WALLETS))
}

/// The trades of `[from_ms, to_ms)` as the trading service has them. Every 25th or so was rolled back and does not count.
pub(super) fn trades(
    random: &mut StdRng,
    tape: &Tape,
    market: &str,
    range: (i64, i64),
    figures: &mut Figures,
) -> anyhow::Result<Rows> {
    let quote_token = quote_of(market);
    let mut rows = Vec::new();
    for (number, (at_ms, trade)) in tape.timed(market, range).enumerate() {
        let (maker, taker) = (any_wallet(random), any_wallet(random));
        let quote = trade.quote_amount.scaled();
        // A maker may get a rebate.
        let maker_fee = Amount::from_scaled(quote / 1_000_000 * random.random_range(-200..300))?;
        let taker_fee = Amount::from_scaled(quote / 1_000)?;
        let is_rolled_back = random.random_range(0..25) == 0;
        rows.push(json!({
            "trade_id": format!("t-{market}-{at_ms}-{number}"), "market": market, "maker_order_id": "m", "taker_order_id": "t",
            "maker_wallet": maker, "taker_wallet": taker, "price": trade.price.to_string(),
            "amount": trade.amount.to_string(), "quote_amount": trade.quote_amount.to_string(),
            "maker_fee": maker_fee.to_string(), "taker_fee": taker_fee.to_string(), "fee_token": quote_token, "maker_side": 1,
            "settlement_status": if is_rolled_back { ROLLED_BACK } else { SETTLED }, "matched_at": at_ms,
            "created_at": at_ms, "updated_at": at_ms,
        }));
        if is_rolled_back {
            continue;
        }
        figures.add(at_ms, Some(market), "trade_volume", trade.amount)?;
        figures.add(at_ms, Some(market), "quote_volume", trade.quote_amount)?;
        figures.add(
            at_ms,
            None,
            &format!("quote_volume:{quote_token}"),
            trade.quote_amount,
        )?;
        figures.add_both(at_ms, market, "trade_count", Amount::from_whole(1)?)?;
        let fee = maker_fee.checked_add(taker_fee)?;
        figures.add_both(at_ms, market, &format!("fee_total:{quote_token}"), fee)?;
        figures.acted(at_ms, &maker);
        figures.acted(at_ms, &taker);
    }
    Ok(Rows {
        table: "eidos_trading_trades",
        rows,
    })
}

/// `count` orders of `[from_ms, to_ms)` that have ended; every third was cancelled.
pub(super) fn orders(
    random: &mut StdRng,
    markets: &[String],
    (from_ms, to_ms): (i64, i64),
    count: u32,
    figures: &mut Figures,
) -> anyhow::Result<Rows> {
    let one = Amount::from_whole(1)?;
    let mut rows = Vec::new();
    for number in 0..count {
        let market = &markets[random.random_range(0..markets.len())];
        let at_ms = random.random_range(from_ms..to_ms);
        let ended_ms = random.random_range(at_ms..to_ms);
        let owner = any_wallet(random);
        let is_cancelled = number % 3 == 0;
        rows.push(json!({
            "order_id": format!("s-{from_ms}-{number}"), "wallet": owner, "market": market, "side": 1, "order_type": 1,
            "amount": 1, "filled_amount": 0, "filled_quote": 0, "remaining_amount": 0, "avg_price": 0,
            "status": if is_cancelled { 4 } else { 3 }, "time_in_force": 1, "nonce": number, "expire_at": 0,
            "freeze_token": quote_of(market), "freeze_amount": 0, "accepted_at": at_ms, "created_at": at_ms,
            "updated_at": ended_ms,
        }));
        figures.add_both(at_ms, market, "order_count", one)?;
        if is_cancelled {
            figures.add_both(ended_ms, market, "cancel_count", one)?;
        }
        figures.acted(at_ms, &owner);
    }
    Ok(Rows {
        table: "eidos_trading_orders",
        rows,
    })
}

/// `count` deposits and as many withdrawals of `[from_ms, to_ms)`; every fifth is not through yet.
pub(super) fn movements(
    random: &mut StdRng,
    (from_ms, to_ms): (i64, i64),
    count: u32,
    figures: &mut Figures,
) -> anyhow::Result<[Rows; 2]> {
    let (mut deposits, mut withdrawals) = (Vec::new(), Vec::new());
    for number in 0..count {
        let (credited_ms, confirmed_ms) = (
            random.random_range(from_ms..to_ms),
            random.random_range(from_ms..to_ms),
        );
        let amount = Amount::from_scaled(random.random_range(1..i128::pow(10, 21)))?;
        let token = ["USDC", "ETH"][random.random_range(0..2)];
        let is_through = number % 5 != 0;
        deposits.push(deposit(
            &format!("d-{from_ms}-{number}"),
            (number, token),
            amount,
            is_through.then_some(credited_ms),
        ));
        withdrawals.push(json!({
            "withdraw_id": format!("w-{from_ms}-{number}"), "wallet": any_wallet(random), "token": token,
            "amount": amount.to_string(), "to_address": "0x", "nonce": number, "status": if is_through { 3 } else { 1 },
            "confirmed_at": is_through.then_some(confirmed_ms), "created_at": from_ms, "updated_at": from_ms,
        }));
        if is_through {
            figures.add(credited_ms, None, &format!("deposit_volume:{token}"), amount)?;
            figures.add(confirmed_ms, None, &format!("withdraw_volume:{token}"), amount)?;
        }
    }
    Ok([
        Rows {
            table: "eidos_trading_deposits",
            rows: deposits,
        },
        Rows {
            table: "eidos_trading_withdrawals",
            rows: withdrawals,
        },
    ])
}

/// A deposit. `credited_ms`: when it was credited; `None`: it is only detected.
fn deposit(id: &str, (log_index, token): (u32, &str), amount: Amount, credited_ms: Option<i64>) -> Value {
    json!({
        "deposit_id": id, "wallet": wallet(0), "token": token, "amount": amount.to_string(), "tx_hash": format!("0x{id}"),
        "log_index": log_index, "block_num": 1, "status": if credited_ms.is_some() { 2 } else { 1 }, "detected_at": 1,
        "credited_at": credited_ms, "created_at": 1, "updated_at": 1,
    })
}

/// A deposit that is stored now and was credited at `credited_ms`.
pub(super) fn late_deposit(credited_ms: i64, amount: Amount, figures: &mut Figures) -> anyhow::Result<Rows> {
    figures.add(credited_ms, None, "deposit_volume:USDC", amount)?;
    Ok(Rows {
        table: "eidos_trading_deposits",
        rows: vec![deposit(
            &format!("late-{credited_ms}"),
            (0, "USDC"),
            amount,
            Some(credited_ms),
        )],
    })
}

/// The first balances of all wallets, half of them in `[from_ms, to_ms)` and the others long before.
pub(super) fn balances(random: &mut StdRng, (from_ms, to_ms): (i64, i64), figures: &mut Figures) -> Rows {
    let mut rows = Vec::new();
    for number in 0..WALLETS {
        let first_ms = if number % 2 == 0 {
            random.random_range(from_ms..to_ms)
        } else {
            from_ms / 2
        };
        for (token, at_ms) in [("USDC", first_ms), ("ETH", random.random_range(first_ms..to_ms))] {
            rows.push(json!({
                "wallet": wallet(number), "token": token, "settled_available": "1", "settled_frozen": "0",
                "pending_available": "0", "pending_frozen": "0", "pending_total": "0", "version": 1, "created_at": at_ms,
                "updated_at": at_ms,
            }));
            figures.balance(at_ms, &wallet(number));
        }
    }
    Rows {
        table: "eidos_trading_balances",
        rows,
    }
}
