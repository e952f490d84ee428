//! The configurations of order-expirer, aggregator and health-probe for a devnet.

use std::fmt::Write;
use std::path::Path;

use super::config::push_api_tokens;

/// Where order-expirer finds everything.
#[derive(Debug, Clone)]
pub(super) struct ExpirerEndpoints {
    /// Our own database, as the service's role.
    pub(super) jobs_database: String,
    /// The database of the orders, as a role that only reads them.
    pub(super) orders_database: String,
    /// Redis.
    pub(super) redis: String,
    /// The matching engine.
    pub(super) matching: String,
    /// Where the ends of orders are published; `None`: nowhere.
    pub(super) brokers: Option<String>,
}

/// The YAML with which an order-expirer works in the devnet. Short pauses: what follows a request is seen by the next run.
pub(super) fn expirer_config(endpoints: &ExpirerEndpoints) -> String {
    let mut yaml = common("order-expirer", &endpoints.redis, &endpoints.jobs_database);
    let _ = writeln!(
        yaml,
        "  trading: {{ url: \"{}\" }}\nmatching: {{ url: \"{}\" }}\n\
         expiry: {{ resend_after: 1s, resend_at_most: 4s, confirm_within: 1s, confirm_at_most: 4s, max_epochs: 2 }}",
        endpoints.orders_database, endpoints.matching,
    );
    if let Some(brokers) = &endpoints.brokers {
        let _ = writeln!(yaml, "kafka: {{ brokers: [\"{brokers}\"] }}");
    }
    push_api_tokens(&mut yaml);
    yaml
}

/// The YAML with which an aggregator works in the devnet, as its role in both databases.
pub(super) fn aggregator_config(jobs_database: &str, market_database: &str, redis: &str) -> String {
    let mut yaml = common("aggregator", redis, jobs_database);
    for source in ["market", "trading"] {
        let _ = writeln!(yaml, "  {source}: {{ url: \"{market_database}\" }}");
    }
    push_api_tokens(&mut yaml);
    yaml
}

/// The YAML with which a health-probe watches these targets, a name and settings in one line each, with a round each second.
/// What the devnet cannot help is no finding: a busy machine, a full disk, a chain that makes a block only when it is used.
pub(super) fn probe_config(
    jobs_database: &str,
    redis: &str,
    state_dir: &Path,
    targets: &[(&str, String)],
) -> String {
    let mut yaml = common("health-probe", redis, jobs_database);
    let _ = writeln!(
        yaml,
        "jobs: {{ health-monitor: {{ cron: \"* * * * * *\" }} }}\n\
         probes:\n  timeout: 5s\n  slow_after: 3s\n  state_dir: \"{}\"\n  \
         limits: {{ head_age_warning: 23h, head_age_critical: 1d, finalized_lag_warning: 23h, finalized_lag_critical: 1d, \
         memory_warning_percent: 99, memory_critical_percent: 100, pressure_warning_percent: 99, \
         pressure_critical_percent: 100, disk_warning_percent: 99, disk_critical_percent: 100 }}\n  targets:",
        state_dir.display(),
    );
    for (name, target) in targets {
        let _ = writeln!(yaml, "    {name}: {{ {target} }}");
    }
    push_api_tokens(&mut yaml);
    yaml
}

fn common(service: &str, redis: &str, jobs_database: &str) -> String {
    format!(
        "# Written by `devnet quickstart --all`: {service} for the devnet.\n\
         service: {{ name: {service}, env: dev, version: quickstart, http_host: 127.0.0.1, http_port: 0, \
         grpc_host: 127.0.0.1, grpc_port: 0 }}\n\
         telemetry: {{ log_level: warn, log_format: text }}\n\
         redis: {{ url: \"{redis}\" }}\n\
         databases:\n  jobs: {{ url: \"{jobs_database}\" }}\n"
    )
}
