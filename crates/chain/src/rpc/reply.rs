//! What a reply says, whatever its HTTP status: providers put the words that matter into the bodies of 400, 402, 408,
//! 429 and 500 as well.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::transport::Reply;
use super::{Answer, NodeError, NodeErrorKind, RpcError, answers};

/// Bodies may be whole pages.
const MAX_WORDS_CHARS: usize = 200;

/// Reads the answers to the questions `first_id..first_id + count` out of a reply.
///
/// A status other than success makes an answer without an error worthless; its error, or its text, is the refusal.
pub(super) fn read<T: DeserializeOwned>(
    reply: &Reply,
    first_id: u64,
    count: usize,
) -> Result<Vec<Answer<T>>, RpcError> {
    let answers = answers::match_answers::<T>(&reply.body, first_id, count);
    if reply.is_success() {
        return match answers {
            Err(RpcError::Malformed(detail)) => match json_refusal(&reply.body, true) {
                Some(error) => Err(RpcError::Node(error)),
                None => Err(RpcError::Malformed(detail)),
            },
            other => other,
        };
    }
    match answers {
        Ok(mut answers) if count == 1 => match answers.pop() {
            Some(Err(error)) => Err(refused(reply, error)),
            _ => Err(http(reply, String::new())),
        },
        Ok(answers) if answers.iter().any(Result::is_err) => Ok(answers),
        Err(RpcError::Node(error)) => Err(refused(reply, error)),
        _ => Err(match json_refusal(&reply.body, false) {
            Some(error) => refused(reply, error),
            None => text_refusal(reply),
        }),
    }
}

fn http(reply: &Reply, words: String) -> RpcError {
    RpcError::Http {
        status: reply.status,
        retry_after: reply.retry_after,
        words,
    }
}

/// The node's error beside a status: the words decide where they are known, the status where they are not.
fn refused(reply: &Reply, mut error: NodeError) -> RpcError {
    use NodeErrorKind::{BatchTooLarge, GasTooHigh, OutOfGas, RangeTooLarge, StateUnavailable, TooLarge};
    error.pause = error.pause.or(reply.retry_after);
    match (reply.status, error.kind) {
        (_, BatchTooLarge | GasTooHigh | OutOfGas | RangeTooLarge { .. } | StateUnavailable | TooLarge) => {}
        (429, _) => error.kind = NodeErrorKind::RateLimited,
        (_, NodeErrorKind::RateLimited | NodeErrorKind::LimitExceeded) => {}
        (401 | 403 | 404 | 500.., _) => return http(reply, error.to_string()),
        _ => {}
    }
    RpcError::Node(error)
}

/// Reads a body that is not a JSON-RPC answer to our question but says what is wrong: an error without an id, or with
/// an `error` or `message` of another shape.
fn json_refusal(body: &[u8], only_without_id: bool) -> Option<NodeError> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let fields = match &value {
        Value::Array(values) if values.len() == 1 => values[0].as_object()?,
        other => other.as_object()?,
    };
    let has_id = fields.get("id").is_some_and(|id| !id.is_null());
    if fields.contains_key("result") || only_without_id && has_id {
        return None;
    }
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let code = |value: Option<&Value>| value.and_then(Value::as_i64).unwrap_or_default();
    match fields.get("error") {
        Some(Value::Object(error)) => {
            let data = error.get("data").unwrap_or(&Value::Null);
            Some(NodeError::with_data(
                code(error.get("code")),
                &text(error.get("message"))?,
                data,
            ))
        }
        Some(Value::String(message)) => Some(NodeError::with_data(code(fields.get("code")), message, &value)),
        _ => Some(NodeError::with_data(
            code(fields.get("code")),
            &text(fields.get("message"))?,
            fields.get("data").unwrap_or(&Value::Null),
        )),
    }
}

