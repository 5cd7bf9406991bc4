# Sourced by backup.sh and restore.sh. Sets SQLITE_FILE, or the variables of PostgreSQL's tools (PGHOST, ...).
# If systemd has started the script, DJANGO_SETTINGS_MODULE is set: systemd has already read the environment file.
if [ -z "${DJANGO_SETTINGS_MODULE:-}" ]; then
    . deploy/environment.sh
fi
variables=$(.venv/bin/python deploy/database.py)
eval "$variables"
