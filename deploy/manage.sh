#!/bin/sh
# Run manage.py with the variables of the service's environment file. Run it as the service's user, for example:
# sudo -u bridge /opt/intercom-bridge/deploy/manage.sh migrate
set -eu
cd "$(dirname "$0")/.."
. deploy/environment.sh
exec .venv/bin/python manage.py "$@"
