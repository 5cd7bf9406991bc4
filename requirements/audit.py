"""Asks whether anything locked in base.txt has a known hole. `make lint` runs it.

Ends with 1 when there is one. When nobody can be asked, says so and ends with 0: a lint without network is one, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

LOCKED = Path(__file__).parent / "base.txt"


def main() -> int:
    asked = subprocess.run(
        [sys.executable, "-m", "pip_audit", "-r", str(LOCKED)]
        + [
            "--disable-pip",
            "--require-hashes",
            "--format",
            "json",
            "--progress-spinner",
            "off",
            "--timeout",
            "5",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        packages = json.loads(asked.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (asked.stderr.strip().splitlines() or ["no answer"])[-1]
        say(f"NOT AUDITED: PyPI cannot be asked about known holes from here ({last[:200]}).")
        return 0
    holes = [(one["name"], one["version"], hole) for one in packages for hole in one.get("vulns", [])]
    for name, version, hole in holes:
        fixed = ", ".join(hole["fix_versions"]) or "no version"
        say(f"{name} {version}: {hole['id']}, mended in {fixed}")
    # A mirror that knows no holes answers 404, which pip-audit counts as a package that is not there.
    unknown = [one["name"] for one in packages if "skip_reason" in one]
    if unknown:
        say(
            f"NOT AUDITED: {len(unknown)} of {len(packages)} packages; what answers here knows nothing of them."
        )
    if not holes and not unknown:
        say(f"No known hole in {len(packages)} packages.")
    return 1 if holes else 0


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")


if __name__ == "__main__":
    sys.exit(main())
