//! What a Parquet file says to readers before they read a row: order, minima, filters, names.

use bytes::Bytes;
use eidos_archive_store::{
    ArchiveFormat, CodecError, Column, EncodedPart, PartEncoder, PartFacts, PartOptions,
};
use parquet::basic::{ColumnOrder, Encoding};
use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::FileReader as _;
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};

use super::rows::{Field, numeric, tuple};
use super::{column, export, key_of, options, stream_of};

const PARQUET: ArchiveFormat = ArchiveFormat::Parquet;

#[expect(clippy::unnecessary_wraps, reason = "a field of a row, which may be NULL")]
fn int8(value: i64) -> Field {
    Some(value.to_be_bytes().to_vec())
}

#[expect(clippy::unnecessary_wraps, reason = "a field of a row, which may be NULL")]
fn text(value: &str) -> Field {
    Some(value.as_bytes().to_vec())
}

/// As a wallet: 42 characters that differ only by `n`.
fn wallet(n: usize) -> String {
    let high = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let low = (n as u64).wrapping_mul(0xd1b5_4a32_d192_ed03);
    format!("0x{high:016x}{low:016x}{:08x}", high >> 32)
}

fn metadata(part: &EncodedPart) -> ParquetMetaData {
    ParquetMetaDataReader::new()
        .with_page_index_policy(PageIndexPolicy::Required)
        .parse_and_finish(&part.bytes)
        .unwrap()
}

fn with_facts(
    columns: &[Column],
    facts: PartFacts,
    tuples: &[Vec<u8>],
) -> Result<Vec<EncodedPart>, CodecError> {
    let mut encoder = PartEncoder::new(columns.to_vec(), key_of(columns), options(PARQUET), facts)?;
    let mut parts = encoder.push(&stream_of(tuples))?;
    parts.extend(encoder.finish()?.0);
    Ok(parts)
}

fn ordered_by(names: &[&str]) -> PartFacts {
    PartFacts {
        ordered_by: names.iter().map(|name| (*name).to_owned()).collect(),
        ..PartFacts::default()
    }
}

#[test]
fn a_column_of_floats_states_the_order_that_readers_of_2025_know_and_no_minimum() {
    let columns = [
        column("t", "bigint"),
        column("single", "real"),
        column("double", "double precision"),
        column("name", "text"),
    ];
    let row = |n: i64| {
        let double = [f64::NAN, -0.0, f64::INFINITY, 1.5][usize::try_from(n % 4).unwrap()];
        #[expect(clippy::cast_possible_truncation, reason = "NaN, zero, infinity and 1.5 fit")]
        let single = double as f32;
        tuple(&[
            int8(n),
            Some(single.to_be_bytes().to_vec()),
            Some(double.to_be_bytes().to_vec()),
            text("x"),
        ])
    };
    let tuples: Vec<_> = (0..2500).map(row).collect();
    let (parts, _) = export(&columns, options(PARQUET), &stream_of(&tuples), 1000).unwrap();
    let metadata = metadata(&parts[0]);
    let orders = metadata.file_metadata().column_orders().unwrap();
    assert_eq!(orders.len(), 4);
    for order in orders {
        assert!(matches!(order, ColumnOrder::TYPE_DEFINED_ORDER(_)), "{orders:?}");
    }
    assert_eq!(metadata.num_row_groups(), 3);
    for group in metadata.row_groups() {
        for (index, has_range) in [(0, true), (1, false), (2, false), (3, true)] {
            let chunk = group.column(index);
            let bounds = chunk
                .statistics()
                .is_some_and(|known| known.min_bytes_opt().is_some() && known.max_bytes_opt().is_some());
            assert_eq!(bounds, has_range, "column {index}");
            let pages = chunk.column_index_length().is_some();
            assert_eq!(pages, has_range, "page index of column {index}");
        }
    }
}

