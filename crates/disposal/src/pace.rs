//! [`Pace`]: how many rows the next batch takes and how long to rest before it.
//!
//! Fixed: always what the settings say. Adaptive: slower at once when something suffers (a batch that takes too long, a
//! replica that lags, autovacuum or somebody's lock waiting on the table), faster little by little when nothing does; and
//! never busy for more than a share of the time.

use std::time::{Duration, Instant};

use eidos_settings::{Problems, duration_text};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};

use crate::catalogue::Relation;
use crate::{DisposalError, source_connection};

/// Whether batches keep their size and pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PaceMode {
    /// Always.
    #[default]
    Fixed,
    /// They follow what the database shows.
    Adaptive,
}

/// Section `disposal.pace`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PaceSettings {
    /// Fixed or adaptive.
    pub mode: PaceMode,
    /// The share of the time batches may take, percent, 1 to 100.
    pub busy_percent: u32,
    /// A batch should not take longer.
    #[serde(with = "duration_text")]
    pub target_batch: Duration,
    /// Fewest rows of a batch, 1 or more.
    pub min_rows: u32,
    /// Most rows of a batch, up to 100000.
    pub max_rows: u32,
    /// The longest pause between two batches.
    #[serde(with = "duration_text")]
    pub max_pause: Duration,
    /// A replica that is further behind slows us down.
    #[serde(with = "duration_text")]
    pub max_replica_lag: Duration,
    /// A replica that is further behind slows us down, bytes of WAL.
    pub max_replica_lag_bytes: u64,
}

impl Default for PaceSettings {
    fn default() -> Self {
        Self {
            mode: PaceMode::Fixed,
            busy_percent: 50,
            target_batch: Duration::from_millis(100),
            min_rows: 100,
            max_rows: 10_000,
            max_pause: Duration::from_secs(5),
            max_replica_lag: Duration::from_secs(5),
            max_replica_lag_bytes: 64 * 1024 * 1024,
        }
    }
}

impl PaceSettings {
    /// Reports every value that cannot be used, below the key `disposal.pace`.
    pub fn problems(&self, problems: &mut Problems) {
        let mut refuse = |key: &str, value: String, reason: &str, fix: &str| {
            problems.add_value(format!("disposal.pace.{key}"), value, reason, fix);
        };
        if !(1..=100).contains(&self.busy_percent) {
            refuse(
                "busy_percent",
                self.busy_percent.to_string(),
                "is no share of the time",
                "use 1 to 100",
            );
        }
        if self.min_rows == 0 || self.min_rows > self.max_rows || self.max_rows > 100_000 {
            refuse(
                "min_rows",
                format!("{} (max_rows {})", self.min_rows, self.max_rows),
                "is zero, above max_rows, or max_rows is above 100000",
                "use 100 and 10000",
            );
        }
        if self.target_batch.is_zero() || self.max_pause.is_zero() {
            refuse(
                "target_batch",
                format!("{:?} (max_pause {:?})", self.target_batch, self.max_pause),
                "or max_pause is zero",
                "use 100ms and 5s",
            );
        }
    }
}

/// What a batch and the database showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Observation {
    /// How long the last batch took.
    pub batch: Duration,
    /// How far the slowest replica is behind in time; zero where none says so.
    pub replica_lag: Duration,
    /// How far the slowest replica is behind in bytes of WAL.
    pub replica_lag_bytes: u64,
    /// WAL that inactive slots keep, bytes: every batch adds to it.
    pub retained_wal_bytes: u64,
    /// Whether a vacuum works on the table.
    pub autovacuum_running: bool,
    /// Locks on the table that somebody waits for.
    pub waiting_locks: u32,
    /// Age of the oldest snapshot: what is deleted meanwhile cannot be vacuumed.
    pub oldest_snapshot: Duration,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// Rows of the next batch.
    pub rows: u32,
    /// The pause before it.
    pub pause: Duration,
}

/// The pace of one table's batches.
#[derive(Debug, Clone)]
pub struct Pace {
    settings: PaceSettings,
    rows: u32,
    sleep: Duration,
    /// Exponential average of batch times, µs, α = 0.4.
    average_us: Option<u64>,
}

