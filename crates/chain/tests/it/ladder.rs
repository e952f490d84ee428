//! Every rung reads the same values, and the ladder falls when one cannot.

use eidos_chain::contracts::{self, ISeedVault, IToken, encode, evm};
use eidos_chain::{AbiProfile, ChainError, Rung, RungState};
use eidos_types::{Address, BaseUnits};
use serde_json::json;

use crate::fixture::{Fixture, connect};
use crate::requests::{has_override, is_bulk};
use eidos_testkit::{RpcFault, RpcProxy};

#[tokio::test]
async fn every_rung_reads_the_same_values() {
    let fixture = Fixture::start().await;
    let multicall_code_hash = fixture.install_multicall().await;
    let (mut pairs, mut totals) = fixture.fill(150, 42).await;
    // An unknown wallet, a pair asked twice, and the same wallet without one of the tokens.
    pairs.extend([
        (Address::new([9; 20]), fixture.usdc),
        pairs[3],
        (pairs[0].0, Address::ZERO),
    ]);
    totals.extend([BaseUnits::ZERO, totals[3], BaseUnits::ZERO]);
    for rung in Rung::ALL {
        let mut settings = fixture.settings();
        settings.bulk.rungs = vec![rung];
        settings.bulk.multicall_code_hash = multicall_code_hash;
        let reader = connect(&settings).await;
        let at = reader.head().await.unwrap();
        // The start tries a list that does not end in single calls.
        let tried = reader.ladder_report().rungs[0].values;
        assert_eq!(tried, u64::from(rung != Rung::Single), "{rung}");
        assert_eq!(reader.vault_totals(&at, &pairs).await.unwrap(), totals, "{rung}");
        let report = &reader.ladder_report().rungs[0];
        assert_eq!(report.state, RungState::Ready, "{rung}");
        assert_eq!(
            report.values - tried,
            u64::try_from(pairs.len()).unwrap(),
            "{rung}"
        );
        let fewest = if rung == Rung::Single { 303 } else { 4 };
        assert!(
            report.requests >= fewest,
            "{rung} asked in parts: {}",
            report.requests
        );
    }
}

#[tokio::test]
async fn nothing_asked_is_nothing_read() {
    let fixture = Fixture::start().await;
    let reader = fixture.reader().await;
    let at = reader.head().await.unwrap();
    let before = reader.ladder_report().requests;
    assert_eq!(reader.vault_totals(&at, &[]).await.unwrap(), []);
    assert_eq!(reader.ladder_report().requests, before);
}

#[tokio::test]
async fn the_ladder_falls_rung_by_rung_and_stays_right() {
    let fixture = Fixture::start().await;
    let (pairs, totals) = fixture.fill(60, 3).await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let mut settings = fixture.settings_at(&proxy.url);
    settings.bulk.multicall_code_hash = fixture.install_multicall().await;
    let reader = connect(&settings).await;
    let at = reader.head().await.unwrap();
    let states = |reader: &eidos_chain::ChainReader| {
        let report = reader.ladder_report();
        report
            .rungs
            .iter()
            .map(|rung| rung.state == RungState::Ready)
            .collect::<Vec<_>>()
    };

    proxy.misbehave(|request| {
        if has_override(request) {
            return RpcFault::error(request, -32_602, "too many arguments, want at most 2");
        }
        RpcFault::None
    });
    assert_eq!(reader.vault_totals(&at, &pairs).await.unwrap(), totals);
    assert_eq!(
        states(&reader),
        [false, true, true, true, true, true],
        "overrides refused: storage values read it"
    );

    proxy.misbehave(|request| match request["method"].as_str() {
        Some("eth_getStorageValues") => RpcFault::error(request, -32_601, "the method does not exist"),
        _ if has_override(request) => RpcFault::error(request, -32_000, "overrides are disabled"),
        _ => RpcFault::None,
    });
    assert_eq!(reader.vault_totals(&at, &pairs).await.unwrap(), totals);
    assert_eq!(
        states(&reader),
        [false, false, false, true, true, true],
        "multicall read it"
    );

    proxy.misbehave(|request| {
        if is_bulk(request) {
            return RpcFault::error(request, 3, "execution reverted");
        }
        RpcFault::None
    });
    assert_eq!(reader.vault_totals(&at, &pairs).await.unwrap(), totals);
    assert_eq!(
        states(&reader),
        [false, false, false, false, true, true],
        "a batch read it"
    );

    proxy.misbehave(|request| {
        if request.is_array() {
            return RpcFault::Body(
                json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32_600, "message": "batches are off"}}).to_string(),
            );
        }
        RpcFault::None
    });
    assert_eq!(reader.vault_totals(&at, &pairs).await.unwrap(), totals);
    assert_eq!(
        states(&reader),
        [false, false, false, false, false, true],
        "single calls read it"
    );
}

