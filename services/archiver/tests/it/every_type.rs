//! Export, drop, restore: rows of every supported type come back byte for byte, and other readers see the same.
//! `EIDOS_ROUND_TRIP_ROWS=1000000` makes it a million of them; best in a release build.

use std::path::PathBuf;
use std::time::Duration;

use eidos_archive_store::ArchiveFormat;
use eidos_core::fence::ExternalFence;
use eidos_disposal::catalogue;
use eidos_disposal::partition::{DropQuota, PartitionDisposal, PartitionIdentity, PartitionPolicy};
use eidos_disposal::settings::DisposalSettings;
use eidos_disposal::unit::Unit;
use eidos_plan::Approval;
use eidos_runtime::JobContext;
use eidos_settings::SourceName;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::fixture::{Fixture, at, slot};

/// In several parts of an export.
const ROWS: i64 = 50_000;
const TABLE: &str = "every_type";
const PARTITION: &str = "every_type_2023_03";
const DDL: &str = "CREATE TABLE every_type (id bigint NOT NULL, created_at bigint NOT NULL, flag boolean, small smallint, \
    whole integer, real4 real, real8 double precision, amount numeric(36,18), big numeric(38,0), code varchar(20), \
    padded char(5), words text, raw bytea, doc json, docb jsonb, uid uuid, day date, wall timestamp, instant timestamptz, \
    PRIMARY KEY (created_at, id)) PARTITION BY RANGE (created_at); \
    CREATE TABLE every_type_2023_03 PARTITION OF every_type FOR VALUES FROM (1677628800000) TO (1680307200000); \
    CREATE TABLE every_type_2023_04 PARTITION OF every_type FOR VALUES FROM (1680307200000) TO (1682899200000)";
/// Every column is NULL in some row; 0 and the ends of the types are in the first ones.
const FILL: &str = "INSERT INTO every_type SELECT i, 1677628800000 + i, n.x AND i % 2 = 0, \
    CASE WHEN n.x THEN CASE i WHEN 1 THEN 32767 WHEN 2 THEN -32768 ELSE i % 30000 END END, \
    CASE WHEN n.x THEN CASE i WHEN 1 THEN 2147483647 ELSE -i END END, \
    CASE WHEN n.x THEN CASE i WHEN 1 THEN 'NaN'::real WHEN 2 THEN '-0'::real ELSE i / 7.0 END END, \
    CASE WHEN n.x THEN CASE i WHEN 1 THEN '-Infinity'::float8 WHEN 2 THEN 'NaN'::float8 ELSE i * 1e-9 END END, \
    CASE WHEN n.x THEN CASE i WHEN 1 THEN 999999999999999999.999999999999999999 WHEN 2 THEN -0.000000000000000001 \
        ELSE i * 1.000000000000000001 END END, \
    CASE WHEN n.x THEN CASE i WHEN 1 THEN 99999999999999999999999999999999999999 ELSE -i END END, \
    CASE WHEN n.x THEN 'c' || i END, CASE WHEN n.x THEN left('p' || i, 5) END, \
    CASE WHEN n.x THEN CASE i % 5 WHEN 0 THEN '' WHEN 1 THEN E'line\\nline, \"quoted\"' WHEN 2 THEN 'größe 数 🚀' ELSE md5(i::text) END END, \
    CASE WHEN n.x THEN CASE i % 3 WHEN 0 THEN ''::bytea ELSE decode(md5(i::text) || '00ff', 'hex') END END, \
    CASE WHEN n.x THEN ('{\"b\": ' || i || ',  \"a\": [1.10, null]}')::json END, \
    CASE WHEN n.x THEN jsonb_build_object('i', i, 'deep', jsonb_build_array(1.10, NULL, 'x')) END, \
    CASE WHEN n.x THEN md5(i::text)::uuid END, CASE WHEN n.x THEN DATE '1900-01-01' + (i % 60000)::int END, \
    CASE WHEN n.x THEN TIMESTAMP '2023-03-01 00:00:00.000001' + i * INTERVAL '1 second' END, \
    CASE WHEN n.x THEN TIMESTAMPTZ '2023-03-01 00:00:00.123456+00' - i * INTERVAL '1 minute' END \
    FROM generate_series(1, {rows}) AS i CROSS JOIN LATERAL (SELECT i % 11 <> 0 AS x) AS n";

