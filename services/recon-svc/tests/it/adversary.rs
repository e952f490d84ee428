//! A whole run through a node that lies, lags, mixes up and breaks down. Each case names its verdict: the run ends with the
//! breaks that there are, or it fails and says why. It never reports a break that is none, and never calls clean what is not;
//! and whatever it left behind, the next honest run finds everything.

use std::collections::BTreeSet;
use std::time::Duration;

use eidos_devnet::{Fault, MovementFault, Trap};
use eidos_testkit::{Anvil, AnvilOptions, RpcFault, RpcProxy, TestDb, asks_for, calls_of, rpc_error};
use serde_json::{Value, json};

use crate::fixture::Fixture;

/// How a run ends.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    /// With the breaks that there are.
    Right,
    /// It fails, and its log has these words.
    Fails(&'static str),
}

type Script = Box<dyn FnMut(&Value, u64) -> RpcFault + Send>;

/// What a node does to the requests of a run.
struct Case {
    name: &'static str,
    verdict: Verdict,
    /// What is done to a request; the number counts those of the run, from its first `eth_getLogs` on.
    script: Script,
}

fn case(
    name: &'static str,
    verdict: Verdict,
    script: impl FnMut(&Value, u64) -> RpcFault + Send + 'static,
) -> Case {
    Case {
        name,
        verdict,
        script: Box::new(script),
    }
}

/// Quick to give up: a case that fails must not take minutes.
const IMPATIENT: [(&str, &str); 6] = [
    ("JOBS__RECONCILIATION__RETRY__MAX_ATTEMPTS", "1"),
    ("RECONCILIATION__REPIN_ATTEMPTS", "2"),
    ("RECONCILIATION__RECHECK_ATTEMPTS", "2"),
    ("CHAIN__RPC__REQUEST_TIMEOUT", "2s"),
    ("CHAIN__RPC__RATE_LIMIT_BUDGET", "3s"),
    ("CHAIN__RPC__RETRY_MAX", "200ms"),
];
/// As geth says it.
const STATE_IS_GONE: &str = "missing trie node 0xab (path ) state is not available";
const WITHIN: Duration = Duration::from_secs(90);

/// What the logs of a request's answers become.
fn logs_become(request: &Value, change: fn(&mut Vec<Value>)) -> RpcFault {
    if !asks_for(request, "eth_getLogs") {
        return RpcFault::None;
    }
    RpcFault::each_answer(request, move |question, answer| {
        if question["method"] == "eth_getLogs"
            && let Some(logs) = answer["result"].as_array_mut()
        {
            change(logs);
        }
    })
}

/// What a batch's answers become.
fn batches_become(request: &Value, change: fn(&mut Vec<Value>)) -> RpcFault {
    if !request.is_array() {
        return RpcFault::None;
    }
    RpcFault::answer(move |mut answer| {
        if let Some(answers) = answer.as_array_mut() {
            change(answers);
        }
        answer
    })
}

