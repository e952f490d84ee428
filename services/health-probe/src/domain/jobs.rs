//! [`judge`]: which jobs have missed their periods.

use std::collections::BTreeMap;
use std::time::Duration;

use super::limits::Limits;
use super::observation::Seen;
use super::text::{since, span};
use super::verdict::Verdict;

/// What the history says of a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobHistory {
    /// When its newest successful run began, epoch milliseconds; `None`: none is known.
    pub succeeded_at_ms: Option<i64>,
    /// Whether an operator has stopped its schedule.
    pub is_paused: bool,
}

/// Judges each job that is expected. One that is paused is late on purpose.
#[must_use]
pub fn judge(
    periods: &BTreeMap<String, Duration>,
    history: &BTreeMap<String, JobHistory>,
    now_ms: i64,
    limits: &Limits,
) -> Verdict {
    let mut verdict = Verdict::default();
    for (job, period) in periods {
        let known = history.get(job).copied().unwrap_or_default();
        let allowed = period.saturating_mul(limits.missed_periods);
        match known.succeeded_at_ms {
            _ if known.is_paused => {}
            None => verdict.add(
                Seen::Failed,
                format!("{job} has no successful run in its history"),
            ),
            Some(at_ms) if since(now_ms, at_ms) > allowed => {
                let (age, period) = (span(since(now_ms, at_ms)), span(*period));
                verdict.add(
                    Seen::Failed,
                    format!("the newest success of {job} is {age} old, and it is due every {period}"),
                );
            }
            Some(_) => {}
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_late_after_two_periods_and_one_that_never_ran_at_once() {
        const NOW: i64 = 10_000_000;
        let periods = BTreeMap::from([("kline-agg".to_owned(), Duration::from_mins(5))]);
        let judged = |succeeded_at_ms, is_paused| {
            let history = JobHistory {
                succeeded_at_ms,
                is_paused,
            };
            let history = BTreeMap::from([("kline-agg".to_owned(), history)]);
            judge(&periods, &history, NOW, &Limits::defaults())
        };
        assert_eq!(judged(Some(NOW - 600_000), false), Verdict::default());
        let late = judged(Some(NOW - 600_001), false);
        assert_eq!(late.seen(), Seen::Failed);
        assert!(late.why().contains("kline-agg is 10m old"), "{}", late.why());
        assert_eq!(judged(Some(0), true), Verdict::default());
        assert!(judged(None, false).why().contains("no successful run"));
        let unknown = judge(&periods, &BTreeMap::new(), NOW, &Limits::defaults());
        assert_eq!(unknown.seen(), Seen::Failed);
    }
}