struct Means<'a> {
    fixture: &'a Fixture,
    format: ArchiveFormat,
    settings: DisposalSettings,
    quota: DropQuota,
}

impl Means<'_> {
    fn disposal<'a>(&'a self, ctx: &'a JobContext, fence: &'a ExternalFence) -> PartitionDisposal<'a> {
        PartitionDisposal {
            ctx,
            external: fence,
            store: Some(&self.fixture.store),
            settings: &self.settings,
            policy: policy(self.format),
            quota: &self.quota,
        }
    }
}

const fn policy(format: ArchiveFormat) -> PartitionPolicy {
    PartitionPolicy {
        source: SourceName::Trading,
        archive: Some(format),
        quarantine_days: 7,
        held_with: Vec::new(),
    }
}

/// Exports and drops the partition; returns its unit.
async fn dispose(fixture: &Fixture, format: ArchiveFormat) -> Unit {
    let means = Means {
        fixture,
        format,
        settings: DisposalSettings::default(),
        quota: DropQuota::new(5),
    };
    let shape = {
        let mut conn = fixture.external.acquire().await.unwrap();
        catalogue::read_table(&mut conn, &TABLE.parse().unwrap())
            .await
            .unwrap()
            .unwrap()
    };
    let partition = &shape.partitioning.as_ref().unwrap().partitions[0];
    let identity = PartitionIdentity::of(&shape, partition, &policy(format)).unwrap();
    let approval = Approval {
        plan_digest: "test".to_owned(),
        approved_by: "ada".to_owned(),
    };
    let ctx = fixture.context("data-cleanup", slot(), false, &Value::Null).await;
    let fence = ctx.raised_in(&fixture.external).await.unwrap();
    let resting = means
        .disposal(&ctx, &fence)
        .advance(&identity, &approval)
        .await
        .unwrap()
        .unit;
    let later = fixture
        .context("data-cleanup", at("2026-10-30T03:00:00Z"), false, &Value::Null)
        .await;
    let fence = later.raised_in(&fixture.external).await.unwrap();
    means.disposal(&later, &fence).resume(resting).await.unwrap().unit
}

/// A hash over the bytes of every row, as the server sends them, in the order of their ids.
async fn bytes_of(fixture: &Fixture, table: &str) -> String {
    let columns = "ROW(id, created_at, flag, small, whole, real4, real8, amount, big, code, padded, words, raw, doc, docb, uid, \
                   day, wall, instant)";
    let question =
        format!("SELECT md5(string_agg(md5(record_send({columns})), '' ORDER BY id)) FROM {table}");
    sqlx::query_scalar(AssertSqlSafe(question))
        .fetch_one(fixture.trading.pool())
        .await
        .unwrap()
}

