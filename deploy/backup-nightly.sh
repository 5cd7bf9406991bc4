#!/bin/sh
# Run in the PostgreSQL image by compose.yaml: back up the database into /backups at once and then each night at 03:00 UTC.
# Deletes backups older than fourteen days. PGHOST, PGUSER, PGDATABASE and PGPASSWORD are set.
# `backup-nightly.sh once` makes one backup and ends; `backup-nightly.sh check` fails if the newest is older than 26 hours.
set -eu
umask 077
directory=${BACKUP_DIRECTORY:-/backups}

back_up() {
    file="$directory/bridge-$(date -u +%Y%m%dT%H%M%SZ)"
    # Check that the backup can be read.
    if pg_dump --format=custom --no-owner --no-privileges --file="$file.unfinished" &&
        pg_restore --list "$file.unfinished" >/dev/null; then
        mv "$file.unfinished" "$file.pgdump"
        find "$directory" -name 'bridge-*' -type f -mtime +13 -delete
        echo "$file.pgdump"
    else
        rm -f "$file.unfinished"
        echo "The backup failed." >&2
        return 1
    fi
}

case ${1:-} in
    once) back_up ;;
    check) test -n "$(find "$directory" -name 'bridge-*.pgdump' -mmin -1560)" ;;
    *)
        # `sleep` must not delay the end of the container.
        trap 'exit 0' TERM INT
        while true; do
            # After a failure, for example while the database restarts, try again in ten minutes.
            if back_up; then
                wait_seconds=$((97200 - $(date -u +%s) % 86400))
                if [ "$wait_seconds" -gt 86400 ]; then wait_seconds=$((wait_seconds - 86400)); fi
            else
                wait_seconds=600
            fi
            sleep "$wait_seconds" &
            wait $!
        done
        ;;
esac
