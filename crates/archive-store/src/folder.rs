//! [`TableFolder`] and [`UnitFolder`]: where an export is below the archive's URL.
//!
//! `<source>/<schema>.<table>/<unit_name>/<unit_id>/part-00000.parquet` and `…/manifest.json`. There is no `key=value`
//! in it, so readers do not invent partition columns. Characters other than letters, digits, `_`, `-` and `@` are
//! written as `!` and two hexadecimal digits per byte.

use std::fmt;

use crate::ArchiveFormat;
use object_store::path::Path;
use uuid::Uuid;

use crate::error::StoreError;
use crate::manifest::{ExportRequest, Manifest};

/// The name of the last object of an export.
pub(crate) const MANIFEST_NAME: &str = "manifest.json";

/// Longest encoded name; a key of S3 has 1024 bytes at most.
const MAX_ENCODED: usize = 200;

/// All exports of one table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableFolder {
    source: String,
    schema: String,
    table: String,
}

/// One export.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitFolder {
    table: TableFolder,
    unit_name: String,
    unit_id: Uuid,
}

impl TableFolder {
    /// Returns the folder of a table of a database.
    ///
    /// # Errors
    /// [`StoreError::Name`] for names that are empty or too long.
    pub fn new(source: &str, schema: &str, table: &str) -> Result<Self, StoreError> {
        Ok(Self {
            source: checked("source", source)?,
            schema: checked("schema", schema)?,
            table: checked("table", table)?,
        })
    }

    pub(crate) fn path(&self) -> Path {
        let name = format!("{}.{}", encode(&self.schema), encode(&self.table));
        Path::from_iter([encode(&self.source), name])
    }
}

impl UnitFolder {
    /// Returns the folder of an export.
    ///
    /// # Errors
    /// [`StoreError::Name`] for names that are empty or too long.
    pub fn new(table: TableFolder, unit_name: &str, unit_id: Uuid) -> Result<Self, StoreError> {
        Ok(Self {
            table,
            unit_name: checked("unit", unit_name)?,
            unit_id,
        })
    }

    /// Returns the folder a request will be exported to.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of(request: &ExportRequest) -> Result<Self, StoreError> {
        let table = TableFolder::new(&request.source, &request.schema, &request.table)?;
        Self::new(table, &request.unit_name, request.unit_id)
    }

    /// Returns the folder a manifest belongs into.
    pub(crate) fn of_manifest(manifest: &Manifest) -> Result<Self, StoreError> {
        let table = TableFolder::new(&manifest.source, &manifest.schema, &manifest.table)?;
        Self::new(table, &manifest.unit_name, manifest.unit_id)
    }

    /// The table it belongs to.
    #[must_use]
    pub const fn table(&self) -> &TableFolder {
        &self.table
    }

    /// The partition's name, or `table@2024-03`.
    #[must_use]
    pub fn unit_name(&self) -> &str {
        &self.unit_name
    }

    /// The unit.
    #[must_use]
    pub const fn unit_id(&self) -> Uuid {
        self.unit_id
    }

    /// The key of its manifest below the archive's URL.
    #[must_use]
    pub fn manifest_key(&self) -> String {
        self.path().join(MANIFEST_NAME).to_string()
    }

    pub(crate) fn part_key(&self, index: usize, format: ArchiveFormat) -> String {
        let suffix = match format {
            ArchiveFormat::Parquet => "parquet",
            ArchiveFormat::Csv => "csv",
        };
        self.path().join(format!("part-{index:05}.{suffix}")).to_string()
    }

    pub(crate) fn path(&self) -> Path {
        self.table
            .path()
            .join(encode(&self.unit_name))
            .join(self.unit_id.hyphenated().to_string())
    }

    /// Returns the unit whose object this is; `key` is relative to the archive's URL. `None`: it is not one of `table`'s.
    pub(crate) fn of_key(table: &TableFolder, key: &Path) -> Option<Self> {
        let mut rest = key.prefix_match(&table.path())?;
        let unit_name = decode(rest.next()?.as_ref())?;
        let unit_id = Uuid::parse_str(rest.next()?.as_ref()).ok()?;
        rest.next()?;
        Self::new(table.clone(), &unit_name, unit_id).ok()
    }
}

impl fmt::Display for TableFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path())
    }
}

impl fmt::Display for UnitFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path())
    }
}

fn checked(what: &'static str, name: &str) -> Result<String, StoreError> {
    let refuse = |reason| {
        Err(StoreError::Name {
            what,
            name: name.to_owned(),
            reason,
        })
    };
    if name.is_empty() {
        return refuse("it is empty");
    }
    if encode(name).len() > MAX_ENCODED {
        return refuse(
            "it is longer than 200 characters (others than letters, digits, _, - and @ count three)",
        );
    }
    Ok(name.to_owned())
}

fn encode(name: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'@') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "!{byte:02x}");
        }
    }
    encoded
}

fn decode(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'!' {
            let (digits, tail) = tail.split_at_checked(2)?;
            bytes.extend(hex::decode(digits).ok()?);
            rest = tail;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(unit_name: &str) -> UnitFolder {
        let table = TableFolder::new("risk", "public", "eidos_risk_events").unwrap();
        UnitFolder::new(table, unit_name, Uuid::from_u128(7)).unwrap()
    }

    #[test]
    fn keys_are_as_documented() {
        let folder = folder("eidos_risk_events@2024-03");
        let at =
            "risk/public.eidos_risk_events/eidos_risk_events@2024-03/00000000-0000-0000-0000-000000000007";
        assert_eq!(folder.to_string(), at);
        assert_eq!(folder.manifest_key(), format!("{at}/manifest.json"));
        assert_eq!(
            folder.part_key(12, ArchiveFormat::Parquet),
            format!("{at}/part-00012.parquet")
        );
        assert_eq!(
            folder.part_key(0, ArchiveFormat::Csv),
            format!("{at}/part-00000.csv")
        );
    }

    #[test]
    fn strange_names_make_safe_keys_and_come_back() {
        for name in [
            "a/../../b",
            "..",
            "täble",
            "a b#1",
            "a.b",
            "key=value",
            "!2e",
            "100%",
            "\u{0}",
        ] {
            let folder = folder(name);
            let key = Path::parse(folder.manifest_key()).unwrap();
            assert!(
                key.as_ref()
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_-@!./".contains(&byte)),
                "{key}"
            );
            assert_eq!(key.as_ref().split('/').count(), 5, "{key}");
            assert_eq!(UnitFolder::of_key(folder.table(), &key).as_ref(), Some(&folder));
        }
    }

    #[test]
    fn keys_of_other_folders_belong_to_no_unit() {
        let table = folder("p").table().clone();
        for key in [
            "risk/public.eidos_risk_events_old/p/00000000-0000-0000-0000-000000000007/manifest.json",
            "risk/public.eidos_risk_events/p/notes/readme.txt",
            "risk/public.eidos_risk_events/p/00000000-0000-0000-0000-000000000007",
            "other/public.eidos_risk_events/p/00000000-0000-0000-0000-000000000007/manifest.json",
        ] {
            assert_eq!(UnitFolder::of_key(&table, &Path::from(key)), None, "{key}");
        }
    }

    #[test]
    fn empty_and_endless_names_are_refused() {
        assert!(TableFolder::new("", "public", "t").is_err());
        assert!(TableFolder::new("risk", "public", &"x".repeat(201)).is_err());
        assert!(TableFolder::new("risk", "public", &"é".repeat(63)).is_err());
    }
}
