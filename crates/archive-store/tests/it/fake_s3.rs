//! A small S3 that keeps objects in memory and misbehaves on request.
//!
//! It knows what the archive uses: put (with `If-None-Match: *`, and only with a SHA-256 that fits), get, delete and
//! list. Everything it is asked is recorded. [`Fault`]s say which requests go wrong, how, and how often.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test; clippy sees only the test functions themselves"
)]

mod answers;
mod faults;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt as _;

pub(crate) use faults::{Fault, Harm};

/// The bucket it has.
pub(crate) const BUCKET: &str = "archive";

/// A running server; ends with the runtime of the test.
pub(crate) struct FakeS3 {
    shared: Arc<Shared>,
    port: u16,
}

#[derive(Default)]
struct Shared {
    objects: Mutex<BTreeMap<String, Bytes>>,
    /// The encryption headers that objects were put with.
    encryption: Mutex<BTreeMap<String, Vec<(HeaderName, HeaderValue)>>>,
    faults: Mutex<Vec<Fault>>,
    seen: Mutex<Vec<Seen>>,
    /// Puts under way, now and at most.
    puts: Mutex<(usize, usize)>,
}

/// A request that arrived.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) key: String,
    pub(crate) headers: HeaderMap,
}

impl FakeS3 {
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { shared, port }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on, until it is used up.
    pub(crate) fn suffer(&self, fault: Fault) {
        self.shared.faults.lock().unwrap().push(fault);
    }

    pub(crate) fn recover(&self) {
        self.shared.faults.lock().unwrap().clear();
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.shared.objects.lock().unwrap().keys().cloned().collect()
    }

    pub(crate) fn object(&self, key: &str) -> Bytes {
        self.shared.objects.lock().unwrap()[key].clone()
    }

    /// Puts or replaces an object behind the client's back.
    pub(crate) fn place(&self, key: &str, content: Bytes) {
        self.shared
            .objects
            .lock()
            .unwrap()
            .insert(key.to_owned(), content);
    }

    /// Removes an object behind the client's back.
    pub(crate) fn remove(&self, key: &str) {
        self.shared.objects.lock().unwrap().remove(key);
    }

    /// The most puts that were under way at once.
    pub(crate) fn most_puts(&self) -> usize {
        self.shared.puts.lock().unwrap().1
    }

    pub(crate) fn seen(&self, method: &Method) -> Vec<Seen> {
        let seen = self.shared.seen.lock().unwrap();
        seen.iter()
            .filter(|seen| seen.method == *method)
            .cloned()
            .collect()
    }
}

impl Shared {
    /// As header map entries.
    fn encryption_of(&self, key: &str) -> Vec<(Option<HeaderName>, HeaderValue)> {
        let known = self
            .encryption
            .lock()
            .unwrap()
            .get(key)
            .cloned()
            .unwrap_or_default();
        known
            .into_iter()
            .map(|(name, value)| (Some(name), value))
            .collect()
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let key = answers::key_of(parts.uri.path());
    shared.seen.lock().unwrap().push(Seen {
        method: parts.method.clone(),
        key: key.clone(),
        headers: parts.headers.clone(),
    });
    let harm = faults::next(&shared.faults, &parts.method, &key);
    if let Some(Harm::Status(status, code)) = harm {
        return answers::error(status, code);
    }
    if parts.headers.get("authorization").is_none() {
        return answers::error(403, "AccessDenied");
    }
    match (parts.method, key.as_str()) {
        (Method::PUT, key) => {
            {
                let mut puts = shared.puts.lock().unwrap();
                puts.0 += 1;
                puts.1 = puts.1.max(puts.0);
            }
            let answer = put(&shared, key, &parts.headers, body, harm).await;
            shared.puts.lock().unwrap().0 -= 1;
            answer
        }
        (Method::GET, "") => answers::list(&shared.objects.lock().unwrap(), parts.uri.query(), harm.as_ref()),
        (Method::GET, key) => {
            let found = shared.objects.lock().unwrap().get(key).cloned();
            found.map_or_else(
                || answers::error(404, "NoSuchKey"),
                |bytes| answers::object(&bytes, harm.as_ref()),
            )
        }
        (Method::HEAD, key) => {
            let found = shared.objects.lock().unwrap().get(key).cloned();
            let mut answer = found.map_or_else(
                || answers::error(404, "NoSuchKey"),
                |bytes| answers::object(&bytes, None),
            );
            answer.headers_mut().extend(shared.encryption_of(key));
            answer
        }
        (Method::DELETE, key) => {
            shared.objects.lock().unwrap().remove(key);
            answers::empty(StatusCode::NO_CONTENT)
        }
        _ => answers::error(501, "NotImplemented"),
    }
}

async fn put(shared: &Shared, key: &str, headers: &HeaderMap, body: Body, harm: Option<Harm>) -> Response {
    if matches!(harm, Some(Harm::CutRequest)) {
        let _first = body.into_data_stream().next().await;
        faults::hang_up();
    }
    let was_taken = shared.objects.lock().unwrap().contains_key(key);
    if matches!(harm, Some(Harm::LoseRaces)) {
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }
    let mut content = to_bytes(body, usize::MAX).await.unwrap();
    if matches!(harm, Some(Harm::FlipByte)) {
        content = faults::flipped(&content);
    }
    let checksum = headers
        .get("x-amz-checksum-sha256")
        .map(|value| value.to_str().unwrap());
    if checksum != Some(answers::sha256_base64(&content).as_str()) {
        return answers::error(400, "BadDigest");
    }
    let taken = if matches!(harm, Some(Harm::LoseRaces)) {
        was_taken
    } else {
        shared.objects.lock().unwrap().contains_key(key)
    };
    let create = headers.get("if-none-match").is_some_and(|value| value == "*");
    let refused = create && taken && !matches!(harm, Some(Harm::Overwrite));
    if !refused {
        shared.objects.lock().unwrap().insert(key.to_owned(), content);
        let asked = headers
            .iter()
            .filter(|(name, _)| name.as_str().starts_with("x-amz-server-side-encryption"));
        let asked = asked.map(|(name, value)| (name.clone(), value.clone()));
        let kept = !matches!(harm, Some(Harm::StoreInTheClear));
        let mut encryption = shared.encryption.lock().unwrap();
        encryption.insert(key.to_owned(), asked.filter(|_| kept).collect());
    }
    if let Some(Harm::Slow(pause)) = harm {
        tokio::time::sleep(pause).await;
    }
    match harm {
        _ if refused => answers::error(412, "PreconditionFailed"),
        Some(Harm::LoseReply) => faults::hang_up(),
        _ => {
            let mut answer = answers::empty(StatusCode::OK);
            answer.headers_mut().extend(shared.encryption_of(key));
            if matches!(harm, Some(Harm::NameVersion)) {
                let version = HeaderValue::from_static("3sL4kqtJlcpXroDTDmJ");
                answer.headers_mut().insert("x-amz-version-id", version);
            }
            answer
        }
    }
}
