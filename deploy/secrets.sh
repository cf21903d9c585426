#!/bin/sh
# Runs once before the other services: writes missing secrets into the volume at /secrets. It never overwrites one, so tokens
# stay valid over restarts. `docker-compose down --volumes` deletes them.
set -eu
umask 077

make_secret() { # name, id of the user that reads it
  if [ -s "/secrets/$1" ]; then return; fi
  od -An -vtx1 -N32 /dev/urandom | tr -d ' \n' > "/secrets/$1.new"
  chown "$2" "/secrets/$1.new"
  # Renamed when complete, so that an interrupted start leaves no partial secret.
  mv "/secrets/$1.new" "/secrets/$1"
  echo "wrote a new $1"
}

make_secret jwt-secret 1000
make_secret api-key 1000
make_secret grafana-password 472
