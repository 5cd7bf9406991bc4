"""Each question of the doctor stands in the handbook."""

from __future__ import annotations

import re

from settings.environment import BASE_DIR

QUESTION = re.compile(r'"((?:service|workspace|itop|profile)\.[a-z_]+)"')


def asked() -> set[str]:
    files = (BASE_DIR / "intercom_bridge" / "doctor").glob("*.py")
    return {question for file in files for question in QUESTION.findall(file.read_text(encoding="utf-8"))}


def test_every_question_stands_in_the_handbook_and_no_other() -> None:
    handbook = (BASE_DIR / "docs" / "operate.md").read_text(encoding="utf-8")
    table = handbook[handbook.index("| about |") : handbook.index("Not seen without writing")]
    documented = set(re.findall(r"`([a-z]+\.[a-z_]+)`", table))
    # Their names are made of a prefix and a secret's name.
    assert documented == asked() | {"workspace.client_secret", "workspace.access_token"}
