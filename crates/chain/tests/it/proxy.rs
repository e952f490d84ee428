//! A JSON-RPC server that misbehaves: it is a proxy of the real node and does to each exchange what the test says.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::fixture::Node;

/// What becomes of one HTTP exchange.
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The node gets another question.
    Ask(Value),
    /// The node's answer is changed.
    Answer(Box<dyn FnOnce(Value) -> Value + Send>),
    /// The node is not asked; this is the body.
    Body(String),
    /// The node is not asked; this is the status.
    Status(u16),
    /// The node is not asked; this is the status, with these headers and this body.
    Reply(u16, Vec<(&'static str, &'static str)>, String),
    /// The node's answer comes this late.
    Late(Duration),
}

impl Fault {
    pub(crate) fn answer(change: impl FnOnce(Value) -> Value + Send + 'static) -> Self {
        Self::Answer(Box::new(change))
    }

    /// A JSON-RPC error in place of the node's answer, for a request that is not a batch.
    pub(crate) fn error(request: &Value, code: i64, message: &str) -> Self {
        Self::Body(error_answer(request, code, message).to_string())
    }
}

/// A JSON-RPC error in answer to one question.
pub(crate) fn error_answer(question: &Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": question["id"], "error": {"code": code, "message": message}})
}

type Script = Box<dyn FnMut(&Value) -> Fault + Send>;

#[derive(Clone)]
struct Shared {
    node: Node,
    script: Arc<Mutex<Script>>,
    /// Exchanges now, and most of them at once since the script changed.
    busy: Arc<(AtomicUsize, AtomicUsize)>,
}

pub(crate) struct Proxy {
    pub(crate) url: String,
    shared: Shared,
    server: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// An honest proxy before `node`.
    pub(crate) async fn before(node: &Node) -> Self {
        let script: Script = Box::new(|_request| Fault::None);
        let shared = Shared {
            node: node.clone(),
            script: Arc::new(Mutex::new(script)),
            busy: Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "http://user:secret-of-the-node@{}/v3/secret-key",
            listener.local_addr().unwrap()
        );
        let router = Router::new()
            .fallback(exchange)
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(shared.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, server }
    }

    /// From now on `script` decides.
    pub(crate) fn misbehave(&self, script: impl FnMut(&Value) -> Fault + Send + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
        self.shared.busy.1.store(0, Ordering::SeqCst);
    }

    /// Most exchanges at once since the script changed.
    pub(crate) fn peak(&self) -> usize {
        self.shared.busy.1.load(Ordering::SeqCst)
    }

    /// From now on it is honest.
    pub(crate) fn behave(&self) {
        self.misbehave(|_request| Fault::None);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn exchange(State(shared): State<Shared>, body: Bytes) -> Response {
    let busy = shared.busy.0.fetch_add(1, Ordering::SeqCst) + 1;
    shared.busy.1.fetch_max(busy, Ordering::SeqCst);
    let response = answer(&shared, &body).await;
    shared.busy.0.fetch_sub(1, Ordering::SeqCst);
    response
}

async fn answer(shared: &Shared, body: &Bytes) -> Response {
    let request: Value = serde_json::from_slice(body).unwrap();
    let fault = (shared.script.lock().unwrap())(&request);
    let forwarded = |request: Value| {
        let node = shared.node.clone();
        async move { node.post(serde_json::to_vec(&request).unwrap()).await }
    };
    match fault {
        Fault::None => forwarded(request).await.into_response(),
        Fault::Ask(other) => forwarded(other).await.into_response(),
        Fault::Answer(change) => {
            let answer: Value = serde_json::from_slice(&forwarded(request).await).unwrap();
            change(answer).to_string().into_response()
        }
        Fault::Body(text) => text.into_response(),
        Fault::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Fault::Reply(status, headers, body) => {
            let mut reply = (StatusCode::from_u16(status).unwrap(), body).into_response();
            for (name, value) in headers {
                reply.headers_mut().insert(name, value.parse().unwrap());
            }
            reply
        }
        Fault::Late(pause) => {
            tokio::time::sleep(pause).await;
            forwarded(request).await.into_response()
        }
    }
}

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
