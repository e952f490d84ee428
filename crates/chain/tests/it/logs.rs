//! The events of a range: all of them, or an error.

use alloy_primitives::U256;
use eidos_chain::contracts::{IToken, IVault, encode, evm};
use eidos_chain::{BlockRef, ChainError, ChainReader, EventBody, EventKind, LogFilter, LogProof, VaultEvent};
use eidos_types::{BaseUnits, Hash32};
use serde_json::{Value, json};

use crate::fixture::{Fixture, connect};
use crate::proxy::{Fault, Proxy};

/// Twelve deposits with empty blocks between them; the block before the first one.
async fn deposits(fixture: &Fixture) -> (u64, Vec<Hash32>) {
    let from = connect(&fixture.settings()).await.head().await.unwrap().number + 1;
    let mut hashes = Vec::new();
    for round in 0..12_u64 {
        hashes.push(fixture.deposit(fixture.users[0], fixture.usdc, round + 1).await);
        fixture.node.mine(round % 3).await;
    }
    (from, hashes)
}

fn only_deposits(proof: LogProof) -> LogFilter {
    LogFilter {
        kinds: Some(vec![EventKind::Deposit]),
        proof,
        keep_unreadable: false,
        about: None,
    }
}

async fn read(reader: &ChainReader, from: u64, proof: LogProof) -> Result<Vec<VaultEvent>, ChainError> {
    let to = reader.head().await.unwrap();
    reader.logs(from, &to, &only_deposits(proof)).await
}

fn hashes_of(events: &[VaultEvent]) -> Vec<Hash32> {
    events.iter().map(|event| event.at.tx_hash).collect()
}

#[tokio::test]
async fn all_events_in_ranges_of_any_size() {
    let fixture = Fixture::start().await;
    let (from, hashes) = deposits(&fixture).await;
    for blocks in [1, 2, 7, 1_000] {
        let mut settings = fixture.settings();
        (settings.logs.start_blocks, settings.logs.max_blocks) = (blocks, blocks);
        let reader = connect(&settings).await;
        for proof in [LogProof::Ranges, LogProof::Blooms] {
            let events = read(&reader, from, proof).await.unwrap();
            assert_eq!(hashes_of(&events), hashes, "{blocks} blocks, {proof:?}");
        }
        let to = reader.head().await.unwrap();
        assert_eq!(
            reader
                .logs(to.number + 1, &to, &LogFilter::default())
                .await
                .unwrap(),
            []
        );
        let one = reader.logs(to.number, &to, &LogFilter::default()).await.unwrap();
        assert!(one.len() <= 1);
    }
}

#[tokio::test]
async fn a_receipt_has_the_events_of_its_transaction() {
    let fixture = Fixture::start().await;
    let (from, hashes) = deposits(&fixture).await;
    let reader = fixture.reader().await;
    let by_range = read(&reader, from, LogProof::Ranges).await.unwrap();
    let unknown = Hash32::new([9; 32]);
    let asked: Vec<Hash32> = hashes.iter().copied().chain([unknown]).collect();
    let found = reader
        .events_of(&asked, &only_deposits(LogProof::Ranges))
        .await
        .unwrap();
    assert_eq!(found.head, reader.head().await.unwrap().number);
    let (known, absent) = found.transactions.split_at(hashes.len());
    assert_eq!(absent, [None]);
    let by_receipt: Vec<VaultEvent> = known
        .iter()
        .flatten()
        .flat_map(|transaction| transaction.events.clone())
        .collect();
    assert_eq!(by_receipt, by_range);
    let withdrawals = LogFilter {
        kinds: Some(vec![EventKind::Withdraw]),
        ..LogFilter::default()
    };
    let found = reader.events_of(&hashes, &withdrawals).await.unwrap();
    assert!(
        found
            .transactions
            .iter()
            .flatten()
            .all(|transaction| transaction.events.is_empty())
    );
}

