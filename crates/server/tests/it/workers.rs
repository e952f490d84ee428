//! Workers run until the service stops: a stalled one makes it unready, one that ends is started again, and of a leased
//! one exactly one replica works.

use std::sync::Arc;
use std::time::Duration;

use eidos_runtime::{Drained, Parts, ServiceDeps, Start, Worker, WorkerContext, WorkerEntry};
use eidos_server::{Service, ServiceDefinition, Serving};
use eidos_settings::Input;
use eidos_testkit::{ChildProcess, Command, eventually};
use eidos_types::SystemClock;
use futures::FutureExt;
use reqwest::StatusCode;
use sqlx::PgPool;

use crate::harness::{Fixture, SOON};
use crate::small_service::SmallSettings;

/// Set in a process that hosts the leased worker; without it that "test" has nothing to do.
const ROLE: &str = "WORKER_TEST_ROLE";
/// How long the lease of a killed process lasts, at most.
const LEASE: Duration = Duration::from_secs(4);

/// What a toy does after it has noted its start.
#[derive(Clone, Copy)]
enum Does {
    /// Beats in every turn.
    Turns,
    /// Never beats again.
    Stalls,
    /// As [`Self::Stalls`], and without a first heartbeat.
    NeverBeats,
    /// Returns at once.
    Returns,
    /// Panics at once.
    Panics,
}

struct Toy {
    name: &'static str,
    does: Does,
    lease: Option<Duration>,
    pool: PgPool,
}

impl Worker for Toy {
    fn name(&self) -> &'static str {
        self.name
    }

    fn lease_ttl(&self) -> Option<Duration> {
        self.lease
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(2)
    }

    async fn run(&self, ctx: &WorkerContext) -> anyhow::Result<()> {
        if !matches!(self.does, Does::NeverBeats) {
            ctx.beat();
        }
        note(&self.pool, self.name).await;
        match self.does {
            Does::Returns => return Ok(()),
            Does::Panics => panic!("out of toys"),
            Does::Stalls | Does::NeverBeats => ctx.cancelled().await,
            Does::Turns => {
                while tokio::time::timeout(Duration::from_millis(50), ctx.cancelled())
                    .await
                    .is_err()
                {
                    ctx.beat();
                    note(&self.pool, self.name).await;
                }
                // The lease is still held: another replica must not have begun.
                note(&self.pool, self.name).await;
            }
        }
        Ok(())
    }
}

async fn note(pool: &PgPool, worker: &str) {
    sqlx::query("INSERT INTO turns (worker, pid) VALUES ($1, $2)")
        .bind(worker)
        .bind(i64::from(std::process::id()))
        .execute(pool)
        .await
        .unwrap();
}

fn service_of(
    build: fn(ServiceDeps<SmallSettings>) -> futures::future::BoxFuture<'static, anyhow::Result<Parts>>,
) -> ServiceDefinition<SmallSettings> {
    ServiceDefinition {
        name: "small-svc",
        about: "test",
        start: Start::Connected,
        build,
        routes: None,
        reports: None,
        openapi: None,
        commands: &[],
        queries: &[],
    }
}

