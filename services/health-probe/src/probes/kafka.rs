//! What the brokers say of the cluster, and the lag of each group.

use std::time::Duration;

use eidos_bus::{cluster, group_lag};

use super::finding::Finding;
use super::target::Target;
use crate::domain::address::Endpoint;
use crate::domain::kafka::{judge_cluster, judge_group};
use crate::domain::limits::Limits;
use crate::domain::observation::Seen;

/// The part of a probe's time after which a call of the client library is given up: it ends before the probe does.
const MARGIN: Duration = Duration::from_millis(200);

pub(super) async fn probe(
    target: &Target,
    brokers: &[Endpoint],
    limit: Duration,
    limits: &Limits,
) -> Finding {
    let brokers: Vec<String> = brokers.iter().map(Endpoint::to_string).collect();
    let limit = limit.saturating_sub(MARGIN);
    let began = tokio::time::Instant::now();
    let cluster = match cluster(&brokers, limit).await {
        Ok(cluster) => cluster,
        Err(error) => return Finding::of_error(&error),
    };
    let mut verdict = judge_cluster(&cluster);
    for (group, topics) in &target.groups {
        let left = limit.saturating_sub(began.elapsed());
        match group_lag(&brokers, group, topics, left).await {
            Ok(lag) => verdict.and(judge_group(group, &lag, limits)),
            Err(error) => verdict.add(
                Seen::Failed,
                format!("the lag of group {group} is not known: {error}"),
            ),
        }
    }
    verdict.into()
}
