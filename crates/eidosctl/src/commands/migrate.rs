//! `migrate`: the only way the schema changes.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context as _, Result};
use eidos_core::CoreError;
use eidos_core::migrations;
use eidos_types::{Clock as _, SystemClock};
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::migrate::Migrator;
use sqlx::{Connection as _, PgConnection};

use super::database;
use crate::Failure;
use crate::cli::{Format, Migrate};
use crate::output::{self, Column, Show};

/// The same files that `eidos-core` applies; embedded here for what their headers say.
static FILES: Migrator = sqlx::migrate!("../../migrations");

/// The roles of services and their rights.
const ROLES: &str = include_str!("../../../../migrations/roles/roles.sql");
const ROLE_NAMES: [&str; 2] = ["eidos_jobs_reader", "eidos_jobs_writer"];
/// Who is logged in, whether that login may create roles, and which of ours are missing.
const ROLES_STATE: &str = "SELECT current_user::text, rolsuper OR rolcreaterole, \
     ARRAY(SELECT name FROM unnest($1::text[]) AS name WHERE to_regrole(name) IS NULL) \
     FROM pg_roles WHERE rolname = current_user";

const TABLE_EXISTS: &str = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
const APPLIED: &str =
    "SELECT version, (extract(epoch FROM installed_on) * 1000)::bigint FROM _sqlx_migrations WHERE success";

const COLUMNS: &[Column] = &[
    ("VERSION", "version", Show::Text),
    ("MIGRATION", "description", Show::Text),
    ("STATE", "state", Show::Text),
    ("APPLIED AT", "applied_at_ms", Show::Instant),
    ("OWNER", "owner", Show::Text),
    ("LOCKS", "locks", Show::Text),
];

pub(super) async fn run(options: &Migrate, format: Format, out: &mut dyn Write) -> Result<()> {
    let url = database::url(options.database_url.as_deref(), options.config.as_deref())?;
    let before = applied(&url).await?;
    if options.check {
        print(out, format, &before)?;
        return verdict(&before);
    }
    let pending = pending(&before);
    if options.roles {
        require_roles(&mut database::connect(&url).await?).await?;
    }
    migrations::migrate_url(&url, SystemClock::default().now())
        .await
        .map_err(failure)?;
    if options.roles {
        apply_roles(&mut database::connect(&url).await?).await?;
    }
    print(out, format, &applied(&url).await?)?;
    if format == Format::Table {
        writeln!(
            out,
            "{pending} applied now; the schema is at version {}",
            migrations::expected_version()
        )?;
        if options.roles {
            writeln!(out, "the roles {} have their rights", ROLE_NAMES.join(" and "))?;
        }
    }
    Ok(())
}

/// Creates the roles that are missing and grants all of them what they need; one transaction.
async fn apply_roles(connection: &mut PgConnection) -> Result<()> {
    sqlx::raw_sql(ROLES).execute(connection).await.map(drop).context(
        "the rights of eidos_jobs_reader and eidos_jobs_writer are not granted; the migrations are applied. Run it as the owner \
         of the tables of the jobs database, or as a superuser",
    )
}

/// Refuses a login that cannot create the missing roles, before anything is changed.
async fn require_roles(connection: &mut PgConnection) -> Result<()> {
    let (login, may_create, missing): (String, bool, Vec<String>) = sqlx::query_as(ROLES_STATE)
        .bind(ROLE_NAMES)
        .fetch_one(connection)
        .await
        .context("cannot look for the roles of services")?;
    if may_create || missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(" and ");
    Err(Failure::Settings(format!(
        "the role {login} may not create {missing}, and nothing was changed: have a superuser run `ALTER ROLE {login} \
         CREATEROLE`, or create them (CREATE ROLE … NOLOGIN); afterwards {login} needs CREATEROLE no more"
    ))
    .into())
}

