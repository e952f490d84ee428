//! Files import in one direction: no more than two files of a crate import each other in a circle.
//!
//! A file that declares its children and re-exports their items imports nothing by that; who uses the re-export imports
//! the file that has the item.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};

use crate::repository::{entries, files, none, root};

/// A module by its names below the crate; the crate's root has none.
type Module = Vec<String>;

/// What a file says about others.
#[derive(Default)]
struct Imports {
    /// Paths, as written.
    paths: Vec<Vec<String>>,
    /// Re-exports, as written, by the name they give.
    exports: Vec<(String, Vec<String>)>,
    /// Modules of tests, which may import what they like.
    tests: BTreeSet<String>,
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if is_for_tests(&module.attrs) {
            self.tests.insert(module.ident.to_string());
        } else {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut leaves = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut leaves);
        if matches!(item.vis, syn::Visibility::Inherited) {
            self.paths.extend(leaves.into_iter().map(|(_name, path)| path));
        } else {
            self.exports.extend(leaves);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            let names = path.segments.iter().map(|segment| segment.ident.to_string());
            self.paths.push(names.collect());
        }
        visit::visit_path(self, path);
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Ident>()
                .is_ok_and(|word| word == "test")
    })
}

/// The names that a `use` brings, each with its whole path.
fn flatten(tree: &syn::UseTree, above: &mut Vec<String>, leaves: &mut Vec<(String, Vec<String>)>) {
    let mut leaf = |last: &syn::Ident, name: &syn::Ident| {
        let path = above
            .iter()
            .cloned()
            .chain([last.to_string()])
            .filter(|part| part != "self");
        leaves.push((name.to_string(), path.collect()));
    };
    match tree {
        syn::UseTree::Name(name) => leaf(&name.ident, &name.ident),
        syn::UseTree::Rename(renamed) => leaf(&renamed.ident, &renamed.rename),
        syn::UseTree::Glob(_) => leaves.push(("*".to_owned(), above.clone())),
        syn::UseTree::Path(path) => {
            above.push(path.ident.to_string());
            flatten(&path.tree, above, leaves);
            above.pop();
        }
        syn::UseTree::Group(group) => group.items.iter().for_each(|item| flatten(item, above, leaves)),
    }
}

/// The files of one crate, and what each imports.
struct Crate {
    modules: BTreeMap<Module, Imports>,
}

impl Crate {
    fn read(source: &Path) -> Self {
        let mut modules = BTreeMap::new();
        for file in files(source, "rs") {
            let text = fs::read_to_string(&file).unwrap();
            let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let mut imports = Imports::default();
            imports.visit_file(&parsed);
            modules.insert(module_of(file.strip_prefix(source).unwrap()), imports);
        }
        let tests: BTreeSet<Module> = modules
            .iter()
            .flat_map(|(module, imports)| {
                imports
                    .tests
                    .iter()
                    .map(|name| [module.as_slice(), std::slice::from_ref(name)].concat())
            })
            .collect();
        modules.retain(|module, _imports| !tests.contains(module));
        Self { modules }
    }