#[test]
fn field_ids_are_the_numbers_of_the_catalogue_and_positions_without_them() {
    let columns = [
        column("t", "bigint"),
        column("id", "bigint"),
        column("note", "text"),
    ];
    let tuples = [tuple(&[int8(1), int8(1), text("x")])];
    for (numbers, ids) in [(vec![1, 4, 9], [1, 4, 9]), (Vec::new(), [1, 2, 3])] {
        let facts = PartFacts {
            column_numbers: numbers,
            ..PartFacts::default()
        };
        let parts = with_facts(&columns, facts, &tuples).unwrap();
        let found: Vec<i32> = metadata(&parts[0])
            .file_metadata()
            .schema()
            .get_fields()
            .iter()
            .map(|field| field.get_basic_info().id())
            .collect();
        assert_eq!(found, ids);
        super::tuples_of(PARQUET, &columns, &parts[0].bytes, None).unwrap();
    }
    let facts = PartFacts {
        column_numbers: vec![1, 2],
        ..PartFacts::default()
    };
    let error = with_facts(&columns, facts, &tuples).unwrap_err().to_string();
    assert!(error.contains("2 numbers for 3 columns"), "{error}");
}

#[test]
fn rows_in_key_order_are_stated_as_far_as_postgres_and_parquet_order_alike() {
    let columns = [
        column("t", "bigint"),
        column("id", "uuid"),
        column("name", "text"),
        column("day", "date"),
    ];
    let row = |t: i64, id: u8| {
        tuple(&[
            int8(t),
            Some(vec![id; 16]),
            text("x"),
            Some(0_i32.to_be_bytes().to_vec()),
        ])
    };
    let tuples = [row(-5, 9), row(0, 1), row(0, 200), row(7, 0)];
    for (order, stated) in [
        (&["t", "id"][..], Some(vec![0, 1])),
        (&["day", "t", "name", "id"], Some(vec![3, 0])),
        (&["name", "t"], None),
        (&[], None),
    ] {
        let parts = with_facts(&columns, ordered_by(order), &tuples).unwrap();
        let metadata = metadata(&parts[0]);
        let found = metadata.row_group(0).sorting_columns().map(|sorting| {
            assert!(sorting.iter().all(|column| !column.descending));
            sorting.iter().map(|column| column.column_idx).collect()
        });
        assert_eq!(found, stated, "{order:?}");
    }
    let error = with_facts(&columns, ordered_by(&["nothing"]), &tuples).unwrap_err();
    assert!(error.to_string().contains("nothing"), "{error}");
}

#[test]
fn a_file_does_not_state_an_order_that_its_rows_do_not_have() {
    let columns = [column("t", "bigint"), column("id", "uuid")];
    let row = |t: i64, id: u8| tuple(&[int8(t), Some(vec![id; 16])]);
    for tuples in [
        [row(1, 1), row(-1, 2)],
        [row(1, 200), row(1, 3)],
        [row(256, 0), row(255, 0)],
    ] {
        let error = with_facts(&columns, ordered_by(&["t", "id"]), &tuples).unwrap_err();
        assert!(
            matches!(&error, CodecError::Stream { row: 2, what } if what.contains("REINDEX")),
            "{error}"
        );
        with_facts(&columns, ordered_by(&[]), &tuples).unwrap();
    }
}

#[test]
fn a_file_names_its_table_and_the_digest_of_its_rows() {
    let columns = [column("t", "bigint"), column("id", "bigint")];
    let facts = PartFacts {
        key_values: vec![("eidos.table".to_owned(), "public.trades".to_owned())],
        ..PartFacts::default()
    };
    let parts = with_facts(&columns, facts, &[tuple(&[int8(1), int8(1)])]).unwrap();
    let metadata = metadata(&parts[0]);
    let known = metadata.file_metadata().key_value_metadata().unwrap();
    let value = |key: &str| known.iter().find(|pair| pair.key == key)?.value.clone();
    assert_eq!(value("eidos.table").as_deref(), Some("public.trades"));
    assert_eq!(value("eidos.content_digest"), Some(parts[0].digest.to_string()));
}

