//! A dimension with text keys: what was counted against what was reported, two tables of counters by name.

use std::collections::BTreeMap;
use std::sync::Mutex;

use chrono::{DateTime, Utc};
use eidos_core::outbox::OutboxEvent;
use eidos_recon::merge::merge;
use eidos_recon::run::{Closing, Decided};
use eidos_recon::severity::{Price, Thresholds, Weight, weigh};
use eidos_recon::source::{Outcome, Reread};
use eidos_recon::store::records;
use eidos_recon::tally::Counts;
use eidos_recon::{
    CutPoint, Difference, Exact, Found, Identity, Page, PageOutcome, Pages, Pair, Presence, Relation, Rules,
    Run, Source, Subject, SubjectKey, Suspect, judge,
};
use eidos_runtime::{JobContext, JobError};
use eidos_types::Amount;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};

/// The tables of both sides. A value that is NULL is an answer that is missing.
pub(crate) const TABLES: &str = "CREATE TABLE counted (name text COLLATE \"C\" PRIMARY KEY, value numeric); \
    CREATE TABLE reported (name text COLLATE \"C\" PRIMARY KEY, value numeric); CREATE SEQUENCE cuts";

const COUNTED: &str = "SELECT name, value::text FROM counted WHERE name > $1 ORDER BY name LIMIT $2";
const REPORTED: &str = "SELECT name, value::text FROM reported WHERE name > $1 ORDER BY name LIMIT $2";
const COUNTED_OF: &str = "SELECT name, value::text FROM counted WHERE name = ANY($1) ORDER BY name";
const REPORTED_OF: &str = "SELECT name, value::text FROM reported WHERE name = ANY($1) ORDER BY name";

/// Names of one page: several pages make one run.
const PAGE: usize = 2;

/// A counter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Counter(String);

impl Subject for Counter {
    type Kind = Relation;
    type Line = ();
    const SIDES: (&'static str, &'static str) = ("counted", "reported");
}

type Row = (String, Option<String>);

/// Both tables in one snapshot.
pub(crate) struct Snapshot {
    conn: PoolConnection<Postgres>,
    point: CutPoint,
    at: DateTime<Utc>,
}

/// The dimension, and what a test does to it.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) pool: PgPool,
    /// Statements that run before the snapshot of this number is opened, from 1.
    pub(crate) before_cut: Mutex<BTreeMap<u32, &'static str>>,
    pub(crate) opened: Mutex<u32>,
    /// The page that the source fails at, from 1; `None`: none.
    pub(crate) fails_at_page: Option<usize>,
    /// Where the process dies.
    pub(crate) dies: Option<Death>,
}

/// A place between two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// After the first reading.
    AfterFirstReading,
    /// After the breaks are stored.
    AfterRecord,
}

/// What a run found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) run: uuid::Uuid,
    pub(crate) counts: Counts,
    /// Key, kind, severity, confirmations, and whether this run opened it.
    pub(crate) breaks: Vec<(String, Relation, &'static str, u32, bool)>,
    pub(crate) lag: u64,
    pub(crate) undecided: usize,
    pub(crate) resolved: u64,
    pub(crate) resumed: Option<u64>,
}

impl Counters {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self {
            pool,
            before_cut: Mutex::default(),
            opened: Mutex::default(),
            fails_at_page: None,
            dies: None,
        }
    }

    /// Changes the tables before the cut of this number: the first reading has the first one.
    pub(crate) fn before_cut(self, number: u32, statement: &'static str) -> Self {
        self.before_cut.lock().unwrap().insert(number, statement);
        self
    }

    pub(crate) fn rules() -> Rules {
        Rules {
            max_suspects: 5,
            dust_records_per_shard: 1,
            recheck_attempts: 2,
            recheck_delay: std::time::Duration::ZERO,
            critical_confirmations: 3,
            confirm_wait: std::time::Duration::from_secs(20),
            confirm_poll: std::time::Duration::from_millis(1),
        }
    }

    fn died(&self, death: Death) -> Result<(), JobError> {
        if self.dies == Some(death) {
            return Err(JobError::retry(format!("died {death:?}")));
        }
        Ok(())
    }

    /// A run from its beginning to its end.
    pub(crate) async fn reconcile(&self, ctx: &JobContext) -> Result<Summary, JobError> {
        let (run, kept) = Run::begin(ctx, self, "full", "settings".to_owned(), Self::rules(), true).await?;
        let mut cut = self.open().await?;
        cut.point = kept.unwrap_or(cut.point);
        run.save_head(&cut.point).await?;
        let (point, at) = (cut.point.clone(), cut.at);
        let mut pages = CounterPages {
            cut: &mut cut,
            fails_at: self.fails_at_page,
            number: 0,
        };
        run.read_shard(self, 0, &point, at, &mut pages).await?;
        self.died(Death::AfterFirstReading)?;
        let (decided, _) = run.second_reading(self).await?;
        let mut found = run.record(self, &mut cut, &decided).await?;
        run.confirm_critical(self, &mut found).await?;
        self.died(Death::AfterRecord)?;
        let counts = run.states().first().map(|state| state.tally).unwrap_or_default();
        let resolved = self.close(&run, &cut, counts, &decided).await?;
        Ok(Summary {
            run: run.id,
            counts,
            breaks: found.iter().map(shown).collect(),
            lag: decided.lag,
            undecided: decided.undecided.len(),
            resolved,
            resumed: run.resumed(),
        })
    }

    async fn close(
        &self,
        run: &Run<'_, Self>,
        cut: &Snapshot,
        counts: Counts,
        decided: &Decided<Counter>,
    ) -> Result<u64, JobError> {
        if run.ctx.dry_run() {
            return Ok(0);
        }
        let unit = identity("all counters");
        let mut step = run.ctx.step().await?;
        let totals = json!({ "checked": counts.checked });
        records::totals(step.conn(), run.record_of(), &unit, totals, &cut.point)
            .await
            .map_err(JobError::retry)?;
        records::dust(
            step.conn(),
            run.record_of(),
            &unit,
            &counts.dust,
            None,
            &cut.point,
        )
        .await
        .map_err(JobError::retry)?;
        let closing = Closing {
            point: cut.point.clone(),
            read_at: cut.at,
            groups: None,
            undecided: &decided.undecided,
        };
        run.close(self, step, closing).await
    }
}

