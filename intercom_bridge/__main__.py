"""The command `intercom-bridge`: the same as `manage.py` and `python -m intercom_bridge`."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

from intercom_bridge import __version__


def main() -> None:
    """Run the management command named on the command line; `version` and `--version` print our own version."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.development")
    # Not a management command: Django reserves both names for its own version.
    if sys.argv[1:] in (["version"], ["--version"]):
        sys.stdout.write(f"intercom-bridge {__version__}\n")
        return
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        # An invalid environment variable: the message says what to do, and a traceback would hide it.
        if "--traceback" in sys.argv:
            raise
        sys.exit(str(error))
    except ModuleNotFoundError as error:
        module = os.environ["DJANGO_SETTINGS_MODULE"]
        if not error.name or not f"{module}.".startswith(f"{error.name}.") or "--traceback" in sys.argv:
            raise
        sys.exit(
            f"DJANGO_SETTINGS_MODULE is “{module}”, which does not exist. Set it to settings.production."
        )


if __name__ == "__main__":
    main()
