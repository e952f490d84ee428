//! What stands where a partition should go, and whose the new partition is.

use crate::fixture::{count, sql};
use crate::partitions_fixture::{JobFixture, TABLE};

const SLOT: &str = "2024-01-15T00:00:00Z";
const TAKEN: &str = "eidos_chain_events_2024_03";

async fn attached(fixture: &JobFixture) -> Vec<String> {
    let partitions = fixture.partitions(TABLE).await;
    partitions.into_iter().map(|(name, ..)| name).collect()
}

#[tokio::test]
async fn an_empty_table_of_the_right_shape_is_attached() {
    let fixture = JobFixture::new(&["CREATE TABLE eidos_chain_events_2024_03 \
         (LIKE eidos_chain_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED)"])
    .await;
    let oid = format!("SELECT '{TAKEN}'::regclass::oid::bigint");
    let before = count(fixture.pool(), &oid).await;
    let job = fixture.job(&[TABLE]).await;
    fixture.run(&job, SLOT).await.unwrap();
    fixture
        .assert_tiles(TABLE, "2024-01-01T00:00:00Z", "2024-05-01T00:00:00Z")
        .await;
    assert_eq!(count(fixture.pool(), &oid).await, before, "the same table");
}

/// `CREATE TABLE IF NOT EXISTS … PARTITION OF` would be silent about all of these and leave the month without a partition.
#[tokio::test]
async fn whatever_else_has_the_name_is_reported_and_the_rest_goes_on() {
    let like = "(LIKE eidos_chain_events INCLUDING ALL)";
    for (statement, said) in [
        (
            format!("CREATE TABLE {TAKEN} {like}; INSERT INTO {TAKEN} (created_at, amount) VALUES (1, 1)"),
            "holds rows",
        ),
        (
            format!("CREATE TABLE {TAKEN} (created_at BIGINT NOT NULL)"),
            "has other columns",
        ),
        (
            format!("CREATE VIEW {TAKEN} AS SELECT 1 AS one"),
            "not a plain table",
        ),
        (
            format!("CREATE UNLOGGED TABLE {TAKEN} {like}"),
            "not a plain table",
        ),
    ] {
        let fixture = JobFixture::new(&[&statement]).await;
        let job = fixture.job(&[TABLE]).await;
        let error = fixture.run(&job, SLOT).await.unwrap_err().to_string();
        assert!(error.contains(said) && error.contains(TAKEN), "{error}");
        assert!(error.contains("3 partitions created"), "{error}");
        assert_eq!(attached(&fixture).await.len(), 3);
    }
}

#[tokio::test]
async fn a_sibling_that_has_the_name_of_another_month_is_stepped_around() {
    let fixture = JobFixture::new(&[
        "CREATE TABLE eidos_chain_events_2024_03 PARTITION OF eidos_chain_events \
         FOR VALUES FROM (1698796800000) TO (1701388800000)",
    ])
    .await;
    let job = fixture.job(&[TABLE]).await;
    fixture.run(&job, SLOT).await.unwrap();
    fixture
        .assert_tiles(TABLE, "2023-11-01T00:00:00Z", "2024-05-01T00:00:00Z")
        .await;
    assert!(
        attached(&fixture)
            .await
            .contains(&"eidos_chain_events_2024_03_01t000000".to_owned())
    );
}

/// PostgreSQL would cut both names to the same 63 bytes, with a notice.
#[tokio::test]
async fn two_long_names_with_the_same_beginning_stay_apart() {
    let long = |end: &str| format!("eidos_chain_{}{end}", "x".repeat(48));
    let (one, other) = (long("_a"), long("_b"));
    let create = |table: &str| {
        format!("CREATE TABLE {table} (created_at BIGINT NOT NULL) PARTITION BY RANGE (created_at)")
    };
    let fixture = JobFixture::new(&[&create(&one), &create(&other)]).await;
    let job = fixture.job(&[&one, &other]).await;
    fixture.run(&job, SLOT).await.unwrap();
    for table in [&one, &other] {
        fixture
            .assert_tiles(table, "2024-01-01T00:00:00Z", "2024-05-01T00:00:00Z")
            .await;
    }
}