#[tokio::test]
async fn requests_shrink_to_the_gas_the_node_grants() {
    let fixture = Fixture::start().await;
    let (pairs, totals) = fixture.fill(300, 5).await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    // geth's RPC gas cap: a larger wish is cut without a word.
    proxy.misbehave(|request| {
        if !is_bulk(request) {
            return RpcFault::None;
        }
        let mut request = request.clone();
        request["params"][0]["gas"] = json!("0x61a80"); // 400,000: about 130 wallets
        RpcFault::Ask(request)
    });
    let mut settings = fixture.settings_at(&proxy.url);
    (settings.bulk.start_wallets, settings.bulk.max_wallets) = (300, 300);
    settings.bulk.rungs = vec![Rung::StorageReader];
    let reader = connect(&settings).await;
    let at = reader.head().await.unwrap();
    assert_eq!(reader.vault_totals(&at, &pairs).await.unwrap(), totals);
    let learned = reader.ladder_report().rungs[0].wallets_per_request;
    assert!((50..150).contains(&learned), "remembered: {learned}");
    let before = reader.ladder_report().rungs[0].requests;
    assert_eq!(reader.vault_totals(&at, &pairs).await.unwrap(), totals);
    let asked = reader.ladder_report().rungs[0].requests - before;
    assert!(asked < 20, "the size is not searched for again: {asked} requests");
}

#[tokio::test]
async fn an_unknown_vault_is_not_read_by_a_guessed_layout() {
    let fixture = Fixture::start().await;
    // The same code with one byte appended: the views still work, the code is another one.
    let mut code = contracts::vault_artifact().unwrap().deployed_bytecode.to_vec();
    code.push(0);
    fixture
        .node
        .rpc(
            "anvil_setCode",
            json!([fixture.vault, alloy_primitives::Bytes::from(code)]),
        )
        .await;
    let (pairs, totals) = fixture.fill(20, 6).await;
    let mut settings = fixture.settings();
    let reader = connect(&settings).await;
    let at = reader.head().await.unwrap();
    assert_eq!(reader.vault_totals(&at, &pairs).await.unwrap(), totals);
    let rungs = reader.ladder_report().rungs;
    assert!(
        matches!(rungs[0].state, RungState::Unavailable(_))
            && matches!(rungs[1].state, RungState::Unavailable(_))
    );
    assert!(rungs[2].values > 0, "the view reader needs no layout");

    settings.bulk.balances_slot = Some(3);
    let reader = connect(&settings).await;
    assert_eq!(reader.vault_totals(&at, &pairs).await.unwrap(), totals);
    assert!(
        reader.ladder_report().rungs[0].values > 0,
        "the operator stated the layout"
    );

    // A wrong statement reads zeros (or locks) everywhere; the sample of plain calls does not agree.
    settings.bulk.balances_slot = Some(4);
    let reader = connect(&settings).await;
    assert_eq!(reader.vault_totals(&at, &pairs).await.unwrap(), totals);
    let rungs = reader.ladder_report().rungs;
    assert!(
        matches!(rungs[0].state, RungState::Distrusted(_))
            && matches!(rungs[1].state, RungState::Distrusted(_))
    );

    settings.bulk.rungs = vec![Rung::StorageReader];
    let reader = connect(&settings).await;
    let error = reader.vault_totals(&at, &pairs).await.unwrap_err();
    assert!(
        matches!(
            error,
            ChainError::CrossCheckFailed {
                rung: Rung::StorageReader,
                ..
            }
        ),
        "{error}"
    );
    let error = reader.vault_totals(&at, &pairs).await.unwrap_err();
    assert!(
        matches!(error, ChainError::LadderExhausted { .. }),
        "never again: {error}"
    );
}

