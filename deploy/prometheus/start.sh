#!/bin/sh
# Starts Prometheus. Rules cannot read the environment, so this writes a rule that records ROOMCAST_REPLICAS, for alerts.yml
# to compare with. ROOMCAST_REPLICAS stays the only place for that number.
set -eu
printf 'groups: [{ name: wanted, rules: [{ record: "gateway:replicas_wanted", expr: vector(%d) }] }]\n' \
  "$ROOMCAST_REPLICAS" > /run/roomcast/replicas.yml
# The error budget is one of 30 days.
exec prometheus --config.file=/etc/prometheus/prometheus.yml --storage.tsdb.path=/prometheus \
  --storage.tsdb.retention.time=31d