fn quantity(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// A node whose newest block is `head`: it has heard of nothing above it.
fn ends_at(request: &Value, head: u64) -> RpcFault {
    let mut request = request.clone();
    let cut = |call: &mut Value| {
        if call["method"] == "eth_getBlockByNumber" && quantity(&call["params"][0]).is_none() {
            call["params"][0] = json!(format!("{head:#x}"));
        }
    };
    match &mut request {
        Value::Array(calls) => calls.iter_mut().for_each(cut),
        one => cut(one),
    }
    RpcFault::each_answer(&request, move |question, answer| {
        forget_above(question, answer, head);
    })
}

fn forget_above(question: &Value, answer: &mut Value, head: u64) {
    let above = |value: &Value| quantity(value).is_some_and(|number| number > head);
    let result = &answer["result"];
    if question["method"] == "eth_blockNumber" {
        answer["result"] = json!(format!("{head:#x}"));
    } else if above(&result["number"]) || above(&result["blockNumber"]) {
        answer["result"] = Value::Null;
    }
}

/// Refuses what needs the state of a block.
fn without_state(request: &Value) -> RpcFault {
    let wants_state = [
        "eth_call",
        "eth_getStorageAt",
        "eth_getStorageValues",
        "eth_getProof",
        "eth_getBalance",
    ];
    let calls = calls_of(request);
    if !calls
        .iter()
        .any(|call| wants_state.iter().any(|method| call["method"] == *method))
    {
        return RpcFault::None;
    }
    let refuse = |call: &Value| rpc_error(call, -32_000, STATE_IS_GONE);
    RpcFault::Body(if request.is_array() {
        Value::Array(calls.iter().map(refuse).collect()).to_string()
    } else {
        refuse(request).to_string()
    })
}

/// Answers that leave out, repeat or mix up.
fn wrong_answers() -> Vec<Case> {
    use Verdict::{Fails, Right};
    vec![
        case("an honest node", Right, |_request, _| RpcFault::None),
        case(
            "empty logs",
            Fails("logs that eth_getLogs left out"),
            |request, _| logs_become(request, Vec::clear),
        ),
        case(
            "empty logs, once",
            Fails("when each header was asked"),
            |request, nr| {
                if nr == 0 {
                    logs_become(request, Vec::clear)
                } else {
                    RpcFault::None
                }
            },
        ),
        case(
            "one log of each answer is missing",
            Fails("not proven complete"),
            |request, _| logs_become(request, |logs| drop(logs.pop())),
        ),
        case("each log twice", Fails("not proven complete"), |request, _| {
            logs_become(request, |logs| logs.extend_from_within(..))
        }),
        case("truncated batches", Fails("impossible answer"), |request, _| {
            batches_become(request, |answers| drop(answers.pop()))
        }),
        case("reordered ids", Right, |request, _| {
            batches_become(request, |answers| answers.reverse())
        }),
        case("no JSON", Fails("impossible answer"), |_request, _| {
            RpcFault::Body("<html>Bad gateway</html>".to_owned())
        }),
    ]
}

/// Nodes that are slow, busy or out of order.
fn outages() -> Vec<Case> {
    use Verdict::{Fails, Right};
    vec![
        case("429 now and then", Right, |_request, nr| {
            if nr % 5 == 1 {
                RpcFault::Status(429)
            } else {
                RpcFault::None
            }
        }),
        case("429 for ever", Fails("did not answer"), |_request, _| {
            RpcFault::Status(429)
        }),
        case("5xx now and then", Right, |_request, nr| {
            if nr % 3 == 1 {
                RpcFault::Status(503)
            } else {
                RpcFault::None
            }
        }),
        case("5xx for ever", Fails("did not answer"), |_request, _| {
            RpcFault::Status(502)
        }),
        case("slow", Right, |_request, _| {
            RpcFault::Late(Duration::from_millis(150))
        }),
        case("too slow", Fails("no complete answer within"), |request, _| {
            if asks_for(request, "eth_getLogs") {
                RpcFault::Late(Duration::from_secs(20))
            } else {
                RpcFault::None
            }
        }),
    ]
}

/// Nodes with another chain, or less of it, than the one the run began with.
fn other_chains(lagging_head: u64, other_chain: String, fork: String) -> Vec<Case> {
    use Verdict::{Fails, Right};
    vec![
        case("a stale node", Fails("does not have block"), move |request, _| {
            ends_at(request, lagging_head)
        }),
        case("a forked node", Fails("reorganised"), move |_request, _| {
            RpcFault::Elsewhere(fork.clone())
        }),
        case(
            "another chain in the middle of the run",
            Fails("is on chain 4242"),
            move |_request, nr| {
                if nr > 2 {
                    RpcFault::Elsewhere(other_chain.clone())
                } else {
                    RpcFault::None
                }
            },
        ),
        case("pruned state", Fails("no state for block"), |request, _| {
            without_state(request)
        }),
        case("pruned state, once", Right, |request, nr| {
            if nr < 6 {
                without_state(request)
            } else {
                RpcFault::None
            }
        }),
    ]
}

/// Runs one case on a jobs database of its own, and an honest run after it.
async fn judge(fixture: &Fixture, proxy: &RpcProxy, mut case: Case, all: &[String]) -> Result<(), String> {
    let jobs = TestDb::migrated().await;
    let jobs_url = jobs.url();
    let mut settings = IMPATIENT.to_vec();
    settings.push(("DATABASES__JOBS__URL", jobs_url.as_str()));
    settings.push(("CHAIN__RPC_URL", proxy.url.as_str()));
    let (mut is_running, mut nr) = (false, 0);
    proxy.misbehave(move |request| {
        is_running |= asks_for(request, "eth_getLogs");
        if !is_running {
            return RpcFault::None;
        }
        nr += 1;
        (case.script)(request, nr - 1)
    });
    let (status, child) = fixture.command(&["--full"], &settings).run(WITHIN).await;
    proxy.behave();
    let said = format!("{}\n{}", child.stdout(), child.stderr());
    let known: BTreeSet<&String> = all.iter().collect();
    let open = Fixture::every_open_break(jobs.pool()).await;
    let invented: Vec<&String> = open.iter().filter(|found| !known.contains(found)).collect();
    if !invented.is_empty() {
        return Err(format!("false breaks: {invented:#?}\n{said}"));
    }
    match case.verdict {
        Verdict::Right if !status.success() => return Err(format!("{status}\n{said}")),
        Verdict::Right if open != all => {
            return Err(format!("missed: {open:#?}, there are {all:#?}\n{said}"));
        }
        Verdict::Fails(words) if status.success() || !said.contains(words) => {
            return Err(format!("{status}, without '{words}'\n{said}"));
        }
        Verdict::Right | Verdict::Fails(_) => {}
    }
    let (status, child) = fixture.command(&[], &settings).run(WITHIN).await;
    if !status.success() {
        let (said, log) = (child.stdout(), child.stderr());
        return Err(format!("the honest run after it: {status}\n{said}\n{log}"));
    }
    let open = Fixture::every_open_break(jobs.pool()).await;
    if open == all {
        Ok(())
    } else {
        Err(format!(
            "the honest run after it found {open:#?}, there are {all:#?}"
        ))
    }
}

#[tokio::test]
async fn a_run_through_a_hostile_node_ends_with_the_verdict_of_its_case() {
    let faults = [
        Fault::MissingCredit,
        Fault::WrongWallet,
        Fault::MissingInBooks,
        Fault::ManualEdit,
    ];
    let movements = [
        MovementFault::NoRow,
        MovementFault::NoEvent,
        MovementFault::PaidWithoutRow,
    ];
    let fixture = Fixture::with_movements(&faults, &movements, &[Trap::InFlightWithdrawal]).await;
    let all = fixture.as_a_first_run_finds_it(&[]).await;
    assert!(all.len() > 6, "{all:#?}");
    let head = fixture.world.node().block(None).await.unwrap().number;
    let other_chain = Anvil::start(AnvilOptions {
        chain_id: 4_242,
        ..AnvilOptions::default()
    })
    .await
    .unwrap();
    let fork = forked(&fixture, head - 12).await;
    let proxy = RpcProxy::before(&fixture.node_url()).await;
    let mut problems = Vec::new();
    let cases = [
        wrong_answers(),
        outages(),
        other_chains(head - 10, other_chain.url(), fork.url()),
    ];
    for case in cases.into_iter().flatten() {
        let name = case.name;
        if let Err(problem) = judge(&fixture, &proxy, case, &all).await {
            problems.push(format!("== {name}: {problem}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Another node of the same chain that left it at `block` and is longer.
async fn forked(fixture: &Fixture, block: u64) -> Anvil {
    let args = [
        "--fork-url",
        &fixture.node_url(),
        "--fork-block-number",
        &block.to_string(),
    ]
    .map(Into::into);
    let fork = Anvil::start(AnvilOptions {
        args: args.into(),
        ..AnvilOptions::default()
    })
    .await
    .unwrap();
    fork.request("anvil_mine", r#"["0x28", "0x3"]"#).await.unwrap();
    fork
}
