//! [`Verdict`]: what several checks of one target say together.

use super::observation::Seen;

/// Reasons that a sentence lists.
const LISTED: usize = 8;
/// Texts of servers are cut: they are read in alerts.
const LONGEST: usize = 300;

/// The reasons of one probe. The worst of them decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict(Vec<(Seen, String)>);

/// Above which values something is a warning, and critical.
#[derive(Debug, Clone, Copy)]
pub struct Grade<T> {
    /// Above it: a warning.
    pub warning: T,
    /// Above it: critical.
    pub critical: T,
}

impl Verdict {
    /// One reason alone.
    #[must_use]
    pub fn of(seen: Seen, why: impl Into<String>) -> Self {
        let mut verdict = Self::default();
        verdict.add(seen, why);
        verdict
    }

    /// Adds a reason.
    pub fn add(&mut self, seen: Seen, why: impl Into<String>) {
        let why: String = why.into();
        let why = why.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
        self.0.push((seen, why));
    }

    /// Adds a reason if `value` is above a limit.
    pub fn grade<T: PartialOrd + Copy>(&mut self, value: T, grade: &Grade<T>, why: impl FnOnce() -> String) {
        if value > grade.critical {
            self.add(Seen::Failed, why());
        } else if value > grade.warning {
            self.add(Seen::Degraded, why());
        }
    }

    /// Adds the reasons of another verdict.
    pub fn and(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The worst of the reasons; good without any. What could not be found out hides nothing that was.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let worst = self.0.iter().min_by_key(|(seen, _)| rank(*seen));
        worst.map_or(Seen::Good, |(seen, _)| *seen)
    }

    /// Every reason that is not good, the worst first.
    #[must_use]
    pub fn why(&self) -> String {
        let mut reasons: Vec<&(Seen, String)> =
            self.0.iter().filter(|(seen, _)| *seen != Seen::Good).collect();
        reasons.sort_by_key(|(seen, _)| rank(*seen));
        let left_out = reasons.len().saturating_sub(LISTED);
        let mut text = reasons
            .iter()
            .take(LISTED)
            .map(|(_, why)| why.as_str())
            .collect::<Vec<_>>()
            .join("; ");
        if left_out > 0 {
            text = format!("{text}; and {left_out} more");
        }
        text
    }
}

const fn rank(seen: Seen) -> u8 {
    match seen {
        Seen::Failed => 0,
        Seen::Degraded => 1,
        Seen::Unknown => 2,
        Seen::Good => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_reason_decides_and_limits_are_exclusive() {
        let grade = Grade {
            warning: 10,
            critical: 20,
        };
        for (value, seen) in [
            (10, Seen::Good),
            (11, Seen::Degraded),
            (20, Seen::Degraded),
            (21, Seen::Failed),
        ] {
            let mut verdict = Verdict::default();
            verdict.grade(value, &grade, || format!("{value} messages"));
            assert_eq!(verdict.seen(), seen, "{value}");
        }
        let mut verdict = Verdict::of(Seen::Unknown, "not known");
        verdict.add(Seen::Good, "fine");
        assert_eq!(
            (verdict.seen(), verdict.why().as_str()),
            (Seen::Unknown, "not known")
        );
        verdict.add(Seen::Degraded, "slow");
        verdict.add(Seen::Failed, "down\n\u{1b}[2J");
        assert_eq!(verdict.seen(), Seen::Failed);
        assert_eq!(verdict.why(), "down[2J; slow; not known");
        for n in 0..20 {
            verdict.add(Seen::Degraded, n.to_string().repeat(1000));
        }
        assert!(verdict.why().ends_with("and 15 more") && verdict.why().len() < 3_000);
    }
}