#[tokio::test]
async fn a_new_partition_belongs_to_who_owns_the_table_and_is_read_by_who_reads_it() {
    let fixture = JobFixture::new(&[]).await;
    let owner = format!("owner_{}", std::process::id());
    let reader = format!("reader_{}", std::process::id());
    sql(
        fixture.pool(),
        &format!(
            "CREATE ROLE {owner}; CREATE ROLE {reader}; GRANT CREATE, USAGE ON SCHEMA public TO {owner}; \
             ALTER TABLE {TABLE} OWNER TO {owner}; GRANT SELECT ON {TABLE} TO {reader}; \
             GRANT INSERT ON {TABLE} TO {reader} WITH GRANT OPTION"
        ),
    )
    .await;
    let job = fixture.job(&[TABLE]).await;
    fixture.run(&job, SLOT).await.unwrap();
    let (owned_by, may): (String, Vec<bool>) = sqlx::query_as(
        "SELECT pg_get_userbyid(relowner)::text, ARRAY[has_table_privilege($1, oid, 'SELECT'), \
             has_table_privilege($1, oid, 'INSERT WITH GRANT OPTION'), has_table_privilege($1, oid, 'DELETE')] \
         FROM pg_class WHERE oid = 'eidos_chain_events_2024_03'::regclass",
    )
    .bind(&reader)
    .fetch_one(fixture.pool())
    .await
    .unwrap();
    assert_eq!(owned_by, owner);
    assert_eq!(may, [true, true, false]);

    // With row level security the parent hides rows that a right on the partition would show: its policies come too.
    sql(
        fixture.pool(),
        &format!(
            "ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON {TABLE} TO {reader} USING (id < 10)"
        ),
    )
    .await;
    fixture.run(&job, "2024-02-15T00:00:00Z").await.unwrap();
    let guarded = format!(
        "SELECT count(*) FROM pg_class c JOIN pg_policy p ON p.polrelid = c.oid \
         WHERE c.oid = 'eidos_chain_events_2024_05'::regclass AND c.relrowsecurity AND p.polname = 'few' \
           AND has_table_privilege('{reader}', c.oid, 'SELECT')"
    );
    assert_eq!(count(fixture.pool(), &guarded).await, 1);
    // A policy that names its own table cannot be had on another one: then nobody else reads by the partition's name.
    sql(
        fixture.pool(),
        &format!(
            "CREATE POLICY odd ON {TABLE} TO {reader} \
             USING (EXISTS (SELECT FROM pg_roles r WHERE r.oid = {TABLE}.id::oid))"
        ),
    )
    .await;
    fixture.run(&job, "2024-03-15T00:00:00Z").await.unwrap();
    let closed = "SELECT count(*) FROM pg_class c WHERE c.oid = 'eidos_chain_events_2024_06'::regclass AND c.relrowsecurity \
                  AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)";
    assert_eq!(count(fixture.pool(), closed).await, 1);
    sql(
        fixture.pool(),
        &format!("REASSIGN OWNED BY {owner} TO current_user; DROP OWNED BY {owner}, {reader}; DROP ROLE {owner}, {reader}"),
    )
    .await;
}

/// Whatever the server answered, a partition counts only if the catalogue has it with these bounds.
#[tokio::test]
async fn a_partition_that_is_not_attached_in_the_end_is_not_created() {
    let fixture = JobFixture::new(&["\
        CREATE FUNCTION sabotage() RETURNS event_trigger LANGUAGE plpgsql AS $$ \
        DECLARE victim regclass; \
        BEGIN \
            SELECT inhrelid INTO victim FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid \
            WHERE inhparent = 'eidos_chain_events'::regclass AND c.relname LIKE '%_2024_03'; \
            IF victim IS NOT NULL THEN \
                EXECUTE format('ALTER TABLE eidos_chain_events DETACH PARTITION %s', victim); \
            END IF; \
        END $$; \
        CREATE EVENT TRIGGER undo_attach ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION sabotage()"])
    .await;
    let job = fixture.job(&[TABLE]).await;
    let error = fixture.run(&job, SLOT).await.unwrap_err().to_string();
    assert!(error.contains("nothing was created"), "{error}");
    assert_eq!(attached(&fixture).await.len(), 3);
    let left = "SELECT count(*) FROM pg_class WHERE relname = 'eidos_chain_events_2024_03'";
    assert_eq!(count(fixture.pool(), left).await, 0);
}
