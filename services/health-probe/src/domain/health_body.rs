//! [`judge`]: what the body of a health answer says, beyond its status.
//!
//! Two shapes are understood:
//!
//! * that of this suite: `{"live": true, "ready": false, "checks": [{"name": …, "severity": "hard", "healthy": false}]}`;
//! * that of the exchange's services: `{"status": "healthy", "checks": {"redis": {"status": "unhealthy"}}}`, where `checks`
//!   may be a list of objects with a `name`, a value may be the word itself, and keys may begin with a capital.

use serde_json::{Map, Value};

use super::observation::Seen;

/// Names of failing parts that a sentence lists.
const LISTED: usize = 10;

/// What a health answer says: a verdict, and why. `None`: nothing, and the status alone decides.
#[must_use]
pub fn judge(body: &Value) -> Option<(Seen, String)> {
    let body = body.as_object()?;
    let verdict = of_suite(body).or_else(|| of_exchange(body))?;
    let failing = failing_parts(body);
    let parts = match failing.len() {
        0 => String::new(),
        1..=LISTED => format!(" ({})", failing.join(", ")),
        more => format!(" ({} and {} more)", failing[..LISTED].join(", "), more - LISTED),
    };
    Some((verdict.0, format!("{}{parts}", verdict.1)))
}

fn of_suite(body: &Map<String, Value>) -> Option<(Seen, String)> {
    let live = body.get("live").and_then(Value::as_bool);
    let ready = body.get("ready").and_then(Value::as_bool);
    match (live, ready) {
        (None, None) => None,
        (Some(false), _) => Some((Seen::Failed, "says that it is not live".to_owned())),
        (_, Some(false)) => Some((Seen::Failed, "says that it is not ready".to_owned())),
        _ => Some((Seen::Good, String::new())),
    }
}

fn of_exchange(body: &Map<String, Value>) -> Option<(Seen, String)> {
    let word = word(field(body, "status")?)?;
    match meaning(&word)? {
        Seen::Good => Some((Seen::Good, String::new())),
        seen => Some((seen, format!("says that it is {word}"))),
    }
}

/// The names of the parts that do not work.
fn failing_parts(body: &Map<String, Value>) -> Vec<String> {
    let Some(checks) = field(body, "checks") else {
        return Vec::new();
    };
    let named: Vec<(String, &Value)> = match checks {
        Value::Object(checks) => checks.iter().map(|(name, check)| (name.clone(), check)).collect(),
        Value::Array(checks) => checks
            .iter()
            .filter_map(|check| {
                let name = field(check.as_object()?, "name")?.as_str()?;
                Some((name.to_owned(), check))
            })
            .collect(),
        _ => Vec::new(),
    };
    let fails = |check: &Value| match check {
        Value::Object(check) => match check.get("healthy").and_then(Value::as_bool) {
            Some(healthy) => !healthy,
            None => field(check, "status")
                .and_then(word)
                .is_some_and(|word| is_bad(&word)),
        },
        other => word(other).is_some_and(|word| is_bad(&word)),
    };
    let failing = named.into_iter().filter(|(_, check)| fails(check));
    failing.map(|(name, _)| name.chars().take(64).collect()).collect()
}

/// A key, in whichever case it is written.
fn field<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let found = object.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
    found.map(|(_, value)| value)
}

fn word(value: &Value) -> Option<String> {
    value.as_str().map(|word| word.trim().to_ascii_lowercase())
}

fn is_bad(word: &str) -> bool {
    meaning(word).is_some_and(|seen| seen != Seen::Good)
}

/// `None`: the word is not known, so it says nothing.
fn meaning(word: &str) -> Option<Seen> {
    match word {
        "ok" | "healthy" | "up" | "pass" | "passing" | "serving" | "ready" | "green" => Some(Seen::Good),
        "degraded" | "warn" | "warning" | "yellow" | "orange" => Some(Seen::Degraded),
        "unhealthy" | "down" | "fail" | "failed" | "failing" | "error" | "critical" | "not_serving"
        | "red" => Some(Seen::Failed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_shapes_are_understood_and_everything_else_says_nothing() {
        let failed = |why: &str| Some((Seen::Failed, why.to_owned()));
        let good = Some((Seen::Good, String::new()));
        for (body, expected) in [
            (json!({"live": true, "ready": true}), good.clone()),
            (
                json!({"live": true, "ready": false, "checks": [{"name": "redis", "healthy": false},
                    {"name": "database.jobs", "healthy": true}]}),
                failed("says that it is not ready (redis)"),
            ),
            (json!({"live": false}), failed("says that it is not live")),
            (json!({"Status": "OK", "Checks": {}}), good.clone()),
            (json!({"status": "UP"}), good),
            (
                json!({"status": "unhealthy", "checks": {"redis": {"status": "down"}, "db": "ok", "kafka": "fail"}}),
                failed("says that it is unhealthy (kafka, redis)"),
            ),
            (
                json!({"status": "degraded", "checks": [{"Name": "mq", "Status": "warn"}]}),
                Some((Seen::Degraded, "says that it is degraded (mq)".to_owned())),
            ),
            (json!({"status": "dreaming"}), None),
            (json!({"status": 7}), None),
            (json!({}), None),
            (json!([1, 2]), None),
            (json!("ok"), None),
        ] {
            assert_eq!(judge(&body), expected, "{body}");
        }
        let many: Map<String, Value> = (0..30).map(|n| (format!("part{n:02}"), json!("down"))).collect();
        let (_, why) = judge(&json!({"status": "down", "checks": many})).unwrap();
        assert!(why.ends_with("part09 and 20 more)"), "{why}");
    }
}