#[tokio::test]
async fn the_seed_profile_reads_its_own_views() {
    let fixture = Fixture::start().await;
    let vault = fixture
        .node
        .deploy(fixture.owner, contracts::seed_vault_deployment().unwrap())
        .await;
    let (user, amount) = (fixture.users[0], alloy_primitives::U256::from(700));
    fixture
        .node
        .call(
            user,
            fixture.usdc,
            &IToken::mintCall {
                to: evm(&user),
                amount,
            },
        )
        .await;
    fixture
        .node
        .call(
            user,
            fixture.usdc,
            &IToken::approveCall {
                spender: evm(&vault),
                amount,
            },
        )
        .await;
    let token = evm(&fixture.usdc);
    fixture
        .node
        .call(user, vault, &ISeedVault::depositCall { token, amount })
        .await;
    let payout = ISeedVault::withdrawCall {
        token,
        amount: alloy_primitives::U256::from(50),
    };
    fixture.node.send(user, Some(vault), encode(&payout), 0).await;
    let multicall_code_hash = fixture.install_multicall().await;
    let pairs = [
        (user, fixture.usdc),
        (fixture.users[1], fixture.usdc),
        (user, fixture.weth),
    ];
    for rung in [Rung::ViewReader, Rung::Multicall3, Rung::Batch, Rung::Single] {
        let mut settings = fixture.settings();
        (settings.vault, settings.settlement, settings.profile) = (vault, None, AbiProfile::Seed);
        settings.bulk.rungs = vec![rung];
        settings.bulk.multicall_code_hash = multicall_code_hash;
        let reader = connect(&settings).await;
        let at = reader.head().await.unwrap();
        let totals = reader.vault_totals(&at, &pairs).await.unwrap();
        assert_eq!(
            totals,
            [BaseUnits::from(650), BaseUnits::ZERO, BaseUnits::ZERO],
            "{rung}"
        );
    }
}

#[tokio::test]
async fn a_million_pairs_take_fewer_than_150_requests() {
    let fixture = Fixture::start().await;
    let mut settings = fixture.settings();
    settings.bulk = eidos_chain::BulkSettings::default();
    let reader = connect(&settings).await;
    let (filled, totals) = fixture.fill(20, 9).await;
    let at = reader.head().await.unwrap();
    let mut pairs: Vec<(Address, Address)> = (0..1_000_000_u64)
        .map(|i| {
            let mut wallet = [0x11; 20];
            wallet[..8].copy_from_slice(&i.to_be_bytes());
            (
                Address::new(wallet),
                if i % 2 == 0 { fixture.usdc } else { fixture.weth },
            )
        })
        .collect();
    pairs.splice(500_000..500_040, filled);
    let before = reader.ladder_report().requests;
    let read = reader.vault_totals(&at, &pairs).await.unwrap();
    let asked = reader.ladder_report().requests;
    assert_eq!(read[500_000..500_040], totals);
    assert!(
        read[..500_000]
            .iter()
            .chain(&read[500_040..])
            .all(|total| total.is_zero())
    );
    let (requests, calls) = (
        asked.http_requests - before.http_requests,
        asked.calls - before.calls,
    );
    assert!(
        requests < 150 && calls < 150,
        "{requests} requests with {calls} calls"
    );
    println!("a million pairs: {requests} requests with {calls} calls");
}
