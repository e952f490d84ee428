//! Rows as PostgreSQL sends them, written without any code of the codec, and proptest strategies for them.

use eidos_archive_store::{Column, PgType};
use proptest::prelude::*;

/// A field's bytes, or NULL.
pub(super) type Field = Option<Vec<u8>>;

/// A tuple of the binary format.
pub(super) fn tuple(fields: &[Field]) -> Vec<u8> {
    let mut out = i16::try_from(fields.len()).unwrap().to_be_bytes().to_vec();
    for field in fields {
        match field {
            None => out.extend((-1_i32).to_be_bytes()),
            Some(bytes) => {
                out.extend(i32::try_from(bytes.len()).unwrap().to_be_bytes());
                out.extend(bytes);
            }
        }
    }
    out
}

/// A numeric's bytes from its text, such as `-12.50`: digits in groups of four around the point, as in PostgreSQL's
/// `set_var_from_str`, without zero groups at both ends.
pub(super) fn numeric(text: &str) -> Vec<u8> {
    let (negative, digits) = text
        .strip_prefix('-')
        .map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let padded = format!("{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
    let all = format!("{whole}{padded}");
    let groups: Vec<u16> = (0..all.len() / 4)
        .map(|i| all[i * 4..i * 4 + 4].parse().unwrap())
        .collect();
    let first = groups.iter().position(|group| *group != 0);
    let Some(first) = first else {
        return [0_u16, 0, 0, u16::try_from(fraction.len()).unwrap()]
            .iter()
            .flat_map(|w| w.to_be_bytes())
            .collect();
    };
    let last = groups.iter().rposition(|group| *group != 0).unwrap();
    let weight = i16::try_from(whole.len() / 4).unwrap() - 1 - i16::try_from(first).unwrap();
    let groups = &groups[first..=last];
    let mut out = i16::try_from(groups.len()).unwrap().to_be_bytes().to_vec();
    out.extend(weight.to_be_bytes());
    out.extend(if negative { 0x4000_u16 } else { 0 }.to_be_bytes());
    out.extend(u16::try_from(fraction.len()).unwrap().to_be_bytes());
    out.extend(groups.iter().flat_map(|group| group.to_be_bytes()));
    out
}

/// `digits` (below 10^38) with its last `scale` ones behind a point.
pub(super) fn decimal_text(negative: bool, digits: u128, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale == 0 { "" } else { "." };
    let sign = if negative && digits.bytes().any(|digit| digit != b'0') {
        "-"
    } else {
        ""
    };
    format!("{sign}{whole}{point}{fraction}")
}

/// Any type of the contract.
pub(super) fn pg_type() -> impl Strategy<Value = PgType> {
    prop_oneof![
        Just(PgType::Bool),
        Just(PgType::Int2),
        Just(PgType::Int4),
        Just(PgType::Int8),
        Just(PgType::Float4),
        Just(PgType::Float8),
        (1_u8..=38, 0_u8..=38).prop_map(|(precision, scale)| PgType::Numeric { precision, scale }),
        Just(PgType::Numeric {
            precision: 36,
            scale: 18
        }),
        Just(PgType::Varchar(Some(20))),
        Just(PgType::Varchar(None)),
        Just(PgType::Char(5)),
        Just(PgType::Text),
        Just(PgType::Bytea),
        Just(PgType::Json),
        Just(PgType::Jsonb),
        Just(PgType::Uuid),
        Just(PgType::Date),
        Just(PgType::Timestamp),
        Just(PgType::Timestamptz),
    ]
}

/// Text without NUL, with everything that CSV must quote.
fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-c\",\\\\\r\n .']{0,12}",
        "[^\0]{0,20}",
        Just(String::new()),
        Just("\\.".to_owned()),
        Just("NULL".to_owned()),
    ]
    .prop_map(String::into_bytes)
}

fn be<T>(strategy: impl Strategy<Value = T>, bytes: impl Fn(T) -> Vec<u8>) -> impl Strategy<Value = Vec<u8>>
where
    T: std::fmt::Debug,
{
    strategy.prop_map(bytes)
}

