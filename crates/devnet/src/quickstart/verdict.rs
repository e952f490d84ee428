//! The comparison of what was planted with what was found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use comfy_table::{Table, presets};
use eidos_types::Amount;
use serde::{Deserialize, Serialize};

use super::explained::Explanations;
use super::findings::{Finding, Findings, MovementFinding};
use crate::manifest::{Fault, Manifest, Planted, PlantedMovement, Trapped};

/// A planted fault that was not found as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// What was planted.
    pub planted: Planted,
    /// What was found instead.
    pub because: String,
}

/// A planted fault of a movement that was not found as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissedMovement {
    /// What was planted.
    pub planted: PlantedMovement,
    /// What was found instead.
    pub because: String,
}

/// How the single movements fared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovementReport {
    /// What was planted.
    pub planted: Vec<PlantedMovement>,
    /// What of it was not found, to the last digit, with its severity.
    pub missed: Vec<MissedMovement>,
    /// What was reported and never planted.
    pub false_breaks: Vec<MovementFinding>,
}

impl MovementReport {
    fn compare(planted: &[PlantedMovement], mut unclaimed: BTreeSet<MovementFinding>) -> Self {
        let mut missed = Vec::new();
        for entry in planted {
            let of_subject = |found: &&MovementFinding| {
                found.dimension == entry.dimension && found.subject == entry.subject
            };
            let found = unclaimed
                .iter()
                .filter(of_subject)
                .find(|found| found.kind == entry.kind)
                .or_else(|| unclaimed.iter().find(of_subject))
                .cloned();
            if let Some(found) = &found {
                unclaimed.remove(found);
            }
            let expected = MovementFinding {
                dimension: entry.dimension.clone(),
                subject: entry.subject.clone(),
                token: entry.token.clone(),
                kind: entry.kind.clone(),
                severity: entry.severity.as_str().to_owned(),
                difference: entry.difference.clone(),
            };
            if found.as_ref() != Some(&expected) {
                missed.push(MissedMovement {
                    planted: entry.clone(),
                    because: found.map_or_else(
                        || "nothing was reported for this movement".to_owned(),
                        |found| format!("reported as {found:?}"),
                    ),
                });
            }
        }
        Self {
            planted: planted.to_vec(),
            missed,
            false_breaks: unclaimed.into_iter().collect(),
        }
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header([
            "PLANTED FAULT",
            "DIMENSION",
            "KIND",
            "TOKEN",
            "ON CHAIN − BOOKS",
            "SEVERITY",
            "FOUND",
        ]);
        for planted in &self.planted {
            let missed = self.missed.iter().find(|missed| missed.planted == *planted);
            table.add_row([
                planted.class.clone(),
                planted.dimension.clone(),
                planted.kind.clone(),
                planted.token.clone(),
                planted.difference.clone(),
                planted.severity.as_str().to_owned(),
                missed.map_or_else(|| "yes".to_owned(), |missed| format!("NO: {}", missed.because)),
            ]);
        }
        table
    }

    const fn is_clean(&self) -> bool {
        self.missed.is_empty() && self.false_breaks.is_empty()
    }

    /// What a later run lost is missed, what it invented is false.
    fn add_later(&mut self, later: Self) {
        for missed in later.missed {
            if self.missed.iter().all(|known| known.planted != missed.planted) {
                self.missed.push(MissedMovement {
                    because: format!("found, then lost by the hourly run: {}", missed.because),
                    ..missed
                });
            }
        }
        for found in later.false_breaks {
            if !self.false_breaks.contains(&found) {
                self.false_breaks.push(found);
            }
        }
    }
}

/// How one class fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClassCount {
    /// Entries planted.
    pub planted: usize,
    /// Entries found exactly.
    pub found: usize,
}

