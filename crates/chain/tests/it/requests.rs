//! What a request is, as the proxy sees it.

use serde_json::Value;

/// True for a bulk read: an `eth_call` with a gas limit.
pub(crate) fn is_bulk(request: &Value) -> bool {
    request["method"] == "eth_call" && request["params"][0].get("gas").is_some()
}

/// True for an `eth_call` with a state override.
pub(crate) fn has_override(request: &Value) -> bool {
    request["method"] == "eth_call"
        && request["params"]
            .as_array()
            .is_some_and(|params| params.len() == 3)
}
