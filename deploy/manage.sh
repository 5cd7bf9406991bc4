#!/bin/sh
# Run manage.py with the service's environment: deploy/manage.sh check --deploy --database default
# As the service's user: sudo -u bridge /opt/intercom-bridge/deploy/manage.sh migrate
set -eu
cd "$(dirname "$0")/.."
. deploy/environment.sh
exec .venv/bin/python manage.py "$@"
