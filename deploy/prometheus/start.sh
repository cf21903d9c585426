#!/bin/sh
# Starts Prometheus. Rules cannot read the environment, so how many replicas there should be becomes a rule of its own,
# which alerts.yml compares with: ROOMCAST_REPLICAS is the one place for that number.
set -eu
printf 'groups: [{ name: wanted, rules: [{ record: "gateway:replicas_wanted", expr: vector(%d) }] }]\n' \
  "$ROOMCAST_REPLICAS" > /run/roomcast/replicas.yml
exec prometheus --config.file=/etc/prometheus/prometheus.yml --storage.tsdb.path=/prometheus