/// `.sandbox/quickstart-report.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Seed of the devnet.
    pub seed: u64,
    /// What was planted.
    pub planted: Vec<Planted>,
    /// What of it was found, to the last digit, with its severity.
    pub found: Vec<Planted>,
    /// What of it was not.
    pub missed: Vec<Missed>,
    /// What was reported and never planted.
    pub false_breaks: Vec<Finding>,
    /// Accounts compared.
    pub checked: Option<u64>,
    /// The block both sides were compared at.
    pub block: u64,
    /// Planted and found by class.
    pub classes: BTreeMap<String, ClassCount>,
    /// The traps, none of which may be reported.
    pub traps: Vec<Trapped>,
    /// The single movements.
    pub movements: MovementReport,
    /// Whether the breaks are explained as what they are.
    pub explanations: Explanations,
}

/// Compares. Every entry must be found with its kind, its exact difference and its severity; every break must have been
/// planted; dust must add up.
pub fn compare(manifest: &Manifest, findings: Findings, block: u64) -> Report {
    let mut unclaimed: BTreeSet<Finding> = findings.breaks;
    let movements = MovementReport::compare(&manifest.movements, findings.movements);
    let (mut found, mut missed) = (Vec::new(), Vec::new());
    for planted in &manifest.faults {
        let verdict = if planted.class == Fault::Dust {
            dust_verdict(planted, manifest, &findings.dust)
        } else {
            claim(planted, &mut unclaimed)
        };
        match verdict {
            Ok(()) => found.push(planted.clone()),
            Err(because) => missed.push(Missed {
                planted: planted.clone(),
                because,
            }),
        }
    }
    let mut classes: BTreeMap<String, ClassCount> = BTreeMap::new();
    for planted in &manifest.faults {
        classes
            .entry(planted.class.as_str().to_owned())
            .or_default()
            .planted += 1;
    }
    for planted in &found {
        classes
            .entry(planted.class.as_str().to_owned())
            .or_default()
            .found += 1;
    }
    Report {
        seed: manifest.seed,
        planted: manifest.faults.clone(),
        found,
        missed,
        false_breaks: unclaimed.into_iter().collect(),
        checked: findings.checked,
        block,
        classes,
        traps: manifest.traps.clone(),
        movements,
        explanations: Explanations::default(),
    }
}

/// Takes the break that belongs to `planted`. A break of the right account with wrong particulars is taken too: it is
/// one mistake, not two.
fn claim(planted: &Planted, unclaimed: &mut BTreeSet<Finding>) -> Result<(), String> {
    let wallet = planted
        .wallet
        .map(|wallet| wallet.to_string())
        .unwrap_or_default();
    let of_account = |finding: &&Finding| finding.wallet == wallet && finding.token == planted.token;
    let exact = unclaimed
        .iter()
        .filter(of_account)
        .find(|finding| finding.kind == planted.kind)
        .or_else(|| unclaimed.iter().find(of_account))
        .cloned();
    let finding = exact.ok_or("nothing was reported for this account")?;
    unclaimed.remove(&finding);
    for (what, expected, got) in [
        ("kind", planted.kind.as_str(), finding.kind.as_str()),
        (
            "difference",
            planted.difference.as_str(),
            finding.difference.as_str(),
        ),
        ("severity", planted.severity.as_str(), finding.severity.as_str()),
    ] {
        if expected != got {
            return Err(format!("reported with {what} {got} instead of {expected}"));
        }
    }
    Ok(())
}

/// Dust is not a break: it must be in its token's total, with every other dust entry and nothing else.
fn dust_verdict(
    planted: &Planted,
    manifest: &Manifest,
    found: &BTreeMap<String, super::findings::DustFound>,
) -> Result<(), String> {
    let mut expected = super::findings::DustFound::default();
    for other in manifest
        .faults
        .iter()
        .filter(|other| other.class == Fault::Dust && other.token == planted.token)
    {
        let difference: Amount = other.difference.parse().map_err(|error| format!("{error}"))?;
        expected.net = expected
            .net
            .checked_add(difference)
            .map_err(|error| error.to_string())?;
        expected.entries += 1;
    }
    let got = found.get(&planted.token).copied().unwrap_or_default();
    if got == expected {
        return Ok(());
    }
    Err(format!(
        "the dust of {} is {} entries of {} net instead of {} of {}",
        planted.token, got.entries, got.net, expected.entries, expected.net
    ))
}