impl Pace {
    /// Begins with `rows` a batch and `sleep` between two.
    #[must_use]
    pub fn new(settings: &PaceSettings, rows: u32, sleep: Duration) -> Self {
        let rows = match settings.mode {
            PaceMode::Fixed => rows,
            PaceMode::Adaptive => rows.clamp(settings.min_rows, settings.max_rows),
        };
        Self {
            settings: settings.clone(),
            rows,
            sleep,
            average_us: None,
        }
    }

    /// Whether what the database shows makes a difference.
    #[must_use]
    pub fn is_adaptive(&self) -> bool {
        self.settings.mode == PaceMode::Adaptive
    }

    /// What comes after a batch.
    pub fn next(&mut self, seen: &Observation) -> Next {
        if self.settings.mode == PaceMode::Fixed {
            return Next {
                rows: self.rows,
                pause: self.sleep,
            };
        }
        let took_us = micros(seen.batch);
        let average_us = match self.average_us {
            None => took_us,
            Some(average) => (average * 6 + took_us * 4) / 10,
        };
        self.average_us = Some(average_us);
        let suffers = self.suffers(seen, average_us);
        self.rows = if suffers {
            (self.rows / 2).max(self.settings.min_rows)
        } else {
            let more = (self.rows / 7).max(1); // about 15 %
            self.rows.saturating_add(more).min(self.settings.max_rows)
        };
        Next {
            rows: self.rows,
            pause: self.pause(average_us, suffers),
        }
    }

    fn suffers(&self, seen: &Observation, average_us: u64) -> bool {
        let settings = &self.settings;
        let target_us = micros(settings.target_batch);
        average_us > target_us
            || micros(seen.batch) > target_us.saturating_mul(2)
            || seen.replica_lag > settings.max_replica_lag
            || seen.replica_lag_bytes > settings.max_replica_lag_bytes
            || seen.autovacuum_running
            || seen.waiting_locks > 0
    }

    /// So long that batches take their share of the time; twice that while something suffers.
    fn pause(&self, average_us: u64, suffers: bool) -> Duration {
        let share = u64::from(self.settings.busy_percent.clamp(1, 100));
        let fair_us = average_us.saturating_mul(100 - share) / share;
        let pause_us = if suffers {
            fair_us.max(average_us).saturating_mul(2)
        } else {
            fair_us
        };
        Duration::from_micros(pause_us).min(self.settings.max_pause)
    }
}

fn micros(duration: Duration) -> u64 {
    // An hour is as good as for ever here, and keeps the products small.
    u64::try_from(duration.as_micros())
        .unwrap_or(u64::MAX)
        .min(3_600_000_000)
}

/// How often a server is looked at between batches.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What was seen last, looked at anew now and then.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    looked_at: Option<Instant>,
    seen: Observation,
}

impl Watch {
    /// How the server and the table are doing, at most a second old, after a batch that took `batch`.
    ///
    /// # Errors
    /// [`DisposalError::Sql`].
    pub async fn after(
        &mut self,
        batch: Duration,
        pool: &PgPool,
        table: &Relation,
    ) -> Result<Observation, DisposalError> {
        if self.looked_at.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            let mut conn = source_connection(pool).await?;
            self.seen = observe(&mut conn, table).await?;
            self.looked_at = Some(Instant::now());
        }
        self.seen.batch = batch;
        Ok(self.seen)
    }
}

const OBSERVE: &str = "\
    SELECT coalesce((SELECT floor(max(extract(epoch FROM greatest(write_lag, flush_lag, replay_lag))) * 1000) \
                     FROM pg_stat_replication), 0)::bigint, \
           coalesce((SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)) FROM pg_stat_replication), 0)::bigint, \
           coalesce((SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)) FROM pg_replication_slots \
                     WHERE NOT active), 0)::bigint, \
           EXISTS (SELECT FROM pg_stat_progress_vacuum WHERE relid = c.oid), \
           (SELECT count(*) FROM pg_locks WHERE relation = c.oid AND NOT granted), \
           coalesce((SELECT floor(extract(epoch FROM clock_timestamp() - min(xact_start)) * 1000) \
                     FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()), 0)::bigint \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";

