//! Reading typed values from a [`Tree`], with errors that keep their parts.
//!
//! Text is read as the asked-for type where the file would have written that type: environment variables and
//! `${VAR}` only carry text. The other way round is refused: YAML's `version: 1.10` is the number 1.1, not text.

use std::collections::btree_map;
use std::fmt::{self, Display};

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};

use crate::tree::{Node, Tree};

/// Why a value could not be read. Never holds the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReadError {
    WrongType { found: String, expected: String },
    OutOfRange { expected: String },
    UnknownKey { known: Vec<String> },
    UnknownWord { known: Vec<String> },
    MissingKey { name: &'static str },
    Other(String),
}

impl Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongType { found, expected } => write!(f, "should be {expected}, not {found}"),
            Self::OutOfRange { expected } => write!(f, "should be {expected}"),
            Self::UnknownKey { .. } => f.write_str("is not a key"),
            Self::UnknownWord { known } => write!(f, "should be one of {}", known.join(", ")),
            Self::MissingKey { name } => write!(f, "{name} is missing"),
            Self::Other(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for ReadError {}

/// Rust's names of types, said in words.
fn in_words(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "u8" => "a whole number from 0 to 255".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" => "a whole number from 0 to 4294967295".to_owned(),
        "u64" | "usize" => "a whole number of 0 or more".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" => "text (in quotes)".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a table of keys".to_owned(),
        other if other.starts_with("struct ") => "a table of keys".to_owned(),
        other => other.to_owned(),
    }
}

/// What was found, without the value serde would quote.
fn kind_of(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(_) => "true/false",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
        Unexpected::Float(_) => "a decimal number",
        Unexpected::Char(_) | Unexpected::Str(_) => "text",
        Unexpected::Unit | Unexpected::Option => "nothing",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a table of keys",
        _ => "something else",
    }
    .to_owned()
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

impl de::Error for ReadError {
    fn custom<T: Display>(message: T) -> Self {
        Self::Other(message.to_string())
    }
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::WrongType {
            found: kind_of(&found),
            expected: in_words(expected),
        }
    }
    fn invalid_value(_found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::OutOfRange {
            expected: in_words(expected),
        }
    }
    fn unknown_variant(_variant: &str, expected: &'static [&'static str]) -> Self {
        Self::UnknownWord {
            known: owned(expected),
        }
    }
    fn unknown_field(_field: &str, expected: &'static [&'static str]) -> Self {
        Self::UnknownKey {
            known: owned(expected),
        }
    }
    fn missing_field(name: &'static str) -> Self {
        Self::MissingKey { name }
    }
}

fn wrong(node: &Node, expected: &str) -> ReadError {
    ReadError::WrongType {
        found: node.kind().to_owned(),
        expected: expected.to_owned(),
    }
}

/// Numbers: as they are, or from text.
macro_rules! number {
    ($($method:ident => $visit:ident, $type:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            let number = match &self.node {
                Node::Int(number) => *number,
                Node::Text(text) => match text.trim().parse::<i128>() {
                    Ok(number) => number,
                    Err(_) => return Err(de::Error::invalid_type(Unexpected::Str(""), &visitor)),
                },
                _ => return self.deserialize_any(visitor),
            };
            match <$type>::try_from(number) {
                Ok(number) => visitor.$visit(number),
                Err(_) => Err(ReadError::OutOfRange { expected: in_words(&stringify!($type)) }),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for &'de Tree {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node {
            Node::Null => visitor.visit_unit(),
            Node::Bool(flag) => visitor.visit_bool(*flag),
            Node::Int(number) => match (u64::try_from(*number), i64::try_from(*number)) {
                (Ok(number), _) => visitor.visit_u64(number),
                (_, Ok(number)) => visitor.visit_i64(number),
                _ => visitor.visit_i128(*number),
            },
            Node::Float(number) => visitor.visit_f64(*number),
            Node::Text(text) => visitor.visit_borrowed_str(text),
            Node::List(items) => visitor.visit_seq(Items(items.iter())),
            Node::Table(entries) => visitor.visit_map(Entries {
                entries: entries.iter(),
                value: None,
            }),
        }
    }

    number! {
        deserialize_u8 => visit_u8, u8;
        deserialize_u16 => visit_u16, u16;
        deserialize_u32 => visit_u32, u32;
        deserialize_u64 => visit_u64, u64;
        deserialize_i8 => visit_i8, i8;
        deserialize_i16 => visit_i16, i16;
        deserialize_i32 => visit_i32, i32;
        deserialize_i64 => visit_i64, i64;
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node {
            Node::Text(text) => match text.trim().parse::<f64>() {
                Ok(number) if number.is_finite() => visitor.visit_f64(number),
                _ => Err(wrong(&self.node, "a number")),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node {
            Node::Text(text) if text.trim().eq_ignore_ascii_case("true") => visitor.visit_bool(true),
            Node::Text(text) if text.trim().eq_ignore_ascii_case("false") => visitor.visit_bool(false),
            _ => self.deserialize_any(visitor),
        }
    }

    /// Nothing is absent, and so is empty text: `${VAR}` of an unset variable, `EIDOS__A__B=`.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node {
            Node::Null => visitor.visit_none(),
            Node::Text(text) if text.is_empty() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    /// Serde would also read a struct from a list, in the order of its fields; nobody means that.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.node {
            Node::Table(_) => self.deserialize_any(visitor),
            node => Err(wrong(node, "a table of keys")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.node {
            Node::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            Node::Table(entries) if entries.len() == 1 => match entries.iter().next() {
                Some((variant, content)) => visitor.visit_enum(Tagged { variant, content }),
                None => Err(wrong(&self.node, "a word")),
            },
            node => Err(wrong(node, "a word")),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_unit()
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node {
            Node::Int(number) => visitor.visit_i128(*number),
            Node::Text(text) => match text.trim().parse() {
                Ok(number) => visitor.visit_i128(number),
                Err(_) => Err(wrong(&self.node, "a whole number")),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        u128 f32 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier
    }
}

struct Items<'de>(std::slice::Iter<'de, Tree>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        self.0.next().map(|item| seed.deserialize(item)).transpose()
    }
}

struct Entries<'de> {
    entries: btree_map::Iter<'de, String, Tree>,
    value: Option<&'de Tree>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let Some((key, value)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        seed.deserialize(key.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        match self.value.take() {
            Some(value) => seed.deserialize(value),
            None => Err(ReadError::Other(
                "a value was asked for before its key".to_owned(),
            )),
        }
    }
}

/// A table with one key that names an enum's variant.
struct Tagged<'de> {
    variant: &'de str,
    content: &'de Tree,
}

impl<'de> EnumAccess<'de> for Tagged<'de> {
    type Error = ReadError;
    type Variant = &'de Tree;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, &'de Tree), ReadError> {
        Ok((seed.deserialize(self.variant.into_deserializer())?, self.content))
    }
}

impl<'de> VariantAccess<'de> for &'de Tree {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        match self.node {
            Node::Null => Ok(()),
            _ => Err(wrong(&self.node, "nothing")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_any(visitor)
    }
}
