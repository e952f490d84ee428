//! The codec against PostgreSQL itself: what it sends comes back byte for byte, and our CSV is its CSV.

use eidos_archive_store::{
    ArchiveFormat, COPY_HEADER, COPY_TRAILER, Column, CopyDigester, EncodedPart, ExportTotals, KeyColumns,
    PartEncoder, PartFacts, PartOptions, PartReader, TimeWindow,
};
use eidos_testkit::TestDb;
use futures::StreamExt as _;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Row as _};

use super::{FORMATS, options};

/// Every type of the contract, with time column and key first.
const COLUMNS: &str = "
    at timestamptz, id bigint PRIMARY KEY, flag boolean, small smallint, medium integer, single real,
    double double precision, price numeric(36,18), fee numeric(12,3), whole numeric(38,0), tiny numeric(2,5),
    all_fraction numeric(38,38), name varchar(30), any_name varchar, padded char(6), note text, raw bytea,
    doc json, docb jsonb, ref uuid, day date, local timestamp(3)";

/// Values at the edges of their types, and NULLs, empty text and whatever CSV must quote.
const EDGES: &str = r#"
    ('2024-02-29 23:59:59.999999+00', 1, true, -32768, -2147483648, '-0', '-0', '-0.000000000000000001', '-999999999.999',
     '99999999999999999999999999999999999999', '0.00099', '0.99999999999999999999999999999999999999', '', '', '', '',
     '', '""', '""', '00000000-0000-0000-0000-000000000000', '2024-02-29', '2024-02-29 12:00'),
    ('4714-11-24 00:00:00+00 BC', 2, false, 32767, 2147483647, 'Infinity', '-Infinity', '999999999999999999.999999999999999999',
     '0.001', '-99999999999999999999999999999999999999', '-0.00001', '-0.00000000000000000000000000000000000001', 'NULL',
     '\N', 'a', E'line\nfeed\r\n"quoted", ''single'' \\. \t', '\x00ff22', E'{"a" : 1,\n "a":2}', '{"b": 1, "a": [1.50, null, "\u00e9\""]}',
     'ffffffff-ffff-ffff-ffff-ffffffffffff', '4714-11-24 BC', '4714-11-24 00:00:00 BC'),
    ('294246-12-31 23:59:59.999999+00', 3, NULL, 0, 0, 'NaN', 'NaN', '0', '10000.000', '10000', '0', '0.0001', ' lead', 'trail ',
     ' x', '\.', E'\\x5c2e', 'null', 'null', gen_random_uuid(), '5874897-12-31', '0001-12-31 23:59:59.5 BC'),
    ('0001-01-01 00:00:00+00', 4, true, 1, 1, 1e-5, 1e15, '10000', '9999.999', '0', '0.00001', '0.5', 'ünïcödé 🦀', '"', ',', '"',
     '\x22', '"\u00e9"', '"é"', gen_random_uuid(), '0001-01-01', '9999-12-31 23:59:59.999'),
    ('10000-01-01 00:00:00.1+00', 5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     NULL, NULL, NULL, NULL, NULL),
    (NULL, 6, true, 2, 2, 3.4028235e38, 1.7976931348623157e308, '1', '1', '1', '0.0005', '0.1', 'x', 'x', 'x', 'x', 'x', '1', '1',
     NULL, '2000-01-01', '2000-01-01'),
    (NULL, 7, true, 2, 2, 1.4e-45, 5e-324, '123456789.5', '1', '12345678', '0.0005', '0.1', 'x', 'x', 'x', 'x', 'x', '1', '1',
     NULL, '1970-01-01', '1970-01-01')
"#;

/// Rows of random values, from a seed so that a failure comes back. `r` is in 0..1, `i` counts from 1.
const RANDOM: &str = "
    SELECT to_timestamp(1.7e9 + random() * 1e8), 100 + i, random() < 0.5, (random() * 60000 - 30000)::int2,
        (random() * 4e9 - 2e9)::int4, (random() * pow(10, random() * 60 - 30))::real,
        random() * pow(10, random() * 500 - 250), ((random() - 0.5) * pow(10, random() * 17))::numeric(36,18),
        ((random() - 0.5) * pow(10, random() * 9))::numeric(12,3), trunc((random() - 0.5) * pow(10, random() * 37)),
        (random() * 0.0009)::numeric(2,5), (random()::numeric(38,20) * random()::numeric(38,18))::numeric(38,38),
        CASE WHEN random() < 0.9 THEN left(md5(i::text), (random() * 30)::int) END, md5(random()::text),
        left(md5(i::text), (random() * 6)::int), repeat(md5(i::text), (random() * 8)::int),
        decode(md5(i::text), 'hex'), json_build_object('i', i), jsonb_build_object('i', i, 'x', random()),
        gen_random_uuid(), '2000-01-01'::date + (random() * 20000)::int, '2024-01-01'::timestamp + random() * '1 year'::interval
    FROM generate_series(1, $1) AS i";

