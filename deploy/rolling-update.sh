#!/bin/sh
# Deploys a new image or new settings of the gateway, or restarts all replicas, without refusing or losing a client: new
# replicas start beside the old ones, then the old ones move their clients there and stop, one after the other.
#
#   deploy/rolling-update.sh [replicas]     replicas afterwards; default: as many as now
#
# Build or pull the image before. It uses the environment of docker-compose: .env, COMPOSE_FILE, COMPOSE_PROJECT_NAME.
# If anything fails before all new replicas serve, it removes them again and nothing has changed. After that it ends at the
# first old replica that does not drain; fix that, and run it again with the number of replicas.
set -eu
cd "$(dirname "$0")/.."

stop_s=30    # more than GATEWAY_DRAIN_NOTICE_MS + GATEWAY_DRAIN_MS
ready_s=${READY_S:-60}   # time for a new replica to become ready, and for HAProxy to find it

if docker compose version >/dev/null 2>&1; then compose='docker compose'; else compose=docker-compose; fi

say() { printf '%s  %s\n' "$(date +%H:%M:%S)" "$*"; }
fail() { printf 'rolling-update: %s\n' "$*" >&2; exit 1; }
inspect() { docker inspect --format "$2" "$1"; }
name_of() { inspect "$1" '{{.Name}}' | cut -c2-; }
count() { printf '%s' "$*" | wc -w; }

# Ids of the running gateways of the project, never of `docker-compose run`. Takes more options of `docker ps`.
replicas() {
  docker ps --quiet --no-trunc --filter "label=com.docker.compose.project=$project" \
    --filter label=com.docker.compose.service=gateway --filter label=com.docker.compose.oneoff=False "$@"
}

# Both ask from inside the replica, because neither the admin port nor HAProxy's list of servers is published.
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

# Mistakes and warnings are on standard error.
check_configuration() {
  # A new version may need a secret that the old one did not.
  $compose run --rm -T secrets >&2
  $compose run --rm --no-deps -T gateway roomcast check-config >/dev/null ||
    fail 'the new replicas would not start; nothing was changed'
}

until_true() { # a check, the replica, what is waited for
  began=$(date +%s)
  until "$1" "$2" >/dev/null 2>&1; do
    if [ $(($(date +%s) - began)) -ge $ready_s ]; then
      printf 'the last lines of %s:\n' "$(name_of "$2")" >&2
      docker logs --tail 5 "$2" >&2
      take_back "a new replica is not $3 within $ready_s s"
    fi
    sleep 0.3
  done
}

take_back() { # what went wrong
  say 'removing the new replicas again'
  for id in $(new_ones); do
    docker stop -t $stop_s "$id" >/dev/null
    docker rm -v "$id" >/dev/null
  done
  fail "$1; the old ones serve as before"
}

new_ones() {
  for id in $(replicas --all); do
    case " $(echo $old) " in *" $id "*) ;; *) echo "$id" ;; esac
  done
}

retire() { # the replica
  name=$(name_of "$1")
  if is_ready "$1" >/dev/null 2>&1; then
    say "$name: stopping, its clients move"
    docker stop -t $stop_s "$1" >/dev/null
    code=$(inspect "$1" '{{.State.ExitCode}}')
    # A killed replica has cut clients; the next one would too.
    [ "$code" = 0 ] || fail "$name ended with exit code $code instead of 0 (137: not within $stop_s s). See: docker logs $name"
  fi
  docker rm -f -v "$1" >/dev/null
  say "$name: gone"
}

one=$($compose ps -q gateway | head -n 1)
[ -n "$one" ] || fail 'no gateway runs in this compose project; start it: docker-compose up -d'
project=$(inspect "$one" '{{index .Config.Labels "com.docker.compose.project"}}')
stopped=$(replicas --all --filter status=exited --filter status=created --filter status=dead)
old=$(replicas)
wanted=${1:-$(count $old $stopped)}
case $wanted in '' | 0* | *[!0-9]*) fail "\"$wanted\" is not a number of replicas" ;; esac

check_configuration
# Otherwise compose would start these old ones again instead of new ones.
for id in $stopped; do docker rm -v "$id" >/dev/null; done
say "starting $wanted new replicas beside $(count $old)"
$compose up --no-start --no-deps --no-recreate --scale "gateway=$(($(count $old) + wanted))" gateway >&2 ||
  take_back 'compose could not create the new replicas'
# One after the other: HAProxy counts a new address as up until its first check. With one starting replica, a handshake sent
# there finds another replica at its second try. With several it may not: they are empty, so HAProxy prefers them.
for id in $(new_ones); do
  docker start "$id" >/dev/null || take_back "$(name_of "$id") could not be started"
  until_true is_ready "$id" ready
  until_true haproxy_has_it "$id" 'UP in HAProxy'
done
for id in $old; do retire "$id"; done
say "$wanted replicas serve, all of them new"