/// Returns the applied versions with their time (epoch ms).
async fn applied(url: &SecretString) -> Result<BTreeMap<i64, i64>> {
    let mut connection = database::connect(url).await?;
    let exists: bool = sqlx::query_scalar(TABLE_EXISTS)
        .fetch_one(&mut connection)
        .await
        .context("cannot look for the migrations table")?;
    let rows: Vec<(i64, i64)> = if exists {
        sqlx::query_as(APPLIED)
            .fetch_all(&mut connection)
            .await
            .context("cannot read the applied migrations (_sqlx_migrations)")?
    } else {
        Vec::new()
    };
    connection.close().await.context("cannot close the connection")?;
    Ok(rows.into_iter().collect())
}

fn print(out: &mut dyn Write, format: Format, applied: &BTreeMap<i64, i64>) -> Result<()> {
    let rows: Vec<Value> = FILES
        .iter()
        .map(|file| {
            let header = Header::of(file.sql.as_str());
            let at = applied.get(&file.version);
            json!({
                "version": file.version,
                "description": file.description,
                "state": if at.is_some() { "applied" } else { "pending" },
                "applied_at_ms": at,
                "owner": header.owner,
                "locks": header.locks,
            })
        })
        .collect();
    let answer = json!({ "migrations": rows, "expected_version": migrations::expected_version() });
    output::print(out, format, &answer, |out, answer| {
        output::list(out, answer, COLUMNS, "this program knows no migrations")
    })?;
    Ok(())
}

fn pending(applied: &BTreeMap<i64, i64>) -> usize {
    let is_pending = |file: &&sqlx::migrate::Migration| !applied.contains_key(&file.version);
    FILES.iter().filter(is_pending).count()
}

fn verdict(applied: &BTreeMap<i64, i64>) -> Result<()> {
    let expected = migrations::expected_version();
    let pending = pending(applied);
    if pending > 0 {
        return Err(Failure::Schema(format!(
            "{pending} migrations are pending; apply them with: eidosctl migrate"
        ))
        .into());
    }
    match applied.keys().max() {
        Some(&found) if found > expected => Err(Failure::Schema(format!(
            "the database is at version {found}, newer than this program's {expected}: use the newer release"
        ))
        .into()),
        _ => Ok(()),
    }
}

fn failure(error: CoreError) -> anyhow::Error {
    match error {
        error if error.is_setting() => Failure::Settings(error.to_string()).into(),
        other => anyhow::Error::new(other)
            .context("the migration did not complete; what was applied before it stays"),
    }
}

/// What the first lines of a migration say about it: `-- Owner: … Locks: …`.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    owner: Option<String>,
    locks: Option<String>,
}

impl Header {
    fn of(sql: &str) -> Self {
        let comment: Vec<&str> = sql
            .lines()
            .map_while(|line| line.strip_prefix("--"))
            .map(str::trim)
            .take_while(|line| !line.is_empty())
            .collect();
        let text = comment.join(" ");
        let (before, locks) = match text.split_once("Locks:") {
            Some((before, locks)) => (before, Some(locks)),
            None => (text.as_str(), None),
        };
        let clean = |part: &str| part.trim().trim_end_matches('.').to_owned();
        Self {
            owner: before.split_once("Owner:").map(|(_, owner)| clean(owner)),
            locks: locks.map(clean),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_says_who_owns_it_and_what_it_locks() {
        for file in FILES.iter() {
            let header = Header::of(file.sql.as_str());
            assert!(
                header.owner.is_some() && header.locks.is_some(),
                "migration {} must begin with `-- Owner: … Locks: …`: {header:?}",
                file.version
            );
        }
    }

    #[test]
    fn the_list_is_the_one_that_core_applies() {
        let newest = FILES.iter().map(|file| file.version).max();
        assert_eq!(newest, Some(migrations::expected_version()));
    }

    #[test]
    fn a_header_ends_at_the_first_empty_comment_line() {
        let header =
            Header::of("-- Owner: recon-svc. Locks: new tables\n-- only.\n--\n-- Locks: nothing\nSELECT 1");
        assert_eq!(
            header,
            Header {
                owner: Some("recon-svc".to_owned()),
                locks: Some("new tables only".to_owned())
            }
        );
    }
}
