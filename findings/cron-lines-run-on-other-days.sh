#!/usr/bin/env bash
# Expected: a crontab line of five fields has one calendar. Where day of month and day of week are both given, a day that
# matches either is due; 1 is a Monday.
# Seen: APScheduler's from_crontab wants both to match and counts weekdays from Monday = 0, so that `0 3 1 * 1` runs on
# Tuesdays that are the first of a month (two in a year in which the others have 62 runs), and `0 3 * * 1` on Tuesdays.
# cron-schedule takes `1-31` for a star, so that only Mondays are left, where croniter and croner run on every day.
#
# Installs croniter and APScheduler from PyPI, croner and cron-schedule from npm in a temporary folder. Exits 1 when that is no
# longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TZ=UTC

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check croniter==7.0.0 APScheduler==3.11.3
npm install --prefix "$work" --silent --no-audit --no-fund --ignore-scripts croner@11.0.1 cron-schedule@6.0.0

cat >"$work/next.mjs" <<'JS'
import { Cron } from 'croner'
import { parseCronExpression } from 'cron-schedule'

const start = new Date('2026-09-30T23:00:00Z')
const end = new Date('2027-09-30T23:00:00Z')
const days = (next) => {
  const found = []
  for (let at = next(start); at && at < end; at = next(at)) found.push(at.toISOString().slice(0, 10))
  return found
}
const both = (croner, schedule) => ({
  croner: days((at) => croner.nextRun(at)),
  'cron-schedule': days((at) => schedule.getNextDate(at)),
})
const lines = process.argv.slice(2)
console.log(JSON.stringify(Object.fromEntries(lines.map((line) => [line, both(new Cron(line), parseCronExpression(line))]))))
JS
cat >"$work/compare.py" <<'PY'
import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from importlib.metadata import version

from apscheduler.triggers.cron import CronTrigger
from croniter import croniter

START = datetime(2026, 9, 30, 23, tzinfo=timezone.utc)
END = START + timedelta(days=365)
OTHERS = ("croniter", "croner", "cron-schedule")
MONDAYS, EVERY_DAY, TUESDAYS = (52, "Mon Mon Mon Mon"), (365, "Thu Fri Sat Sun"), {"APScheduler": (52, "Tue Tue Tue Tue")}
# For each line and library: the number of runs in a year, and the weekdays of the first four.
expected = {
    "0 3 1 * 1": dict.fromkeys(OTHERS, (62, "Thu Mon Mon Mon")) | {"APScheduler": (2, "Tue Tue")},
    "0 3 * * 1": dict.fromkeys(OTHERS, MONDAYS) | TUESDAYS,
    "0 3 1-31 * 1": {"croniter": EVERY_DAY, "croner": EVERY_DAY, "cron-schedule": MONDAYS} | TUESDAYS,
}


def days(next_after):
    found, at = [], next_after(START)
    while at and at < END:
        found.append(at.strftime("%Y-%m-%d"))
        at = next_after(at)
    return found


def apscheduler(line):
    trigger = CronTrigger.from_crontab(line, timezone="UTC")
    return days(lambda at: trigger.get_next_fire_time(None, at + timedelta(seconds=1)))


answers = json.loads(subprocess.check_output(["node", f"{sys.argv[1]}/next.mjs", *expected], text=True))
print(f"croniter {version('croniter')}, APScheduler {version('APScheduler')}, croner 11.0.1, cron-schedule 6.0.0")
changed = 0
for line, libraries in expected.items():
    seen = {"croniter": days(lambda at: croniter(line, at).get_next(datetime)), **answers[line], "APScheduler": apscheduler(line)}
    for name, dates in seen.items():
        first = " ".join(datetime.fromisoformat(date).strftime("%a") for date in dates[:4])
        print(f"  {line:<14} {name:<14} {len(dates):>3} runs in a year, first {', '.join(dates[:4])} ({first})")
        if (len(dates), first) != libraries[name]:
            print(f"    the behaviour changed: it was {libraries[name]}")
            changed = 1
sys.exit(changed)
PY
"$work/venv/bin/python" "$work/compare.py" "$work"
