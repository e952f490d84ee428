//! Whatever PostgreSQL may send comes back byte for byte.

use eidos_archive_store::{
    ArchiveFormat, COPY_HEADER, COPY_TRAILER, ContentDigest, CopyDigester, PartOptions, PgType, TimeWindow,
};
use proptest::prelude::*;

use super::rows::{decimal_text, numeric, table, tuple};
use super::{FORMATS, assert_restores, column, digest_of, export, options, stream_of, tuples_of};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_type_comes_back_from_parquet((columns, tuples) in table(true), piece in 1_usize..400) {
        let stream = stream_of(&tuples);
        let small = PartOptions { part_bytes: 4000, row_group_rows: 7, ..options(ArchiveFormat::Parquet) };
        let (parts, totals) = export(&columns, small, &stream, piece).unwrap();
        assert_restores(ArchiveFormat::Parquet, &columns, &parts, &totals, &tuples);
    }

    #[test]
    fn every_type_comes_back_from_csv((columns, tuples) in table(false), piece in 1_usize..400) {
        let stream = stream_of(&tuples);
        let small = PartOptions { part_bytes: 900, ..options(ArchiveFormat::Csv) };
        let (parts, totals) = export(&columns, small, &stream, piece).unwrap();
        assert_restores(ArchiveFormat::Csv, &columns, &parts, &totals, &tuples);
    }

    #[test]
    fn a_digest_of_a_stream_needs_no_types((columns, tuples) in table(true), piece in 1_usize..400) {
        let mut digester = CopyDigester::new(columns.len());
        for chunk in stream_of(&tuples).chunks(piece) {
            digester.feed(chunk).unwrap();
        }
        prop_assert_eq!(digester.finish().unwrap(), (tuples.len() as u64, digest_of(&tuples)));
    }
}

/// Every number of groups on both sides of the point, every cut group, every edge of 38 digits.
#[test]
fn numerics_of_every_shape_come_back() {
    for scale in 0..=38_u8 {
        let columns = [column("n", &format!("numeric(38,{scale})"))];
        let digits = (0..38).flat_map(|exponent| {
            let power = 10_u128.pow(exponent);
            [power, power * 9, power.saturating_sub(1), power + 1]
        });
        let tuples: Vec<Vec<u8>> = digits
            .chain([10_u128.pow(38) - 1])
            .flat_map(|digits| {
                [
                    decimal_text(false, digits, scale),
                    decimal_text(true, digits, scale),
                ]
            })
            .map(|text| tuple(&[Some(numeric(&text))]))
            .collect();
        for format in FORMATS {
            let (parts, totals) = export(&columns, options(format), &stream_of(&tuples), 1000).unwrap();
            assert_restores(format, &columns, &parts, &totals, &tuples);
        }
    }
}

#[test]
fn a_stream_may_be_cut_anywhere() {
    let columns = [
        column("t", "bigint"),
        column("id", "text"),
        column("n", "numeric(36,18)"),
    ];
    let tuples: Vec<Vec<u8>> = (0..3_i64)
        .map(|i| {
            tuple(&[
                Some(i.to_be_bytes().to_vec()),
                Some(vec![b'x'; 3]),
                Some(numeric("1.000000000000000001")),
            ])
        })
        .collect();
    let stream = stream_of(&tuples);
    let (whole, _) = export(&columns, options(ArchiveFormat::Parquet), &stream, stream.len()).unwrap();
    for cut in 0..=stream.len() {
        let (first, second) = stream.split_at(cut);
        let mut digester = CopyDigester::new(columns.len());
        digester.feed(first).unwrap();
        digester.feed(second).unwrap();
        assert_eq!(
            digester.finish().unwrap(),
            (3, digest_of(&tuples)),
            "cut at {cut}"
        );
    }
    for piece in 1..40 {
        let (parts, totals) = export(&columns, options(ArchiveFormat::Parquet), &stream, piece).unwrap();
        assert_eq!(totals.digest, digest_of(&tuples), "in pieces of {piece}");
        assert_eq!(
            parts[0].sha256, whole[0].sha256,
            "the same rows make the same file, in pieces of {piece}"
        );
    }
}

#[test]
fn a_header_extension_is_skipped() {
    let row = tuple(&[None]);
    let mut header = COPY_HEADER;
    header[18] = 5;
    let stream = [&header[..], b"skip!", &row, &COPY_TRAILER].concat();
    for piece in 1..stream.len() {
        let mut digester = CopyDigester::new(1);
        for chunk in stream.chunks(piece) {
            digester.feed(chunk).unwrap();
        }
        assert_eq!(digester.finish().unwrap(), (1, ContentDigest::of_row(&row)));
    }
}

#[test]
fn a_table_without_rows_has_no_part() {
    for format in FORMATS {
        let columns = [column("t", "bigint"), column("id", "integer")];
        let with_segments = PartOptions {
            segment_rows: Some(5),
            ..options(format)
        };
        let (parts, totals) = export(&columns, with_segments, &stream_of(&[]), 4).unwrap();
        assert!(parts.is_empty());
        assert_eq!(
            (totals.rows, totals.digest, totals.segments.len()),
            (0, ContentDigest::ZERO, 0)
        );
        assert_eq!(totals.column_stats[0].min, None);
    }
}