/// Looks at a table and its server. A role without `pg_monitor` does not see replicas: it sees no lag then.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn observe(conn: &mut PgConnection, table: &Relation) -> Result<Observation, DisposalError> {
    let seen: Option<(i64, i64, i64, bool, i64, i64)> = sqlx::query_as(OBSERVE)
        .bind(&table.schema)
        .bind(&table.name)
        .fetch_optional(conn)
        .await
        .map_err(DisposalError::sql("look how a table's server is doing"))?;
    let Some((lag_ms, lag_bytes, retained, vacuum, waiting, oldest_ms)) = seen else {
        return Ok(Observation::default());
    };
    Ok(Observation {
        batch: Duration::ZERO,
        replica_lag: Duration::from_millis(lag_ms.max(0).unsigned_abs()),
        replica_lag_bytes: lag_bytes.max(0).unsigned_abs(),
        retained_wal_bytes: retained.max(0).unsigned_abs(),
        autovacuum_running: vacuum,
        waiting_locks: u32::try_from(waiting).unwrap_or(u32::MAX),
        oldest_snapshot: Duration::from_millis(oldest_ms.max(0).unsigned_abs()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn adaptive() -> PaceSettings {
        PaceSettings {
            mode: PaceMode::Adaptive,
            ..PaceSettings::default()
        }
    }

    fn quick() -> Observation {
        Observation {
            batch: Duration::from_millis(10),
            ..Observation::default()
        }
    }

    #[test]
    fn fixed_is_what_the_settings_say_whatever_happens() {
        let mut pace = Pace::new(&PaceSettings::default(), 1000, Duration::from_millis(100));
        for seen in [
            quick(),
            Observation {
                autovacuum_running: true,
                ..quick()
            },
        ] {
            let next = pace.next(&seen);
            assert_eq!((next.rows, next.pause), (1000, Duration::from_millis(100)));
        }
    }

    #[test]
    fn everything_that_suffers_halves_the_next_batch() {
        let slow = Duration::from_secs(1);
        for suffering in [
            Observation {
                batch: slow,
                ..quick()
            },
            Observation {
                replica_lag: Duration::from_secs(6),
                ..quick()
            },
            Observation {
                replica_lag_bytes: 65 * 1024 * 1024,
                ..quick()
            },
            Observation {
                autovacuum_running: true,
                ..quick()
            },
            Observation {
                waiting_locks: 1,
                ..quick()
            },
        ] {
            let mut pace = Pace::new(&adaptive(), 1000, Duration::ZERO);
            let next = pace.next(&suffering);
            assert_eq!(next.rows, 500, "{suffering:?}");
            assert!(next.pause >= suffering.batch * 2 || next.pause == adaptive().max_pause);
        }
    }

    proptest! {
        /// The naive model: sizes stay inside their limits, grow by at most a seventh, shrink by at most half, and a
        /// healthy pause leaves batches their share of the time.
        #[test]
        fn sizes_and_pauses_keep_their_limits(
            batches in prop::collection::vec((0_u64..2_000_000, any::<bool>()), 1..60), first in 1_u32..200_000,
        ) {
            let settings = adaptive();
            let mut pace = Pace::new(&settings, first, Duration::ZERO);
            let mut before = first.clamp(settings.min_rows, settings.max_rows);
            for (us, vacuum) in batches {
                let seen = Observation {
                    batch: Duration::from_micros(us),
                    autovacuum_running: vacuum,
                    ..Observation::default()
                };
                let next = pace.next(&seen);
                prop_assert!((settings.min_rows..=settings.max_rows).contains(&next.rows));
                prop_assert!(next.rows <= before + before / 7 + 1 && next.rows >= (before / 2).min(settings.min_rows));
                prop_assert!(!vacuum || next.rows <= before);
                prop_assert!(next.pause <= settings.max_pause);
                before = next.rows;
            }
        }
    }
}