#[tokio::test]
async fn every_kind_is_decoded() {
    let fixture = Fixture::start().await;
    let from = fixture.reader().await.head().await.unwrap().number + 1;
    let (user, token) = (fixture.users[0], fixture.usdc);
    fixture.deposit(user, token, 100).await;
    let (evm_user, evm_token, order) = (evm(&user), evm(&token), alloy_primitives::B256::repeat_byte(7));
    let lock = IVault::lockFundsCall {
        user: evm_user,
        token: evm_token,
        amount: U256::from(30),
        orderId: order,
    };
    fixture.node.call(fixture.owner, fixture.vault, &lock).await;
    let unlock = IVault::unlockFundsCall {
        user: evm_user,
        token: evm_token,
        amount: U256::from(20),
        orderId: order,
    };
    fixture.node.call(fixture.owner, fixture.vault, &unlock).await;
    fixture
        .node
        .call(
            user,
            fixture.vault,
            &IVault::withdrawCall {
                token: evm_token,
                amount: U256::from(9),
            },
        )
        .await;
    let reader = fixture.reader().await;
    let to = reader.head().await.unwrap();
    let bodies: Vec<EventBody> = reader
        .logs(from, &to, &LogFilter::default())
        .await
        .unwrap()
        .into_iter()
        .map(|event| event.body)
        .collect();
    let order_id = Hash32::new(order.0);
    let units = BaseUnits::from;
    assert_eq!(
        bodies,
        [
            EventBody::Deposit {
                user,
                token,
                amount: units(100)
            },
            EventBody::FundsLocked {
                user,
                token,
                amount: units(30),
                order_id
            },
            EventBody::FundsUnlocked {
                user,
                token,
                amount: units(20),
                order_id
            },
            EventBody::Withdraw {
                user,
                token,
                amount: units(9)
            },
        ]
    );
}

#[tokio::test]
async fn events_of_a_contract_that_is_not_configured_are_refused() {
    let fixture = Fixture::start().await;
    let mut settings = fixture.settings();
    settings.settlement = None;
    let reader = connect(&settings).await;
    let to = reader.head().await.unwrap();
    let trades = LogFilter {
        kinds: Some(vec![EventKind::TradeSettled]),
        ..LogFilter::default()
    };
    let error = reader.logs(0, &to, &trades).await.unwrap_err();
    assert!(
        matches!(error, ChainError::Refused { .. }),
        "asked for, not silently left out: {error}"
    );
}

/// What is done to the logs of an answer.
type Change = fn(&mut Vec<Value>);

/// Does `change` to the logs in the answer, batch or not.
fn with_logs(change: Change) -> impl FnMut(&Value) -> Fault + Send + 'static {
    move |request| {
        let request = request.clone();
        Fault::answer(move |mut answer| {
            let (questions, answers) = match (&request, &mut answer) {
                (Value::Array(questions), Value::Array(answers)) => {
                    (questions.clone(), answers.iter_mut().collect())
                }
                (question, answer) => (vec![question.clone()], vec![answer]),
            };
            for (question, answer) in questions.iter().zip(answers) {
                if question["method"] == "eth_getLogs" {
                    change(answer["result"].as_array_mut().unwrap());
                }
            }
            answer
        })
    }
}

#[tokio::test]
async fn spoiled_logs_are_refused() {
    let fixture = Fixture::start().await;
    let (from, _hashes) = deposits(&fixture).await;
    let proxy = Proxy::before(&fixture.node).await;
    let reader = connect(&fixture.settings_at(&proxy.url)).await;
    let faults: [(&str, Change); 5] = [
        ("one log twice", |logs| logs.extend(logs.first().cloned())),
        ("a removed log", |logs| {
            logs.iter_mut()
                .take(1)
                .for_each(|log| log["removed"] = json!(true));
        }),
        ("a log of another contract", |logs| {
            logs.iter_mut()
                .take(1)
                .for_each(|log| log["address"] = json!(format!("0x{}", "01".repeat(20))));
        }),
        ("a log outside the range", |logs| {
            logs.iter_mut()
                .take(1)
                .for_each(|log| log["blockNumber"] = json!("0x1"));
        }),
        ("a log of a fork", |logs| {
            if let Some(log) = logs.first().cloned() {
                let mut fork = log;
                fork["blockHash"] = json!(Hash32::new([0xee; 32]));
                fork["logIndex"] = json!("0x63");
                logs.push(fork);
            }
        }),
    ];
    for (fault, change) in faults {
        proxy.misbehave(with_logs(change));
        let error = read(&reader, from, LogProof::Ranges).await.unwrap_err();
        assert!(
            matches!(error, ChainError::LogsIncomplete { .. }),
            "{fault}: {error}"
        );
    }
}

