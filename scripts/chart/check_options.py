"""Every option of an operator reaches what it is about: each is set once for all services and once for one."""

import yaml

from helm import render, values
from pods import pods

CONTAINER = {"name": "side", "image": "tools/side:1"}
# Option, its value, and where in a pod's specification it must be.
OPTIONS = {
    "priorityClassName": ("high", lambda spec: spec.get("priorityClassName")),
    "nodeSelector": ({"pool": "a"}, lambda spec: spec.get("nodeSelector")),
    "tolerations": ([{"key": "k", "operator": "Exists"}], lambda spec: spec.get("tolerations")),
    "affinity": ({"podAffinity": {}}, lambda spec: spec.get("affinity")),
    "imagePullSecrets": ([{"name": "registry"}], lambda spec: spec.get("imagePullSecrets")),
    "extraEnv": ([{"name": "TZ", "value": "UTC"}], lambda spec: [e for e in spec["containers"][0].get("env", []) if e["name"] == "TZ"]),
    "extraEnvFrom": ([{"configMapRef": {"name": "proxy"}}], lambda spec: spec["containers"][0].get("envFrom")),
    "extraVolumes": ([{"name": "more", "emptyDir": {}}], lambda spec: [v for v in spec["volumes"] if v["name"] == "more"]),
    "extraVolumeMounts": ([{"name": "more", "mountPath": "/more"}],
                          lambda spec: [m for m in spec["containers"][0]["volumeMounts"] if m["name"] == "more"]),
}
# Of services only: a migration with a container beside it would never end.
SERVICE_OPTIONS = {
    "initContainers": ([CONTAINER], lambda spec: spec.get("initContainers")),
    "extraContainers": ([CONTAINER], lambda spec: spec["containers"][1:]),
}
MORE_VOLUMES = {"extraVolumes": OPTIONS["extraVolumes"][0]}


def check(expect):
    check_pod_options(expect)
    check_pod_labels(expect)
    check_names(expect)
    check_accounts(expect)
    check_bundle(expect)
    check_migration(expect)
    check_service(expect)
    check_test(expect)


def check_pod_options(expect):
    for option, (value, seen) in {**OPTIONS, **SERVICE_OPTIONS}.items():
        also = {"serviceDefaults.extraVolumes": OPTIONS["extraVolumes"][0]} if option == "extraVolumeMounts" else {}
        for pod in pods(render("dev", {f"serviceDefaults.{option}": value, **also})):
            if pod.kind == "Deployment" or option in OPTIONS:
                expect(seen(pod.spec) == value, f"serviceDefaults.{option} does not reach {pod.place}")
            else:
                expect(seen(pod.spec) in (None, []), f"serviceDefaults.{option} reaches {pod.place}")
        for block, name in (("services.aggregator", "aggregator"), ("migrate", "migrate"), ("tests", "test")):
            if block != "services.aggregator" and option in SERVICE_OPTIONS:
                continue
            also = {f"{block}.extraVolumes": OPTIONS["extraVolumes"][0]} if option == "extraVolumeMounts" else {}
            for pod in pods(render("dev", {f"{block}.{option}": value, **also})):
                is_own = pod.owner["metadata"]["name"] == f"release-{name}"
                volumes = pod.spec.get("volumes", [])
                found = seen({**pod.spec, "volumes": volumes})
                expect((found == value) == is_own, f"{block}.{option} {'misses' if is_own else 'reaches'} {pod.place}")
    added = {"serviceDefaults.extraEnv": [{"name": "A", "value": "1"}], "services.aggregator.extraEnv": [{"name": "B", "value": "2"}]}
    env = {e["name"] for e in pod_of(render("dev", added), "aggregator").main["env"]}
    expect(env >= {"A", "B"}, f"a service's extraEnv replaces that of all services: {env}")


def check_pod_labels(expect):
    wanted = {"serviceDefaults.podLabels": {"team": "a", "app.kubernetes.io/name": "other"}, "serviceDefaults.podAnnotations": {"note": "b"}}
    plain = render("dev")
    for pod, before in zip(pods(render("dev", wanted)), pods(plain)):
        expect(pod.labels == {**before.labels, "team": "a"}, f"podLabels of {pod.place}: {pod.labels}")
        expect(pod.annotations.get("note") == "b", f"podAnnotations do not reach {pod.place}")
        # Else an upgrade that sets a label would be refused: selectors are immutable.
        expect(pod.owner["spec"].get("selector") == before.owner["spec"].get("selector"), f"podLabels change the selector of {pod.place}")


