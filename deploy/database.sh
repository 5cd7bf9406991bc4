# Sourced by backup.sh and restore.sh: SQLITE_FILE, or what PostgreSQL's tools read. systemd has read the environment
# file already where it starts them.
if [ -z "${DJANGO_SETTINGS_MODULE:-}" ]; then
    . deploy/environment.sh
fi
variables=$(.venv/bin/python deploy/database.py)
eval "$variables"