#[tokio::test]
async fn withheld_logs_are_found_by_the_blooms() {
    let fixture = Fixture::start().await;
    let (from, _hashes) = deposits(&fixture).await;
    let proxy = Proxy::before(&fixture.node).await;
    let reader = connect(&fixture.settings_at(&proxy.url)).await;
    proxy.misbehave(with_logs(|logs| {
        logs.pop();
    }));
    let error = read(&reader, from, LogProof::Blooms).await.unwrap_err();
    assert!(
        matches!(&error, ChainError::LogsIncomplete { detail, .. } if detail.contains("receipts")),
        "{error}"
    );
    // A node without eth_getBlockReceipts: asked again by block hash, where it does not withhold.
    let mut withhold = with_logs(|logs| {
        logs.pop();
    });
    proxy.misbehave(move |request| match request["method"].as_str() {
        Some("eth_getBlockReceipts") => Fault::error(request, -32_601, "method not found"),
        Some("eth_getLogs") => Fault::None,
        _ => withhold(request),
    });
    let error = read(&reader, from, LogProof::Blooms).await.unwrap_err();
    assert!(
        matches!(&error, ChainError::LogsIncomplete { detail, .. } if detail.contains("by its hash")),
        "{error}"
    );
}

#[tokio::test]
async fn a_node_that_has_not_seen_the_blocks_proves_nothing() {
    let fixture = Fixture::start().await;
    let (from, _hashes) = deposits(&fixture).await;
    let proxy = Proxy::before(&fixture.node).await;
    let reader = connect(&fixture.settings_at(&proxy.url)).await;
    let to = reader.head().await.unwrap();
    // Behind the balancer another node answers the batch: no logs, no error, and no such block.
    proxy.misbehave(|request| {
        let Value::Array(questions) = request else {
            return Fault::None;
        };
        let answers: Vec<Value> = questions
            .iter()
            .map(|question| {
                let result = if question["method"] == "eth_getLogs" {
                    json!([])
                } else {
                    json!(null)
                };
                json!({"jsonrpc": "2.0", "id": question["id"], "result": result})
            })
            .collect();
        Fault::Body(Value::Array(answers).to_string())
    });
    let error = reader
        .logs(from, &to, &only_deposits(LogProof::Ranges))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ChainError::LogsIncomplete { detail, .. } if detail.contains("does not have block")),
        "{error}"
    );
}

#[tokio::test]
async fn ranges_of_two_chains_do_not_join() {
    let fixture = Fixture::start().await;
    let (from, _hashes) = deposits(&fixture).await;
    let proxy = Proxy::before(&fixture.node).await;
    let mut settings = fixture.settings_at(&proxy.url);
    (settings.logs.start_blocks, settings.logs.max_blocks) = (5, 5);
    let reader = connect(&settings).await;
    proxy.misbehave(|request| {
        if !request.is_array() {
            return Fault::None;
        }
        Fault::answer(|mut answer| {
            // The first header of every range claims another parent.
            answer[0]["result"]["parentHash"] = json!(Hash32::new([0xee; 32]));
            answer
        })
    });
    let error = read(&reader, from, LogProof::Ranges).await.unwrap_err();
    assert!(
        matches!(&error, ChainError::LogsIncomplete { detail, .. } if detail.contains("does not follow")),
        "{error}"
    );
}

#[tokio::test]
async fn a_pinned_end_that_was_reorganised_is_an_error() {
    let fixture = Fixture::start().await;
    let (from, _hashes) = deposits(&fixture).await;
    let reader = fixture.reader().await;
    fixture.node.mine(2).await;
    let to = reader.head().await.unwrap();
    fixture.node.rpc("anvil_reorg", json!([1, []])).await;
    let error = reader.logs(from, &to, &LogFilter::default()).await.unwrap_err();
    assert!(matches!(error, ChainError::Reorged { .. }), "{error}");
    let invented = BlockRef {
        hash: Hash32::new([1; 32]),
        ..reader.head().await.unwrap()
    };
    assert!(reader.logs(from, &invented, &LogFilter::default()).await.is_err());
}

