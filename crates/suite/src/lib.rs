//! All services of the workspace in one place: the check of a whole settings file and its reference page.
//!
//! A service checks the sections that every service has and what it owns itself, and leaves the rest of the file unread
//! (docs/adr/0014-settings-belong-to-services.md). Here all declarations meet, so a key that no service knows is refused.
//! The tests of this crate are the guards over the whole repository. No other crate depends on this one.

mod reference;

use eidos_server::ServiceDefinition;
use eidos_settings::{Declared, Input, NoOptions, ServiceSettings, SettingsErrors};
use serde::{Deserialize, Serialize};

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
    ]
}

/// Returns the blocks of the requirement's settings file whose services are not built yet.
#[must_use]
pub const fn planned() -> Declared {
    Declared::of::<Planned>("not built yet")
}

/// Checks a settings file for all services: every key is known, and no service refuses a value.
///
/// # Errors
/// Everything that is wrong, each once.
pub fn check_config(input: &Input<'_>) -> Result<(), SettingsErrors> {
    let mut declared = services();
    declared.push(planned());
    eidos_settings::check_file(&declared, input)
}

fn declared<S: ServiceSettings>(service: &ServiceDefinition<S>) -> Declared {
    Declared::of::<S>(service.name)
}

/// The jobs of the requirement that no service has yet.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {}

impl ServiceSettings for Planned {
    const DEFAULTS: &'static str = include_str!("../planned.default.yaml");
    type Options = NoOptions;
}
