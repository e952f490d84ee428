//! [`RpcProxy`]: a JSON-RPC server that misbehaves. It stands before a real node and does to each exchange what the test says.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::{RwLock, oneshot};

use crate::background;

/// Longest wait for the node.
const NODE_ANSWERS: Duration = Duration::from_mins(1);

/// What becomes of one HTTP exchange.
pub enum RpcFault {
    /// Nothing.
    None,
    /// The node gets another request.
    Ask(Value),
    /// The node at this URL is asked instead.
    Elsewhere(String),
    /// The node gets these requests first, one by one: it changes between two exchanges of the client. Other exchanges end
    /// before that or wait for it, so that nobody sees the node half changed.
    First(Vec<Value>),
    /// The node's answer is changed.
    Answer(Box<dyn FnOnce(Value) -> Value + Send>),
    /// The node gets another request, and its answer to that is changed.
    AskAndAnswer(Value, Box<dyn FnOnce(Value) -> Value + Send>),
    /// The node is not asked; this is the body.
    Body(String),
    /// The node is not asked; this is the status.
    Status(u16),
    /// The node is not asked; this is the status, with these headers and this body.
    Reply(u16, Vec<(&'static str, &'static str)>, String),
    /// The node's answer comes this late.
    Late(Duration),
}

impl fmt::Debug for RpcFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Ask(_) => "Ask",
            Self::Elsewhere(_) => "Elsewhere",
            Self::First(_) => "First",
            Self::Answer(_) => "Answer",
            Self::AskAndAnswer(..) => "AskAndAnswer",
            Self::Body(_) => "Body",
            Self::Status(_) => "Status",
            Self::Reply(..) => "Reply",
            Self::Late(_) => "Late",
        })
    }
}

impl RpcFault {
    /// Changes the node's answer.
    pub fn answer(change: impl FnOnce(Value) -> Value + Send + 'static) -> Self {
        Self::Answer(Box::new(change))
    }

    /// Changes the answer to each question of a request, be it a batch or not; `change` gets question and answer. The node
    /// gets `request`, which need not be the one that was sent.
    pub fn each_answer(request: &Value, mut change: impl FnMut(&Value, &mut Value) + Send + 'static) -> Self {
        let questions = calls_of(request);
        let change = move |mut answer: Value| {
            let mut one = |answer: &mut Value| {
                if let Some(question) = questions.iter().find(|question| question["id"] == answer["id"]) {
                    change(question, answer);
                }
            };
            match &mut answer {
                Value::Array(answers) => answers.iter_mut().for_each(one),
                answer => one(answer),
            }
            answer
        };
        Self::AskAndAnswer(request.clone(), Box::new(change))
    }

    /// A JSON-RPC error in place of the node's answer, for a request that is not a batch.
    #[must_use]
    pub fn error(request: &Value, code: i64, message: &str) -> Self {
        Self::Body(rpc_error(request, code, message).to_string())
    }
}

/// A JSON-RPC error in answer to one question.
#[must_use]
pub fn rpc_error(question: &Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": question["id"], "error": {"code": code, "message": message}})
}

/// The questions of a request: those of a batch, or the one it is.
#[must_use]
pub fn calls_of(request: &Value) -> Vec<Value> {
    match request {
        Value::Array(calls) => calls.clone(),
        one => vec![one.clone()],
    }
}

/// Whether a request has a question of this method.
#[must_use]
pub fn asks_for(request: &Value, method: &str) -> bool {
    calls_of(request).iter().any(|call| call["method"] == method)
}

type Script = Box<dyn FnMut(&Value) -> RpcFault + Send>;

#[derive(Clone)]
struct Shared {
    node: String,
    http: reqwest::Client,
    script: Arc<Mutex<Script>>,
    /// Written while the node changes.
    change: Arc<RwLock<()>>,
    /// Exchanges now, and most of them at once since the script changed.
    busy: Arc<(AtomicUsize, AtomicUsize)>,
}

/// A proxy of a node on a loopback port. It ends with the value.
pub struct RpcProxy {
    /// Its URL; it has credentials and a path that nothing may show.
    pub url: String,
    address: SocketAddr,
    shared: Shared,
    _end: oneshot::Sender<()>,
}

impl fmt::Debug for RpcProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcProxy")
            .field("node", &self.shared.node)
            .finish_non_exhaustive()
    }
}

