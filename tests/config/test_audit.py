"""`make lint` asks about known holes: one ends it, and not being able to ask is said aloud."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from settings.environment import BASE_DIR

Audit = Callable[[str], "subprocess.CompletedProcess[str]"]
SOUND = {"name": "django", "version": "5.2.8", "vulns": []}
HOLE = {"name": "urllib3", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
UNKNOWN = {"name": "redis", "skip_reason": "Dependency not found on PyPI"}


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    """The audit with a stand-in for pip-audit that prints this."""

    def run(answer: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "pip_audit.py").write_text(
            f"import sys; print({answer!r}); sys.stderr.write('no route to host')"
        )
        return subprocess.run(
            [sys.executable, BASE_DIR / "requirements" / "audit.py"],
            env={"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def of(*packages: object) -> str:
    return json.dumps({"dependencies": packages})


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (of(SOUND), 0, "No known hole in 1 packages."),
        (of(SOUND, HOLE), 1, "urllib3 1.0: PYSEC-1, mended in 1.1"),
        (of(SOUND, UNKNOWN), 0, "NOT AUDITED: 1 of 2 packages"),
        (of(HOLE, UNKNOWN), 1, "NOT AUDITED: 1 of 2 packages"),
        ("", 0, "NOT AUDITED: PyPI cannot be asked about known holes from here (no route to host)"),
    ],
)
def test_what_is_said_and_how_it_ends(audit: Audit, answer: str, status: int, words: str) -> None:
    ended = audit(answer)
    assert (ended.returncode, words in ended.stdout) == (status, True), ended.stdout
