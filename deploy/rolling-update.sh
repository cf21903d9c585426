#!/bin/sh
# Brings a new image or new settings of the gateway out, or restarts all replicas, without refusing or losing anybody:
# new replicas start beside those that run, and these then move their clients there and go, one after the other.
#
#   deploy/rolling-update.sh [replicas]     how many there shall be afterwards; as many as there are, when not given
#
# Build or pull the image before. What docker-compose reads counts here too: .env, COMPOSE_FILE, COMPOSE_PROJECT_NAME.
# Whatever goes wrong before all new replicas serve takes them away again and changes nothing. After that the script
# stops at the first old replica that does not go as it should; run it again, with the number, when that is mended.
set -eu
cd "$(dirname "$0")/.."

stop_s=30    # GATEWAY_DRAIN_NOTICE_MS + GATEWAY_DRAIN_MS and a few seconds fit into it
ready_s=${READY_S:-60}   # for a new replica to become ready, and for HAProxy to find it

if docker compose version >/dev/null 2>&1; then compose='docker compose'; else compose=docker-compose; fi

say() { printf '%s  %s\n' "$(date +%H:%M:%S)" "$*"; }
fail() { printf 'rolling-update: %s\n' "$*" >&2; exit 1; }
inspect() { docker inspect --format "$2" "$1"; }
name_of() { inspect "$1" '{{.Name}}' | cut -c2-; }
count() { printf '%s' "$*" | wc -w; }

# Ids of the project's gateways that run, or with more options of `docker ps`; never those of `docker-compose run`.
replicas() {
  docker ps --quiet --no-trunc --filter "label=com.docker.compose.project=$project" \
    --filter label=com.docker.compose.service=gateway --filter label=com.docker.compose.oneoff=False "$@"
}

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

check_configuration() {
  $compose run --rm --no-deps -T gateway node --input-type=module --eval '
    const { readConfig } = await import("/app/dist/gateway/config.js");
    try {
      for (const warning of readConfig(process.env).warnings) console.error(warning);
    } catch (error) {
      console.error(error.message);
      process.exit(1);
    }' || fail 'the new replicas would not start; nothing was changed'
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
  say 'the new replicas are taken away again'
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
    # A replica that was killed left clients behind; the next one would, too.
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
case $wanted in '' | 0* | *[!0-9]*) fail "\"$wanted\" is no number of replicas" ;; esac

check_configuration
# Compose would start these again, as they are, instead of new ones.
for id in $stopped; do docker rm -v "$id" >/dev/null; done
say "starting $wanted new replicas beside $(count $old)"
$compose up --no-start --no-deps --no-recreate --scale "gateway=$(($(count $old) + wanted))" gateway >&2 ||
  take_back 'compose could not make the new replicas'
# One after the other: HAProxy counts a new address as up until its first check. A handshake that is sent there finds
# another replica at its second try, but not where several are starting and, being empty, are preferred to those that run.
for id in $(new_ones); do
  docker start "$id" >/dev/null || take_back "$(name_of "$id") could not be started"
  until_true is_ready "$id" ready
  until_true haproxy_has_it "$id" 'UP in HAProxy'
done
for id in $old; do retire "$id"; done
say "$wanted replicas serve, all of them new"
