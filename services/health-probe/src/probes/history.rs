//! What the jobs database says: late jobs, differences, and whether the reconciliation looked.

use sqlx::PgPool;

use super::finding::Finding;
use super::target::Target;
use crate::domain::address::Address;
use crate::domain::limits::Limits;
use crate::domain::{jobs, reconciliation};
use crate::store;

/// A database that does not answer says nothing of jobs: the result is unknown. It is a target of its own.
pub(super) async fn probe(pool: Option<&PgPool>, target: &Target, now_ms: i64, limits: &Limits) -> Finding {
    let Some(pool) = pool else {
        return Finding::unknown("the jobs database is not configured");
    };
    let verdict = match target.address {
        Address::Breaks => store::reconciliation::breaks(pool, limits.reconciliation_difference_usdc)
            .await
            .map(|breaks| reconciliation::judge_breaks(&breaks, limits)),
        Address::Reconciliation => store::reconciliation::coverage(pool)
            .await
            .map(|coverage| reconciliation::judge_coverage(&coverage, now_ms, limits)),
        _ => {
            let names: Vec<String> = target.periods.keys().cloned().collect();
            store::history::newest(pool, &names)
                .await
                .map(|history| jobs::judge(&target.periods, &history, now_ms, limits))
        }
    };
    verdict.map_or_else(
        |error| Finding::unknown(format!("the jobs database does not answer: {error}")),
        Finding::from,
    )
}
