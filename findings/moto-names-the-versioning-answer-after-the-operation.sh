#!/usr/bin/env bash
# Expected: GET ?versioning is answered with the root element VersioningConfiguration, as S3's reference has it and as the same
# element is sent with PUT.
# Seen: moto's root element is GetBucketVersioningResponse. boto3 does not look at the name, so tests with it say nothing; a
# client that goes by the root element finds no answer.
#
# Installs moto's server from PyPI in a temporary folder; 2 minutes. Exits 1 when that is no longer so.
set -euo pipefail
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check 'moto[server]==5.2.5' boto3==1.44.5
port=$((20000 + RANDOM % 20000))
"$work/venv/bin/moto_server" -H 127.0.0.1 -p "$port" >"$work/log" 2>&1 &
pid=$!
curl -s -o /dev/null --retry 60 --retry-delay 1 --retry-connrefused "http://127.0.0.1:$port/moto-api/data.json"

cat >"$work/versioning.py" <<'PY'
import sys
import urllib.request
import xml.etree.ElementTree as ElementTree
from importlib.metadata import version

import boto3

server = sys.argv[1]
client = boto3.client("s3", endpoint_url=server, region_name="us-east-1", aws_access_key_id="local", aws_secret_access_key="local")
client.create_bucket(Bucket="archive")
client.put_bucket_versioning(Bucket="archive", VersioningConfiguration={"Status": "Enabled"})
with urllib.request.urlopen(f"{server}/archive?versioning", timeout=10) as reply:
    root = ElementTree.fromstring(reply.read())
name = root.tag.split("}")[-1]
status = client.get_bucket_versioning(Bucket="archive")["Status"]
print(f"moto {version('moto')}, boto3 {version('boto3')}")
print(f"  root element: {name}; boto3 reads: {status}")
if (name, status) != ("GetBucketVersioningResponse", "Enabled"):
    sys.exit("  the behaviour changed: it was GetBucketVersioningResponse, Enabled")
PY
"$work/venv/bin/python" "$work/versioning.py" "http://127.0.0.1:$port"
