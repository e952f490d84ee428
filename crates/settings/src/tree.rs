//! [`Tree`]: the merged settings before they have types, each value with where it was written.

use std::collections::BTreeMap;
use std::fmt;

use config::{Value, ValueKind};

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Origin {
    /// A built-in default.
    #[default]
    Default,
    /// The settings file.
    File {
        /// Its path.
        path: String,
        /// The line of the key, from 1; 0: not known.
        line: usize,
        /// The environment variable the value is made of and that is not set.
        unset: Option<String>,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        name: String,
    },
}

/// Between the parts of an encoded origin; cannot occur in a variable's name and hardly in a path.
const SEPARATOR: char = '\u{1f}';

impl Origin {
    /// The form in which the `config` crate carries it along.
    pub(crate) fn encode(&self) -> String {
        match self {
            Self::Default => "default".to_owned(),
            Self::File { path, line, unset } => {
                let unset = unset.as_deref().unwrap_or_default();
                format!("file{SEPARATOR}{path}{SEPARATOR}{line}{SEPARATOR}{unset}")
            }
            Self::Environment { name } => format!("environment{SEPARATOR}{name}"),
        }
    }

    fn decode(text: Option<&str>) -> Self {
        let mut parts = text.unwrap_or_default().split(SEPARATOR);
        match (parts.next(), parts.next(), parts.next()) {
            (Some("file"), Some(path), line) => Self::File {
                path: path.to_owned(),
                line: line.and_then(|line| line.parse().ok()).unwrap_or_default(),
                unset: parts.next().filter(|name| !name.is_empty()).map(str::to_owned),
            },
            (Some("environment"), Some(name), _) => Self::Environment {
                name: name.to_owned(),
            },
            _ => Self::Default,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, unset } => {
                write!(f, "file {path}")?;
                if *line > 0 {
                    write!(f, ":{line}")?;
                }
                unset
                    .as_ref()
                    .map_or(Ok(()), |name| write!(f, ", {name} is not set"))
            }
            Self::Environment { name } => write!(f, "env {name}"),
        }
    }
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tree {
    pub(crate) node: Node,
    pub(crate) origin: Origin,
}

/// A value. Untyped, so nobody knows yet whether it is a secret: `Debug` says what it is, never what it holds.
#[derive(Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Tree>),
    Table(BTreeMap<String, Tree>),
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

impl Node {
    /// What it is, for people.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true/false",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a decimal number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Table(_) => "a table of keys",
        }
    }
}

impl Tree {
    pub(crate) fn empty_table() -> Self {
        Self {
            node: Node::Table(BTreeMap::new()),
            origin: Origin::Default,
        }
    }

    pub(crate) const fn new(node: Node, origin: Origin) -> Self {
        Self { node, origin }
    }

    /// The merged values of the `config` crate.
    pub(crate) fn from_config(value: Value) -> Self {
        let origin = Origin::decode(value.origin());
        let node = match value.kind {
            ValueKind::Nil => Node::Null,
            ValueKind::Boolean(flag) => Node::Bool(flag),
            ValueKind::I64(number) => Node::Int(number.into()),
            ValueKind::I128(number) => Node::Int(number),
            ValueKind::U64(number) => Node::Int(number.into()),
            ValueKind::U128(number) => {
                i128::try_from(number).map_or(Node::Text(number.to_string()), Node::Int)
            }
            ValueKind::Float(number) => Node::Float(number),
            ValueKind::String(text) => Node::Text(text),
            ValueKind::Array(items) => Node::List(items.into_iter().map(Self::from_config).collect()),
            ValueKind::Table(entries) => Node::Table(
                entries
                    .into_iter()
                    .map(|(key, value)| (key, Self::from_config(value)))
                    .collect(),
            ),
        };
        Self { node, origin }
    }

    /// The form the `config` crate merges.
    pub(crate) fn to_config(&self) -> Value {
        let kind = match &self.node {
            Node::Null => ValueKind::Nil,
            Node::Bool(flag) => ValueKind::Boolean(*flag),
            Node::Int(number) => ValueKind::I128(*number),
            Node::Float(number) => ValueKind::Float(*number),
            Node::Text(text) => ValueKind::String(text.clone()),
            Node::List(items) => ValueKind::Array(items.iter().map(Self::to_config).collect()),
            Node::Table(entries) => ValueKind::Table(
                entries
                    .iter()
                    .map(|(key, tree)| (key.clone(), tree.to_config()))
                    .collect(),
            ),
        };
        Value::new(Some(&self.origin.encode()), kind)
    }

    /// From JSON, as environment variables carry lists and tables.
    pub(crate) fn from_json(value: serde_json::Value, origin: &Origin) -> Self {
        use serde_json::Value as Json;
        let node = match value {
            Json::Null => Node::Null,
            Json::Bool(flag) => Node::Bool(flag),
            Json::Number(number) => number
                .as_i128()
                .map_or_else(|| Node::Float(number.as_f64().unwrap_or(f64::NAN)), Node::Int),
            Json::String(text) => Node::Text(text),
            Json::Array(items) => Node::List(
                items
                    .into_iter()
                    .map(|item| Self::from_json(item, origin))
                    .collect(),
            ),
            Json::Object(entries) => Node::Table(
                entries
                    .into_iter()
                    .map(|(key, value)| (key, Self::from_json(value, origin)))
                    .collect(),
            ),
        };
        Self {
            node,
            origin: origin.clone(),
        }
    }

