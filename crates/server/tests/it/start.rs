//! A start while the database is restarted: waited for, within a limit; everything else is refused at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::bail;
use eidos_runtime::{Job, JobContext, JobEntry, JobError, Parts, ServiceDeps, Start};
use eidos_server::{Service, ServiceDefinition};
use eidos_testkit::{ProxyMode, TcpProxy, eventually, shared_postgres};
use eidos_types::{SharedClock, SystemClock};
use futures::FutureExt;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{Fixture, Node, SOON};
use crate::small_service::{Fine, SmallSettings, definition};

/// How often each build of this file began.
static READING: AtomicU32 = AtomicU32::new(0);
static AWAY: AtomicU32 = AtomicU32::new(0);
static REFUSING: AtomicU32 = AtomicU32::new(0);

fn clock() -> SharedClock {
    Arc::new(SystemClock::default())
}

/// Reads the catalogue, slowly the first time: the server is restarted meanwhile.
async fn reads_the_catalogue(deps: ServiceDeps<SmallSettings>) -> anyhow::Result<Parts> {
    let first = READING.fetch_add(1, Ordering::SeqCst) == 0;
    let slowly = if first { 30.0 } else { 0.0 };
    sqlx::query("SELECT pg_sleep($1), count(*) FROM pg_catalog.pg_class")
        .bind(slowly)
        .execute(deps.jobs_db.read())
        .await?;
    Ok(Parts::default())
}

#[tokio::test]
async fn a_start_waits_for_a_database_that_is_restarted_while_it_reads() {
    let fixture = Fixture::new().await;
    let proxy = TcpProxy::start(shared_postgres().await.port()).await;
    let url = fixture.db.url_via(proxy.port());
    let settings = fixture.settings(&[("EIDOS__DATABASES__JOBS__URL", url.as_str())]);
    let definition = ServiceDefinition {
        build: |deps| reads_the_catalogue(deps).boxed(),
        ..definition()
    };
    let restart = async {
        eidos_testkit::eventually("the catalogue is read", SOON, async || {
            (READING.load(Ordering::SeqCst) > 0)
                .then_some(())
                .ok_or("not yet")
        })
        .await;
        sleep(Duration::from_millis(200)).await;
        // What a server says that stops, and then the port of one that is down.
        let stopped = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        sqlx::query(stopped).execute(fixture.db.pool()).await.unwrap();
        proxy.set(ProxyMode::Refuse).await;
        sleep(Duration::from_secs(1)).await;
        proxy.set(ProxyMode::Pass).await;
    };
    let (service, ()) = tokio::join!(Service::connect(&definition, settings, clock()), restart);
    service.unwrap();
    assert!(READING.load(Ordering::SeqCst) > 1);
}

