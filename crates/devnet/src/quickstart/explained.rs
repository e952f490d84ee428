//! Whether each break that was planted is explained as what it is.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::manifest::{Manifest, cause_of};

/// An open break, as far as it names what was planted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBreak {
    /// Its id.
    pub id: Uuid,
    /// Its dimension.
    pub dimension: String,
    /// Its subject: an account, a token, a movement.
    pub subject: String,
}

/// An explanation that is not what was planted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrongExplanation {
    /// The class of the fault.
    pub class: String,
    /// The subject.
    pub subject: String,
    /// What the explanation must say.
    pub expected: String,
    /// What it says.
    pub cause: String,
}

/// How the explanations fared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanations {
    /// Breaks that were explained.
    pub explained: usize,
    /// Explanations that name the planted cause.
    pub right: usize,
    /// Those that do not.
    pub wrong: Vec<WrongExplanation>,
    /// Explanations by cause.
    pub causes: BTreeMap<String, usize>,
}

/// Reads the open breaks.
///
/// # Errors
/// If the jobs database is not one of ours.
pub async fn open_breaks(jobs: &PgPool) -> anyhow::Result<Vec<OpenBreak>> {
    let rows: Vec<(Uuid, String, String)> = sqlx::query_as(
        "SELECT break_id, dimension::text, subject::text FROM eidos_jobs_breaks WHERE status = 'open' ORDER BY break_id",
    )
    .fetch_all(jobs)
    .await
    .context("reading the open breaks")?;
    let open = rows.into_iter().map(|(id, dimension, subject)| OpenBreak {
        id,
        dimension,
        subject,
    });
    Ok(open.collect())
}

/// What was planted on each subject: dimension and subject to class.
fn planted(manifest: &Manifest) -> BTreeMap<(String, String), String> {
    let accounts = manifest.faults.iter().map(|fault| {
        let (dimension, subject) = match fault.wallet {
            Some(wallet) => ("balance", format!("{wallet}/{}", fault.token)),
            None => ("solvency", fault.token.clone()),
        };
        ((dimension.to_owned(), subject), fault.class.as_str().to_owned())
    });
    let movements = manifest.movements.iter().map(|fault| {
        (
            (fault.dimension.clone(), fault.subject.clone()),
            fault.class.clone(),
        )
    });
    accounts.chain(movements).collect()
}

/// Compares what `recon-svc explain` said about the open breaks with what was planted.
pub fn judge(manifest: &Manifest, open: &[OpenBreak], answers: &[Value]) -> Explanations {
    let planted = planted(manifest);
    let mut found = Explanations::default();
    for answer in answers {
        let said = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        let cause = answer["explanation"]["cause"]
            .as_str()
            .unwrap_or("nothing")
            .to_owned();
        *found.causes.entry(cause.clone()).or_default() += 1;
        found.explained += 1;
        let is_open = open.iter().any(|known| known.id.to_string() == said("break_id"));
        let class = planted
            .get(&(said("dimension"), said("subject")))
            .filter(|_| is_open);
        let expected = class
            .and_then(|class| cause_of(class))
            .unwrap_or("nothing: it was not planted");
        if expected == cause {
            found.right += 1;
        } else {
            found.wrong.push(WrongExplanation {
                class: class.cloned().unwrap_or_default(),
                subject: said("subject"),
                expected: expected.to_owned(),
                cause,
            });
        }
    }
    found
}

impl Explanations {
    /// True if every break was explained rightly.
    pub const fn is_clean(&self) -> bool {
        self.wrong.is_empty()
    }

    /// One line, and one for each that is wrong.
    pub fn line(&self) -> String {
        let causes: Vec<String> = self
            .causes
            .iter()
            .map(|(cause, count)| format!("{cause} {count}"))
            .collect();
        let mut text = format!(
            "Explanations: {} of {} right ({})",
            self.right,
            self.explained,
            causes.join(", ")
        );
        for wrong in &self.wrong {
            let _ = write!(
                text,
                "\nWRONG EXPLANATION: {} on {} is explained as {} instead of {}",
                wrong.class, wrong.subject, wrong.cause, wrong.expected
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_planted_cause_is_right() {
        let wallet = eidos_types::Address::new([7; 20]);
        let fault = crate::manifest::Planted {
            class: crate::manifest::Fault::DoubleCredit,
            wallet: Some(wallet),
            token: "WETH".into(),
            kind: "shortfall".into(),
            difference: "-1".into(),
            severity: crate::manifest::Severity::Critical,
        };
        let manifest = Manifest {
            faults: vec![fault],
            ..Manifest::default()
        };
        let subject = format!("{wallet}/WETH");
        let open = [OpenBreak {
            id: Uuid::nil(),
            dimension: "balance".into(),
            subject: subject.clone(),
        }];
        let said = |dimension: &str, cause: &str| json!({ "break_id": Uuid::nil(), "dimension": dimension, "subject": subject, "explanation": { "cause": cause } });
        let found = judge(&manifest, &open, &[said("balance", "duplicate")]);
        assert!(found.is_clean() && found.right == 1, "{found:?}");
        for (dimension, cause) in [("balance", "missing"), ("deposit", "duplicate")] {
            let found = judge(&manifest, &open, &[said(dimension, cause)]);
            assert_eq!((found.right, found.wrong.len()), (0, 1), "{found:?}");
        }
        assert_eq!(
            judge(&manifest, &[], &[said("balance", "duplicate")]).right,
            0,
            "it is not open"
        );
    }
}
