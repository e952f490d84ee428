//! Whether the store lets us do what an archive needs.

use bytes::Bytes;
use object_store::path::Path;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::StoreError;
use crate::manifest::sha256_hex;
use crate::store::access::{Access, Listed};

/// Below the archive's URL; nothing else lies there.
const FOLDER: &str = "probe";

pub(super) async fn probe(access: &Access, owner: &str) -> Result<(), StoreError> {
    let cancel = CancellationToken::new();
    let id = format!("{owner}-{}", Uuid::now_v7().hyphenated());
    let key = format!("{FOLDER}/{id}");
    let content = Bytes::from(format!("eidos archive probe {id}\n"));
    access
        .create(&key, &content, &sha256_hex(&content), &cancel)
        .await?;
    let checked = check(access, &key, &id, &content, &cancel).await;
    // Deleted in any case; what the check found matters more than a deletion that is refused for the same reason.
    let deleted = access.delete(&key, &cancel).await;
    checked.and(deleted)
}

async fn check(
    access: &Access,
    key: &str,
    id: &str,
    content: &Bytes,
    cancel: &CancellationToken,
) -> Result<(), StoreError> {
    let incapable = |what: &str, fix: &str| {
        Err(StoreError::Incapable {
            object: access.location(key),
            what: what.to_owned(),
            fix: fix.to_owned(),
        })
    };
    let read = access.read(key, None, cancel).await?;
    if read != *content {
        return incapable("gave back other bytes than it was given", "do not archive there");
    }
    let other = Bytes::from_static(b"a second object of the same name\n");
    match access.create(key, &other, &sha256_hex(&other), cancel).await {
        Err(StoreError::Conflict { .. }) => {}
        Err(error) => return Err(error),
        Ok(()) => {
            return incapable(
                "overwrote an object that must be created only once",
                "an archive needs If-None-Match: * on put; use a store or a version that has it",
            );
        }
    }
    let listed = access.list(&Path::from(FOLDER), cancel).await?;
    if listed.iter().any(|object| object.key.filename() == Some(id)) {
        remove_earlier(access, &listed, id, cancel).await
    } else {
        incapable(
            "does not list an object right after it was put",
            "leftovers of interrupted exports could not be found there; use a store with consistent listings",
        )
    }
}

/// Removes what probes of the same owner left that were killed between put and delete. One owner probes at a time: it
/// holds its job's lease.
async fn remove_earlier(
    access: &Access,
    listed: &[Listed],
    id: &str,
    cancel: &CancellationToken,
) -> Result<(), StoreError> {
    let of_owner = &id[..id.len() - Uuid::nil().hyphenated().to_string().len()];
    for name in listed.iter().filter_map(|object| object.key.filename()) {
        if name != id && name.len() == id.len() && name.starts_with(of_owner) {
            access.delete(&format!("{FOLDER}/{name}"), cancel).await?;
        }
    }
    Ok(())
}
