//! Layered settings: built-in defaults < file < environment, with every mistake reported at once.
//!
//! ```text
//! shared.default.yaml < <service>/settings.default.yaml < --config FILE (EIDOS_CONFIG) < EIDOS__SECTION__KEY
//! ```
//!
//! [`load()`] merges the layers, turns them into [`SuiteSettings`] and the service's own [`ServiceSettings`], and
//! checks them. Sections and jobs of other services are left unread, so that one file can serve services of different
//! versions; [`check_file`] checks a whole file for all of them. [`load()`] never stops at the first mistake: a wrong value is noted with its key path, replaced by the
//! default and reading goes on, so that one start shows all there is to repair ([`SettingsErrors`], exit code
//! [`EXIT_CODE`]).
//!
//! | where to look | for |
//! |---|---|
//! | `shared.default.yaml` | every key of the sections that every service has, with default and meaning |
//! | [`SuiteSettings`] | these sections as types |
//! | `ownership`, `whole` | whose a key is; the check of a file for all services |
//! | `expand`, `environment`, `layers` | `${VAR:default}`, `EIDOS__A__B`, merging with sources |
//! | `collect` | how all errors are found in one go |
//! | `rules` | what is refused although it is well-formed (and what is refused outside `dev`) |
//! | [`secret`] | how a secret stays out of pages, errors and `Debug` |

mod auth;
mod collect;
mod cron_line;
pub mod duration_text;
mod environment;
mod expand;
mod jobs;
mod layers;
mod load;
mod ownership;
mod problem;
mod render;
mod rules;
pub mod secret;
mod security;
mod servers;
mod shared;
mod sources;
mod transport;
mod tree;
mod tree_de;
mod whole;
mod yaml;

pub use auth::{ApiToken, AuthSection, Role};
pub use cron_line::{CronError, CronLine};
pub use jobs::{CatchUp, JobSection, LockKind, LockSection, Overlap, RetrySection, lease_margin};
pub use load::{
    Effective, Input, NoOptions, Origin, SHARED_DEFAULTS, ServiceSettings, SuiteOnly, load, load_to_start,
};
pub use problem::{Problem, Problems, SettingsErrors};
pub use render::render;
pub use security::{ArchiveEncryption, GrpcTls, NacosTls, PostgresTls, RedisTls, SecuritySection, SslMode};
pub use servers::{DatabaseSection, GroupProtocol, KafkaSection, OffsetReset, RedisSection};
pub use shared::{Environment, LogFormat, SchedulerSection, ServiceSection, SuiteSettings, TelemetrySection};
pub use sources::SourceName;
pub use whole::{Declared, check_file};

/// The process exit code for settings that cannot be used (`EX_CONFIG` of `sysexits.h`).
pub const EXIT_CODE: u8 = 78;

/// The environment variable that names the settings file when `--config` is not given.
pub const CONFIG_FILE_VARIABLE: &str = "EIDOS_CONFIG";