fn shown(found: &Found<Counter, ()>) -> (String, Relation, &'static str, u32, bool) {
    (
        found.suspect.subject.0.clone(),
        found.suspect.difference.kind,
        found.suspect.weight.severity.as_str(),
        found.confirmations(),
        found.stored.is_some_and(|stored| stored.opened),
    )
}

fn identity(name: &str) -> Identity {
    Identity {
        key: SubjectKey::new(name).unwrap(),
        unit: "count".to_owned(),
        detail: json!({ "name": name }),
    }
}

/// Below 2 is dust, above 100 is critical.
fn weight(difference: &Difference<Counter>, at: DateTime<Utc>) -> Weight {
    let one = Price {
        usdc: "1".parse().unwrap(),
        as_of: None,
        source: "one each".to_owned(),
    };
    let thresholds = Thresholds {
        ignore_below: "2".parse().unwrap(),
        critical_above: "100".parse().unwrap(),
    };
    let age = std::time::Duration::from_mins(1);
    weigh(difference.kind, difference.diff, Some(&one), at, age, thresholds)
}

/// Compares the rows of both sides.
fn compare(
    after: Option<&String>,
    left: Vec<Row>,
    right: Vec<Row>,
    cut: &Snapshot,
) -> Result<PageOutcome<Counter, Counts>, JobError> {
    let mut outcome = PageOutcome::<Counter, Counts>::default();
    for (name, left, right) in merge(after, left, right).map_err(JobError::fail)? {
        let presence = match (&left, &right) {
            (Some(_), None) => Presence::OnlyLeft,
            (None, Some(_)) => Presence::OnlyRight,
            _ => Presence::Both,
        };
        let is_missing = matches!(left, Some(None)) || matches!(right, Some(None));
        let (left, right) = (left.flatten(), right.flatten());
        let value = |side: &Option<String>| -> Result<Amount, String> {
            let text = side.as_deref().unwrap_or("0");
            text.parse().map_err(|_error| format!("{text} is not an amount"))
        };
        let pair = Pair {
            left: value(&left),
            right: value(&right),
            right_exact: &|| right.clone().unwrap_or_default(),
            presence,
            lines: &[],
            unproven: is_missing.then_some("a value is missing"),
        };
        let verdict = judge(pair, &Exact);
        let weighed = outcome.sort(Counter(name), &verdict, |found| weight(found, cut.at), &cut.point);
        outcome.tally.note(&verdict, weighed);
    }
    Ok(outcome)
}

async fn page_of(
    conn: &mut PgConnection,
    statement: &'static str,
    after: Option<&String>,
) -> Result<Vec<Row>, JobError> {
    sqlx::query_as(statement)
        .bind(after.map_or("", String::as_str))
        .bind(i64::try_from(PAGE).unwrap())
        .fetch_all(conn)
        .await
        .map_err(JobError::retry)
}

async fn rows_of(
    conn: &mut PgConnection,
    statement: &'static str,
    names: &[String],
) -> Result<Vec<Row>, JobError> {
    sqlx::query_as(statement)
        .bind(names)
        .fetch_all(conn)
        .await
        .map_err(JobError::retry)
}

struct CounterPages<'c> {
    cut: &'c mut Snapshot,
    fails_at: Option<usize>,
    number: usize,
}

