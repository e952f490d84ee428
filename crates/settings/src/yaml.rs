//! Reading a layer's text: YAML of files, JSON of variables. A key that is written twice is noted, not fatal, so that
//! the rest of the text is checked in the same go.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use yaml_rust2::parser::{Event, MarkedEventReceiver, Parser};
use yaml_rust2::scanner::Marker;

use crate::tree::{Node, Origin, Tree, key_text};

/// A text as a tree, and the key paths that are written more than once in it (the last value counts).
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) tree: Tree,
    pub(crate) repeated: BTreeSet<String>,
}

/// Reads YAML.
pub(crate) fn read_yaml(text: &str, origin: &Origin) -> Result<Read, serde_norway::Error> {
    let repeated = RefCell::default();
    let seed = Seed::root(origin, &repeated);
    let tree = seed.deserialize(serde_norway::Deserializer::from_str(text))?;
    Ok(Read {
        tree,
        repeated: repeated.into_inner(),
    })
}

/// Reads JSON.
pub(crate) fn read_json(text: &str, origin: &Origin) -> Result<Read, serde_json::Error> {
    let repeated = RefCell::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let tree = Seed::root(origin, &repeated).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(Read {
        tree,
        repeated: repeated.into_inner(),
    })
}

/// The lines on which each key path of a YAML text is written, from 1.
pub(crate) fn lines_of_keys(text: &str) -> BTreeMap<String, Vec<usize>> {
    let mut lines = Lines::default();
    // A text that was read has nothing left that could fail; without lines, the key is still named.
    let _read_before = Parser::new_from_str(text).load(&mut lines, false);
    lines.found
}

fn below(path: &str, step: &str) -> String {
    if path.is_empty() {
        step.to_owned()
    } else {
        format!("{path}.{step}")
    }
}

/// Builds a [`Tree`] from whatever a deserializer holds.
struct Seed<'a> {
    origin: &'a Origin,
    path: String,
    repeated: &'a RefCell<BTreeSet<String>>,
}

impl<'a> Seed<'a> {
    const fn root(origin: &'a Origin, repeated: &'a RefCell<BTreeSet<String>>) -> Self {
        Self {
            origin,
            path: String::new(),
            repeated,
        }
    }

    fn child(&self, step: &str) -> Self {
        Self {
            origin: self.origin,
            path: below(&self.path, step),
            repeated: self.repeated,
        }
    }

    fn tree(&self, node: Node) -> Tree {
        Tree::new(node, self.origin.clone())
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Tree;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Tree, E> {
        Ok(self.tree(Node::Bool(flag)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
        Ok(self.tree(Node::Int(number.into())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
        Ok(self.tree(Node::Int(number.into())))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Tree, E> {
        Ok(self.tree(Node::Int(number)))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Tree, E> {
        let node = i128::try_from(number).map_or_else(|_| Node::Text(number.to_string()), Node::Int);
        Ok(self.tree(node))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Tree, E> {
        Ok(self.tree(Node::Float(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(self.tree(Node::Text(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(self.tree(Node::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(self.tree(Node::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self.child(&items.len().to_string()))? {
            items.push(item);
        }
        Ok(self.tree(Node::List(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some(key) = access.next_key::<serde_norway::Value>()? {
            let key = key_text(&key);
            let seed = self.child(&key);
            let path = seed.path.clone();
            if entries.insert(key, access.next_value_seed(seed)?).is_some() {
                self.repeated.borrow_mut().insert(path);
            }
        }
        Ok(self.tree(Node::Table(entries)))
    }

    /// A tagged value; the tag is dropped.
    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Tree, A::Error> {
        let (_tag, content) = access.variant::<String>()?;
        content.newtype_variant_seed(self)
    }
}

/// Follows the parser and notes where each key is written.
#[derive(Default)]
struct Lines {
    found: BTreeMap<String, Vec<usize>>,
    open: Vec<Open>,
}

/// A list or table that has begun.
struct Open {
    path: String,
    /// The next index of a list; `None` for a table.
    index: Option<usize>,
    /// The key whose value comes next.
    key: Option<String>,
}

impl Lines {
    /// Takes the place of the node that begins: its path; `None` where the node is a key.
    fn place(&mut self, key: Option<&str>, line: usize) -> Option<String> {
        let Some(parent) = self.open.last_mut() else {
            return Some(String::new());
        };
        if let Some(index) = &mut parent.index {
            *index += 1;
            return Some(below(&parent.path, &(*index - 1).to_string()));
        }
        if let Some(key) = parent.key.take() {
            return Some(below(&parent.path, &key));
        }
        let key = key.unwrap_or("(a key that is not text)").to_owned();
        let path = below(&parent.path, &key);
        parent.key = Some(key);
        self.found.entry(path).or_default().push(line);
        None
    }

    fn begin(&mut self, index: Option<usize>, line: usize) {
        let path = self.place(None, line).unwrap_or_default();
        self.open.push(Open {
            path,
            index,
            key: None,
        });
    }
}

impl MarkedEventReceiver for Lines {
    fn on_event(&mut self, event: Event, mark: Marker) {
        match event {
            Event::Scalar(text, ..) => {
                self.place(Some(&text), mark.line());
            }
            Event::Alias(_) => {
                self.place(None, mark.line());
            }
            Event::SequenceStart(..) => self.begin(Some(0), mark.line()),
            Event::MappingStart(..) => self.begin(None, mark.line()),
            Event::SequenceEnd | Event::MappingEnd => {
                self.open.pop();
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart
            | Event::DocumentEnd => {}
        }
    }
}
