"""Replicas, disruption budgets and scalers agree."""

from helm import CASES, render
from pods import selects


def check(expect):
    for case in CASES:
        rendered = render(case)
        for deployment in rendered.of("Deployment"):
            check_deployment(expect, case, rendered, deployment)
        for budget in rendered.of("PodDisruptionBudget"):
            name = budget["metadata"]["name"]
            deployment = rendered.one("Deployment", name)
            expect(deployment and selects(budget["spec"]["selector"], deployment["spec"]["template"]["metadata"]["labels"]),
                   f"{case}: the budget {name} is about no pod")
            expect("minAvailable" not in budget["spec"], f"{case}: {name}: minAvailable stops drains when replicas are few")
    scalers = {o["kind"] for case in CASES for o in render(case).of("HorizontalPodAutoscaler", "ScaledObject")}
    expect(len(scalers) == 2, f"the value files show {scalers} only")


def check_deployment(expect, case, rendered, deployment):
    name = deployment["metadata"]["name"]
    place = f"{case}: {name}"
    scalers = [o for o in rendered.of("HorizontalPodAutoscaler", "ScaledObject") if o["spec"]["scaleTargetRef"]["name"] == name]
    expect(len(scalers) <= 1, f"{place}: {len(scalers)} scalers")
    replicas = deployment["spec"].get("replicas")
    expect((replicas is None) == bool(scalers), f"{place}: replicas is {replicas} with {len(scalers)} scalers: each upgrade undoes the scaler")
    several = bool(scalers) or replicas > 1
    budget = rendered.one("PodDisruptionBudget", name)
    expect(bool(budget) == several, f"{place}: {'no' if several else 'a'} disruption budget with replicas {replicas}")
