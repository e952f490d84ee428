//! [`PgType`]: the types of columns that come back byte for byte.

use std::fmt;
use std::str::FromStr;

use eidos_types::numeric::MAX_PRECISION;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A column type that can be archived and restored exactly. Serialized as its declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PgType {
    /// `boolean`
    Bool,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `real`; all bits are kept, also those of NaN.
    Float4,
    /// `double precision`; all bits are kept, also those of NaN.
    Float8,
    /// `numeric(precision,scale)` with at most 38 digits.
    Numeric {
        /// 1–38.
        precision: u8,
        /// 0–38. May be larger than the precision.
        scale: u8,
    },
    /// `character varying` or `character varying(n)`
    Varchar(Option<u32>),
    /// `character(n)`, padded with spaces.
    Char(u32),
    /// `text`
    Text,
    /// `bytea`
    Bytea,
    /// `json`, its text as it was written.
    Json,
    /// `jsonb`, its text as PostgreSQL prints it.
    Jsonb,
    /// `uuid`
    Uuid,
    /// `date`
    Date,
    /// `timestamp without time zone`. A declared precision rounds on input only and is not kept here: values are
    /// microseconds either way, and the table's DDL has it.
    Timestamp,
    /// `timestamp with time zone`, likewise.
    Timestamptz,
}

/// A declared type that cannot be archived exactly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its type {declaration} cannot be archived exactly: {remedy}")]
pub struct UnsupportedType {
    /// As `format_type` printed it.
    pub declaration: String,
    /// What a person can do.
    pub remedy: &'static str,
}

const BARE_NUMERIC: &str = "declare it as numeric(p,s) with at most 38 digits, keep the table out of archiving, or \
                            keep its rows";
const WIDE_NUMERIC: &str = "a decimal of an archive holds at most 38 digits and a scale of 0 to 38; declare it \
                            narrower or keep its rows";
const OTHER: &str = "arrays, enums, intervals, times, domains and types of extensions are not supported; convert the \
                     column to text or jsonb, or keep its rows";

impl PgType {
    /// Reads what `format_type(atttypid, atttypmod)` prints.
    ///
    /// # Errors
    /// For every type that would not come back byte for byte, with what to do.
    pub fn from_declaration(declaration: &str) -> Result<Self, UnsupportedType> {
        let refused = |remedy| UnsupportedType {
            declaration: declaration.to_owned(),
            remedy,
        };
        let (name, modifiers) = split(declaration).ok_or_else(|| refused(OTHER))?;
        match (name.as_str(), modifiers.as_slice()) {
            ("boolean", []) => Ok(Self::Bool),
            ("smallint", []) => Ok(Self::Int2),
            ("integer", []) => Ok(Self::Int4),
            ("bigint", []) => Ok(Self::Int8),
            ("real", []) => Ok(Self::Float4),
            ("double precision", []) => Ok(Self::Float8),
            ("numeric", []) => Err(refused(BARE_NUMERIC)),
            ("numeric", [precision, scale]) => {
                numeric(*precision, *scale).ok_or_else(|| refused(WIDE_NUMERIC))
            }
            ("character varying", []) => Ok(Self::Varchar(None)),
            ("character varying", [length]) => Ok(Self::Varchar(Some(unsigned(*length, &refused)?))),
            ("character", [length]) => Ok(Self::Char(unsigned(*length, &refused)?)),
            ("text", []) => Ok(Self::Text),
            ("bytea", []) => Ok(Self::Bytea),
            ("json", []) => Ok(Self::Json),
            ("jsonb", []) => Ok(Self::Jsonb),
            ("uuid", []) => Ok(Self::Uuid),
            ("date", []) => Ok(Self::Date),
            ("timestamp without time zone", [] | [0..=6]) => Ok(Self::Timestamp),
            ("timestamp with time zone", [] | [0..=6]) => Ok(Self::Timestamptz),
            _ => Err(refused(OTHER)),
        }
    }

    /// As `format_type` prints it (a time's precision is left out).
    #[must_use]
    pub fn declaration(&self) -> String {
        self.to_string()
    }
}

fn unsigned(length: i64, refused: &impl Fn(&'static str) -> UnsupportedType) -> Result<u32, UnsupportedType> {
    u32::try_from(length)
        .ok()
        .filter(|length| *length > 0)
        .ok_or_else(|| refused(OTHER))
}

fn numeric(precision: i64, scale: i64) -> Option<PgType> {
    let fits = |value: i64| u8::try_from(value).ok().filter(|value| *value <= MAX_PRECISION);
    let (precision, scale) = (fits(precision)?, fits(scale)?);
    (precision > 0).then_some(PgType::Numeric { precision, scale })
}

/// `timestamp(3) with time zone` → (`timestamp with time zone`, `[3]`).
fn split(declaration: &str) -> Option<(String, Vec<i64>)> {
    let Some((head, rest)) = declaration.split_once('(') else {
        return Some((declaration.to_owned(), Vec::new()));
    };
    let (inner, tail) = rest.split_once(')')?;
    let modifiers = inner
        .split(',')
        .map(|number| number.trim().parse().ok())
        .collect::<Option<_>>()?;
    Some((format!("{head}{tail}"), modifiers))
}

impl fmt::Display for PgType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("boolean"),
            Self::Int2 => f.write_str("smallint"),
            Self::Int4 => f.write_str("integer"),
            Self::Int8 => f.write_str("bigint"),
            Self::Float4 => f.write_str("real"),
            Self::Float8 => f.write_str("double precision"),
            Self::Numeric { precision, scale } => write!(f, "numeric({precision},{scale})"),
            Self::Varchar(None) => f.write_str("character varying"),
            Self::Varchar(Some(length)) => write!(f, "character varying({length})"),
            Self::Char(length) => write!(f, "character({length})"),
            Self::Text => f.write_str("text"),
            Self::Bytea => f.write_str("bytea"),
            Self::Json => f.write_str("json"),
            Self::Jsonb => f.write_str("jsonb"),
            Self::Uuid => f.write_str("uuid"),
            Self::Date => f.write_str("date"),
            Self::Timestamp => f.write_str("timestamp without time zone"),
            Self::Timestamptz => f.write_str("timestamp with time zone"),
        }
    }
}

impl FromStr for PgType {
    type Err = UnsupportedType;

    fn from_str(declaration: &str) -> Result<Self, UnsupportedType> {
        Self::from_declaration(declaration)
    }
}

impl Serialize for PgType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PgType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_declaration(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
