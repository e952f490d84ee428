"""What every pod must have: limits, probes, no rights, a fixed image, and labels that agree."""

import re

from helm import CASES, render
from pods import pods, selects

COMMON = {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/part-of", "app.kubernetes.io/version",
          "app.kubernetes.io/managed-by", "helm.sh/chart"}


def check(expect):
    for case in CASES:
        rendered = render(case)
        found = pods(rendered)
        expect(found, f"{case}: no pod is rendered")
        for pod in found:
            place = f"{case}: {pod.place}"
            check_rights(expect, place, pod, chosen_user=case == "minimal")
            for container in pod.containers:
                check_container(expect, f"{place}, {container['name']}", container)
            expect(pod.own, f"{place}: none of its containers is of our images")
            expect(pod.labels.keys() >= COMMON, f"{place}: labels {COMMON - pod.labels.keys()} are missing")
        for deployment in rendered.of("Deployment"):
            check_deployment(expect, f"{case}: {deployment['metadata']['name']}", deployment, found, rendered)
        for job in rendered.of("Job") + [c["spec"]["jobTemplate"] for c in rendered.of("CronJob")]:
            expect(job["spec"].get("activeDeadlineSeconds"), f"{case}: a Job has no deadline: {job['metadata']}")
            expect("backoffLimit" in job["spec"], f"{case}: a Job has no backoffLimit: {job['metadata']}")
        for cron in rendered.of("CronJob"):
            check_cron(expect, f"{case}: {cron['metadata']['name']}", cron, rendered)


def check_rights(expect, place, pod, chosen_user):
    spec, context = pod.spec, pod.spec.get("securityContext", {})
    expect(spec.get("automountServiceAccountToken") is False, f"{place}: the account's token is mounted")
    expect(spec.get("enableServiceLinks") is False, f"{place}: variables of other services are injected")
    expect(context.get("runAsNonRoot") is True, f"{place}: it may run as root")
    expect(context.get("seccompProfile") == {"type": "RuntimeDefault"}, f"{place}: no seccomp profile")
    for key in ("runAsUser", "runAsGroup", "fsGroup"):
        if chosen_user:
            expect(key not in context, f"{place}: {key} is set, though the values make it null (OpenShift)")
        else:
            expect(context.get(key) == 65532, f"{place}: {key} is {context.get(key)}, not 65532")
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        expect(not spec.get(key), f"{place}: {key}")
    expect(not any("hostPath" in volume for volume in spec.get("volumes", [])), f"{place}: a hostPath is mounted")
    mounted = {mount["name"] for c in pod.containers for mount in c.get("volumeMounts", [])}
    volumes = [volume["name"] for volume in spec.get("volumes", [])]
    expect(mounted <= set(volumes), f"{place}: {mounted - set(volumes)} are mounted and are no volumes")
    expect(len(volumes) == len(set(volumes)), f"{place}: two volumes have one name: {volumes}")


def check_container(expect, place, container):
    context = container.get("securityContext", {})
    expect(context.get("readOnlyRootFilesystem") is True, f"{place}: its root file system is writable")
    expect(context.get("allowPrivilegeEscalation") is False, f"{place}: it may gain privileges")
    expect(context.get("capabilities") == {"drop": ["ALL"]}, f"{place}: it keeps capabilities")
    expect(not context.get("privileged"), f"{place}: it is privileged")
    resources = container.get("resources", {})
    requests, limits = resources.get("requests", {}), resources.get("limits", {})
    expect(requests.keys() >= {"cpu", "memory"}, f"{place}: requests are {requests}")
    expect("memory" in limits, f"{place}: no limit of memory")
    expect("cpu" not in limits, f"{place}: a limit of cpu throttles heartbeats")
    image = container["image"]
    expect(re.search(r"(:[^/]+|@sha256:[0-9a-f]{64})$", image) and not image.endswith(":latest"), f"{place}: the image is {image}")
    names = [variable["name"] for variable in container.get("env", [])]
    expect(len(names) == len(set(names)), f"{place}: a variable is given twice: {sorted(n for n in names if names.count(n) > 1)}")


def check_deployment(expect, place, deployment, found, rendered):
    spec = deployment["spec"]
    container = spec["template"]["spec"]["containers"][0]
    ports = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container.get(probe, {}).get("httpGet", {})
        expect(asked.get("port") in ports, f"{place}: {probe} asks {asked}")
    paths = [container.get(p, {}).get("httpGet", {}).get("path") for p in ("livenessProbe", "readinessProbe")]
    expect(paths == ["/live", "/ready"], f"{place}: liveness and readiness ask {paths}: a dependency must not restart it")
    taken = [pod.place for pod in found if selects(spec["selector"], pod.labels)]
    expect(taken == [f"Deployment/{deployment['metadata']['name']}"], f"{place}: its selector takes {taken}")
    # A selector cannot be changed: it must not hold what an upgrade changes.
    expect(set(spec["selector"]["matchLabels"]) == {"app.kubernetes.io/name", "app.kubernetes.io/instance"},
           f"{place}: the selector is {spec['selector']}")
    shutdown = spec["template"]["spec"]["terminationGracePeriodSeconds"]
    settings = rendered.one("ConfigMap", deployment["metadata"]["name"])["data"]["settings.yaml"]
    seconds = sum(int(n) for n in re.findall(r"shutdown_(?:soft|grace): (\d+)s", settings))
    expect(shutdown == seconds + 15, f"{place}: it is killed after {shutdown} s, and needs {seconds} and 15")
    service = rendered.one("Service", deployment["metadata"]["name"])
    expect(service and selects({"matchLabels": service["spec"]["selector"]}, spec["template"]["metadata"]["labels"]),
           f"{place}: no Service finds its pods")
    spread = spec["template"]["spec"].get("topologySpreadConstraints", [])
    for constraint in spread:
        expect(selects(constraint["labelSelector"], spec["template"]["metadata"]["labels"]), f"{place}: it spreads other pods")
    expect({c["topologyKey"] for c in spread} >= {"kubernetes.io/hostname"}, f"{place}: replicas are not spread")


def check_cron(expect, place, cron, rendered):
    expect(cron["spec"]["concurrencyPolicy"] == "Forbid", f"{place}: two runs at once")
    expect(cron["spec"].get("startingDeadlineSeconds"), f"{place}: a hundred missed starts stop it for good")
    expect(len(cron["metadata"]["name"]) <= 52, f"{place}: its name has no room for the Jobs'")
    pod = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    job = pod["containers"][0]["args"][1]
    expect(pod["restartPolicy"] == "Never" and pod["containers"][0]["args"][0] == "run", f"{place}: it does not run {job} once")
    name = next(v["configMap"]["name"] for v in pod["volumes"] if v["name"] == "settings")
    settings = rendered.one("ConfigMap", name)["data"]["settings.yaml"]
    expect(re.search(rf"^  {job}:\n    enabled: false$", settings, re.M), f"{place}: the service still schedules {job}")
