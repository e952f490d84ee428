//! What is broken, and which alerts must fire.

use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::rig::{AGGREGATOR, EXPIRER, Rig};
use super::work;
use crate::history::HistoryTrap;
use crate::orders::OrdersOptions;

const HOUR_MS: i64 = 3_600_000;

/// One cause, and the alerts that it makes fire.
pub(super) struct Trouble {
    pub(super) what: &'static str,
    pub(super) cause: Cause,
    pub(super) alerts: &'static [&'static str],
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Cause {
    /// Statements in the jobs database: what a process that is gone, or a person, left there.
    Jobs(&'static [&'static str]),
    KafkaGoneAndBooksWrong,
    RestartedWhilePaused,
    IndexerBehind,
    NodeBehind,
    /// The canary's books are right again.
    CanaryRepaired,
    EpochRaisedDuringARun,
    PartitionsGone,
    TrapsOfTheHistory,
    ExportDamaged,
    NeverSucceeded,
    SlowClock,
    NodeGone,
    RoutingFails,
    EngineGone,
    OrdersInNoBook,
    PoisonOnATopic,
    TopicCut,
    OrderKafkaGone,
    MinutesGone,
    /// The certificate of the watched server ends within so many days.
    CertificateEnds(i64),
    ServiceKilled,
}

/// They fire while no job has ever run.
pub(super) const BEFORE_THE_FIRST_RUN: &[&str] = &["ReconciliationDataMissing"];

/// No trouble makes them fire, and why. The cases in `rules/tests` show that they fire.
pub(super) const UNTRIED: &[(&str, &str)] = &[
    ("ProbeTargetDegraded", PROBES),
    ("ProbeTargetUnknown", PROBES),
    ("ProberBlind", PROBES),
    ("AlertsNotDelivered", PROBES),
    ("ProbeStateNotSaved", PROBES),
    (
        "ConsumerBehind",
        "ten thousand messages that a group has not handled",
    ),
];
const PROBES: &str = "the tests of health-probe cause it, without Prometheus";

