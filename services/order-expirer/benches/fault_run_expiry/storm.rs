//! The faults, and how they are dealt out.

use std::time::Duration;

use eidos_devnet::orders;
use eidos_testkit::{ChildProcess, Tally, eventually};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::arena::{Arena, REPLICAS};
use crate::poison::{self, Planted};
use crate::transport::Transports;

/// Rounds from one planting of poison to the next.
const POISON_EVERY: u32 = 5;
/// How long everything may take to settle after the last fault.
const RECOVERY: Duration = Duration::from_mins(5);

#[derive(Debug, Clone, Copy)]
enum Fault {
    KillReplica,
    StopReplica,
    KillEngine,
    StopEngine,
    KafkaKill,
    KafkaStopped,
    PostgresRestart,
    RedisRestart,
}

impl Fault {
    /// Kills are half of them.
    const DEALT: [Self; 11] = [
        Self::KillReplica,
        Self::KillReplica,
        Self::KillReplica,
        Self::KillEngine,
        Self::KillEngine,
        Self::StopReplica,
        Self::StopEngine,
        Self::KafkaKill,
        Self::KafkaStopped,
        Self::PostgresRestart,
        Self::RedisRestart,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::KillReplica => "kill -9 of order-expirer",
            Self::StopReplica => "order-expirer stopped, continued",
            Self::KillEngine => "kill -9 of engine and trading service",
            Self::StopEngine => "engine stopped, continued",
            Self::KafkaKill => "kill -9 of kafka, away for a while",
            Self::KafkaStopped => "kafka stopped, continued",
            Self::PostgresRestart => "postgres restart",
            Self::RedisRestart => "redis restart",
        }
    }
}

/// The processes in bad weather.
pub(crate) struct Storm<'a> {
    arena: &'a Arena,
    rng: StdRng,
    engine: ChildProcess,
    /// How often the engine was started.
    lives: u64,
    replicas: Vec<ChildProcess>,
    /// The current round; it decides the transport of a process that is started.
    round: u32,
    planted: Vec<Planted>,
}

impl<'a> Storm<'a> {
    /// Starts everything and waits for the first order to expire.
    pub(crate) async fn begin(arena: &'a Arena, rng: StdRng) -> anyhow::Result<Self> {
        let replicas = (0..REPLICAS)
            .map(|index| arena.replica(index, 0))
            .collect::<anyhow::Result<_>>()?;
        let storm = Self {
            arena,
            rng,
            engine: arena.engine(0, true),
            lives: 1,
            replicas,
            round: 0,
            planted: Vec::new(),
        };
        let before = orders::still_open(&arena.exchange).await?;
        eventually(
            "the first order expires",
            RECOVERY,
            async || match orders::still_open(&arena.exchange).await {
                Ok(open) if open < before => Ok(()),
                Ok(_none) => Err(storm.last_words()),
                Err(error) => Err(format!("{error:#}")),
            },
        )
        .await;
        Ok(storm)
    }

    /// Deals out `rounds` faults at random moments, and adds orders.
    pub(crate) async fn rage(&mut self, rounds: u32) -> anyhow::Result<Tally> {
        let mut tally = Tally::new();
        for round in 1..=rounds {
            self.round = round;
            self.arena.add_round(round).await?;
            self.change_transport().await?;
            if round % POISON_EVERY == 0 {
                self.plant().await?;
            }
            // Not a wait for anything: the random moment is the point, any instant of a run may be hit.
            tokio::time::sleep(Duration::from_millis(self.rng.random_range(50..3_000))).await;
            let fault = *Fault::DEALT.choose(&mut self.rng).expect("there are faults");
            self.strike(fault).await?;
            self.revive()?;
            *tally.entry(fault.name()).or_default() += 1;
            if round % 20 == 0
                && let Ok(open) = orders::still_open(&self.arena.exchange).await
            {
                println!("  round {round}: {open} orders wait for their end");
            }
        }
        Ok(tally)
    }

    /// With both transports, one process per round is started again with the other one.
    async fn change_transport(&mut self) -> anyhow::Result<()> {
        if self.arena.transports != Transports::Both {
            return Ok(());
        }
        let index = self.round as usize / 2 % self.replicas.len();
        self.replicas[index].terminate();
        self.replicas[index].wait_exit(Duration::from_secs(30)).await;
        self.replicas[index] = self.arena.replica(index, self.round)?;
        Ok(())
    }

