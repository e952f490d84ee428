//! Merging: `config` does it, with the origin of each value carried along.

use std::collections::BTreeMap;

use config::{Config, ConfigError, Map, Source, Value, ValueKind};

use crate::problem::{Problem, Problems};
use crate::tree::{Node, Origin, Tree};
use crate::yaml;

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
    let mut read = match yaml::read_yaml(text, origin) {
        Ok(read) => read,
        Err(error) => {
            // Only the place is said: the parser's message may quote what stands there.
            let place = error.location().map_or_else(String::new, |at| {
                format!(" at line {}, column {}", at.line(), at.column())
            });
            problems.add(name, format!("is not valid YAML{place}"), "correct the file");
            return Tree::empty_table();
        }
    };
    // Nobody is sent to a line of the built-in defaults.
    let lines = if *origin == Origin::Default {
        BTreeMap::new()
    } else {
        yaml::lines_of_keys(text)
    };
    read.tree.note_lines("", 0, &lines);
    for key in &read.repeated {
        let lines = lines.get(key).map(Vec::as_slice).unwrap_or_default();
        problems.repeated(key, origin, &on_lines(lines));
    }
    match &read.tree.node {
        Node::Null => Tree::empty_table(),
        Node::Table(_) => read.tree,
        other => {
            problems.add(
                name,
                format!("should be a table of sections, not {}", other.kind()),
                "see docs/configuration.md",
            );
            Tree::empty_table()
        }
    }
}

/// ", on lines 3 and 7".
fn on_lines(lines: &[usize]) -> String {
    let mut lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    lines.dedup();
    match lines.split_last() {
        Some((last, [])) => format!(", on line {last}"),
        Some((last, others)) => format!(", on lines {} and {last}", others.join(", ")),
        None => String::new(),
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
                Node::List(_) => list_of(text, &entry.origin, &path, problems),
                Node::Table(_) => table_of(text, &entry.origin, &path, problems),
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

fn list_of(text: &str, origin: &Origin, path: &str, problems: &mut Problems) -> Result<Node, String> {
    let text = text.trim();
    if text.starts_with('[') {
        return json_of(
            text,
            origin,
            path,
            "a JSON list or words between commas",
            problems,
        );
    }
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    Ok(Node::List(
        words
            .map(|word| Tree::new(Node::Text(word.to_owned()), origin.clone()))
            .collect(),
    ))
}

fn table_of(text: &str, origin: &Origin, path: &str, problems: &mut Problems) -> Result<Node, String> {
    let expected = "a table of keys, or a JSON object of them";
    match json_of(text.trim(), origin, path, expected, problems)? {
        table @ Node::Table(_) => Ok(table),
        other => Err(format!("should be {expected}, not {}", other.kind())),
    }
}

fn json_of(
    text: &str,
    origin: &Origin,
    path: &str,
    expected: &str,
    problems: &mut Problems,
) -> Result<Node, String> {
    let read = yaml::read_json(text, origin)
        .map_err(|error| format!("should be {expected} (column {})", error.column()))?;
    for key in &read.repeated {
        problems.repeated(&format!("{path}.{key}"), origin, "");
    }
    Ok(read.tree.node)
}
