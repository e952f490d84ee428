//! The faults, and how they are dealt out.

use std::time::Duration;

use eidos_testkit::{ChildProcess, ProxyMode, Tally, eventually};
use eidos_types::{Clock, SystemClock};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use sqlx::PgPool;

use crate::arena::{Arena, LEASE_TTL};

/// How many replicas race for the slots.
pub(crate) const REPLICAS: usize = 2;

#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    StopBeyondLease,
    RedisRestart,
    RedisFlush,
    PostgresRestart,
    RpcBlackhole,
}

impl Fault {
    /// Killing and stopping are the faults that find most, so they come more often.
    const DEALT: [Self; 10] = [
        Self::Kill,
        Self::Kill,
        Self::Kill,
        Self::StopBeyondLease,
        Self::StopBeyondLease,
        Self::RedisRestart,
        Self::RedisFlush,
        Self::RedisFlush,
        Self::PostgresRestart,
        Self::RpcBlackhole,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9",
            Self::StopBeyondLease => "stop beyond the lease",
            Self::RedisRestart => "redis restart",
            Self::RedisFlush => "redis flushall",
            Self::PostgresRestart => "postgres restart",
            Self::RpcBlackhole => "rpc blackhole",
        }
    }
}

/// Two replicas in bad weather.
pub(crate) struct Storm<'a> {
    arena: &'a Arena,
    replicas: Vec<ChildProcess>,
    rng: StdRng,
    database: PgPool,
}

impl<'a> Storm<'a> {
    /// Starts the replicas, their clocks a minute apart, and waits for the first success.
    pub(crate) async fn begin(arena: &'a Arena, rng: StdRng) -> anyhow::Result<Self> {
        let replicas = (0..REPLICAS)
            .map(|index| arena.replica_with(index, &[]))
            .collect::<anyhow::Result<_>>()?;
        let storm = Self {
            arena,
            replicas,
            rng,
            database: arena.jobs().await?,
        };
        storm.wait_for_success_after(0, Duration::from_mins(1)).await;
        Ok(storm)
    }

    /// Deals out `rounds` faults at random moments.
    pub(crate) async fn rage(&mut self, rounds: u32) -> anyhow::Result<Tally> {
        let mut tally = Tally::new();
        for round in 1..=rounds {
            // Not a wait for anything: the random moment is the point, any instant of a run may be hit.
            tokio::time::sleep(Duration::from_millis(self.rng.random_range(50..1500))).await;
            let fault = *Fault::DEALT.choose(&mut self.rng).expect("there are faults");
            let victim = self.rng.random_range(0..self.replicas.len());
            self.strike(fault, victim).await?;
            *tally.entry(fault.name()).or_default() += 1;
            if round % 20 == 0 {
                println!("  round {round}: {} executions so far", self.executions().await);
            }
        }
        Ok(tally)
    }

    async fn strike(&mut self, fault: Fault, victim: usize) -> anyhow::Result<()> {
        match fault {
            Fault::Kill => {
                self.replicas[victim].kill();
                self.replicas[victim] = self.arena.replica_with(victim, &[])?;
            }
            Fault::StopBeyondLease => {
                self.replicas[victim].pause().await;
                tokio::time::sleep(LEASE_TTL + Duration::from_millis(self.rng.random_range(200..1500))).await;
                self.replicas[victim].resume();
            }
            Fault::RedisRestart => self.arena.redis.restart().await?,
            Fault::RedisFlush => self.arena.redis.flush_all().await?,
            Fault::PostgresRestart => self.arena.postgres.restart().await?,
            Fault::RpcBlackhole => {
                self.arena.rpc.set(ProxyMode::Blackhole).await;
                tokio::time::sleep(Duration::from_millis(self.rng.random_range(500..3000))).await;
                self.arena.rpc.set(ProxyMode::Pass).await;
            }
        }
        self.revive()
    }

    /// A replica that ended by itself (it may refuse to start while a server is away) is started again, as its
    /// platform would.
    fn revive(&mut self) -> anyhow::Result<()> {
        for index in 0..self.replicas.len() {
            if self.replicas[index].exit_status().is_some() {
                self.replicas[index] = self.arena.replica_with(index, &[])?;
            }
        }
        Ok(())
    }

    /// No more faults: waits until a full run that began after the last one has succeeded. Returns when that was.
    pub(crate) async fn calm(&mut self, within: Duration) -> anyhow::Result<i64> {
        self.revive()?;
        let last_fault_ms = SystemClock::default().now_ms();
        self.wait_for_success_after(last_fault_ms, within).await;
        Ok(last_fault_ms)
    }

    /// Both replicas end in an orderly way.
    pub(crate) async fn end(&mut self) -> anyhow::Result<()> {
        for replica in &self.replicas {
            replica.terminate();
        }
        for replica in &self.replicas {
            let status = replica.wait_exit(Duration::from_secs(30)).await;
            anyhow::ensure!(
                status.success(),
                "a replica ended with {status} after SIGTERM: {}",
                replica.stderr()
            );
        }
        Ok(())
    }

    /// Success is judged by the database's clock: the replicas' own are skewed on purpose.
    async fn wait_for_success_after(&self, instant_ms: i64, within: Duration) {
        eventually("a full run succeeds", within, async || {
            let done: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM eidos_jobs_executions
                 WHERE status = 'success' AND slot_ms > $1 AND result ->> 'mode' = 'full'",
            )
            .bind(instant_ms)
            .fetch_one(&self.database)
            .await
            .map_err(|error| error.to_string())?;
            if done > 0 {
                Ok(())
            } else {
                Err(self.last_words().await)
            }
        })
        .await;
    }

    /// What the replicas and the history say, for a failure's message.
    async fn last_words(&self) -> String {
        let last: Option<String> = sqlx::query_scalar(
            "SELECT concat_ws(' ', status, failure_kind, error_message) FROM eidos_jobs_executions
             ORDER BY started_at DESC LIMIT 1",
        )
        .fetch_optional(&self.database)
        .await
        .unwrap_or_default();
        let tails = self.replicas.iter().map(|replica| {
            let log = replica.stderr();
            log.lines().rev().take(12).collect::<Vec<_>>().join("\n    ")
        });
        format!(
            "last execution {last:?}\n    {}",
            tails.collect::<Vec<_>>().join("\n  --\n    ")
        )
    }

    async fn executions(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM eidos_jobs_executions")
            .fetch_one(&self.database)
            .await
            .unwrap_or_default()
    }
}
