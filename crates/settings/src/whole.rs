//! [`check_file`]: the check of a whole settings file, for all services at once.

use crate::load::read;
use crate::ownership::{Foreign, Ownership};
use crate::problem::Problem;
use crate::{Input, ServiceSettings, SettingsErrors, render};

/// What one service declares.
#[derive(Debug, Clone, Copy)]
pub struct Declared {
    /// The service's name.
    pub name: &'static str,
    /// Its [`ServiceSettings::DEFAULTS`].
    pub defaults: &'static str,
    /// Its [`ServiceSettings::READS`].
    pub reads: &'static [&'static str],
    judge: fn(&Input<'_>) -> Verdict,
}

/// What one service says about a file.
struct Verdict {
    /// The effective settings as `check-config` shows them.
    shown: Result<String, SettingsErrors>,
    ownership: Ownership,
    foreign: Vec<Foreign>,
}

impl Declared {
    /// The declaration of the service `name` whose settings are `S`.
    #[must_use]
    pub const fn of<S: ServiceSettings>(name: &'static str) -> Self {
        Self {
            name,
            defaults: S::DEFAULTS,
            reads: S::READS,
            judge: |input| {
                let reading = read::<S>(input);
                Verdict {
                    shown: reading.settings.map(|settings| render(&settings)),
                    ownership: reading.ownership,
                    foreign: reading.foreign,
                }
            },
        }
    }

    /// Returns the effective settings of this service as its `check-config` shows them.
    ///
    /// # Errors
    /// As [`crate::load()`].
    pub fn render(&self, input: &Input<'_>) -> Result<String, SettingsErrors> {
        (self.judge)(input).shown
    }
}

/// Checks a settings file for all of `services`: what each of them refuses, and every section and job that none of them
/// knows.
///
/// # Errors
/// Everything that is wrong, each once.
pub fn check_file(services: &[Declared], input: &Input<'_>) -> Result<(), SettingsErrors> {
    let verdicts: Vec<Verdict> = services.iter().map(|service| (service.judge)(input)).collect();
    let mut known = Ownership::default();
    for verdict in &verdicts {
        known.join(&verdict.ownership);
    }
    let unknown = |foreign: &&Foreign| verdicts.iter().all(|verdict| verdict.foreign.contains(foreign));
    let first = verdicts.first().map_or(&[][..], |verdict| &verdict.foreign);
    let mut problems: Vec<Problem> = first
        .iter()
        .filter(unknown)
        .map(|foreign| known.refusal(foreign))
        .collect();
    for errors in verdicts.into_iter().filter_map(|verdict| verdict.shown.err()) {
        for problem in errors.into_problems() {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(SettingsErrors::new(problems, Vec::new()))
}