#[tokio::test]
async fn ranges_adapt_to_what_the_node_accepts() {
    let fixture = Fixture::start().await;
    let (from, hashes) = deposits(&fixture).await;
    let proxy = Proxy::before(&fixture.node).await;
    let number = |value: &Value| u64::from_str_radix(&value.as_str().unwrap()[2..], 16).unwrap();
    for suggest in [true, false] {
        let reader = connect(&fixture.settings_at(&proxy.url)).await;
        proxy.misbehave(move |request| {
            let Value::Array(questions) = request else { return Fault::None };
            if questions[1]["method"] != "eth_getLogs" {
                return Fault::None;
            }
            let filter = &questions[1]["params"][0];
            let (first, last) = (number(&filter["fromBlock"]), number(&filter["toBlock"]));
            if last - first < 3 {
                return Fault::None;
            }
            let words = if suggest {
                format!("query returned more than 10 results. Try with this block range [{first:#x}, {:#x}].", first + 2)
            } else {
                "block range is too wide".to_owned()
            };
            Fault::answer(move |mut answer| {
                answer[1] = json!({"jsonrpc": "2.0", "id": answer[1]["id"], "error": {"code": -32_602, "message": words}});
                answer
            })
        });
        assert_eq!(
            hashes_of(&read(&reader, from, LogProof::Ranges).await.unwrap()),
            hashes,
            "{suggest}"
        );
    }
    let reader = connect(&fixture.settings_at(&proxy.url)).await;
    proxy.misbehave(|request| {
        if !request.is_array() {
            return Fault::None;
        }
        Fault::answer(|mut answer| {
            let error = json!({"code": -32_602, "message": "block range is too wide"});
            answer[1] = json!({"jsonrpc": "2.0", "id": answer[1]["id"], "error": error});
            answer
        })
    });
    let error = read(&reader, from, LogProof::Ranges).await.unwrap_err();
    assert!(
        matches!(&error, ChainError::LogsIncomplete { detail, .. } if detail.contains("one block")),
        "{error}"
    );
}

/// Two deposits in one block; their transactions.
async fn two_in_one_block(fixture: &Fixture) -> [Hash32; 2] {
    let users = [fixture.users[0], fixture.users[1]];
    for user in users {
        // Leaves an approval and tokens behind that are as large as the deposit below.
        for call in [
            encode(&IToken::mintCall {
                to: evm(&user),
                amount: U256::from(7),
            }),
            encode(&IToken::approveCall {
                spender: evm(&fixture.vault),
                amount: U256::from(7),
            }),
        ] {
            fixture.node.send(user, Some(fixture.usdc), call, 0).await;
        }
    }
    fixture.node.rpc("evm_setAutomine", json!([false])).await;
    let mut hashes = Vec::new();
    for user in users {
        let data = encode(&IVault::depositCall {
            token: evm(&fixture.usdc),
            amount: U256::from(7),
        });
        let tx = json!([{"from": user, "to": fixture.vault, "data": data, "gas": "0x4c4b40"}]);
        let hash = fixture.node.rpc("eth_sendTransaction", tx).await;
        hashes.push(serde_json::from_value(hash).unwrap());
    }
    fixture.node.mine(1).await;
    fixture.node.rpc("evm_setAutomine", json!([true])).await;
    hashes.try_into().unwrap()
}

/// Changes the logs of every answer to `eth_getLogs`.
fn in_logs(change: fn(&mut Vec<Value>)) -> impl FnMut(&Value) -> Fault + Send {
    move |request| {
        if !request.to_string().contains("eth_getLogs") {
            return Fault::None;
        }
        Fault::answer(move |mut answer| {
            let logs = if answer.is_array() {
                &mut answer[1]["result"]
            } else {
                &mut answer["result"]
            };
            change(logs.as_array_mut().unwrap());
            answer
        })
    }
}

#[tokio::test]
async fn logs_that_are_numbered_in_each_transaction_get_their_position_there() {
    let fixture = Fixture::start().await;
    let from = fixture.reader().await.head().await.unwrap().number + 1;
    let hashes = two_in_one_block(&fixture).await;
    let proxy = Proxy::before(&fixture.node).await;
    let reader = connect(&fixture.settings_at(&proxy.url)).await;
    // Inside a range, and in the last block of all, which is asked for by its hash.
    for blocks_above in [0, 3] {
        fixture.node.mine(blocks_above).await;
        proxy.behave();
        let plain = read(&reader, from, LogProof::Ranges).await.unwrap();
        proxy.misbehave(in_logs(|logs| {
            for log in logs {
                log["logIndex"] = json!("0x0");
            }
        }));
        let events = read(&reader, from, LogProof::Ranges).await.unwrap();
        assert_eq!(hashes_of(&events), hashes);
        assert_eq!(
            events.iter().map(|event| event.body).collect::<Vec<_>>(),
            plain.iter().map(|event| event.body).collect::<Vec<_>>()
        );
        // The token's Transfer is the first log of a deposit, the Vault's Deposit the second.
        assert_eq!(
            events.iter().map(|event| event.at.log_index).collect::<Vec<_>>(),
            [1, 1]
        );
    }
    // A log that is answered twice is still no second event.
    proxy.misbehave(in_logs(|logs| logs.extend(logs.clone())));
    let error = read(&reader, from, LogProof::Ranges).await.unwrap_err();
    assert!(matches!(error, ChainError::LogsIncomplete { .. }), "{error}");
    assert!(error.to_string().contains("its receipt has 1"), "{error}");
}
