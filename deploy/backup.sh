#!/bin/sh
# Back up the database while the service runs: backup.sh DIRECTORY
# Prints the backup's file name, and deletes backups older than fourteen days. The backup does not contain
# FIELD_ENCRYPTION_KEYS, without which its secrets cannot be read: keep a copy elsewhere.
set -eu
cd "$(dirname "$0")/.."
if [ $# -ne 1 ]; then
    echo "Usage: backup.sh DIRECTORY" >&2
    exit 2
fi
. deploy/database.sh
umask 077
mkdir -p "$1"
file="$1/bridge-$(date -u +%Y%m%dT%H%M%SZ)"
unfinished="$file.unfinished"
trap 'rm -f "$unfinished"' EXIT
if [ -n "${SQLITE_FILE:-}" ]; then
    file="$file.sqlite3"
    # SQLite's backup API makes a consistent copy while other processes write.
    .venv/bin/python -c 'import sqlite3, sys; sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True).backup(sqlite3.connect(sys.argv[2]))' \
        "$SQLITE_FILE" "$unfinished"
else
    file="$file.pgdump"
    pg_dump --format=custom --no-owner --no-privileges --file="$unfinished"
    # Check that the backup can be read.
    pg_restore --list "$unfinished" >/dev/null
fi
mv "$unfinished" "$file"
find "$1" -name 'bridge-*' -type f -mtime +13 -delete
echo "$file"
