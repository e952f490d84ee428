//! How an archive table follows its source: columns are only ever added, and never change their type by themselves.

/// A column as the catalogue shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenColumn {
    /// Its name.
    pub name: String,
    /// Its type as declared, such as `numeric(36,18)`.
    pub declaration: String,
    /// Whether it may be NULL.
    pub nullable: bool,
}

/// What must be done to an archive table before rows can move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The source has a column the archive does not have.
    Add {
        /// Its name.
        name: String,
        /// Its type.
        declaration: String,
    },
    /// The source lost a column that the archive demands.
    AllowNull {
        /// Its name.
        name: String,
    },
}

/// A difference that a person must settle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeChanged {
    /// The column.
    pub name: String,
    /// Its type in the source.
    pub source: String,
    /// Its type in the archive.
    pub archive: String,
}

/// Compares them. `own` are the archive's own columns (`archive_completed_at`, `archived_at`).
///
/// # Errors
/// The columns whose types differ: changing one rewrites the archive, which no job does by itself.
pub fn changes(
    source: &[SeenColumn],
    archive: &[SeenColumn],
    own: &[&str],
) -> Result<Vec<Change>, Vec<TypeChanged>> {
    let find = |columns: &[SeenColumn], name: &str| -> Option<SeenColumn> {
        columns.iter().find(|column| column.name == name).cloned()
    };
    let changed: Vec<TypeChanged> = source
        .iter()
        .filter_map(|column| {
            let there = find(archive, &column.name)?;
            (there.declaration != column.declaration).then(|| TypeChanged {
                name: column.name.clone(),
                source: column.declaration.clone(),
                archive: there.declaration,
            })
        })
        .collect();
    if !changed.is_empty() {
        return Err(changed);
    }
    let added = source
        .iter()
        .filter(|column| find(archive, &column.name).is_none())
        .map(|column| Change::Add {
            name: column.name.clone(),
            declaration: column.declaration.clone(),
        });
    let dropped = archive
        .iter()
        .filter(|column| !column.nullable && !own.contains(&column.name.as_str()))
        .filter(|column| find(source, &column.name).is_none())
        .map(|column| Change::AllowNull {
            name: column.name.clone(),
        });
    Ok(added.chain(dropped).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn column(name: &str, declaration: &str, nullable: bool) -> SeenColumn {
        SeenColumn {
            name: name.to_owned(),
            declaration: declaration.to_owned(),
            nullable,
        }
    }

    #[test]
    fn an_added_column_is_added_a_dropped_one_stays_a_widened_one_is_refused() {
        let source = [
            column("id", "bigint", false),
            column("fee", "numeric(36,18)", true),
        ];
        let archive = [
            column("id", "bigint", false),
            column("gone", "text", false),
            column("archived_at", "bigint", false),
        ];
        assert_eq!(
            changes(&source, &archive, &["archived_at"]).unwrap(),
            [
                Change::Add {
                    name: "fee".to_owned(),
                    declaration: "numeric(36,18)".to_owned()
                },
                Change::AllowNull {
                    name: "gone".to_owned()
                },
            ]
        );
        let widened = [
            column("id", "bigint", false),
            column("gone", "character varying(80)", false),
        ];
        let refused = changes(&widened, &archive, &["archived_at"]).unwrap_err();
        assert_eq!(
            (refused[0].name.as_str(), refused[0].archive.as_str()),
            ("gone", "text")
        );
    }

    proptest! {
        /// Whatever a source looks like, after the changes it asks for nothing more.
        #[test]
        fn changes_settle(source in prop::collection::btree_map("[a-d]", any::<bool>(), 0..4),
                          archive in prop::collection::btree_map("[a-d]", any::<bool>(), 0..4)) {
            let seen = |columns: &std::collections::BTreeMap<String, bool>| -> Vec<SeenColumn> {
                columns.iter().map(|(name, nullable)| column(name, "bigint", *nullable)).collect()
            };
            let (source, mut archive) = (seen(&source), seen(&archive));
            for change in changes(&source, &archive, &[]).unwrap() {
                match change {
                    Change::Add { name, declaration } => archive.push(column(&name, &declaration, true)),
                    Change::AllowNull { name } => {
                        let found = archive.iter_mut().find(|column| column.name == name).unwrap();
                        found.nullable = true;
                    }
                }
            }
            prop_assert_eq!(changes(&source, &archive, &[]).unwrap(), vec![]);
        }
    }
}