impl Report {
    /// Adds what a later run over the same devnet left: what it lost is missed, what it invented is false.
    pub(crate) fn add_later(&mut self, later: Self) {
        for mut missed in later.missed {
            if self.missed.iter().all(|known| known.planted != missed.planted) {
                missed.because = format!("found, then lost by the hourly run: {}", missed.because);
                self.found.retain(|found| *found != missed.planted);
                if let Some(class) = self.classes.get_mut(missed.planted.class.as_str()) {
                    class.found -= 1;
                }
                self.missed.push(missed);
            }
        }
        for finding in later.false_breaks {
            if !self.false_breaks.contains(&finding) {
                self.false_breaks.push(finding);
            }
        }
        self.movements.add_later(later.movements);
    }

    /// True if everything planted was found and nothing else was reported.
    pub const fn is_clean(&self) -> bool {
        self.missed.is_empty()
            && self.false_breaks.is_empty()
            && self.movements.is_clean()
            && self.explanations.is_clean()
    }

    /// What a person reads at a glance, verdict last.
    pub(crate) fn table(&self, took: Duration) -> String {
        let mut faults = Table::new();
        faults.load_style(presets::UTF8_FULL_CONDENSED);
        faults.set_header(["PLANTED FAULT", "TOKEN", "ON CHAIN − BOOKS", "SEVERITY", "FOUND"]);
        for planted in &self.planted {
            let verdict = self.missed.iter().find(|missed| missed.planted == *planted);
            faults.add_row([
                planted.class.as_str().to_owned(),
                planted.token.clone(),
                planted.difference.clone(),
                planted.severity.as_str().to_owned(),
                verdict.map_or_else(|| "yes".to_owned(), |missed| format!("NO: {}", missed.because)),
            ]);
        }
        let mut traps = Table::new();
        traps.load_style(presets::UTF8_FULL_CONDENSED);
        traps.set_header(["TRAP (not a fault)", "WHY NOT", "REPORTED"]);
        let mut seen = BTreeSet::new();
        for trapped in self.traps.iter().filter(|trapped| seen.insert(trapped.trap)) {
            let reported = self
                .traps
                .iter()
                .filter(|other| other.trap == trapped.trap)
                .any(|other| {
                    self.false_breaks
                        .iter()
                        .any(|finding| finding.wallet == other.wallet.to_string())
                });
            let reported = if reported { "YES: false break" } else { "no" };
            traps.add_row([trapped.trap.as_str(), trapped.reason.as_str(), reported]);
        }
        let mut text = format!("\n{faults}\n\n{}\n\n{traps}\n", self.movements.table());
        for finding in &self.movements.false_breaks {
            let _ = write!(text, "\nFALSE BREAK: {finding:?}");
        }
        for finding in &self.false_breaks {
            let _ = write!(
                text,
                "\nFALSE BREAK: {} {} {} {} {}",
                finding.dimension, finding.wallet, finding.token, finding.kind, finding.difference
            );
        }
        let _ = write!(text, "\n{}\n", self.explanations.line());
        text + &self.verdict(took)
    }

