"""Every manifest fits the schemas of Kubernetes: the oldest that the chart allows, 1.34, and the newest known."""

import kubernetes_validate
import yaml

from helm import CASES, CHART, lint, render

# Kinds of other projects, whose schemas are not those of Kubernetes: what their controllers need at least.
OTHERS = {
    "ServiceMonitor": ("monitoring.coreos.com/v1", ("selector", "endpoints")),
    "PrometheusRule": ("monitoring.coreos.com/v1", ("groups",)),
    "ScaledObject": ("keda.sh/v1alpha1", ("scaleTargetRef", "triggers")),
}


def oldest():
    """1.27 of `>=1.27.0-0`."""
    wanted = yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"]
    return ".".join(wanted.removeprefix(">=").split(".")[:2])


def check(expect):
    versions = [oldest(), "1.34", kubernetes_validate.latest_version()]
    for case in CASES:
        ok, said = lint(case)
        expect(ok, f"helm lint refuses ci/{case}-values.yaml: {said}")
        for found in render(case).objects:
            place = f"{case}: {found['kind']}/{found['metadata']['name']}"
            if found["kind"] in OTHERS:
                version, needed = OTHERS[found["kind"]]
                expect(found["apiVersion"] == version, f"{place}: apiVersion is not {version}")
                missing = [key for key in needed if not found["spec"].get(key)]
                expect(not missing, f"{place}: spec has no {missing}")
                continue
            for version in versions:
                try:
                    kubernetes_validate.validate(found, version, strict=True)
                except kubernetes_validate.ValidationError as refusal:
                    at = "/".join(str(part) for part in refusal.path)
                    expect(False, f"{place}, Kubernetes {version}: {at}: {refusal.message}")
                except kubernetes_validate.SchemaNotFoundError as refusal:
                    expect(False, f"{place}: {refusal.message}")
    seen = {found["kind"] for case in CASES for found in render(case).objects}
    expect(seen >= set(OTHERS), f"no value file renders {set(OTHERS) - seen}")
    names = [(case, o["kind"], o["metadata"]["name"]) for case in CASES for o in render(case).objects]
    double = {name for name in names if names.count(name) > 1}
    expect(not double, f"two objects have one name: {double}")
