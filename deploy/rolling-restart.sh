#!/bin/sh
# Restarts the gateway replicas of the compose project one after the other. Each moves its clients to the others before
# it stops, and the next one is not touched before this one is ready and HAProxy sends clients there again.
#
#   deploy/rolling-restart.sh [project]     the project is COMPOSE_PROJECT_NAME, or the folder's name, when not given
#
# Stops at the first thing that goes wrong, with the replica it happened to; run it again when that is mended.
set -eu

stop_s=30    # GATEWAY_DRAIN_NOTICE_MS + GATEWAY_DRAIN_MS and a few seconds fit into it
ready_s=60   # for a replica to become ready, and for HAProxy to find it

folder=$(cd "$(dirname "$0")/.." && pwd)
project=${1:-${COMPOSE_PROJECT_NAME:-$(basename "$folder" | tr '[:upper:]' '[:lower:]' | tr -cd 'a-z0-9_-')}}

say() { printf '%s  %s\n' "$(date +%H:%M:%S)" "$*"; }
fail() { printf 'rolling-restart: %s\n' "$*" >&2; exit 1; }

replicas() {
  docker ps --quiet --no-trunc --filter "label=com.docker.compose.project=$project" \
    --filter label=com.docker.compose.service=gateway
}
inspect() { docker inspect --format "$2" "$1"; }

# Both ask from inside the replica: neither the admin port nor HAProxy's list of servers is published.
is_ready() {
  docker exec "$1" node --eval \
    'fetch("http://127.0.0.1:8081/readyz").then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))'
}
haproxy_has_it() {
  docker exec "$1" node --eval '
    const mine = Object.values(require("node:os").networkInterfaces()).flat().map(({ address }) => `${address}:8080`);
    fetch("http://haproxy:8404/;csv").then((answer) => answer.text()).then((text) => {
      const [names, ...rows] = text.replace("# ", "").split("\n").map((line) => line.split(","));
      const column = (row, name) => row[names.indexOf(name)] ?? "";
      const up = (row) => column(row, "status").startsWith("UP") && mine.includes(column(row, "addr"));
      process.exit(rows.some(up) ? 0 : 1);
    }).catch(() => process.exit(1));'
}

until_true() { # a check, the replica, what is waited for
  began=$(date +%s)
  until "$1" "$2" >/dev/null 2>&1; do
    [ $(($(date +%s) - began)) -lt $ready_s ] || fail "$name: not within $ready_s s: $3. See: docker logs $name"
    sleep 0.3
  done
}

ids=$(replicas) || fail 'docker does not answer'
count=$(printf '%s\n' "$ids" | grep -c . || true)
[ "$count" -gt 0 ] || fail "no running gateway in the compose project \"$project\"; give the project's name: docker ps"
[ "$count" -gt 1 ] || say 'there is one replica only: its clients are without a gateway until it is back'

for id in $ids; do
  name=$(inspect "$id" '{{.Name}}' | cut -c2-)
  until_true is_ready "$id" 'is ready before it is restarted'
done

number=0
for id in $ids; do
  number=$((number + 1))
  name=$(inspect "$id" '{{.Name}}' | cut -c2-)
  say "$number/$count $name: stopping, its clients move"
  docker stop -t $stop_s "$id" >/dev/null
  code=$(inspect "$id" '{{.State.ExitCode}}')
  # A replica that was killed left clients behind; the next one would, too.
  [ "$code" = 0 ] || fail "$name ended with exit code $code instead of 0 (137: not within $stop_s s). See: docker logs $name"
  docker start "$id" >/dev/null
  until_true is_ready "$id" 'is ready'
  until_true haproxy_has_it "$id" 'is UP in HAProxy'
  say "$number/$count $name: serves again"
done
say "all $count replicas were restarted"
