//! What the node is like for an hour.

use std::time::Duration;

use eidos_testkit::{RpcFault, RpcProxy, asks_for};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;

/// How the node behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weather {
    Honest,
    /// Some requests get 429.
    TooManyRequests,
    /// Some requests get 503.
    Unavailable,
    /// Some answers about logs are empty.
    EmptyLogs,
    /// Some answers lack their last log.
    LostLogs,
    /// The answers of a batch are in another order.
    Reordered,
    /// Some batches lack an answer.
    ShortBatches,
    /// Some answers take their time.
    Slow,
}

impl Weather {
    const BAD: [Self; 7] = [
        Self::TooManyRequests,
        Self::Unavailable,
        Self::EmptyLogs,
        Self::LostLogs,
        Self::Reordered,
        Self::ShortBatches,
        Self::Slow,
    ];

    /// The name in reports.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Honest => "honest",
            Self::TooManyRequests => "429",
            Self::Unavailable => "503",
            Self::EmptyLogs => "empty logs",
            Self::LostLogs => "logs left out",
            Self::Reordered => "reordered batches",
            Self::ShortBatches => "short batches",
            Self::Slow => "slow",
        }
    }

    /// Honest in five of six hours.
    pub(crate) fn draw(rng: &mut StdRng) -> Self {
        if rng.random_ratio(5, 6) {
            return Self::Honest;
        }
        Self::BAD
            .get(rng.random_range(0..Self::BAD.len()))
            .copied()
            .unwrap_or(Self::Honest)
    }

    /// From now on the node is like that.
    pub(crate) fn begin(self, node: &RpcProxy, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        node.misbehave(move |request| self.happens(request, &mut rng));
    }

    fn happens(self, request: &Value, rng: &mut StdRng) -> RpcFault {
        let (is_hit, is_of_logs) = (rng.random_ratio(1, 8), asks_for(request, "eth_getLogs"));
        match self {
            Self::TooManyRequests if is_hit => {
                RpcFault::Reply(429, vec![("retry-after", "0")], String::new())
            }
            Self::Unavailable if is_hit => RpcFault::Status(503),
            Self::EmptyLogs if is_of_logs && rng.random_ratio(1, 2) => logs(request, Vec::clear),
            Self::LostLogs if is_of_logs && rng.random_ratio(1, 2) => logs(request, |logs| {
                logs.pop();
            }),
            Self::Reordered => batch(|answers| answers.reverse()),
            Self::ShortBatches if is_hit => batch(|answers| {
                answers.pop();
            }),
            Self::Slow if is_hit => RpcFault::Late(Duration::from_millis(200)),
            _ => RpcFault::None,
        }
    }
}

fn logs(request: &Value, change: fn(&mut Vec<Value>)) -> RpcFault {
    RpcFault::each_answer(request, move |question, answer| {
        if question["method"] == "eth_getLogs"
            && let Some(logs) = answer["result"].as_array_mut()
        {
            change(logs);
        }
    })
}

fn batch(change: fn(&mut Vec<Value>)) -> RpcFault {
    RpcFault::answer(move |mut answer| {
        if let Some(answers) = answer.as_array_mut() {
            change(answers);
        }
        answer
    })
}
