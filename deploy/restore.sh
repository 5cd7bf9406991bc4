#!/bin/sh
# Restore a backup into an empty database: restore.sh FILE
# Stop the web server and the workers first. The script refuses to run if the database has tables or its SQLite file exists.
set -eu
if [ $# -ne 1 ] || [ ! -r "$1" ]; then
    echo "Usage: restore.sh FILE (a readable backup)" >&2
    exit 2
fi
backup=$(realpath "$1")
cd "$(dirname "$0")/.."
. deploy/database.sh
if [ -n "${SQLITE_FILE:-}" ]; then
    # An old -wal file must not remain: SQLite would apply its changes to the restored database.
    for existing in "$SQLITE_FILE" "$SQLITE_FILE-wal" "$SQLITE_FILE-shm"; do
        if [ -e "$existing" ]; then
            echo "There is already a file $existing. Move away $SQLITE_FILE and its -wal and -shm files, if they exist," \
                "and try again. Nothing was changed." >&2
            exit 1
        fi
    done
    if [ "$(head -c 15 "$backup")" != "SQLite format 3" ]; then
        echo "$backup is not a backup of an SQLite database, but this service uses SQLite: DATABASE_URL does not name a" \
            "PostgreSQL database. Nothing was changed." >&2
        exit 1
    fi
    umask 077
    unfinished="$SQLITE_FILE.unfinished"
    trap 'rm -f "$unfinished"' EXIT
    cp "$backup" "$unfinished"
    mv "$unfinished" "$SQLITE_FILE"
else
    if [ "$(head -c 5 "$backup")" != PGDMP ]; then
        echo "$backup is not a backup of a PostgreSQL database, but DATABASE_URL names one. Nothing was changed." >&2
        exit 1
    fi
    tables=$(psql --no-psqlrc --tuples-only --no-align --command "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    if [ "$tables" != 0 ]; then
        echo "The database $PGDATABASE is not empty: it has $tables tables. Drop it, create it again, and retry. Nothing was" \
            "changed." >&2
        exit 1
    fi
    # In one transaction, so that a failure leaves the database empty.
    pg_restore --no-owner --no-privileges --single-transaction --exit-on-error --dbname="$PGDATABASE" "$backup"
fi
echo "Restored from $backup. Now: manage.py migrate, then check --deploy --database default, and start the service."
