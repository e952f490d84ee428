use tokio_util::sync::CancellationToken;

use crate::error::StoreError;
use crate::manifest::{Manifest, ManifestRef, Verified};
use crate::store::access::Access;

pub(super) async fn verify(
    _access: &Access,
    _reference: &ManifestRef,
    _cancel: &CancellationToken,
) -> Result<Verified, StoreError> {
    Err(StoreError::Task("not written yet".to_owned()))
}
pub(super) async fn manifest(
    _access: &Access,
    _reference: &ManifestRef,
    _cancel: &CancellationToken,
) -> Result<(Manifest, u64), StoreError> {
    Err(StoreError::Task("not written yet".to_owned()))
}
