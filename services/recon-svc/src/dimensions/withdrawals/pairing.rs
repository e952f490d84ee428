//! Which event belongs to which row: pure.

use eidos_types::{Address, BaseUnits, Hash32};

/// A row, as far as it says which event is its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The transactions that it may be in: the trading service's and the chain service's.
    pub txs: Vec<Hash32>,
    /// Whose.
    pub wallet: Option<Address>,
    /// The token's contract.
    pub token: Option<Address>,
    /// How much.
    pub units: Option<BaseUnits>,
    /// True if the books gave it back: another row of the transaction has the better claim.
    pub is_undone: bool,
}

/// An event; without user it is unreadable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fact {
    /// Its transaction.
    pub tx: Hash32,
    /// Whose.
    pub user: Option<Address>,
    /// The token's contract.
    pub token: Option<Address>,
    /// How much.
    pub units: Option<BaseUnits>,
}

/// How much of a claim fits an event, best first.
const LEVELS: u8 = 4;

/// True if the claim fits at this level: 0 wallet, token and amount, 1 wallet and token, 2 wallet, 3 the transaction alone.
fn fits(claim: &Claim, fact: &Fact, level: u8) -> bool {
    let wallet = claim.wallet.is_some() && claim.wallet == fact.user;
    let token = claim.token.is_some() && claim.token == fact.token;
    let units = claim.units.is_some() && claim.units == fact.units;
    claim.txs.contains(&fact.tx)
        && match level {
            0 => wallet && token && units,
            1 => wallet && token,
            2 => wallet,
            _ => true,
        }
}

/// For each claim the index of its event. An event belongs to one claim at most; better fits are taken first, and of equal
/// ones the first that was not given back.
#[must_use]
pub fn pair(claims: &[Claim], facts: &[Fact]) -> Vec<Option<usize>> {
    let mut paired = vec![None; claims.len()];
    let mut taken = vec![false; facts.len()];
    let mut by_tx: std::collections::BTreeMap<Hash32, Vec<usize>> = std::collections::BTreeMap::new();
    for (i, fact) in facts.iter().enumerate() {
        by_tx.entry(fact.tx).or_default().push(i);
    }
    for level in 0..LEVELS {
        for is_undone in [false, true] {
            let of_turn = claims
                .iter()
                .enumerate()
                .filter(|(_, claim)| claim.is_undone == is_undone);
            for (i, claim) in of_turn {
                if paired[i].is_some() {
                    continue;
                }
                let near = claim.txs.iter().filter_map(|tx| by_tx.get(tx)).flatten();
                let own = near
                    .copied()
                    .find(|fact| !taken[*fact] && fits(claim, &facts[*fact], level));
                if let Some(fact) = own {
                    (paired[i], taken[fact]) = (Some(fact), true);
                }
            }
        }
    }
    paired
}