    /// The file that a path written in `from` leads to, and the name of the item in it.
    fn file_of<'a>(&self, from: &[String], path: &'a [String]) -> Option<(Module, &'a [String])> {
        let first = path.first()?.as_str();
        let mut rest = path;
        let mut module = match first {
            "crate" => Vec::new(),
            "self" | "super" => from.to_vec(),
            _ if self.modules.contains_key(&[from, &path[..1]].concat()) => from.to_vec(),
            _ => return None,
        };
        if matches!(first, "crate" | "self") {
            rest = &rest[1..];
        }
        while rest.first().is_some_and(|part| part == "super") {
            module.pop();
            rest = &rest[1..];
        }
        while let Some(part) = rest.first() {
            let below = [module.as_slice(), std::slice::from_ref(part)].concat();
            if !self.modules.contains_key(&below) {
                break;
            }
            (module, rest) = (below, &rest[1..]);
        }
        Some((module, rest))
    }

    /// The file that has the item, behind any re-exports.
    fn home_of(&self, from: &[String], path: &[String]) -> Option<Module> {
        let (mut module, rest) = self.file_of(from, path)?;
        let Some(item) = rest.first() else {
            return Some(module);
        };
        // More re-exports in a row than any crate has: two that name each other end here.
        for _ in 0..16 {
            // Generated code is included, and has no module of its own.
            let exports = &self.modules.get(&module)?.exports;
            let Some((_name, target)) = exports.iter().find(|(name, _path)| name == item) else {
                break;
            };
            let Some((next, _rest)) = self.file_of(&module, target) else {
                break;
            };
            if next == module {
                break;
            }
            module = next;
        }
        Some(module)
    }

    fn imported_by(&self, module: &Module) -> BTreeSet<Module> {
        let paths = self.modules[module].paths.iter();
        let mut found: BTreeSet<Module> = paths.filter_map(|path| self.home_of(module, path)).collect();
        found.retain(|other| other != module && self.modules.contains_key(other));
        found
    }

    /// Sets of files of which each reaches each other by imports, larger than two.
    fn circles(&self) -> BTreeSet<Vec<String>> {
        let edges: BTreeMap<&Module, BTreeSet<Module>> = self
            .modules
            .keys()
            .map(|module| (module, self.imported_by(module)))
            .collect();
        let reached: BTreeMap<&Module, BTreeSet<Module>> = self
            .modules
            .keys()
            .map(|module| (module, reach(&edges, module)))
            .collect();
        let mut circles = BTreeSet::new();
        for (module, targets) in &reached {
            let both: Vec<String> = targets
                .iter()
                .filter(|target| reached[*target].contains(*module))
                .map(name_of)
                .collect();
            if both.len() > 2 {
                circles.insert(both);
            }
        }
        circles
    }
}

/// Everything that can be reached from `start` in one step or more.
fn reach(edges: &BTreeMap<&Module, BTreeSet<Module>>, start: &Module) -> BTreeSet<Module> {
    let mut reached = BTreeSet::new();
    let mut open = vec![start];
    while let Some(module) = open.pop() {
        for target in &edges[module] {
            if reached.insert(target.clone()) {
                open.push(target);
            }
        }
    }
    reached
}

fn module_of(file: &Path) -> Module {
    let mut names: Module = file
        .with_extension("")
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    if names == ["lib"] || names.last().is_some_and(|last| last == "mod") {
        names.pop();
    }
    names
}

fn name_of(module: &Module) -> String {
    if module.is_empty() {
        "lib".to_owned()
    } else {
        module.join("::")
    }
}

#[test]
fn no_more_than_two_files_import_each_other_in_a_circle() {
    let crates = entries("crates").into_iter().chain(entries("services"));
    let mut findings = Vec::new();
    for directory in crates {
        let circles = Crate::read(&root().join(&directory).join("src")).circles();
        let name = directory.file_name().unwrap().to_string_lossy().into_owned();
        findings.extend(
            circles
                .iter()
                .map(|circle| format!("{name}: {}", circle.join(", "))),
        );
    }
    none(
        &findings,
        "move what these files share into a file that imports none of them",
    );
}

#[test]
fn a_circle_is_found_through_a_re_export_and_a_tree_is_none() {
    let read = |files: [(&str, &str); 4]| {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Crate::read(directory.path()).circles()
    };
    let facade = (
        "lib.rs",
        "mod a; mod b; mod c; pub use c::Item; #[cfg(test)] mod tests { use crate::a::A; }",
    );
    let circle = read([
        facade,
        ("a.rs", "use crate::b::B;"),
        ("b.rs", "use super::Item;"),
        ("c/mod.rs", "fn c() { crate::a::go() }"),
    ]);
    assert_eq!(
        circle,
        BTreeSet::from([vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]])
    );
    let tree = read([
        facade,
        ("a.rs", "use crate::b::B;"),
        ("b.rs", "use crate::c;"),
        ("c/mod.rs", "struct Item;"),
    ]);
    assert_eq!(tree, BTreeSet::new());
}
