"""Check whether files can be copied to an iTop: the account's permissions, and how large a file iTop accepts.

The test files belong to no ticket and are deleted at once. If a crash leaves a test file in iTop, the next test or
iTop's garbage collector deletes it.
"""

import tempfile
from collections.abc import Iterator
from math import ceil
from pathlib import Path

from django.conf import settings

from intercom_bridge.models import Workspace
from itop_client import (
    AttachmentFile,
    FileOwner,
    FileTooLargeError,
    ItopPermissionError,
    ItopRejectedError,
    OutOfResourcesError,
    attach,
    delete_attachments,
    find_attachments,
)

from .account import COMMENT, GRANT_PROFILE, UNKNOWN_ATTRIBUTE
from .finding import Finding
from .probe import Probe

NAME = "intercom-bridge-test.bin"
SMALL_BYTES = 1_000_000
# The check finds its files by these `temp_id`s, to delete them.
SMALL_ID = "Intercom bridge: test of a small file"
LARGE_ID = "Intercom bridge: test of a large file"


def examine_files(probe: Probe) -> Iterator[Finding]:
    """Upload and delete a small file, and then a file as large as the workspace with the highest limit allows.

    Raise ItopError when iTop stops responding.
    """
    check = probe.subject.check("itop.files")
    workspaces = [workspace for workspace in probe.workspaces if workspace.copies_files]
    if not workspaces:
        return
    try:
        _clean_up(probe)
        yield from _examine_sizes(probe, workspaces)
    except ItopPermissionError as error:
        yield check.failure(
            f"its account may not read, create and delete an Attachment ({error.detail}): files are not copied, and "
            "the copies of redacted files are not deleted",
            GRANT_PROFILE,
        )
    except OSError as error:
        yield check.warning(
            f"the upload of files was not tested: no file can be written to FILES_DIR ({error.strerror})",
            "Set FILES_DIR to a directory that the service may write to, with enough free space.",
        )
    if any(workspace.shows_pictures_in_log for workspace in workspaces):
        yield _pictures_finding(probe)


def _examine_sizes(probe: Probe, workspaces: list[Workspace]) -> Iterator[Finding]:
    check = probe.subject.check("itop.files")
    most_generous = max(workspaces, key=lambda workspace: workspace.max_file_bytes)
    try:
        _upload_and_delete(probe, SMALL_ID, SMALL_BYTES)
    except FileTooLargeError as error:
        limit, to_do = _describe_limit(error, SMALL_BYTES)
        yield check.failure(f"does not accept a file of 1 MB: {limit}", to_do)
        return
    megabytes = most_generous.max_file_mb
    try:
        _upload_and_delete(probe, LARGE_ID, most_generous.max_file_bytes)
    except FileTooLargeError as error:
        limit, to_do = _describe_limit(error, most_generous.max_file_bytes)
        yield check.warning(
            f"accepts a file of 1 MB, but not one of {megabytes} MB, the limit of the workspace {most_generous}: "
            f"{limit}",
            f"{to_do} Or lower the workspace's limit in the admin.",
        )
    else:
        yield check.ok(f"accepts files of up to {megabytes} MB")


def _upload_and_delete(probe: Probe, temp_id: str, size: int) -> None:
    """Test whether iTop accepts a file of `size` bytes. Raise FileTooLargeError if it does not."""
    with tempfile.TemporaryDirectory(dir=settings.FILES_DIR) as directory:
        path = Path(directory) / NAME
        with path.open("wb") as opened:
            opened.truncate(size)  # fills the file with zero bytes
        file = AttachmentFile(path, NAME, "application/octet-stream", size)
        try:
            attach(
                probe.client,
                FileOwner("UserRequest", 0, 0),  # no ticket has the id 0
                file,
                temp_id=temp_id,
                expires=True,
                deadline=probe.upload_seconds,
            )
        finally:
            _clean_up(probe)


def _clean_up(probe: Probe) -> None:
    """Delete the test files, including those that interrupted runs have left behind."""
    while True:
        # Repeat, because this finds only one file per `temp_id`, and interrupted runs may have left several.
        file_ids = find_attachments(
            probe.client, (SMALL_ID, LARGE_ID), deadline=probe.request_seconds
        ).values()
        if not delete_attachments(probe.client, file_ids, comment=COMMENT, deadline=probe.request_seconds):
            return


def _pictures_finding(probe: Probe) -> Finding:
    check = probe.subject.check("itop.pictures")
    try:
        # iTop checks the permission first. Then it always rejects the attribute, so nothing is created.
        probe.client.create(
            "InlineImage", {UNKNOWN_ATTRIBUTE: ""}, comment=COMMENT, deadline=probe.request_seconds
        )
    except ItopPermissionError:
        return check.warning(
            "its account may not create an InlineImage: pictures in messages are linked in the log, and not shown",
            "Add the profile Administrator to the account in iTop, or switch off “show pictures in the log” in the "
            "workspace. The pictures are attached to the ticket in any case.",
        )
    except ItopRejectedError:
        pass
    return check.ok("its account may create inline images: logs show pictures")


def _describe_limit(error: FileTooLargeError, size: int) -> tuple[str, str]:
    """Return two texts: what refused a file of `size` bytes, and which setting to raise."""
    # Base64 makes a file about 1.4 times as large.
    request_mb = ceil(1.4 * size / 1_000_000) + 1
    if "memory" in error.detail:
        limit, to_do = "PHP's memory", f"Set PHP's memory_limit to at least {max(128, 12 * request_mb)}M."
    elif isinstance(error.__cause__, OutOfResourcesError) or "packet" in error.detail:
        # If it is not PHP's memory, the database closed the connection.
        limit = "the database's packet size"
        to_do = f"Set max_allowed_packet of MariaDB or MySQL to at least {2 * request_mb}M."
    elif error.detail.startswith(("HTTP 413", "HTTP 414", "HTTP 431")):
        limit = "the web server, or a proxy in front of it"
        to_do = f"Set client_max_body_size of nginx (LimitRequestBody of Apache) to at least {request_mb}m."
    else:
        limit = "PHP's limit for requests"
        to_do = f"Set PHP's post_max_size to at least {request_mb}M."
    return f"{limit} refused it ({error.detail})", to_do
