//! [`ArchiveStore`]: exports that are proved, in a bucket or a folder.
//!
//! # What is promised
//! - An export is a folder of its own: parts, then `manifest.json` last. Without a manifest there is no export.
//! - Every object is created by one request that fails if the name exists, never by a multipart upload: what is
//!   there is whole, and nothing can be left that a listing does not show (docs/adr/0009-parts-not-multipart.md).
//! - A failed or cancelled export discards its folder as far as it can; [`ArchiveStore::discard`] does so again.
//! - [`ArchiveStore::verify`] reads every byte back, decodes every row, and compares with a manifest whose own hash
//!   the caller kept elsewhere. Nothing is inferred from sizes, entity tags or listings.
//! - [`ArchiveStore::copy_stream`] gives away no row of a part whose SHA-256 is not that of the manifest.
//! - Requests have a time limit, are repeated with growing pauses and end; memory is bounded by a few parts.
//!
//! # Where to look
//! `access` single requests and their repetition · `failure` what a failed request means · `connect` settings to a
//! client · `bucket` what is asked about the bucket itself · `export`, `verify`, `copy_out` the three passes over rows ·
//! `discard` deleting and finding units · `probe` whether the store can do all this.

use std::sync::Arc;

use bytes::Bytes;
use eidos_settings::SecuritySection;
use futures::Stream;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::error::StoreError;
use crate::folder::{TableFolder, UnitFolder};
use crate::manifest::{ExportRequest, Exported, Manifest, ManifestRef, Verified};
use crate::place::Scheme;
use crate::settings::ArchiveStoreSettings;
use crate::versions::Versions;

mod access;
mod bucket;
mod connect;
mod copy_out;
mod discard;
mod export;
mod failure;
mod probe;
mod verify;
mod witness;

use access::Access;
pub use probe::Probed;

/// The object a health check asks for; it need not exist.
const HEALTH_KEY: &str = "probe/health";

/// Archives in one place. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct ArchiveStore {
    access: Arc<Access>,
    settings: Arc<ArchiveStoreSettings>,
    /// Set once the store was found to do what an archive needs.
    probed: Arc<OnceCell<()>>,
    /// Set once the store said what becomes of objects that are removed.
    versions: Arc<OnceCell<Versions>>,
}

