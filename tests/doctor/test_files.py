"""The doctor uploads a small and a large file, names the limit that it met, and leaves nothing in iTop."""

from __future__ import annotations

from typing import Any

import pytest

from intercom_bridge import doctor
from intercom_bridge.doctor import Finding, files
from intercom_bridge.models import Workspace
from sandbox.itop import Itop
from sandbox.itop.seed import TOKENS

from .findings import about, levels

MEGABYTE = 1024 * 1024


@pytest.fixture
def workspace(workspace: Workspace) -> Workspace:
    workspace.copies_files = True
    workspace.save()
    return workspace


def examine(workspace: Workspace) -> list[Finding]:
    workspace.itop.refresh_from_db()
    return list(doctor.examine_itop(workspace.itop))


def uploaded(itop: Itop) -> list[dict[str, Any]]:
    return [row for row in itop.store.all("Attachment") if str(row["temp_id"]).startswith("Intercom bridge")]


def test_files_of_1_mb_and_of_the_limit_are_uploaded_and_deleted(workspace: Workspace, itop: Itop) -> None:
    findings = examine(workspace)
    assert about(findings, "itop.files").found == "accepts files of up to 2 MB"
    assert about(findings, "itop.pictures").level.value == "ok"
    assert itop.calls.count(("core/create", "Attachment")) == 2
    assert not uploaded(itop)


@pytest.mark.parametrize(
    ("limit", "value", "setting"),
    [
        ("max_body", 4_000_000, "client_max_body_size of nginx (LimitRequestBody of Apache) to at least 8m"),
        ("post_max_size", 4_000_000, "post_max_size to at least 8M"),
        ("memory_limit", 20 * MEGABYTE, "memory_limit to at least 128M"),
        ("max_allowed_packet", 4_000_000, "max_allowed_packet of MariaDB or MySQL to at least 16M"),
    ],
)
def test_the_limit_that_refuses_the_largest_file_is_named(
    workspace: Workspace, itop: Itop, limit: str, value: int, setting: str
) -> None:
    Workspace.objects.update(max_file_mb=5)
    target = itop if hasattr(itop, limit) else itop.operations
    setattr(target, limit, value)
    finding = about(examine(workspace), "itop.files")
    assert finding.level.value == "warning"
    assert finding.found.startswith(
        "accepts a file of 1 MB, but not one of 5 MB, the limit of the workspace Tests"
    )
    assert setting in finding.to_do
    assert "lower the workspace's limit" in finding.to_do
    assert not uploaded(itop)


def test_a_limit_below_1_mb_is_a_failure(workspace: Workspace, itop: Itop) -> None:
    itop.max_body = 1_000_000
    finding = about(examine(workspace), "itop.files")
    assert finding.level.value == "failure"
    assert "does not accept a file of 1 MB: the web server" in finding.found


def test_what_a_crash_has_left_is_deleted_first(
    workspace: Workspace, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for temp_id in (files.SMALL_ID, files.SMALL_ID, files.LARGE_ID):
        itop.store.insert("Attachment", temp_id=temp_id)
    assert about(examine(workspace), "itop.files").level.value == "ok"
    assert itop.calls.count(("core/create", "Attachment")) == 2
    assert not uploaded(itop)


def test_an_upload_whose_answer_is_lost_is_deleted(workspace: Workspace, itop: Itop) -> None:
    itop.faults.add("drop_after", operation="core/create", class_name="Attachment", count=1)
    assert levels(examine(workspace))["itop.stopped"] == "failure"
    assert not uploaded(itop)


def test_an_account_that_may_not_create_attachments_is_a_failure(workspace: Workspace) -> None:
    workspace.itop.token = TOKENS["reader_app"]
    workspace.itop.save()
    findings = examine(workspace)
    finding = about(findings, "itop.files")
    assert finding.level.value == "failure"
    assert "may not read, create and delete an Attachment" in finding.found
    assert about(findings, "itop.pictures").level.value == "warning"


def test_an_account_that_may_not_create_inline_images_is_a_warning(workspace: Workspace) -> None:
    workspace.itop.token = TOKENS["agent_app"]
    workspace.itop.save()
    findings = examine(workspace)
    assert about(findings, "itop.files").level.value == "ok"
    assert "linked in the log, and not shown" in about(findings, "itop.pictures").found


@pytest.mark.parametrize(
    ("change", "ids"), [({"copies_files": False}, set()), ({"shows_pictures_in_log": False}, {"itop.files"})]
)
def test_what_the_workspaces_do_not_use_is_not_tested(
    workspace: Workspace, change: dict[str, Any], ids: set[str]
) -> None:
    Workspace.objects.update(**change)
    assert set(levels(examine(workspace))) & {"itop.files", "itop.pictures"} == ids


def test_a_directory_that_is_not_writable_is_a_warning(
    workspace: Workspace, settings: Any, tmp_path: Any
) -> None:
    settings.FILES_DIR = tmp_path / "missing"
    assert "FILES_DIR" in about(examine(workspace), "itop.files").found
