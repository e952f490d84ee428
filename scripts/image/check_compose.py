"""Checks docker-compose.yml: python check_compose.py <the loader of Docker Compose>.

The loader checks the schema and resolves anchors and variables, as `docker compose config` does. The rest is what would fail only
when it is started: a dependency that a profile leaves out, a file that is not there, a port that is taken twice.
"""

import json
import pathlib
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILE = "docker-compose.yml"


def load(loader):
    loaded = subprocess.run([loader, "-format", "json", FILE], cwd=ROOT, capture_output=True, text=True)
    if loaded.returncode != 0:
        sys.exit(f"test-image: {FILE}: {loaded.stderr.strip()}")
    return json.loads(loaded.stdout)


def active(services, profile):
    """The services that `--profile` starts; None: without it."""
    return {name for name, service in services.items() if not service.get("profiles") or profile in service["profiles"]}


def check_profiles(services, findings):
    profiles = {profile for service in services.values() for profile in service.get("profiles", [])}
    for profile in [None, *sorted(profiles)]:
        started = active(services, profile)
        for name in sorted(started):
            for other, how in services[name].get("depends_on", {}).items():
                if other not in started:
                    findings.append(f"profile {profile}: {name} depends on {other}, which is not started")
                elif how["condition"] == "service_healthy" and "healthcheck" not in services[other]:
                    findings.append(f"{name} waits for the health of {other}, which has no healthcheck")
        taken = {}
        for name in sorted(started):
            for port in services[name].get("ports", []):
                where = (port.get("host_ip"), port["published"])
                if where[0] != "127.0.0.1":
                    findings.append(f"{name}: port {where[1]} is not bound to 127.0.0.1")
                if where in taken:
                    findings.append(f"profile {profile}: {name} and {taken[where]} both take port {where[1]}")
                taken[where] = name
    if "everything" in profiles:
        left_out = set(services) - active(services, "everything")
        findings += [f"the profile everything leaves out {name}" for name in sorted(left_out)]
    return len(profiles)


def check_service(name, service, model, programs, findings):
    if "build" in service:
        program = service["build"].get("args", {}).get("SERVICE")
        if program not in programs:
            findings.append(f"{name}: SERVICE={program} is not a program that the Dockerfile lists")
    elif ":" not in service.get("image", "") or service["image"].endswith(":latest"):
        findings.append(f"{name}: its image {service.get('image')} has no version")
    for volume in service.get("volumes", []):
        if volume["type"] == "bind" and not pathlib.Path(volume["source"]).exists():
            findings.append(f"{name}: {volume['source']} does not exist")
        if volume["type"] == "volume" and volume["source"] not in model["volumes"]:
            findings.append(f"{name}: the volume {volume['source']} is not declared")
    for config in service.get("configs", []):
        if config["source"] not in model["configs"]:
            findings.append(f"{name}: the config {config['source']} is not declared")


def check_prometheus(configs, findings):
    """Rules of every service are loaded: Prometheus takes no pattern for folders beside their tests."""
    loaded = {pathlib.PurePath(path).parent.name for path in configs["prometheus"]["rule_files"]}
    folders = {path.name for path in (ROOT / "helm/eidos-backoffice/rules").iterdir() if path.is_dir()} - {"tests"}
    findings += [f"Prometheus does not load the rules of {name}" for name in sorted(folders - loaded)]
    findings += [f"Prometheus loads rules of {name}, which has none" for name in sorted(loaded - folders - {"rules"})]


def main():
    model = load(sys.argv[1])
    services, findings = model["services"], []
    header = next(line for line in (ROOT / "Dockerfile").read_text().splitlines() if "binary of the workspace:" in line)
    programs = {word.strip(" .") for word in header.split("workspace:")[1].split(",")}
    profiles = check_profiles(services, findings)
    for name, service in services.items():
        check_service(name, service, model, programs, findings)
    configs = {}
    for name, config in model["configs"].items():
        try:
            configs[name] = yaml.safe_load(config["content"])
        except yaml.YAMLError as error:
            findings.append(f"the config {name} is not YAML: {error}")
    if "prometheus" in configs:
        check_prometheus(configs, findings)
    for finding in findings:
        print(f"test-image: {FILE}: {finding}", file=sys.stderr)
    if findings:
        sys.exit(1)
    print(f"test-image: {FILE} is sound: {len(services)} services, {profiles} profiles")


main()
