//! Every SQL statement of this service: on our own table by steps ([`requests`]), on the trading service's orders read-only
//! ([`orders`], assembled of the checked names of the profile).

pub mod catalogue;
pub mod orders;
pub mod requests;

/// Returns every statement that is a constant, with its name; [`orders::OrdersStore::all`] has the others.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    [requests::ALL, catalogue::ALL].into_iter().flatten().copied()
}

#[cfg(test)]
mod tests {
    use eidos_testkit::{TestDb, assert_prepares};

    /// A statement that does not fit the schema fails here and not in front of a caller (ADR 3).
    #[tokio::test]
    async fn every_statement_is_valid_on_our_schema() {
        let db = TestDb::migrated().await;
        assert_prepares(db.pool(), super::all()).await;
    }
}
