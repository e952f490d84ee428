//! Ranges and cross-references of each section, in every environment.

use std::collections::BTreeSet;
use std::time::Duration;

use eidos_types::JobName;
use secrecy::ExposeSecret;

use super::ranges::{HOUR, MS, SECONDS};
use super::servers;
use crate::{JobSection, LockKind, Problems, SuiteSettings, lease_margin, ranges};

/// Reports every value outside its range and every name that refers to nothing.
pub(crate) fn check(suite: &SuiteSettings, problems: &mut Problems) {
    service(suite, problems);
    scheduler(suite, problems);
    for (name, job) in &suite.jobs {
        check_job(suite, name, job, problems);
    }
    servers::check(suite, problems);
    auth(suite, problems);
    telemetry(suite, problems);
    security(suite, problems);
    super::files::check(suite, problems);
}

fn service(suite: &SuiteSettings, problems: &mut Problems) {
    let service = &suite.service;
    problems.not_blank("service.name", &service.name);
    problems.not_blank("service.http_host", &service.http_host);
    problems.not_blank("service.grpc_host", &service.grpc_host);
    if service.http_port == service.grpc_port
        && service.http_port != 0
        && service.http_host == service.grpc_host
    {
        problems.add_value(
            "service.grpc_port",
            service.grpc_port,
            "is also service.http_port",
            "use two ports",
        );
    }
    ranges!(problems, "service", service;
        number http_max_connections: 1..=100_000;
        duration http_idle_timeout: MS(100)..=SECONDS(600);
        duration start_timeout: MS(0)..=SECONDS(600);
        duration shutdown_soft: MS(0)..=SECONDS(HOUR);
        duration shutdown_grace: suite.scheduler.cancel_grace.min(SECONDS(600))..=SECONDS(600);
    );
}

fn scheduler(suite: &SuiteSettings, problems: &mut Problems) {
    let scheduler = &suite.scheduler;
    ranges!(problems, "scheduler", scheduler;
        number max_concurrent_jobs: 1..=1000;
        number catch_up_periods: 1..=1000;
        duration default_timeout: SECONDS(1)..=SECONDS(24 * HOUR);
        duration poll_interval: MS(10)..=SECONDS(15);
        duration cancel_grace: MS(1)..=SECONDS(300);
        duration clock_tolerance: MS(0)..=SECONDS(60);
        duration heartbeat_interval: MS(100)..=SECONDS(60);
        duration observe_interval: MS(100)..=SECONDS(HOUR);
    );
    for (pool, size) in &scheduler.pools {
        problems.number(&format!("scheduler.pools.{pool}"), *size, 1..=1000);
    }
}

fn check_job(suite: &SuiteSettings, name: &JobName, job: &JobSection, problems: &mut Problems) {
    let key = |rest: &str| format!("jobs.{name}.{rest}");
    problems.duration(&key("timeout"), job.timeout, MS(100)..=SECONDS(24 * HOUR));
    if job.lock.kind != LockKind::None {
        problems.duration(&key("lock.ttl"), job.lock.ttl, SECONDS(3)..=SECONDS(24 * HOUR));
    }
    if job.budget(suite.scheduler.cancel_grace).is_zero() && !job.timeout.is_zero() {
        problems.add_value(
            key("lock.ttl"),
            humantime::format_duration(job.lock.ttl),
            "leaves a run no time: margin (2 %, at least 1s) and scheduler.cancel_grace use up all of it",
            "make it longer than the time-out plus both, or use a watchdog lock",
        );
    }
    if job.lock.kind == LockKind::Watchdog && job.lock.ttl / 3 <= suite.redis.response_timeout {
        problems.add_value(
            key("lock.ttl"),
            humantime::format_duration(job.lock.ttl),
            "is renewed every third of it, which one slow answer (redis.response_timeout) would use up",
            "make it longer than three times redis.response_timeout",
        );
    }
    if job.lock.kind == LockKind::Watchdog && !outlives_a_renewal(job.lock.ttl, suite.scheduler.cancel_grace)
    {
        problems.add_value(
            key("lock.ttl"),
            humantime::format_duration(job.lock.ttl),
            "ends for its holder before it is renewed: margin (2 %, at least 1s) and scheduler.cancel_grace leave \
             less than a third of it",
            "make it longer than twice both together",
        );
    }
    ranges!(problems, key("retry"), job.retry;
        number max_attempts: 1..=10;
        number base_ms: 1..=3_600_000;
        number max_ms: job.retry.base_ms.min(3_600_000)..=3_600_000;
    );
    if job.pool != "default" && !suite.scheduler.pools.contains_key(&job.pool) {
        let pools: Vec<&str> = suite.scheduler.pools.keys().map(String::as_str).collect();
        problems.add_value(
            key("pool"),
            &job.pool,
            "is not a pool",
            format!("use default or one of {}", pools.join(", ")),
        );
    }
}

