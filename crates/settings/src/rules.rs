//! What is refused although it is well-formed.

mod fail_fast;
mod files;
mod ranges;
mod sections;
mod servers;

use crate::{Problems, SuiteSettings};

/// Checks ranges, cross-references and, outside `dev`, weak settings.
pub(crate) fn check(suite: &SuiteSettings, problems: &mut Problems) {
    sections::check(suite, problems);
    if problems.is_strict(suite) {
        fail_fast::check(suite, problems);
    }
}
