//! What the catalogue says, and what is refused by name.

use eidos_disposal::catalogue::{self, OnDelete, Relation, TableShape};
use eidos_disposal::partition::{PartitionIdentity, PartitionPolicy};
use eidos_settings::SourceName;

use crate::fixture::{Fixture, JANUARY, MONTHS, TABLE, refusal};

async fn read(fixture: &Fixture, table: &str) -> Option<TableShape> {
    let mut conn = fixture.books.pool().acquire().await.unwrap();
    catalogue::read_table(&mut conn, &table.parse().unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_table_is_read_exactly() {
    let fixture = Fixture::new().await;
    fixture
        .sql(&format!(
            "ALTER TABLE {TABLE} ADD COLUMN gone TEXT; ALTER TABLE {TABLE} DROP COLUMN gone; \
             CREATE TABLE audit_rest PARTITION OF {TABLE} DEFAULT; \
             CREATE TABLE audit_old PARTITION OF {TABLE} FOR VALUES FROM (MINVALUE) TO ('5'); ANALYZE {TABLE}"
        ))
        .await;
    let shape = read(&fixture, TABLE).await.unwrap();
    let columns: Vec<(&str, &str, bool)> = shape
        .columns
        .iter()
        .map(|column| (column.name.as_str(), column.declaration.as_str(), column.nullable))
        .collect();
    assert_eq!(
        columns,
        [
            ("id", "bigint", false),
            ("created_at", "bigint", false),
            ("actor", "character varying(64)", true),
            ("amount", "numeric(36,18)", false),
            ("detail", "jsonb", true),
            ("seen", "boolean", false)
        ]
    );
    assert_eq!(shape.primary_key, ["id", "created_at"]);
    assert_eq!(shape.rows_estimate, Some(1200));
    assert!(shape.bytes > 100_000, "{}", shape.bytes);
    let layout = shape.partitioning.unwrap();
    assert_eq!(layout.key_column, "created_at");
    assert_eq!(
        layout.default.unwrap().relation,
        Relation::new("public", "audit_rest")
    );
    let bounds: Vec<_> = layout
        .partitions
        .iter()
        .map(|found| (found.bounds.lower, found.bounds.upper))
        .collect();
    let mut expected = vec![(None, Some(5))];
    expected.extend(MONTHS.windows(2).map(|month| (Some(month[0]), Some(month[1]))));
    assert_eq!(bounds, expected);
    assert!(
        layout
            .partitions
            .iter()
            .all(|found| !found.frozen && !found.pending_detach)
    );

    // A partition without both bounds is in the plan of nobody.
    let policy = PartitionPolicy {
        source: SourceName::Risk,
        archive: None,
        quarantine_days: 7,
        held_with: Vec::new(),
    };
    let shape = fixture.shape().await;
    let open = &shape.partitioning.as_ref().unwrap().partitions[0];
    assert_eq!(refusal(PartitionIdentity::of(&shape, open, &policy)), "bounds");
}

#[tokio::test]
async fn what_is_partitioned_otherwise_is_refused_by_name() {
    let fixture = Fixture::bare().await;
    fixture
        .sql(
            "CREATE TABLE by_list (k BIGINT, v TEXT) PARTITION BY LIST (v); \
             CREATE TABLE by_hash (k BIGINT) PARTITION BY HASH (k); \
             CREATE TABLE by_two (k BIGINT, l BIGINT) PARTITION BY RANGE (k, l); \
             CREATE TABLE by_time (k TIMESTAMPTZ) PARTITION BY RANGE (k); \
             CREATE TABLE by_expression (k BIGINT) PARTITION BY RANGE ((k + 1)); \
             CREATE TABLE plain (k BIGINT)",
        )
        .await;
    let mut conn = fixture.books.pool().acquire().await.unwrap();
    for (table, word) in [
        ("by_list", "a list"),
        ("by_hash", "a hash"),
        ("by_two", "2 columns"),
        ("by_time", "no BIGINT"),
        ("by_expression", "an expression"),
    ] {
        let error = catalogue::read_table(&mut conn, &table.parse().unwrap())
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains(word) && error.to_string().contains(table),
            "{error}"
        );
    }
    drop(conn);
    assert!(read(&fixture, "plain").await.unwrap().partitioning.is_none());
    assert!(read(&fixture, "absent").await.is_none());
    assert!(read(&fixture, "absent.plain").await.is_none());
    assert!(read(&fixture, "public.plain").await.is_some());
}

#[tokio::test]
async fn foreign_keys_and_triggers_are_seen_and_those_a_partition_inherits_are_not_repeated() {
    let fixture = Fixture::new().await;
    fixture
        .sql(&format!(
            "CREATE TABLE notes (id BIGINT, log_id BIGINT, log_at BIGINT, \
                 CONSTRAINT note_of FOREIGN KEY (log_id, log_at) REFERENCES {TABLE} ON DELETE CASCADE); \
             CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'; \
             CREATE TRIGGER watched BEFORE DELETE ON {JANUARY} FOR EACH ROW EXECUTE FUNCTION watch()"
        ))
        .await;
    let shape = read(&fixture, TABLE).await.unwrap();
    let [key] = shape.referenced_by.as_slice() else {
        panic!("{:?}", shape.referenced_by)
    };
    assert_eq!((key.name.as_str(), key.on_delete), ("note_of", OnDelete::Cascade));
    assert_eq!(key.table.plain(), "public.notes");
    assert_eq!(
        (key.columns.join(","), key.referenced.join(",")),
        ("log_id,log_at".into(), "id,created_at".into())
    );
    let own = read(&fixture, JANUARY).await.unwrap();
    assert!(own.is_partition && own.referenced_by.is_empty());
    assert_eq!(own.triggers.len(), 1);
    assert!(own.triggers[0].on_delete);
}

#[tokio::test]
async fn any_change_of_the_columns_changes_the_fingerprint() {
    let fixture = Fixture::new().await;
    let mut seen = vec![fixture.shape().await.columns_fingerprint()];
    for change in [
        "ADD COLUMN more TEXT",
        "ALTER COLUMN more TYPE VARCHAR(9)",
        "ALTER COLUMN more SET NOT NULL",
        "RENAME COLUMN more TO less",
        "DROP COLUMN less",
    ] {
        if change.contains("NOT NULL") {
            fixture.sql(&format!("UPDATE {TABLE} SET more = ''")).await;
        }
        fixture.sql(&format!("ALTER TABLE {TABLE} {change}")).await;
        seen.push(fixture.shape().await.columns_fingerprint());
    }
    assert_eq!(seen.first(), seen.last(), "back where it began");
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 5);
    fixture
        .sql(&format!("ALTER TABLE {TABLE} ALTER COLUMN seen DROP DEFAULT"))
        .await;
    assert!(
        seen.contains(&fixture.shape().await.columns_fingerprint()),
        "a default is no column"
    );
}

