//! Exports the tables of a SQL file from a private PostgreSQL, and says what PostgreSQL says of them: the input of
//! `scripts/test-readers`, and a stop-watch for one table.
//!
//! `export_tables FOLDER SETUP.sql [LATER.sql QUESTIONS.json]` writes `FOLDER/index.json` with the parts of each table,
//! the values of each column as text, and an answer to each question. Tables and partitions that `LATER.sql` makes are
//! exported after it ran.
#![expect(clippy::print_stdout, reason = "a program for people, which prints seconds")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use eidos_archive_store::{ArchiveFormat, ArchiveStore, ArchiveStoreSettings, Column, ExportRequest, PgType};
use eidos_sandbox::{Durability, Postgres, PostgresOptions};
use eidos_settings::SecuritySection;
use futures::StreamExt as _;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

type Failure = Box<dyn std::error::Error>;

/// Tables with rows, partitions among them, and the table that numbers their columns.
const TABLES: &str = "SELECT c.oid::bigint, c.relname::text, coalesce(i.inhparent, c.oid)::bigint FROM pg_class c \
    LEFT JOIN pg_inherits i ON i.inhrelid = c.oid WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace \
    ORDER BY c.oid";
const COLUMNS: &str = "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull, \
    (SELECT p.attnum FROM pg_attribute p WHERE p.attrelid = $2::bigint::oid AND p.attname = a.attname) \
    FROM pg_attribute a WHERE a.attrelid = $1::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
const KEY: &str = "SELECT a.attname::text FROM pg_constraint k CROSS JOIN LATERAL unnest(k.conkey) WITH ORDINALITY AS u (n, place) \
    JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n WHERE k.conrelid = $1::bigint::oid \
    AND k.contype = 'p' ORDER BY u.place";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let (folder, setup, rest) = match args.as_slice() {
        [folder, setup, rest @ ..] if rest.is_empty() || rest.len() == 2 => (folder, setup, rest),
        _ => return Err("usage: export_tables FOLDER SETUP.sql [LATER.sql QUESTIONS.json]".into()),
    };
    let postgres = Postgres::start(PostgresOptions {
        durability: Durability::Fast,
        ..PostgresOptions::default()
    })
    .await?;
    postgres.create_database("readers").await?;
    let mut connection = PgConnection::connect(&postgres.url("readers")).await?;
    sqlx::raw_sql("SET TIME ZONE 'UTC'")
        .execute(&mut connection)
        .await?;
    let mut exporter = Exporter {
        store: open(folder).await?,
        folder: folder.clone(),
        tables: BTreeMap::new(),
        truth: !rest.is_empty(),
    };
    run(&mut connection, setup).await?;
    exporter.export_new(&mut connection).await?;
    let mut answers = BTreeMap::new();
    if let [later, questions] = rest {
        run(&mut connection, later).await?;
        exporter.export_new(&mut connection).await?;
        let questions: BTreeMap<String, String> = serde_json::from_slice(&std::fs::read(questions)?)?;
        for (name, question) in questions {
            let answer: String = sqlx::query_scalar(AssertSqlSafe(question))
                .fetch_one(&mut connection)
                .await?;
            answers.insert(name, answer);
        }
    }
    let index = json!({ "tables": exporter.tables, "answers": answers });
    std::fs::write(folder.join("index.json"), serde_json::to_vec(&index)?)?;
    Ok(())
}

async fn open(folder: &Path) -> Result<ArchiveStore, Failure> {
    std::fs::create_dir_all(folder.join("store"))?;
    let place = std::fs::canonicalize(folder.join("store"))?;
    let settings = ArchiveStoreSettings::at(format!("file://{}", place.display()));
    Ok(ArchiveStore::open(&settings, &SecuritySection::unencrypted()).await?)
}

async fn run(connection: &mut PgConnection, file: &Path) -> Result<(), Failure> {
    let statements = std::fs::read_to_string(file)?;
    sqlx::raw_sql(AssertSqlSafe(statements))
        .execute(connection)
        .await?;
    Ok(())
}

struct Exporter {
    store: ArchiveStore,
    folder: PathBuf,
    tables: BTreeMap<String, Value>,
    /// Whether the values of all columns are written down.
    truth: bool,
}