def check_names(expect):
    prefix = lambda rendered: {o["metadata"]["name"].split("-aggregator")[0] for o in rendered.of("Deployment") if "aggregator" in o["metadata"]["name"]}
    expect(prefix(render("dev", {"nameOverride": "bo"})) == {"release-bo"}, "nameOverride")
    expect(prefix(render("dev", {"fullnameOverride": "bo"})) == {"bo"}, "fullnameOverride")
    long = render("dev", {"services.archiver.cronJobs": {"archive-data": {"schedule": "0 3 * * *", "deadlineSeconds": 60}}}, "r" * 53)
    expect(long.ok, f"a long release name is refused: {long.text}")
    for name in long.names("Deployment") | long.names("CronJob"):
        expect(len(name) <= 63, f"{name} is too long")
        service = [s for s in values()["services"] if f"-{s}" in name]
        expect(service, f"{name}: the service's name is cut, and alerts know it by its name")


def check_accounts(expect):
    made = render("dev")
    expect(made.names("ServiceAccount") >= {"release-aggregator"}, "no account is made")
    expect(all(a["automountServiceAccountToken"] is False for a in made.of("ServiceAccount")), "an account mounts its token")
    taken = render("dev", {"services.aggregator.serviceAccount": {"create": False, "name": "mine"}})
    expect(not {"release-aggregator", "mine"} & taken.names("ServiceAccount"), "serviceAccount.create: false makes one")
    expect(pod_of(taken, "aggregator").spec["serviceAccountName"] == "mine", "serviceAccount.name is not used")
    named = render("dev", {"services.aggregator.serviceAccount": {"name": "n", "annotations": {"role": "r"}}}).one("ServiceAccount", "n")
    expect(named and named["metadata"]["annotations"] == {"role": "r"}, "serviceAccount.annotations")


def check_bundle(expect):
    for source, volume in (("configMap", {"configMap": {"name": "ca"}}), ("secret", {"secret": {"secretName": "ca"}})):
        rendered = render("dev", {f"caBundle.{source}": "ca"})
        for pod in pods(rendered):
            expect({"name": "ca-bundle", **volume} in pod.spec["volumes"], f"{pod.place} has no private authorities ({source})")
            for container in pod.own:
                env = {e["name"]: e.get("value") for e in container["env"]}
                mounts = [m["mountPath"] for m in container["volumeMounts"]]
                expect(env.get("PGSSLROOTCERT") == "/etc/eidos-ca/ca.pem" and "/etc/eidos-ca" in mounts, f"{pod.place}: PostgreSQL's authority")
                expect("SSL_CERT_FILE" not in env, f"{pod.place}: HTTPS trusts the bundle only, without https: true")
        settings = rendered.one("ConfigMap", "aggregator")["data"]["settings.yaml"]
        expect("ca_cert: /etc/eidos-ca/ca.pem" in settings, "Redis does not trust the private authorities")
    https = pods(render("dev", {"caBundle.configMap": "ca", "caBundle.https": True}))
    expect(all("SSL_CERT_FILE" in str(pod.main["env"]) for pod in https), "caBundle.https")


def check_migration(expect):
    job = render("production").one("Job", "migrate")
    spec = job["spec"]["template"]["spec"]
    expect(spec["containers"][0]["args"] == ["migrate", "--roles"], f"the migration runs {spec['containers'][0]['args']}")
    prepare = {container["name"]: container for container in spec["initContainers"]}
    expect(
        prepare["prepare-trade"]["args"]
        == ["prepare", "--disposal", "--writer", "retention_manager", "--writer", "archiver"],
        f"the trade database is prepared with {prepare['prepare-trade']['args']}",
    )
    expect(
        prepare["prepare-market"]["args"] == ["prepare", "--writer", "aggregator"],
        f"the market database is prepared with {prepare['prepare-market']['args']}",
    )
    url = next(variable for variable in prepare["prepare-market"]["env"] if variable["name"] == "EIDOS_DATABASE_URL")
    reference = url["valueFrom"]["secretKeyRef"]
    expect((reference["name"], reference["key"]) == ("eidos-backoffice-owners", "market-url"), f"it reads {reference}")
    without = render("dev").one("Job", "migrate")["spec"]["template"]["spec"]
    expect("initContainers" not in without, "the migration prepares databases that nobody named")
    plain = render("dev").one("Job", "migrate")["spec"]["template"]["spec"]["containers"][0]["args"]
    expect(plain == ["migrate"], f"without migrate.roles the migration runs {plain}")
    expect(job["metadata"]["annotations"].items() >= {"argocd.argoproj.io/hook": "PreSync", "helm.sh/hook": "pre-install,pre-upgrade"}.items(),
           f"annotations of the migration: {job['metadata']['annotations']}")
    expect(spec["serviceAccountName"] == "migrations", "migrate.serviceAccountName")
    expect(not render("dev", {"migrate.enabled": False}).of("Job"), "migrate.enabled: false leaves the Job")


