//! What must be true of a server before candles are deleted there. Partitions and rows are guarded the same way in
//! `eidos-disposal`.

use eidos_disposal::DisposalError;
use eidos_disposal::settings::DisposalSettings;
use eidos_runtime::JobContext;
use sqlx::PgPool;

const SERVER: &str = "SELECT pg_is_in_recovery(), (extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// Refuses a server in recovery, which shows the past, and a clock that is off, which makes young candles old.
///
/// # Errors
/// [`DisposalError::Refused`], [`DisposalError::Sql`].
pub(super) async fn check(
    pool: &PgPool,
    ctx: &JobContext,
    settings: &DisposalSettings,
) -> Result<(), DisposalError> {
    let (in_recovery, server_ms): (bool, i64) = sqlx::query_as(SERVER)
        .fetch_one(pool)
        .await
        .map_err(DisposalError::sql("read a server's clock"))?;
    if in_recovery {
        return Err(DisposalError::refused(
            "recovery",
            "the database server is in recovery: it is a replica, or was made one; set databases.<source>.url to the \
             primary",
        ));
    }
    let skew_ms = ctx.clock().now_ms().abs_diff(server_ms);
    if u128::from(skew_ms) > settings.clock_skew_limit.as_millis() {
        return Err(DisposalError::refused(
            "clock",
            format!(
                "the clocks of this process and of the database are {skew_ms} ms apart, more than \
                 disposal.clock_skew_limit: no candle is deleted until they agree; look at NTP on both machines"
            ),
        ));
    }
    Ok(())
}
