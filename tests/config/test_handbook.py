"""The handbook: each message has its line, each link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from intercom_bridge import reasons
from intercom_bridge.canvas.components import Canvas
from intercom_bridge.canvas.screens import trouble
from intercom_bridge.intercom.api import IntercomTokenRefused, IntercomUnreachable
from intercom_bridge.models.delivery import LEFT_OUT, MISSING, PAUSED, UNLINKED
from intercom_bridge.models.notification import NOT_LINKED
from itop_client import (
    ItopLoginRefused,
    ItopNoAnswer,
    ItopNotAllowed,
    ItopRefused,
    ItopTrouble,
    ItopUnreachable,
)
from settings.environment import BASE_DIR

DOCS = BASE_DIR / "docs"
PAGES = sorted([BASE_DIR / "README.md", *DOCS.glob("*.md"), *BASE_DIR.glob("SECURITY.md")])
TROUBLESHOOT = (DOCS / "troubleshoot.md").read_text(encoding="utf-8")

SCREENS = [
    trouble.turned_off({}),
    trouble.unreadable(),
    trouble.too_many("home", {}),
    trouble.out_of_scope({}),
    trouble.ticket_gone({}),
    trouble.unknown_click({}),
    trouble.unreadable_secret("home", {}),
    trouble.intercom_trouble(IntercomTokenRefused("no"), "home", {}),
    trouble.intercom_trouble(IntercomUnreachable("no"), "home", {}),
    trouble.ours("ab12", "home", {}),
    *(
        trouble.itop_trouble(error("no"), "home", {}, is_linked=False)
        for error in (
            ItopUnreachable,
            ItopNoAnswer,
            ItopLoginRefused,
            ItopNotAllowed,
            ItopRefused,
            ItopTrouble,
        )
    ),
]


@pytest.mark.parametrize("screen", SCREENS)
def test_each_screen_of_trouble_is_explained(screen: Canvas) -> None:
    title = screen.to_json()["canvas"]["content"]["components"][0]["text"]
    assert f"| {title} |" in TROUBLESHOOT


@pytest.mark.parametrize("sentence", [*reasons.KNOWN, PAUSED, UNLINKED, LEFT_OUT, MISSING, NOT_LINKED])
def test_each_reason_is_explained(sentence: str) -> None:
    """Up to the first thing that varies in it; without the names of numbers."""
    begins = re.split(r"%\(\w+\)s", sentence)[0].strip(" :.") or sentence.rpartition("%(")[0]
    words = begins if len(begins) > 5 else re.split(r"%\(\w+\)s", sentence)[-1].strip(" :.")
    shared = {
        "its objects are not a list by name": "its objects are not a list by name",
        "one of its objects has": "one of its objects has no class, an error of its own, no number, no fields",
    }
    found = next((line for start, line in shared.items() if words.startswith(start)), words)
    assert found.split(".")[0] in TROUBLESHOOT


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_within_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), target


def test_the_index_names_every_page() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    assert [
        page.name for page in DOCS.glob("*.md") if page.name != "README.md" and page.name not in index
    ] == []
