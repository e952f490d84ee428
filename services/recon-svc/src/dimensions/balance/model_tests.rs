//! The engine against a naive model, and metamorphic laws: shuffle, reshard, add the same to both sides.

use std::collections::{BTreeMap, HashMap};

use eidos_types::{Address, Amount, BaseUnits};
use proptest::prelude::*;

use super::account::{AccountKey, TokenIndex};
use super::in_flight::{Line, LineKind};
use super::kind::BreakKind;
use super::merge::{BooksRow, LinesByAccount, merge_page};
use super::shard::shards;
use super::verdict::{Reading, Verdict, judge};

const DECIMALS: u8 = 6;

#[derive(Debug, Clone)]
struct World {
    balances: Vec<(AccountKey, i64)>,
    subaccounts: Vec<(AccountKey, i64)>,
    lines: Vec<(AccountKey, i64)>,
    chain: HashMap<AccountKey, u64>,
}

/// Scaled integers from whole base units: the model's arithmetic is plain `i64`.
fn units(count: i64) -> Amount {
    Amount::from_scaled(i128::from(count) * 10_i128.pow(12)).unwrap()
}

fn any_key() -> impl Strategy<Value = AccountKey> {
    // Few wallets spread over the space, so that sources overlap and shards have borders inside.
    (0_u8..24, 0_u16..3).prop_map(|(wallet, token)| {
        let mut bytes = [wallet; 20];
        bytes[0] = wallet.wrapping_mul(11);
        AccountKey {
            wallet: Address::new(bytes),
            token: TokenIndex(token),
        }
    })
}

prop_compose! {
    fn any_world()(
        balances in proptest::collection::vec((any_key(), 0_i64..1000), 0..60),
        subaccounts in proptest::collection::vec((any_key(), 0_i64..1000), 0..20),
        lines in proptest::collection::vec((any_key(), -100_i64..100), 0..20),
        chain in proptest::collection::hash_map(any_key(), 0_u64..2000, 0..60),
        agreeing in proptest::collection::vec(any::<bool>(), 72),
    ) -> World {
        let mut world = World { balances, subaccounts, lines, chain };
        // Half of the accounts agree, or nearly every account would differ and matches would go untested.
        for ((key, expected), agrees) in expected(&world).into_iter().zip(agreeing) {
            if let (true, Ok(expected)) = (agrees, u64::try_from(expected)) {
                world.chain.insert(key, expected);
            }
        }
        world
    }
}

fn expected(world: &World) -> BTreeMap<AccountKey, i64> {
    let mut sums = BTreeMap::new();
    for (key, count) in world
        .balances
        .iter()
        .chain(&world.subaccounts)
        .chain(&world.lines)
    {
        *sums.entry(*key).or_default() += count;
    }
    sums
}

/// The naive answer: every key of any side, its signed difference in base units; zero differences left out.
fn model(world: &World) -> BTreeMap<AccountKey, i64> {
    let mut diffs = expected(world);
    for diff in diffs.values_mut() {
        *diff = -*diff;
    }
    for (key, count) in &world.chain {
        *diffs.entry(*key).or_default() += i64::try_from(*count).unwrap();
    }
    diffs.retain(|_, diff| *diff != 0);
    diffs
}

