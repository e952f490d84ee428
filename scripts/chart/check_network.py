"""A NetworkPolicy for every pod, and nothing open that no value opens."""

from helm import CASES, render
from pods import pods, selects


def ports(policy, to=None):
    """The ports of egress, of rules to the destination `to` only where it is given."""
    rules = [r for r in policy["spec"]["egress"] if to is None or r.get("to") == to]
    return {port["port"] for rule in rules for port in rule["ports"]}


def check(expect):
    for case in CASES:
        rendered = render(case, {"networkPolicy.enabled": True})
        policies = rendered.of("NetworkPolicy")
        for pod in pods(rendered):
            found = [p for p in policies if selects(p["spec"]["podSelector"], pod.labels)]
            expect(len(found) == 1, f"{case}: {pod.place} has {len(found)} network policies")
        for policy in policies:
            check_policy(expect, f"{case}: {policy['metadata']['name']}", policy)
    expect(not render("dev").of("NetworkPolicy"), "networkPolicy.enabled: false leaves policies")
    check_settings(expect)


def check_policy(expect, place, policy):
    spec = policy["spec"]
    expect(spec["policyTypes"] == ["Ingress", "Egress"], f"{place}: it is about {spec['policyTypes']}")
    for rule in spec["ingress"]:
        expect(rule.get("from") and rule.get("ports"), f"{place}: everybody, or every port, may come in: {rule}")
    for rule in spec["egress"]:
        expect(rule.get("ports"), f"{place}: every port may go out: {rule}")
    expect({"port": 53, "protocol": "UDP"} in spec["egress"][0]["ports"], f"{place}: no DNS")
    expect("release" in str(spec["podSelector"]), f"{place}: it is about pods of other releases")


def check_settings(expect):
    plain = render("dev", {"networkPolicy.enabled": True})
    probe = plain.need("NetworkPolicy", "health-probe")
    expect(ports(probe) >= {443, 8080, 50056, 5432, 6379, 9092}, f"health-probe reaches {ports(probe)} only")
    alone = {"networkPolicy.enabled": True, "networkPolicy.egress": {"postgresql": None, "redis": None, "kafka": None}}
    own = ports(render("dev", alone).need("NetworkPolicy", "health-probe"))
    expect(own >= {5432, 6379, 6380, 9092, 9093}, f"health-probe reaches {own} only where other services reach no server")
    expect("169.254." not in str(plain.of("NetworkPolicy")), "metadata endpoints are open by default")
    wanted = {"networkPolicy.enabled": True, "services.health-probe.egress": {"smtp": {"ports": [2525]}, "grpc": None}}
    expect(ports(render("dev", wanted).need("NetworkPolicy", "health-probe")) >= {2525}, "a port of health-probe is not opened")
    expect(50056 not in ports(render("dev", wanted).need("NetworkPolicy", "health-probe")), "a null destination stays open")

    production = render("production")
    archive = production.need("NetworkPolicy", "retention-manager")
    blocks = {peer["ipBlock"]["cidr"] for rule in archive["spec"]["egress"] for peer in rule.get("to", []) if "ipBlock" in peer}
    expect(blocks >= {"169.254.169.254/32", "169.254.170.23/32", "10.10.0.0/24"}, f"pod identity: {blocks}")
    others = [p for p in production.of("NetworkPolicy") if not p["metadata"]["name"].endswith(("retention-manager", "archiver-run"))]
    expect("169.254." not in str(others), "metadata endpoints are open to a service without podIdentity")
    narrowed = ports(production.need("NetworkPolicy", "aggregator"), to=[{"ipBlock": {"cidr": "10.10.0.0/24"}}])
    expect(narrowed == {6432}, f"networkPolicy.egress.postgresql is not narrowed: {narrowed}")
    hook = production.need("NetworkPolicy", "migrate")["metadata"]["annotations"]
    job = production.need("Job", "migrate")["metadata"]["annotations"]
    expect(int(hook["helm.sh/hook-weight"]) < int(job["helm.sh/hook-weight"]), "the migration runs before its network policy")
    test = production.need("Pod", "test")
    for service in production.of("Deployment"):
        policy = production.need("NetworkPolicy", service["metadata"]["name"])
        rules = [r for r in policy["spec"]["ingress"] if any(selects(p.get("podSelector", {"matchLabels": {}}), test["metadata"]["labels"]) for p in r["from"])]
        expect(rules, f"{service['metadata']['name']}: helm test cannot ask it")
