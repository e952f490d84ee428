//! [`judge`]: what a PostgreSQL server says of itself.

use std::time::Duration;

use super::limits::Limits;
use super::observation::Seen;
use super::text::{percent, span};
use super::verdict::Verdict;
use serde::{Deserialize, Serialize};

/// What a server should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It accepts writes.
    Primary,
    /// It follows another one.
    Replica,
}

/// What one statement reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whether it is a replica.
    pub in_recovery: bool,
    /// Whether a replica has a connection to its primary.
    pub is_streaming: bool,
    /// Of a replica: since when it has applied nothing although something arrived. Of a primary: the slowest of its replicas,
    /// `None`: it has none.
    pub lag: Option<Duration>,
    /// Sessions of clients.
    pub connections: u64,
    /// Those that roles without privileges may open.
    pub connections_allowed: u64,
    /// The longest session that is idle in a transaction; `None`: none is.
    pub idle_in_transaction: Option<Duration>,
    /// Whether this role sees the sessions of others.
    pub sees_others: bool,
}

/// Judges them.
#[must_use]
pub fn judge(facts: &Facts, role: Option<Role>, limits: &Limits) -> Verdict {
    let mut verdict = Verdict::default();
    match (role, facts.in_recovery) {
        (Some(Role::Primary), true) => {
            verdict.add(
                Seen::Failed,
                "it is a replica, and should be the primary: writes are refused",
            );
        }
        (Some(Role::Replica), false) => {
            verdict.add(Seen::Failed, "it is a primary, and should be a replica");
        }
        _ => {}
    }
    if facts.in_recovery && !facts.is_streaming {
        verdict.add(Seen::Degraded, "the replica has no connection to its primary");
    }
    if let Some(lag) = facts.lag {
        let whose = if facts.in_recovery {
            "it is"
        } else {
            "a replica is"
        };
        verdict.grade(lag, &limits.replica_lag(), || {
            format!("{whose} {} behind", span(lag))
        });
    }
    let share = percent(facts.connections, facts.connections_allowed);
    verdict.grade(share, &limits.connections(), || {
        format!(
            "{} of {} connections are in use",
            facts.connections, facts.connections_allowed
        )
    });
    if let Some(idle) = facts.idle_in_transaction {
        verdict.grade(idle, &limits.idle_in_transaction(), || {
            format!("a session has been idle in a transaction for {}", span(idle))
        });
    }
    if !facts.sees_others {
        verdict.add(
            Seen::Degraded,
            "the role of the probe does not see the sessions of others: GRANT pg_monitor to it",
        );
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut Facts);

    #[test]
    fn each_fact_is_measured_at_its_limits() {
        let good = Facts {
            connections: 80,
            connections_allowed: 100,
            lag: Some(Duration::from_secs(30)),
            idle_in_transaction: Some(Duration::from_mins(5)),
            sees_others: true,
            ..Facts::default()
        };
        let limits = Limits::defaults();
        assert_eq!(judge(&good, Some(Role::Primary), &limits), Verdict::default());
        let replica: Change = |facts| (facts.in_recovery, facts.is_streaming) = (true, true);
        let cut_off: Change = |facts| facts.in_recovery = true;
        let behind: Change = |facts| {
            (facts.in_recovery, facts.is_streaming) = (true, true);
            facts.lag = Some(Duration::from_secs(31));
        };
        let changes: [(Change, Option<Role>, Seen, &str); 10] = [
            (replica, Some(Role::Replica), Seen::Good, ""),
            (|_facts| {}, Some(Role::Replica), Seen::Failed, "is a primary"),
            (replica, Some(Role::Primary), Seen::Failed, "writes are refused"),
            (cut_off, None, Seen::Degraded, "no connection to its primary"),
            (behind, None, Seen::Degraded, "it is 31s behind"),
            (
                |facts| facts.lag = Some(Duration::from_secs(301)),
                None,
                Seen::Failed,
                "a replica is 5m 1s behind",
            ),
            (|facts| facts.connections = 81, None, Seen::Degraded, "81 of 100"),
            (|facts| facts.connections = 96, None, Seen::Failed, "96 of 100"),
            (
                |facts| facts.idle_in_transaction = Some(Duration::from_secs(1_801)),
                None,
                Seen::Failed,
                "idle in a transaction for 30m 1s",
            ),
            (
                |facts| facts.sees_others = false,
                None,
                Seen::Degraded,
                "pg_monitor",
            ),
        ];
        for (change, role, seen, part) in changes {
            let mut facts = good.clone();
            change(&mut facts);
            let verdict = judge(&facts, role, &limits);
            assert_eq!(verdict.seen(), seen, "{facts:?}");
            assert!(verdict.why().contains(part), "{}", verdict.why());
        }
    }
}