/// Plain text; a page of HTML comes from a gateway and says nothing about the question.
fn text_refusal(reply: &Reply) -> RpcError {
    let text = String::from_utf8_lossy(&reply.body);
    let text = text.trim();
    if text.is_empty() || text.starts_with('<') || text.starts_with('{') || text.starts_with('[') {
        return http(reply, String::new());
    }
    let words: String = text.chars().take(MAX_WORDS_CHARS).collect();
    let error = NodeError::new(i64::from(reply.status), &words);
    let is_known = match error.kind {
        NodeErrorKind::RateLimited | NodeErrorKind::BatchTooLarge | NodeErrorKind::RangeTooLarge { .. } => {
            true
        }
        // "timeout" of a gateway is an outage.
        NodeErrorKind::TooLarge => reply.status < 500,
        _ => false,
    };
    if is_known {
        refused(reply, error)
    } else {
        http(reply, words)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn reply(status: u16, body: &str) -> Reply {
        Reply {
            status,
            retry_after: Some(Duration::from_secs(7)),
            body: body.to_owned().into(),
        }
    }

    fn error(status: u16, body: &str, count: usize) -> RpcError {
        read::<u64>(&reply(status, body), 10, count).unwrap_err()
    }

    fn kind(status: u16, body: &str, count: usize) -> NodeErrorKind {
        match error(status, body, count) {
            RpcError::Node(error) => error.kind,
            other => panic!("{status} {body}: {other:?}"),
        }
    }

    #[test]
    fn words_count_whatever_the_status() {
        use NodeErrorKind::{BatchTooLarge, Other, RangeTooLarge, RateLimited};
        let range = RangeTooLarge { suggested: None };
        let with =
            |words: &str| format!(r#"{{"jsonrpc":"2.0","id":10,"error":{{"code":35,"message":"{words}"}}}}"#);
        for status in [200, 400, 402, 408, 500] {
            let words = with("ranges over 10000 blocks are not supported on freetier");
            if status != 200 {
                assert_eq!(kind(status, &words, 1), range, "{status}");
            }
            let alone = words.replace(r#""id":10"#, r#""id":null"#);
            assert_eq!(kind(status, &alone, 1), range, "{status}");
            assert_eq!(kind(status, &format!("[{alone}]"), 3), range, "{status}");
            assert_eq!(kind(status, &format!("[{words}]"), 3), range, "{status}");
            let batch = with("Batch of more than 3 requests are not allowed");
            assert_eq!(kind(status, &batch, 4), BatchTooLarge, "{status}");
            let flat = r#"{"error":"block range too large"}"#;
            assert_eq!(kind(status, flat, 1), range, "{status}");
            let message = r#"{"code":-32007,"message":"50/second request limit reached"}"#;
            assert_eq!(kind(status, message, 1), RateLimited, "{status}");
        }
        assert_eq!(
            kind(400, "please limit the query to at most 1,000 blocks", 1),
            range
        );
        assert_eq!(kind(400, &with("what?"), 1), Other);
        assert_eq!(kind(429, &with("what?"), 1), RateLimited);
        assert_eq!(
            kind(429, &with("query returned more than 10000 results in range"), 1),
            range
        );
        assert_eq!(
            error(429, &with("what?"), 1).pause(),
            Some(Duration::from_secs(7))
        );
    }

    #[test]
    fn a_status_without_known_words_stays_a_status_and_shows_them() {
        for (status, body, words) in [
            (
                500,
                r#"{"jsonrpc":"2.0","id":10,"error":{"code":-32603,"message":"internal"}}"#,
                "internal",
            ),
            (401, r#"{"error":"invalid project id"}"#, "invalid project id"),
            (403, "not from here", "not from here"),
            (504, "upstream request timeout", "upstream request timeout"),
            (502, "<html>Bad gateway</html>", ""),
            (404, "", ""),
            (500, r#"{"jsonrpc":"2.0","id":10,"result":5}"#, ""),
        ] {
            match error(status, body, 1) {
                RpcError::Http {
                    status: found,
                    words: said,
                    ..
                } => {
                    assert!(found == status && said.contains(words), "{body}: {said}");
                    assert_eq!(said.is_empty(), words.is_empty(), "{body}: {said}");
                }
                other => panic!("{body}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_error_for_another_question_is_not_a_refusal() {
        let body = r#"{"jsonrpc":"2.0","id":9,"error":{"code":-32005,"message":"rate limit"}}"#;
        assert!(matches!(error(200, body, 1), RpcError::Malformed(_)));
        let values = r#"[{"jsonrpc":"2.0","id":10,"result":1},{"jsonrpc":"2.0","id":11,"result":2}]"#;
        assert!(
            matches!(error(400, values, 2), RpcError::Http { .. }),
            "values beside an error status"
        );
        let partly = values.replace(
            r#""result":2"#,
            r#""error":{"code":-32005,"message":"rate limit"}"#,
        );
        let answers = read::<u64>(&reply(429, &partly), 10, 2).unwrap();
        assert!(answers[0] == Ok(1) && answers[1].is_err());
    }
}