impl ArchiveStore {
    /// Opens a store without a connection: a local folder is made, a bucket is only named. Ask [`Self::probe`] whether it
    /// works.
    /// HTTPS needs the process-wide crypto provider of rustls to be installed.
    ///
    /// # Errors
    /// [`StoreError::Settings`] for settings that cannot work or do not encrypt as `security` demands;
    /// [`StoreError::Denied`] when the local folder cannot be made.
    #[expect(
        clippy::unused_async,
        reason = "the agreed interface: a store may have to be asked at start"
    )]
    pub async fn open(
        settings: &ArchiveStoreSettings,
        security: &SecuritySection,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            access: Arc::new(connect::open(settings, security)?),
            settings: Arc::new(settings.clone()),
            probed: Arc::default(),
            versions: Arc::default(),
        })
    }

    /// Returns where the archives are, for people and to be remembered: URL, and `?endpoint=…` or `?account=…` where the
    /// URL alone could mean another place. Holds no credential.
    #[must_use]
    pub fn location(&self) -> String {
        self.access.whole_place()
    }

    /// Returns what becomes of objects that are removed here. A store that does not say is [`Versions::Unknown`], never an
    /// error.
    pub async fn versions(&self) -> Versions {
        let said = match self.versions.get() {
            Some(known) => known.clone(),
            None => self.ask_about_versions().await,
        };
        match said {
            // Switched on since it was asked, or it does not say: what it said of its own objects counts.
            Versions::NotKept | Versions::Unknown(_) if self.access.keeps_versions() => Versions::Kept,
            said => said,
        }
    }

    async fn ask_about_versions(&self) -> Versions {
        let (versions, heard) = self.access.versions().await;
        if heard {
            // Lost only if another caller got the same answer meanwhile.
            let _known_already = self.versions.set(versions.clone());
        }
        versions
    }

    /// Checks whether the store answers: a folder that is there, a HEAD that is answered, be it with "no such object".
    ///
    /// # Errors
    /// [`StoreError`] of the request; for a folder [`StoreError::Denied`] when it is not there.
    pub async fn check(&self) -> Result<(), StoreError> {
        if self.access.place.scheme == Scheme::File {
            return connect::folder_is_there(&self.access.place).await;
        }
        let cancel = CancellationToken::new();
        self.access.exists(HEALTH_KEY, &cancel).await.map(drop)
    }

    /// Writes a COPY BINARY stream as parts and a manifest into a folder that must be empty. Rows are encoded on a
    /// blocking thread while parts are uploaded.
    ///
    /// # Errors
    /// Every error leaves an empty folder as far as the store lets us, except [`StoreError::FolderInUse`] and
    /// [`StoreError::Conflict`], which leave alone what others wrote.
    pub async fn export<S, E>(
        &self,
        request: &ExportRequest,
        rows: S,
        cancel: &CancellationToken,
    ) -> Result<Exported, StoreError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: std::error::Error + Send + Sync + 'static,
    {
        export::export(self, request, rows, cancel).await
    }

    /// Reads everything back, byte by byte and row by row, and compares.
    ///
    /// # Errors
    /// [`StoreError::is_rot`] is true for what is missing or differs; other errors prove nothing either way.
    pub async fn verify(
        &self,
        reference: &ManifestRef,
        cancel: &CancellationToken,
    ) -> Result<Verified, StoreError> {
        verify::verify(&self.access, reference, cancel).await
    }

    /// Returns the manifest, if it is the recorded one.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::ManifestChanged`], or why it could not be read.
    pub async fn manifest(&self, reference: &ManifestRef) -> Result<Manifest, StoreError> {
        let (manifest, _bytes) = verify::manifest(&self.access, reference, &CancellationToken::new()).await?;
        Ok(manifest)
    }

    /// Checks whether there is a manifest under this key; nothing of it is read.
    ///
    /// # Errors
    /// Why the store could not say.
    pub async fn has_manifest(&self, key: &str) -> Result<bool, StoreError> {
        self.access.exists(key, &CancellationToken::new()).await
    }

    /// Returns the rows as a COPY BINARY stream with header and trailer, in the order of the export; with a window, only
    /// rows whose time is in `[from, to)` epoch milliseconds. The stream ends with its first error, and then has no
    /// trailer: PostgreSQL takes no row of it.
    pub fn copy_stream(
        &self,
        manifest: &Manifest,
        window_ms: Option<(i64, i64)>,
    ) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static + use<> {
        copy_out::copy_stream(Arc::clone(&self.access), manifest.clone(), window_ms)
    }

    /// Deletes everything of one unit, staging files and empty folders of a local store included, and returns how
    /// many objects that were. Nothing there is success.
    ///
    /// # Errors
    /// Why something may be left.
    pub async fn discard(&self, folder: &UnitFolder) -> Result<u64, StoreError> {
        discard::discard(&self.access, folder, &CancellationToken::new()).await
    }

    /// Returns the units of a table that have left at least one object, in order of their names and ids.
    ///
    /// # Errors
    /// Why the listing is not complete.
    pub async fn folders(&self, table: &TableFolder) -> Result<Vec<UnitFolder>, StoreError> {
        discard::folders(&self.access, table).await
    }

    /// Makes [`Self::probe`] once in a process, before the first export is begun. A folder is not probed: what its file
    /// system does is known, and a right that is missing shows with the first file.
    ///
    /// # Errors
    /// As [`Self::probe`]; what failed is asked again next time.
    pub async fn ready(&self, owner: &str) -> Result<(), StoreError> {
        if self.access.place.scheme == Scheme::File {
            return Ok(());
        }
        let probe = || async { self.probe(owner).await.map(|_probed| ()) };
        self.probed.get_or_try_init(probe).await.copied()
    }

    /// Proves with small objects of unique names that the bucket exists, that the store lets us put, get, list and
    /// delete, encrypts as it was asked to, and lets one of several creators of a name succeed, one after the other and
    /// at once. What this and an earlier probe of the same `owner` put is removed, as far as the store lets us.
    ///
    /// # Errors
    /// [`StoreError::Denied`] names the missing permission, [`StoreError::Incapable`] what the store does not do.
    pub async fn probe(&self, owner: &str) -> Result<Probed, StoreError> {
        probe::probe(&self.access, owner).await?;
        let probed = probe::clean_up(&self.access, owner, self.versions().await).await;
        tracing::info!(store = %self.location(), "the store does what an archive needs; {probed}");
        Ok(probed)
    }
}