#[tokio::test]
async fn the_statement_of_a_restore_makes_the_same_columns() {
    let fixture = Fixture::bare().await;
    fixture
        .sql(
            "CREATE TABLE \"Odd\" (id BIGSERIAL, \"a\"\"b\" NUMERIC(36,18) NOT NULL DEFAULT 1.5, c CHAR(3), \
                 d TIMESTAMPTZ NOT NULL DEFAULT now(), e BIGINT GENERATED ALWAYS AS (id + 1) STORED, \
                 f INTEGER GENERATED ALWAYS AS IDENTITY, PRIMARY KEY (\"a\"\"b\", id))",
        )
        .await;
    let shape = read(&fixture, "Odd").await.unwrap();
    fixture
        .sql(&shape.create_table_sql(&Relation::new("public", "again")))
        .await;
    let again = read(&fixture, "again").await.unwrap();
    let plain = |shape: &TableShape| -> Vec<_> {
        let columns = shape.columns.iter();
        columns
            .map(|column| (column.name.clone(), column.declaration.clone(), column.nullable))
            .collect()
    };
    assert_eq!(plain(&again), plain(&shape));
    assert_eq!(again.primary_key, ["a\"b", "id"]);
    assert!(
        again
            .columns
            .iter()
            .all(|column| !column.generated && !column.identity)
    );
    assert_eq!(again.column("a\"b").unwrap().default.as_deref(), Some("1.5"));
    assert_eq!(
        again.column("id").unwrap().default,
        None,
        "its sequence may be gone"
    );
    assert_eq!(again.archive_columns().unwrap().len(), 6);
}

#[tokio::test]
async fn a_type_that_no_archive_holds_exactly_is_refused_with_its_column() {
    let fixture = Fixture::bare().await;
    fixture
        .sql("CREATE TABLE vague (id BIGINT, money NUMERIC, tags TEXT[])")
        .await;
    let error = read(&fixture, "vague")
        .await
        .unwrap()
        .archive_columns()
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("money") && text.contains("tags") && text.contains("public.vague"),
        "{text}"
    );
    assert_eq!(error.refusal(), Some("type"));
}

#[tokio::test]
async fn the_list_of_tables_has_no_partitions_and_nothing_of_the_system() {
    let fixture = Fixture::new().await;
    fixture
        .sql("CREATE TABLE eidos_quarantine.resting (k BIGINT); CREATE VIEW seen AS SELECT 1")
        .await;
    let mut conn = fixture.books.pool().acquire().await.unwrap();
    let names: Vec<String> = catalogue::list_tables(&mut conn)
        .await
        .unwrap()
        .iter()
        .map(Relation::plain)
        .collect();
    assert_eq!(
        names,
        ["public.eidos_jobs_fence".to_owned(), format!("public.{TABLE}")]
    );
}