    /// Plants poison. Brokers that have just been started again may need a moment; what was not acknowledged is not planted,
    /// so no fault is dealt meanwhile.
    async fn plant(&mut self) -> anyhow::Result<()> {
        let kafka = poison::section(&self.arena.kafka.bootstrap_servers());
        let planted = poison::plant(&kafka, &self.arena.topics, self.round).await?;
        self.planted.extend(planted);
        Ok(())
    }

    /// The poison that was planted.
    pub(crate) fn planted(&self) -> &[Planted] {
        &self.planted
    }

    async fn strike(&mut self, fault: Fault) -> anyhow::Result<()> {
        let victim = self.rng.random_range(0..self.replicas.len());
        let pause = Duration::from_millis(self.rng.random_range(500..6_000));
        match fault {
            Fault::KillReplica => {
                self.replicas[victim].kill();
            }
            Fault::StopReplica => {
                self.replicas[victim].pause().await;
                tokio::time::sleep(pause).await;
                self.replicas[victim].resume();
            }
            Fault::KillEngine => {
                self.engine.kill();
            }
            Fault::StopEngine => {
                self.engine.pause().await;
                tokio::time::sleep(pause).await;
                self.engine.resume();
            }
            Fault::KafkaKill => {
                self.arena.kafka.kill().await?;
                tokio::time::sleep(pause).await;
                self.arena.kafka.start_again().await?;
            }
            Fault::KafkaStopped => {
                self.arena.kafka.pause().await?;
                tokio::time::sleep(pause).await;
                self.arena.kafka.resume().await?;
            }
            Fault::PostgresRestart => self.arena.postgres.restart().await?,
            Fault::RedisRestart => self.arena.redis.restart().await?,
        }
        Ok(())
    }

    /// A process that ended, by a fault or because a server was away at its start, is started again.
    fn revive(&mut self) -> anyhow::Result<()> {
        for index in 0..self.replicas.len() {
            if self.replicas[index].exit_status().is_some() {
                self.replicas[index] = self.arena.replica(index, self.round)?;
            }
        }
        if self.engine.exit_status().is_some() {
            self.engine = self.arena.engine(self.lives, true);
            self.lives += 1;
        }
        Ok(())
    }

    /// No more faults: the engine behaves, and everything gets its time to settle.
    pub(crate) async fn calm(&mut self) -> anyhow::Result<()> {
        self.engine.kill();
        self.engine = self.arena.engine(self.lives, false);
        let arena = self.arena;
        let kafka = poison::section(&arena.kafka.bootstrap_servers());
        let planted = self.planted.len();
        eventually("every order and every request has ended", RECOVERY, async || {
            self.revive().map_err(|error| format!("{error:#}"))?;
            let open = orders::still_open(&arena.exchange).await;
            let open = open.map_err(|error| format!("{error:#}"))?;
            let requests: i64 =
                sqlx::query_scalar("SELECT count(*) FROM eidos_jobs_order_expiries WHERE state <> 'closed'")
                    .fetch_one(&arena.jobs)
                    .await
                    .map_err(|error| error.to_string())?;
            let letters = poison::dead_letters(&kafka, &arena.topics).await;
            let letters = letters.map_err(|error| format!("{error:#}"))?.len();
            if open == 0 && requests == 0 && letters >= planted {
                Ok(())
            } else {
                Err(format!(
                    "{open} orders and {requests} requests are open, {letters} of {planted} poisons are dead letters\n{}",
                    self.last_words()
                ))
            }
        })
        .await;
        Ok(())
    }

    /// Every process ends in an orderly way.
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
        self.engine.interrupt();
        self.engine.wait_exit(Duration::from_secs(30)).await;
        Ok(())
    }

    /// What the processes said last, for a failure's message.
    fn last_words(&self) -> String {
        let logs = self.replicas.iter().chain([&self.engine]).map(|process| {
            let log = process.stderr();
            log.lines().rev().take(8).collect::<Vec<_>>().join("\n    ")
        });
        logs.collect::<Vec<_>>().join("\n  --\n    ")
    }
}