def check_service(expect):
    probe = {"httpGet": {"path": "/live", "port": "http"}, "failureThreshold": 99}
    changed = pod_of(render("dev", {"services.aggregator.probes": {"startup": probe}}), "aggregator").main
    expect(changed["startupProbe"]["failureThreshold"] == 99 and "readinessProbe" in changed, f"probes: {changed}")
    off = pod_of(render("dev", {"serviceDefaults.probes.startup": None}), "aggregator").main
    expect("startupProbe" not in off and "livenessProbe" in off, "a probe that is null is left out")
    recreate = render("production").one("Deployment", "health-probe")["spec"]["strategy"]
    expect(recreate == {"type": "Recreate"}, f"strategy: {recreate}")
    spread = pod_of(render("dev", {"serviceDefaults.topologySpread": []}), "aggregator").spec
    expect("topologySpreadConstraints" not in spread, "topologySpread: []")
    limits = {"limits": {"memory": "1Gi"}}
    more = pod_of(render("dev", {"services.aggregator.resources": limits}), "aggregator").main["resources"]
    expect(more["limits"]["memory"] == "1Gi" and more["requests"], f"resources: {more}")
    budget = render("production").one("PodDisruptionBudget", "retention-manager")["spec"]["maxUnavailable"]
    expect(budget == "50%", f"podDisruptionBudget.maxUnavailable: {budget}")
    none = render("production", {"serviceDefaults.podDisruptionBudget.enabled": False})
    expect(not none.of("PodDisruptionBudget"), "podDisruptionBudget.enabled: false")
    pinned = pod_of(render("production"), "recon-svc").main["image"]
    expect("@sha256:0123" in pinned, f"digest: {pinned}")
    openshift = {"services.aggregator.podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}
    context = pod_of(render("dev", openshift), "aggregator").spec["securityContext"]
    expect("runAsUser" not in context and context["runAsNonRoot"] is True, f"runAsUser: null of one service: {context}")
    removed = render("dev", {"services.aggregator.secretEnv": {"EIDOS__REDIS__PASSWORD": None}})
    expect("EIDOS__REDIS__PASSWORD" not in str(pod_of(removed, "aggregator").main["env"]), "a null in secretEnv removes nothing")
    scaled = render("production").one("ScaledObject", "order-expirer")["spec"]
    expect(scaled["triggers"][0]["metadata"]["consumerGroup"] == "eidos-order-expirer" and scaled["triggers"][0]["authenticationRef"], f"keda: {scaled}")


def check_test(expect):
    rendered = render("production")
    container = rendered.one("Pod", "test")["spec"]["containers"][0]
    expect(container["args"] == ["status"], f"helm test runs {container['args']}")
    profiles = yaml.safe_load(rendered.one("ConfigMap", "-test")["data"]["profiles.yaml"])
    urls = {f"http://{s['metadata']['name']}:{s['spec']['ports'][0]['port']}" for s in rendered.of("Service")}
    expect(set(profiles["profiles"][profiles["default"]]["services"].values()) == urls, f"helm test asks {profiles}, the services are {urls}")
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    env = {e["name"]: e.get("value") for e in container["env"]}
    expect(env["EIDOS_PROFILES"] == f"{mounts['profiles']}/profiles.yaml" and "EIDOS_TOKEN" in env, f"helm test has {env} and {mounts}")
    expect(rendered.one("Pod", "test")["metadata"]["annotations"]["helm.sh/hook"] == "test", "the test pod is no test")
    expect(not render("dev", {"tests.enabled": False}).of("Pod"), "tests.enabled: false leaves the pod")


def pod_of(rendered, service):
    return next(pod for pod in pods(rendered) if pod.kind == "Deployment" and pod.owner["metadata"]["name"].endswith(f"-{service}"))