/// In this order: what is broken first must not keep a later cause from being seen.
pub(super) const TROUBLES: &[Trouble] = &[
    Trouble {
        what: "runs that failed, timed out, lost their lease, died, were skipped; a pause; an old success",
        cause: Cause::Jobs(&[
            "INSERT INTO eidos_jobs_executions (job_name, status, started_at, finished_at, created_at, execution_id, slot_ms, \
                 trigger, epoch, failure_kind, error_message) \
             SELECT 'partition-manage', 'failed', now_ms, now_ms, now_ms, gen_random_uuid(), now_ms + nr, 'schedule', 1, kind, \
                 'planted' \
             FROM (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms) AS clock, \
                 unnest(ARRAY['error', 'timeout', 'lease_lost', 'orphaned']) WITH ORDINALITY AS kinds (kind, nr)",
            "INSERT INTO eidos_jobs_executions (job_name, status, started_at, created_at, execution_id, slot_ms, trigger, epoch, \
                 error_message) \
             SELECT 'partition-manage', 'skipped', now_ms, now_ms, gen_random_uuid(), now_ms, 'schedule', 0, 'planted' \
             FROM (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms) AS clock",
            "UPDATE eidos_jobs_state SET paused = TRUE, paused_by = 'a person', paused_reason = 'planted', paused_at = 0 \
             WHERE job_name = 'archive-data'",
            "UPDATE eidos_jobs_executions SET started_at = started_at - 90::bigint * 86400000, \
                 finished_at = finished_at - 90::bigint * 86400000 WHERE job_name = 'verify-archive'",
        ]),
        alerts: &[
            "JobExecutionFailed",
            "JobExecutionTimeout",
            "JobLeaseLost",
            "JobOrphanClosed",
            "JobSlotsMissed",
            "JobPaused",
            "JobNotExecuted",
            "JobsLate",
        ],
    },
    Trouble {
        what: "Kafka is gone while balances of the books are wrong by much, by little and by dust",
        cause: Cause::KafkaGoneAndBooksWrong,
        alerts: &[
            "ReconciliationMismatch",
            "ReconciliationDifferences",
            "ReconciliationDust",
            "OperationPaused",
            "EventsNotPublished",
        ],
    },
    Trouble {
        what: "nobody has acknowledged a critical break for an hour",
        cause: Cause::Jobs(&[
            "UPDATE eidos_jobs_breaks SET first_seen = first_seen - interval '1 hour' \
             WHERE state = 'open' AND severity = 'critical'",
        ]),
        alerts: &["BreakUnacknowledged"],
    },
    Trouble {
        what: "a block that was final is not on the chain, and two providers disagree",
        cause: Cause::Jobs(&[
            "INSERT INTO eidos_jobs_breaks (break_id, dimension, subject, subject_detail, token, kind, severity, direction, \
                 first_seen, last_seen, evidence) \
             SELECT gen_random_uuid(), dimension, '31337/1', '{}', '', kind, 'critical', 'surplus', now(), now(), '{}' \
             FROM (VALUES ('finality', 'finalized_block_changed'), ('providers', 'providers_disagree')) AS planted (dimension, kind)",
        ]),
        alerts: &["FinalizedBlockChanged", "ProvidersDisagree"],
    },
    Trouble {
        what: "events wait for a webhook that nobody delivers to, and one was given up",
        cause: Cause::Jobs(&[
            "WITH event AS (INSERT INTO eidos_jobs_outbox (event_id, source, topic, kind, event_key, occurred_at, payload, routed_at) \
                 SELECT gen_random_uuid(), 'recon-svc', 'planted', 'planted', state, now(), '{}', now() \
                 FROM unnest(ARRAY['pending', 'dead']) AS planted (state) RETURNING seq, event_key) \
             INSERT INTO eidos_jobs_outbox_deliveries (seq, destination, source, topic, event_key, state, created_at) \
             SELECT seq, 'webhook:gone', 'recon-svc', 'planted', event_key, event_key, now() - interval '1 hour' FROM event",
        ]),
        alerts: &["EventsDelayed", "EventsGivenUp"],
    },
    Trouble {
        what: "recon-svc starts anew while an operation is paused",
        cause: Cause::RestartedWhilePaused,
        alerts: &["OperationPaused"],
    },
    Trouble {
        what: "a canary that no run finds: somebody has repaired it",
        cause: Cause::CanaryRepaired,
        alerts: &["CanaryMissed"],
    },
    Trouble {
        what: "the indexer stands still while the chain goes on; the last complete run is long ago",
        cause: Cause::IndexerBehind,
        alerts: &["IndexerLag", "ReconciliationCoverage"],
    },
    Trouble {
        what: "the books know blocks that the node has not",
        cause: Cause::NodeBehind,
        alerts: &["NodeBehind"],
    },
    Trouble {
        what: "a newer run takes over while one is running",
        cause: Cause::EpochRaisedDuringARun,
        alerts: &["JobFencedWrites"],
    },
    Trouble {
        what: "units half way, months that wait for a person, rows that are late",
        cause: Cause::Jobs(&[
            "UPDATE eidos_jobs_disposal_units SET state = 'verified' WHERE unit_id = \
                 (SELECT unit_id FROM eidos_jobs_disposal_units WHERE state = 'quarantined' AND source = 'risk' LIMIT 1)",
            "UPDATE eidos_jobs_executions SET result = jsonb_set(jsonb_set(result, '{tables,0,oldest_left_ms}', '0'), \
                 '{waiting_for_approval}', '{\"eidos_trading_orders_archive\": 2}') \
             WHERE job_name = 'archive-data' AND result IS NOT NULL",
        ]),
        alerts: &[
            "QuarantineLarge",
            "DisposalUnitStuck",
            "ApprovalWaiting",
            "ArchiveFallingBehind",
        ],
    },
    Trouble {
        what: "next month's partitions are gone",
        cause: Cause::PartitionsGone,
        alerts: &["PartitionsRunningOut"],
    },
    Trouble {
        what: "a name that is taken, rows in a default partition, a table without a rule, a value no archive can hold",
        cause: Cause::TrapsOfTheHistory,
        alerts: &[
            "PartitionGap",
            "DefaultPartitionRows",
            "TablesWithoutRule",
            "DisposalRefused",
        ],
    },
    Trouble {
        what: "an export is damaged",
        cause: Cause::ExportDamaged,
        alerts: &["ArchiveRot"],
    },
    Trouble {
        what: "a job has no success at all",
        cause: Cause::NeverSucceeded,
        alerts: &["JobNeverSucceeded"],
    },
    Trouble {
        what: "the engine is gone while orders expire, and others are in cancelling for a day",
        cause: Cause::EngineGone,
        alerts: &[
            "ExpiredOrdersOverdue",
            "OrdersCancellingStuck",
            "ExpirySlow",
            "ProbeTargetDown",
        ],
    },
    Trouble {
        what: "expired orders are open in the table and in no book",
        cause: Cause::OrdersInNoBook,
        alerts: &["ExpiryContradiction", "ExpiryUnconfirmed"],
    },
    Trouble {
        what: "a message on the topic of ended orders that nobody can read",
        cause: Cause::PoisonOnATopic,
        alerts: &["DeadLetters"],
    },
    Trouble {
        what: "messages are deleted from that topic while order-expirer, which had not read them, does not run",
        cause: Cause::TopicCut,
        alerts: &["MessagesLost"],
    },
    Trouble {
        what: "the last complete sweep is long ago",
        cause: Cause::Jobs(&[
            "UPDATE eidos_jobs_executions SET result = jsonb_set(result, '{slot_ms}', '0') \
             WHERE job_name = 'expiry-sweep' AND result IS NOT NULL",
        ]),
        alerts: &["ExpirySweepMissing"],
    },
    Trouble {
        what: "minutes of a closed hour are gone",
        cause: Cause::MinutesGone,
        alerts: &["KlineGaps", "KlinesDiffer"],
    },
    Trouble {
        what: "the newest candles and statistics are old",
        cause: Cause::Jobs(&[
            "UPDATE eidos_jobs_checkpoints SET value = jsonb_set(value, '{newest_whole_ms}', '0') \
             WHERE job_name = 'kline-agg' AND checkpoint_key LIKE 'watermark/%'",
            "UPDATE eidos_jobs_checkpoints SET value = jsonb_set(value, '{until_ms}', '0') WHERE job_name = 'stats-agg'",
        ]),
        alerts: &["KlinesLate", "StatisticsLate"],
    },
    Trouble {
        what: "a replica whose clock is two minutes behind",
        cause: Cause::SlowClock,
        alerts: &["ServiceLoopStuck"],
    },
    Trouble {
        what: "the node is gone",
        cause: Cause::NodeGone,
        alerts: &["ServiceNotReady", "ChainRpcFailing"],
    },
    Trouble {
        what: "a certificate ends within 20 days",
        cause: Cause::CertificateEnds(20),
        alerts: &["CertificateExpiring"],
    },
    Trouble {
        what: "a certificate ends within 3 days",
        cause: Cause::CertificateEnds(3),
        alerts: &["CertificateUnhealthy"],
    },
    Trouble {
        what: "an event cannot be routed",
        cause: Cause::RoutingFails,
        alerts: &["WorkerRestarting"],
    },
    Trouble {
        what: "the Kafka of ended orders is gone",
        cause: Cause::OrderKafkaGone,
        alerts: &["ConsumerSilent"],
    },
    Trouble {
        what: "a service is killed",
        cause: Cause::ServiceKilled,
        alerts: &["ServiceDown", "ServiceGone", "JobSeriesAbsent"],
    },
];

