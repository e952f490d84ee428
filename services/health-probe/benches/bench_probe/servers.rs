//! What is probed and what is told: servers of HTTP on loopback, in this process.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use eidos_types::{Clock, SystemClock};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// Of a server that is asked by thousands at the same time: a shorter queue makes clients try again after a second.
const BACKLOG: u32 = 4_096;
const HEALTHY: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 20\r\n\r\n{\"status\":\"healthy\"}";
const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Services: each path is one of them, and counts how often it was asked.
pub(crate) struct Services {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    asked: Vec<AtomicU32>,
    is_silent: AtomicBool,
}

impl Services {
    /// This many, which answer.
    pub(crate) fn start(count: usize) -> anyhow::Result<Self> {
        Self::with(count, false)
    }

    /// This many, which accept and never answer.
    pub(crate) fn start_silent(count: usize) -> anyhow::Result<Self> {
        Self::with(count, true)
    }

    fn with(count: usize, is_silent: bool) -> anyhow::Result<Self> {
        let state = Arc::new(State {
            asked: std::iter::repeat_with(AtomicU32::default).take(count).collect(),
            is_silent: is_silent.into(),
        });
        let (address, listener) = listen()?;
        let shared = Arc::clone(&state);
        let accepting = accept(listener, move |stream| {
            let state = Arc::clone(&shared);
            async move { state.serve(stream).await }
        });
        Ok(Self {
            address,
            state,
            accepting,
        })
    }

    /// Where a service is.
    pub(crate) fn url(&self, number: usize) -> String {
        format!("http://{}/{number}", self.address)
    }

    /// How often each was asked.
    pub(crate) fn asked(&self) -> Vec<u32> {
        let asked = self.state.asked.iter();
        asked.map(|asked| asked.load(Ordering::Relaxed)).collect()
    }

    /// From now on nothing listens.
    pub(crate) fn stop(&self) {
        self.accepting.abort();
    }

    /// From now on they accept and never answer.
    pub(crate) fn fall_silent(&self) {
        self.state.is_silent.store(true, Ordering::Relaxed);
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl State {
    /// One request for each connection; `None`: the client went away.
    async fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let (head, _) = read(&mut stream).await?;
        let path = head.split_whitespace().nth(1)?;
        let number: usize = path.strip_prefix('/')?.parse().ok()?;
        self.asked.get(number)?.fetch_add(1, Ordering::Relaxed);
        if self.is_silent.load(Ordering::Relaxed) {
            // Until the client gives up.
            let _ended = stream.read(&mut [0; 64]).await;
            return None;
        }
        stream.write_all(HEALTHY.as_bytes()).await.ok()
    }
}

/// An alert as it arrived at the webhook.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub(crate) at_ms: i64,
    pub(crate) event: String,
    pub(crate) severity: String,
    pub(crate) target: String,
}

/// A webhook that accepts everything.
pub(crate) struct Webhook {
    address: SocketAddr,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    accepting: JoinHandle<()>,
}

impl Webhook {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let arrived: Arc<Mutex<Vec<Arrived>>> = Arc::default();
        let (address, listener) = listen()?;
        let shared = Arc::clone(&arrived);
        let accepting = accept(listener, move |stream| take(stream, Arc::clone(&shared)));
        Ok(Self {
            address,
            arrived,
            accepting,
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/alerts", self.address)
    }

    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.arrived
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn take(mut stream: TcpStream, arrived: Arc<Mutex<Vec<Arrived>>>) -> Option<()> {
    let (_, body) = read(&mut stream).await?;
    let at_ms = SystemClock::default().now_ms();
    let notice: Value = serde_json::from_str(&body).ok()?;
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let notice = Arrived {
        at_ms,
        event: word(&notice["event"]),
        severity: word(&notice["severity"]),
        target: word(&notice["labels"]["target"]),
    };
    arrived
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(notice);
    stream.write_all(ACCEPTED.as_bytes()).await.ok()
}

fn listen() -> anyhow::Result<(SocketAddr, TcpListener)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let listener = socket.listen(BACKLOG)?;
    Ok((listener.local_addr()?, listener))
}

/// Serves each connection by a task of its own.
fn accept<F, S>(listener: TcpListener, serve: F) -> JoinHandle<()>
where
    F: Fn(TcpStream) -> S + Send + 'static,
    S: Future<Output = Option<()>> + Send + 'static,
{
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    })
}

/// Head and body of a request; `None`: the client went away.
async fn read(stream: &mut TcpStream) -> Option<(String, String)> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        let text = std::str::from_utf8(&bytes).ok()?;
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then_some(value.trim())
            });
            if body.len() >= length.map_or(Some(0), |length| length.parse().ok())? {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        match stream.read(&mut buffer).await.ok()? {
            0 => return None,
            count => bytes.extend_from_slice(buffer.get(..count)?),
        }
    }
}
