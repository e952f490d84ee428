//! [`Painter`], the smallest planned job: it paints the walls that are due, and the run of it.

use std::sync::Arc;
use std::time::Duration;

use eidos_core::db::{DatabaseSettings, JobsDb, connect_jobs};
use eidos_core::fence::{MintRequest, mint};
use eidos_pg::Relation;
use eidos_plan::audit::{self, Act};
use eidos_plan::{Action, Approved, Failure, Plan, PlanItem, PlannedJob, Request, Surveyed, run};
use eidos_runtime::{Job, JobContext, JobError, Standalone};
use eidos_settings::SourceName;
use eidos_testkit::TestDb;
use eidos_types::{ExecutionId, NodeId, SharedClock, Slot, SystemClock};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub(crate) const TODAY: &str = "2026-01-01T04:00:00Z";
pub(crate) const TOMORROW: &str = "2026-01-02T04:00:00Z";

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Params {
    plan: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) plan: Plan,
    pub(crate) dry_run: bool,
    pub(crate) swept: bool,
    pub(crate) painted: Vec<String>,
    pub(crate) waiting: Vec<String>,
    pub(crate) damp: Vec<String>,
}

/// What is to be painted.
pub(crate) struct Walls {
    report: Report,
    /// By item: whether a person must approve it.
    reserved: Vec<bool>,
}

impl Surveyed for Walls {
    fn plan(&self) -> &Plan {
        &self.report.plan
    }
}

/// Paints at most `most` walls in a run.
pub(crate) struct Painter {
    pub(crate) most: usize,
}

impl Job for Painter {
    const NAME: &'static str = "paint-walls";
    type Params = Params;
    type Report = Report;

    async fn run(&self, ctx: &JobContext, params: Params) -> Result<Report, JobError> {
        run(self, ctx, &params, params.plan.as_deref()).await
    }

    fn render(&self, report: &Report) -> String {
        format!("painted {:?}", report.painted)
    }
}

impl PlannedJob for Painter {
    const NEW_PLAN: &'static str = "; nothing was done";
    type Survey = Walls;

    fn plan_max_age(&self) -> Duration {
        Duration::from_hours(1)
    }

    /// Walls are due from the slot on.
    async fn survey(&self, ctx: &JobContext, request: &Request<'_, Params>) -> Result<Walls, JobError> {
        let due: Vec<(String, String, bool, Option<String>)> =
            sqlx::query_as("SELECT name, colour, reserved, blocked FROM walls WHERE NOT painted AND due_ms <= $1 ORDER BY name")
                .bind(request.slot.ms())
                .fetch_all(ctx.jobs_db().control())
                .await
                .map_err(JobError::retry)?;
        let reserved = due.iter().map(|(_, _, reserved, _)| *reserved).collect();
        let items = due
            .into_iter()
            .map(|(name, colour, _, blocked)| item(name, &colour, blocked));
        let plan = Plan::new(Self::NAME, request.slot, items.collect(), Vec::new())?;
        let report = Report {
            plan,
            dry_run: ctx.dry_run(),
            swept: false,
            painted: Vec::new(),
            waiting: Vec::new(),
            damp: Vec::new(),
        };
        Ok(Walls { report, reserved })
    }

    async fn done<'p>(&self, ctx: &JobContext, planned: &'p Plan) -> Result<Vec<&'p PlanItem>, JobError> {
        let done: Vec<String> =
            sqlx::query_scalar("SELECT object_name FROM eidos_jobs_disposals WHERE plan_digest = $1")
                .bind(&planned.digest)
                .fetch_all(ctx.jobs_db().control())
                .await
                .map_err(JobError::retry)?;
        Ok(planned
            .items
            .iter()
            .filter(|item| done.contains(&item.object))
            .collect())
    }

    async fn preview(&self, _ctx: &JobContext, survey: Walls) -> Result<Report, JobError> {
        Ok(survey.report)
    }

    /// Sweeps the floor.
    async fn recover(
        &self,
        ctx: &JobContext,
        _request: &Request<'_, Params>,
        mut survey: Walls,
    ) -> Result<Walls, JobError> {
        let mut step = ctx.step().await?;
        sqlx::query("UPDATE walls SET swept = true")
            .execute(step.conn())
            .await
            .map_err(JobError::retry)?;
        step.commit().await?;
        survey.report.swept = true;
        Ok(survey)
    }

    async fn apply(
        &self,
        ctx: &JobContext,
        survey: Walls,
        approved: &Approved<'_>,
    ) -> Result<Report, JobError> {
        let mut report = survey.report;
        for (item, reserved) in report.plan.items.iter().zip(survey.reserved) {
            let wall = item.object.clone();
            if item.blocked.is_some() || !approved.includes(item) {
                continue;
            }
            if !approved.permits(reserved, None) {
                report.waiting.push(wall);
            } else if item.identity["colour"] == "damp" {
                report.damp.push(wall);
            } else if report.painted.len() < self.most {
                paint(ctx, item, approved).await?;
                report.painted.push(wall);
            }
        }
        Ok(report)
    }

    fn failure(&self, report: &Report) -> Option<Failure> {
        (!report.damp.is_empty()).then(|| Failure {
            what: format!("{:?} are damp", report.damp),
            retryable: true,
        })
    }
}

fn item(wall: String, colour: &str, blocked: Option<String>) -> PlanItem {
    PlanItem {
        source: SourceName::Jobs,
        table: "public.walls".to_owned(),
        object: wall,
        action: Action::Create,
        window_ms: None,
        rows_estimate: None,
        bytes: None,
        locks: Vec::new(),
        steps: Vec::new(),
        reason: "it is due".to_owned(),
        blocked,
        identity: json!({ "colour": colour }),
    }
}

