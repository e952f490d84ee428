//! Layered settings: built-in defaults < file < environment, with every mistake reported at once.
//!
//! ```text
//! suite.default.yaml < <service>/settings.default.yaml < --config FILE (EIDOS_CONFIG) < EIDOS__SECTION__KEY
//! ```
//!
//! [`load`] merges the layers, turns them into [`SuiteSettings`] and the service's own [`ServiceSettings`], and
//! checks them. It never stops at the first mistake: a wrong value is noted with its key path, replaced by the
//! default and reading goes on, so that one start shows all there is to repair ([`SettingsErrors`], exit code
//! [`EXIT_CODE`]).
//!
//! | where to look | for |
//! |---|---|
//! | `suite.default.yaml` | every key with its default and meaning; [`reference_page`] is made from it |
//! | [`SuiteSettings`] | the typed sections every service shares |
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
mod problem;
mod reference;
mod render;
mod retention;
mod rules;
pub mod secret;
mod security;
mod servers;
mod sources;
mod suite;
mod transport;
mod tree;
mod tree_de;
mod yaml;

pub use auth::{ApiToken, AuthSection, Role};
pub use cron_line::{CronError, CronLine};
pub use jobs::{CatchUp, JobSection, LockKind, LockSection, Overlap, RetrySection, lease_margin};
pub use load::{Effective, Input, Origin, ServiceSettings, SuiteOnly, load};
pub use problem::{Problem, Problems, SettingsErrors};
pub use reference::reference_page;
pub use render::render;
pub use retention::{
    ArchiveFormat, CandleRetention, DataRetention, FinishedRule, PartitionedTable, RegularTable,
};
pub use security::{ArchiveEncryption, GrpcTls, NacosTls, PostgresTls, RedisTls, SecuritySection, SslMode};
pub use servers::{DatabaseSection, KafkaSection, RedisSection};
pub use sources::SourceName;
pub use suite::{Environment, LogFormat, SchedulerSection, ServiceSection, SuiteSettings, TelemetrySection};

/// The process exit code for settings that cannot be used (`EX_CONFIG` of `sysexits.h`).
pub const EXIT_CODE: u8 = 78;

/// The environment variable that names the settings file when `--config` is not given.
pub const CONFIG_FILE_VARIABLE: &str = "EIDOS_CONFIG";
