//! The catalogue's statements. Everything is asked by oid once the name was resolved.

/// `schema.table` or, without a schema, what the search path finds, or else what is in `public`: a role's search path may
/// be empty. The arguments are quoted.
pub(super) const RESOLVE: &str = "SELECT coalesce(to_regclass($1), to_regclass($2))::oid::bigint";

pub(super) const NAMED: &str = "\
    SELECT pn.nspname::text AS parent_schema, pc.relname::text AS parent FROM pg_class c \
    JOIN pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND c.relispartition \
    LEFT JOIN pg_class pc ON pc.oid = i.inhparent LEFT JOIN pg_namespace pn ON pn.oid = pc.relnamespace \
    WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')";

pub(super) const TABLE: &str = "\
    SELECT n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind, c.relispartition AS is_partition, \
           (c.relrowsecurity AND row_security_active(c.oid)) AS row_security, \
           CASE WHEN c.reltuples < 0 THEN NULL ELSE c.reltuples::bigint END AS rows_estimate, \
           coalesce(pg_total_relation_size(c.oid), 0) AS bytes, \
           p.partstrat::text AS strategy, p.partnatts::int AS key_columns, \
           (SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = p.partattrs[0]) AS key, \
           (SELECT a.atttypid = 'pg_catalog.int8'::regtype FROM pg_attribute a \
             WHERE a.attrelid = c.oid AND a.attnum = p.partattrs[0]) AS key_is_bigint \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_partitioned_table p ON p.partrelid = c.oid \
    WHERE c.oid = $1::bigint::oid";

/// PostgreSQL 18 has NOT NULL constraints that were never validated: the rows of before may hold NULL. Older servers have no
/// such rows in `pg_constraint`. A role may have `quote_all_identifiers`, with which types are printed as `"jsonb"`: it is off
/// before the first column is printed.
pub(super) const COLUMNS: &str = "\
    WITH plain AS MATERIALIZED (SELECT set_config('quote_all_identifiers', 'off', true)) \
    SELECT a.attname::text AS name, a.attnum AS number, format_type(a.atttypid, a.atttypmod) AS declaration, \
           (NOT a.attnotnull OR EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conrelid = a.attrelid AND k.contype = 'n' \
             AND NOT k.convalidated AND k.conkey = ARRAY[a.attnum])) AS nullable, \
           a.attgenerated <> '' AS generated, a.attidentity <> '' AS identity, \
           pg_get_expr(d.adbin, d.adrelid) AS default_expression \
    FROM plain CROSS JOIN pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
    WHERE a.attrelid = $1::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

pub(super) const PRIMARY_KEY: &str = "\
    SELECT a.attname::text FROM pg_constraint k CROSS JOIN LATERAL unnest(k.conkey) WITH ORDINALITY AS u (attnum, place) \
    JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum \
    WHERE k.conrelid = $1::bigint::oid AND k.contype = 'p' ORDER BY u.place";

/// A frozen partition has both triggers, row (BEFORE INSERT, UPDATE, DELETE: 31) and statement (BEFORE TRUNCATE: 34),
/// without a condition, firing always, also for replicated writes.
pub(super) const PARTITIONS: &str = "\
    SELECT c.oid::bigint AS oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind, \
           pg_get_expr(c.relpartbound, c.oid) AS bound, i.inhdetachpending AS pending, \
           CASE WHEN c.reltuples < 0 THEN NULL ELSE c.reltuples::bigint END AS rows_estimate, \
           coalesce(pg_total_relation_size(c.oid), 0) AS bytes, \
           (SELECT count(DISTINCT t.tgtype) = 2 FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid \
             WHERE t.tgrelid = c.oid AND f.proname = 'eidos_jobs_refuse_write' AND t.tgenabled = 'A' \
               AND t.tgtype IN (31, 34) AND t.tgqual IS NULL AND t.tgattr = '' AND NOT t.tgisinternal) AS frozen \
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE i.inhparent = $1::bigint::oid ORDER BY c.oid";

/// Those of a partition that only mirror one of its parent are left out.
pub(super) const REFERENCED_BY: &str = "\
    SELECT k.conname::text AS name, n.nspname::text AS schema, c.relname::text AS table_name, \
           k.confdeltype::text AS on_delete, \
           ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u (attnum, place) \
                 JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum ORDER BY u.place) AS columns, \
           ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u (attnum, place) \
                 JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.attnum ORDER BY u.place) AS referenced \
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE k.confrelid = $1::bigint::oid AND k.contype = 'f' AND k.conparentid = 0 ORDER BY 2, 3, 1";

pub(super) const TRIGGERS: &str = "\
    SELECT t.tgname::text AS name, f.proname::text AS function, (t.tgtype & 8) <> 0 AS on_delete \
    FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid \
    WHERE t.tgrelid = $1::bigint::oid AND NOT t.tgisinternal AND t.tgenabled <> 'D' ORDER BY 1";

/// Tables of people: no partitions, nothing of the system, of an extension, of a session, or in quarantine.
pub(super) const LIST: &str = "\
    SELECT n.nspname::text AS schema, c.relname::text AS name \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't' \
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'eidos_quarantine') \
      AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT LIKE '\\_timescaledb\\_%' \
      AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid \
                        AND d.deptype = 'e') \
    ORDER BY 1, 2";

/// Where a table is now, what it hangs on, and whether it is frozen. Always one row, and the question with it: that a
/// table is gone is an answer, not the lack of one.
pub(super) const FIND: &str = "\
    SELECT q.asked, n.nspname::text AS schema, c.relname::text AS name, i.inhparent::bigint AS parent, \
           coalesce(i.inhdetachpending, false) AS pending, \
           (SELECT count(DISTINCT t.tgtype) = 2 FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid \
             WHERE t.tgrelid = c.oid AND f.proname = 'eidos_jobs_refuse_write' AND t.tgenabled = 'A' \
               AND t.tgtype IN (31, 34) AND t.tgqual IS NULL AND t.tgattr = '' AND NOT t.tgisinternal) AS frozen \
    FROM (SELECT $1::bigint AS asked) q LEFT JOIN pg_class c ON c.oid = q.asked::oid AND c.relkind = 'r' \
    LEFT JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_inherits i ON i.inhrelid = c.oid";
