"""Rules, dashboards and absent-alerts are those of the installed services, and single alerts can be changed."""

import json

import yaml

from helm import CHART, LOADER, render, values

ALL = {"alertRules.enabled": True, "dashboards.enabled": True, "serviceMonitor.enabled": True}
# What belongs to services beside the folders rules/<service>, by the names of objects.
SHARED = {
    "disposal": {"retention-manager", "archiver"},
    "dashboard-disposal": {"retention-manager", "archiver"},
    "dashboard-expiry": {"order-expirer"},
    "dashboard-health": {"health-probe"},
    "dashboard-market": {"aggregator"},
    "dashboard-reconciliation": {"recon-svc"},
}
# What a service needs before it may be enabled.
NEEDS = {
    "settings.archive_store.url": "s3://bucket/",
    "services.recon-svc.settings.chain": {"chain_id": 1, "vault": "0x" + "1" * 40},
    "services.order-expirer.settings.matching.url": "http://engine:50052",
    "services.health-probe.settings.probes.targets": {"a": {"url": "tcp://a:1"}},
}


def only(service, **more):
    return render(None, {"serviceDefaults.enabled": False, f"services.{service}.enabled": True, **NEEDS, **ALL, **more})


def alerts(rendered):
    found = [rule for o in rendered.of("PrometheusRule") for group in o["spec"]["groups"] for rule in group["rules"]]
    return {rule["alert"]: rule for rule in found}


def files():
    return [path for path in sorted((CHART / "rules").glob("**/*.yaml")) if path.parent.name != "tests"]


def check(expect):
    services = set(values()["services"])
    for service in services:
        check_one(expect, service, services)
    none = render(None, {"serviceDefaults.enabled": False, **ALL})
    expect(none.ok and not none.of("PrometheusRule", "ServiceMonitor", "ConfigMap"), "without a service there are rules or dashboards")
    for monitor in render("production").of("ServiceMonitor"):
        service = render("production").one("Service", monitor["metadata"]["name"])
        expect(service and service["metadata"]["labels"].items() >= monitor["spec"]["selector"]["matchLabels"].items(),
               f"{monitor['metadata']['name']}: its ServiceMonitor finds no Service")
        ports = {port["name"] for port in service["spec"]["ports"]}
        expect(all(e["port"] in ports and e["honorLabels"] for e in monitor["spec"]["endpoints"]), "a ServiceMonitor asks no port")
    cron = only("archiver", **{"services.archiver.serve": False, "services.archiver.cronJobs": {"archive-data": {"schedule": "0 3 * * *", "deadlineSeconds": 60}}})
    expect(not alerts(cron), f"absent-alerts of a service that serves no metrics: {sorted(alerts(cron))}")
    check_unchanged(expect)
    check_changes(expect)


def check_one(expect, service, services):
    rendered = only(service)
    names = {name.removeprefix("release-") for name in rendered.names("PrometheusRule") | rendered.names("ConfigMap")}
    wanted = {"jobs", "dashboard-jobs", "dashboard-overview", service, "test"}
    wanted |= {f"{service}-{path.stem}" for path in files() if path.parent.name == service}
    wanted |= {name for name, users in SHARED.items() if service in users}
    expect(names == wanted, f"with {service} alone: {sorted(names ^ wanted)} are too much or missing")
    expect(f"{service}-presence" in names, f"{service}: no rules/{service}/presence.yaml")
    text = json.dumps([rule for rule in alerts(rendered).values() if rule["alert"] in ("ServiceGone", "JobSeriesAbsent")])
    others = [other for other in services if other != service and f'"{other}' in text.replace('\\"', '"')]
    expect(not others, f"with {service} alone, there are absent-alerts of {others}")


def check_unchanged(expect):
    """What an operator does not change arrives as it is in the files."""
    plain = alerts(render(None, {**NEEDS, **ALL}))
    base = values()["alertRules"]["runbookBaseUrl"]
    count = 0
    for path in files():
        for group in yaml.load(path.read_text().replace("https://runbooks.example", base), LOADER)["groups"]:
            for rule in group["rules"]:
                count += 1
                if rule["alert"] not in ("ServiceGone", "JobSeriesAbsent"):
                    expect(plain.get(rule["alert"]) == rule, f"{path.name}: {rule['alert']} is rendered differently")
    expect(count > 30, f"only {count} rules were found")


def check_changes(expect):
    found = alerts(render("production"))
    expect("ReconciliationDust" not in found, "alertRules.disabled leaves ReconciliationDust")
    paused = found["JobPaused"]
    expect(paused["for"] == "48h" and paused["labels"] == {"severity": "critical", "team": "backoffice"}, f"overrides: {paused}")
    expect(paused["annotations"]["dashboard"] == "jobs" and paused["annotations"]["summary"], f"overrides of annotations: {paused}")
    expect(paused["annotations"]["runbook_url"] == "https://runbooks.internal/eidos/job-paused.md", f"runbook: {paused}")
    expect(found["JobNotExecuted"]["labels"] == {"severity": "critical"}, "an override reaches another alert")
    klines = yaml.safe_load((CHART / "rules/aggregator/klines.yaml").read_text())
    aggregator = [rule["alert"] for group in klines["groups"] for rule in group["rules"]]
    left = only("aggregator", **{"alertRules.disabled": aggregator})
    expect(not set(aggregator) & alerts(left).keys() and "release-aggregator-klines" not in left.names("PrometheusRule"),
           "a file whose alerts are all switched off leaves an empty PrometheusRule")
