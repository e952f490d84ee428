//! The world is what it says: consistent before the first fault, and exactly what the manifest says after.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail the test")]

mod bulk;
mod faults;
mod history;
mod traps;
mod world;

use eidos_devnet::{Audit, World, WorldOptions};
use eidos_testkit::{Anvil, AnvilOptions, TestDb};
use sqlx::PgPool;

/// A world with servers of its own: the node cannot be shared, the world decides what is mined.
struct Place {
    world: World,
    db: TestDb,
    _anvil: Anvil,
}

async fn place(seed: u64, options: WorldOptions) -> Place {
    let anvil = Anvil::start(AnvilOptions::default()).await.unwrap();
    let db = TestDb::empty().await;
    let pool = PgPool::connect(&db.url()).await.unwrap();
    let world = World::build(seed, &anvil.url(), pool, options).await.unwrap();
    Place {
        world,
        db,
        _anvil: anvil,
    }
}

/// A clean world with room for one of everything.
async fn clean(seed: u64) -> Place {
    place(seed, WorldOptions::clean(40)).await
}

/// What the oracle says, in the audit's form. The oracle cannot hold what no amount holds, and knows no solvency.
fn oracle(world: &World) -> Vec<(String, String, String)> {
    let differences = world
        .ledger()
        .differences(world.addresses().fee_recipient)
        .unwrap();
    differences
        .into_iter()
        .map(|((wallet, token), difference)| (wallet.to_string(), token.to_owned(), difference.to_string()))
        .collect()
}

/// What the manifest says, in the audit's form.
fn planted(world: &World) -> Vec<(String, String, String)> {
    let mut planted: Vec<_> = world
        .manifest()
        .faults
        .iter()
        .map(|fault| {
            let wallet = fault.wallet.map(|wallet| wallet.to_string()).unwrap_or_default();
            (wallet, fault.token.clone(), fault.difference.clone())
        })
        .collect();
    planted.sort();
    planted
}

fn found(audit: &Audit) -> Vec<(String, String, String)> {
    let mut found: Vec<_> = audit
        .differences
        .iter()
        .map(|((wallet, token), difference)| {
            (
                wallet.map(|wallet| wallet.to_string()).unwrap_or_default(),
                token.clone(),
                difference.clone(),
            )
        })
        .collect();
    found.sort();
    found
}