/// The engine's answer, page by page over `shard_count` shards.
fn engine(world: &World, shard_count: u16) -> BTreeMap<AccountKey, (BreakKind, i64)> {
    let mut lines = LinesByAccount::new();
    for (key, count) in &world.lines {
        let line = Line {
            kind: LineKind::WithdrawalNotMined,
            unproven: false,
            reference: String::new(),
            amount: units(*count),
        };
        lines.entry(*key).or_default().push(line);
    }
    let mut found = BTreeMap::new();
    let mut after = None;
    for shard in shards(shard_count) {
        let inside = |key: &AccountKey| shard.first <= key.wallet && key.wallet <= shard.last;
        let rows = |source: &[(AccountKey, i64)]| {
            let mut rows: Vec<BooksRow> = source
                .iter()
                .filter(|(key, _)| inside(key))
                .map(|(key, count)| BooksRow {
                    key: *key,
                    amount: Ok(units(*count)),
                })
                .collect();
            rows.sort_by_key(|row| row.key.wallet);
            rows
        };
        let known = world.chain.keys().filter(|key| inside(key)).copied().collect();
        let page = merge_page(
            after,
            rows(&world.balances),
            rows(&world.subaccounts),
            known,
            &lines,
            shard.last,
        );
        for account in page.unwrap() {
            let units = world.chain.get(&account.key).copied().unwrap_or_default();
            let reading = Reading {
                books: account.books,
                lines: account.lines,
                chain: BaseUnits::from(u128::from(units)),
                seen_on_chain: account.seen_on_chain,
            };
            if let Verdict::Differs(difference) = judge(&reading, DECIMALS) {
                let diff = difference.diff.unwrap().scaled() / 10_i128.pow(12);
                let twice = found.insert(account.key, (difference.kind, i64::try_from(diff).unwrap()));
                assert_eq!(twice, None, "an account is compared once");
            }
        }
        after = Some(shard.last);
    }
    found
}

fn diffs(found: &BTreeMap<AccountKey, (BreakKind, i64)>) -> BTreeMap<AccountKey, i64> {
    found.iter().map(|(key, (_, diff))| (*key, *diff)).collect()
}

proptest! {
    #[test]
    fn agrees_with_the_naive_model(world in any_world(), shard_count in 1_u16..9) {
        prop_assert_eq!(diffs(&engine(&world, shard_count)), model(&world));
    }

    #[test]
    fn kinds_follow_sides_and_signs(world in any_world()) {
        let in_books = |key: &AccountKey| {
            world.balances.iter().chain(&world.subaccounts).any(|(row, _)| row == key)
        };
        for (key, (kind, diff)) in engine(&world, 1) {
            let chain = world.chain.get(&key).copied();
            let expected = if !in_books(&key) && chain.unwrap_or_default() > 0 {
                BreakKind::MissingInBooks
            } else if in_books(&key) && chain.is_none() {
                BreakKind::MissingOnChain
            } else if diff < 0 {
                BreakKind::Shortfall
            } else {
                BreakKind::Surplus
            };
            prop_assert_eq!(kind, expected);
        }
    }

    #[test]
    fn resharding_and_shuffling_change_nothing(world in any_world(), shard_count in 2_u16..40, seed in any::<u64>()) {
        let mut shuffled = world.clone();
        // Rows of one wallet may come in any order; a rotation of each list reaches them all.
        let by = usize::try_from(seed % 61).unwrap();
        for list in [&mut shuffled.balances, &mut shuffled.subaccounts, &mut shuffled.lines] {
            let len = list.len().max(1);
            list.rotate_left(by % len);
        }
        prop_assert_eq!(engine(&world, 1), engine(&shuffled, shard_count));
    }

    #[test]
    fn adding_the_same_to_both_sides_changes_no_difference(world in any_world(), added in 1_i64..500) {
        let before = diffs(&engine(&world, 3));
        let mut richer = world.clone();
        let keys: Vec<AccountKey> = expected(&world).keys().chain(world.chain.keys()).copied().collect();
        for key in keys.iter().collect::<std::collections::BTreeSet<_>>() {
            richer.balances.push((*key, added));
            *richer.chain.entry(*key).or_default() += u64::try_from(added).unwrap();
        }
        prop_assert_eq!(diffs(&engine(&richer, 3)), before);
    }
}

#[test]
fn a_source_out_of_byte_order_is_refused() {
    let row = |byte: u8| BooksRow {
        key: AccountKey {
            wallet: Address::new([byte; 20]),
            token: TokenIndex(0),
        },
        amount: Ok(units(1)),
    };
    let last = Address::new([0xff; 20]);
    let none = LinesByAccount::new();
    let merged = |after, rows| merge_page(after, rows, vec![], vec![], &none, last);
    assert!(merged(None, vec![row(1), row(2)]).is_ok());
    assert!(merged(None, vec![row(2), row(1)]).is_err());
    assert!(
        merged(Some(Address::new([1; 20])), vec![row(1)]).is_err(),
        "the page before already had it"
    );
}
