//! [`judge_cluster`] and [`judge_group`]: what the brokers say of the cluster, and what groups have not handled.

use eidos_bus::{Cluster, GroupLag};

use super::limits::Limits;
use super::observation::Seen;
use super::verdict::Verdict;

/// Names that a sentence lists.
const LISTED: usize = 3;

/// Judges the cluster.
#[must_use]
pub fn judge_cluster(cluster: &Cluster) -> Verdict {
    let mut verdict = Verdict::default();
    if cluster.brokers.is_empty() {
        verdict.add(Seen::Failed, "it knows no broker");
    }
    if cluster.controller.is_none() {
        verdict.add(
            Seen::Failed,
            "it has no controller: topics and leaders cannot change",
        );
    }
    if !cluster.without_leader.is_empty() {
        let names = named(&cluster.without_leader);
        verdict.add(Seen::Failed, format!("partitions without a leader: {names}"));
    }
    if !cluster.under_replicated.is_empty() {
        let names = named(&cluster.under_replicated);
        verdict.add(Seen::Degraded, format!("under-replicated partitions: {names}"));
    }
    verdict
}

/// Judges one group.
#[must_use]
pub fn judge_group(group: &str, lag: &GroupLag, limits: &Limits) -> Verdict {
    let mut verdict = Verdict::default();
    for topic in &lag.missing_topics {
        verdict.add(
            Seen::Failed,
            format!("the topic {topic} of group {group} does not exist"),
        );
    }
    verdict.grade(lag.messages, &limits.consumer_lag(), || {
        let never = match lag.never_committed {
            0 => String::new(),
            partitions => format!("; {partitions} of its partitions were never committed"),
        };
        format!("group {group} has not handled {} messages{never}", lag.messages)
    });
    verdict
}

fn named(all: &[String]) -> String {
    let shown = all.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>();
    match all.len().saturating_sub(LISTED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Cluster {
        Cluster {
            brokers: vec![1, 2, 3],
            controller: Some(1),
            partitions: 12,
            under_replicated: vec![],
            without_leader: vec![],
        }
    }

    #[test]
    fn a_cluster_without_controller_leader_or_replicas_is_said() {
        assert_eq!(judge_cluster(&cluster()), Verdict::default());
        let many: Vec<String> = (0..5).map(|n| format!("orders[{n}]")).collect();
        for (cluster, seen, part) in [
            (
                Cluster {
                    controller: None,
                    ..cluster()
                },
                Seen::Failed,
                "no controller",
            ),
            (
                Cluster {
                    without_leader: many.clone(),
                    ..cluster()
                },
                Seen::Failed,
                "without a leader: orders[0], orders[1], orders[2] and 2 more",
            ),
            (
                Cluster {
                    under_replicated: many,
                    ..cluster()
                },
                Seen::Degraded,
                "under-replicated",
            ),
            (
                Cluster {
                    brokers: vec![],
                    ..cluster()
                },
                Seen::Failed,
                "no broker",
            ),
        ] {
            let verdict = judge_cluster(&cluster);
            assert_eq!(verdict.seen(), seen);
            assert!(verdict.why().contains(part), "{}", verdict.why());
        }
    }

    #[test]
    fn lag_is_measured_at_its_limits() {
        for (messages, seen) in [
            (1_000, Seen::Good),
            (1_001, Seen::Degraded),
            (100_001, Seen::Failed),
        ] {
            let lag = GroupLag {
                messages,
                never_committed: 2,
                missing_topics: vec![],
            };
            let verdict = judge_group("expirer", &lag, &Limits::defaults());
            assert_eq!(verdict.seen(), seen, "{messages}");
        }
        let lag = GroupLag {
            messages: 0,
            never_committed: 0,
            missing_topics: vec!["gone".to_owned()],
        };
        assert_eq!(judge_group("g", &lag, &Limits::defaults()).seen(), Seen::Failed);
    }
}
