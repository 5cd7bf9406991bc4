"""Print the database settings as shell variables: SQLITE_FILE, or the variables of PostgreSQL's tools.

Command line arguments would be visible, including the password, in the list of processes.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from django.conf import settings
from django.db.backends.postgresql.client import DatabaseClient

found = settings.DATABASES["default"]
if found["ENGINE"].endswith("sqlite3"):
    variables = {"SQLITE_FILE": found["NAME"]}
else:
    variables = {
        "PGDATABASE": found["NAME"],
        "PGHOST": found.get("HOST", ""),
        "PGPORT": str(found.get("PORT", "")),
        "PGUSER": found.get("USER", ""),
    }
    # The password and the TLS settings.
    variables |= DatabaseClient.settings_to_cmd_args_env(found, [])[1] or {}
for name, value in variables.items():
    if value:
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