fn parts(deps: &ServiceDeps<SmallSettings>, toys: &[(&'static str, Does, Option<Duration>)]) -> Parts {
    let toy = |(name, does, lease): &(&'static str, Does, Option<Duration>)| {
        WorkerEntry::new(Toy {
            name,
            does: *does,
            lease: *lease,
            pool: deps.jobs_db.control().clone(),
        })
    };
    Parts {
        jobs: Vec::new(),
        workers: toys.iter().map(toy).collect(),
    }
}

async fn fixture() -> Fixture {
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let fixture = Fixture::new().await;
    sqlx::query("CREATE TABLE turns (id BIGSERIAL PRIMARY KEY, worker TEXT NOT NULL, pid BIGINT NOT NULL)")
        .execute(fixture.db.pool())
        .await
        .unwrap();
    fixture
}

async fn connect(
    fixture: &Fixture,
    definition: &ServiceDefinition<SmallSettings>,
) -> anyhow::Result<Service> {
    Service::connect(
        definition,
        fixture.settings(&[]),
        Arc::new(SystemClock::default()),
    )
    .await
}

async fn started(fixture: &Fixture, worker: &str, times: i64) {
    eventually(&format!("{worker} was started {times} times"), SOON, async || {
        let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM turns WHERE worker = $1")
            .bind(worker)
            .fetch_one(fixture.db.pool())
            .await
            .unwrap();
        if seen >= times { Ok(()) } else { Err(seen) }
    })
    .await;
}

async fn get(serving: &Serving, path: &str) -> (StatusCode, String) {
    let url = format!("http://{}{path}", serving.http_address());
    let answer = reqwest::get(url).await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

#[tokio::test]
async fn a_worker_that_stalls_makes_the_service_unready_and_not_unlive() {
    let fixture = fixture().await;
    let definition = service_of(|deps| {
        async move {
            Ok(parts(
                &deps,
                &[
                    ("turns", Does::Turns, None),
                    ("stalls", Does::Stalls, None),
                    ("silent", Does::NeverBeats, None),
                ],
            ))
        }
        .boxed()
    });
    let serving = connect(&fixture, &definition)
        .await
        .unwrap()
        .serve()
        .await
        .unwrap();
    started(&fixture, "stalls", 1).await;
    assert_eq!(get(&serving, "/ready").await.0, StatusCode::OK);
    eventually("only the workers that stall are reported", SOON, async || {
        let (status, text) = get(&serving, "/ready").await;
        let names = |name: &str| text.contains(name);
        if status == StatusCode::SERVICE_UNAVAILABLE && names("stalls") && names("silent") && !names("turns")
        {
            Ok(())
        } else {
            Err(format!("{status} {text}"))
        }
    })
    .await;
    assert_eq!(get(&serving, "/live").await.0, StatusCode::OK);
    assert_eq!(serving.shut_down().await, Drained::Clean);
}

#[tokio::test]
async fn a_worker_that_returns_or_panics_is_started_again_and_all_end_with_the_service() {
    let fixture = fixture().await;
    let definition = service_of(|deps| {
        let toys = [
            ("turns", Does::Turns, None),
            ("returns", Does::Returns, None),
            ("panics", Does::Panics, None),
        ];
        async move { Ok(parts(&deps, &toys)) }.boxed()
    });
    let serving = connect(&fixture, &definition)
        .await
        .unwrap()
        .serve()
        .await
        .unwrap();
    started(&fixture, "returns", 3).await;
    started(&fixture, "panics", 3).await;
    assert_eq!(serving.shut_down().await, Drained::Clean);
    let ended = fixture.count("SELECT count(*) FROM turns").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(
        fixture.count("SELECT count(*) FROM turns").await,
        ended,
        "nothing works after the end"
    );
}

#[tokio::test]
async fn two_workers_of_one_name_and_a_lease_that_is_too_short_are_refused() {
    let fixture = fixture().await;
    let twice = service_of(|deps| {
        async move {
            Ok(parts(
                &deps,
                &[("turns", Does::Turns, None), ("turns", Does::Turns, None)],
            ))
        }
        .boxed()
    });
    let short = service_of(|deps| {
        async move {
            Ok(parts(
                &deps,
                &[("turns", Does::Turns, Some(Duration::from_secs(1)))],
            ))
        }
        .boxed()
    });
    let named = service_of(|deps| {
        async move { Ok(parts(&deps, &[("Two Words", Does::Turns, Some(LEASE))])) }.boxed()
    });
    for (definition, says) in [
        (twice, "'turns' twice"),
        (short, "lasts 1s"),
        (named, "'Two Words'"),
    ] {
        let error = format!("{:#}", connect(&fixture, &definition).await.err().unwrap());
        assert!(error.contains(says), "{error}");
    }
}

/// A process of the test below: it hosts the leased worker until it is killed.
#[tokio::test]
async fn a_process_with_a_leased_worker() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let env = std::env::vars()
        .filter(|(name, _)| name.starts_with("EIDOS__"))
        .collect();
    let settings = eidos_settings::load::<SmallSettings>(&Input { file: None, env }).unwrap();
    let definition =
        service_of(|deps| async move { Ok(parts(&deps, &[("leased", Does::Turns, Some(LEASE))])) }.boxed());
    let clock = Arc::new(SystemClock::default());
    let service = Service::connect(&definition, Arc::new(settings), clock)
        .await
        .unwrap();
    let mut serving = service.serve().await.unwrap();
    panic!("{:#}", serving.failed().await);
}

fn process(fixture: &Fixture) -> ChildProcess {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "workers::a_process_with_a_leased_worker",
            "--nocapture",
        ])
        .env(ROLE, "host")
        .env("EIDOS__DATABASES__JOBS__URL", fixture.db.url())
        .env("EIDOS__REDIS__URL", fixture.redis.url())
        .env("EIDOS__REDIS__LOCK_PREFIX", fixture.redis.prefix())
        .env("EIDOS__SCHEDULER__CANCEL_GRACE", "500ms")
        .env("EIDOS__SERVICE__ENV", "dev")
        .env("EIDOS__SERVICE__HTTP_HOST", "127.0.0.1")
        .env("EIDOS__SERVICE__GRPC_HOST", "127.0.0.1")
        .env("EIDOS__SERVICE__HTTP_PORT", "0")
        .env("EIDOS__SERVICE__GRPC_PORT", "0")
        .spawn()
}

async fn pids(fixture: &Fixture) -> Vec<i64> {
    // Runs of turns by one process, in order.
    sqlx::query_scalar(
        "SELECT pid FROM (SELECT id, pid, lag(pid) OVER (ORDER BY id) AS before FROM turns) AS turn \
         WHERE before IS DISTINCT FROM pid ORDER BY id",
    )
    .fetch_all(fixture.db.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn a_leased_worker_runs_in_one_of_two_processes_and_moves_when_that_one_is_killed() {
    let fixture = fixture().await;
    let (one, two) = (process(&fixture), process(&fixture));
    started(&fixture, "leased", 20).await;
    let working = pids(&fixture).await;
    assert_eq!(working.len(), 1, "one process at a time: {working:?}");
    let (dies, lives) = if working[0] == i64::from(one.pid()) {
        (one, two)
    } else {
        (two, one)
    };
    dies.kill();
    let survivor = i64::from(lives.pid());
    eventually("the other process works", SOON, async || {
        let working = pids(&fixture).await;
        if working.len() == 2 && working[1] == survivor {
            Ok(())
        } else {
            Err(format!("{working:?}"))
        }
    })
    .await;
    lives.terminate();
}
