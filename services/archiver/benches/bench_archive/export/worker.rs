//! Our exporter in a process of its own, so that its memory can be told from the benchmark's.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use archiver::ArchiverSettings;
use chrono::DateTime;
use eidos_archive_store::{ArchiveFormat, ArchiveStore, ArchiveStoreSettings, ExportRequest, ManifestRef};
use eidos_core::ident::SqlIdent;
use eidos_disposal::catalogue;
use eidos_settings::Input;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::stage::{MONTH_MS, NEXT_MONTH_MS, pool};

/// `export-worker URL TABLE FOLDER [verify]`.
pub(crate) struct Job {
    url: String,
    table: String,
    folder: PathBuf,
    verify: bool,
}

impl Job {
    /// `None` when this process is not a worker.
    pub(crate) fn from_args(args: &[String]) -> Option<Self> {
        match args {
            [word, url, table, folder, rest @ ..] if word == "export-worker" => Some(Self {
                url: url.clone(),
                table: table.clone(),
                folder: folder.into(),
                verify: !rest.is_empty(),
            }),
            _ => None,
        }
    }
}

/// What the services do between freezing a partition and recording its export. Prints the seconds it took: the peers
/// count from behind their imports too.
pub(crate) async fn work(job: &Job) -> anyhow::Result<()> {
    let began = Instant::now();
    export(job).await?;
    println!("{}", began.elapsed().as_secs_f64());
    Ok(())
}

async fn export(job: &Job) -> anyhow::Result<()> {
    let pool = pool(&job.url).await?;
    let mut connection = pool.acquire().await?;
    let table: SqlIdent = job.table.parse()?;
    let shape = catalogue::read_table(&mut connection, &table)
        .await?
        .context("the table is gone")?;
    let settings = ArchiveStoreSettings::at(format!("file://{}", job.folder.display()));
    let defaults = eidos_settings::load::<ArchiverSettings>(&Input {
        file: None,
        env: Vec::new(),
    })?;
    let store = ArchiveStore::open(&settings, &defaults.suite.security).await?;
    let columns = shape.archive_columns()?;
    let names: Vec<String> = columns
        .iter()
        .map(|column| format!("\"{}\"", column.name))
        .collect();
    let request = ExportRequest {
        unit_id: Uuid::now_v7(),
        source: "trading".to_owned(),
        schema: "public".to_owned(),
        table: job.table.clone(),
        unit_name: job.table.clone(),
        columns,
        column_numbers: shape.column_numbers_in(&shape)?,
        ordered_by: shape.primary_key.clone(),
        snapshot_lsn: None,
        primary_key: shape.primary_key.clone(),
        time_column: "created_at".to_owned(),
        bounds_ms: (MONTH_MS, NEXT_MONTH_MS),
        create_table: shape.create_table_sql(&shape.relation),
        format: ArchiveFormat::Parquet,
        segment_rows: None,
        created_at: DateTime::UNIX_EPOCH,
        exporter: "bench".to_owned(),
    };
    let copy = format!(
        "COPY (SELECT {} FROM ONLY {table} ORDER BY {}) TO STDOUT (FORMAT binary)",
        names.join(", "),
        shape.primary_key.join(", ")
    );
    let rows = connection.copy_out_raw(&copy).await?;
    let never = CancellationToken::new();
    let exported = store.export(&request, rows.boxed(), &never).await?;
    if job.verify {
        let manifest = ManifestRef {
            key: exported.manifest_key,
            sha256: exported.manifest_sha256,
        };
        store.verify(&manifest, &never).await?;
    }
    Ok(())
}
