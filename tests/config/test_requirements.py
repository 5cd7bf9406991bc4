"""The locked requirements: every file has hashes, and no line names a package index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from settings.env import BASE_DIR

FILES = sorted((BASE_DIR / "requirements").glob("*.txt"))
PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[a-z0-9,_-]+\])?==[^\s;]+( ; .+)?")


def requirements(text: str) -> list[tuple[str, list[str]]]:
    """Return each requirement with its options, without comments."""
    bare = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = (" ".join(line.split()) for line in bare.replace("\\\n", " ").splitlines())
    return [(line.split(" --")[0], re.findall(r"--\S+", line)) for line in joined if line]


def test_the_service_and_its_developers_have_a_file_each() -> None:
    assert [file.name for file in FILES] == ["base.txt", "dev.txt"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_requirement_is_pinned_with_hashes(file: Path) -> None:
    found = requirements(file.read_text())
    assert len(found) > 20
    for requirement, options in found:
        assert PINNED.fullmatch(requirement), requirement
        assert options, f"{requirement} has no hash"
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", option) for option in options), requirement


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_line_names_a_package_index(file: Path) -> None:
    for line in file.read_text().splitlines():
        assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host|^-[ifr]\b| @ ", line), (
            line
        )


def test_developers_have_the_same_versions_as_the_service() -> None:
    service, developers = (
        {requirement.split(" ;")[0] for requirement, _ in requirements(file.read_text())} for file in FILES
    )
    assert service <= developers
