//! Whether the store lets us do what an archive needs, and does what it promises.

use std::fmt;

use bytes::Bytes;
use futures::future::join_all;
use object_store::path::Path;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::StoreError;
use crate::manifest::sha256_hex;
use crate::store::access::Access;
use crate::store::witness::FOLDER;
use crate::versions::Versions;

/// How many creators of one object race each other, and how often: a store that looks before it writes refuses a second
/// creator that comes later, and lets several through that come at once.
const RACERS: usize = 8;
const RACES: usize = 4;

pub(super) async fn probe(access: &Access, owner: &str) -> Result<(), StoreError> {
    let cancel = CancellationToken::new();
    // First: some stores make a bucket that does not exist when something is put into it.
    access.list(&Path::from(FOLDER), &cancel).await?;
    let id = fresh_id(owner);
    let key = format!("{FOLDER}/{id}");
    let content = Bytes::from(format!("eidos archive probe {id}\n"));
    access
        .create(&key, &content, &sha256_hex(&content), &cancel)
        .await?;
    let checked = check(access, &key, &id, &content, &cancel).await;
    // Deleted in any case; what the check found matters more than a deletion that is refused for the same reason.
    let deleted = access.delete(&key, &cancel).await;
    checked.and(deleted)?;
    for _race in 0..RACES {
        race(access, owner, &cancel).await?;
    }
    Ok(())
}

/// What a probe saw beside the proof, and what it left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// What becomes of objects that are removed.
    pub versions: Versions,
    /// Versions of the probe's own objects, and marks of their removal, that are left; `None`: not known.
    pub left: Option<usize>,
    /// Why they are left, in the store's words; `None`: none are.
    pub why_left: Option<String>,
}

impl fmt::Display for Probed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.versions)?;
        let why = self.why_left.as_deref().unwrap_or("no reason given");
        match self.left {
            Some(0) => Ok(()),
            Some(left) => write!(
                f,
                "; the probe left {left} versions and marks of its own objects below {FOLDER}/ ({why})"
            ),
            None => write!(
                f,
                "; whether the probe left versions of its own objects below {FOLDER}/ is unknown ({why})"
            ),
        }
    }
}

/// Removes the versions of this owner's probes for good, where that is allowed.
pub(super) async fn clean_up(access: &Access, owner: &str, versions: Versions) -> Probed {
    let mut probed = Probed {
        versions,
        left: Some(0),
        why_left: None,
    };
    let Some(bucket) = access
        .bucket
        .as_ref()
        .filter(|_s3| probed.versions != Versions::NotKept)
    else {
        if let Versions::Unknown(cause) = &probed.versions {
            (probed.left, probed.why_left) = (None, Some(cause.clone()));
        }
        return probed;
    };
    let own = format!("{FOLDER}/{owner}-");
    let below = access.prefixed(&own);
    let found = match bucket.below(&below, access.request_timeout).await {
        Ok(found) => found,
        Err(unanswered) => {
            (probed.left, probed.why_left) = (None, Some(unanswered.cause()));
            return probed;
        }
    };
    // Another owner's name may begin with ours.
    let whole = below.len() + Uuid::nil().hyphenated().to_string().len();
    let found = found
        .iter()
        .filter(|version| version.key.starts_with(&below) && version.key.len() == whole);
    let mut left = 0;
    for version in found {
        if let Err(unanswered) = bucket.remove(version, access.request_timeout).await {
            left += 1;
            probed.why_left = Some(unanswered.cause());
        }
    }
    probed.left = Some(left);
    probed
}

fn fresh_id(owner: &str) -> String {
    format!("{owner}-{}", Uuid::now_v7().hyphenated())
}

async fn check(
    access: &Access,
    key: &str,
    id: &str,
    content: &Bytes,
    cancel: &CancellationToken,
) -> Result<(), StoreError> {
    let read = access.read(key, None, cancel).await?;
    if read != *content {
        let what = "gave back other bytes than it was given";
        return Err(access.incapable(key, what, "do not archive there"));
    }
    encrypted(access, key, id, cancel).await?;
    let other = Bytes::from_static(b"a second object of the same name\n");
    match access.create(key, &other, &sha256_hex(&other), cancel).await {
        Err(StoreError::Conflict { .. }) => {}
        Err(error) => return Err(error),
        Ok(()) => {
            return Err(access.incapable(
                key,
                "overwrote an object that must be created only once",
                "an archive needs If-None-Match: * on put; use a store or a version that has it",
            ));
        }
    }
    let listed = access.list(&Path::from(FOLDER), cancel).await?;
    if listed.iter().any(|key| key.filename() == Some(id)) {
        remove_earlier(access, &listed, id, cancel).await
    } else {
        Err(access.incapable(
            key,
            "does not list an object right after it was put",
            "leftovers of interrupted exports could not be found there; use a store with consistent listings",
        ))
    }
}

/// Checks that encryption that was asked for is there: the answers to the PUT and to a HEAD say so. A store may answer 200
/// to a header that it does not know.
async fn encrypted(
    access: &Access,
    key: &str,
    id: &str,
    cancel: &CancellationToken,
) -> Result<(), StoreError> {
    let Some(demanded) = &access.encryption else {
        return Ok(());
    };
    access.exists(key, cancel).await?;
    for method in ["PUT", "HEAD"] {
        let said = demanded.witness.take(method, id).unwrap_or_default();
        if !demanded.is_met_by(&said) {
            let what = format!(
                "was asked for {demanded} and answered {method} without saying so ({}): it may store in the clear",
                said.algorithm.as_deref().unwrap_or("no encryption")
            );
            let fix = "use a store that encrypts as security.archive_storage demands, or encrypt below it and set \
                       security.archive_storage.enabled: false";
            return Err(access.incapable(key, what, fix));
        }
    }
    Ok(())
}

/// Checks that of several creators of one object at most one succeeds.
async fn race(access: &Access, owner: &str, cancel: &CancellationToken) -> Result<(), StoreError> {
    let id = fresh_id(owner);
    let key = format!("{FOLDER}/{id}");
    let creators = (0..RACERS).map(|racer| {
        let content = Bytes::from(format!("racer {racer} of {id}\n"));
        let key = &key;
        async move { access.create(key, &content, &sha256_hex(&content), cancel).await }
    });
    let ends = join_all(creators).await;
    let won = ends.iter().filter(|end| end.is_ok()).count();
    let deleted = access.delete(&key, cancel).await;
    if won > 1 {
        let what = format!("let {won} of {RACERS} creators of one object succeed at once");
        let fix = "an archive needs If-None-Match: * on put to hold for requests that come together; use a store or a \
                   version on which it does";
        return Err(access.incapable(&key, what, fix));
    }
    let failed = ends
        .into_iter()
        .filter_map(Result::err)
        .find(|error| !matches!(error, StoreError::Conflict { .. }));
    failed.map_or(deleted, Err)
}

/// Removes what probes of the same owner left that were killed between put and delete. One owner probes at a time: it
/// holds its job's lease.
async fn remove_earlier(
    access: &Access,
    listed: &[Path],
    id: &str,
    cancel: &CancellationToken,
) -> Result<(), StoreError> {
    let of_owner = &id[..id.len() - Uuid::nil().hyphenated().to_string().len()];
    for name in listed.iter().filter_map(Path::filename) {
        if name != id && name.len() == id.len() && name.starts_with(of_owner) {
            access.delete(&format!("{FOLDER}/{name}"), cancel).await?;
        }
    }
    Ok(())
}