impl RpcProxy {
    /// An honest proxy before the node at `url`.
    pub async fn before(url: &str) -> Self {
        // Loopback needs no TLS, yet reqwest refuses to build without a provider. A second call does no harm.
        let _another_was_first = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(NODE_ANSWERS)
            .no_proxy()
            .build()
            .unwrap_or_else(|error| panic!("no HTTP client for a proxy: {error}"));
        let script: Script = Box::new(|_request| RpcFault::None);
        let shared = Shared {
            node: url.to_owned(),
            http,
            script: Arc::new(Mutex::new(script)),
            change: Arc::default(),
            busy: Arc::default(),
        };
        let router = Router::new()
            .fallback(exchange)
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(shared.clone());
        let (end, ended) = oneshot::channel::<()>();
        let address = background::run(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                .await
                .unwrap_or_else(|error| panic!("no port for a proxy: {error}"));
            let address = listener
                .local_addr()
                .unwrap_or_else(|error| panic!("a proxy without an address: {error}"));
            background::spawn(async move {
                tokio::select! {
                    served = axum::serve(listener, router) => {
                        if let Err(error) = served {
                            panic!("the proxy of a node ended: {error}");
                        }
                    }
                    _dropped = ended => {}
                }
            });
            address
        })
        .await;
        Self {
            url: format!("http://user:secret-of-the-node@{address}/v3/secret-key"),
            address,
            shared,
            _end: end,
        }
    }

    /// Scheme, host and port: what may be shown of its URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on `script` decides.
    pub fn misbehave(&self, script: impl FnMut(&Value) -> RpcFault + Send + 'static) {
        *self.shared.script.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(script);
        self.shared.busy.1.store(0, Ordering::SeqCst);
    }

    /// From now on it is honest.
    pub fn behave(&self) {
        self.misbehave(|_request| RpcFault::None);
    }

    /// Most exchanges at once since the script changed.
    #[must_use]
    pub fn peak(&self) -> usize {
        self.shared.busy.1.load(Ordering::SeqCst)
    }
}

async fn exchange(State(shared): State<Shared>, body: Bytes) -> Response {
    let busy = shared.busy.0.fetch_add(1, Ordering::SeqCst) + 1;
    shared.busy.1.fetch_max(busy, Ordering::SeqCst);
    let response = shared.answer(&body).await;
    shared.busy.0.fetch_sub(1, Ordering::SeqCst);
    response
}

impl Shared {
    async fn answer(&self, body: &Bytes) -> Response {
        let request: Value = serde_json::from_slice(body)
            .unwrap_or_else(|error| panic!("a request that is not JSON: {error}"));
        let fault = (self.script.lock().unwrap_or_else(PoisonError::into_inner))(&request);
        if let RpcFault::First(others) = &fault {
            self.change_node(others).await;
        }
        let _unchanged = self.change.read().await;
        match fault {
            RpcFault::None | RpcFault::First(_) => self.forward(&request).await.into_response(),
            RpcFault::Ask(other) => self.forward(&other).await.into_response(),
            RpcFault::Elsewhere(url) => self.forward_to(&url, &request).await.into_response(),
            RpcFault::Answer(change) => self.changed(&request, change).await,
            RpcFault::AskAndAnswer(other, change) => self.changed(&other, change).await,
            RpcFault::Body(text) => text.into_response(),
            RpcFault::Status(code) => status(code).into_response(),
            RpcFault::Reply(code, headers, body) => {
                let mut reply = (status(code), body).into_response();
                for (name, value) in headers {
                    let value = value
                        .parse()
                        .unwrap_or_else(|error| panic!("header {name}: {error}"));
                    reply.headers_mut().insert(name, value);
                }
                reply
            }
            RpcFault::Late(pause) => {
                tokio::time::sleep(pause).await;
                self.forward(&request).await.into_response()
            }
        }
    }

    async fn change_node(&self, requests: &[Value]) {
        let _changing = self.change.write().await;
        for request in requests {
            let answer = self.forward(request).await;
            let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
            assert!(answer.get("error").is_none(), "{request}: {answer}");
        }
    }

    async fn changed(&self, request: &Value, change: impl FnOnce(Value) -> Value) -> Response {
        let answer = serde_json::from_slice(&self.forward(request).await);
        let answer = answer.unwrap_or_else(|error| panic!("the node's answer: {error}"));
        change(answer).to_string().into_response()
    }

    async fn forward(&self, request: &Value) -> Vec<u8> {
        self.forward_to(&self.node, request).await
    }

    /// A node that does not answer gives the client what a gateway would say.
    async fn forward_to(&self, node: &str, request: &Value) -> Vec<u8> {
        let sent = self
            .http
            .post(node)
            .header("content-type", "application/json")
            .body(request.to_string())
            .send()
            .await;
        let read = match sent {
            Ok(answer) => answer.bytes().await,
            Err(error) => Err(error),
        };
        match read {
            Ok(bytes) => bytes.to_vec(),
            Err(error) => format!("502 the node: {error}").into_bytes(),
        }
    }
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or_else(|error| panic!("status {code}: {error}"))
}
