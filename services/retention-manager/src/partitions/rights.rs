//! Owner and grants of a new partition: those of its parent.
//!
//! Who reads through the parent needs no right on a partition. Who reads a partition by its name (a backup, an export,
//! an analyst) does, and would otherwise see every month but the new ones. Nobody gains anything: the rights are the
//! ones they have on all rows already. Where the parent has row level security that is not so, and nothing is granted.

use eidos_disposal::catalogue::Relation;
use sqlx::{AssertSqlSafe, PgConnection};

use super::parent::Parent;
use eidos_disposal::DisposalError;

const OWNER: &str = "\
    SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class \
    WHERE oid = $1::bigint::oid AND pg_get_userbyid(relowner) <> current_user";

/// Privilege, grantee (quoted) and whether it may be passed on.
const GRANTS: &str = "\
    SELECT a.privilege_type, \
           CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END, a.is_grantable \
    FROM pg_class c, aclexplode(c.relacl) a \
    WHERE c.oid = $1::bigint::oid AND a.grantee <> c.relowner AND NOT c.relrowsecurity ORDER BY 2, 1";

/// Gives `partition` its parent's owner and grants.
pub(super) async fn copy(
    conn: &mut PgConnection,
    parent: &Parent,
    partition: &Relation,
) -> Result<(), DisposalError> {
    let failed = || DisposalError::sql("give a partition its parent's owner and rights");
    let oid = i64::from(parent.oid);
    let grants: Vec<(String, String, bool)> = sqlx::query_as(GRANTS)
        .bind(oid)
        .fetch_all(&mut *conn)
        .await
        .map_err(failed())?;
    for (privilege, grantee, may_pass_on) in grants {
        let option = if may_pass_on { " WITH GRANT OPTION" } else { "" };
        // The privilege is a keyword of the server, the grantee was quoted by it.
        let grant = format!("GRANT {privilege} ON {partition} TO {grantee}{option}");
        sqlx::raw_sql(AssertSqlSafe(grant))
            .execute(&mut *conn)
            .await
            .map_err(failed())?;
    }
    let owner: Option<String> = sqlx::query_scalar(OWNER)
        .bind(oid)
        .fetch_optional(&mut *conn)
        .await
        .map_err(failed())?;
    if let Some(owner) = owner {
        sqlx::raw_sql(AssertSqlSafe(format!("ALTER TABLE {partition} OWNER TO {owner}")))
            .execute(conn)
            .await
            .map_err(failed())?;
    }
    Ok(())
}
