//! Why a break exists. The general part, with the causes and the words, is [`eidos_recon::explain`]; here is what this service
//! reads for it, and how much at most.
//!
//! | a break of | is explained by |
//! |---|---|
//! | `balance` | the account's events on chain and its postings in the books, newest first until they add up ([`read`]) |
//! | `deposit`, `withdrawal` and others of movements | what the comparison found, which names the event ([`movement`]) |
//! | `solvency` | the block in which tokens left the Vault without a Withdraw event ([`solvency`]) |
//!
//! Every search is bounded in blocks, rows and time (`reconciliation.explain_*`), at most [`AT_ONCE`] run in a process, and
//! a bound that was reached is said. Nothing is written.

mod account;
mod explainer;
mod fees;
mod material;
mod movement;
mod movements_of;
mod read;
mod solvency;

use eidos_chain::BlockRef;
use eidos_recon::explain::{Explanation, Opposite, render};
use eidos_recon::store::listing::{self, BreakRow};
use eidos_runtime::ServiceDeps;
use eidos_server::Answer;
use eidos_types::{Address, Amount, BreakId};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::explainer::plain;
pub use self::explainer::{AT_ONCE, ExplainError, Explainer};
use crate::dimensions::balance::account::TokenIndex;
use crate::jobs::reconciliation::run::DIMENSION;
use crate::jobs::reconciliation::solvency::SOLVENCY;
use crate::settings::ReconSettings;

/// A break with its explanation.
#[derive(Debug, Clone)]
pub struct Explained {
    /// The break.
    pub row: BreakRow,
    /// Why it exists.
    pub explanation: Explanation,
    /// The block at which both sides were read for it; `None`: nothing was.
    pub block: Option<BlockRef>,
}

impl Explained {
    /// For programs.
    #[must_use]
    pub fn value(&self) -> Value {
        let row = &self.row;
        json!({
            "break_id": row.break_id, "dimension": row.dimension, "subject": row.subject, "token": row.token,
            "kind": row.kind, "status": row.status, "block": self.block, "explanation": self.explanation,
            "text": self.text(),
        })
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let row = &self.row;
        let diff = row.diff_value.as_deref().map_or("?", plain);
        format!(
            "Break {}: {} of {}, {} {diff} {} ({}, {}), first seen {}\n\n{}",
            row.break_id,
            row.dimension,
            row.subject,
            row.kind,
            row.token,
            row.severity,
            row.status,
            row.first_seen.format("%Y-%m-%d %H:%M:%S UTC"),
            render::text(&self.explanation)
        )
    }
}

impl Explainer {
    /// Explains a break as both sides are now.
    ///
    /// # Errors
    /// [`ExplainError`]; a bound that is reached is no error.
    pub async fn explain(&self, id: BreakId) -> Result<Explained, ExplainError> {
        let row = listing::one(self.jobs.read(), id)
            .await
            .map_err(ExplainError::Jobs)?;
        let row = row.ok_or(ExplainError::NoBreak(id))?;
        let _permit = self.gate.try_acquire().map_err(|_full| ExplainError::Busy)?;
        let deadline = Instant::now() + self.settings.reconciliation.explain_timeout;
        let (explanation, block) = match self.account_of(&row) {
            Some((wallet, token)) => {
                let search = read::AccountSearch {
                    explainer: self,
                    wallet,
                    token,
                    stored: row.diff_value.as_deref().and_then(|text| text.parse().ok()),
                    opposite: self.opposite(&row).await?,
                    deadline,
                };
                let (explanation, block) = search.run().await?;
                (explanation, Some(block))
            }
            None if row.dimension == SOLVENCY => {
                let (explanation, block) = solvency::explain(self, &row, deadline).await?;
                (explanation, Some(block))
            }
            None => (movement::explain(&row), None),
        };
        Ok(Explained {
            row,
            explanation,
            block,
        })
    }

    /// The account of a break of balances.
    fn account_of(&self, row: &BreakRow) -> Option<(Address, TokenIndex)> {
        if row.dimension != DIMENSION {
            return None;
        }
        Some((
            row.wallet_address.parse().ok()?,
            self.tokens.by_symbol(&row.token)?,
        ))
    }

    /// The only unresolved break of the dimension and token that this one cancels.
    async fn opposite(&self, row: &BreakRow) -> Result<Option<Opposite>, ExplainError> {
        let Some(diff) = row
            .diff_value
            .as_deref()
            .and_then(|text| text.parse::<Amount>().ok())
        else {
            return Ok(None);
        };
        let found =
            crate::store::breaks::opposites(self.jobs.read(), &row.dimension, &row.token, diff.negated())
                .await
                .map_err(ExplainError::Jobs)?;
        let [(break_id, subject)] = found.as_slice() else {
            return Ok(None);
        };
        Ok(Some(Opposite {
            break_id: break_id.to_string(),
            subject: subject.clone(),
        }))
    }
}

/// Breaks that one command explains.
const MAX_AT_A_TERMINAL: usize = 200;

/// `recon-svc explain <break>`, or several breaks with commas between them.
pub(crate) fn at_a_terminal(
    deps: ServiceDeps<ReconSettings>,
    argument: String,
) -> BoxFuture<'static, anyhow::Result<Answer>> {
    async move {
        let ids = argument
            .split(',')
            .map(break_id)
            .collect::<anyhow::Result<Vec<BreakId>>>()?;
        anyhow::ensure!(
            ids.len() <= MAX_AT_A_TERMINAL,
            "{} breaks at once; at most {MAX_AT_A_TERMINAL} are explained",
            ids.len()
        );
        let explainer = deps.built.get::<Explainer>();
        let explainer =
            explainer.ok_or_else(|| anyhow::anyhow!("this process was started without a chain"))?;
        let (mut values, mut texts) = (Vec::with_capacity(ids.len()), Vec::with_capacity(ids.len()));
        for id in ids {
            let answer = explainer.explain(id).await?;
            values.push(answer.value());
            texts.push(answer.text());
        }
        let value = match <[Value; 1]>::try_from(values) {
            Ok([only]) => only,
            Err(values) => Value::Array(values),
        };
        Ok(Answer {
            value,
            text: texts.join("\n----\n\n"),
        })
    }
    .boxed()
}

fn break_id(text: &str) -> anyhow::Result<BreakId> {
    text.trim()
        .parse()
        .map_err(|_not_a_uuid| anyhow::anyhow!("'{text}' is not the id of a break (a UUID)"))
}
