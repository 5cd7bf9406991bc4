#!/bin/sh
# Restore a backup into an empty database: restore.sh FILE
# It refuses if there are tables or an SQLite file. Stop the web server and the workers first.
set -eu
if [ $# -ne 1 ] || [ ! -r "$1" ]; then
    echo "Usage: restore.sh FILE (a readable backup)" >&2
    exit 2
fi
backup=$(realpath "$1")
cd "$(dirname "$0")/.."
. deploy/database.sh
if [ -n "${SQLITE_FILE:-}" ]; then
    # SQLite would apply an old -wal file to the restored database.
    for there in "$SQLITE_FILE" "$SQLITE_FILE-wal" "$SQLITE_FILE-shm"; do
        if [ -e "$there" ]; then
            echo "There is $there. Move it away, with what else of $SQLITE_FILE is there, and try again. Nothing was changed." >&2
            exit 1
        fi
    done
    if [ "$(head -c 15 "$backup")" != "SQLite format 3" ]; then
        echo "$backup is no backup of SQLite, which this service has: DATABASE_URL names no PostgreSQL. Nothing was changed." >&2
        exit 1
    fi
    umask 077
    unfinished="$SQLITE_FILE.unfinished"
    trap 'rm -f "$unfinished"' EXIT
    cp "$backup" "$unfinished"
    mv "$unfinished" "$SQLITE_FILE"
else
    if [ "$(head -c 5 "$backup")" != PGDMP ]; then
        echo "$backup is no backup of PostgreSQL, which DATABASE_URL names. Nothing was changed." >&2
        exit 1
    fi
    tables=$(psql --no-psqlrc --tuples-only --no-align --command "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    if [ "$tables" != 0 ]; then
        echo "The database $PGDATABASE holds $tables tables. Drop it, create it again, and retry. Nothing was changed." >&2
        exit 1
    fi
    # One transaction: everything or nothing.
    pg_restore --no-owner --no-privileges --single-transaction --exit-on-error --dbname="$PGDATABASE" "$backup"
fi
echo "Restored from $backup. Now: manage.py migrate, then check --deploy --database default, and start the service."
