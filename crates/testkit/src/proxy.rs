//! [`TcpProxy`]: a network that can be broken while it is used.

mod connection;
mod mode;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eidos_sandbox::PortLease;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

pub use mode::ProxyMode;

use crate::background;

/// A TCP proxy on a loopback port in front of a server.
///
/// It lives on testkit's own runtime, keeps its port over all modes and ends with the value.
#[derive(Debug)]
pub struct TcpProxy {
    port: PortLease,
    orders: mpsc::Sender<Order>,
    counters: Arc<Counters>,
}

/// What went through so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Connections accepted.
    pub connections: u64,
    /// Bytes delivered to the server.
    pub request_bytes: u64,
    /// Bytes delivered to the clients.
    pub reply_bytes: u64,
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    request_bytes: AtomicU64,
    reply_bytes: AtomicU64,
}

#[derive(Debug)]
struct Order {
    mode: ProxyMode,
    done: oneshot::Sender<()>,
}

impl TcpProxy {
    /// A proxy in front of `127.0.0.1:port`, passing everything.
    pub async fn start(port: u16) -> Self {
        Self::start_to(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
    }

    /// A proxy in front of `upstream`, passing everything.
    pub async fn start_to(upstream: SocketAddr) -> Self {
        let port = PortLease::take().unwrap_or_else(|error| panic!("no port for a proxy: {error}"));
        let number = port.port();
        let (orders, inbox) = mpsc::channel(1);
        let counters = Arc::new(Counters::default());
        let shared = Arc::clone(&counters);
        background::run(async move {
            let listener = listen(number).await;
            background::spawn(accept(listener, upstream, inbox, shared));
        })
        .await;
        Self {
            port,
            orders,
            counters,
        }
    }

    /// The port to connect to.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port.port()
    }

    /// Changes how it behaves, for the connections there are and those to come; it is in force when this returns.
    pub async fn set(&self, mode: ProxyMode) {
        let (done, applied) = oneshot::channel();
        let sent = self.orders.send(Order { mode, done }).await;
        assert!(
            sent.is_ok() && applied.await.is_ok(),
            "the proxy on port {} has ended",
            self.port()
        );
    }

    /// What went through so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        Traffic {
            connections: self.counters.connections.load(Ordering::Relaxed),
            request_bytes: self.counters.request_bytes.load(Ordering::Relaxed),
            reply_bytes: self.counters.reply_bytes.load(Ordering::Relaxed),
        }
    }
}

/// The proxy's life: ends, with all its connections, when the [`TcpProxy`] is dropped.
async fn accept(
    first: TcpListener,
    upstream: SocketAddr,
    mut inbox: mpsc::Receiver<Order>,
    counters: Arc<Counters>,
) {
    let port = first.local_addr().map_or(0, |address| address.port());
    let (modes, watched) = watch::channel(ProxyMode::Pass);
    let mut listener = Some(first);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            order = inbox.recv() => {
                let Some(Order { mode, done }) = order else { return };
                modes.send_replace(mode);
                if mode.ends_connections() {
                    while connections.join_next().await.is_some() {}
                }
                // A refused connection is one nobody listens for: the kernel answers it.
                listener = match (mode, listener) {
                    (ProxyMode::Refuse, _) => None,
                    (_, Some(open)) => Some(open),
                    (_, None) => Some(listen(port).await),
                };
                let _ = done.send(());
            }
            Some(client) = next_client(listener.as_ref()) => {
                counters.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(connection::serve(client, upstream, watched.clone(), Arc::clone(&counters)));
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn next_client(listener: Option<&TcpListener>) -> Option<tokio::net::TcpStream> {
    // An accept fails when the client gave up first; the next one may be fine.
    loop {
        if let Ok((client, _)) = listener?.accept().await {
            return Some(client);
        }
    }
}

async fn listen(port: u16) -> TcpListener {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
        Ok(listener) => listener,
        Err(error) => panic!("the proxy cannot listen on port {port}: {error}"),
    }
}
