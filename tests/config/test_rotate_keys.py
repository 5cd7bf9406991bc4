"""Rotation of encryption keys: every secret stays readable during and after it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import DatabaseError
from pytest_django import Settings

from intercom_bridge.models import ItopInstance, Messenger, MessengerKey, Secret, TicketProfile, Workspace
from intercom_bridge.ops.key_rotation import StoredSecret, rotate_keys, stored_secrets

pytestmark = pytest.mark.django_db

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
PLAIN = (
    "the-account-token",
    "the-client-secret",
    "the-access-token",
    "the-messenger-secret",
    "its-successor",
    "the-key",
)


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    """Return a workspace whose secrets use the old key. The new key has just been added in front of it."""
    settings.FIELD_ENCRYPTION_KEYS = [OLD]
    itop = ItopInstance.objects.create(name="Desk", url="https://itop.example.com", token=PLAIN[0])
    workspace = Workspace.objects.create(
        workspace_id="abcd1234",
        itop=itop,
        profile=TicketProfile.objects.create(name="Stock"),
        client_secret=PLAIN[1],
        access_token=PLAIN[2],
    )
    Messenger.objects.create(workspace=workspace, api_secret=PLAIN[3], next_api_secret=PLAIN[4])
    MessengerKey.objects.create(itop=itop, secret=PLAIN[5])
    settings.FIELD_ENCRYPTION_KEYS = [NEW, OLD]
    return workspace


def revealed() -> tuple[str, ...]:
    workspace = Workspace.objects.select_related("itop").get()
    assert workspace.itop.person_of(workspace.itop.user_id_of(40)) == 40
    messenger, key = Messenger.objects.get(), MessengerKey.objects.get()
    return tuple(
        secret.reveal()
        for secret in (
            workspace.itop.token,
            workspace.client_secret,
            workspace.access_token,
            messenger.api_secret,
            messenger.next_api_secret,
            key.secret,
        )
    )


def run(*options: str) -> str:
    out = io.StringIO()
    call_command("rotate_keys", *options, stdout=out)
    return out.getvalue()


def test_afterwards_the_new_key_decrypts_everything(workspace: Workspace, settings: Settings) -> None:
    printed = run()
    assert "7  re-encrypted" in printed
    assert "Remove the others" in printed
    assert not any(plain in printed for plain in PLAIN)
    settings.FIELD_ENCRYPTION_KEYS = [NEW]
    assert revealed() == PLAIN


def test_a_dry_run_counts_and_changes_nothing(workspace: Workspace, settings: Settings) -> None:
    printed = run("--dry-run")
    assert "7  would be re-encrypted" in printed
    assert "Remove the others" not in printed
    settings.FIELD_ENCRYPTION_KEYS = [OLD]
    assert revealed() == PLAIN


def test_an_interrupted_rotation_can_be_continued(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    renew = StoredSecret.renew
    done: list[StoredSecret] = []

    def fails_at_the_second(stored: StoredSecret) -> bool:
        if done:
            raise DatabaseError("the server closed the connection")
        done.append(stored)
        return renew(stored)

    monkeypatch.setattr(StoredSecret, "renew", fails_at_the_second)
    with pytest.raises(DatabaseError):
        rotate_keys()
    assert revealed() == PLAIN  # both keys are still there
    monkeypatch.undo()
    rotation = rotate_keys()
    assert (rotation.renewed, rotation.current) == (6, 1)
    settings.FIELD_ENCRYPTION_KEYS = [NEW]
    assert revealed() == PLAIN


def test_a_secret_entered_during_the_rotation_is_kept(workspace: Workspace) -> None:
    stale = next(stored for stored in stored_secrets() if stored.column.name == "access_token")
    Workspace.objects.update(access_token="a-newer-one")
    assert not stale.renew()
    assert Workspace.objects.get().access_token.reveal() == "a-newer-one"


def test_a_secret_that_no_key_decrypts_is_reported_and_kept(workspace: Workspace, settings: Settings) -> None:
    lost: dict[str, Any] = {"access_token": Secret(Fernet(Fernet.generate_key()).encrypt(b"x").decode())}
    Workspace.objects.update(**lost)
    with pytest.raises(
        CommandError, match=r"No key can decrypt these secrets.* \(1\):\n  workspace abcd1234, access token"
    ):
        run()
    settings.FIELD_ENCRYPTION_KEYS = [NEW]
    assert still_readable() == PLAIN[:2]
    assert Workspace.objects.get().access_token == lost["access_token"]


def still_readable() -> tuple[str, ...]:
    workspace = Workspace.objects.select_related("itop").get()
    return (workspace.itop.token.reveal(), workspace.client_secret.reveal())


def test_without_a_key_the_message_names_the_setting(workspace: Workspace, settings: Settings) -> None:
    settings.FIELD_ENCRYPTION_KEYS = []
    with pytest.raises(CommandError, match="FIELD_ENCRYPTION_KEYS is not set"):
        run()
