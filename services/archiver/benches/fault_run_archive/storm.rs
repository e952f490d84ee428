//! The faults, and how they are dealt out.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use chrono::{DateTime, TimeDelta, Utc};
use eidos_testkit::{ChildProcess, Tally};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use sqlx::{AssertSqlSafe, Postgres, Transaction};

use crate::aftermath::Aftermath;
use crate::arena::{Arena, Disposer};
use crate::life;

/// A run that takes longer hangs.
const WITHIN: Duration = Duration::from_mins(2);
/// `EX_TEMPFAIL`: another run holds the lease.
const BUSY: i32 = 75;
/// How often the wire is looked at: a few statements pass in that time at most.
const LOOK: Duration = Duration::from_micros(200);
/// Every so many rounds both services finish their work undisturbed.
const REST_EVERY: u32 = 15;

#[derive(Debug, Clone, Copy)]
enum Fault {
    KillAtByte,
    KillAtMoment,
    Overtake,
    PostgresRestart,
}

impl Fault {
    /// Killing in the middle of a conversation finds most, so it comes most often.
    const DEALT: [Self; 10] = [
        Self::KillAtByte,
        Self::KillAtByte,
        Self::KillAtByte,
        Self::KillAtByte,
        Self::KillAtByte,
        Self::KillAtMoment,
        Self::KillAtMoment,
        Self::Overtake,
        Self::Overtake,
        Self::PostgresRestart,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::KillAtByte => "kill -9 after so many bytes",
            Self::KillAtMoment => "kill -9 at a random moment",
            Self::Overtake => "stopped, overtaken, continued",
            Self::PostgresRestart => "postgres restart",
        }
    }
}

/// What an undisturbed run of a job takes, so that blows fall inside it.
#[derive(Debug, Clone, Copy)]
struct Length {
    bytes: u64,
    time: Duration,
}

/// The services in bad weather.
pub(crate) struct Storm<'a> {
    arena: &'a Arena,
    rng: StdRng,
    slot: DateTime<Utc>,
    cleanup: Length,
    archive: Length,
    partitions: Length,
    pub(crate) aftermath: Aftermath,
}

impl<'a> Storm<'a> {
    /// Measures an undisturbed run of each job.
    pub(crate) async fn begin(arena: &'a Arena, rng: StdRng) -> anyhow::Result<Self> {
        let none = Length {
            bytes: 0,
            time: Duration::ZERO,
        };
        let mut storm = Self {
            arena,
            rng,
            slot: life::first_slot(),
            cleanup: none,
            archive: none,
            partitions: none,
            aftermath: Aftermath::default(),
        };
        storm.partitions = storm.undisturbed(Disposer::Partitions).await?;
        storm.cleanup = storm.undisturbed(Disposer::Cleanup).await?;
        storm.archive = storm.undisturbed(Disposer::Archive).await?;
        println!(
            "undisturbed: cleanup {} bytes in {:?}, archive {} bytes in {:?}",
            storm.cleanup.bytes, storm.cleanup.time, storm.archive.bytes, storm.archive.time
        );
        Ok(storm)
    }

    /// Deals out `rounds` faults.
    pub(crate) async fn rage(&mut self, rounds: u32) -> anyhow::Result<Tally> {
        let mut tally = Tally::new();
        for round in 1..=rounds {
            self.live_on(rounds).await?;
            let fault = *Fault::DEALT.choose(&mut self.rng).expect("there are faults");
            let disposer = self.somebody();
            let reader = self.reader(fault, disposer).await?;
            let struck = self.strike(fault, disposer).await?;
            if let Some(reader) = reader {
                reader.rollback().await?;
                *tally.entry("  while somebody read the tables").or_default() += 1;
            }
            self.aftermath.look(self.arena).await?;
            let name = if struck {
                fault.name()
            } else {
                "came too late: the run was over"
            };
            *tally.entry(name).or_default() += 1;
            if round % REST_EVERY == 0 {
                self.undisturbed(Disposer::Cleanup).await?;
                self.undisturbed(Disposer::Archive).await?;
                println!(
                    "  round {round}: {}, {}",
                    self.slot.date_naive(),
                    self.units().await?
                );
            }
        }
        self.aftermath.add_to(&mut tally);
        Ok(tally)
    }

