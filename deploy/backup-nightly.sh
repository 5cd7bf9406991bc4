#!/bin/sh
# compose.yaml runs this script in the PostgreSQL image, with PGHOST, PGUSER, PGDATABASE and PGPASSWORD.
#   backup-nightly.sh        backs up the database into /backups at once, and then each night at 03:00 UTC
#   backup-nightly.sh once   makes one backup and ends
#   backup-nightly.sh check  fails if the newest backup is older than 26 hours
# After each backup, backups older than fourteen days are deleted.
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
        # `docker stop` ends the container at once: `wait` is interrupted by the signal, while `sleep` would not be.
        trap 'exit 0' TERM INT
        while true; do
            if back_up; then
                # The seconds until 03:00 tomorrow (27 hours after the start of today), or until 03:00 today.
                wait_seconds=$((97200 - $(date -u +%s) % 86400))
                if [ "$wait_seconds" -gt 86400 ]; then wait_seconds=$((wait_seconds - 86400)); fi
            else
                # It may have failed because the database is restarting. Try again in ten minutes.
                wait_seconds=600
            fi
            sleep "$wait_seconds" &
            wait $!
        done
        ;;
esac
