#!/usr/bin/env bash
# Expected: messages with one key go to one partition, whichever client writes them; that is what order per market or wallet
# rests on.
# Seen: with their defaults three clients use three hashes. With four partitions BTC-USDC goes to partition 0 with librdkafka
# (CRC32), to 2 with Sarama (FNV-1a) and to 3 with kafkajs (murmur2). Two writers that share a topic split a key without an
# error. `partitioner=murmur2_random` makes librdkafka agree with kafkajs.
#
# Installs confluent-kafka (librdkafka) from PyPI, kafkajs from npm and builds Sarama from the Go proxy, in a temporary folder:
# 3 to 6 minutes. librdkafka writes to the broker that it has within it. Exits 1 when that is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
export GOMODCACHE="$work/mod" GOCACHE="$work/cache" GOFLAGS=-mod=mod
readonly KEYS=(BTC-USDC ETH-USDC SOL-USDC)

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check confluent-kafka==2.16.1
npm install --prefix "$work" --silent --no-audit --no-fund --ignore-scripts kafkajs@2.2.4

cat >"$work/librdkafka.py" <<'PY'
import sys

from confluent_kafka import Producer

# The producer's own broker gives a new topic four partitions.
settings = {"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 0}
if sys.argv[1] != "default":
    settings["partitioner"] = sys.argv[1]
producer, found = Producer(settings), {}
assert len(producer.list_topics("trades", timeout=20).topics["trades"].partitions) == 4
for key in sys.argv[2:]:
    producer.produce("trades", b"", key=key, on_delivery=lambda _, sent: found.update({sent.key().decode(): sent.partition()}))
assert producer.flush(30) == 0
print(*(found[key] for key in sys.argv[2:]))
PY
cat >"$work/kafkajs.mjs" <<'JS'
import kafkajs from 'kafkajs'
const choose = kafkajs.Partitioners.DefaultPartitioner()
const partitionMetadata = [0, 1, 2, 3].map((partitionId) => ({ partitionId, leader: 1 }))
console.log(...process.argv.slice(2).map((key) => choose({ topic: 'trades', partitionMetadata, message: { key } })))
JS
cat >"$work/main.go" <<'GO'
package main

import (
	"fmt"
	"os"

	"github.com/IBM/sarama"
)

func main() {
	choose := sarama.NewConfig().Producer.Partitioner("trades")
	for _, key := range os.Args[1:] {
		partition, err := choose.Partition(&sarama.ProducerMessage{Key: sarama.StringEncoder(key)}, 4)
		if err != nil {
			panic(err)
		}
		fmt.Print(partition, " ")
	}
	fmt.Println()
}
GO
(cd "$work" && go mod init finding && go get github.com/IBM/sarama@v1.61.1 && go build -o sarama main.go) >/dev/null 2>&1

echo "partitions of ${KEYS[*]}, of four"
changed=0
check() { # name, expected, command
  local name=$1 expected=$2 seen
  shift 2
  seen=$("$@" "${KEYS[@]}" | xargs)
  echo "  $name: $seen"
  [ "$seen" = "$expected" ] || { echo "    the behaviour changed: it was $expected"; changed=1; }
}
check "librdkafka of confluent-kafka 2.16.1" "0 2 0" "$work/venv/bin/python" "$work/librdkafka.py" default
check "the same, murmur2_random" "3 3 1" "$work/venv/bin/python" "$work/librdkafka.py" murmur2_random
check "kafkajs 2.2.4" "3 3 1" node "$work/kafkajs.mjs"
check "Sarama 1.61.1" "2 2 3" "$work/sarama"
exit "$changed"
