//! What a reader refuses to start with: each refusal names setting, value and fix.

use eidos_chain::{AbiProfile, Addressing, ChainError, ChainReader, ChainSettings, Finality, RungState};
use eidos_types::Address;
use serde_json::json;

use crate::fixture::{Fixture, connect};
use eidos_testkit::{RpcFault, RpcProxy};

async fn refusal(settings: &ChainSettings) -> (String, String) {
    match ChainReader::connect(settings).await.unwrap_err() {
        error @ ChainError::Refused { .. } => {
            let words = error.to_string();
            let ChainError::Refused { setting, .. } = error else {
                unreachable!()
            };
            (setting, words)
        }
        other => panic!("not a refusal: {other}"),
    }
}

#[tokio::test]
async fn an_honest_world_is_accepted() {
    let fixture = Fixture::start().await;
    let reader = fixture.reader().await;
    let report = reader.ladder_report();
    assert_eq!(report.addressing, Addressing::Hash);
    assert_eq!(
        report.rungs[0].state,
        RungState::Ready,
        "our own Vault's layout is known"
    );
    assert!(
        matches!(report.rungs[3].state, RungState::Unavailable(_)),
        "a fresh node has no Multicall3"
    );
    assert_eq!(reader.decimals(&fixture.usdc), Some(6));
    assert_eq!(
        reader.decimals(&Address::new([9; 20])),
        None,
        "unknown decimals are not assumed"
    );
    assert_eq!(reader.fee_recipient(), Some(fixture.fees));
}

#[tokio::test]
async fn each_wrong_setting_is_refused_by_name() {
    let fixture = Fixture::start().await;
    let changed = |change: &dyn Fn(&mut ChainSettings)| {
        let mut settings = fixture.settings();
        change(&mut settings);
        settings
    };
    let cases: Vec<(ChainSettings, &str, &str)> = vec![
        (changed(&|s| s.chain_id = 1), "chain_id", "is on chain 31337"),
        (
            changed(&|s| s.vault = Address::new([9; 20])),
            "vault",
            "no contract",
        ),
        (
            changed(&|s| s.profile = AbiProfile::Seed),
            "profile",
            "no view balanceOf",
        ),
        (
            changed(&|s| s.vault = s.tokens[0].address),
            "profile",
            "no view getTotalBalance",
        ),
        (
            changed(&|s| s.settlement = Some(fixture.usdc)),
            "settlement",
            "isBatchSettled",
        ),
        (
            changed(&|s| s.fee_recipient = Some(Address::new([1; 20]))),
            "fee_recipient",
            "pays fees to 0xfefe",
        ),
        (
            changed(&|s| s.tokens[0].decimals = 18),
            "tokens.0.decimals",
            "has 6",
        ),
        (
            changed(&|s| s.tokens[1].address = fixture.vault),
            "tokens.1.address",
            "decimals()",
        ),
        (
            changed(&|s| s.tokens[1].address = Address::new([9; 20])),
            "tokens.1.address",
            "no contract",
        ),
        (
            changed(&|s| s.tokens[2].decimals = 6),
            "tokens.2.decimals",
            "native coin",
        ),
        (
            changed(&|s| s.rpc.parallel_requests = 0),
            "rpc.parallel_requests",
            "1 to 256",
        ),
    ];
    for (settings, setting, words) in cases {
        let (named, said) = refusal(&settings).await;
        assert_eq!(named, setting, "{said}");
        assert!(said.contains(words), "{said}");
    }
}

#[tokio::test]
async fn a_node_without_finality_is_refused_with_the_fix() {
    let fixture = Fixture::start().await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    proxy.misbehave(|request| {
        if !request.to_string().contains("finalized") {
            return RpcFault::None;
        }
        RpcFault::answer(|mut answers| {
            answers[1]["result"] = json!(null);
            answers
        })
    });
    let mut settings = fixture.settings_at(&proxy.url);
    settings.finality = Finality::Finalized;
    let (setting, words) = refusal(&settings).await;
    assert_eq!(setting, "finality");
    assert!(words.contains("depth"), "{words}");
}

#[tokio::test]
async fn a_node_that_ignores_block_hashes_is_noticed() {
    let fixture = Fixture::start().await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    // It reads every hash as "latest".
    proxy.misbehave(|request| match request["params"].as_array() {
        Some(params)
            if params
                .get(1)
                .is_some_and(|block| block.get("blockHash").is_some()) =>
        {
            let mut request = request.clone();
            request["params"][1] = json!("latest");
            RpcFault::Ask(request)
        }
        _ => RpcFault::None,
    });
    let reader = connect(&fixture.settings_at(&proxy.url)).await;
    assert_eq!(reader.ladder_report().addressing, Addressing::Number);
    proxy.behave();
    let (pairs, totals) = fixture.fill(10, 1).await;
    let at = reader.head().await.unwrap();
    assert_eq!(reader.vault_totals(&at, &pairs).await.unwrap(), totals);
}

#[tokio::test]
async fn errors_do_not_carry_the_credentials_of_the_url() {
    let fixture = Fixture::start().await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let settings = fixture.settings_at(&proxy.url);
    for status in [401, 404, 429, 503] {
        proxy.misbehave(move |_request| RpcFault::Status(status));
        let error = ChainReader::connect(&settings).await.unwrap_err();
        let words = format!(
            "{error} {error:?} {settings:?} {}",
            serde_json::to_string(&settings).unwrap()
        );
        assert!(!words.contains("secret"), "{words}");
        assert_eq!(error.is_retryable(), status >= 429, "{error}");
    }
    drop(proxy);
    let no_node = ChainSettings::new("http://user:secret@127.0.0.1:1/secret", 1, fixture.vault);
    let error = ChainReader::connect(&no_node).await.unwrap_err();
    assert!(
        error.is_retryable() && !format!("{error} {error:?}").contains("secret"),
        "{error:?}"
    );
    assert!(error.to_string().contains("http://127.0.0.1:1"), "{error}");
}
