//! `${VAR}` and `${VAR:default}` inside the file's values, and those of a service's defaults.
//!
//! Expansion happens after YAML is parsed, so a variable's content can never add keys. A value that is only
//! `${VAR}` with the variable unset is absent; an unset variable in the middle of a text is an error, because
//! half a value is worse than none. `$${` writes a plain `${`.

use std::collections::BTreeMap;

use crate::problem::Problems;
use crate::tree::{Node, Origin, Tree};

/// Expands every text below `tree`, which was read from the file at `path`.
pub(crate) fn expand(tree: &mut Tree, variables: &BTreeMap<&str, &str>, problems: &mut Problems) {
    walk(tree, "", variables, problems);
}

fn walk(tree: &mut Tree, key: &str, variables: &BTreeMap<&str, &str>, problems: &mut Problems) {
    let below = |step: &str| {
        if key.is_empty() {
            step.to_owned()
        } else {
            format!("{key}.{step}")
        }
    };
    match &mut tree.node {
        Node::Table(entries) => {
            for (step, entry) in entries {
                walk(entry, &below(step), variables, problems);
            }
        }
        Node::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                walk(item, &below(&index.to_string()), variables, problems);
            }
        }
        Node::Text(text) if text.contains("${") => match expand_text(text, variables) {
            Ok(Expanded::Text(expanded, variable)) => {
                *text = expanded;
                // What a variable put in the place of a default is no default any more.
                if let (Some(name), Origin::Default) = (variable, &tree.origin) {
                    tree.origin = Origin::Environment { name };
                }
            }
            Ok(Expanded::Absent(name)) => {
                if let Origin::File { unset, .. } = &mut tree.origin {
                    *unset = Some(name);
                }
                tree.node = Node::Null;
            }
            Err(reason) => {
                problems.add(
                    key,
                    reason,
                    "set the variable, give a default as in ${NAME:default}, or write $${ for a plain ${",
                );
                problems.mark_replaced(key);
                tree.node = Node::Null;
            }
        },
        _ => {}
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Expanded {
    /// The text, and the first variable it holds.
    Text(String, Option<String>),
    /// The unset variable the whole value is made of.
    Absent(String),
}

fn expand_text(text: &str, variables: &BTreeMap<&str, &str>) -> Result<Expanded, String> {
    let mut expanded = String::new();
    let mut used = None;
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if let Some(before) = rest[..start].strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        expanded.push_str(&rest[..start]);
        let inner = &rest[start + 2..];
        let end = inner.find('}').ok_or("has a ${ without its }")?;
        let (name, default) = match inner[..end].split_once(':') {
            // `${NAME:-default}`, as shells write it, means the same.
            Some((name, default)) => (name, Some(default.strip_prefix('-').unwrap_or(default))),
            None => (&inner[..end], None),
        };
        if name.is_empty()
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return Err("has a ${…} whose name is not a variable's (letters, digits and _)".to_owned());
        }
        rest = &inner[end + 1..];
        let set = variables.get(name).copied().filter(|value| !value.is_empty());
        if set.is_some() && used.is_none() {
            used = Some(name.to_owned());
        }
        match set.or(default) {
            Some(value) => expanded.push_str(value),
            None if start == 0 && expanded.is_empty() && rest.is_empty() => {
                return Ok(Expanded::Absent(name.to_owned()));
            }
            None => return Err(format!("needs the environment variable {name}, which is not set")),
        }
    }
    expanded.push_str(rest);
    Ok(Expanded::Text(expanded, used))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<Expanded, String> {
        expand_text(
            text,
            &BTreeMap::from([("HOST", "db"), ("EMPTY", ""), ("BRACE", "${HOST}")]),
        )
    }

    #[test]
    fn variables_defaults_and_absence() {
        let text = |text: &str| Ok(text.to_owned());
        let expanded = |text: &str| match super::tests::expanded(text)? {
            Expanded::Text(text, _) => Ok(text),
            Expanded::Absent(name) => Err(format!("absent {name}")),
        };
        assert_eq!(expanded("${HOST}"), text("db"));
        assert_eq!(expanded("${NOPE:false}"), text("false"));
        assert_eq!(expanded("${EMPTY:x}"), text("x"));
        assert_eq!(expanded("${NOPE:-x}"), text("x"));
        assert_eq!(expanded("${NOPE:}"), text(""));
        assert_eq!(expanded("http://${HOST}:${PORT:80}/"), text("http://db:80/"));
        assert_eq!(expanded("${NOPE:redis://h:1/}"), text("redis://h:1/"));
        assert_eq!(expanded("a $${HOST}"), text("a ${HOST}"));
        assert_eq!(
            expanded("${BRACE}"),
            text("${HOST}"),
            "a variable's content is not expanded again"
        );
        assert_eq!(expanded("${NOPE}"), Err("absent NOPE".to_owned()));
        assert!(expanded("pw-${NOPE}").unwrap_err().contains("NOPE"));
        assert!(expanded("${HOST}${NOPE}").is_err());
        assert!(expanded("${HOST").is_err());
        assert!(expanded("${a b}").is_err());
    }
}
