//! Which declared types are taken.

use eidos_archive_store::{CodecError, Column, PgType};

#[test]
fn a_declaration_is_read_and_written() {
    let declarations = [
        "boolean",
        "smallint",
        "integer",
        "bigint",
        "real",
        "double precision",
        "numeric(36,18)",
        "numeric(38,0)",
        "numeric(2,5)",
        "character varying",
        "character varying(50)",
        "character(10)",
        "text",
        "bytea",
        "json",
        "jsonb",
        "uuid",
        "date",
        "timestamp without time zone",
        "timestamp with time zone",
    ];
    for declaration in declarations {
        let pg_type = PgType::from_declaration(declaration).unwrap();
        assert_eq!(pg_type.declaration(), declaration);
        let json = serde_json::to_string(&pg_type).unwrap();
        assert_eq!(json, format!("\"{declaration}\""));
        assert_eq!(serde_json::from_str::<PgType>(&json).unwrap(), pg_type);
    }
    assert_eq!(
        PgType::from_declaration("timestamp(3) with time zone"),
        Ok(PgType::Timestamptz)
    );
}

#[test]
fn what_would_not_come_back_is_refused_by_name() {
    let refused = [
        ("numeric", "numeric(p,s)"),
        ("numeric(39,2)", "38 digits"),
        ("numeric(10,-2)", "scale of 0 to 38"),
        ("numeric(10,40)", "scale of 0 to 38"),
        ("bigint[]", "arrays"),
        ("numeric(36,18)[]", "arrays"),
        ("character varying(20)[]", "arrays"),
        ("interval", "intervals"),
        ("time without time zone", "times"),
        ("order_status", "enums"),
        ("\"char\"", "not supported"),
        ("bpchar", "not supported"),
        ("public.citext", "extensions"),
        ("timestamp(9) with time zone", "not supported"),
        ("numeric(", "not supported"),
        ("", "not supported"),
    ];
    for (declaration, says) in refused {
        let error = Column::new("amount", declaration, false).unwrap_err();
        assert!(matches!(error, CodecError::Column { .. }) && error.is_refusal());
        let error = error.to_string();
        assert!(
            error.contains("amount") && error.contains(declaration) && error.contains(says),
            "{declaration}: {error}"
        );
    }
}