async fn paint(ctx: &JobContext, item: &PlanItem, approved: &Approved<'_>) -> Result<(), JobError> {
    let mut step = ctx.step().await?;
    sqlx::query("UPDATE walls SET painted = true WHERE name = $1")
        .bind(&item.object)
        .execute(step.conn())
        .await
        .map_err(JobError::retry)?;
    let act = Act {
        unit_id: None,
        source: item.source,
        table: Relation::new("public", "walls"),
        object: item.object.clone(),
        action: "create",
        rows: None,
        bytes: None,
        plan_digest: Some(approved.approval().plan_digest.clone()),
        approved_by: approved.approval().approved_by.clone(),
        reason: item.reason.clone(),
        evidence: json!({}),
    };
    audit::record(&mut step, ctx, &act).await?;
    step.commit().await?;
    Ok(())
}

/// A house with walls, and runs of the painter in it.
pub(crate) struct House {
    db: TestDb,
    jobs_db: JobsDb,
}

impl House {
    /// With one wall `a`, which is due today.
    pub(crate) async fn new() -> Self {
        let db = TestDb::migrated().await;
        let jobs_db = connect_jobs(DatabaseSettings::new(db.url().into()), "plan-test")
            .await
            .unwrap();
        let house = Self { db, jobs_db };
        house
            .sql(
                "CREATE TABLE walls (name TEXT PRIMARY KEY, colour TEXT NOT NULL, due_ms BIGINT NOT NULL, \
                 reserved BOOL NOT NULL DEFAULT false, blocked TEXT, painted BOOL NOT NULL DEFAULT false, \
                 swept BOOL NOT NULL DEFAULT false)",
            )
            .await;
        house.wall("a", "white", TODAY).await;
        house
    }

    pub(crate) async fn wall(&self, name: &str, colour: &str, due: &str) {
        sqlx::query("INSERT INTO walls (name, colour, due_ms) VALUES ($1, $2, $3)")
            .bind(name)
            .bind(colour)
            .bind(slot(due).ms())
            .execute(self.db.pool())
            .await
            .unwrap();
    }

    pub(crate) async fn sql(&self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(self.db.pool()).await.unwrap();
    }

    /// All that a run could have written, as one text.
    pub(crate) async fn written(&self) -> String {
        sqlx::query_scalar(
            "SELECT concat((SELECT jsonb_agg(w ORDER BY name) FROM walls w), \
                 (SELECT jsonb_agg(d ORDER BY id) FROM eidos_jobs_disposals d), \
                 (SELECT jsonb_agg(c) FROM eidos_jobs_checkpoints c))",
        )
        .fetch_one(self.db.pool())
        .await
        .unwrap()
    }

    /// Who approved each wall that was painted.
    pub(crate) async fn approvals(&self) -> Vec<(String, String, String)> {
        sqlx::query_as("SELECT object_name::text, approved_by::text, plan_digest::text FROM eidos_jobs_disposals ORDER BY id")
            .fetch_all(self.db.pool())
            .await
            .unwrap()
    }

    async fn context(&self, at: &str, dry_run: bool, by: Option<&str>) -> JobContext {
        let clock: SharedClock = Arc::new(SystemClock::default());
        let execution = ExecutionId::new(&*clock);
        let request = MintRequest {
            job: Painter::NAME.parse().unwrap(),
            floor: 0,
            node: NodeId::new(&*clock),
            execution,
            now_ms: clock.now_ms(),
        };
        let minted = mint(self.db.pool(), &request).await.unwrap();
        JobContext::standalone(Standalone {
            job: request.job,
            execution,
            slot: slot(at),
            dry_run,
            requested_by: by.map(str::to_owned),
            fence: Some(minted.fence),
            jobs_db: self.jobs_db.clone(),
            clock,
            budget: Duration::from_mins(1),
        })
    }

    /// A run of the schedule.
    pub(crate) async fn run(&self, job: &Painter, at: &str) -> Result<Report, JobError> {
        let ctx = self.context(at, false, None).await;
        job.run(&ctx, Params::default()).await
    }

    /// A dry run, whose report is stored as the runner stores it.
    pub(crate) async fn plan(&self, job: &Painter, at: &str) -> Plan {
        let ctx = self.context(at, true, None).await;
        let report = job.run(&ctx, Params::default()).await.unwrap();
        assert!(report.dry_run && !report.swept && report.painted.is_empty());
        sqlx::query(
            "INSERT INTO eidos_jobs_executions (job_name, status, started_at, result, created_at, execution_id, trigger, dry_run) \
             VALUES ($1, 'success', $2, $3, $2, gen_random_uuid(), 'cli', true)",
        )
        .bind(Painter::NAME)
        .bind(ctx.clock().now().timestamp_millis())
        .bind(json!({ "plan": report.plan }))
        .execute(self.db.pool())
        .await
        .unwrap();
        report.plan
    }

    /// Applies a plan as `olga`, a day later.
    pub(crate) async fn apply(&self, job: &Painter, plan: &Plan) -> Result<Report, JobError> {
        let ctx = self.context(TOMORROW, false, Some("olga")).await;
        let params = Params {
            plan: Some(plan.digest.clone()),
        };
        job.run(&ctx, params).await
    }
}

fn slot(at: &str) -> Slot {
    Slot::at(at.parse().unwrap())
}
