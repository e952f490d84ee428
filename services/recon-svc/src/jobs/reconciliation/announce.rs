//! Telling the others: Kafka events, Redis keys and webhooks, at least once.
//!
//! What has to be told is stored in the step that makes it true, and removed when it was told. A crash in between
//! tells it again, with the same event id.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use eidos_bus::{BREAKS, Event, EventId, Message, OPERATION_PAUSES, Publisher, Topic};
use eidos_core::CoreError;
use eidos_core::fence::Step;
use eidos_runtime::{JobContext, JobError};
use eidos_settings::RedisSection;
use eidos_types::{BreakId, Clock};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::report::BreakReport;
use crate::settings::{Operation, ReconciliationSection};
use crate::store::pauses::{self, PauseRow};

/// Where announcements wait.
const PREFIX: &str = "announce/";
/// Pauses looked at when their keys are written: every active one, and the newest lifted ones.
pub(super) const LISTED_PAUSES: i64 = 1_000;
/// Looks at the table until it stands still.
const SETTLE_ROUNDS: usize = 5;
/// The name of this service in events.
const SOURCE: &str = "recon-svc";

fn active_ids(pauses: &[PauseRow]) -> impl Iterator<Item = i64> {
    pauses
        .iter()
        .filter(|pause| pause.lifted_at.is_none())
        .map(|pause| pause.id)
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    event_id: Uuid,
    kind: String,
    topic: String,
    key: String,
    occurred_at: DateTime<Utc>,
    payload: Value,
}

impl Announcement {
    /// A break was opened; the event has the break's identity.
    #[must_use]
    pub fn break_opened(report: &BreakReport, at: DateTime<Utc>, id: BreakId) -> Self {
        let key = report
            .wallet
            .map_or_else(|| report.token.clone(), |wallet| wallet.to_string());
        Self {
            event_id: id.as_uuid(),
            kind: "break.opened".to_owned(),
            topic: BREAKS.as_str().to_owned(),
            key,
            occurred_at: at,
            payload: json!(report),
        }
    }

    /// An operation was paused or a pause lifted.
    #[must_use]
    pub fn pause(pause: &PauseRow, lifted: bool, clock: &dyn Clock) -> Self {
        Self {
            event_id: EventId::new(clock).as_uuid(),
            kind: if lifted {
                "operation.resumed"
            } else {
                "operation.paused"
            }
            .to_owned(),
            topic: OPERATION_PAUSES.as_str().to_owned(),
            key: format!("{}:{}", pause.operation, pause.token),
            occurred_at: clock.now(),
            payload: json!(pause),
        }
    }

    /// Stores it as part of a step.
    pub async fn save(&self, step: &mut Step<'_>) -> Result<(), CoreError> {
        step.save_checkpoint(&format!("{PREFIX}{}", self.event_id), self)
            .await
    }

    fn is_pause(&self) -> bool {
        self.topic == OPERATION_PAUSES.as_str()
    }
}

/// The ways out of this process.
#[derive(Debug, Clone)]
pub struct Channels {
    bus: Publisher,
    redis: redis::Client,
    http: reqwest::Client,
    key_prefix: String,
    webhooks: Vec<String>,
}

impl Channels {
    /// Prepares them; nothing is connected yet.
    pub fn new(rules: &ReconciliationSection, redis: &RedisSection, bus: Publisher) -> anyhow::Result<Self> {
        Ok(Self {
            bus,
            redis: eidos_core::redis_client::open(&redis.into())?,
            http: reqwest::Client::builder()
                .timeout(rules.webhook_timeout)
                .build()?,
            key_prefix: rules.pause_key_prefix.clone(),
            webhooks: rules.webhooks.clone(),
        })
    }

