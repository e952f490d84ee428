//! Values that would not come back are refused, with their column, their row and what to do.

use eidos_archive_store::{
    ArchiveFormat, CodecError, Column, EncodedPart, ExportTotals, KeyColumns, PartEncoder, PartFacts,
    PartOptions,
};

use super::rows::{Field, numeric, tuple};
use super::{FORMATS, assert_restores, column, export, options, stream_of};

/// Exports one row of (bigint 1700000000000, integer 7, the value).
fn export_value(
    declaration: &str,
    value: Field,
    format: ArchiveFormat,
) -> Result<(Vec<EncodedPart>, ExportTotals), CodecError> {
    let columns = [
        column("time", "bigint"),
        column("id", "integer"),
        column("value", declaration),
    ];
    let row = tuple(&[
        Some(1_700_000_000_000_i64.to_be_bytes().to_vec()),
        Some(vec![0, 0, 0, 7]),
        value,
    ]);
    export(&columns, options(format), &stream_of(&[row]), 50)
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "callers make the bytes on the spot")]
fn assert_refused(declaration: &str, value: Vec<u8>, says: &str) {
    for format in FORMATS {
        let error = export_value(declaration, Some(value.clone()), format).unwrap_err();
        assert!(error.is_refusal(), "{error}");
        let error = error.to_string();
        assert!(
            error.starts_with("column value of the row (time=1700000000000, id=7): "),
            "{error}"
        );
        assert!(error.contains(says), "{says} is not in: {error}");
    }
}

/// A numeric of these words: groups, weight, sign, display scale, then the groups.
fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

#[test]
fn numerics_that_are_no_number_of_the_column() {
    assert_refused("numeric(36,18)", words(&[0, 0, 0xc000, 0]), "the numeric is NaN");
    assert_refused(
        "numeric(36,18)",
        words(&[0, 0, 0xd000, 0]),
        "the numeric is Infinity",
    );
    assert_refused(
        "numeric(36,18)",
        words(&[0, 0, 0xf000, 0]),
        "the numeric is -Infinity",
    );
    assert_refused("numeric(36,18)", words(&[0, 0, 0x1234, 18]), "sign");
    assert_refused(
        "numeric(10,2)",
        numeric("1.500"),
        "3 decimal places in a column of 2",
    );
    assert_refused("numeric(4,2)", numeric("100.00"), "more than 4 digits");
    assert_refused(
        "numeric(38,0)",
        numeric(&format!("1{}", "0".repeat(38))),
        "more than 38 digits",
    );
    assert_refused("numeric(38,0)", words(&[1, 300, 0, 0, 1]), "more than 38 digits");
    assert_refused(
        "numeric(38,0)",
        words(&[1, 0x7fff, 0, 0, 1]),
        "more than 38 digits",
    );
    // 0.0001 with a display scale of two, and one far behind the point.
    assert_refused(
        "numeric(10,2)",
        words(&[1, 0xffff, 0, 2, 1]),
        "beyond its decimal places",
    );
    assert_refused(
        "numeric(10,2)",
        words(&[1, 0x8000, 0, 2, 1]),
        "beyond its decimal places",
    );
    // Not as PostgreSQL writes them, so they would come back as other bytes.
    assert_refused("numeric(10,2)", words(&[2, 1, 0, 2, 0, 1]), "zero groups");
    assert_refused("numeric(10,2)", words(&[2, 1, 0, 2, 1, 0]), "zero groups");
    assert_refused("numeric(10,2)", words(&[0, 0, 0x4000, 2]), "zero with sign");
    assert_refused("numeric(10,2)", words(&[1, 0, 0, 2, 10_000]), "above 9999");
    assert_refused("numeric(10,2)", words(&[2, 0, 0, 2, 1]), "2 groups in 2 bytes");
    assert_refused("numeric(10,2)", vec![0, 1, 0], "without header");
}

#[test]
fn times_that_are_no_time() {
    for declaration in ["timestamp with time zone", "timestamp without time zone"] {
        assert_refused(
            declaration,
            i64::MAX.to_be_bytes().to_vec(),
            "the timestamp is infinity",
        );
        assert_refused(
            declaration,
            i64::MIN.to_be_bytes().to_vec(),
            "the timestamp is -infinity",
        );
        assert_refused(
            declaration,
            (i64::MAX - 1).to_be_bytes().to_vec(),
            "after the year 294246",
        );
    }
    assert_refused("date", i32::MAX.to_be_bytes().to_vec(), "the date is infinity");
    assert_refused("date", i32::MIN.to_be_bytes().to_vec(), "the date is -infinity");
}

#[test]
fn bytes_that_are_no_value_of_the_type() {
    assert_refused("boolean", vec![2], "boolean");
    assert_refused("integer", vec![0; 8], "8 bytes instead of 4");
    assert_refused("uuid", vec![0; 15], "15 bytes instead of 16");
    assert_refused("text", vec![0xff], "UTF-8");
    assert_refused("text", b"a\0b".to_vec(), "NUL");
    assert_refused("jsonb", b"\x02{}".to_vec(), "version 2");
    assert_refused("jsonb", Vec::new(), "version byte");
}

