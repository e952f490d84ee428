//! [`judge`]: how old the blocks of a node are.

use serde_json::Value;

use super::limits::Limits;
use super::observation::Seen;
use super::text::{since, span};
use super::verdict::Verdict;

/// A clock that is behind makes the newest block one of the future; some seconds are normal.
const AHEAD_MS: i64 = 60_000;

/// What a block says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Its number.
    pub number: u64,
    /// When it was made, epoch seconds.
    pub time_s: i64,
}

/// Reads the answer to `eth_getBlockByNumber`; `Ok(None)`: the node has no such block.
///
/// # Errors
/// What the node says instead, or why the answer is none.
pub fn block(answer: &Value) -> Result<Option<Block>, String> {
    if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
        let said = error.get("message").and_then(Value::as_str).unwrap_or("an error");
        return Err(format!("answered: {said}"));
    }
    match answer.get("result") {
        Some(Value::Null) => Ok(None),
        Some(block) => {
            let number = hexadecimal(block.get("number"));
            let time_s = hexadecimal(block.get("timestamp")).and_then(|time| i64::try_from(time).ok());
            match (number, time_s) {
                (Some(number), Some(time_s)) => Ok(Some(Block { number, time_s })),
                _ => Err("answered with a block without number or timestamp".to_owned()),
            }
        }
        None => Err("answered with JSON that is no JSON-RPC".to_owned()),
    }
}

fn hexadecimal(value: Option<&Value>) -> Option<u64> {
    u64::from_str_radix(value?.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// Judges the newest block and the finalized one.
#[must_use]
pub fn judge(
    latest: Option<Block>,
    finalized: Result<Option<Block>, String>,
    now_ms: i64,
    limits: &Limits,
) -> Verdict {
    let mut verdict = Verdict::default();
    let Some(latest) = latest else {
        return Verdict::of(Seen::Failed, "the node has no block: it is syncing");
    };
    let made_ms = latest.time_s.saturating_mul(1000);
    let age = since(now_ms, made_ms);
    verdict.grade(age, &limits.head_age(), || {
        format!("the newest block {} is {} old", latest.number, span(age))
    });
    if made_ms > now_ms.saturating_add(AHEAD_MS) {
        let ahead = span(since(made_ms, now_ms));
        verdict.add(
            Seen::Degraded,
            format!(
                "the newest block {} is {ahead} ahead of the clock of this machine: correct one of them",
                latest.number
            ),
        );
    }
    match finalized {
        Ok(Some(finalized)) => {
            let lag = since(made_ms, finalized.time_s.saturating_mul(1000));
            verdict.grade(lag, &limits.finalized_lag(), || {
                let blocks = latest.number.saturating_sub(finalized.number);
                format!(
                    "the finalized block is {blocks} blocks and {} behind the newest",
                    span(lag)
                )
            });
        }
        Ok(None) => verdict.add(Seen::Degraded, "the node has no finalized block"),
        Err(why) => verdict.add(
            Seen::Degraded,
            format!("the node does not say what is finalized: it {why}"),
        ),
    }
    verdict
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW_MS: i64 = 1_800_000_000_000;

    fn made(ago_s: i64) -> Block {
        Block {
            number: 1_000,
            time_s: NOW_MS / 1000 - ago_s,
        }
    }

    #[test]
    fn ages_are_measured_at_their_limits() {
        let block = |ago_s| Ok(Some(made(ago_s)));
        for (head_age_s, finalized, seen, part) in [
            (60, block(1_860), Seen::Good, ""),
            (61, block(61), Seen::Degraded, "is 1m 1s old"),
            (301, block(301), Seen::Failed, "is 5m 1s old"),
            (0, block(1_801), Seen::Degraded, "30m 1s behind"),
            (0, block(7_201), Seen::Failed, "2h behind"),
            (-61, block(0), Seen::Degraded, "ahead of the clock"),
            (0, Ok(None), Seen::Degraded, "no finalized block"),
            (0, Err("answered: no".to_owned()), Seen::Degraded, "answered: no"),
        ] {
            let verdict = judge(Some(made(head_age_s)), finalized, NOW_MS, &Limits::defaults());
            assert_eq!(verdict.seen(), seen, "{part}: {}", verdict.why());
            assert!(verdict.why().contains(part), "{part}: {}", verdict.why());
        }
        let none = judge(None, Ok(None), NOW_MS, &Limits::defaults());
        assert!(none.seen() == Seen::Failed && none.why().contains("syncing"));
    }

    #[test]
    fn answers_are_read_and_refused_with_what_the_node_said() {
        let good = json!({"result": {"number": "0x10", "timestamp": "0x20"}});
        assert_eq!(
            block(&good),
            Ok(Some(Block {
                number: 16,
                time_s: 32
            }))
        );
        assert_eq!(block(&json!({"result": null})), Ok(None));
        for (answer, part) in [
            (json!({"error": {"message": "unauthorised"}}), "unauthorised"),
            (json!({"result": {"number": 1}}), "without number"),
            (
                json!({"result": {"number": "0xzz", "timestamp": "0x1"}}),
                "without number",
            ),
            (json!([]), "no JSON-RPC"),
        ] {
            assert!(block(&answer).unwrap_err().contains(part), "{answer}");
        }
    }
}
