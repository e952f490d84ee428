"""Values that are refused, each with what its message must name; and values that only look like those."""

from helm import prefetch, render

ARCHIVER, RECON = "services.archiver.settings", "services.recon-svc.settings"
VAULT = "services.recon-svc.settings.chain"

# A credential never reaches a ConfigMap, wherever in the settings it is written.
CREDENTIALS = [
    ("EIDOS__ARCHIVE_STORE__SECRET_ACCESS_KEY", {f"{ARCHIVER}.archive_store.secret_access_key": "hunter2"}),
    ("EIDOS__ARCHIVE_STORE__SECRET_ACCESS_KEY", {"settings.archive_store.secret_access_key": "hunter2"}),
    ("EIDOS__ARCHIVE_STORE__OPTIONS", {f"{ARCHIVER}.archive_store.options.azure_tenant_id": "x"}),
    ("EIDOS__REDIS__PASSWORD", {"settings.redis.password": "hunter2"}),
    ("EIDOS__REDIS__URL", {"settings.redis.url": "rediss://redis:6380/0"}),
    ("EIDOS__AUTH__METRICS_TOKEN", {"settings.auth.metrics_token": "hunter2"}),
    ("EIDOS__AUTH__TOKENS", {"settings.auth.tokens": [{"name": "ops"}]}),
    ("EIDOS__DATABASES__JOBS__URL", {"settings.databases.jobs.url": "postgres://db/jobs"}),
    ("EIDOS__DATABASES__JOBS__REPLICA_URL", {"settings.databases.jobs.replica_url": "postgres://db/jobs"}),
    ("EIDOS__CHAIN__RPC_URL", {f"{RECON}.chain.rpc_url": "https://node/key"}),
    ("EIDOS__CHAIN__SECOND_RPC_URL", {f"{RECON}.chain.second_rpc_url": "https://node/key"}),
    ("EIDOS__RECONCILIATION__WEBHOOKS", {f"{RECON}.reconciliation.webhooks": ["https://chat/key"]}),
    ("EIDOS__TELEMETRY__OTLP_ENDPOINT", {"settings.telemetry.otlp_endpoint": "http://user:hunter2@host:4317"}),
    ("EIDOS__REDIS__PASSWORD", {"serviceDefaults.extraEnv": [{"name": "EIDOS__REDIS__PASSWORD", "value": "hunter2"}]}),
    ("EIDOS__DATABASES__JOBS__URL", {"services.aggregator.extraEnv": [{"name": "EIDOS__DATABASES__JOBS__URL", "value": "postgres://db"}]}),
    ("PROXY", {"migrate.extraEnv": [{"name": "PROXY", "value": "http://user:hunter2@proxy"}]}),
]

# What a service cannot do without is asked for, by its place.
REQUIRED = [
    ("services.recon-svc.settings.chain: vault is required", {"services.recon-svc.settings": {"chain": {"chain_id": 1}}}),
    ("services.recon-svc.settings.chain: chain_id is required", {"services.recon-svc.settings": {"chain": {"vault": "0x" + "1" * 40}}}),
    ("services.retention-manager.settings.archive_store: url is required", {}),
    ("services.archiver.settings.archive_store: url is required", {}),
    ("services.order-expirer.settings.matching: url is required", {}),
    ("services.health-probe.settings.probes: targets is required", {}),
]
EMPTY = [
    ("services.recon-svc.settings.chain.vault", {f"{VAULT}.vault": "0x12"}),
    ("services.recon-svc.settings.chain.vault", {f"{VAULT}.vault": None}),
    ("services.archiver.settings.archive_store: url is required", {"settings.archive_store": None}),
    ("services.order-expirer.settings.matching.url", {"services.order-expirer.settings.matching.url": ""}),
    ("services.health-probe.settings.probes.targets", {"services.health-probe.settings.probes.targets": None}),
]

CONTRADICTIONS = [
    ("alertRules.disabled: there is no alert JobPause; there are AlertsNotDelivered, ", {"alertRules.disabled": ["JobPause"]}),
    ("alertRules.overrides: there is no alert JobPause; there are ", {"alertRules.overrides.JobPause": {"for": "1h"}}),
    ("alertRules.overrides.JobPaused.severity", {"alertRules.overrides.JobPaused": {"severity": "page"}}),
    ("two scalers", {"services.aggregator": {"autoscaling": {"enabled": True}, "keda": {"enabled": True, "triggers": [{"type": "cpu"}]}}}),
    ("two scalers", {"serviceDefaults.autoscaling.enabled": True, "services.aggregator.keda": {"enabled": True, "triggers": [{"type": "cpu"}]}}),
    ("services.aggregator.keda has nothing to scale by", {"services.aggregator.keda.enabled": True}),
    ("keda.kafka.consumerGroup", {"services.aggregator.keda": {"enabled": True, "kafka": {"bootstrapServers": "k:9092"}}}),
    ("minReplicas is 9, above maxReplicas, 4", {"services.aggregator.autoscaling": {"enabled": True, "minReplicas": 9}}),
    ("no Deployment to scale", {"services.aggregator": {"serve": False, "autoscaling": {"enabled": True}}}),
    ("nothing would run", {"services.aggregator.serve": False}),
    ("schedule", {"services.aggregator.cronJobs": {"stats-agg": {"schedule": "hourly", "deadlineSeconds": 60}}}),
    ("deadlineSeconds", {"services.aggregator.cronJobs": {"stats-agg": {"schedule": "@hourly"}}}),
    ("caBundle names a configMap and a secret", {"caBundle": {"configMap": "a", "secret": "b"}}),
    ("image.tag", {"image.tag": "latest"}),
    ("replica", {"serviceDefaults.replica": 2}),
    ("services.aggregator.egress.x", {"services.aggregator.egress.x": {"to": []}}),
    ("services.aggregator.secretEnv", {"services.aggregator.secretEnv": {"PASSWORD": {"secret": "a", "key": "b"}}}),
]

# A setting that only sounds like a credential does.
ACCEPTED = {
    f"{RECON}.chain.tokens": [{"symbol": "USDC"}],
    f"{RECON}.reconciliation.webhook_timeout": "5s",
    f"{ARCHIVER}.archive_store.access_key_id": "name",
    "settings.redis.password": None,
    "settings.security.redis.ca_cert": "/etc/authority/ca.pem",
    "settings.databases.jobs.max_connections": 4,
    "serviceDefaults.extraEnv": [{"name": "EIDOS__CHAIN__RPC__REQUEST_TIMEOUT", "value": "5s"}],
}


def check(expect):
    refused = CREDENTIALS + EMPTY + CONTRADICTIONS
    prefetch([("dev", values) for _, values in refused])
    for says, values in refused:
        found = render("dev", values)
        expect(not found.ok, f"{found.name} is rendered and should be refused")
        expect(found.ok or says in found.text, f"{found.name} is refused without naming {says}: {found.text}")
        expect("hunter2" not in found.text, f"{found.name}: the refusal repeats the credential")
    accepted = render("dev", ACCEPTED)
    expect(accepted.ok, f"{accepted.name} should be rendered: {accepted.text}")
    for says, values in REQUIRED:
        found = render(None, values)
        expect(not found.ok and says in found.text, f"{found.name} is not refused, or without naming {says}: {found.text}")
    everywhere = render("minimal", {"services.recon-svc.enabled": True, "settings.chain": {"chain_id": 1, "vault": "0x" + "1" * 40}})
    expect(everywhere.ok, f"what a service needs may be in the settings of all services: {everywhere.text}")
