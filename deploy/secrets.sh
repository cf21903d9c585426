#!/bin/sh
# Runs once before the other services: writes the secrets that do not exist yet into the volume at /secrets. What is
# there is never overwritten, so tokens stay valid over restarts; `docker-compose down --volumes` throws them away.
set -eu
umask 077

make_secret() { # name, user id that reads it
  if [ -s "/secrets/$1" ]; then return; fi
  od -An -vtx1 -N32 /dev/urandom | tr -d ' \n' > "/secrets/$1.new"
  chown "$2" "/secrets/$1.new"
  # Renamed when complete: a start that was cut short leaves no half secret.
  mv "/secrets/$1.new" "/secrets/$1"
  echo "wrote a new $1"
}

make_secret jwt-secret 1000
make_secret grafana-password 472
