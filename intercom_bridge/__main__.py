"""The command `intercom-bridge`. `manage.py` and `python -m intercom_bridge` do the same."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

from intercom_bridge import __version__
from settings.refusal import refusal


def main() -> None:
    """Run the management command that the command line names, or print the bridge's version."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.development")
    # Not a management command, because Django itself handles both names and prints its own version.
    if sys.argv[1:] in (["version"], ["--version"]):
        sys.stdout.write(f"intercom-bridge {__version__}\n")
        return
    try:
        execute_from_command_line(sys.argv)
    except (ImproperlyConfigured, ModuleNotFoundError) as error:
        explanation = refusal(error)
        if explanation is None or "--traceback" in sys.argv:
            raise
        sys.exit(explanation)


if __name__ == "__main__":
    main()
