"""`manage.py setup_push`: what it creates in iTop, and that it removes nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client as Browser

from intercom_bridge.management.commands import setup_push
from intercom_bridge.models import ItopInstance, TicketProfile, Workspace
from itop_client import Client, ItopUnreachableError
from sandbox.itop import Itop
from sandbox.itop.datamodel import DataModel
from sandbox.itop.seed import TOKENS

CLASSES = (
    "RemoteApplicationType",
    "RemoteApplicationConnection",
    "ActionWebhook",
    "TriggerOnObjectUpdate",
    "lnkTriggerAction",
)
ADMIN_TOKEN = TOKENS["intercom_sync_app"]


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(setup_push.TOKEN_VARIABLE, ADMIN_TOKEN)


@pytest.fixture
def run(workspace: Workspace) -> Callable[..., str]:
    def command(*options: str) -> str:
        output = StringIO()
        call_command("setup_push", "--itop", "Sandbox", *options, stdout=output)
        return output.getvalue()

    return command


def objects(itop: Itop) -> dict[str, list[dict[str, Any]]]:
    return {name: itop.store.all(name) for name in CLASSES}


def writes(itop: Itop) -> list[str]:
    return [operation for operation, _ in itop.calls if operation not in ("core/get", "list_operations")]


def instance() -> ItopInstance:
    return ItopInstance.objects.get(name="Sandbox")


def test_itop_is_made_to_push_changes_of_linked_tickets(
    run: Callable[..., str], itop: Itop, settings: Any
) -> None:
    settings.PUBLIC_URL = "https://bridge.example.com"
    run()
    made = objects(itop)
    (connection,), (action,), (trigger,), (link,) = (made[name] for name in CLASSES[1:])
    assert connection["url"] == f"https://bridge.example.com/webhooks/itop/{instance().public_id}"
    secret = instance().push_secret.reveal()
    assert action["headers"] == f"Content-type: application/json\nAuthorization: Bearer {secret}"
    assert (action["status"], action["asynchronous"]) == ("enabled", "use_global_setting")
    assert action["remoteapplicationconnection_id"] == connection["id"]
    assert trigger["target_class"] == "UserRequest"
    assert trigger["context"] == "GUI:Console, GUI:Portal"
    codes = trigger["target_attcodes"].split(", ")
    assert {"public_log", "private_log", "status", "agent_id", "team_id", "solution"} <= set(codes)
    assert set(codes) <= set(DataModel().attributes("UserRequest"))
    assert (link["trigger_id"], link["action_id"]) == (trigger["id"], action["id"])


def test_what_itop_then_sends_is_accepted(run: Callable[..., str], itop: Itop) -> None:
    run()
    (action,) = itop.store.all("ActionWebhook")
    headers = dict(line.split(": ", 1) for line in action["headers"].splitlines())
    body = action["payload"].replace("$this->finalclass$", "UserRequest").replace("$this->id$", "42")
    response = Browser().post(
        f"/webhooks/itop/{instance().public_id}",
        json.loads(body),
        headers.pop("Content-type"),
        headers=headers,
    )
    assert response.status_code == 200


def test_a_second_run_changes_nothing(run: Callable[..., str], itop: Itop) -> None:
    run()
    before, secret = objects(itop), instance().push_secret
    itop.calls.clear()
    assert run().count("Unchanged: ") == 5
    assert writes(itop) == []
    assert (objects(itop), instance().push_secret) == (before, secret)


def test_a_run_that_was_interrupted_is_continued(
    run: Callable[..., str], itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Client.create
    left = 0

    def fail_after_one(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        if not left:
            raise ItopUnreachableError("interrupted")
        left -= 1
        return create(*args, **kwargs)

    monkeypatch.setattr(Client, "create", fail_after_one)
    for number in range(1, 6):
        left = 1
        if number < 5:
            with pytest.raises(CommandError, match="interrupted. Correct the cause"):
                run()
        else:
            run()
    assert [len(found) for found in objects(itop).values()] == [1, 1, 1, 1, 1]


def test_what_differs_is_corrected_without_showing_the_secret(run: Callable[..., str], itop: Itop) -> None:
    run()
    (action,), (trigger,) = itop.store.all("ActionWebhook"), itop.store.all("TriggerOnObjectUpdate")
    # iTop stores sets of codes in its own order.
    codes = ", ".join(reversed(trigger["target_attcodes"].split(", ")))
    itop.store.update("TriggerOnObjectUpdate", trigger["id"], target_attcodes=codes)
    itop.store.update("ActionWebhook", action["id"], status="disabled")
    renewed = instance().renew_push_secret()
    report = run()
    assert f"Corrects ActionWebhook “{action['name']}”: status, headers" in report
    assert "Unchanged: TriggerOnObjectUpdate" in report
    assert renewed not in report
    (action,) = itop.store.all("ActionWebhook")
    assert renewed in action["headers"] and action["status"] == "enabled"


def test_each_class_of_tickets_has_a_trigger_with_the_profiles_attributes(
    run: Callable[..., str], itop: Itop, workspace: Workspace
) -> None:
    mapped = {"public_log": "private_log"}
    profile = TicketProfile.objects.create(name="Other", ticket_class="Problem", attributes_mapping=mapped)
    Workspace.objects.create(workspace_id="other", itop=workspace.itop, profile=profile)
    run()
    by_class = {
        row["target_class"]: row["target_attcodes"] for row in itop.store.all("TriggerOnObjectUpdate")
    }
    assert set(by_class) == {"UserRequest", "Problem"}
    codes = set(by_class["Problem"].split(", "))
    assert "private_log" in codes and "public_log" not in codes
    assert codes <= set(DataModel().attributes("Problem"))


def test_a_dry_run_changes_nothing(run: Callable[..., str], itop: Itop) -> None:
    assert run("--dry-run").count("Would create ") == 5
    assert (writes(itop), bool(instance().push_secret)) == ([], False)
    run()
    before = objects(itop)
    itop.calls.clear()
    assert run("--dry-run", "--remove").count("Would delete ") == 4
    assert (writes(itop), objects(itop)) == ([], before)
    assert instance().push_secret


def test_exactly_what_was_created_is_removed(run: Callable[..., str], itop: Itop) -> None:
    itop.store.insert("RemoteApplicationType", name="Slack")
    other = itop.store.insert("TriggerOnObjectUpdate", description="Ours", target_class="UserRequest")
    mail = itop.store.insert("ActionEmail", name="Mail", status="enabled")
    itop.store.insert("lnkTriggerAction", trigger_id=other["id"], action_id=mail["id"])
    before = objects(itop)
    run()
    assert objects(itop) != before
    run("--remove")
    assert objects(itop) == before
    assert not instance().push_secret
    run("--remove")
    assert objects(itop) == before


def test_an_existing_generic_type_is_used_and_kept(run: Callable[..., str], itop: Itop) -> None:
    generic = itop.store.insert("RemoteApplicationType", name="Generic")
    run()
    assert itop.store.all("RemoteApplicationConnection")[0]["remoteapplicationtype_id"] == generic["id"]
    run("--remove")
    assert [row["name"] for row in itop.store.all("RemoteApplicationType")] == ["Generic"]


def test_what_others_use_is_left_in_itop(run: Callable[..., str], itop: Itop) -> None:
    run()
    (connection,) = itop.store.all("RemoteApplicationConnection")
    (trigger,) = itop.store.all("TriggerOnObjectUpdate")
    name = connection["name"]
    theirs = itop.store.insert(
        "ActionWebhook", name="Theirs", remoteapplicationconnection_id=connection["id"]
    )
    itop.store.insert("lnkTriggerAction", trigger_id=trigger["id"], action_id=theirs["id"])
    report = run("--remove")
    for kept in (f"TriggerOnObjectUpdate “{name}: UserRequest”", f"RemoteApplicationConnection “{name}”"):
        assert re.search(rf"Left in iTop, because other objects use it \(1 \w+\): {re.escape(kept)}", report)
    assert [row["id"] for row in itop.store.all("ActionWebhook")] == [theirs["id"]]
    links = itop.store.all("lnkTriggerAction")
    assert [(row["trigger_id"], row["action_id"]) for row in links] == [(trigger["id"], theirs["id"])]


@pytest.mark.parametrize("login", ["agent_app", "reader_app", "norest_app", ""])
def test_the_token_of_another_account_is_explained(
    run: Callable[..., str], itop: Itop, monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    monkeypatch.setenv(setup_push.TOKEN_VARIABLE, TOKENS.get(login, "no-such-token"))
    with pytest.raises(CommandError, match="profiles Administrator and REST Services User") as error:
        run()
    assert TOKENS.get(login, "no-such-token") not in str(error.value)
    assert not any(objects(itop).values())


def test_an_itop_without_the_extension_is_explained(
    run: Callable[..., str], itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in CLASSES[:3]:
        monkeypatch.delitem(itop.store.model.by_name, name)
    for option in ("--dry-run", "--remove"):
        with pytest.raises(CommandError, match="combodo-webhook-integration"):
            run(option)
    assert not instance().push_secret


def test_the_token_is_neither_stored_nor_an_argument(
    run: Callable[..., str], itop: Itop, workspace: Workspace
) -> None:
    # The bridge's own account is not an Administrator.
    workspace.itop.token = TOKENS["agent_app"]
    workspace.itop.save()
    assert ADMIN_TOKEN not in run()
    assert instance().token.reveal() == TOKENS["agent_app"]
    with pytest.raises(CommandError, match="unrecognized arguments"):
        run("--token", ADMIN_TOKEN)


def test_without_a_terminal_the_variable_is_asked_for(
    run: Callable[..., str], itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(setup_push.TOKEN_VARIABLE)
    monkeypatch.setattr("sys.stdin", StringIO())
    with pytest.raises(CommandError, match="Set ITOP_ADMIN_TOKEN"):
        run()
    assert itop.calls == []


def test_in_a_terminal_the_token_is_prompted_for(
    run: Callable[..., str], itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(setup_push.TOKEN_VARIABLE)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(setup_push, "getpass", lambda _prompt: ADMIN_TOKEN)
    run()
    assert itop.store.all("ActionWebhook")


def test_an_unknown_name_lists_the_known_ones(workspace: Workspace) -> None:
    with pytest.raises(CommandError, match="no iTop named Nope. Existing: Sandbox"):
        call_command("setup_push", "--itop", "Nope")