/// A value of the type, without what is refused. `any_nan` allows every bit pattern of NaN.
fn value(pg_type: PgType, any_nan: bool) -> BoxedStrategy<Vec<u8>> {
    let edges = prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0), Just(-1)];
    match pg_type {
        PgType::Bool => be(any::<bool>(), |value| vec![u8::from(value)]).boxed(),
        PgType::Int2 => be(any::<i16>(), |value| value.to_be_bytes().to_vec()).boxed(),
        PgType::Int4 => be(any::<i32>(), |value| value.to_be_bytes().to_vec()).boxed(),
        PgType::Int8 => be(prop_oneof![any::<i64>(), edges], |value| {
            value.to_be_bytes().to_vec()
        })
        .boxed(),
        PgType::Float4 => be(any::<u32>().prop_map(f32::from_bits), move |value| {
            let value = if value.is_nan() && !any_nan {
                f32::NAN
            } else {
                value
            };
            value.to_be_bytes().to_vec()
        })
        .boxed(),
        PgType::Float8 => {
            let zeros = prop_oneof![Just((-0.0_f64).to_bits()), Just(0), Just(f64::INFINITY.to_bits())];
            be(
                prop_oneof![3 => any::<u64>(), 1 => zeros].prop_map(f64::from_bits),
                move |value| {
                    let value = if value.is_nan() && !any_nan {
                        f64::NAN
                    } else {
                        value
                    };
                    value.to_be_bytes().to_vec()
                },
            )
            .boxed()
        }
        PgType::Numeric { precision, scale } => numbers(precision, scale).boxed(),
        PgType::Varchar(_) | PgType::Char(_) | PgType::Text | PgType::Json => text().boxed(),
        PgType::Jsonb => be(text(), |text| [vec![1], text].concat()).boxed(),
        PgType::Bytea => proptest::collection::vec(any::<u8>(), 0..20).boxed(),
        PgType::Uuid => be(any::<[u8; 16]>(), |value| value.to_vec()).boxed(),
        // 4714 BC to 5874897.
        PgType::Date => be(-2_451_545_i32..=2_145_031_948, |value| {
            value.to_be_bytes().to_vec()
        })
        .boxed(),
        PgType::Timestamp | PgType::Timestamptz => {
            let last = i64::MAX - 946_684_800_000_000;
            let all = -211_813_488_000_000_000..=last;
            let now = 700_000_000_000_000_i64..900_000_000_000_000;
            be(
                prop_oneof![all, now, Just(last), Just(-211_813_488_000_000_000)],
                |value| value.to_be_bytes().to_vec(),
            )
            .boxed()
        }
    }
}

/// Numbers of up to `precision` digits: any, few digits, round ones, the largest.
fn numbers(precision: u8, scale: u8) -> impl Strategy<Value = Vec<u8>> {
    let limit = 10_u128.pow(u32::from(precision));
    let digits = prop_oneof![
        0..limit,
        (0..limit).prop_map(|digits| digits % 100_000),
        (0..u32::from(precision)).prop_map(|exponent| 10_u128.pow(exponent)),
        Just(limit - 1),
        Just(0),
    ];
    (any::<bool>(), digits)
        .prop_map(move |(negative, digits)| numeric(&decimal_text(negative, digits, scale)))
}

/// Columns `c0`, `c1`, … and rows of them; the first column is never NULL in any row.
pub(super) fn table(any_nan: bool) -> impl Strategy<Value = (Vec<Column>, Vec<Vec<u8>>)> {
    proptest::collection::vec(pg_type(), 1..8).prop_flat_map(move |types| {
        let columns: Vec<Column> = types
            .iter()
            .enumerate()
            .map(|(index, pg_type)| Column {
                name: format!("c{index}"),
                pg_type: *pg_type,
                nullable: true,
            })
            .collect();
        let fields: Vec<_> = types
            .iter()
            .map(|pg_type| proptest::option::weighted(0.8, value(*pg_type, any_nan)))
            .collect();
        let rows = proptest::collection::vec(fields, 0..40);
        (
            Just(columns),
            rows.prop_map(|rows| rows.iter().map(|row| tuple(row)).collect()),
        )
    })
}
