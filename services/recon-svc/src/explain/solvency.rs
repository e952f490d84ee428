//! A break of solvency: tokens left the Vault and no balance moved. The first such block is found by halving: the Vault's
//! holding at a block against its holding at the cut and the Deposit and Withdraw events between them.

use eidos_chain::{BlockRef, ChainError, EventBody, EventKind, LogFilter, VaultEvent};
use eidos_recon::explain::{Cause, Event, Explanation, History, Known, Posting, Searched, explain as decide};
use eidos_recon::store::listing::BreakRow;
use eidos_types::{Address, Amount};
use tokio::time::Instant;

use super::explainer::{ExplainError, Explainer, SIDES};
use super::movements_of::blank;
use crate::dimensions::balance::account::Token;
use crate::dimensions::balance::sources::SourceError;
use crate::jobs::reconciliation::cut::{Cut, block_at};

/// Explains it. Returns the block of the cut as well.
pub(super) async fn explain(
    explainer: &Explainer,
    row: &BreakRow,
    deadline: Instant,
) -> Result<(Explanation, BlockRef), ExplainError> {
    let index = explainer
        .tokens
        .by_symbol(&row.token)
        .ok_or(ExplainError::UnknownToken)?;
    let token = explainer.tokens.get(index).ok_or(ExplainError::UnknownToken)?;
    let cut = Cut::pin(&explainer.databases, &explainer.schema, &explainer.chain, None)
        .await?
        .block;
    let rules = &explainer.settings.reconciliation;
    let lowest = cut
        .number
        .saturating_sub(rules.explain_max_blocks.saturating_sub(1));
    let from = lowest.max(rules.vault_deployed_at_block);
    let mut searched = Searched {
        places: "blocks".to_owned(),
        from,
        upto: cut.number,
        is_complete: from <= rules.vault_deployed_at_block,
        ..Searched::default()
    };
    if !searched.is_complete {
        searched.bounds.push(format!(
            "{} blocks (reconciliation.explain_max_blocks)",
            rules.explain_max_blocks
        ));
    }
    let search = Search {
        explainer,
        token,
        cut,
    };
    let left = match tokio::time::timeout_at(deadline, search.first(from, &mut searched)).await {
        Ok(left) => left?,
        Err(_elapsed) => {
            searched.bounds.push(format!(
                "{:?} (reconciliation.explain_timeout)",
                rules.explain_timeout
            ));
            None
        }
    };
    Ok((told(row, left, searched), cut))
}

/// The block in which tokens left, and how many.
type Left = Option<(BlockRef, Amount)>;

/// The break with what was found of it.
fn told(row: &BreakRow, left: Left, searched: Searched) -> Explanation {
    let short: Option<Amount> = row.diff_value.as_deref().and_then(|text| text.parse().ok());
    let place = left.map_or(searched.upto, |(block, _)| block.number);
    let name = left.map_or_else(
        || format!("of the Vault's {}", row.token),
        |(block, _)| format!("of the Vault's {} in block {}", row.token, block.number),
    );
    let amount = left.map(|(_, amount)| amount).or(short);
    let right = Posting {
        what: "token balance of the Vault".to_owned(),
        reference: left.map_or_else(String::new, |(block, _)| block.hash.to_string()),
        amount: amount.ok_or_else(|| "?".to_owned()),
        detail: "without a Deposit or Withdraw event of this size".to_owned(),
    };
    let event = Event {
        right: Some(right),
        known: Known::As(Cause::Outflow),
        ..blank("holding", name, (place, 0))
    };
    let history = History {
        difference: short,
        events: vec![event],
        searched,
        ..History::default()
    };
    decide(&history, SIDES)
}

struct Search<'a> {
    explainer: &'a Explainer,
    token: &'a Token,
    cut: BlockRef,
}

impl Search<'_> {
    /// The first block in which tokens left; `None`: none of the blocks, or the node has their state no more.
    async fn first(&self, from: u64, searched: &mut Searched) -> Result<Left, ExplainError> {
        let filter = LogFilter {
            kinds: Some(vec![EventKind::Deposit, EventKind::Withdraw]),
            keep_unreadable: true,
            ..LogFilter::default()
        };
        let events = self
            .explainer
            .chain
            .logs(from, &self.cut, &filter)
            .await
            .map_err(SourceError::from)?;
        searched.events = events.len();
        let now = self.held(&self.cut).await?;
        let Some(now) = now else { return Ok(None) };
        // What left between a block and the cut: zero at the cut, all of it at the first block.
        let (mut low, mut high) = (from, self.cut.number);
        let Some(all) = self.gone(low, now, &events, searched).await? else {
            return Ok(None);
        };
        if all.is_zero() {
            return Ok(None);
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match self.gone(middle, now, &events, searched).await? {
                None => return Ok(None),
                Some(gone) if gone == all => low = middle,
                Some(_) => high = middle,
            }
        }
        let before = self.gone(low, now, &events, searched).await?;
        let after = self.gone(high, now, &events, searched).await?;
        let left = before
            .zip(after)
            .and_then(|(before, after)| before.checked_sub(after).ok());
        let block = block_at(&self.explainer.chain, high).await?;
        Ok(left.map(|left| (block, left)))
    }

    /// What the Vault's holding moved from after `number` to the cut, less its events.
    async fn gone(
        &self,
        number: u64,
        now: Amount,
        events: &[VaultEvent],
        searched: &mut Searched,
    ) -> Result<Option<Amount>, ExplainError> {
        let block = block_at(&self.explainer.chain, number).await?;
        let Some(held) = self.held(&block).await? else {
            let bound = format!("the node has no state of block {number}");
            searched.bounds.push(bound);
            searched.is_complete = false;
            return Ok(None);
        };
        let mut moved = Amount::ZERO;
        for event in events.iter().filter(|event| event.at.block_number > number) {
            let Some(amount) = self.moved(event) else { continue };
            let Ok(sum) = moved.checked_add(amount) else {
                return Ok(None);
            };
            moved = sum;
        }
        Ok(now
            .checked_sub(held)
            .and_then(|changed| changed.checked_sub(moved))
            .ok())
    }

    fn moved(&self, event: &VaultEvent) -> Option<Amount> {
        let of = |token: Address| token == self.token.address;
        match event.body {
            EventBody::Deposit { token, amount, .. } if of(token) => {
                amount.to_amount(self.token.decimals).ok()
            }
            EventBody::Withdraw { token, amount, .. } if of(token) => {
                amount.to_amount(self.token.decimals).ok().map(Amount::negated)
            }
            _ => None,
        }
    }

    /// What the token contract holds for the Vault; `None`: the state is gone, or not an amount.
    async fn held(&self, block: &BlockRef) -> Result<Option<Amount>, ExplainError> {
        match self
            .explainer
            .chain
            .token_held(block, &[self.token.address])
            .await
        {
            Ok(held) => Ok(held
                .first()
                .and_then(|held| held.to_amount(self.token.decimals).ok())),
            Err(ChainError::StateUnavailable { .. }) => Ok(None),
            Err(error) => Err(SourceError::from(error).into()),
        }
    }
}
