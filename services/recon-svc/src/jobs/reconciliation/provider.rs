//! [`SecondProvider`]: another node of the same chain.

use std::time::Duration;

use eidos_chain::{BlockRef, ChainError, ChainReader, ChainSettings, LogFilter, VaultEvent};
use tokio::sync::OnceCell;

/// Longest wait for a second provider when a run connects to it: the run does not depend on it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Another node of the same chain. It is connected when it answers for the first time.
#[derive(Debug)]
pub struct SecondProvider {
    settings: ChainSettings,
    endpoint: String,
    reader: OnceCell<ChainReader>,
}

impl SecondProvider {
    /// The provider of `chain.second_rpc_url`; `None`: there is none. It is asked for at once, and one that does not answer
    /// now is asked again by every run.
    ///
    /// # Errors
    /// [`ChainError::Refused`] if it is on another chain or has other contracts.
    pub async fn connect(settings: &ChainSettings) -> Result<Option<Self>, ChainError> {
        let Some(mut settings) = settings.second() else {
            return Ok(None);
        };
        settings.rpc.start_patience = settings.rpc.start_patience.min(PATIENCE);
        let second = Self {
            endpoint: settings.endpoint(),
            settings,
            reader: OnceCell::new(),
        };
        match second.reader().await {
            Ok(_) => {}
            Err(refused @ ChainError::Refused { .. }) => return Err(refused),
            Err(error) => {
                tracing::warn!(%error, "the second provider does not answer; every run asks it again");
            }
        }
        Ok(Some(second))
    }

    async fn reader(&self) -> Result<&ChainReader, ChainError> {
        self.reader
            .get_or_try_init(|| ChainReader::connect(&self.settings))
            .await
    }

    /// Scheme, host and port, without credentials.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The events of a range, proven complete like those of the first one.
    pub(super) async fn logs(
        &self,
        from: u64,
        last: &BlockRef,
        filter: &LogFilter,
    ) -> Result<Vec<VaultEvent>, ChainError> {
        let reader = self.reader().await?;
        reader.verify_chain_id().await?;
        reader.logs(from, last, filter).await
    }
}
