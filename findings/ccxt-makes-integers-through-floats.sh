#!/usr/bin/env bash
# Expected: safe_integer of ccxt for Python returns the integer that an exchange sent, as a number or as text: Python's
# integers have no limit.
# Seen: both texts and numbers pass through a float. Above 2^53 the last digits are others: a trade's id of 19 digits becomes
# the id of another trade, a time in nanoseconds is off by up to 128 ns, and two neighbouring ids become one. safe_string keeps
# them; safe_number is a float and loses digits of amounts with 18 decimals as well.
#
# Installs ccxt from PyPI in a temporary folder; 2 minutes. Exits 1 when that is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check ccxt==4.5.90
cat >"$work/integers.py" <<'PY'
import sys

import ccxt

exchange = ccxt.Exchange()
cases = [
    ("safe_integer", 2**53 - 1, 9007199254740991),
    ("safe_integer", "9007199254740993", 9007199254740992),
    ("safe_integer", 9007199254740993, 9007199254740992),
    ("safe_integer", "1767225600123456789", 1767225600123456768),
    ("safe_integer", "1767225600123456801", 1767225600123456768),
    ("safe_string", "1767225600123456789", "1767225600123456789"),
    ("safe_string", 1767225600123456789, "1767225600123456789"),
    ("safe_number", "0.100000000000000003", 0.1),
]
print(f"ccxt {ccxt.__version__}, Python {sys.version.split()[0]}")
changed = 0
for method, sent, expected in cases:
    seen = getattr(exchange, method)({"id": sent}, "id")
    print(f"  {method} of {sent!r}: {seen!r}")
    if seen != expected:
        print(f"    the behaviour changed: it was {expected!r}")
        changed = 1
sys.exit(changed)
PY
"$work/venv/bin/python" "$work/integers.py"
