//! Owner, grants and row security of a new partition: those of its parent.
//!
//! Who reads through the parent needs no right on a partition. Who reads a partition by its name (a backup, an export,
//! an analyst) does, and would otherwise see every month but the new ones. Nobody gains anything: the rights are the
//! ones they have on all rows already, and the parent's policies come with them. Where a policy cannot be had on another
//! table, because it names its own, the partition lets nobody but its owner read rows by its name.

use sqlx::PgConnection;

use super::NewPartition;
use crate::{PgError, Sql, SqlPart, is_transient, sql};

const OWNER: &str = "\
    SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class \
    WHERE oid = $1::bigint::oid AND pg_get_userbyid(relowner) <> current_user";

/// Privilege, column (` (name)` or nothing), grantee (quoted) and whether it may be passed on.
const GRANTS: &str = "\
    SELECT g.privilege_type, g.place, \
           CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END, g.is_grantable \
    FROM ( \
        SELECT a.privilege_type, '' AS place, a.grantee, a.is_grantable, c.relowner \
        FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = $1::bigint::oid \
        UNION ALL \
        SELECT a.privilege_type, ' (' || quote_ident(t.attname) || ')', a.grantee, a.is_grantable, c.relowner \
        FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid AND t.attnum > 0 AND NOT t.attisdropped, \
             aclexplode(t.attacl) a WHERE c.oid = $1::bigint::oid \
    ) g WHERE g.grantee <> g.relowner ORDER BY 3, 1, 2";

const ROW_SECURITY: &str = "SELECT relrowsecurity FROM pg_class WHERE oid = $1::bigint::oid";

/// The rest of `CREATE POLICY name ON table`, after the table.
const POLICIES: &str = "\
    SELECT quote_ident(p.polname), concat( \
        ' AS ', CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END, \
        ' FOR ', CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' \
                               WHEN 'd' THEN 'DELETE' ELSE 'ALL' END, \
        ' TO ', (SELECT string_agg(CASE WHEN r = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r)) END, ', ') \
                 FROM unnest(p.polroles) r), \
        ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', \
        ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')') \
    FROM pg_policy p WHERE p.polrelid = $1::bigint::oid ORDER BY 1";

/// The grants on a table, as statements that give them on another one; `is_wanted` gets the privilege.
async fn grants(
    conn: &mut PgConnection,
    of_oid: u32,
    to: &impl SqlPart,
    is_wanted: fn(&str) -> bool,
) -> Result<Vec<Sql>, PgError> {
    let grants: Vec<(String, String, String, bool)> = sqlx::query_as(GRANTS)
        .bind(i64::from(of_oid))
        .fetch_all(conn)
        .await
        .map_err(failed())?;
    let wanted = grants.into_iter().filter(|(privilege, ..)| is_wanted(privilege));
    let statement = |(privilege, place, grantee, may_pass_on)| {
        let option = if may_pass_on { " WITH GRANT OPTION" } else { "" };
        let (privilege, place) = (Sql::from_server(privilege), Sql::from_server(place));
        let grantee = Sql::from_server(grantee);
        sql!(
            "GRANT {privilege}{place} ON {to} TO {grantee}{option}";
            privilege, place, to, grantee, option
        )
    };
    Ok(wanted.map(statement).collect())
}

/// Statements that let those read `to` who may read the table `of_oid`, for a table that takes over its rows.
///
/// # Errors
/// Those of the database.
pub async fn reading_grants(
    conn: &mut PgConnection,
    of_oid: u32,
    to: &impl SqlPart,
) -> Result<Vec<Sql>, PgError> {
    grants(conn, of_oid, to, |privilege| privilege == "SELECT").await
}

/// Gives the partition its parent's grants, policies and owner. `false`: its policies could not be had.
pub(super) async fn copy(conn: &mut PgConnection, new: &NewPartition<'_>) -> Result<bool, PgError> {
    for grant in grants(conn, new.parent_oid, new.relation, |_any| true).await? {
        execute(conn, grant).await?;
    }
    let guarded = row_security(conn, new).await?;
    let owner: Option<String> = sqlx::query_scalar(OWNER)
        .bind(i64::from(new.parent_oid))
        .fetch_optional(&mut *conn)
        .await
        .map_err(failed())?;
    if let Some(owner) = owner.map(Sql::from_server) {
        execute(conn, sql!("ALTER TABLE {} OWNER TO {owner}", new.relation; owner)).await?;
    }
    Ok(guarded)
}

async fn row_security(conn: &mut PgConnection, new: &NewPartition<'_>) -> Result<bool, PgError> {
    let enabled: bool = sqlx::query_scalar(ROW_SECURITY)
        .bind(i64::from(new.parent_oid))
        .fetch_one(&mut *conn)
        .await
        .map_err(failed())?;
    if enabled {
        execute(
            conn,
            sql!("ALTER TABLE {} ENABLE ROW LEVEL SECURITY", new.relation),
        )
        .await?;
    }
    let policies: Vec<(String, String)> = sqlx::query_as(POLICIES)
        .bind(i64::from(new.parent_oid))
        .fetch_all(&mut *conn)
        .await
        .map_err(failed())?;
    if policies.is_empty() {
        return Ok(true);
    }
    execute(conn, Sql::constant("SAVEPOINT eidos_policies")).await?;
    for (name, rest) in policies {
        let (name, rest) = (Sql::from_server(name), Sql::from_server(rest));
        let create = sql!("CREATE POLICY {name} ON {}{rest}", new.relation; name, rest);
        let Err(error) = execute(conn, create).await else {
            continue;
        };
        if matches!(&error, PgError::Sql { cause, .. } if is_transient(cause)) {
            return Err(error);
        }
        // All or none: what a permissive policy lets through, another one that is missing may have held back.
        let back = Sql::constant("ROLLBACK TO SAVEPOINT eidos_policies");
        execute(conn, back).await?;
        tracing::warn!(
            partition = %new.relation, policy = %name, %error,
            "a policy of the parent cannot be had on its partition: only its owner reads rows by the partition's name"
        );
        return Ok(false);
    }
    execute(conn, Sql::constant("RELEASE SAVEPOINT eidos_policies")).await?;
    Ok(true)
}

fn failed() -> impl FnOnce(sqlx::Error) -> PgError {
    PgError::sql("give a partition its parent's owner and rights")
}

async fn execute(conn: &mut PgConnection, statement: Sql) -> Result<(), PgError> {
    sqlx::raw_sql(statement).execute(conn).await.map_err(failed())?;
    Ok(())
}
