//! Ranges of the connections to PostgreSQL, Redis and Kafka.

use secrecy::ExposeSecret;

use super::ranges::{HOUR, MS, SECONDS};
use crate::{Problems, SourceName, SuiteSettings, ranges};

/// Reports every wrong URL, limit and broker.
pub(super) fn check(suite: &SuiteSettings, problems: &mut Problems) {
    redis(suite, problems);
    databases(suite, problems);
    kafka(suite, problems);
}

fn redis(suite: &SuiteSettings, problems: &mut Problems) {
    let redis = &suite.redis;
    let url = redis.url.expose_secret();
    if !(url.starts_with("redis://") || url.starts_with("rediss://")) {
        problems.add(
            "redis.url",
            "is not a Redis URL",
            "write redis://host:port/database or rediss://…",
        );
    }
    problems.not_blank("redis.lock_prefix", &redis.lock_prefix);
    ranges!(problems, "redis", redis;
        duration lock_ttl: SECONDS(3)..=SECONDS(24 * HOUR);
        duration connect_timeout: MS(10)..=SECONDS(60);
        duration response_timeout: MS(10)..=SECONDS(60);
    );
}

fn databases(suite: &SuiteSettings, problems: &mut Problems) {
    if !suite.databases.contains_key(&SourceName::Jobs) {
        problems.add(
            "databases.jobs.url",
            "is not set: every service keeps its history there",
            "set it (EIDOS__DATABASES__JOBS__URL)",
        );
    }
    for (source, database) in &suite.databases {
        let key = |rest: &str| format!("databases.{source}.{rest}");
        let urls = [
            ("url", Some(&database.url)),
            ("replica_url", database.replica_url.as_ref()),
        ];
        for (name, url) in urls
            .into_iter()
            .filter_map(|(name, url)| Some((name, url?.expose_secret())))
        {
            if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
                problems.add(
                    key(name),
                    "is not a PostgreSQL URL",
                    "write postgres://user:password@host:port/database",
                );
            }
        }
        ranges!(problems, format!("databases.{source}"), database;
            number max_connections: 1..=1000;
            duration connect_timeout: MS(10)..=SECONDS(60);
            duration acquire_timeout: MS(10)..=SECONDS(300);
            duration statement_timeout: MS(10)..=SECONDS(24 * HOUR);
            duration lock_timeout: MS(10)..=SECONDS(HOUR);
            duration idle_in_transaction_timeout: MS(100)..=SECONDS(HOUR);
        );
    }
}

fn kafka(suite: &SuiteSettings, problems: &mut Problems) {
    for (index, broker) in suite.kafka.brokers.iter().enumerate() {
        let port = broker
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none_or(|port| port == 0) {
            problems.add_value(
                format!("kafka.brokers.{index}"),
                broker,
                "is not host:port",
                "write broker-1:9092",
            );
        }
    }
    ranges!(problems, "kafka", suite.kafka;
        duration delivery_timeout: MS(100)..=SECONDS(300);
        // The limits that brokers have for it.
        duration session_timeout: SECONDS(6)..=SECONDS(1_800);
        duration join_timeout: SECONDS(1)..=SECONDS(HOUR);
    );
    let template = &suite.kafka.dead_letter_topic;
    let rest = template.replacen("{topic}", "", 1);
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if rest.is_empty() || !rest.bytes().all(legal) {
        problems.add_value(
            "kafka.dead_letter_topic",
            template,
            "is not the name of another topic",
            "write {topic}-dlq, or one name of letters, digits, '.', '_' and '-' for all topics",
        );
    }
}