async fn filled_table(db: &TestDb, random_rows: i32) -> PgConnection {
    let mut connection = db.pool().acquire().await.unwrap().detach();
    connection.execute("SET TIME ZONE 'UTC'").await.unwrap();
    for statement in [
        format!("CREATE TABLE trades ({COLUMNS})"),
        "CREATE TABLE restored (LIKE trades)".to_owned(),
        format!("INSERT INTO trades VALUES {EDGES}"),
        "SELECT setseed(0.5)".to_owned(),
    ] {
        connection.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    let random = format!("INSERT INTO trades {RANDOM}");
    sqlx::query(AssertSqlSafe(random))
        .bind(random_rows)
        .execute(&mut connection)
        .await
        .unwrap();
    connection
}

async fn columns_of(connection: &mut PgConnection, table: &str) -> Vec<Column> {
    let rows = sqlx::query(
        "SELECT attname::text, format_type(atttypid, atttypmod), NOT attnotnull FROM pg_attribute \
         WHERE attrelid = $1::regclass AND attnum > 0 ORDER BY attnum",
    )
    .bind(table)
    .fetch_all(connection)
    .await
    .unwrap();
    rows.iter()
        .map(|row| Column::new(row.get::<String, _>(0), row.get(1), row.get(2)).unwrap())
        .collect()
}

async fn copy_out(connection: &mut PgConnection, statement: &str) -> Vec<u8> {
    let mut stream = connection.copy_out_raw(statement).await.unwrap();
    let mut all = Vec::new();
    while let Some(chunk) = stream.next().await {
        all.extend_from_slice(&chunk.unwrap());
    }
    all
}

async fn copy_in(connection: &mut PgConnection, statement: &str, bytes: &[u8]) -> u64 {
    let mut copy = connection.copy_in_raw(statement).await.unwrap();
    copy.send(bytes).await.unwrap();
    copy.finish().await.unwrap()
}

fn encode(columns: &[Column], options: PartOptions, stream: &[u8]) -> (Vec<EncodedPart>, ExportTotals) {
    let key = KeyColumns {
        time_column: "id".to_owned(),
        primary_key: vec!["id".to_owned()],
    };
    let mut encoder = PartEncoder::new(columns.to_vec(), key, options, PartFacts::default()).unwrap();
    let mut parts = Vec::new();
    for chunk in stream.chunks(8000) {
        parts.extend(encoder.push(chunk).unwrap());
    }
    let (rest, totals) = encoder.finish().unwrap();
    parts.extend(rest);
    (parts, totals)
}

fn decode(format: ArchiveFormat, columns: &[Column], parts: &[EncodedPart]) -> Vec<u8> {
    let mut stream = COPY_HEADER.to_vec();
    for part in parts {
        for block in PartReader::open(format, columns, part.bytes.clone(), None).unwrap() {
            stream.extend_from_slice(&block.unwrap().bytes);
        }
    }
    stream.extend_from_slice(&COPY_TRAILER);
    stream
}

#[tokio::test]
async fn what_postgres_sends_comes_back() {
    let db = TestDb::empty().await;
    let mut connection = filled_table(&db, 3000).await;
    let columns = columns_of(&mut connection, "trades").await;
    let sent = copy_out(&mut connection, "COPY trades TO STDOUT (FORMAT binary)").await;
    let mut digester = CopyDigester::new(columns.len());
    digester.feed(&sent).unwrap();
    let (rows, digest) = digester.finish().unwrap();
    assert_eq!(rows, 3007);
    for format in FORMATS {
        let small = PartOptions {
            part_bytes: 200_000,
            row_group_rows: 500,
            ..options(format)
        };
        let (parts, totals) = encode(&columns, small, &sent);
        assert!(parts.len() > 1);
        assert_eq!((totals.rows, totals.digest), (rows, digest));
        let back = decode(format, &columns, &parts);
        assert!(back == sent, "{format:?} does not give the same bytes");
        // And PostgreSQL takes them.
        connection.execute("TRUNCATE restored").await.unwrap();
        assert_eq!(
            copy_in(&mut connection, "COPY restored FROM STDIN (FORMAT binary)", &back).await,
            rows
        );
        let again = copy_out(&mut connection, "COPY restored TO STDOUT (FORMAT binary)").await;
        assert!(again == sent, "PostgreSQL reads something else from {format:?}");
    }
}

/// Our line with PostgreSQL's floats (the sixth and seventh column) where they have the same value: of two texts that read
/// back as the same bits it may choose another one.
fn without_float_ties(ours: &str, theirs: &str) -> String {
    let mut ours: Vec<&str> = ours.split("\",\"").collect();
    let theirs: Vec<&str> = theirs.split("\",\"").collect();
    if ours.len() > 6 && theirs.len() > 6 {
        if ours[5].parse::<f32>().map(f32::to_bits) == theirs[5].parse::<f32>().map(f32::to_bits) {
            ours[5] = theirs[5];
        }
        if ours[6].parse::<f64>().map(f64::to_bits) == theirs[6].parse::<f64>().map(f64::to_bits) {
            ours[6] = theirs[6];
        }
    }
    ours.join("\",\"")
}

#[tokio::test]
async fn our_csv_is_the_csv_of_postgres() {
    let db = TestDb::empty().await;
    let mut connection = filled_table(&db, 3000).await;
    let columns = columns_of(&mut connection, "trades").await;
    let sent = copy_out(&mut connection, "COPY trades TO STDOUT (FORMAT binary)").await;
    let (parts, _) = encode(&columns, options(ArchiveFormat::Csv), &sent);
    let ours: Vec<u8> = parts
        .iter()
        .flat_map(|part| after_first_line(&part.bytes).to_vec())
        .collect();
    let theirs = copy_out(
        &mut connection,
        "COPY trades TO STDOUT (FORMAT csv, HEADER, FORCE_QUOTE *)",
    )
    .await;
    let (ours, theirs) = (
        String::from_utf8(ours).unwrap(),
        String::from_utf8(theirs).unwrap(),
    );
    let theirs = theirs.split_once('\n').unwrap().1;
    assert_eq!(ours.lines().count(), theirs.lines().count());
    for (ours, theirs) in ours.lines().zip(theirs.lines()) {
        assert_eq!(without_float_ties(ours, theirs), theirs);
    }

    // A plain COPY loads every part, and what it loaded is what was exported.
    for part in &parts {
        let loaded = copy_in(
            &mut connection,
            "COPY restored FROM STDIN WITH (FORMAT csv, HEADER)",
            &part.bytes,
        )
        .await;
        assert_eq!(loaded, part.rows);
    }
    let again = copy_out(&mut connection, "COPY restored TO STDOUT (FORMAT binary)").await;
    assert!(again == sent, "a plain COPY reads something else");
}

fn after_first_line(csv: &[u8]) -> &[u8] {
    let end = csv.iter().position(|byte| *byte == b'\n').unwrap();
    &csv[end + 1..]
}

/// Minimum, maximum and sum are those that PostgreSQL computes.
#[tokio::test]
async fn statistics_are_those_of_postgres() {
    let db = TestDb::empty().await;
    let mut connection = filled_table(&db, 500).await;
    connection
        .execute("DELETE FROM trades WHERE double = 'NaN'")
        .await
        .unwrap();
    let columns = columns_of(&mut connection, "trades").await;
    let sent = copy_out(&mut connection, "COPY trades TO STDOUT (FORMAT binary)").await;
    let (_, totals) = encode(&columns, options(ArchiveFormat::Parquet), &sent);
    for stats in &totals.column_stats {
        let name = &stats.name;
        let nulls = format!("SELECT count(*) FROM trades WHERE {name} IS NULL");
        let nulls: i64 = sqlx::query_scalar(AssertSqlSafe(nulls))
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(i64::try_from(stats.nulls), Ok(nulls), "NULLs of {name}");
        let aggregate = |function: &str, ordered: &str| match name.as_str() {
            "raw" | "doc" | "docb" => "NULL::text".to_owned(),
            "flag" if function != "sum" => format!(
                "CASE WHEN bool_{}(flag) THEN 't' ELSE 'f' END",
                if function == "min" { "and" } else { "or" }
            ),
            "ref" if function != "sum" => format!("{function}({name}::text)"),
            _ => format!("{function}({name}{ordered})::text"),
        };
        let numbers = [
            "id",
            "small",
            "medium",
            "price",
            "fee",
            "whole",
            "tiny",
            "all_fraction",
        ];
        let texts = ["name", "any_name", "padded", "note"];
        let ordered = if texts.contains(&name.as_str()) {
            " COLLATE \"C\""
        } else {
            ""
        };
        let sum = if numbers.contains(&name.as_str()) {
            aggregate("sum", "")
        } else {
            "NULL::text".to_owned()
        };
        let query = format!(
            "SELECT {}, {}, {sum} FROM trades",
            aggregate("min", ordered),
            aggregate("max", ordered)
        );
        let row = sqlx::query(AssertSqlSafe(query))
            .fetch_one(&mut connection)
            .await
            .unwrap();
        let theirs: (Option<String>, Option<String>, Option<String>) = (row.get(0), row.get(1), row.get(2));
        let trimmed = |text: Option<String>| {
            text.map(|text| {
                if name == "padded" {
                    text.trim_end().to_owned()
                } else {
                    text
                }
            })
        };
        assert_eq!(trimmed(stats.min.clone()), trimmed(theirs.0), "minimum of {name}");
        assert_eq!(trimmed(stats.max.clone()), trimmed(theirs.1), "maximum of {name}");
        assert_eq!(stats.sum, theirs.2, "sum of {name}");
    }
}

/// Values that only PostgreSQL makes: it is its bytes that are refused.
#[tokio::test]
async fn what_has_no_place_in_an_archive_is_refused() {
    let db = TestDb::empty().await;
    let mut connection = db.pool().acquire().await.unwrap().detach();
    let cases = [
        ("numeric(10,2)", "'NaN'", "the numeric is NaN"),
        ("timestamptz", "'infinity'", "the timestamp is infinity"),
        ("timestamp", "'-infinity'", "the timestamp is -infinity"),
        ("timestamp", "'294276-12-31'", "after the year 294246"),
        ("date", "'infinity'", "the date is infinity"),
    ];
    for (declaration, value, says) in cases {
        connection.execute("DROP TABLE IF EXISTS odd").await.unwrap();
        let table = format!("CREATE TABLE odd AS SELECT 42::bigint AS id, {value}::{declaration} AS v");
        connection.execute(AssertSqlSafe(table)).await.unwrap();
        let columns = columns_of(&mut connection, "odd").await;
        let sent = copy_out(&mut connection, "COPY odd TO STDOUT (FORMAT binary)").await;
        let key = KeyColumns {
            time_column: "id".to_owned(),
            primary_key: vec!["id".to_owned()],
        };
        let mut encoder = PartEncoder::new(
            columns,
            key,
            options(ArchiveFormat::Parquet),
            PartFacts::default(),
        )
        .unwrap();
        let error = encoder.push(&sent).unwrap_err().to_string();
        assert!(
            error.starts_with("column v of the row (id=42): ") && error.contains(says),
            "{error}"
        );
    }
}

/// A window over a table with a date, a timestamp and epoch milliseconds is the WHERE of PostgreSQL.
#[tokio::test]
async fn a_window_is_the_where_of_postgres() {
    let db = TestDb::empty().await;
    let mut connection = filled_table(&db, 500).await;
    let columns = columns_of(&mut connection, "trades").await;
    let sent = copy_out(&mut connection, "COPY trades TO STDOUT (FORMAT binary)").await;
    let (from_ms, to_ms) = (1_720_000_000_000_i64, 1_760_000_000_123_i64);
    for (column, bounds) in [
        ("at", "to_timestamp"),
        ("local", "timezone('UTC', to_timestamp"),
        ("id", ""),
    ] {
        let (from_ms, to_ms) = if column == "id" {
            (150, 300)
        } else {
            (from_ms, to_ms)
        };
        let bound = |ms: i64| match bounds {
            "" => ms.to_string(),
            "to_timestamp" => format!("to_timestamp({ms}::numeric / 1000)"),
            _ => format!("{bounds}({ms}::numeric / 1000))"),
        };
        let query = format!(
            "COPY (SELECT * FROM trades WHERE {column} >= {} AND {column} < {}) TO STDOUT (FORMAT binary)",
            bound(from_ms),
            bound(to_ms)
        );
        let theirs = copy_out(&mut connection, &query).await;
        let (parts, _) = encode(&columns, options(ArchiveFormat::Parquet), &sent);
        let window = TimeWindow {
            column: column.to_owned(),
            from_ms,
            to_ms,
        };
        let mut ours = COPY_HEADER.to_vec();
        for part in &parts {
            let reader = PartReader::open(
                ArchiveFormat::Parquet,
                &columns,
                part.bytes.clone(),
                Some(&window),
            )
            .unwrap();
            reader.for_each(|block| ours.extend_from_slice(&block.unwrap().bytes));
        }
        ours.extend_from_slice(&COPY_TRAILER);
        assert!(theirs.len() > 1000, "the window of {column} is empty");
        assert!(ours == theirs, "{column}");
    }
}
