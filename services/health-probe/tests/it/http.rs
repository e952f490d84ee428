//! A server of HTTP that misbehaves as it is told, for targets and receivers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How the server answers.
#[derive(Debug, Clone)]
pub(crate) enum Does {
    /// With this status line, content type and body.
    Answer(&'static str, &'static str, &'static str),
    /// Reads and never answers.
    Hang,
    /// One byte of a long body every 50 ms.
    Trickle,
    /// To itself, for ever.
    Redirect,
    /// As much as is read, up to a gigabyte.
    Gigabyte,
    /// Closes without a word.
    Close,
    /// Answers 400 to a body with this text, and 200 to others.
    RefusesBody(&'static str),
}

pub(crate) const OK: Does = Does::Answer("200 OK", "application/json", r#"{"status":"healthy"}"#);

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// The server. It ends when it is dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    does: Mutex<Does>,
    requests: Mutex<Vec<Request>>,
    sent_bytes: AtomicU64,
}

impl Server {
    pub(crate) async fn start(does: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            does: Mutex::new(does),
            requests: Mutex::default(),
            sent_bytes: AtomicU64::new(0),
        });
        let server = Self {
            port,
            shared,
            accepting: Mutex::new(None),
        };
        server.accept(listener);
        server
    }

    fn accept(&self, listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move { shared.serve(stream).await });
            }
        });
        *self.accepting.lock().unwrap() = Some(accepting);
    }

    /// Nothing listens any more.
    pub(crate) async fn stop(&self) {
        let accepting = self.accepting.lock().unwrap().take();
        if let Some(accepting) = accepting {
            accepting.abort();
            let _aborted = accepting.await;
        }
    }

    /// Listens again, on the same port.
    pub(crate) async fn start_again(&self) {
        self.accept(TcpListener::bind(("127.0.0.1", self.port)).await.unwrap());
    }

    pub(crate) fn now(&self, does: Does) {
        *self.shared.does.lock().unwrap() = does;
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/health", self.port)
    }

    /// Without a path.
    pub(crate) fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// What it was told of: event, severity and name of each notice.
    pub(crate) fn notices(&self) -> Vec<String> {
        let notice = |request: &Request| {
            let body = request.json();
            let word = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
            let target = body["labels"]["target"].as_str().unwrap_or_default().to_owned();
            format!("{} {} {} {target}", word("event"), word("severity"), word("name"))
        };
        self.requests().iter().map(notice).collect()
    }

    pub(crate) fn sent_bytes(&self) -> u64 {
        self.shared.sent_bytes.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.lock().unwrap().take() {
            accepting.abort();
        }
    }
}

impl Shared {
    /// One request for each connection. A client that goes away ends it.
    async fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let request = read(&mut stream).await?;
        let body = request.body.clone();
        self.requests.lock().unwrap().push(request);
        let mut does = self.does.lock().unwrap().clone();
        if let Does::RefusesBody(part) = does {
            does = if body.contains(part) {
                Does::Answer("400 Bad Request", "text/plain", "bad alert")
            } else {
                OK
            };
        }
        match does {
            Does::Close | Does::RefusesBody(_) => None,
            Does::Hang => std::future::pending().await,
            Does::Answer(status, kind, body) => {
                let length = body.len();
                let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nconnection: close\r\n");
                let answer = format!("{head}content-length: {length}\r\n\r\n{body}");
                self.send(&mut stream, answer.as_bytes()).await
            }
            Does::Redirect => {
                let head = "HTTP/1.1 302 Found\r\nlocation: /health\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
                self.send(&mut stream, head.as_bytes()).await
            }
            Does::Trickle => {
                self.send(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
                    .await?;
                loop {
                    self.send(&mut stream, b"x").await?;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            Does::Gigabyte => {
                self.send(
                    &mut stream,
                    b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n",
                )
                .await?;
                let piece = vec![b'x'; 64 * 1024];
                for _ in 0..16 * 1024 {
                    self.send(&mut stream, &piece).await?;
                }
                None
            }
        }
    }

    async fn send(&self, stream: &mut TcpStream, bytes: &[u8]) -> Option<()> {
        stream.write_all(bytes).await.ok()?;
        self.sent_bytes.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        Some(())
    }
}

/// Asks a server of HTTP for JSON, such as an Alertmanager; an empty answer is null.
pub(crate) async fn call(method: &str, base: &str, path: &str, body: &str) -> Value {
    let host = base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = format!("{method} {path} HTTP/1.0\r\nhost: {host}\r\ncontent-type: application/json\r\n");
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200"), "{method} {path}: {answer}");
    if body.is_empty() {
        return Value::Null;
    }
    serde_json::from_str(body).unwrap()
}

/// A whole request; `None`: the client went away.
async fn read(stream: &mut TcpStream) -> Option<Request> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let request = Request {
                head: head.to_owned(),
                body: body.to_owned(),
            };
            let length = request.header("content-length");
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            if request.body.len() >= length {
                return Some(request);
            }
        }
        match stream.read(&mut buffer).await.ok()? {
            0 => return None,
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}