    /// Tells one thing.
    pub async fn tell(&self, announcement: &Announcement) -> anyhow::Result<()> {
        let event = Event {
            event_id: EventId::from_uuid(announcement.event_id),
            kind: announcement.kind.clone(),
            occurred_at: announcement.occurred_at,
            source: SOURCE.to_owned(),
            payload: announcement.payload.clone(),
        };
        let topic = Topic::new(announcement.topic.clone())?;
        let message = Message {
            key: &announcement.key,
            event: &event,
            traceparent: None,
        };
        self.bus.publish(&topic, message).await?;
        if announcement.is_pause() {
            for url in &self.webhooks {
                self.http
                    .post(url)
                    .json(&event)
                    .send()
                    .await?
                    .error_for_status()?;
            }
        }
        Ok(())
    }

    /// Makes the keys that money-moving services read equal to the table: active pauses have a key, others none.
    /// A flushed Redis is repaired by the next run.
    ///
    /// A run may set a pause while a person lifts one. Each does this after its own commit and then looks at the table
    /// again, so whoever looks last has written what the table says last. `lifted` are rows that the newest
    /// [`LISTED_PAUSES`] may not show.
    ///
    /// # Errors
    /// If the table or Redis does not answer, or the table does not stand still for [`SETTLE_ROUNDS`] looks.
    pub async fn settle_keys(&self, pool: &PgPool, lifted: &[PauseRow]) -> anyhow::Result<()> {
        let mut seen = pauses::list(pool, LISTED_PAUSES).await?;
        for _ in 0..SETTLE_ROUNDS {
            let rows: Vec<PauseRow> = seen.iter().chain(lifted).cloned().collect();
            self.sync_keys(&rows).await?;
            let now = pauses::list(pool, LISTED_PAUSES).await?;
            if active_ids(&now).eq(active_ids(&seen)) {
                return Ok(());
            }
            seen = now;
        }
        anyhow::bail!(
            "pauses were set and lifted faster than their keys could be written; the next run writes them"
        )
    }

    async fn sync_keys(&self, pauses: &[PauseRow]) -> anyhow::Result<()> {
        if pauses.is_empty() {
            return Ok(());
        }
        let mut connection = self.redis.get_multiplexed_async_connection().await?;
        let mut pipeline = redis::pipe();
        let active: Vec<(&str, &str)> = pauses
            .iter()
            .filter(|pause| pause.lifted_at.is_none())
            .map(|pause| (pause.operation.as_str(), pause.token.as_str()))
            .collect();
        for pause in pauses {
            let key = format!("{}:{}:{}", self.key_prefix, pause.operation, pause.token);
            let is_active = pause.lifted_at.is_none();
            if is_active {
                pipeline.set(&key, serde_json::to_string(pause)?).ignore();
            } else if !active.contains(&(pause.operation.as_str(), pause.token.as_str())) {
                pipeline.del(&key).ignore();
            }
            if let Some(operation) = Operation::named(&pause.operation) {
                let any = is_active || active.contains(&(pause.operation.as_str(), pause.token.as_str()));
                eidos_telemetry::metric::operation_pause_active(operation.as_str(), &pause.token, any);
            }
        }
        pipeline.query_async::<()>(&mut connection).await?;
        Ok(())
    }

    /// Tells everything that waits. What cannot be told keeps waiting: the run's result does not depend on it. A topic
    /// that does not take one event is not tried again in this run, and does not keep the others from being told.
    pub async fn tell_waiting(&self, ctx: &JobContext) -> Result<(), JobError> {
        let waiting = eidos_core::checkpoint::list(ctx.jobs_db().control(), ctx.job(), PREFIX).await?;
        let mut failed = BTreeSet::new();
        for entry in waiting {
            let announcement: Announcement = serde_json::from_value(entry.value).map_err(JobError::fail)?;
            if failed.contains(&announcement.topic) {
                continue;
            }
            if let Err(error) = self.tell(&announcement).await {
                tracing::error!(kind = announcement.kind, %error, "an event was not delivered; the next run tries again");
                failed.insert(announcement.topic);
                continue;
            }
            let mut step = ctx.step().await?;
            step.delete_checkpoint(&entry.key).await?;
            step.commit().await?;
        }
        Ok(())
    }
}
