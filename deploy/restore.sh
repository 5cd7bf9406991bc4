#!/bin/sh
# Puts a backup into an empty database: restore.sh FILE
# It overwrites nothing: where there are tables, or a SQLite file, it refuses. Stop the web server and the workers before.
set -eu
if [ $# -ne 1 ] || [ ! -r "$1" ]; then
    echo "Name a backup that can be read: restore.sh FILE" >&2
    exit 2
fi
backup=$(realpath "$1")
cd "$(dirname "$0")/.."
if [ -z "${DJANGO_SETTINGS_MODULE:-}" ]; then
    set -a
    . "${BRIDGE_ENV:-/etc/intercom-bridge/bridge.env}"
    set +a
fi
variables=$(.venv/bin/python deploy/database.py)
eval "$variables"
if [ -n "${SQLITE_FILE:-}" ]; then
    if [ -e "$SQLITE_FILE" ]; then
        echo "There is a database at $SQLITE_FILE. Move it away, with its -wal and -shm, and try again. Nothing was changed." >&2
        exit 1
    fi
    umask 077
    cp "$backup" "$SQLITE_FILE"
else
    tables=$(psql --no-psqlrc --tuples-only --no-align --command "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    if [ "$tables" != 0 ]; then
        echo "The database $PGDATABASE holds $tables tables. Drop it, create it anew, and try again. Nothing was changed." >&2
        exit 1
    fi
    # All of it or nothing.
    pg_restore --no-owner --no-privileges --single-transaction --exit-on-error --dbname="$PGDATABASE" "$backup"
fi
echo "Restored from $backup. Now: manage.py migrate, then check --deploy --database default, and start the service."
