#!/usr/bin/env bash
# Expected: an S3 server refuses what it does not support, such as a PUT with `If-None-Match: *` or a question about
# versioning, with 501 NotImplemented.
# Seen: s3rver answers 200 to the conditional PUT and overwrites the object. It answers GET ?versioning with 200 and a listing
# of the bucket's objects; a reader that does not check the name of the root element takes that for a bucket without versions.
# So a test of "create only once" that has a single writer is green on it.
#
# Installs s3rver from npm in a temporary folder; curl (7.75 or newer) signs. Exits 1 when that is no longer so.
set -euo pipefail
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT

npm install --prefix "$work" --silent --no-audit --no-fund --ignore-scripts s3rver@3.7.1
mkdir "$work/store"
port=$((20000 + RANDOM % 20000))
node "$work/node_modules/s3rver/bin/s3rver.js" --address 127.0.0.1 --port "$port" --directory "$work/store" >"$work/log" 2>&1 &
pid=$!
ask() { # path, arguments of curl: prints status and body
  local path=$1
  shift
  curl -s --retry 30 --retry-delay 1 --retry-connrefused --aws-sigv4 aws:amz:us-east-1:s3 --user S3RVER:S3RVER \
    -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' -w '%{stderr}%{http_code}' "$@" "http://127.0.0.1:$port/$path" 2>&1
}
changed=0
check() { # name, pattern of what was seen, what is seen
  echo "  $1: $(tr -d '\n' <<<"$3" | cut -c 1-120)"
  # shellcheck disable=SC2053 # The right side is a pattern.
  [[ $3 = $2 ]] || { echo "    the behaviour changed: it was $2"; changed=1; }
}
echo "s3rver 3.7.1, Node.js $(node --version)"
check "PUT of a bucket" 200 "$(ask archive -X PUT)"
check "PUT of an object" 200 "$(ask archive/part-00000 -X PUT --data-binary first)"
check "PUT of the same with If-None-Match: *" 200 "$(ask archive/part-00000 -X PUT --data-binary second -H 'If-None-Match: *')"
check "GET" '*second*' "$(ask archive/part-00000)"
check "GET ?versioning" '*<ListBucketResult*<Key>part-00000</Key>*' "$(ask 'archive?versioning')"
exit "$changed"