fn parts(fixture: &Fixture, unit: &Unit) -> Vec<PathBuf> {
    let manifest = fixture
        .dir
        .path()
        .join("store")
        .join(unit.manifest_key.as_ref().unwrap());
    let folder = std::fs::read_dir(manifest.parent().unwrap()).unwrap();
    let mut parts: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    parts.retain(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    parts.sort();
    parts
}

fn rows() -> i64 {
    std::env::var("EIDOS_ROUND_TRIP_ROWS").map_or(ROWS, |rows| {
        rows.parse()
            .unwrap_or_else(|error| panic!("EIDOS_ROUND_TRIP_ROWS={rows}: {error}"))
    })
}

/// The table's rows and what PostgreSQL says about them before they leave.
struct Filled {
    fixture: Fixture,
    bytes: String,
    sums: Value,
}

async fn filled() -> Filled {
    let fixture = Fixture::new().await;
    fixture.sql(DDL).await;
    fixture.sql(&FILL.replace("{rows}", &rows().to_string())).await;
    assert_eq!(fixture.count(TABLE).await, rows());
    Filled {
        bytes: bytes_of(&fixture, TABLE).await,
        sums: sums(&fixture).await,
        fixture,
    }
}

/// Into both places, twice: the second time nothing is missing.
async fn restored_equal(world: &Filled) {
    let fixture = &world.fixture;
    for (into, table) in [("side", "every_type_restored"), ("original", TABLE)] {
        let params = json!({"table": TABLE, "range": "2023-03", "into": into});
        let restored = fixture.restore(params.clone()).await.unwrap();
        assert_eq!(restored.units[0].inserted, rows().unsigned_abs());
        assert_eq!(bytes_of(fixture, table).await, world.bytes, "{into}");
        assert_eq!(
            fixture.restore(params).await.unwrap().units[0].inserted,
            0,
            "{into} again"
        );
    }
    assert_eq!(fixture.count(PARTITION).await, rows());
}

/// Exported in this format, and gone.
async fn gone(world: &Filled, format: ArchiveFormat) -> Unit {
    let unit = dispose(&world.fixture, format).await;
    assert_eq!(unit.state.as_str(), "dropped");
    assert_eq!(world.fixture.count(TABLE).await, 0);
    unit
}

#[tokio::test]
async fn every_supported_type_comes_back_byte_for_byte_and_others_read_the_same() {
    let world = filled().await;
    let unit = gone(&world, ArchiveFormat::Parquet).await;
    let parts = parts(&world.fixture, &unit);
    assert!(parts.len() > 1, "several parts: {parts:?}");
    read_elsewhere(&parts, &world.sums).await;
    restored_equal(&world).await;
}

#[tokio::test]
async fn every_supported_type_comes_back_byte_for_byte_from_csv() {
    let world = filled().await;
    gone(&world, ArchiveFormat::Csv).await;
    restored_equal(&world).await;
}

/// What PostgreSQL says about the rows, exact numbers as text.
async fn sums(fixture: &Fixture) -> Value {
    sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT jsonb_build_object('rows', count(*)::text, 'amount', sum(amount)::text, 'big', sum(big)::text, \
         'largest', max(amount)::text, 'least', min(amount)::text, 'amount_nulls', count(*) FILTER (WHERE amount IS NULL)::text, \
         'small', sum(small)::text, 'empty_words', count(*) FILTER (WHERE words = '')::text, \
         'raw_bytes', sum(length(raw))::text, 'raw_nulls', count(*) FILTER (WHERE raw IS NULL)::text, \
         'flags', count(*) FILTER (WHERE flag)::text, 'first_day', min(day)::text, 'last_doc', max(docb ->> 'i')) FROM {TABLE}"
    )))
    .fetch_one(fixture.trading.pool())
    .await
    .unwrap()
}

/// DuckDB and pyarrow, from the environment of `scripts/install`.
async fn read_elsewhere(parts: &[PathBuf], expected: &Value) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/read_parquet.py");
    let python = eidos_sandbox::python().unwrap_or_else(|error| panic!("{error}"));
    let command = eidos_testkit::Command::new(python)
        .arg(script)
        .args(parts.iter().cloned());
    let (status, child) = command.run(Duration::from_mins(2)).await;
    assert!(status.success(), "{}\n{}", child.stdout(), child.stderr());
    let seen: Value =
        serde_json::from_str(&child.stdout()).unwrap_or_else(|error| panic!("{error}: {}", child.stdout()));
    assert_eq!(&seen["duckdb"]["sums"], expected, "DuckDB");
    assert_eq!(&seen["pyarrow"]["sums"], expected, "pyarrow");
    for (column, duckdb, pyarrow) in [
        ("amount", "DECIMAL(36,18)", "decimal128(36, 18)"),
        ("big", "DECIMAL(38,0)", "decimal128(38, 0)"),
        ("id", "BIGINT", "int64"),
        ("whole", "INTEGER", "int32"),
        ("small", "SMALLINT", "int16"),
        ("flag", "BOOLEAN", "bool"),
        ("code", "VARCHAR", "string"),
        ("raw", "BLOB", "binary"),
        ("day", "DATE", "date32[day]"),
        ("wall", "TIMESTAMP", "timestamp[us]"),
        ("instant", "TIMESTAMP WITH TIME ZONE", "timestamp[us, tz=UTC]"),
        ("real8", "DOUBLE", "double"),
    ] {
        assert_eq!(seen["duckdb"]["types"][column], duckdb, "{column}");
        assert_eq!(seen["pyarrow"]["types"][column], pyarrow, "{column}");
    }
}
