//! Blocks hang together, or they are no chain.

use eidos_chain::ChainError;
use eidos_testkit::{RpcFault, RpcProxy};
use serde_json::{Value, json};

use crate::fixture::{Fixture, connect};

#[tokio::test]
async fn blocks_name_their_parents_and_one_that_does_not_is_a_reorganisation() {
    let fixture = Fixture::start().await;
    fixture.node.mine(12).await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let reader = connect(&fixture.settings_at(&proxy.url)).await;
    let head = reader.head().await.unwrap();
    let from = head.number - 9;
    let links = reader.ancestry(from, &head).await.unwrap();
    assert_eq!(
        (links.len(), links[0].block.number, links[9].block),
        (10, from, head)
    );
    assert!(links.windows(2).all(|pair| pair[1].parent == pair[0].block.hash));
    assert_eq!(reader.ancestry(head.number + 1, &head).await.unwrap(), []);
    let blocks = reader.blocks([head.number, from]).await.unwrap();
    assert_eq!(blocks, [head, links[0].block]);

    let middle = json!(format!("{:#x}", from + 4));
    let lie = middle.clone();
    proxy.misbehave(move |request| {
        let lie = lie.clone();
        RpcFault::each_answer(request, move |_question, answer| {
            if answer["result"]["number"] == lie {
                answer["result"]["hash"] = json!(format!("0x{}", "ab".repeat(32)));
            }
        })
    });
    let error = reader.ancestry(from, &head).await.unwrap_err();
    let number = from + 4;
    assert!(
        matches!(error, ChainError::Reorged { number: at, .. } if at == number),
        "{error}"
    );

    proxy.misbehave(move |request| {
        let middle = middle.clone();
        RpcFault::each_answer(request, move |_question, answer| {
            if answer["result"]["number"] == middle {
                answer["result"] = Value::Null;
            }
        })
    });
    for error in [
        reader.ancestry(from, &head).await.unwrap_err(),
        reader.blocks([number]).await.unwrap_err(),
    ] {
        assert!(matches!(error, ChainError::StateUnavailable { .. }), "{error}");
    }
}