impl Exporter {
    /// Exports what has not been exported yet.
    async fn export_new(&mut self, connection: &mut PgConnection) -> Result<(), Failure> {
        for row in sqlx::query(TABLES).fetch_all(&mut *connection).await? {
            let (oid, name, numbered_by): (i64, String, i64) = (row.get(0), row.get(1), row.get(2));
            if !self.tables.contains_key(&name) {
                let exported = self.export(connection, oid, &name, numbered_by).await?;
                self.tables.insert(name, exported);
            }
        }
        Ok(())
    }

    async fn export(
        &self,
        connection: &mut PgConnection,
        oid: i64,
        table: &str,
        numbered_by: i64,
    ) -> Result<Value, Failure> {
        let mut columns = Vec::new();
        let mut column_numbers = Vec::new();
        let found = sqlx::query(COLUMNS).bind(oid).bind(numbered_by);
        for row in found.fetch_all(&mut *connection).await? {
            columns.push(Column::new(row.get::<String, _>(0), row.get(1), row.get(2))?);
            column_numbers.push(row.get(3));
        }
        let primary_key: Vec<String> = sqlx::query_scalar(KEY)
            .bind(oid)
            .fetch_all(&mut *connection)
            .await?;
        let order = primary_key.join(", ");
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let copy = format!(
            "COPY (SELECT {} FROM ONLY {table} ORDER BY {order}) TO STDOUT (FORMAT binary)",
            names.join(", ")
        );
        let request = ExportRequest {
            unit_id: Uuid::now_v7(),
            source: "readers".to_owned(),
            schema: "public".to_owned(),
            table: table.to_owned(),
            unit_name: table.to_owned(),
            columns: columns.clone(),
            column_numbers,
            ordered_by: primary_key.clone(),
            snapshot_lsn: None,
            time_column: primary_key.first().cloned().unwrap_or_default(),
            primary_key,
            bounds_ms: (0, 1),
            create_table: String::new(),
            format: ArchiveFormat::Parquet,
            segment_rows: None,
            created_at: chrono::DateTime::UNIX_EPOCH,
            exporter: "export_tables".to_owned(),
        };
        let began = Instant::now();
        let rows = connection.copy_out_raw(&copy).await?.boxed();
        let exported = self
            .store
            .export(&request, rows, &CancellationToken::new())
            .await?;
        let seconds = began.elapsed().as_secs_f64();
        let parts = &exported.manifest.parts;
        let bytes: u64 = parts.iter().map(|part| part.bytes).sum();
        println!(
            "{table}: {} rows, {bytes} bytes, {seconds:.2} s",
            exported.manifest.rows
        );
        let files: Vec<PathBuf> = parts
            .iter()
            .map(|part| self.folder.join("store").join(&part.key))
            .collect();
        let mut values = serde_json::Map::new();
        for column in columns.iter().filter(|_| self.truth) {
            let shown = canonical(column);
            let all = format!("SELECT coalesce(json_agg({shown} ORDER BY {order}), '[]') FROM ONLY {table}");
            let all: Value = sqlx::query_scalar(AssertSqlSafe(all))
                .fetch_one(&mut *connection)
                .await?;
            let kind = column.pg_type.declaration();
            values.insert(column.name.clone(), json!({ "type": kind, "values": all }));
        }
        Ok(json!({ "files": files, "columns": values, "rows": exported.manifest.rows }))
    }
}

/// A value as text that every language can make of what it read: numbers as PostgreSQL prints them, times as days and
/// microseconds since 1970, floats and bytes as hexadecimal digits.
fn canonical(column: &Column) -> String {
    let name = &column.name;
    match column.pg_type {
        PgType::Float4 => format!("encode(float4send({name}), 'hex')"),
        PgType::Float8 => format!("encode(float8send({name}), 'hex')"),
        PgType::Bytea => format!("encode({name}, 'hex')"),
        PgType::Uuid => format!("replace({name}::text, '-', '')"),
        PgType::Char(_) => format!("convert_from(bpcharsend({name}), 'UTF8')"),
        PgType::Date => format!("({name} - DATE '1970-01-01')::text"),
        PgType::Timestamp | PgType::Timestamptz => {
            format!("(extract(epoch FROM {name}) * 1000000)::bigint::text")
        }
        _ => format!("{name}::text"),
    }
}
