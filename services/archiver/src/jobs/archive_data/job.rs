//! [`ArchiveData`]: what the job works with, and the connection and pace that all of its parts use.

use eidos_archive_store::ArchiveStore;
use eidos_disposal::pace::{Pace, PaceMode, PaceSettings};
use eidos_disposal::settings::DisposalSettings;
use eidos_disposal::{DisposalError, source_connection};
use eidos_runtime::JobError;
use sqlx::PgPool;
use sqlx::pool::PoolConnection;
use sqlx::postgres::Postgres;

use crate::profile::MoveRule;
use crate::settings::{ArchiveDataOptions, Mode};
use crate::store::source;

/// The job.
#[derive(Debug)]
pub struct ArchiveData {
    /// Its own settings.
    pub options: ArchiveDataOptions,
    /// How carefully months are destroyed.
    pub disposal: DisposalSettings,
    /// What moves, in order.
    pub rules: [MoveRule; 2],
    /// The database of both tables; read-only outside of fenced steps.
    pub pool: PgPool,
    /// Where exports go.
    pub store: ArchiveStore,
}

impl ArchiveData {
    /// A replica that was promoted, or an address that points at one.
    pub(super) async fn refuse_standby(&self) -> Result<(), JobError> {
        if source::is_standby(&self.pool).await? {
            return Err(DisposalError::refused(
                "standby",
                format!(
                    "databases.{} points at a standby, which cannot be written to; point it at the primary",
                    self.rules[0].source
                ),
            )
            .into());
        }
        Ok(())
    }

    pub(super) async fn connection(&self) -> Result<PoolConnection<Postgres>, DisposalError> {
        source_connection(&self.pool).await
    }

    pub(super) fn pace(&self) -> Pace {
        let mode = match self.options.mode {
            Mode::Fixed => PaceMode::Fixed,
            Mode::Adaptive => PaceMode::Adaptive,
        };
        let settings = PaceSettings {
            mode,
            ..self.disposal.pace.clone()
        };
        let sleep = std::time::Duration::from_millis(u64::from(self.options.sleep_ms));
        Pace::new(&settings, self.options.batch_rows, sleep)
    }
}
