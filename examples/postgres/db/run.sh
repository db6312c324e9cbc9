#!/bin/sh
# Makes a database cluster on the volume, once, and then becomes PostgreSQL.
set -eu

bin=$(ls -d /usr/lib/postgresql/*/bin /usr/local/pgsql/bin 2>/dev/null | tail -n 1)
if [ -z "$bin" ]; then bin=$(dirname "$(command -v postgres || echo /nowhere/postgres)"); fi
if [ ! -x "$bin/initdb" ]; then
  echo "PostgreSQL is not installed (on Debian: apt install postgresql)" >&2
  exit 1
fi
if [ "$(id -u)" = 0 ]; then
  echo "PostgreSQL refuses to run as root: write  user = \"postgres\"  under [apps.db] in flycast.toml" >&2
  exit 1
fi

# Without namespaces there is no /data: then FLY_VOLUME_PG_DATA names the folder, and PORT and HOST where to listen.
data="${FLY_VOLUME_PG_DATA:-/data}/cluster"

if [ ! -s "$data/PG_VERSION" ]; then
  # A first start that was interrupted leaves a half-made cluster: made beside, then moved.
  rm -rf "$data.new"
  # Trust: whoever can reach db.flycast is on your private network. Set passwords for anything that matters.
  "$bin/initdb" -D "$data.new" -U postgres -E UTF8 -A trust >&2
  printf 'host all all all trust\n' >>"$data.new/pg_hba.conf"
  mv "$data.new" "$data"
fi

exec "$bin/postgres" -D "$data" -p "${PORT:-5432}" -h "${HOST:-*}" -c unix_socket_directories=