/// Parquet keeps the bits of every NaN; the word NaN has only one pattern, so CSV refuses the others.
#[test]
fn a_nan_keeps_its_bits_or_is_refused() {
    let columns = [column("f", "double precision"), column("r", "real")];
    let payload = [f64::from_bits(0xfff8_0000_0000_0001), -f64::NAN];
    let single = (-f32::NAN).to_be_bytes().to_vec();
    let mut tuples: Vec<Vec<u8>> = payload
        .iter()
        .map(|nan| tuple(&[Some(nan.to_be_bytes().to_vec()), Some(single.clone())]))
        .collect();
    // Zeros of both signs many times, which a dictionary might take for one value.
    for i in 0..2000 {
        let zero = if i % 2 == 0 { 0.0_f64 } else { -0.0 };
        tuples.push(tuple(&[Some(zero.to_be_bytes().to_vec()), None]));
    }
    let (parts, totals) = export(&columns, options(ArchiveFormat::Parquet), &stream_of(&tuples), 99).unwrap();
    assert_restores(ArchiveFormat::Parquet, &columns, &parts, &totals, &tuples);

    let error = export(&columns, options(ArchiveFormat::Csv), &stream_of(&tuples), 99).unwrap_err();
    assert!(
        error.to_string().contains("archive this table as Parquet"),
        "{error}"
    );
    let plain = [tuple(&[
        Some(f64::NAN.to_be_bytes().to_vec()),
        Some(f32::NAN.to_be_bytes().to_vec()),
    ])];
    let (parts, totals) = export(&columns, options(ArchiveFormat::Csv), &stream_of(&plain), 99).unwrap();
    assert_restores(ArchiveFormat::Csv, &columns, &parts, &totals, &plain);
}

#[test]
fn null_where_none_may_be() {
    let columns = [
        column("time", "bigint"),
        column("id", "integer"),
        Column::new("value", "text", false).unwrap(),
    ];
    let row = tuple(&[None, Some(vec![0, 0, 0, 7]), None]);
    let error = export(
        &columns,
        options(ArchiveFormat::Parquet),
        &stream_of(std::slice::from_ref(&row)),
        9,
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("column value of the row (time=NULL, id=7): NULL in a column"),
        "{error}"
    );

    let nullable = [
        column("time", "bigint"),
        column("id", "integer"),
        column("value", "text"),
    ];
    let segments = PartOptions {
        segment_rows: Some(1),
        ..options(ArchiveFormat::Parquet)
    };
    let error = export(&nullable, segments, &stream_of(&[row]), 9).unwrap_err();
    assert!(error.to_string().contains("part of the row's key"), "{error}");
}

#[test]
fn options_that_cannot_work() {
    let columns = vec![column("time", "bigint"), column("id", "integer")];
    let key = KeyColumns {
        time_column: "time".to_owned(),
        primary_key: vec!["id".to_owned()],
    };
    let good = options(ArchiveFormat::Parquet);
    let elsewhere = KeyColumns {
        time_column: "created_at".to_owned(),
        ..key.clone()
    };
    let twice = vec![columns[0].clone(), columns[1].clone(), columns[0].clone()];
    let cases = [
        (
            columns.clone(),
            key.clone(),
            PartOptions {
                part_bytes: 0,
                ..good
            },
        ),
        (
            columns.clone(),
            key.clone(),
            PartOptions {
                row_group_rows: 0,
                ..good
            },
        ),
        (
            columns.clone(),
            key.clone(),
            PartOptions {
                zstd_level: 23,
                ..good
            },
        ),
        (
            columns.clone(),
            key.clone(),
            PartOptions {
                segment_rows: Some(0),
                ..good
            },
        ),
        (columns, elsewhere, good),
        (twice, key.clone(), good),
        (Vec::new(), key, good),
    ];
    for (columns, key, options) in cases {
        let error = PartEncoder::new(columns, key, options, PartFacts::default()).unwrap_err();
        assert!(matches!(error, CodecError::Setup(_)), "{error}");
    }
}

/// After an error nothing is finished that looks whole.
#[test]
fn a_failed_export_stays_failed() {
    let columns = vec![column("time", "bigint"), column("id", "integer")];
    let key = KeyColumns {
        time_column: "time".to_owned(),
        primary_key: vec!["id".to_owned()],
    };
    let mut encoder = PartEncoder::new(
        columns,
        key,
        options(ArchiveFormat::Parquet),
        PartFacts::default(),
    )
    .unwrap();
    let row = tuple(&[Some(vec![0; 8]), Some(vec![0; 3])]);
    assert!(encoder.push(&stream_of(&[row])).is_err());
    assert!(encoder.push(b"").is_err());
    assert!(encoder.finish().is_err());
}
