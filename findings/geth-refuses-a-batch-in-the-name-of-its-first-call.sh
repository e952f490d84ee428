#!/usr/bin/env bash
# Expected: a batch with more calls than go-ethereum's limit allows is refused as a whole: one error object without an id, as
# for an empty batch, or an HTTP status; or each call is answered with an error.
# Seen: the answer has status 200 and is an array of one element, an error that bears the id of the batch's first call. To a
# client that goes by ids, the first call has failed with "batch too large", and the others have no answer.
#
# Needs Go and curl; builds a server from go-ethereum's rpc package in a temporary folder: about 3 minutes. Exits 1 when that
# is no longer so.
set -euo pipefail
readonly VERSION=v1.17.10
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; wait 2>/dev/null || true; chmod -R u+w "$work"; rm -rf "$work"' EXIT
export GOMODCACHE="$work/mod" GOCACHE="$work/cache" GOFLAGS=-mod=mod

cat >"$work/main.go" <<'GO'
package main

import (
	"net/http"
	"os"

	"github.com/ethereum/go-ethereum/rpc"
)

type chain struct{}

func (chain) BlockNumber() string { return "0x10" }

func main() {
	server := rpc.NewServer()
	if err := server.RegisterName("eth", chain{}); err != nil {
		panic(err)
	}
	server.SetBatchLimits(3, 1<<20) // Calls, bytes.
	panic(http.ListenAndServe(os.Args[1], server))
}
GO
(cd "$work" && go mod init finding && go get "github.com/ethereum/go-ethereum@$VERSION" && go build -o server main.go) >/dev/null 2>&1
address=127.0.0.1:$((20000 + RANDOM % 20000))
"$work/server" "$address" &
pid=$!

post() { # body
  curl -s --retry 30 --retry-delay 1 --retry-connrefused -w ' status %{http_code}' -H 'content-type: application/json' \
    -d "$1" "http://$address"
}
batch() { # ids
  local calls
  calls=$(printf ',{"jsonrpc":"2.0","id":%s,"method":"eth_blockNumber"}' "$@")
  post "[${calls:1}]"
}
call='{"jsonrpc":"2.0","id":%s,"result":"0x10"}'
changed=0
check() { # name, expected, seen
  echo "  $1: $3"
  [ "$3" = "$2" ] || { echo "    the behaviour changed: it was $2"; changed=1; }
}
echo "go-ethereum $VERSION, at most 3 calls in a batch"
# shellcheck disable=SC2059 # The format is ours.
check "3 calls" "$(printf "[$call,$call,$call] status 200" 101 102 103)" "$(batch 101 102 103)"
check "4 calls" '[{"jsonrpc":"2.0","id":101,"error":{"code":-32600,"message":"batch too large"}}] status 200' "$(batch 101 102 103 104)"
check "no call" '{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"empty batch"}} status 200' "$(post '[]')"
exit "$changed"