    fn verdict(&self, took: Duration) -> String {
        format!(
            "\n{}: {} planted, {} found, {} missed, {} false breaks; {} accounts at block {}; {}.{} s",
            if self.is_clean() { "OK" } else { "FAILED" },
            self.planted.len() + self.movements.planted.len(),
            self.found.len() + self.movements.planted.len() - self.movements.missed.len(),
            self.missed.len() + self.movements.missed.len(),
            self.false_breaks.len() + self.movements.false_breaks.len(),
            self.checked.map_or_else(
                || "an unknown number of".to_owned(),
                |checked| checked.to_string()
            ),
            self.block,
            took.as_secs(),
            took.subsec_millis() / 100,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Severity;
    use crate::quickstart::findings::DustFound;

    fn planted(class: Fault, kind: &str, difference: &str, severity: Severity) -> Planted {
        Planted {
            class,
            wallet: Some(eidos_types::Address::new([1; 20])),
            token: "USDC".into(),
            kind: kind.into(),
            difference: difference.into(),
            severity,
        }
    }

    fn finding(wallet: u8, kind: &str, difference: &str) -> Finding {
        Finding {
            dimension: "balance".into(),
            wallet: eidos_types::Address::new([wallet; 20]).to_string(),
            token: "USDC".into(),
            kind: kind.into(),
            severity: "critical".into(),
            difference: difference.into(),
        }
    }

    fn compared(faults: Vec<Planted>, breaks: Vec<Finding>, dust: Option<DustFound>) -> Report {
        let manifest = Manifest {
            faults,
            ..Manifest::default()
        };
        let findings = Findings {
            breaks: breaks.into_iter().collect(),
            movements: BTreeSet::new(),
            dust: dust.into_iter().map(|dust| ("USDC".to_owned(), dust)).collect(),
            checked: Some(1),
        };
        compare(&manifest, findings, 9)
    }

    #[test]
    fn exact_or_missed() {
        let fault = planted(Fault::DoubleCredit, "shortfall", "-250", Severity::Critical);
        assert!(compared(vec![fault.clone()], vec![finding(1, "shortfall", "-250")], None).is_clean());
        for wrong in [
            finding(1, "shortfall", "-250.000001"),
            finding(1, "surplus", "-250"),
            Finding {
                severity: "warning".into(),
                ..finding(1, "shortfall", "-250")
            },
        ] {
            let report = compared(vec![fault.clone()], vec![wrong], None);
            assert_eq!((report.missed.len(), report.false_breaks.len()), (1, 0));
        }
        assert_eq!(compared(vec![fault], vec![], None).missed.len(), 1);
    }

    #[test]
    fn what_was_not_planted_is_a_false_break() {
        let report = compared(vec![], vec![finding(2, "surplus", "1")], None);
        assert_eq!(report.false_breaks.len(), 1);
        assert!(!report.is_clean());
    }

    #[test]
    fn a_later_run_may_neither_lose_nor_invent() {
        let fault = planted(Fault::DoubleCredit, "shortfall", "-250", Severity::Critical);
        let right = || compared(vec![fault.clone()], vec![finding(1, "shortfall", "-250")], None);
        let mut report = right();
        report.add_later(right());
        assert!(report.is_clean());
        report.add_later(compared(vec![fault.clone()], vec![], None));
        assert_eq!(
            (
                report.missed.len(),
                report.found.len(),
                report.classes["double_credit"].found
            ),
            (1, 0, 0)
        );
        let mut report = right();
        let breaks = vec![finding(1, "shortfall", "-250"), finding(2, "surplus", "1")];
        report.add_later(compared(vec![fault], breaks, None));
        assert_eq!((report.missed.len(), report.false_breaks.len()), (0, 1));
    }

    #[test]
    fn dust_must_add_up() {
        let fault = planted(Fault::Dust, "dust", "-0.004", Severity::Ignored);
        let dust = |entries, net: &str| {
            Some(DustFound {
                entries,
                net: net.parse().unwrap(),
            })
        };
        assert!(compared(vec![fault.clone()], vec![], dust(1, "-0.004")).is_clean());
        assert!(!compared(vec![fault.clone()], vec![], dust(2, "-0.004")).is_clean());
        assert!(!compared(vec![fault.clone()], vec![], dust(1, "-0.005")).is_clean());
        assert!(!compared(vec![fault], vec![], None).is_clean());
    }
}
