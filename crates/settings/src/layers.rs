//! Merging: `config` does it, with the origin of each value carried along.

use std::collections::BTreeMap;

use config::{Config, ConfigError, Map, Source, Value, ValueKind};

use crate::problem::{Problem, Problems};
use crate::tree::{Node, Origin, Tree};

/// One layer, as the `config` crate takes it.
#[derive(Debug, Clone)]
struct Layer(Value);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        match &self.0.kind {
            ValueKind::Table(entries) => Ok(entries.clone()),
            _ => Ok(Map::new()),
        }
    }
}

/// Later layers win; tables merge, lists are replaced.
pub(crate) fn merge(layers: &[&Tree]) -> Tree {
    let mut builder = Config::builder();
    for layer in layers {
        builder = builder.add_source(Layer(layer.to_config()));
    }
    // Layers hold values, not files: building them has nothing that could fail.
    let merged = builder
        .build()
        .map_or_else(|_| Tree::empty_table(), |config| Tree::from_config(config.cache));
    if merged.table().is_some() {
        merged
    } else {
        Tree::empty_table()
    }
}

/// Parses the YAML of a layer. An empty text is an empty layer.
pub(crate) fn parse_yaml(text: &str, origin: &Origin, name: &str, problems: &mut Problems) -> Tree {
    match serde_norway::from_str::<serde_norway::Value>(text) {
        Ok(serde_norway::Value::Null) => Tree::empty_table(),
        Ok(value) => {
            let tree = Tree::from_yaml(value, origin);
            if tree.table().is_some() {
                return tree;
            }
            problems.add(
                name,
                format!("should be a table of sections, not {}", tree.node.kind()),
                "see docs/configuration.md",
            );
            Tree::empty_table()
        }
        Err(error) => {
            // Only the place is said: the parser's message may quote what stands there.
            let place = error.location().map_or_else(String::new, |at| {
                format!(" at line {}, column {}", at.line(), at.column())
            });
            let what = if error.to_string().contains("duplicate") {
                "has a key twice"
            } else {
                "is not valid YAML"
            };
            problems.add(name, format!("{what}{place}"), "correct the file");
            Tree::empty_table()
        }
    }
}

/// Makes a layer fit the shape of the defaults: an empty section is no section, and text in the place of a list
/// or table (all that a variable can hold) is read as one.
pub(crate) fn fit(tree: &mut Tree, defaults: &Tree, key: &str, problems: &mut Problems) {
    let Some(entries) = tree.table_mut() else { return };
    entries.retain(|step, entry| {
        let empty = entry.node == Node::Null && !matches!(entry.origin, Origin::File { unset: Some(_), .. });
        !(empty
            && defaults
                .child(step)
                .is_some_and(|default| default.table().is_some()))
    });
    for (step, entry) in entries {
        let path = if key.is_empty() {
            step.clone()
        } else {
            format!("{key}.{step}")
        };
        let Some(default) = defaults.child(step) else {
            continue;
        };
        if let Node::Text(text) = &entry.node {
            let parsed = match &default.node {
                Node::List(_) => list_of(text, &entry.origin),
                Node::Table(_) => table_of(text, &entry.origin),
                _ => continue,
            };
            match parsed {
                Ok(node) => entry.node = node,
                Err(reason) => {
                    problems.push(Problem {
                        key: path.clone(),
                        value: None,
                        origin: Some(entry.origin.to_string()),
                        reason,
                        fix: Some(
                            "see docs/configuration.md for how lists and tables are written".to_owned(),
                        ),
                    });
                    problems.mark_replaced(&path);
                    *entry = default.clone();
                }
            }
        }
        fit(entry, default, &path, problems);
    }
}

fn list_of(text: &str, origin: &Origin) -> Result<Node, String> {
    let text = text.trim();
    if text.starts_with('[') {
        let items: Vec<serde_json::Value> = serde_json::from_str(text).map_err(|error| {
            format!(
                "should be a JSON list or words between commas (column {})",
                error.column()
            )
        })?;
        return Ok(Node::List(
            items
                .into_iter()
                .map(|item| Tree::from_json(item, origin))
                .collect(),
        ));
    }
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    Ok(Node::List(
        words
            .map(|word| Tree::new(Node::Text(word.to_owned()), origin.clone()))
            .collect(),
    ))
}

fn table_of(text: &str, origin: &Origin) -> Result<Node, String> {
    let entries: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(text.trim()).map_err(|error| {
            format!(
                "should be a table of keys, or a JSON object of them (column {})",
                error.column()
            )
        })?;
    Ok(Node::Table(
        entries
            .into_iter()
            .map(|(key, value)| (key, Tree::from_json(value, origin)))
            .collect(),
    ))
}
