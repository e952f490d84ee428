//! From bytes to answers: every answer belongs to exactly one question, by its id.

use alloy_json_rpc::{ErrorPayload, Id, Response, ResponsePacket, ResponsePayload};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{NodeError, RpcError};

/// One answer: the value, or the node's refusal.
pub(crate) type Answer<T> = Result<T, NodeError>;

/// Reads the answers to the questions `first_id..first_id + count` out of a body, in the order of the questions.
///
/// Answers may come in any order. A missing one, a second one for the same question, or one to no question
/// makes the whole exchange worthless: if the node cannot keep ids apart, no value is safe.
pub(crate) fn match_answers<T: DeserializeOwned>(
    body: &[u8],
    first_id: u64,
    count: usize,
) -> Result<Vec<Answer<T>>, RpcError> {
    let packet: ResponsePacket = serde_json::from_slice(body).map_err(|error| {
        RpcError::Malformed(format!(
            "{} bytes that are not a JSON-RPC answer: {error}",
            body.len()
        ))
    })?;
    let responses = match packet {
        ResponsePacket::Single(response) if count > 1 => return Err(refused_as_a_whole(response)),
        ResponsePacket::Single(response) => vec![response],
        // go-ethereum refuses a batch so, with the id of its first call.
        ResponsePacket::Batch(mut responses)
            if count > 1 && responses.len() == 1 && responses[0].is_error() =>
        {
            return Err(responses.pop().map_or_else(nothing, refused_as_a_whole));
        }
        ResponsePacket::Batch(responses) => responses,
    };
    let mut answers: Vec<Option<Answer<T>>> = std::iter::repeat_with(|| None).take(count).collect();
    for response in responses {
        let index = position(&response.id, first_id)?;
        let Some(place) = answers.get_mut(index) else {
            return Err(RpcError::Malformed(format!(
                "an answer to id {}, which was not asked",
                response.id
            )));
        };
        if place.replace(read(response.payload)?).is_some() {
            return Err(RpcError::Malformed(format!(
                "two answers to question {index} of {count}"
            )));
        }
    }
    answers
        .into_iter()
        .enumerate()
        .map(|(index, answer)| {
            answer.ok_or_else(|| RpcError::Malformed(format!("no answer to question {index} of {count}")))
        })
        .collect()
}

fn position(id: &Id, first_id: u64) -> Result<usize, RpcError> {
    id.as_number()
        .and_then(|id| id.checked_sub(first_id))
        .and_then(|index| usize::try_from(index).ok())
        .ok_or_else(|| RpcError::Malformed(format!("an answer to id {id}, which was not asked")))
}

/// A single object in answer to a batch: normally an error about the batch itself.
fn refused_as_a_whole(response: Response) -> RpcError {
    match response.payload {
        ResponsePayload::Failure(error) => RpcError::Node(node_error(&error)),
        ResponsePayload::Success(_) => RpcError::Malformed("one value in answer to a batch".to_owned()),
    }
}

fn nothing() -> RpcError {
    RpcError::Malformed("an empty batch".to_owned())
}

fn read<T: DeserializeOwned>(payload: ResponsePayload) -> Result<Answer<T>, RpcError> {
    match payload {
        ResponsePayload::Success(raw) => serde_json::from_str(raw.get())
            .map(Ok)
            .map_err(|error| RpcError::Malformed(format!("a result of another shape: {error}"))),
        ResponsePayload::Failure(error) => Ok(Err(node_error(&error))),
    }
}

fn node_error(error: &ErrorPayload) -> NodeError {
    let data = error
        .data
        .as_ref()
        .and_then(|data| serde_json::from_str(data.get()).ok());
    NodeError::with_data(error.code, &error.message, &data.unwrap_or(Value::Null))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::classify::NodeErrorKind;

    fn matched(body: &str, count: usize) -> Result<Vec<Answer<u64>>, RpcError> {
        match_answers(body.as_bytes(), 10, count)
    }

    fn malformed(body: &str, count: usize) -> String {
        match matched(body, count) {
            Err(RpcError::Malformed(detail)) => detail,
            other => panic!("{body} was accepted: {other:?}"),
        }
    }

    #[test]
    fn answers_are_put_back_in_the_order_of_the_questions() {
        let body = r#"[{"jsonrpc":"2.0","id":12,"result":2},{"jsonrpc":"2.0","id":10,"result":0},
                       {"jsonrpc":"2.0","id":11,"error":{"code":-32000,"message":"header not found"}}]"#;
        let answers = matched(body, 3).unwrap();
        assert_eq!(answers[0], Ok(0));
        assert_eq!(
            answers[1].as_ref().unwrap_err().kind,
            NodeErrorKind::StateUnavailable
        );
        assert_eq!(answers[2], Ok(2));
    }

    #[test]
    fn ids_that_do_not_match_are_refused() {
        assert!(malformed(r#"{"jsonrpc":"2.0","id":9,"result":1}"#, 1).contains("not asked"));
        assert!(malformed(r#"{"jsonrpc":"2.0","id":11,"result":1}"#, 1).contains("not asked"));
        assert!(malformed(r#"{"jsonrpc":"2.0","id":"10","result":1}"#, 1).contains("not asked"));
        assert!(malformed(r#"{"jsonrpc":"2.0","id":null,"result":1}"#, 1).contains("not asked"));
        let twice = r#"[{"jsonrpc":"2.0","id":10,"result":1},{"jsonrpc":"2.0","id":10,"result":1}]"#;
        assert!(malformed(twice, 2).contains("two answers"));
        assert!(
            malformed(r#"[{"jsonrpc":"2.0","id":11,"result":1}]"#, 2).contains("no answer to question 0")
        );
        assert!(malformed("[]", 2).contains("no answer"));
    }

    #[test]
    fn garbage_is_refused() {
        for body in [
            "",
            "<html>",
            "{}",
            "null",
            r#"{"jsonrpc":"2.0","id":10,"result":"0x"}"#,
            r#"{"jsonrpc":"2.0","#,
        ] {
            malformed(body, 1);
        }
    }

    #[test]
    fn an_error_about_the_whole_batch_is_the_nodes_error() {
        let alone = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"batch too large"}}"#;
        let in_an_array = format!("[{}]", alone.replace("null", "10"));
        for body in [alone, in_an_array.as_str()] {
            let Err(RpcError::Node(error)) = matched(body, 2) else {
                panic!("{body}")
            };
            assert_eq!(error.kind, NodeErrorKind::BatchTooLarge);
        }
        let answers = matched(&in_an_array, 1).unwrap();
        assert!(answers[0].is_err(), "the answer to a batch of one");
    }
}
