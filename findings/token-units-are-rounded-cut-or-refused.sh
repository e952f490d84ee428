#!/usr/bin/env bash
# Expected: an amount with more decimals than its token has is refused when it is turned into the token's units, as ethers
# does: it is not an amount of that token.
# Seen: viem rounds, so that 0.9999999 of a token with six decimals becomes 1,000,000 units, more than was written; web3-utils
# cuts it to 999,999. Of 0.0000005, viem makes one unit, and web3-utils an empty text, neither "0" nor an error.
#
# Installs viem, ethers and web3-utils from npm in a temporary folder; about a minute. Exits 1 when that is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

npm install --prefix "$work" --silent --no-audit --no-fund --ignore-scripts viem@2.57.20 ethers@6.17.0 web3-utils@4.3.3
cat >"$work/units.mjs" <<'JS'
import { parseUnits as ethers } from 'ethers'
import { parseUnits as viem } from 'viem'
import { toWei as web3 } from 'web3-utils'

const DECIMALS = 6
const libraries = { 'viem 2.57.20': viem, 'ethers 6.17.0': ethers, 'web3-utils 4.3.3': web3 }
const expected = {
  '1.123456': ['1123456', '1123456', '1123456'],
  '1.1234560': ['1123456', '1123456', '1123456'],
  '0.9999999': ['1000000', 'refused', '999999'],
  '-0.9999999': ['-1000000', 'refused', '-999999'],
  '0.0000005': ['1', 'refused', ''],
  '0.0000004': ['0', 'refused', ''],
}
let changed = 0
for (const [amount, before] of Object.entries(expected)) {
  const seen = Object.values(libraries).map((units) => {
    try {
      return String(units(amount, DECIMALS))
    } catch {
      return 'refused'
    }
  })
  const words = Object.keys(libraries).map((name, index) => `${name} ${JSON.stringify(seen[index])}`)
  console.log(`  ${amount} in units of 10^-${DECIMALS}: ${words.join(', ')}`)
  if (seen.join() !== before.join()) {
    console.log(`    the behaviour changed: it was ${JSON.stringify(before)}`)
    changed = 1
  }
}
process.exit(changed)
JS
node "$work/units.mjs"
