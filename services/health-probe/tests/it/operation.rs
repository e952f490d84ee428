//! Refusals at start, a person's look, and a state that cannot be read or written.

use serde_json::Value;

use crate::fixture::{Fixture, NOWHERE, WITHIN, becomes, rounds};
use crate::http::{Does, OK, Server};

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_at_start_all_at_once() {
    let fixture = Fixture::new("  targets: {}\n  controls: [nonsense]", "");
    let command = fixture
        .command(&["serve"])
        .env("EIDOS__NOTIFICATIONS__LOG", "false");
    let (status, child) = command.run(WITHIN).await;
    assert_eq!(status.code(), Some(78));
    for part in [
        "probes.targets: names nothing",
        "notifications: names no receiver of alerts",
        "probes.controls.0: is not a URL",
    ] {
        assert!(
            child.stderr().contains(part),
            "{part} is not in:\n{}",
            child.stderr()
        );
    }
    let fixture = Fixture::new(
        "  controls: [\"nonsense\"]\n  targets:\n    \"a b\": { url: \"tcp://x:1\" }\n    c: { url: \"tcp://user:hunter2@nowhere\" }",
        "  webhooks: { w: { url: \"tcp://x:1\", secret: short } }",
    );
    let command = fixture
        .command(&["check-config"])
        .env("EIDOS__PROBES__SLOW_AFTER", "9s");
    let (status, child) = command.env("EIDOS__PROBES__TIMEOUT", "10s").run(WITHIN).await;
    assert_eq!(status.code(), Some(78));
    let said = child.stderr();
    for part in [
        "probes.controls.0: is not a URL",
        "probes.targets.a b: is not a name",
        "probes.targets.c.url: has no port",
        "notifications.webhooks.w.url: is not the URL",
        "notifications.webhooks.w.secret: is shorter",
        "longer than jobs.health-monitor.timeout",
    ] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
    let fixture = Fixture::new(&format!("  targets: {{ a: {{ url: \"tcp://{NOWHERE}\" }} }}"), "");
    let command = fixture
        .command(&["serve"])
        .env("EIDOS__JOBS__HEALTH_MONITOR__LOCK__KIND", "basic");
    let (status, child) = command.run(WITHIN).await;
    assert!(!status.success());
    assert!(
        child
            .stderr()
            .contains("jobs.health-monitor.lock.kind must be none"),
        "{}",
        child.stderr()
    );
}

#[tokio::test]
async fn what_a_probe_or_receiver_cannot_use_is_refused_with_all_other_mistakes() {
    let fixture = Fixture::new(
        "  limits: { disk_warning_percent: 95, certificate_warning: 1d }\n  controls: [\"disk:///\"]\n  targets:\n    \
         a: { url: \"http://x\", role: primary, depends_on: [b, gone] }\n    b: { url: \"tcp://x:1\", depends_on: [a], \
         token: hunter2-token }\n    c: { url: \"jobs://executions\" }\n    d: { url: \"kafka://x:1\", groups: { g: [\"a b\"], h: [] } }",
        "  alertmanagers: { m: { url: \"http://x\", every: 2m } }\n  pager_duty: { p: { routing_key: hunter2 } }\n  \
         slack: { s: { url: nonsense } }",
    );
    let (status, child) = fixture.command(&["check-config"]).run(WITHIN).await;
    assert_eq!(status.code(), Some(78));
    let said = child.stderr();
    for part in [
        "probes.limits.disk_warning_percent: is not lower than probes.limits.disk_critical_percent",
        "probes.limits.certificate_warning: is not longer",
        "probes.controls.0: needs no network",
        "probes.targets.a.role: is not used",
        "probes.targets.a.depends_on.0: 'b' depends on 'a' itself",
        "probes.targets.a.depends_on.1: there is no target 'gone'",
        "probes.targets.b.token: is not used",
        "probes.targets.c.periods: names no job",
        "probes.targets.d.groups.g.0",
        "probes.targets.d.groups.h: names no topic",
        "notifications.alertmanagers.m.ends_after: is shorter than three times",
        "notifications.pager_duty.p.routing_key: has not 32 characters",
        "notifications.slack.s.url: is not the URL",
    ] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn a_persons_look_counts_as_nothing() {
    let (target, receiver) = (Server::start(Does::Close).await, Server::start(OK).await);
    let fixture = Fixture::new(
        &format!("  targets: {{ trading: {{ url: \"{}\" }} }}", target.url()),
        &format!("  webhooks: {{ pager: {{ url: \"{}\" }} }}", receiver.url()),
    );
    for _ in 0..4 {
        let (status, child) = fixture
            .command(&["run", "health-monitor", "--format", "json"])
            .run(WITHIN)
            .await;
        assert!(status.success(), "{}", child.stderr());
        let report: Value = serde_json::from_str(&child.stdout()).unwrap();
        assert_eq!(
            (&report["counts"], &report["failed"]),
            (&Value::Bool(false), &Value::from(1))
        );
        assert_eq!(report["not_good"][0]["target"], "trading");
    }
    assert!(!fixture.state_file().exists());
    assert!(receiver.notices().is_empty());
}

#[tokio::test]
async fn a_state_that_cannot_be_understood_is_put_aside_and_one_that_cannot_be_written_stops_nothing() {
    let (target, receiver) = (Server::start(Does::Close).await, Server::start(OK).await);
    let fixture = Fixture::new(
        &format!("  targets: {{ trading: {{ url: \"{}\" }} }}", target.url()),
        &format!("  webhooks: {{ pager: {{ url: \"{}\" }} }}", receiver.url()),
    );
    std::fs::write(fixture.state_file(), "{\"version\": 2, \"targ").unwrap();
    let child = fixture.serve();
    rounds(&child, 2).await;
    let aside = fixture.state_file().with_extension("json.unreadable");
    assert_eq!(std::fs::read_to_string(aside).unwrap(), "{\"version\": 2, \"targ");
    // Whole at every instant, also while it is replaced each second.
    let state: Value = serde_json::from_slice(&std::fs::read(fixture.state_file()).unwrap()).unwrap();
    assert_eq!(state["version"], 2);
    child.kill();

    // The directory is gone: probes and alerts go on.
    std::fs::remove_dir_all(fixture.dir.path().join("state")).unwrap();
    let child = fixture.serve();
    let told = vec!["open critical TargetUnhealthy trading".to_owned()];
    becomes("the receiver is told", &child, &told, || receiver.notices()).await;
    child.wait_for_line("the state is not saved", WITHIN).await;
    child.terminate();
    assert!(child.wait_exit(WITHIN).await.success());
}
