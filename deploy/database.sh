# Sourced by backup.sh and restore.sh: sets SQLITE_FILE, or the variables of PostgreSQL's tools. When systemd starts
# them, it has already read the environment file.
if [ -z "${DJANGO_SETTINGS_MODULE:-}" ]; then
    . deploy/environment.sh
fi
variables=$(.venv/bin/python deploy/database.py)
eval "$variables"
