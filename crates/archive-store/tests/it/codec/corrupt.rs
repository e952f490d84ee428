//! Damaged bytes are errors or other digests, never the same table and never a panic.

use bytes::Bytes;
use eidos_archive_store::{ArchiveFormat, CopyDigester};
use proptest::prelude::*;

use super::rows::{numeric, tuple};
use super::{FORMATS, column, digest_of, export, options, stream_of, tuples_of};

fn table() -> (Vec<eidos_archive_store::Column>, Vec<Vec<u8>>) {
    let columns = vec![
        column("at", "timestamp with time zone"),
        column("id", "bigint"),
        column("price", "numeric(36,18)"),
        column("note", "text"),
        column("uuid", "uuid"),
        column("data", "jsonb"),
    ];
    let row = |i: i64| {
        tuple(&[
            Some((i * 1_000_003).to_be_bytes().to_vec()),
            Some(i.to_be_bytes().to_vec()),
            (i % 5 != 0).then(|| numeric(&format!("{i}.000000000000000{i:03}"))),
            Some(format!("note, \"{}\"", i % 7).into_bytes()),
            Some(i.to_be_bytes().repeat(2)),
            Some([b"\x01".to_vec(), format!("{{\"i\": {i}}}").into_bytes()].concat()),
        ])
    };
    (columns, (0..60).map(row).collect())
}

/// One flipped bit at every byte of a part.
#[test]
fn a_flipped_bit_of_a_part_is_seen() {
    let (columns, tuples) = table();
    for format in FORMATS {
        let (parts, totals) = export(&columns, options(format), &stream_of(&tuples), 1000).unwrap();
        let part = parts[0].bytes.to_vec();
        let mut unnoticed = 0;
        for at in 0..part.len() {
            let mut damaged = part.clone();
            damaged[at] ^= 1 << (at % 8);
            // The Parquet library may panic over damaged bytes in a debug build. A store never hands it any: the SHA-256
            // is compared before, and a panic on the decoding thread would be an error all the same.
            let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                tuples_of(format, &columns, &Bytes::from(damaged), None)
            }));
            if let Ok(Ok((_, rows, digest))) = read
                && (rows, digest) == (totals.rows, totals.digest)
            {
                unnoticed += 1;
            }
        }
        // Parquet's footer holds names and statistics that no row needs; the part's SHA-256 covers them.
        // In CSV, the last digit of a float may be another one that reads as the same value.
        let allowed = match format {
            ArchiveFormat::Parquet => part.len() / 2,
            ArchiveFormat::Csv => part.len() / 100,
        };
        assert!(
            unnoticed <= allowed,
            "{unnoticed} of {} flips of {format:?} change nothing",
            part.len()
        );
    }
}

#[test]
fn a_truncated_part_is_an_error() {
    let (columns, tuples) = table();
    for format in FORMATS {
        let (parts, totals) = export(&columns, options(format), &stream_of(&tuples), 1000).unwrap();
        let part = &parts[0].bytes;
        for end in 0..part.len() {
            match tuples_of(format, &columns, &part.slice(..end), None) {
                Err(_) => {}
                // Lines of CSV may end anywhere; the manifest's SHA-256, rows and digest know better.
                Ok((_, rows, _)) => assert!(format == ArchiveFormat::Csv && rows < totals.rows),
            }
        }
    }
}

#[test]
fn other_columns_than_those_of_the_part() {
    let (columns, tuples) = table();
    for format in FORMATS {
        let (parts, _) = export(&columns, options(format), &stream_of(&tuples), 1000).unwrap();
        let mut renamed = columns.clone();
        renamed[1].name = "ident".to_owned();
        assert!(tuples_of(format, &renamed, &parts[0].bytes, None).is_err());
        assert!(tuples_of(format, &columns[..5], &parts[0].bytes, None).is_err());
        let mut retyped = columns.clone();
        retyped[2] = column("price", "numeric(36,17)");
        assert!(tuples_of(format, &retyped, &parts[0].bytes, None).is_err());
    }
    let (parts, _) = export(
        &columns,
        options(ArchiveFormat::Parquet),
        &stream_of(&tuples),
        1000,
    )
    .unwrap();
    let mut not_null = columns;
    not_null[0].nullable = false;
    assert!(tuples_of(ArchiveFormat::Parquet, &not_null, &parts[0].bytes, None).is_err());
    assert!(tuples_of(ArchiveFormat::Csv, &not_null, &parts[0].bytes, None).is_err());
}

#[test]
fn csv_of_other_writers_is_refused() {
    let columns = [column("a", "integer"), column("b", "text")];
    let good = "\"a\",\"b\"\n\"1\",\n";
    let read = |text: &str| tuples_of(ArchiveFormat::Csv, &columns, &Bytes::from(text.to_owned()), None);
    assert_eq!(read(good).unwrap().1, 1);
    let wrong = [
        "a,b\n\"1\",\n",
        "\"a\",\"b\"\n1,\n",
        "\"a\",\"b\"\n\"1\",",
        "\"a\",\"b\"\n\"1\"\n",
        "\"a\",\"b\"\n\"1\",\"x\",\n",
        "\"a\",\"b\"\n\"1\",\"x\n",
        "\"a\",\"b\"\n\"1\",\"x\"y\n",
        "\"a\",\"b\"\r\n\"1\",\r\n",
        "\"a\",\"b\"\n\"one\",\n",
        "\"a\",\"b\"\n\"2147483648\",\n",
    ];
    for text in wrong {
        assert!(read(text).is_err(), "{text:?} was read");
    }
}

#[test]
fn a_flipped_bit_of_a_stream_is_seen() {
    let (columns, tuples) = table();
    let stream = stream_of(&tuples);
    for at in 0..stream.len() {
        let mut damaged = stream.clone();
        damaged[at] ^= 1 << (at % 8);
        let mut digester = CopyDigester::new(columns.len());
        let seen = digester.feed(&damaged).and_then(|()| digester.finish());
        // The lower flags of the header may be ignored, says its documentation.
        let ignored = (13..15).contains(&at);
        if !ignored && let Ok((_, digest)) = seen {
            assert_ne!(digest, digest_of(&tuples), "byte {at}");
        }
        drop(export(&columns, options(ArchiveFormat::Csv), &damaged, 4096));
    }
}

proptest! {
    #[test]
    fn noise_is_no_part(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (columns, _) = table();
        for format in FORMATS {
            prop_assert!(tuples_of(format, &columns, &Bytes::from(noise.clone()), None).is_err());
        }
        let mut digester = CopyDigester::new(2);
        prop_assert!(digester.feed(&noise).and_then(|()| digester.finish()).is_err());
    }
}
