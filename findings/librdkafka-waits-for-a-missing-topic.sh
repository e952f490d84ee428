#!/usr/bin/env bash
# Expected: a message for a topic that does not exist fails at once, as soon as the brokers have said that they do not know the
# topic; or after message.timeout.ms, when it is given up, with that reason.
# Seen: librdkafka keeps the message for topic.metadata.propagation.max.ms, 30 s by default, in case the topic appears. With a
# longer message.timeout.ms the reason comes after 30 s; with a shorter one the message ends as "Message timed out", which is
# what brokers that are down look like. The metadata of the topic says at once that it is unknown.
#
# Installs confluent-kafka (librdkafka, whose own broker is asked) from PyPI in a temporary folder; 2 minutes. Exits 1
# when that is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check confluent-kafka==2.16.1
cat >"$work/missing.py" <<'PY'
import sys
import time

from confluent_kafka import Producer, libversion

BROKER = {"bootstrap.servers": "none", "test.mock.num.brokers": 1, "allow.auto.create.topics": False, "log_level": 0}
# Settings: after how many seconds the message ended, and how.
expected = [
    ({"message.timeout.ms": 60000}, (30, "UNKNOWN_TOPIC_OR_PART")),
    ({"message.timeout.ms": 5000}, (5, "_MSG_TIMED_OUT")),
    ({"message.timeout.ms": 60000, "topic.metadata.propagation.max.ms": 1000}, (1, "UNKNOWN_TOPIC_OR_PART")),
]
print(f"librdkafka {libversion()[0]}")
changed = 0
for settings, behaviour in expected:
    producer, ended, started = Producer(BROKER | settings), [], time.monotonic()
    known = producer.list_topics("trades", timeout=20).topics["trades"].error
    asked, started = time.monotonic() - started, time.monotonic()
    producer.produce("trades", b"{}", on_delivery=lambda error, _: ended.append((time.monotonic() - started, error.name())))
    producer.flush(90)
    after, reason = ended[0]
    print(f"  {settings}: metadata after {asked:.1f} s: {known.name()}; message after {after:.1f} s: {reason}")
    if reason != behaviour[1] or abs(after - behaviour[0]) > 5 or known.name() != "UNKNOWN_TOPIC_OR_PART":
        print(f"    the behaviour changed: it was {behaviour[1]} after {behaviour[0]} s")
        changed = 1
sys.exit(changed)
PY
"$work/venv/bin/python" "$work/missing.py"
