//! The EVM node: mining, state, restart.

use eidos_sandbox::{Anvil, AnvilOptions, Mining, ScratchDir};

async fn height(node: &Anvil) -> u64 {
    let answer = node.request("eth_blockNumber", "[]").await.unwrap();
    let hex = answer
        .split("\"0x")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or_default();
    u64::from_str_radix(hex, 16).unwrap_or_else(|_wrong| panic!("no height in {answer}"))
}

#[tokio::test]
async fn it_mines_on_request_and_finalizes_close_to_the_head() {
    let options = AnvilOptions {
        mining: Mining::OnRequest,
        chain_id: 4242,
        accounts: 3,
        ..AnvilOptions::default()
    };
    let node = Anvil::start(options).await.unwrap();
    assert!(
        node.request("eth_chainId", "[]")
            .await
            .unwrap()
            .contains("0x1092")
    );
    assert_eq!(height(&node).await, 0);
    node.request("anvil_mine", "[\"0x5\"]").await.unwrap();
    assert_eq!(height(&node).await, 5);
    let finalized = node
        .request("eth_getBlockByNumber", "[\"finalized\",false]")
        .await
        .unwrap();
    assert!(finalized.contains("\"number\":\"0x3\""), "{finalized}");
    let accounts = node.request("eth_accounts", "[]").await.unwrap();
    assert_eq!(accounts.matches("0x").count(), 3, "{accounts}");
}

#[tokio::test]
async fn its_state_survives_a_restart_and_past_blocks_stay_readable() {
    let scratch = ScratchDir::create("test").unwrap();
    let options = AnvilOptions {
        state: Some(scratch.path().join("state.json")),
        ..AnvilOptions::default()
    };
    let node = Anvil::start(options).await.unwrap();
    let url = node.url();
    let account = "0x00000000000000000000000000000000000000aa";
    node.request("anvil_mine", "[\"0x2\"]").await.unwrap();
    node.request("anvil_setBalance", &format!("[\"{account}\",\"0x77\"]"))
        .await
        .unwrap();
    node.request("anvil_mine", "[\"0x3\"]").await.unwrap();
    node.restart().await.unwrap();
    assert_eq!(node.url(), url);
    assert_eq!(height(&node).await, 5);
    let now = node
        .request("eth_getBalance", &format!("[\"{account}\",\"latest\"]"))
        .await
        .unwrap();
    assert!(now.contains("0x77"), "{now}");
    let before = node
        .request("eth_getBalance", &format!("[\"{account}\",\"0x1\"]"))
        .await
        .unwrap();
    assert!(before.contains("\"0x0\""), "{before}");
}

#[tokio::test]
async fn without_state_a_killed_node_begins_anew() {
    let node = Anvil::start(AnvilOptions::default()).await.unwrap();
    node.request("anvil_mine", "[\"0x2\"]").await.unwrap();
    node.kill().await.unwrap();
    assert!(node.request("eth_blockNumber", "[]").await.is_err());
    node.start_again().await.unwrap();
    assert_eq!(height(&node).await, 0);
}
