//! [`Access`]: single requests, with a time limit, bounded repetition, and errors a person can act on.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fmt, fs};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{Error as ObjectError, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use tokio_util::sync::CancellationToken;

use crate::error::StoreError;
use crate::manifest::sha256_hex;
use crate::place::{Place, Scheme};
use crate::settings::ArchiveStoreSettings;
use crate::store::bucket::{Bucket, Unanswered};
use crate::store::failure::{self, Failed};
use crate::store::witness::{Said, Witness};
use crate::versions::Versions;

/// How long a request under way may continue after a cancellation: a local write then is over, not still to come.
const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// The store and how it is asked. Keys are relative to the place.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) place: Place,
    pub(super) objects: Arc<dyn ObjectStore>,
    /// What every object must be encrypted with. `None`: nothing is demanded, or no answer can prove it.
    pub(super) encryption: Option<Encryption>,
    /// What else S3 is asked; `None` for other stores.
    pub(super) bucket: Option<Bucket>,
    /// What distinguishes the place from one of the same name elsewhere, as `endpoint=https://…`. `None`: nothing.
    pub(super) elsewhere: Option<String>,
    /// Set once the store named the version of an object that it had stored.
    versions: AtomicBool,
    pub(super) request_timeout: Duration,
    attempts: usize,
    backoff: ExponentialBuilder,
}

/// Encryption that S3 is asked for with every object.
#[derive(Debug)]
pub(super) struct Encryption {
    /// `AES256` or `aws:kms`.
    pub(super) algorithm: String,
    /// The id or ARN of a key; `None`: the bucket's own.
    pub(super) key: Option<String>,
    /// Hears what is answered.
    pub(super) witness: Witness,
}

impl Encryption {
    /// Checks whether an answer says what was asked for. S3 answers with the ARN of a key, whatever it was named by.
    pub(super) fn is_met_by(&self, said: &Said) -> bool {
        let named = |wanted: &String| {
            said.key
                .as_ref()
                .is_some_and(|key| key.ends_with(wanted.as_str()))
        };
        said.algorithm.as_ref() == Some(&self.algorithm) && self.key.as_ref().is_none_or(named)
    }
}

impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{} with the key {key}", self.algorithm),
            None => f.write_str(&self.algorithm),
        }
    }
}

impl Access {
    pub(super) fn new(place: Place, objects: Arc<dyn ObjectStore>, settings: &ArchiveStoreSettings) -> Self {
        Self {
            place,
            objects,
            encryption: None,
            bucket: None,
            elsewhere: None,
            versions: AtomicBool::new(false),
            request_timeout: settings.request_timeout,
            attempts: settings.attempts,
            backoff: ExponentialBuilder::default()
                .with_min_delay(settings.retry_base)
                .with_max_delay(settings.retry_max)
                .with_max_times(settings.attempts.saturating_sub(1))
                .with_jitter(),
        }
    }

    /// With what every object must be encrypted.
    pub(super) fn encrypting(self, encryption: Option<Encryption>) -> Self {
        Self { encryption, ..self }
    }

    /// Returns what the store says of objects that are removed, and whether that was an answer.
    pub(super) async fn versions(&self) -> (Versions, bool) {
        let Some(bucket) = &self.bucket else {
            return match self.place.scheme {
                Scheme::File => (Versions::NotKept, true),
                _ => (
                    Versions::Unknown("this kind of store is not asked".to_owned()),
                    true,
                ),
            };
        };
        let asked = bucket.versions(self.request_timeout).await;
        let heard = !matches!(asked, Err(Unanswered::Silent(_)));
        (
            asked.unwrap_or_else(|unanswered| Versions::Unknown(unanswered.cause())),
            heard,
        )
    }

    /// True once the store was seen to keep versions.
    pub(super) fn keeps_versions(&self) -> bool {
        self.versions.load(Ordering::Relaxed)
    }

    /// Returns the place and where it is, for people and to be remembered: other settings have another text.
    pub(super) fn whole_place(&self) -> String {
        match &self.elsewhere {
            Some(elsewhere) => format!("{}?{elsewhere}", self.place),
            None => self.place.to_string(),
        }
    }

    /// The whole location of a key, for people.
    pub(super) fn location(&self, key: &str) -> String {
        self.place.location(key)
    }

    /// Returns the error of an object that is there and not what it must be.
    pub(super) fn corrupt(&self, key: &str, what: impl Into<String>) -> StoreError {
        StoreError::Corrupt {
            object: self.location(key),
            what: what.into(),
        }
    }

