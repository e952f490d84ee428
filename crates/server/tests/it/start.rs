//! A start while the database is restarted: waited for, within a limit; everything else is refused at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::bail;
use eidos_runtime::{Parts, ServiceDeps};
use eidos_server::{Service, ServiceDefinition};
use eidos_testkit::{ProxyMode, TcpProxy, shared_postgres};
use eidos_types::{SharedClock, SystemClock};
use futures::FutureExt;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{Fixture, SOON};
use crate::small_service::{SmallSettings, definition};

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
