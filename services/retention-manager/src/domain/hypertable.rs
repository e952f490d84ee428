//! TimescaleDB: what it changes about deleting candles.
//!
//! `drop_chunks` knows no intervals: on a table that holds several it would take days and weeks along with the minutes
//! (ruling 36). So rows are always deleted by proof, and chunks are only given back once they are empty. The cutoff is
//! a `BIGINT` in milliseconds, never an interval: given one, TimescaleDB goes by the time a chunk was *created*.

/// Direct DELETE on compressed chunks could take more rows than asked for before this version
/// (timescale/timescaledb #10129, fixed by PR #10254).
const SAFE_ON_COMPRESSED: (u32, u32, u32) = (2, 28, 3);

/// What TimescaleDB knows about a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hypertable {
    pub(crate) version: String,
    /// Compressed chunks that hold something from before the cutoff.
    pub(crate) compressed_chunks: u64,
}

/// How candles may be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Method {
    /// Rows in batches, each batch proved.
    Delete,
    /// The same, and chunks that are empty then are dropped.
    DeleteThenDropChunks,
    /// Not at all: why, and what to do.
    Refused(String),
}

/// How candles of a table may be deleted. `alone_in_table`: it holds a single interval.
pub(crate) fn method(hypertable: Option<&Hypertable>, alone_in_table: bool) -> Method {
    let Some(hypertable) = hypertable else {
        return Method::Delete;
    };
    let is_safe = version(&hypertable.version).is_some_and(|version| version >= SAFE_ON_COMPRESSED);
    if hypertable.compressed_chunks > 0 && !is_safe {
        return Method::Refused(format!(
            "{} compressed chunks hold expired candles, and TimescaleDB {} may delete more of them than asked for \
             (fixed in 2.28.3); upgrade it, or decompress them",
            hypertable.compressed_chunks, hypertable.version
        ));
    }
    if alone_in_table {
        Method::DeleteThenDropChunks
    } else {
        Method::Delete
    }
}

/// `2.28.3`, `2.29.0-dev`; `None` for anything else.
fn version(text: &str) -> Option<(u32, u32, u32)> {
    let (release, suffix) = text
        .split_once('-')
        .map_or((text, None), |(release, suffix)| (release, Some(suffix)));
    // A development version precedes its release: it does not have the fix for sure.
    if suffix.is_some() {
        return None;
    }
    let mut parts = release.split('.').map(str::parse::<u32>);
    let mut part = || parts.next()?.ok();
    let version = (part()?, part()?, part()?);
    parts.next().is_none().then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hypertable(version: &str, compressed_chunks: u64) -> Hypertable {
        Hypertable {
            version: version.to_owned(),
            compressed_chunks,
        }
    }

    #[test]
    fn an_ordinary_table_is_deleted_from_in_batches() {
        assert_eq!(method(None, false), Method::Delete);
        assert_eq!(method(None, true), Method::Delete);
    }

    #[test]
    fn ruling_36_chunks_are_dropped_only_where_a_table_holds_one_interval() {
        assert_eq!(method(Some(&hypertable("2.14.2", 0)), false), Method::Delete);
        assert_eq!(
            method(Some(&hypertable("2.14.2", 0)), true),
            Method::DeleteThenDropChunks
        );
    }

    #[test]
    fn compressed_chunks_are_not_deleted_from_before_2_28_3() {
        for (version, refused) in [
            ("2.28.2", true),
            ("2.9.9", true),
            ("1.99.99", true),
            ("2.28.3", false),
            ("2.28.10", false),
            ("2.29.0", false),
            ("3.0.0", false),
            ("2.28.3-dev", true),
            ("2.28", true),
            ("nonsense", true),
        ] {
            let decided = method(Some(&hypertable(version, 1)), false);
            assert_eq!(
                matches!(decided, Method::Refused(_)),
                refused,
                "{version}: {decided:?}"
            );
        }
        assert_eq!(method(Some(&hypertable("2.1.0", 0)), false), Method::Delete);
    }
}
