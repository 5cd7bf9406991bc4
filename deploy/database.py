"""Print shell commands that export the database settings: SQLITE_FILE, or the variables of PostgreSQL's tools.

The tools get the password by a variable, because every user can see command line arguments in the list of processes.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from django.conf import settings
from django.db.backends.postgresql.client import DatabaseClient

database = settings.DATABASES["default"]
if database["ENGINE"].endswith("sqlite3"):
    variables = {"SQLITE_FILE": database["NAME"]}
else:
    variables = {
        "PGDATABASE": database["NAME"],
        "PGHOST": database.get("HOST", ""),
        "PGPORT": str(database.get("PORT", "")),
        "PGUSER": database.get("USER", ""),
    }
    # The function returns psql's arguments and environment. The environment has the password and the TLS settings.
    _arguments, environment = DatabaseClient.settings_to_cmd_args_env(database, [])
    variables |= environment or {}
for name, value in variables.items():
    if value:
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
