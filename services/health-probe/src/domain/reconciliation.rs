//! [`judge_breaks`] and [`judge_coverage`]: what the reconciliation found, and whether it looked at all (ruling 43).

use super::limits::Limits;
use super::observation::Seen;
use super::text::{since, span};
use super::verdict::Verdict;

/// Open breaks of one dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaks {
    /// The dimension.
    pub dimension: String,
    /// Those above the limit, or critical for another reason: no price, insolvency.
    pub critical: i64,
    /// All others.
    pub others: i64,
    /// The largest value, as the database writes it; `None`: none has a price.
    pub largest_usdc: Option<String>,
}

/// Until when one dimension was compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// The dimension.
    pub dimension: String,
    /// The oldest of its shards, epoch milliseconds.
    pub compared_until_ms: i64,
}

/// Judges open breaks.
#[must_use]
pub fn judge_breaks(breaks: &[Breaks], limits: &Limits) -> Verdict {
    let mut verdict = Verdict::default();
    for of_dimension in breaks {
        let Breaks {
            dimension,
            critical,
            others,
            largest_usdc,
        } = of_dimension;
        let limit = limits.reconciliation_difference_usdc;
        if *critical > 0 {
            let largest = largest_usdc.as_deref().unwrap_or("without a price");
            verdict.add(
                Seen::Failed,
                format!("{dimension}: {critical} differences above {limit} USDC or critical for another reason; largest: {largest}"),
            );
        } else if *others > 0 {
            verdict.add(
                Seen::Degraded,
                format!("{dimension}: {others} differences of at most {limit} USDC"),
            );
        }
    }
    verdict
}

/// Judges when each dimension was compared. Nothing at all is not a zero difference.
#[must_use]
pub fn judge_coverage(coverage: &[Coverage], now_ms: i64, limits: &Limits) -> Verdict {
    let mut verdict = Verdict::default();
    if coverage.is_empty() {
        verdict.add(Seen::Failed, "no reconciliation has ever compared anything");
    }
    for Coverage {
        dimension,
        compared_until_ms,
    } in coverage
    {
        let age = since(now_ms, *compared_until_ms);
        if age > limits.reconciliation_missing_after {
            verdict.add(
                Seen::Failed,
                format!(
                    "{dimension} was last compared {} ago: differences since then are not known",
                    span(age)
                ),
            );
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 100_000_000;

    fn breaks(critical: i64, others: i64) -> Vec<Breaks> {
        vec![Breaks {
            dimension: "balance".to_owned(),
            critical,
            others,
            largest_usdc: Some("100.01".to_owned()),
        }]
    }

    #[test]
    fn ruling_43_missing_data_is_not_a_zero_difference() {
        let limits = Limits::defaults();
        assert_eq!(judge_breaks(&[], &limits), Verdict::default());
        assert_eq!(judge_breaks(&breaks(0, 0), &limits), Verdict::default());
        assert_eq!(judge_breaks(&breaks(0, 2), &limits).seen(), Seen::Degraded);
        let critical = judge_breaks(&breaks(1, 2), &limits);
        assert_eq!(critical.seen(), Seen::Failed);
        assert!(critical.why().contains("largest: 100.01"), "{}", critical.why());

        assert_eq!(judge_coverage(&[], NOW, &limits).seen(), Seen::Failed);
        let compared = |ago_ms| {
            vec![Coverage {
                dimension: "balance".to_owned(),
                compared_until_ms: NOW - ago_ms,
            }]
        };
        assert_eq!(
            judge_coverage(&compared(7_200_000), NOW, &limits),
            Verdict::default()
        );
        let missing = judge_coverage(&compared(7_200_001), NOW, &limits);
        assert!(
            missing.why().contains("was last compared 2h ago"),
            "{}",
            missing.why()
        );
    }
}
