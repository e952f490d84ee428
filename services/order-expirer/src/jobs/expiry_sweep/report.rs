//! What a sweep found.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde::{Deserialize, Serialize};

use crate::store::orders::{Candidate, Swept};

/// Orders that a row of the table names.
const SHOWN: usize = 3;

/// The report of `expiry-sweep`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SweepReport {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// The slot, epoch ms.
    pub slot_ms: i64,
    /// Whether every order was read.
    pub complete: bool,
    /// Pages read.
    pub pages: u64,
    /// Orders that are open long after they expired.
    pub overdue: u64,
    /// Of them: those without a request, which now have one.
    pub overlooked: u64,
    /// Overdue orders by market.
    pub overdue_markets: BTreeMap<String, u64>,
    /// The first of them.
    pub overdue_orders: Vec<String>,
    /// Open orders without quantity.
    pub zero_quantity: u64,
    /// Of them: those without a request, which now have one.
    pub zero_quantity_new: u64,
    /// Orders in cancelling for too long.
    pub cancelling_stuck: u64,
    /// The first of them.
    pub cancelling_orders: Vec<String>,
    /// Orders in a status that the profile does not name.
    pub unknown_status: u64,
    /// The first of them, each with its code.
    pub unknown_orders: Vec<String>,
    /// Closed requests that were deleted.
    pub pruned: u64,
}

impl SweepReport {
    pub(super) fn new(dry_run: bool, slot_ms: i64) -> Self {
        Self {
            dry_run,
            slot_ms,
            ..Self::default()
        }
    }

    /// The slot. `None`: the stored number is none.
    pub(super) fn slot(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_millis(self.slot_ms)
    }

    pub(super) fn overdue(&mut self, orders: &[Candidate], listed: u32) {
        self.overdue += orders.len() as u64;
        for order in orders {
            *self.overdue_markets.entry(order.market.clone()).or_default() += 1;
            list(&mut self.overdue_orders, order.order_id.clone(), listed);
        }
    }

    pub(super) fn cancelling(&mut self, order: &Swept, listed: u32) {
        self.cancelling_stuck += 1;
        list(&mut self.cancelling_orders, order.order_id.clone(), listed);
    }

    pub(super) fn unknown(&mut self, order: &Swept, listed: u32) {
        self.unknown_status += 1;
        list(
            &mut self.unknown_orders,
            format!("{} ({})", order.order_id, order.status),
            listed,
        );
    }

    pub(super) fn render(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        table.set_header(["orders", "count", "first"]);
        let rows = [
            ("overdue", self.overdue, &self.overdue_orders),
            (
                "in cancelling for too long",
                self.cancelling_stuck,
                &self.cancelling_orders,
            ),
            ("in an unknown status", self.unknown_status, &self.unknown_orders),
        ];
        for (what, count, orders) in rows {
            table.add_row([what.to_owned(), count.to_string(), first(orders)]);
        }
        table.add_row([
            "open without quantity".to_owned(),
            self.zero_quantity.to_string(),
            String::new(),
        ]);
        let mut text = format!(
            "{} {} read{}; {} overdue orders had no request.\n{table}",
            self.pages,
            if self.pages == 1 { "page" } else { "pages" },
            if self.complete { "" } else { ", not all" },
            self.overlooked,
        );
        for (market, count) in &self.overdue_markets {
            let _ = write!(text, "\noverdue in {market}: {count}");
        }
        if self.pruned > 0 {
            let _ = write!(text, "\n{} old requests deleted.", self.pruned);
        }
        text
    }
}

/// The first few orders: a table has to fit a terminal, and the report has the others.
fn first(orders: &[String]) -> String {
    let shown = &orders[..orders.len().min(SHOWN)];
    let more = if orders.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

fn list(orders: &mut Vec<String>, order: String, listed: u32) {
    if orders.len() < listed as usize {
        orders.push(order);
    }
}
