#!/usr/bin/env bash
# Expected: of several PUT requests with If-None-Match: * for one key, one succeeds and the others get 412 (or 409), also when
# they come together, as S3 has it since 2024.
# Seen: moto's server looks for the object, does the rest of the request, and writes it; its threads do so at the same time, and
# two or more of eight creators get 200. A lock or a commit by conditional put that is tested with moto fails now and then for
# no fault of its own.
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

cat >"$work/creators.py" <<'PY'
import sys
import threading
from importlib.metadata import version

import boto3
from botocore.exceptions import ClientError

CREATORS, ROUNDS = 8, 500
clients = [
    boto3.client("s3", endpoint_url=sys.argv[1], region_name="us-east-1", aws_access_key_id="local", aws_secret_access_key="local")
    for _ in range(CREATORS)
]
clients[0].create_bucket(Bucket="archive")


def creators_that_succeeded(key):
    together, succeeded = threading.Barrier(CREATORS), []

    def create(number):
        together.wait()
        try:
            clients[number].put_object(Bucket="archive", Key=key, Body=b"%d" % number, IfNoneMatch="*")
            succeeded.append(number)
        except ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412), error

    threads = [threading.Thread(target=create, args=(number,)) for number in range(CREATORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(succeeded)


for number in range(ROUNDS):
    succeeded = creators_that_succeeded(f"object-{number}")
    if succeeded != 1:
        print(f"moto {version('moto')}: {succeeded} of {CREATORS} creators of one object succeeded, in round {number + 1}")
        sys.exit(0)
print(f"moto {version('moto')}: one creator of each object succeeded, {ROUNDS} times")
sys.exit(1)
PY
"$work/venv/bin/python" "$work/creators.py" "http://127.0.0.1:$port"
