//! All services of the workspace in one place: the check of a whole settings file and its reference page.
//!
//! A service checks the sections that every service has and what it owns itself, and leaves the rest of the file unread
//! (docs/adr/0014-settings-belong-to-services.md). Here all declarations meet, so a key that no service knows is refused.
//! The tests of this crate are the guards over the whole repository. No other crate depends on this one.

mod reference;

use eidos_server::ServiceDefinition;
use eidos_settings::{Declared, Input, ServiceSettings, SettingsErrors};

pub use reference::reference_page;

/// Returns what each service of the workspace declares.
#[must_use]
pub fn services() -> Vec<Declared> {
    vec![
        declared(&recon_svc::service()),
        declared(&retention_manager::service()),
        declared(&archiver::service()),
        declared(&order_expirer::service()),
        declared(&aggregator::service()),
        declared(&health_probe::service()),
    ]
}

/// Checks a settings file for all services: every key is known, and no service refuses a value.
///
/// # Errors
/// Everything that is wrong, each once.
pub fn check_config(input: &Input<'_>) -> Result<(), SettingsErrors> {
    eidos_settings::check_file(&services(), input)
}

fn declared<S: ServiceSettings>(service: &ServiceDefinition<S>) -> Declared {
    Declared::of::<S>(service.name)
}
