//! `prepare`: what the owner of another service's database gives the jobs that write there.

use std::io::Write;

use anyhow::{Context as _, Result};
use eidos_core::ident::SqlIdent;
use eidos_core::sql::{EXTERNAL_FENCE_DDL, EXTERNAL_FREEZE_DDL};
use eidos_pg::sql;
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use super::database::connect;
use crate::Failure;
use crate::cli::{Format, Prepare};
use crate::output::{self, Column, Show};

/// A database whose migrations are ours has the fence already, in another shape.
const IS_JOBS_DATABASE: &str = "SELECT to_regclass('eidos_jobs_executions') IS NOT NULL";
const MISSING_ROLES: &str = "SELECT ARRAY(SELECT name FROM unnest($1::text[]) AS name \
     WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name))";

/// An object, how to look for it, and the right a writer needs on it with the object as PostgreSQL names it in a GRANT.
struct Object {
    name: &'static str,
    exists: &'static str,
    rights: &'static str,
    is_for_disposal: bool,
}

const OBJECTS: &[Object] = &[
    Object {
        name: "eidos_jobs_fence",
        exists: "SELECT to_regclass('eidos_jobs_fence') IS NOT NULL",
        rights: "SELECT, INSERT, UPDATE ON eidos_jobs_fence",
        is_for_disposal: false,
    },
    Object {
        name: "eidos_quarantine",
        exists: "SELECT to_regnamespace('eidos_quarantine') IS NOT NULL",
        rights: "USAGE, CREATE ON SCHEMA eidos_quarantine",
        is_for_disposal: true,
    },
    Object {
        name: "eidos_jobs_refuse_write()",
        exists: "SELECT to_regprocedure('public.eidos_jobs_refuse_write()') IS NOT NULL",
        rights: "EXECUTE ON FUNCTION eidos_jobs_refuse_write()",
        is_for_disposal: true,
    },
];

const COLUMNS: &[Column] = &[
    ("OBJECT", "object", Show::Text),
    ("STATE", "state", Show::Text),
    ("WRITERS MAY", "rights", Show::Text),
];

pub(super) async fn run(options: &Prepare, format: Format, out: &mut dyn Write) -> Result<()> {
    let url = SecretString::from(options.database_url.clone());
    let mut connection = connect(&url).await?;
    require_foreign(&mut connection).await?;
    let wanted: Vec<&Object> = OBJECTS
        .iter()
        .filter(|object| options.disposal || !object.is_for_disposal)
        .collect();
    let missing = missing(&mut connection, &wanted).await?;
    if !options.check {
        require_roles(&mut connection, &options.writers).await?;
        apply(&mut connection, options, &wanted).await?;
    }
    connection.close().await.context("cannot close the connection")?;
    print(out, format, options, &wanted, &missing)?;
    if options.check && !missing.is_empty() {
        return Err(Failure::Schema(format!(
            "missing: {}; create them, as the owner of the tables, with: eidosctl prepare{}",
            missing.join(", "),
            if options.disposal { " --disposal" } else { "" }
        ))
        .into());
    }
    Ok(())
}

async fn require_foreign(connection: &mut PgConnection) -> Result<()> {
    let is_jobs_database: bool = sqlx::query_scalar(IS_JOBS_DATABASE)
        .fetch_one(connection)
        .await
        .context("cannot look at the tables of this database")?;
    if is_jobs_database {
        return Err(Failure::Settings(
            "this is the jobs database, where eidosctl migrate creates everything; give the URL of a database of the exchange"
                .to_owned(),
        )
        .into());
    }
    Ok(())
}

async fn missing(connection: &mut PgConnection, wanted: &[&Object]) -> Result<Vec<&'static str>> {
    let mut missing = Vec::new();
    for object in wanted {
        let exists: bool = sqlx::query_scalar(object.exists)
            .fetch_one(&mut *connection)
            .await
            .with_context(|| format!("cannot look for {}", object.name))?;
        if !exists {
            missing.push(object.name);
        }
    }
    Ok(missing)
}

/// Refuses a role that is not there, before anything is changed.
async fn require_roles(connection: &mut PgConnection, writers: &[String]) -> Result<()> {
    let missing: Vec<String> = sqlx::query_scalar(MISSING_ROLES)
        .bind(writers)
        .fetch_one(connection)
        .await
        .context("cannot look for the roles of --writer")?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::Settings(format!(
        "this server has no role {}, and nothing was changed; create it, or correct --writer",
        missing.join(" and no role ")
    ))
    .into())
}

/// Creates what is missing and grants the writers their rights; one transaction.
async fn apply(connection: &mut PgConnection, options: &Prepare, wanted: &[&Object]) -> Result<()> {
    let why = "nothing was changed; run it as the owner of the tables that jobs write to, who may create tables in this database";
    let mut transaction = connection.begin().await.context("cannot begin a transaction")?;
    sqlx::raw_sql(EXTERNAL_FENCE_DDL)
        .execute(&mut *transaction)
        .await
        .context(why)?;
    if options.disposal {
        sqlx::raw_sql(EXTERNAL_FREEZE_DDL)
            .execute(&mut *transaction)
            .await
            .context(why)?;
    }
    for writer in &options.writers {
        for object in wanted {
            let grant = sql!("GRANT {} TO {}", object.rights, SqlIdent::quoting(writer));
            sqlx::raw_sql(grant)
                .execute(&mut *transaction)
                .await
                .with_context(|| format!("{writer} was not granted {}; {why}", object.rights))?;
        }
    }
    transaction.commit().await.context("cannot commit")
}

fn print(
    out: &mut dyn Write,
    format: Format,
    options: &Prepare,
    wanted: &[&Object],
    missing: &[&str],
) -> Result<()> {
    let rows: Vec<Value> = wanted
        .iter()
        .map(|object| {
            let state = match (missing.contains(&object.name), options.check) {
                (false, _) => "present",
                (true, true) => "missing",
                (true, false) => "created",
            };
            json!({ "object": object.name, "state": state, "rights": object.rights })
        })
        .collect();
    let answer = json!({ "objects": rows, "writers": options.writers });
    output::print(out, format, &answer, |out, answer| {
        output::list(out, &answer["objects"], COLUMNS, "nothing is needed")
    })?;
    if format == Format::Table && !options.check && !options.writers.is_empty() {
        writeln!(out, "granted to {}", options.writers.join(", "))?;
    }
    Ok(())
}