/// Breaks it.
pub(super) async fn cause(rig: &mut Rig, cause: Cause) -> anyhow::Result<()> {
    match cause {
        Cause::Jobs(statements) => {
            for statement in statements {
                let done = sqlx::query(*statement).execute(rig.jobs()).await?;
                anyhow::ensure!(done.rows_affected() > 0, "changed nothing: {statement}");
            }
            Ok(())
        }
        Cause::KafkaGoneAndBooksWrong => kafka_gone_and_books_wrong(rig).await,
        Cause::RestartedWhilePaused => rig.restart("recon-svc").await,
        Cause::IndexerBehind => indexer_behind(rig).await,
        Cause::NodeBehind => node_behind(rig).await,
        Cause::CanaryRepaired => canary_repaired(rig).await,
        Cause::EpochRaisedDuringARun => epoch_raised_during_a_run(rig).await,
        Cause::PartitionsGone => partitions_gone(rig).await,
        Cause::TrapsOfTheHistory => traps_of_the_history(rig).await,
        Cause::ExportDamaged => export_damaged(rig).await,
        Cause::NeverSucceeded => {
            sqlx::query("DELETE FROM eidos_jobs_executions WHERE job_name = 'archive-data'")
                .execute(rig.jobs())
                .await?;
            rig.restart("archiver").await
        }
        Cause::SlowClock => rig.restart_with_slow_clock("archiver").await,
        Cause::NodeGone => rig.servers_mut().kill_node().await,
        Cause::RoutingFails => routing_fails(rig).await,
        Cause::EngineGone => engine_gone(rig).await,
        Cause::OrdersInNoBook => orders_in_no_book(rig).await,
        Cause::PoisonOnATopic => rig.topics().poison().await,
        Cause::TopicCut => topic_cut(rig).await,
        Cause::OrderKafkaGone => rig.topics().take_down().await,
        Cause::MinutesGone => minutes_gone(rig).await,
        Cause::CertificateEnds(days) => rig.tls().present(days),
        Cause::ServiceKilled => rig.kill("archiver"),
    }
}

