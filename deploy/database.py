"""Says which database the service has, as variables for a shell: SQLITE_FILE, or what PostgreSQL's tools read.

As arguments they would show, password included, to everybody who lists the machine's processes.
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
    # The password, and how TLS is spoken.
    variables |= DatabaseClient.settings_to_cmd_args_env(found, [])[1] or {}
for name, value in variables.items():
    if value:
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