/// A million rows would have what these have: wallets of 5,000 accounts, hashes that never repeat.
fn trades() -> (Vec<Column>, Vec<EncodedPart>) {
    let columns = [
        column("t", "bigint"),
        column("order_id", "bigint"),
        column("wallet", "character varying(42)"),
        column("tx_hash", "character varying(66)"),
        column("fee", "numeric(36,18)"),
        column("price", "numeric(36,18)"),
        column("user_id", "bigint"),
        column("token", "character varying(20)"),
        column("trade_id", "character varying(64)"),
        column("batch_id", "character varying(64)"),
    ];
    let mut state = 7_usize;
    let mut drawn = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state >> 33
    };
    let row = |n: i64| {
        let at = usize::try_from(n).unwrap();
        tuple(&[
            int8(n),
            int8(n),
            text(&wallet(drawn() % 5000)),
            text(&format!("{}{}", wallet(at + 1_000_000), &wallet(at + 7)[2..26])),
            // In no order: what repeats in turn packs well by itself.
            Some(numeric(&format!("0.0{:0<17}", 1 + drawn() % 13))),
            Some(numeric(&format!("{}.{:018}", drawn(), drawn()))),
            int8(i64::try_from(drawn() % 5000).unwrap()),
            text(["BTC", "ETH", "ARB", "USDC", "WBTC"][drawn() % 5]),
            text(&format!("trade-{n}")),
            text(&format!("batch-{}", n / 500)),
        ])
    };
    let tuples: Vec<_> = (0..60_000).map(row).collect();
    let wide = PartOptions {
        part_bytes: 32 << 20,
        row_group_rows: 65_536,
        ..options(PARQUET)
    };
    let (parts, _) = export(&columns, wide, &stream_of(&tuples), 1 << 16).unwrap();
    (columns.to_vec(), parts)
}

#[test]
fn a_dictionary_is_chosen_by_the_bytes_it_saves() {
    let (columns, parts) = trades();
    let metadata = metadata(&parts[0]);
    for (index, repeats) in [(2, true), (3, false), (4, true), (5, false)] {
        let chunk = metadata.row_group(0).column(index);
        let name = &columns[index].name;
        assert_eq!(chunk.dictionary_page_offset().is_some(), repeats, "{name}");
        // No page of a column with a dictionary gave it up: that would be PLAIN data pages behind the dictionary's.
        let data_encodings = chunk.page_encoding_stats_mask();
        let plain = data_encodings.is_some_and(|mask| mask.is_set(Encoding::PLAIN));
        assert_eq!(plain, !repeats, "{name}: {data_encodings:?}");
    }
    let wallet_bytes = metadata.row_group(0).column(2).compressed_size();
    assert!(wallet_bytes < 350_000, "{wallet_bytes} bytes of 60,000 wallets");
}

#[test]
fn a_wallet_that_is_not_there_costs_a_filter_and_not_the_column() {
    let (columns, parts) = trades();
    let reading = ReadOptionsBuilder::new()
        .with_reader_properties(
            parquet::file::properties::ReaderProperties::builder()
                .set_read_bloom_filter(true)
                .build(),
        )
        .build();
    let file = SerializedFileReader::new_with_options(Bytes::clone(&parts[0].bytes), reading).unwrap();
    let group = file.get_row_group(0).unwrap();
    let filter = |name: &str| -> Option<Sbbf> {
        let index = columns.iter().position(|column| column.name == name).unwrap();
        group.get_column_bloom_filter(index).cloned()
    };
    let wallets = filter("wallet").expect("a filter of wallets");
    assert!((0..5000).all(|n| wallets.check(&wallet(n).as_str())));
    let wrong = (5000..15_000)
        .filter(|n| wallets.check(&wallet(*n).as_str()))
        .count();
    assert!(
        wrong < 700,
        "{wrong} of 10,000 absent wallets are said to be there"
    );
    assert!(filter("tx_hash").is_some());
    assert!(filter("user_id").is_some_and(|users| users.check(&17_i64)));
    assert!(
        filter("order_id").is_none(),
        "ids that ascend have minimum and maximum"
    );
    assert!(filter("fee").is_none());
    assert!(filter("token").is_some());
    for larger_than_the_column in ["trade_id", "batch_id"] {
        assert!(
            filter(larger_than_the_column).is_none(),
            "{larger_than_the_column}"
        );
    }
}