fn auth(suite: &SuiteSettings, problems: &mut Problems) {
    let (mut names, mut tokens) = (BTreeSet::new(), BTreeSet::new());
    for (index, caller) in suite.auth.tokens.iter().enumerate() {
        let key = |rest: &str| format!("auth.tokens.{index}.{rest}");
        problems.not_blank(&key("name"), &caller.name);
        problems.not_blank(&key("token"), caller.token.expose_secret());
        if !names.insert(caller.name.as_str()) {
            problems.add(
                key("name"),
                format!("'{}' is there twice", caller.name),
                "give each caller its own name",
            );
        }
        if !tokens.insert(caller.token.expose_secret()) {
            problems.add(
                key("token"),
                "is another caller's too",
                "give each caller its own token",
            );
        }
    }
}

fn telemetry(suite: &SuiteSettings, problems: &mut Problems) {
    let telemetry = &suite.telemetry;
    for directive in telemetry.log_level.split(',').map(str::trim) {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
        if !["off", "error", "warn", "info", "debug", "trace"].contains(&level.to_ascii_lowercase().as_str())
        {
            problems.add_value(
                "telemetry.log_level",
                directive,
                "is not a level",
                "use off, error, warn, info, debug or trace, also per target as in info,eidos_core=debug",
            );
        }
    }
    if let Some(endpoint) = &telemetry.otlp_endpoint
        && !(endpoint.starts_with("http://") || endpoint.starts_with("https://"))
    {
        problems.add(
            "telemetry.otlp_endpoint",
            "is not an http or https URL",
            "write http://host:4317",
        );
    }
    ranges!(problems, "telemetry", telemetry; duration otlp_timeout: MS(10)..=SECONDS(60););
    if !(0.0..=1.0).contains(&telemetry.trace_sample_ratio) {
        let ratio = telemetry.trace_sample_ratio;
        problems.add_value(
            "telemetry.trace_sample_ratio",
            ratio,
            "is out of range",
            "use 0.0 to 1.0",
        );
    }
}

fn security(suite: &SuiteSettings, problems: &mut Problems) {
    let grpc = &suite.security.grpc;
    if suite.security.grpc_tls() {
        for (key, path) in [
            ("security.grpc.cert", &grpc.cert),
            ("security.grpc.key", &grpc.key),
        ] {
            if path.is_none() {
                problems.add(
                    key,
                    "is missing while gRPC TLS is on",
                    "give the path of a PEM file",
                );
            }
        }
        if grpc.client_auth && grpc.ca_cert.is_none() {
            let fix = "give the path of a PEM file";
            problems.add(
                "security.grpc.ca_cert",
                "is missing while client certificates are asked for",
                fix,
            );
        }
    }
    let encryption = suite.security.archive_storage.s3_sse.as_str();
    if !["AES256", "aws:kms"].contains(&encryption) {
        problems.add_value(
            "security.archive_storage.s3_sse",
            encryption,
            "is not an encryption",
            "use AES256 or aws:kms",
        );
    }
}

/// A holder stops counting on its lease `margin + grace` before the key ends; renewals come every third of the TTL,
/// a tenth of that late at most.
fn outlives_a_renewal(ttl: Duration, grace: Duration) -> bool {
    ttl.saturating_sub(lease_margin(ttl) + grace) > ttl * 11 / 30
}