#[tokio::test]
async fn a_start_gives_up_on_a_database_that_stays_away() {
    let fixture = Fixture::new().await;
    let proxy = TcpProxy::start(shared_postgres().await.port()).await;
    proxy.set(ProxyMode::Refuse).await;
    let url = fixture.db.url_via(proxy.port());
    let limit = [
        ("EIDOS__DATABASES__JOBS__URL", url.as_str()),
        ("EIDOS__SERVICE__START_TIMEOUT", "2s"),
    ];
    let definition = ServiceDefinition {
        build: |_deps| {
            AWAY.fetch_add(1, Ordering::SeqCst);
            async { Ok(Parts::default()) }.boxed()
        },
        ..definition()
    };
    let starting = Service::connect(&definition, fixture.settings(&limit), clock());
    let error = timeout(SOON, starting).await.unwrap().err().unwrap();
    assert!(
        format!("{error:#}").contains("cannot connect to the jobs database"),
        "{error:#}"
    );
    assert_eq!(AWAY.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_no_restart_cures_is_refused_at_once() {
    let fixture = Fixture::new().await;
    let definition = ServiceDefinition {
        build: |_deps| {
            REFUSING.fetch_add(1, Ordering::SeqCst);
            async { bail!("the table t does not exist; grant it") }.boxed()
        },
        ..definition()
    };
    let error = Service::connect(&definition, fixture.settings(&[]), clock()).await;
    assert_eq!(
        error.err().unwrap().to_string(),
        "the table t does not exist; grant it"
    );
    assert_eq!(REFUSING.load(Ordering::SeqCst), 1);

    let wrong = fixture.db.url().replace(fixture.db.name(), "no_such_database");
    let began = Instant::now();
    let settings = fixture.settings(&[("EIDOS__DATABASES__JOBS__URL", wrong.as_str())]);
    let error = Service::connect(&definition, settings, clock()).await;
    let error = format!("{:#}", error.err().unwrap());
    assert!(error.contains("no_such_database"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(REFUSING.load(Ordering::SeqCst), 1);
}

/// Counts its runs where a database is not needed.
struct Counted;

static RUNS: AtomicU32 = AtomicU32::new(0);

impl Job for Counted {
    const NAME: &'static str = "unlocked";
    type Params = BTreeMap<String, String>;
    type Report = ();

    async fn run(&self, _ctx: &JobContext, _params: Self::Params) -> Result<(), JobError> {
        RUNS.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn render(&self, _report: &()) -> String {
        String::new()
    }
}

#[tokio::test]
async fn ruling_10_a_service_without_locks_starts_and_runs_while_every_server_is_down() {
    let fixture = Fixture::new().await;
    let proxy = TcpProxy::start(shared_postgres().await.port()).await;
    let (_, address) = fixture.redis.url().split_once("://").unwrap();
    let port = address.split([':', '/']).nth(1).unwrap();
    let redis = TcpProxy::start(port.parse().unwrap()).await;
    for server in [&proxy, &redis] {
        server.set(ProxyMode::Refuse).await;
    }
    let url = fixture.db.url_via(proxy.port());
    let redis_url = format!("redis://127.0.0.1:{}", redis.port());
    let settings = fixture.settings(&[
        ("EIDOS__DATABASES__JOBS__URL", url.as_str()),
        ("EIDOS__REDIS__URL", redis_url.as_str()),
        ("EIDOS__JOBS__UNLOCKED__ENABLED", "true"),
    ]);
    let definition = ServiceDefinition {
        start: Start::Unconnected,
        build: |_deps| {
            let jobs = vec![JobEntry::new(Counted)];
            async {
                Ok(Parts {
                    jobs,
                    workers: Vec::new(),
                })
            }
            .boxed()
        },
        ..definition()
    };
    let service = Service::connect(&definition, settings, clock()).await.unwrap();
    let node = Node::of(service.serve().await.unwrap());
    let up = |health: &serde_json::Value| {
        let checks = health["checks"].as_array().unwrap();
        checks
            .iter()
            .map(|check| check["healthy"] == true)
            .collect::<Vec<_>>()
    };
    let (status, health) = node.get("/health").await;
    assert_eq!(
        (status.as_u16(), up(&health)),
        (200, vec![false, false]),
        "{health}"
    );
    let (status, _ready) = node.get("/ready").await;
    assert_eq!(status.as_u16(), 200);
    assert!(fixture.history("unlocked").await.is_empty());

    // The servers come back: the same process keeps its history from now on.
    for server in [&proxy, &redis] {
        server.set(ProxyMode::Pass).await;
    }
    eventually("a run is in the history", SOON, async || {
        let history = fixture.history("unlocked").await;
        let success = ("success".to_owned(), None, 1);
        if history.contains(&success) {
            Ok(())
        } else {
            Err(format!("{history:?}"))
        }
    })
    .await;
    eventually("both servers are seen", SOON, async || {
        let (_status, health) = node.get("/health").await;
        if up(&health) == [true, true] {
            Ok(())
        } else {
            Err(health.to_string())
        }
    })
    .await;

    // They go again, in the middle of everything: runs go on.
    proxy.set(ProxyMode::Refuse).await;
    let before = RUNS.load(Ordering::SeqCst);
    eventually("runs without a history", SOON, async || {
        let now = RUNS.load(Ordering::SeqCst);
        if now > before + 1 { Ok(()) } else { Err(now) }
    })
    .await;
    node.serving.shut_down().await;
}

#[tokio::test]
async fn a_service_that_needs_no_server_refuses_a_job_that_takes_a_lock() {
    let fixture = Fixture::new().await;
    let definition = ServiceDefinition {
        start: Start::Unconnected,
        build: |_deps| {
            let jobs = vec![JobEntry::new(Fine)];
            async {
                Ok(Parts {
                    jobs,
                    workers: Vec::new(),
                })
            }
            .boxed()
        },
        ..definition()
    };
    let error = Service::connect(&definition, fixture.settings(&[]), clock()).await;
    let error = error.err().unwrap().to_string();
    assert!(error.starts_with("jobs.fine.lock.kind must be none"), "{error}");
}
