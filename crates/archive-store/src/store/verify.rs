//! Reading an export back: the recorded manifest, each part's bytes, each row.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::codec_error::CodecError;
use crate::error::StoreError;
use crate::folder::UnitFolder;
use crate::manifest::{Manifest, ManifestRef, Part, Verified, sha256_hex};
use crate::recount::Recount;
use crate::store::access::Access;

/// Reads, decodes and compares everything. Two parts are held at most: one is decoded while the next arrives.
pub(super) async fn verify(
    access: &Access,
    reference: &ManifestRef,
    cancel: &CancellationToken,
) -> Result<Verified, StoreError> {
    let (manifest, mut stored_bytes) = manifest(access, reference, cancel).await?;
    let manifest = Arc::new(manifest);
    let mut recount = Recount::new(&manifest)?;
    let mut parts = manifest.parts.iter();
    let mut next = parts.next();
    let mut arrived = match next {
        Some(part) => Some(part_bytes(access, part, cancel).await?),
        None => None,
    };
    while let (Some(part), Some(bytes)) = (next, arrived.take()) {
        stored_bytes += part.bytes;
        let counting = tokio::task::spawn_blocking({
            let (manifest, part, cancel) = (Arc::clone(&manifest), part.clone(), cancel.clone());
            move || recount.take(&manifest, &part, bytes, &cancel)
        });
        next = parts.next();
        let fetching = async {
            match next {
                Some(part) => part_bytes(access, part, cancel).await.map(Some),
                None => Ok(None),
            }
        };
        let (counted, fetched) = tokio::join!(counting, fetching);
        recount = counted?.map_err(|error| decoding(access, part, error))?;
        if cancel.is_cancelled() {
            return Err(StoreError::Cancelled);
        }
        arrived = fetched?;
    }
    let corrupt = |what: String| access.corrupt(&reference.key, what);
    let (rows, digest) = recount.finish(&manifest).map_err(corrupt)?;
    Ok(Verified {
        rows,
        digest,
        stored_bytes,
    })
}

/// Returns the manifest and its size, if it is the recorded one and belongs where it is.
pub(super) async fn manifest(
    access: &Access,
    reference: &ManifestRef,
    cancel: &CancellationToken,
) -> Result<(Manifest, u64), StoreError> {
    let bytes = access.read(&reference.key, None, cancel).await?;
    let found = sha256_hex(&bytes);
    if found != reference.sha256 {
        return Err(StoreError::ManifestChanged {
            object: access.location(&reference.key),
            expected: reference.sha256.clone(),
            found,
        });
    }
    let corrupt = |what: String| access.corrupt(&reference.key, what);
    let manifest = Manifest::from_bytes(&bytes).map_err(corrupt)?;
    let folder = UnitFolder::of_manifest(&manifest)?;
    let in_place = folder.manifest_key() == reference.key
        && manifest
            .parts
            .iter()
            .enumerate()
            .all(|(index, part)| part.key == folder.part_key(index, manifest.format));
    if !in_place {
        return Err(corrupt(format!("it belongs to {folder}, not where it lies")));
    }
    Ok((manifest, bytes.len() as u64))
}

/// Returns the bytes of a part, if they are those of the manifest. Bytes that differ are read once more, in case they
/// were damaged in transit.
pub(super) async fn part_bytes(
    access: &Access,
    part: &Part,
    cancel: &CancellationToken,
) -> Result<Bytes, StoreError> {
    let mut found = String::new();
    for _ in 0..2 {
        let bytes = access.read(&part.key, Some(part.bytes), cancel).await?;
        found = sha256_hex(&bytes);
        if found == part.sha256 {
            return Ok(bytes);
        }
    }
    let what = format!("its SHA-256 is {found} instead of {}", part.sha256);
    Err(access.corrupt(&part.key, what))
}

/// Returns what a codec's error means when the bytes are exactly those that were written.
pub(super) fn decoding(access: &Access, part: &Part, error: CodecError) -> StoreError {
    match error {
        CodecError::Setup(_) | CodecError::Thread(_) => error.into(),
        CodecError::Stream { .. }
        | CodecError::Value { .. }
        | CodecError::Column { .. }
        | CodecError::Part(_)
        | CodecError::Parquet(_)
        | CodecError::Arrow(_) => access.corrupt(&part.key, error.to_string()),
    }
}
