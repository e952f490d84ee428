//! The invariants: the oracle's, and those between what order-expirer recorded and the exchange's tables.

use std::collections::HashMap;

use eidos_bus::DeadLetter;
use eidos_devnet::orders::Comparison;
use eidos_testkit::Verdict;
use sqlx::PgPool;

use crate::arena::Arena;
use crate::poison::{self, Planted};

/// Of the jobs database: (checked, violations, an example).
const JOBS_QUESTIONS: [(&str, &str); 2] = [
    (
        "every request was closed, none was given up",
        "SELECT count(*), count(*) FILTER (WHERE state <> 'closed'), min(order_id || ' ' || state) FILTER (WHERE state <> 'closed')
         FROM eidos_jobs_order_expiries",
    ),
    (
        "no execution is left running",
        "SELECT count(*), count(*) FILTER (WHERE status IN ('running', 'pending')),
                min(execution_id::text) FILTER (WHERE status IN ('running', 'pending'))
         FROM eidos_jobs_executions",
    ),
];

/// Judges everything.
pub(crate) async fn judge(
    arena: &Arena,
    comparison: &Comparison,
    planted: &[Planted],
) -> anyhow::Result<Vec<Verdict>> {
    let mut verdicts: Vec<Verdict> = comparison
        .findings
        .iter()
        .map(|finding| Verdict {
            invariant: finding.invariant.to_owned(),
            checked: finding.checked,
            violations: finding.violations,
            example: finding.example.clone(),
        })
        .collect();
    for (invariant, question) in JOBS_QUESTIONS {
        let (checked, violations, example) = sqlx::query_as(question).fetch_one(&arena.jobs).await?;
        verdicts.push(Verdict {
            invariant: invariant.to_owned(),
            checked,
            violations,
            example,
        });
    }
    verdicts.extend(requests_against_rows(&arena.jobs, &arena.exchange).await?);
    let letters =
        poison::dead_letters(&poison::section(&arena.kafka.bootstrap_servers()), &arena.topics).await?;
    if !planted.is_empty() {
        verdicts.extend(dead_letters_explained(planted, &letters));
    }
    Ok(verdicts)
}

/// Compares the dead letters with the poison. A crash between the letter and the commit of its offset writes the letter again:
/// a message may have several, and each names the same place.
fn dead_letters_explained(planted: &[Planted], letters: &[(String, DeadLetter)]) -> [Verdict; 2] {
    let is_of = |(topic, letter): &(String, DeadLetter), poison: &Planted| {
        *topic == poison.topic
            && letter.original_partition == Some(poison.partition)
            && letter.original_offset == Some(poison.offset)
    };
    let mut missing = empty("each planted poison is a dead letter, with its reason");
    for poison in planted {
        let has_letter = letters
            .iter()
            .any(|letter| is_of(letter, poison) && letter.1.reason.contains(poison.reason));
        let name = format!("{}[{}]@{}", poison.topic, poison.partition, poison.offset);
        count(&mut missing, !has_letter, &name);
    }
    let mut unexplained = empty("dead letters explained: nothing but planted poison is one");
    for letter in letters {
        let is_planted = planted.iter().any(|poison| is_of(letter, poison));
        count(&mut unexplained, !is_planted, &format!("{letter:?}"));
    }
    [missing, unexplained]
}

/// Compares what was recorded as ended with the orders' rows, and looks for expired orders that were never asked for.
async fn requests_against_rows(jobs: &PgPool, exchange: &PgPool) -> anyhow::Result<[Verdict; 2]> {
    let recorded: Vec<(String, Option<String>)> =
        sqlx::query_as("SELECT order_id, outcome FROM eidos_jobs_order_expiries")
            .fetch_all(jobs)
            .await?;
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT order_id, fate, CASE status WHEN 3 THEN 'filled' WHEN 4 THEN 'cancelled' WHEN 5 THEN 'expired' ELSE 'open' END
         FROM oracle.orders JOIN eidos_trading_orders USING (order_id)",
    )
    .fetch_all(exchange)
    .await?;
    let recorded: HashMap<String, Option<String>> = recorded.into_iter().collect();
    let mut without_proof = empty("no request was closed with another end than its order's row has");
    let mut overlooked = empty("every order that had to leave its book was asked for, and no other");
    for (order_id, fate, end) in rows {
        let request = recorded.get(&order_id);
        if let Some(Some(outcome)) = request {
            count(&mut without_proof, *outcome != end, &order_id);
        }
        count(&mut overlooked, request.is_some() == (fate == "stays"), &order_id);
    }
    Ok([without_proof, overlooked])
}

fn empty(invariant: &str) -> Verdict {
    Verdict {
        invariant: invariant.to_owned(),
        checked: 0,
        violations: 0,
        example: None,
    }
}

fn count(verdict: &mut Verdict, is_violation: bool, order_id: &str) {
    verdict.checked += 1;
    if is_violation {
        verdict.violations += 1;
        verdict.example.get_or_insert_with(|| order_id.to_owned());
    }
}