/// Deleted as retention does, a message further than the group has read.
async fn topic_cut(rig: &mut Rig) -> anyhow::Result<()> {
    rig.stop(EXPIRER).await?;
    rig.topics().write_and_delete().await?;
    rig.serve().await
}

/// A sweep finds them although `cleanup-orders` cannot ask for them.
async fn engine_gone(rig: &mut Rig) -> anyhow::Result<()> {
    let orders = OrdersOptions {
        prefix: "overdue".to_owned(),
        expired_for_ms: 30 * 60_000,
        cancelling: 3,
        ..OrdersOptions::expired(crate::devnet::now_ms(), 5)
    };
    rig.beside().fill_orders(&orders).await?;
    rig.beside().engine.take_down().await;
    rig.run_job(EXPIRER, &["run", "expiry-sweep"]).await
}

/// The engine says that it does not have them, under every id, and their rows stay open.
async fn orders_in_no_book(rig: &mut Rig) -> anyhow::Result<()> {
    let orders = OrdersOptions {
        prefix: "nowhere".to_owned(),
        not_in_book: 3,
        ..OrdersOptions::expired(crate::devnet::now_ms(), 0)
    };
    rig.beside().engine.bring_up().await?;
    rig.beside().fill_orders(&orders).await?;
    for _run in 0..30 {
        rig.run_job(EXPIRER, &["run", "cleanup-orders"]).await?;
        let given_up: i64 =
            sqlx::query_scalar("SELECT count(*) FROM eidos_jobs_order_expiries WHERE state = 'given_up'")
                .fetch_one(rig.jobs())
                .await?;
        if given_up > 0 {
            return Ok(());
        }
        // The wait for the order's end, which begins anew with each id.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    anyhow::bail!("no order was given up")
}

/// A quarter of an hour, within the hours that each run compares again.
async fn minutes_gone(rig: &mut Rig) -> anyhow::Result<()> {
    let hour_ms = crate::devnet::now_ms() / HOUR_MS * HOUR_MS - HOUR_MS;
    let gone = sqlx::query(
        "DELETE FROM eidos_market_klines WHERE market = 'BTC-USDC' AND interval = '1m' AND open_time >= $1 AND open_time < $2",
    )
    .bind(hour_ms)
    .bind(hour_ms + HOUR_MS / 4)
    .execute(&rig.beside().market_db)
    .await?;
    anyhow::ensure!(
        gone.rows_affected() == 15,
        "{} minutes were there",
        gone.rows_affected()
    );
    rig.run_job(AGGREGATOR, &["run", "kline-agg"]).await
}

/// Each attempt to route the planted event ends the worker that routes.
async fn routing_fails(rig: &Rig) -> anyhow::Result<()> {
    for statement in [
        "ALTER TABLE eidos_jobs_outbox_deliveries ADD CONSTRAINT planted CHECK (topic <> 'planted') NOT VALID",
        "INSERT INTO eidos_jobs_outbox (event_id, source, topic, kind, event_key, occurred_at, payload) \
             VALUES (gen_random_uuid(), 'recon-svc', 'planted', 'planted', 'planted', now(), '{}')",
    ] {
        sqlx::query(statement).execute(rig.jobs()).await?;
    }
    Ok(())
}

/// The service itself publishes, so it must be the one that runs.
async fn kafka_gone_and_books_wrong(rig: &mut Rig) -> anyhow::Result<()> {
    rig.servers_mut().stop_kafka();
    for (offset, by) in [(0, "5000"), (1, "50"), (2, "0.005")] {
        sqlx::query(
            "UPDATE eidos_trading_balances SET settled_available = settled_available + $2::numeric WHERE id = \
                 (SELECT id FROM eidos_trading_balances WHERE token = 'USDC' AND settled_available > 200 \
                  ORDER BY id OFFSET $1 LIMIT 1)",
        )
        .bind(offset)
        .bind(by)
        .execute(rig.exchange())
        .await?;
    }
    work::trigger(rig, "recon-svc", "reconciliation", json!({ "mode": "full" }))
        .await
        .map(drop)
}

async fn canary_repaired(rig: &mut Rig) -> anyhow::Result<()> {
    let canaries = rig.devnet().manifest().canaries.clone();
    for canary in canaries {
        sqlx::query(
            "UPDATE eidos_trading_balances SET settled_available = settled_available + $3::text::numeric \
             WHERE lower(wallet) = lower($1) AND token = $2",
        )
        .bind(canary.wallet.to_string())
        .bind(canary.token)
        .bind(canary.difference.to_string())
        .execute(rig.exchange())
        .await?;
    }
    rig.reconcile(&["--full"]).await
}

async fn indexer_behind(rig: &mut Rig) -> anyhow::Result<()> {
    rig.devnet().mine_blocks(800).await?;
    rig.reconcile(&["--full"]).await?;
    // Later runs of the hour must not make it young again, so it is made old last.
    sqlx::query(
        "UPDATE eidos_jobs_checkpoints SET value = jsonb_set(value, '{at}', '\"2020-01-01T00:00:00Z\"') \
         WHERE checkpoint_key = 'done/full'",
    )
    .execute(rig.jobs())
    .await?;
    Ok(())
}

/// To the node, the books are ahead of it: what they name above its newest block does not exist there.
async fn node_behind(rig: &mut Rig) -> anyhow::Result<()> {
    let head = rig.devnet().node().block(None).await?.number;
    sqlx::query("UPDATE eidos_chain_block_checkpoints SET block_number = $1, block_hash = $2")
        .bind(i64::try_from(head + 5)?)
        .bind(format!("0x{}", "5e".repeat(32)))
        .execute(rig.exchange())
        .await?;
    rig.reconcile(&["--full"]).await
}

/// Raises the epoch, as the claim of another replica would, until the current run has met it.
async fn epoch_raised_during_a_run(rig: &mut Rig) -> anyhow::Result<()> {
    work::trigger(rig, "recon-svc", "reconciliation", json!({ "mode": "full" })).await?;
    for _round in 0..200 {
        let raised = sqlx::query(
            "UPDATE eidos_jobs_state SET epoch = epoch + 1 WHERE job_name = 'reconciliation' AND EXISTS \
                 (SELECT FROM eidos_jobs_executions WHERE job_name = 'reconciliation' AND status = 'running')",
        )
        .execute(rig.jobs())
        .await?;
        if raised.rows_affected() > 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("the triggered run was never seen running")
}

async fn partitions_gone(rig: &mut Rig) -> anyhow::Result<()> {
    let future: Vec<String> = sqlx::query_scalar(
        "SELECT child.oid::regclass::text FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid \
         WHERE inhparent = 'eidos_risk_events'::regclass \
           AND child.relname > 'eidos_risk_events_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')",
    )
    .fetch_all(rig.exchange())
    .await?;
    anyhow::ensure!(!future.is_empty(), "eidos_risk_events has no partition ahead");
    for partition in future {
        sqlx::query(AssertSqlSafe(format!("DROP TABLE {partition}")))
            .execute(rig.exchange())
            .await?;
    }
    Ok(())
}

async fn traps_of_the_history(rig: &mut Rig) -> anyhow::Result<()> {
    for statement in [
        "CREATE TABLE eidos_planted (id BIGINT)",
        "CREATE TABLE eidos_risk_audit_logs_default PARTITION OF eidos_risk_audit_logs DEFAULT",
        "INSERT INTO eidos_risk_audit_logs (action, wallet_address, result, created_at) \
         VALUES ('planted', '0x0', 'planted', 4000000000000)",
    ] {
        sqlx::query(statement)
            .execute(rig.exchange())
            .await
            .context(statement)?;
    }
    // Last: each gives the tables that are new to the service's owner, too.
    for trap in [HistoryTrap::NanNumeric, HistoryTrap::Namesake] {
        rig.set_trap(trap).await?;
    }
    rig.run_job("retention-manager", &["run", "partition-manage"])
        .await?;
    rig.run_job("retention-manager", &["run", "data-cleanup"]).await
}

/// One byte of the first part that is found.
async fn export_damaged(rig: &mut Rig) -> anyhow::Result<()> {
    let mut folders = vec![rig.archive()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "parquet") {
                let mut bytes = std::fs::read(&path)?;
                let middle = bytes.len() / 2;
                if let Some(byte) = bytes.get_mut(middle) {
                    *byte ^= 0xff;
                }
                std::fs::write(&path, bytes)?;
                return rig.run_job("archiver", &["verify"]).await;
            }
        }
    }
    anyhow::bail!("there is no export below {}", rig.archive().display())
}
