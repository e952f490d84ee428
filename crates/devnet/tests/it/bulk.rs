use eidos_chain::contracts::{IToken, IVault, evm};
use eidos_devnet::bulk::{self, Plan};
use eidos_devnet::node::Node;
use eidos_testkit::{ScratchDir, TestDb};
use sqlx::PgPool;

/// Storage computed here is storage the contracts read: balances, supply and names of a small bulk devnet.
#[tokio::test]
async fn chain_and_books_of_a_bulk_devnet_agree() {
    const ACCOUNTS: u64 = 500;
    let dir = ScratchDir::create("bulk").unwrap();
    let db = TestDb::empty().await;
    let pool = PgPool::connect(&db.url()).await.unwrap();
    let made = bulk::build(ACCOUNTS, dir.path(), &pool).await.unwrap();
    let node = Node::new(&made.anvil.url()).unwrap();
    let plan = Plan::new(ACCOUNTS);
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT wallet, token, (settled_available + settled_frozen)::text FROM eidos_trading_balances ORDER BY wallet",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(rows.len(), usize::try_from(ACCOUNTS).unwrap());
    let calls: Vec<_> = plan
        .accounts()
        .map(|account| {
            let question = IVault::getTotalBalanceCall {
                user: evm(&account.wallet),
                token: evm(&plan.tokens()[account.token].address),
            };
            (
                made.addresses.vault,
                eidos_chain::contracts::encode(&question).to_vec(),
            )
        })
        .collect();
    let totals = node.read(made.cut.hash, &calls).await.unwrap();
    let mut owed = [0_u128; 3];
    for ((account, total), (wallet, token, value)) in plan.accounts().zip(totals).zip(rows) {
        assert_eq!(
            (
                account.wallet.to_string(),
                plan.tokens()[account.token].symbol.to_owned()
            ),
            (wallet, token)
        );
        let amount = plan.tokens()[account.token].amount(total.to::<u128>()).unwrap();
        assert_eq!(amount, value.parse().unwrap());
        owed[account.token] += total.to::<u128>();
    }
    for (token, owed) in plan.tokens().iter().zip(owed) {
        let question = IToken::balanceOfCall {
            owner: evm(&made.addresses.vault),
        };
        let held = node
            .read(
                made.cut.hash,
                &[(token.address, eidos_chain::contracts::encode(&question).to_vec())],
            )
            .await
            .unwrap();
        assert_eq!(held[0].to::<u128>(), owed, "{}", token.symbol);
    }
}
