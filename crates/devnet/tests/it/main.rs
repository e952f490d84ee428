//! The devnet is what it says: consistent before the first fault, and exactly what the manifest says after.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail the test")]

mod bulk;
mod devnet;
mod faults;
mod history;
mod market;
mod matching;
mod traps;

use eidos_devnet::{Audit, Devnet, DevnetOptions};
use eidos_testkit::{Anvil, AnvilOptions, TestDb};
use sqlx::PgPool;

/// A devnet with servers of its own: the node cannot be shared, the devnet decides what is mined.
struct Fixture {
    devnet: Devnet,
    db: TestDb,
    _anvil: Anvil,
}

async fn fixture(seed: u64, options: DevnetOptions) -> Fixture {
    let anvil = Anvil::start(AnvilOptions::default()).await.unwrap();
    let db = TestDb::empty().await;
    let pool = PgPool::connect(&db.url()).await.unwrap();
    let devnet = Devnet::build(seed, &anvil.url(), pool, options).await.unwrap();
    Fixture {
        devnet,
        db,
        _anvil: anvil,
    }
}

/// A clean devnet with room for one of everything.
async fn clean(seed: u64) -> Fixture {
    fixture(seed, DevnetOptions::clean(40)).await
}

/// What the oracle says, in the audit's form. The oracle cannot hold what no amount holds, and knows no solvency.
fn oracle(devnet: &Devnet) -> Vec<(String, String, String)> {
    let differences = devnet
        .ledger()
        .differences(devnet.addresses().fee_recipient)
        .unwrap();
    differences
        .into_iter()
        .map(|((wallet, token), difference)| (wallet.to_string(), token.to_owned(), difference.to_string()))
        .collect()
}

/// What the manifest says, the canary included, in the audit's form.
fn planted(devnet: &Devnet) -> Vec<(String, String, String)> {
    let manifest = devnet.manifest();
    let faults = manifest.faults.iter().map(|fault| {
        let wallet = fault.wallet.map(|wallet| wallet.to_string()).unwrap_or_default();
        (wallet, fault.token.clone(), fault.difference.clone())
    });
    let canaries = manifest.canaries.iter().map(|canary| {
        (
            canary.wallet.to_string(),
            canary.token.clone(),
            canary.difference.to_string(),
        )
    });
    let mut planted: Vec<_> = faults.chain(canaries).collect();
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
