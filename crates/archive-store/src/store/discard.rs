//! Deleting an export, and finding exports.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path as FilePath, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::error::StoreError;
use crate::folder::{TableFolder, UnitFolder};
use crate::place::Scheme;
use crate::store::access::Access;

/// Deletes what a listing shows, manifest first: an export that is half deleted must not look whole.
pub(super) async fn discard(
    access: &Access,
    folder: &UnitFolder,
    cancel: &CancellationToken,
) -> Result<u64, StoreError> {
    let manifest = folder.manifest_key();
    let mut keys: Vec<String> = access
        .list(&folder.path(), cancel)
        .await?
        .into_iter()
        .map(|key| key.to_string())
        .collect();
    keys.sort_by_key(|key| *key != manifest);
    let mut deleted = 0;
    for key in &keys {
        access.delete(key, cancel).await?;
        deleted += 1;
    }
    if access.place.scheme == Scheme::File {
        deleted += sweep_local(access, folder).await?;
    }
    Ok(deleted)
}

/// Deletes objects that are known to have been tried, whether or not a listing shows them already.
pub(super) async fn discard_tried(
    access: &Access,
    folder: &UnitFolder,
    tried: &[String],
) -> Result<(), StoreError> {
    let cancel = CancellationToken::new();
    for key in tried {
        access.delete(key, &cancel).await?;
    }
    discard(access, folder, &cancel).await.map(|_| ())
}

/// Removes staging files of interrupted writes (`part-00000.parquet#1`), which a listing does not show, and the
/// folders that are empty then, up to but without the archive's own.
async fn sweep_local(access: &Access, folder: &UnitFolder) -> Result<u64, StoreError> {
    let root = access.place.folder.clone();
    let below = root.join(folder.path().as_ref());
    let shown = access.location(folder.path().as_ref());
    let swept = tokio::task::spawn_blocking(move || sweep(&root, &below)).await?;
    swept.map_err(|(path, error)| StoreError::Denied {
        operation: "delete",
        object: shown,
        cause: error.to_string(),
        fix: format!("give the service's user the right to delete {}", path.display()),
    })
}

fn sweep(root: &FilePath, below: &FilePath) -> Result<u64, (PathBuf, io::Error)> {
    let at = |path: &FilePath, error| (path.to_owned(), error);
    let mut removed = 0;
    match fs::read_dir(below) {
        Ok(entries) => {
            for entry in entries {
                let path = entry.map_err(|error| at(below, error))?.path();
                match fs::remove_file(&path) {
                    Ok(()) => removed += 1,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(at(&path, error)),
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(at(below, error)),
    }
    // The table's and the unit's folders may be in use by others: a folder that is not empty stays.
    let mut folder = Some(below);
    while let Some(path) = folder.filter(|path| *path != root && path.starts_with(root)) {
        match fs::remove_dir(path) {
            Ok(()) => folder = path.parent(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => folder = path.parent(),
            Err(_) => break,
        }
    }
    Ok(removed)
}

/// Returns the units of a table that have an object.
pub(super) async fn folders(access: &Access, table: &TableFolder) -> Result<Vec<UnitFolder>, StoreError> {
    let listed = access.list(&table.path(), &CancellationToken::new()).await?;
    let mut units: BTreeSet<UnitFolder> = listed
        .iter()
        .filter_map(|key| UnitFolder::of_key(table, key))
        .collect();
    if access.place.scheme == Scheme::File {
        units.extend(local_units(access, table).await?);
    }
    Ok(units.into_iter().collect())
}

/// Returns the folders of a local store: one may hold nothing but a staging file, which a listing does not show.
async fn local_units(access: &Access, table: &TableFolder) -> Result<Vec<UnitFolder>, StoreError> {
    let root = access.place.folder.join(table.path().as_ref());
    let shown = access.location(table.path().as_ref());
    let table = table.clone();
    let found = tokio::task::spawn_blocking(move || walk_units(&root, &table)).await?;
    found.map_err(|error| StoreError::Denied {
        operation: "list",
        object: shown,
        cause: error.to_string(),
        fix: "give the service's user the right to read this folder".to_owned(),
    })
}

fn walk_units(root: &FilePath, table: &TableFolder) -> io::Result<Vec<UnitFolder>> {
    let names = |folder: &FilePath| -> io::Result<Vec<String>> {
        match fs::read_dir(folder) {
            Ok(entries) => entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect(),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    };
    let mut units = Vec::new();
    for unit in names(root)? {
        for id in names(&root.join(&unit))? {
            let key = table.path().join(unit.as_str()).join(id).join("any");
            units.extend(UnitFolder::of_key(table, &key));
        }
    }
    Ok(units)
}
