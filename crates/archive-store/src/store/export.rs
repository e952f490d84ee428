use bytes::Bytes;
use futures::Stream;
use tokio_util::sync::CancellationToken;

use crate::error::StoreError;
use crate::manifest::{ExportRequest, Exported};
use crate::store::ArchiveStore;

pub(super) async fn export<S, E>(
    _store: &ArchiveStore,
    _request: &ExportRequest,
    _rows: S,
    _cancel: &CancellationToken,
) -> Result<Exported, StoreError>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
    E: std::error::Error + Send + Sync + 'static,
{
    Err(StoreError::Task("not written yet".to_owned()))
}
