#!/usr/bin/env bash
# Expected: eth_syncing of a node that has executed every block it knows is false; health checks and readers wait for that.
# Seen: go-ethereum answers with an object whose currentBlock equals highestBlock for as long as it indexes transactions
# (txIndexRemainingBlocks above 0), although every state is there. A fresh `geth --dev`, alone and at block 0, does so until its
# first block is indexed. So "is it false?" takes a healthy node for one that syncs, and "is current equal to highest?" takes
# a node that has headers only (other clients name their newest header as currentBlock) for a healthy one. What tells them apart
# are the index counters.
#
# Needs Go and curl; builds go-ethereum (some minutes) in a temporary folder. Exits non-zero if the behaviour changed.
set -euo pipefail
readonly VERSION=v1.17.10
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT

GOFLAGS=-mod=mod GOBIN="$work" go install "github.com/ethereum/go-ethereum/cmd/geth@$VERSION"
"$work/geth" version | sed -n '1,2p'
port=28545
"$work/geth" --dev --http --http.port "$port" --authrpc.port 28551 --port 0 --nodiscover --ipcdisable --verbosity 1 \
  >"$work/log" 2>&1 &
pid=$!
ask() {
  curl -s -m 5 -H 'content-type: application/json' -d "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"$1\",\"params\":$2}" \
    "http://127.0.0.1:$port"
}
for _ in $(seq 100); do
  if ask eth_chainId '[]' >/dev/null 2>&1; then break; fi
  sleep 0.2
done

syncing=$(ask eth_syncing '[]')
echo "fresh node, block $(ask eth_blockNumber '[]')"
echo "  eth_syncing: $syncing"
echo "  state of the head: $(ask eth_getBalance '["0x0000000000000000000000000000000000000001","latest"]')"
case $syncing in
  *'"currentBlock":"0x0"'*'"highestBlock":"0x0"'*'"txIndexRemainingBlocks":"0x1"'*) echo "as described" ;;
  *) echo "the behaviour changed" && exit 1 ;;
esac