    /// Returns the error of a store that cannot do, or does not do, what an archive needs.
    pub(super) fn incapable(&self, key: &str, what: impl Into<String>, fix: impl Into<String>) -> StoreError {
        StoreError::Incapable {
            object: self.location(key),
            what: what.into(),
            fix: fix.into(),
        }
    }

    /// Returns a key as the bucket knows it, for the beginning of keys.
    pub(super) fn prefixed(&self, key: &str) -> String {
        match self.place.prefix.as_ref() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        }
    }

    fn full(&self, key: &str) -> Result<Path, StoreError> {
        let mut full = self.place.prefix.clone();
        let relative = Path::parse(key).map_err(|_error| StoreError::Name {
            what: "key",
            name: key.to_owned(),
            reason: "it holds characters no key has",
        })?;
        for part in relative.parts() {
            full = full.join(part);
        }
        Ok(full)
    }

    /// Creates an object. If an earlier attempt had done so without our hearing of it, its content is compared.
    pub(super) async fn create(
        &self,
        key: &str,
        content: &Bytes,
        sha256: &str,
        cancel: &CancellationToken,
    ) -> Result<(), StoreError> {
        let path = self.full(key)?;
        self.repeat("put", key, cancel, |attempt| {
            let path = path.clone();
            async move {
                let options = PutOptions::from(PutMode::Create);
                let payload = PutPayload::from_bytes(content.clone());
                match self.objects.put_opts(&path, payload, options).await {
                    Ok(stored) => {
                        if stored.version.is_some() {
                            self.versions.store(true, Ordering::Relaxed);
                        }
                        Ok(())
                    }
                    Err(ObjectError::AlreadyExists { .. }) => {
                        self.compare_existing(&path, key, content.len(), sha256, attempt)
                            .await
                    }
                    Err(error) => Err(error.into()),
                }
            }
        })
        .await
    }

    /// Compares an object of our name that exists: only the very bytes we are putting are fine.
    async fn compare_existing(
        &self,
        path: &Path,
        key: &str,
        bytes: usize,
        sha256: &str,
        attempt: usize,
    ) -> Result<(), Failed> {
        let existing = match self.read_once(path, None).await {
            // Conflicting requests at the same time: the store refused ours, and the other came to nothing.
            Err(Failed::Store(ObjectError::NotFound { .. })) => {
                return Err(Failed::Again("a conflict".into()));
            }
            read => read?,
        };
        if existing.len() == bytes && sha256_hex(&existing) == sha256 {
            self.reach_the_disk(path).await?;
            tracing::info!(
                key,
                attempt,
                "an earlier attempt had stored the object, its reply was lost"
            );
            return Ok(());
        }
        Err(Failed::Final(StoreError::Conflict {
            object: self.location(key),
            what: format!("{} bytes instead of {bytes}, or another SHA-256", existing.len()),
        }))
    }

    /// Writes a local file, and the folders that name it, to the disk: after a failed first attempt it may have been read
    /// from memory.
    async fn reach_the_disk(&self, path: &Path) -> Result<(), Failed> {
        if self.place.scheme != Scheme::File {
            return Ok(());
        }
        let (root, file) = (self.place.folder.clone(), self.place.folder.join(path.as_ref()));
        let synced = tokio::task::spawn_blocking(move || {
            let mut paths = file.ancestors().take_while(|path| path.starts_with(&root));
            paths.try_for_each(|path| fs::File::open(path)?.sync_all())
        });
        let synced = synced.await.map_err(|error| Failed::Final(error.into()))?;
        synced.map_err(|error| Failed::Again(format!("it is there and does not reach the disk: {error}")))
    }

    /// Reads a whole object. With `expected`, one of another size is [`StoreError::Corrupt`] without being read.
    pub(super) async fn read(
        &self,
        key: &str,
        expected: Option<u64>,
        cancel: &CancellationToken,
    ) -> Result<Bytes, StoreError> {
        let path = self.full(key)?;
        self.repeat("get", key, cancel, |_| self.read_once(&path, expected))
            .await
    }

    async fn read_once(&self, path: &Path, expected: Option<u64>) -> Result<Bytes, Failed> {
        let answer = self.objects.get(path).await?;
        let size = answer.meta.size;
        if let Some(expected) = expected.filter(|expected| *expected != size) {
            return Err(Failed::Differs(format!(
                "it has {size} bytes instead of {expected}"
            )));
        }
        if size > MAX_OBJECT_BYTES {
            return Err(Failed::Differs(format!(
                "it has {size} bytes, more than any object of an export"
            )));
        }
        if self.place.scheme == Scheme::File {
            return Ok(answer.bytes().await?);
        }
        let mut content = BytesMut::with_capacity(usize::try_from(size).unwrap_or_default());
        let mut body = answer.into_stream();
        while let Some(chunk) = body.try_next().await? {
            content.extend_from_slice(&chunk);
        }
        if u64::try_from(content.len()) != Ok(size) {
            return Err(Failed::Again(format!(
                "{} of {size} bytes arrived",
                content.len()
            )));
        }
        Ok(content.freeze())
    }

    /// Checks whether an object is there.
    pub(super) async fn exists(&self, key: &str, cancel: &CancellationToken) -> Result<bool, StoreError> {
        let path = self.full(key)?;
        self.repeat("head", key, cancel, |_| async {
            match self.objects.head(&path).await {
                Ok(_) => Ok(true),
                Err(ObjectError::NotFound { .. }) => Ok(false),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Deletes an object; one that is not there is fine.
    pub(super) async fn delete(&self, key: &str, cancel: &CancellationToken) -> Result<(), StoreError> {
        let path = self.full(key)?;
        self.repeat("delete", key, cancel, |_| async {
            match self.objects.delete(&path).await {
                Ok(()) | Err(ObjectError::NotFound { .. }) => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Lists the keys of everything below a key.
    pub(super) async fn list(
        &self,
        below: &Path,
        cancel: &CancellationToken,
    ) -> Result<Vec<Path>, StoreError> {
        let full = self.full(below.as_ref())?;
        self.repeat("list", below.as_ref(), cancel, |_| async {
            let mut listed = Vec::new();
            let mut objects = self.objects.list(Some(&full));
            while let Some(object) = objects.try_next().await? {
                let relative = object.location.prefix_match(&self.place.prefix);
                listed.extend(relative.map(Iterator::collect::<Path>));
            }
            Ok(listed)
        })
        .await
    }

    /// Makes attempts until one succeeds, fails for good, or there have been enough.
    async fn repeat<T, F>(
        &self,
        operation: &'static str,
        key: &str,
        cancel: &CancellationToken,
        attempt: impl Fn(usize) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Failed>>,
    {
        let mut pauses = self.backoff.build();
        for number in 1.. {
            if cancel.is_cancelled() {
                return Err(StoreError::Cancelled);
            }
            let failed = match self.limited(attempt(number), cancel).await {
                Ok(done) => return Ok(done),
                Err(failed) => failed,
            };
            let cause = match failure::judge(self, operation, key, failed) {
                Ok(cause) => cause,
                Err(error) => return Err(error),
            };
            let Some(pause) = pauses.next() else {
                return Err(StoreError::Transport {
                    operation,
                    object: self.location(key),
                    attempts: number,
                    cause,
                });
            };
            tracing::warn!(operation, key, attempt = number, of = self.attempts, %cause, "the object store is asked again");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = cancel.cancelled() => return Err(StoreError::Cancelled),
            }
        }
        Err(StoreError::Task("attempts ended".to_owned()))
    }

    /// Makes one attempt within its time limit, which a cancellation shortens.
    async fn limited<T>(
        &self,
        attempt: impl Future<Output = Result<T, Failed>>,
        cancel: &CancellationToken,
    ) -> Result<T, Failed> {
        let expired = async {
            tokio::select! {
                () = tokio::time::sleep(self.request_timeout) => Failed::Again(format!(
                    "no answer within {:?}", self.request_timeout
                )),
                () = async { cancel.cancelled().await; tokio::time::sleep(CANCEL_GRACE).await } => {
                    Failed::Final(StoreError::Cancelled)
                }
            }
        };
        tokio::select! {
            biased;
            done = attempt => done,
            failed = expired => Err(failed),
        }
    }
}

/// No part or manifest is larger: settings bound parts, and a manifest has a line per thousand rows.
const MAX_OBJECT_BYTES: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::connect;

    /// What a first attempt stored without our hearing of it is found, and brought to the disk.
    #[tokio::test]
    async fn a_local_object_that_is_there_already_is_found_and_reaches_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let settings = ArchiveStoreSettings::at(format!("file://{}/below/new", folder.path().display()));
        let place = Place::parse(&settings.url).unwrap();
        let objects = connect::local(&place).unwrap();
        let access = Access::new(place, objects, &settings);
        let content = Bytes::from_static(b"part");
        for _attempt in 0..2 {
            let cancel = CancellationToken::new();
            let sha256 = sha256_hex(&content);
            let put = access.create("risk/public.t/t%20ü/part", &content, &sha256, &cancel);
            put.await.unwrap();
        }
    }
}
