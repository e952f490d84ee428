//! The listener: connections that send nothing are closed, their number is bounded, and probes are answered even when
//! that bound is reached.
//!
//! | a connection | ends |
//! |---|---|
//! | that has not sent a whole request head | after [`Limits::head_timeout`], counted from its last answer: idle ones too |
//! | whose request takes too long | with the answer 504 of [`super::middleware`] |
//! | that is as old as [`Limits::max_age`] | after its request under way |
//! | that is quiet while every place is taken | at once, the quietest first, in favour of a new one |
//!
//! Beyond [`Limits::connections`], a few further places answer `/live` and `/ready` only, each for one request: a restart
//! would not help a process that is merely popular.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::Problem;

/// Places beyond the bound, for probes.
const PROBE_PLACES: usize = 16;
/// How long a connection in such a place may take to send its request head.
const PROBE_HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a new connection waits for the place of one that was just evicted.
const EVICTED_WITHIN: Duration = Duration::from_millis(100);
/// How long a connection that is told to end may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(35);
/// How long the listener rests when the machine refuses it a connection, as without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two lines about a full listener, in milliseconds.
const WARN_EVERY_MS: u64 = 10_000;
/// Paths that are answered whatever the load.
const PROBES: [&str; 2] = ["/live", "/ready"];

/// What one listener may spend.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Connections that may ask anything.
    pub(crate) connections: usize,
    /// How long a connection may be without a whole request head.
    pub(crate) head_timeout: Duration,
    /// After this a connection ends with its request under way.
    pub(crate) max_age: Duration,
}

/// Serves until `stop`, then ends every connection after its request under way.
pub(crate) async fn serve(listener: TcpListener, routes: Router, limits: Limits, stop: CancellationToken) {
    let places = Arc::new(Places::new(limits));
    let tracker = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _peer)) => {
                let Some(place) = places.take().await else {
                    // Not even a probe's place: the client may try again.
                    continue;
                };
                // Answers are small and waited for.
                let _without_it_only_slower = stream.set_nodelay(true);
                tracker.spawn(connection(stream, routes.clone(), place, limits, stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    tracker.close();
    tracker.wait().await;
}

/// The bound, and who holds a place.
struct Places {
    all: Arc<Semaphore>,
    probes: Arc<Semaphore>,
    held: Mutex<BTreeMap<u64, Arc<Holder>>>,
    next: AtomicU64,
    /// When it was last said that every place is taken; 0: never.
    warned_ms: AtomicU64,
    began: Instant,
}

/// One connection as others see it.
struct Holder {
    /// Milliseconds after `Places::began` since when it is quiet; `BUSY` during a request.
    quiet_since_ms: AtomicU64,
    /// Ends it at once.
    evict: CancellationToken,
}

const BUSY: u64 = u64::MAX;

/// A place, given back when dropped.
struct Place {
    id: u64,
    places: Arc<Places>,
    holder: Arc<Holder>,
    only_probes: bool,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    fn new(limits: Limits) -> Self {
        Self {
            all: Arc::new(Semaphore::new(limits.connections)),
            probes: Arc::new(Semaphore::new(PROBE_PLACES)),
            held: Mutex::default(),
            next: AtomicU64::new(0),
            warned_ms: AtomicU64::new(0),
            began: Instant::now(),
        }
    }

    /// A place for a new connection. When there is none, the quietest connection is ended for the next one, and this one
    /// gets a place for a probe, if there is one.
    async fn take(self: &Arc<Self>) -> Option<Place> {
        let (permit, only_probes) = match Arc::clone(&self.all).try_acquire_owned() {
            Ok(permit) => (permit, false),
            Err(_taken) => {
                self.evict_quietest();
                // The evicted one may have held such a place: it gives it back in a moment.
                let freed = tokio::time::timeout(EVICTED_WITHIN, Arc::clone(&self.probes).acquire_owned());
                let permit = freed.await.ok().and_then(Result::ok);
                if permit.is_none() {
                    self.warn_full();
                }
                (permit?, true)
            }
        };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let holder = Arc::new(Holder {
            quiet_since_ms: AtomicU64::new(self.now_ms()),
            evict: CancellationToken::new(),
        });
        self.lock().insert(id, Arc::clone(&holder));
        Some(Place {
            id,
            places: Arc::clone(self),
            holder,
            only_probes,
            _permit: permit,
        })
    }

    fn evict_quietest(&self) {
        let held = self.lock();
        let quiet = held
            .values()
            .filter(|holder| !holder.evict.is_cancelled())
            .map(|holder| (holder.quiet_since_ms.load(Ordering::Relaxed), holder))
            .filter(|(since, _)| *since != BUSY)
            .min_by_key(|(since, _)| *since);
        if let Some((_, holder)) = quiet {
            holder.evict.cancel();
        }
    }

    /// Says so, at most every ten seconds: whoever opens connections in a loop must not fill the log too.
    fn warn_full(&self) {
        let (now_ms, last_ms) = (self.now_ms(), self.warned_ms.load(Ordering::Relaxed));
        if last_ms != 0 && now_ms.saturating_sub(last_ms) < WARN_EVERY_MS {
            return;
        }
        self.warned_ms.store(now_ms.max(1), Ordering::Relaxed);
        tracing::warn!(
            connections = self.lock().len(),
            "every HTTP connection is at work, also those kept for probes: a new one was closed; \
             service.http_max_connections bounds them"
        );
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(BUSY - 1)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<Holder>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn busy(&self) {
        self.holder.quiet_since_ms.store(BUSY, Ordering::Relaxed);
    }

    fn quiet(&self) {
        self.holder
            .quiet_since_ms
            .store(self.places.now_ms(), Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(&self.id);
    }
}

/// Serves one connection until it ends, is evicted, or the listener stops.
async fn connection(
    stream: TcpStream,
    routes: Router,
    place: Place,
    limits: Limits,
    stop: CancellationToken,
) {
    let (evict, only_probes) = (place.holder.evict.clone(), place.only_probes);
    let place = Arc::new(place);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        answer(routes.clone(), Arc::clone(&place), request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(if only_probes {
            PROBE_HEAD_TIMEOUT
        } else {
            limits.head_timeout
        })
        .keep_alive(!only_probes)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    tokio::select! {
        // A client that goes away, or is told to by a time-out, is not worth a line.
        _ended = serving.as_mut() => return,
        () = evict.cancelled() => return,
        () = stop.cancelled() => {}
        () = tokio::time::sleep(limits.max_age) => {}
    }
    serving.as_mut().graceful_shutdown();
    let _ended_or_cut = tokio::time::timeout(CLOSE_WITHIN, serving).await;
}

async fn answer(
    routes: Router,
    place: Arc<Place>,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    place.busy();
    let response = if place.only_probes && !PROBES.contains(&request.uri().path()) {
        overloaded()
    } else {
        routes.oneshot(request.map(Body::new)).await?
    };
    place.quiet();
    Ok(response)
}

fn overloaded() -> Response {
    let mut response = Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "too-many-connections",
        "Too many connections",
        "every connection is taken, only probes are answered; try again, and close connections that are not used",
    )
    .into_response();
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
