#!/usr/bin/env bash
# Expected: a case of `promtool test rules` that names an alert which no rule file has, or an expression of a metric that no
# series has, is an error: it tests nothing.
# Seen: where no alert is expected, it passes, and says SUCCESS. A test that an alert stays silent is green with a misspelt
# name and stays green after the alert is renamed, with the alert firing at that very time. Likewise a query for a metric that
# nobody writes passes where no sample is expected.
#
# Takes promtool out of Debian 12's package prometheus, in a temporary folder (Debian, amd64). Exits 1 when that is no longer
# so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get -o APT::Sandbox::User=root download 'prometheus=2.42.0+ds-5+deb12u1' >/dev/null 2>&1
dpkg-deb -x prometheus_*.deb .
promtool=$work/usr/bin/promtool
"$promtool" --version | sed -n 1p

cat >rules.yaml <<'YAML'
groups:
  - name: reconciliation
    rules:
      - alert: OpenBreaks
        expr: open_breaks > 0
        for: 5m
YAML
changed=0
check() { # what is asked for, "passes" or "fails", a case
  cat >test.yaml <<YAML
rule_files: [rules.yaml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: open_breaks
        values: 3x30
    $3
YAML
  local seen=passes
  "$promtool" test rules test.yaml >output 2>&1 || seen=fails
  echo "  $1: $seen"
  [ "$seen" = "$2" ] || { echo "    the behaviour changed: it was: $2"; sed 's/^/    /' output; changed=1; }
}
silent() { echo "alert_rule_test: [{ alertname: $1, eval_time: 20m, exp_alerts: [] }]"; }
query() { echo "promql_expr_test: [{ expr: $1, eval_time: 20m, exp_samples: [] }]"; }
echo "open_breaks is 3 for 30 minutes; OpenBreaks fires after 5"
check "OpenBreaks is silent after 20 minutes" fails "$(silent OpenBreaks)"
check "OpenBreak (misspelt) is silent" passes "$(silent OpenBreak)"
check "open_breaks has no sample" fails "$(query open_breaks)"
check "open_break (misspelt) has no sample" passes "$(query open_break)"
check "OpenBreak (misspelt) fires" fails "alert_rule_test: [{ alertname: OpenBreak, eval_time: 20m, exp_alerts: [{}] }]"
exit "$changed"