    /// Now and then somebody reads the partitioned tables all through a killed run: a detach has to wait then, and is made
    /// concurrently at last, which a kill leaves pending.
    async fn reader(
        &mut self,
        fault: Fault,
        disposer: Disposer,
    ) -> anyhow::Result<Option<Transaction<'static, Postgres>>> {
        let killed = matches!(fault, Fault::KillAtByte | Fault::KillAtMoment);
        if disposer != Disposer::Cleanup || !killed || !self.rng.random_ratio(1, 3) {
            return Ok(None);
        }
        let mut reader = self.arena.exchange.begin().await?;
        for table in life::PARTITIONED {
            let read = format!("SELECT count(*) FROM {table}");
            sqlx::query(AssertSqlSafe(read)).execute(&mut *reader).await?;
        }
        Ok(Some(reader))
    }

    /// No more faults: everything that is due is done, and nothing is left in between.
    pub(crate) async fn calm(&mut self) -> anyhow::Result<DateTime<Utc>> {
        // Three slots, two days apart: what was detached in one may be dropped in the next.
        for _slot in 0..3 {
            self.slot += TimeDelta::days(2);
            for disposer in [Disposer::Partitions, Disposer::Cleanup, Disposer::Archive] {
                self.undisturbed(disposer).await?;
            }
        }
        Ok(self.slot)
    }

    /// Time goes on, rows are added and some finish late. The last round ends near today.
    async fn live_on(&mut self, rounds: u32) -> anyhow::Result<()> {
        let whole = TimeDelta::days(400) / i32::try_from(rounds.max(1))?;
        let before = self.slot;
        self.slot += whole;
        life::add_rows(&self.arena.exchange, before, whole, 4).await?;
        life::finish_late(&self.arena.exchange, before).await
    }

    fn somebody(&mut self) -> Disposer {
        *[
            Disposer::Cleanup,
            Disposer::Cleanup,
            Disposer::Cleanup,
            Disposer::Archive,
            Disposer::Archive,
            Disposer::Partitions,
        ]
        .choose(&mut self.rng)
        .expect("there are jobs")
    }

    fn length(&self, disposer: Disposer) -> Length {
        match disposer {
            Disposer::Cleanup => self.cleanup,
            Disposer::Archive => self.archive,
            Disposer::Partitions => self.partitions,
        }
    }

    /// Starts a run and hits it. False if it ended before.
    async fn strike(&mut self, fault: Fault, disposer: Disposer) -> anyhow::Result<bool> {
        let length = self.length(disposer);
        let after = match fault {
            Fault::KillAtByte | Fault::Overtake | Fault::PostgresRestart => {
                Blow::Bytes(self.rng.random_range(0..length.bytes.max(1)))
            }
            Fault::KillAtMoment => Blow::Moment(length.time.mul_f64(self.rng.random())),
        };
        let child = self.start(disposer).await?;
        let (began, before) = (Instant::now(), self.bytes());
        let struck = self.wait_for(&child, after).await;
        self.learn(disposer, struck, began.elapsed(), self.bytes() - before);
        match fault {
            Fault::KillAtByte | Fault::KillAtMoment => {
                child.kill();
                // Mostly the next run starts at once, beside what the server still does for the dead one; its lease
                // is gone with Redis's memory and only the fence is left. Else it waits for the lease to lapse.
                if self.rng.random_ratio(3, 4) {
                    self.arena.redis.flush_all().await?;
                }
            }
            Fault::Overtake => {
                if struck {
                    child.pause().await;
                    self.arena.redis.flush_all().await?;
                    self.undisturbed(disposer).await?;
                    child.resume();
                }
                child.wait_exit(WITHIN).await;
            }
            Fault::PostgresRestart => {
                self.arena.postgres.restart().await?;
                child.wait_exit(WITHIN).await;
            }
        }
        Ok(struck)
    }

    /// Runs become shorter and longer as there is less or more to do: blows should fall inside of them.
    fn learn(&mut self, disposer: Disposer, struck: bool, time: Duration, bytes: u64) {
        let length = match disposer {
            Disposer::Cleanup => &mut self.cleanup,
            Disposer::Archive => &mut self.archive,
            Disposer::Partitions => &mut self.partitions,
        };
        *length = if struck {
            Length {
                bytes: length.bytes + length.bytes / 8,
                time: length.time + length.time / 8,
            }
        } else {
            Length { bytes, time }
        };
    }

    /// A run that may begin: a lease of a dead one has lapsed.
    async fn start(&self, disposer: Disposer) -> anyhow::Result<ChildProcess> {
        let child = self.arena.command(disposer, self.slot).spawn();
        // A refusal by the lease comes within the first moments; then it is tried again.
        let mut child = child;
        for _attempt in 0..100 {
            let began = Instant::now();
            while began.elapsed() < Duration::from_millis(60) && child.exit_status().is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            match child.exit_status() {
                Some(status) if status.code() == Some(BUSY) => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    child = self.arena.command(disposer, self.slot).spawn();
                }
                _ => return Ok(child),
            }
        }
        bail!("the lease of {} does not lapse", disposer.job())
    }

    /// True when the moment came while the process lived.
    async fn wait_for(&self, child: &ChildProcess, blow: Blow) -> bool {
        let (began, before) = (Instant::now(), self.bytes());
        loop {
            if child.exit_status().is_some() {
                return false;
            }
            let due = match blow {
                Blow::Bytes(bytes) => self.bytes() - before >= bytes,
                Blow::Moment(after) => began.elapsed() >= after,
            };
            if due {
                return true;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn bytes(&self) -> u64 {
        let traffic = self.arena.wire.traffic();
        traffic.request_bytes + traffic.reply_bytes
    }

    /// A whole run that must succeed; repeated while a dead run's lease or session is in its way.
    async fn undisturbed(&self, disposer: Disposer) -> anyhow::Result<Length> {
        let mut last_words = String::new();
        for _attempt in 0..60 {
            let (began, before) = (Instant::now(), self.bytes());
            let (status, child) = self.arena.command(disposer, self.slot).run(WITHIN).await;
            if status.success() {
                return Ok(Length {
                    bytes: self.bytes() - before,
                    time: began.elapsed(),
                });
            }
            if status.code() != Some(BUSY) {
                last_words = format!("{status}\n{}\n{}", child.stdout(), child.stderr());
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        bail!("{} does not succeed any more: {last_words}", disposer.job())
    }

    async fn units(&self) -> anyhow::Result<String> {
        let states: Vec<(String, i64)> =
            sqlx::query_as("SELECT state, count(*) FROM eidos_jobs_disposal_units GROUP BY 1 ORDER BY 1")
                .fetch_all(&self.arena.jobs)
                .await
                .context("units")?;
        Ok(states
            .iter()
            .map(|(state, count)| format!("{count} {state}"))
            .collect::<Vec<_>>()
            .join(", "))
    }
}

/// When a run is hit.
#[derive(Debug, Clone, Copy)]
enum Blow {
    Bytes(u64),
    Moment(Duration),
}
