"""Secrets are named key by key, never made, never inline, and the notes list every key."""


from helm import CASES, notes, render
from pods import pods


def read_by(rendered):
    """Every Secret and key that the manifests read; key None: as a whole."""
    found = set()
    for pod in pods(rendered):
        for container in pod.containers:
            for variable in container.get("env", []):
                reference = variable.get("valueFrom", {}).get("secretKeyRef")
                if reference:
                    found.add((reference["name"], reference["key"]))
            for source in container.get("envFrom", []):
                if "secretRef" in source:
                    found.add((source["secretRef"]["name"], None))
        for volume in pod.spec.get("volumes", []):
            if "secret" in volume and volume["name"] == "ca-bundle":
                found.add((volume["secret"]["secretName"], None))
    for monitor in rendered.of("ServiceMonitor"):
        for endpoint in monitor["spec"]["endpoints"]:
            credentials = endpoint.get("authorization", {}).get("credentials")
            if credentials:
                found.add((credentials["name"], credentials["key"]))
    return found


def listed(text):
    """The Secrets of the notes: name to its keys."""
    found, secret = {}, None
    for line in text.split("that must exist, with these keys:")[1].splitlines():
        if line.startswith("    "):
            found[secret].add(line.strip().split(":")[0].removesuffix(" (optional)"))
        elif line.strip():
            secret = line.strip()
            found[secret] = set()
    return found


def check(expect):
    more = {
        "caBundle": {"configMap": "", "secret": "authorities", "key": "ca.pem"},
        "services.aggregator.extraEnvFrom": [{"secretRef": {"name": "whole"}}],
        "services.aggregator.extraEnv": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "single", "key": "x"}}}],
    }
    for case, values in [(case, {}) for case in CASES] + [("production", more)]:
        rendered = render(case, values)
        read = read_by(rendered)
        expect(read, f"{rendered.name}: no Secret is referenced by key")
        expect(not rendered.of("Secret"), f"{rendered.name}: the chart makes a Secret")
        shown = listed(notes(case, values))
        for secret, key in sorted(read, key=str):
            known = shown.get(secret, set())
            expect(key in known if key else known, f"{rendered.name}: the notes do not list {key or 'all keys'} of the Secret {secret}")
        for secret, keys in shown.items():
            for key in keys:
                unread = not {(secret, key), (secret, None)} & read
                expect(not unread, f"{rendered.name}: the notes list {key} of {secret}, which nothing reads")
        whole = [f"{p.place}" for p in pods(rendered) for c in p.containers if c.get("envFrom")]
        expect(not whole or values, f"{rendered.name}: a whole Secret or ConfigMap becomes the environment of {whole}")
    text = render("minimal", {"services.health-probe.enabled": True, "services.health-probe.settings.probes.targets": {"a": {"url": "tcp://a:1"}}}).text
    for scheme in ("s3://", "gs://", "az://"):
        expect(scheme not in text, f"a bucket is named by default: {scheme}")