/// Parts are cut near `part_bytes` also when one row is larger than a part, and rows of very different sizes come
/// back.
#[test]
fn huge_values_are_cut_into_parts() {
    let columns = [column("t", "bigint"), column("j", "jsonb"), column("b", "bytea")];
    let row = |i: i64| {
        // Random enough that zstd cannot make it small.
        let noise: Vec<u8> = (0..4096_u64)
            .flat_map(|j| {
                ContentDigest::of_row(&[i.to_be_bytes(), j.to_be_bytes()].concat())
                    .to_string()
                    .into_bytes()
            })
            .collect();
        let json = [b"\x01\"".to_vec(), noise.clone(), b"\"".to_vec()].concat();
        tuple(&[
            Some(i.to_be_bytes().to_vec()),
            Some(json),
            (i % 2 == 0).then_some(noise),
        ])
    };
    let tuples: Vec<Vec<u8>> = (0..12).map(row).collect();
    for format in FORMATS {
        let small = PartOptions {
            part_bytes: 300_000,
            ..options(format)
        };
        let (parts, totals) = export(&columns, small, &stream_of(&tuples), 10_000).unwrap();
        assert!(parts.len() > 2, "{} parts", parts.len());
        assert_restores(format, &columns, &parts, &totals, &tuples);
    }
}

#[test]
fn segments_have_keys_and_digests() {
    let columns = [
        column("at", "timestamp with time zone"),
        column("id", "numeric(20,0)"),
        column("note", "text"),
    ];
    let row = |i: i64| {
        let id = numeric(&(i * 10).to_string());
        tuple(&[Some((i * 1_500_000).to_be_bytes().to_vec()), Some(id), None])
    };
    let tuples: Vec<Vec<u8>> = (0..25).map(row).collect();
    for format in FORMATS {
        let by_ten = PartOptions {
            segment_rows: Some(10),
            part_bytes: 500,
            ..options(format)
        };
        let (_, totals) = export(&columns, by_ten, &stream_of(&tuples), 33).unwrap();
        let rows: Vec<u64> = totals.segments.iter().map(|segment| segment.rows).collect();
        assert_eq!(rows, [10, 10, 5]);
        assert_eq!(totals.segments[0].first, ["2000-01-01 00:00:00+00", "0"]);
        assert_eq!(totals.segments[0].last, ["2000-01-01 00:00:13.5+00", "90"]);
        assert_eq!(totals.segments[2].last, ["2000-01-01 00:00:36+00", "240"]);
        for (segment, tuples) in totals.segments.iter().zip(tuples.chunks(10)) {
            assert_eq!(segment.digest, digest_of(tuples));
        }
    }
}

#[test]
fn a_window_keeps_only_its_rows() {
    let types = [
        "bigint",
        "timestamp with time zone",
        "timestamp without time zone",
        "date",
    ];
    for (declaration, format) in types
        .iter()
        .flat_map(|declaration| FORMATS.map(|format| (declaration, format)))
    {
        let columns = [
            column("note", "text"),
            column("at", declaration),
            column("n", "integer"),
        ];
        // Days 0 to 9 of 2000, the last row without time.
        let at = |day: i64| match columns[1].pg_type {
            PgType::Int8 => (946_684_800_000 + day * 86_400_000).to_be_bytes().to_vec(),
            PgType::Date => i32::try_from(day).unwrap().to_be_bytes().to_vec(),
            _ => (day * 86_400_000_000).to_be_bytes().to_vec(),
        };
        let mut tuples: Vec<Vec<u8>> = (0..10)
            .map(|day| tuple(&[Some(b"x".to_vec()), Some(at(day)), None]))
            .collect();
        tuples.push(tuple(&[None, None, None]));
        let (parts, _) = export(&columns, options(format), &stream_of(&tuples), 100).unwrap();
        let window = TimeWindow {
            column: "at".to_owned(),
            from_ms: 946_684_800_000 + 3 * 86_400_000,
            to_ms: 946_684_800_000 + 6 * 86_400_000,
        };
        let (bytes, rows, digest) = tuples_of(format, &columns, &parts[0].bytes, Some(&window)).unwrap();
        assert_eq!(
            (rows, digest),
            (3, digest_of(&tuples[3..6])),
            "{declaration} as {format:?}"
        );
        assert_eq!(bytes, tuples[3..6].concat());
        let elsewhere = TimeWindow {
            from_ms: 0,
            to_ms: 5,
            ..window.clone()
        };
        assert_eq!(
            tuples_of(format, &columns, &parts[0].bytes, Some(&elsewhere))
                .unwrap()
                .1,
            0
        );
        let no_time = TimeWindow {
            column: "note".to_owned(),
            ..window
        };
        assert!(tuples_of(format, &columns, &parts[0].bytes, Some(&no_time)).is_err());
    }
}
