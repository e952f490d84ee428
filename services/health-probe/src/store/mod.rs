//! Every SQL statement of this service. All of them read: the jobs database ([`history`], [`reconciliation`]) and the server
//! that is probed ([`server`]).

pub mod history;
pub mod reconciliation;
pub mod server;

/// Returns every statement with its name.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    [history::ALL, reconciliation::ALL, server::ALL]
        .into_iter()
        .flatten()
        .copied()
}

#[cfg(test)]
mod tests {
    use eidos_testkit::{TestDb, assert_prepares};

    /// A statement that does not fit the schema fails here and not in front of a target (ADR 3).
    #[tokio::test]
    async fn every_statement_is_valid_on_our_schema() {
        let db = TestDb::migrated().await;
        assert_prepares(db.pool(), super::all()).await;
    }
}