impl Pages<Counters> for CounterPages<'_> {
    async fn page(&mut self, after: Option<&String>) -> Result<Page<Counters>, JobError> {
        self.number += 1;
        if self.fails_at == Some(self.number) {
            return Err(JobError::retry("the reporting side does not answer"));
        }
        let mut left = page_of(&mut self.cut.conn, COUNTED, after).await?;
        let mut right = page_of(&mut self.cut.conn, REPORTED, after).await?;
        // A side with a full page may have more names beyond its last one.
        let full = |rows: &[Row]| (rows.len() == PAGE).then(|| rows.last().map(|(name, _)| name.clone()));
        let upto = [full(&left), full(&right)].into_iter().flatten().flatten().min();
        if let Some(upto) = &upto {
            left.retain(|(name, _)| name <= upto);
            right.retain(|(name, _)| name <= upto);
        }
        Ok(Page {
            outcome: compare(after, left, right, self.cut)?,
            last: upto.is_none(),
            upto: upto.unwrap_or_else(|| "~".to_owned()),
        })
    }
}

impl Source for Counters {
    const NAME: &'static str = "counters";
    type Subject = Counter;
    type Tally = Counts;
    type Cut = Snapshot;
    type Cursor = String;
    type Hint = ();
    type Fault = JobError;

    fn identity(&self, counter: &Counter) -> Identity {
        identity(&counter.0)
    }

    async fn open(&self) -> Result<Snapshot, JobError> {
        let statement = {
            let mut opened = self.opened.lock().unwrap();
            *opened += 1;
            self.before_cut.lock().unwrap().remove(&*opened)
        };
        if let Some(statement) = statement {
            sqlx::raw_sql(statement)
                .execute(&self.pool)
                .await
                .map_err(JobError::retry)?;
        }
        let number: i64 = sqlx::query_scalar("SELECT nextval('cuts')")
            .fetch_one(&self.pool)
            .await
            .map_err(JobError::retry)?;
        let mut conn = self.pool.acquire().await.map_err(JobError::retry)?;
        conn.close_on_drop();
        sqlx::query("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            .execute(&mut *conn)
            .await
            .map_err(JobError::retry)?;
        let at: DateTime<Utc> = sqlx::query_scalar("SELECT now()")
            .fetch_one(&mut *conn)
            .await
            .map_err(JobError::retry)?;
        let point = CutPoint {
            number: u64::try_from(number).unwrap(),
            hash: String::new(),
            timestamp_s: u64::try_from(at.timestamp()).unwrap(),
        };
        Ok(Snapshot { conn, point, at })
    }

    async fn can_read_at(&self, _point: &CutPoint) -> bool {
        true
    }

    async fn newest(&self) -> Result<u64, JobError> {
        Ok(u64::MAX)
    }

    fn point(cut: &Snapshot) -> CutPoint {
        cut.point.clone()
    }

    fn read_at(cut: &Snapshot) -> DateTime<Utc> {
        cut.at
    }

    async fn read_again(
        &self,
        cut: &mut Snapshot,
        suspects: &[Suspect<Counter>],
    ) -> Result<Reread<Self>, JobError> {
        let names: Vec<String> = suspects.iter().map(|suspect| suspect.subject.0.clone()).collect();
        let left = rows_of(&mut cut.conn, COUNTED_OF, &names).await?;
        let right = rows_of(&mut cut.conn, REPORTED_OF, &names).await?;
        let outcome: Outcome<Self> = compare(None, left, right, cut)?;
        let found = outcome.suspects.into_iter();
        Ok(found.map(|suspect| (suspect.subject.clone(), suspect)).collect())
    }

    async fn hints(
        &self,
        _cut: &mut Snapshot,
        breaks: &[(Suspect<Counter>, CutPoint)],
    ) -> Result<Vec<()>, JobError> {
        Ok(vec![(); breaks.len()])
    }

    fn evidence(&self, _cut: &Snapshot, suspect: &Suspect<Counter>, first: &CutPoint, _hint: &()) -> Value {
        json!({ "cut": suspect.point, "first_cut": first, "because": suspect.weight.because })
    }

    fn opened(&self, found: &Found<Counter, ()>) -> Option<OutboxEvent> {
        let stored = found.stored?;
        Some(OutboxEvent {
            event_id: stored.id.as_uuid(),
            source: "counters-test".to_owned(),
            topic: "breaks".to_owned(),
            kind: "break.opened".to_owned(),
            key: found.suspect.subject.0.clone(),
            occurred_at: stored.first_seen,
            payload: json!({ "name": found.suspect.subject.0 }),
        })
    }

    fn ignored(&self, _counter: &Counter, _difference: &Difference<Counter>) {}

    fn too_many(&self, count: usize, limit: usize) -> String {
        format!("{count} counters differ, more than {limit}")
    }
}