    /// Notes the line of each value: that of its own key, or else that of the table or list it is in.
    pub(crate) fn note_lines(&mut self, key: &str, above: usize, lines: &BTreeMap<String, Vec<usize>>) {
        let own = lines.get(key).and_then(|lines| lines.last());
        let here = own.copied().unwrap_or(above);
        if let Origin::File { line, .. } = &mut self.origin {
            *line = here;
        }
        let below = |step: &str| {
            if key.is_empty() {
                step.to_owned()
            } else {
                format!("{key}.{step}")
            }
        };
        match &mut self.node {
            Node::Table(entries) => {
                for (step, entry) in entries {
                    entry.note_lines(&below(step), here, lines);
                }
            }
            Node::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    item.note_lines(&below(&index.to_string()), here, lines);
                }
            }
            Node::Null | Node::Bool(_) | Node::Int(_) | Node::Float(_) | Node::Text(_) => {}
        }
    }

    /// Where each value was written, without the values.
    pub(crate) fn origins(&self) -> Self {
        let node = match &self.node {
            Node::List(items) => Node::List(items.iter().map(Self::origins).collect()),
            Node::Table(entries) => Node::Table(
                entries
                    .iter()
                    .map(|(key, tree)| (key.clone(), tree.origins()))
                    .collect(),
            ),
            Node::Null | Node::Bool(_) | Node::Int(_) | Node::Float(_) | Node::Text(_) => Node::Null,
        };
        Self::new(node, self.origin.clone())
    }

    /// Where a value was written; of a table, where the first of its keys was that is no default.
    pub(crate) fn written(&self) -> Option<&Origin> {
        match &self.node {
            Node::Table(entries) => {
                let mut written = entries.values().filter_map(Self::written);
                written.find(|origin| **origin != Origin::Default)
            }
            _ => Some(&self.origin),
        }
    }

    pub(crate) fn table(&self) -> Option<&BTreeMap<String, Self>> {
        match &self.node {
            Node::Table(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn table_mut(&mut self) -> Option<&mut BTreeMap<String, Self>> {
        match &mut self.node {
            Node::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value one step down: a key, or an index of a list.
    pub(crate) fn child(&self, step: &str) -> Option<&Self> {
        match &self.node {
            Node::Table(entries) => entries.get(step),
            Node::List(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        }
    }

    fn child_mut(&mut self, step: &str) -> Option<&mut Self> {
        match &mut self.node {
            Node::Table(entries) => entries.get_mut(step),
            Node::List(items) => items.get_mut(step.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// The value at a path.
    pub(crate) fn at<S: AsRef<str>>(&self, path: &[S]) -> Option<&Self> {
        path.iter().try_fold(self, |tree, step| tree.child(step.as_ref()))
    }

    /// The value at a path, to change it.
    pub(crate) fn at_mut<S: AsRef<str>>(&mut self, path: &[S]) -> Option<&mut Self> {
        path.iter()
            .try_fold(self, |tree, step| tree.child_mut(step.as_ref()))
    }

    /// Removes the value at a path; false if there is none.
    pub(crate) fn remove<S: AsRef<str>>(&mut self, path: &[S]) -> bool {
        let Some((last, parents)) = path.split_last() else {
            return false;
        };
        let (Some(parent), last) = (self.at_mut(parents), last.as_ref()) else {
            return false;
        };
        match &mut parent.node {
            Node::Table(entries) => entries.remove(last).is_some(),
            Node::List(items) => match last.parse::<usize>() {
                Ok(index) if index < items.len() => {
                    items.remove(index);
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }
}

/// A key of a YAML table as text.
pub(crate) fn key_text(key: &serde_norway::Value) -> String {
    use serde_norway::Value as Yaml;
    match key {
        Yaml::String(text) => text.clone(),
        Yaml::Bool(flag) => flag.to_string(),
        Yaml::Number(number) => number.to_string(),
        Yaml::Null => "null".to_owned(),
        Yaml::Sequence(_) | Yaml::Mapping(_) | Yaml::Tagged(_) => "(a key that is not text)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two guards, each on its own: `Debug` of an untyped value, and what outlives the load.
    #[test]
    fn an_untyped_value_is_neither_printed_nor_kept() {
        let tree = Tree::from_json(serde_json::json!({ "a": ["hunter2", 7] }), &Origin::Default);
        assert!(!format!("{tree:?}").contains("hunter2"));
        let origins = tree.origins();
        assert_eq!(
            origins.at(&["a", "0"]).map(|found| &found.node),
            Some(&Node::Null)
        );
        assert_eq!(
            origins.at(&["a", "1"]).map(|found| &found.node),
            Some(&Node::Null)
        );
    }
}
