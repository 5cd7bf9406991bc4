"""What the doctor says of an iTop: the stand-in, over real HTTP."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from intercom_bridge import doctor
from intercom_bridge.datamodel import Attribute, Kind, TicketClass
from intercom_bridge.datamodel.builtin import BUILTIN_CLASSES
from intercom_bridge.datamodel.serialization import to_json
from intercom_bridge.doctor import Finding, probe
from intercom_bridge.doctor.account import examine_account
from intercom_bridge.doctor.extension import examine_extension
from intercom_bridge.doctor.portal import examine_portal
from intercom_bridge.doctor.profile import examine_profiles
from intercom_bridge.doctor.scope import examine_scopes
from intercom_bridge.doctor.traces import examine_traces
from intercom_bridge.doctor.triggers import examine_triggers
from intercom_bridge.models import (
    Conversation,
    Delivery,
    ImportedClass,
    ItopInstance,
    Ticket,
    TicketProfile,
    Workspace,
)
from itop_client import Deadline, ItopPermissionError, UnknownAttributeError
from sandbox.itop import Itop, accounts, running_itop
from sandbox.itop.operations import Call
from sandbox.itop.seed import TOKENS
from sandbox.itop.server import HTML, Handler
from settings.env import BASE_DIR
from tests.itop_client.socket_server import certificate, http_response, serving
from tests.linked import store_link
from tests.teammate import Teammate, notify, part

from .findings import about, levels, run

Work = Callable[[], None]


def examine(workspace: Workspace) -> list[Finding]:
    workspace.itop.refresh_from_db()
    return list(doctor.examine_itop(workspace.itop))


def find(workspace: Workspace, check: str) -> Finding:
    """Return the first finding of this check, without the checks that follow."""
    workspace.itop.refresh_from_db()
    return next(finding for finding in doctor.examine_itop(workspace.itop) if finding.about == check)


def use(workspace: Workspace, **fields: Any) -> None:
    for name, value in fields.items():
        setattr(workspace.itop, name, value)
    workspace.itop.save()


# The checks of an iTop to which no message was written and in whose pages no Messenger is shown.
CHECKS = (
    *("itop.answer", "itop.clock", "itop.reading", "itop.writing", "itop.administrator"),
    *("profile.attributes", "profile.choices", "workspace.scope", "itop.changes", "itop.time_zone"),
    *("itop.extension", "itop.triggers", "itop.polling", "itop.history", "itop.emails", "itop.portal"),
    *("itop.files", "itop.pictures"),
)


def test_a_good_itop_is_good_in_every_way(workspace: Workspace, itop: Itop) -> None:
    Workspace.objects.update(copies_files=True)
    use(workspace, portal_url=f"{itop.url}/?id={{id}}")
    findings = examine(workspace)
    assert levels(findings) == dict.fromkeys(CHECKS, "ok")
    assert "(REST 1.3)" in about(findings, "itop.answer").found
    assert all(finding.to_do == "" for finding in findings)
    assert "TriggerOnObjectUpdate" in [class_name for _, class_name in itop.calls]


def test_nothing_is_left_in_itop(workspace: Workspace, itop: Itop) -> None:
    Workspace.objects.update(copies_files=True)
    before = itop.state() | {"calls": 0, "now": ""}
    for login in ("intercom_sync_app", "agent_app", "reader_app"):
        use(workspace, token=TOKENS[login])
        examine(workspace)
    assert itop.state() | {"calls": 0, "now": ""} == before
    assert itop.store.all("CMDBChange") == []
    assert ("core/create", "UserRequest") in itop.calls
    assert ("core/update", "UserRequest") in itop.calls


def test_the_permission_test_never_creates_a_ticket(
    workspace: Workspace, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Call, "check", lambda *_: None)
    tickets = len(itop.state()["tickets"])
    assert levels(examine(workspace))["itop.writing"] == "ok"
    assert len(itop.state()["tickets"]) == tickets


# The account


@pytest.mark.parametrize(
    ("login", "text"),
    [
        ("", "refuses the token"),
        ("norest_app", "lacks the profile REST Services User"),
        ("adminonly_app", "lacks the profile REST Services User"),
        ("portal_app", "portal user"),
        ("disabled_app", "disabled"),
    ],
)
def test_a_refused_account_is_explained_and_stops_the_checks(
    login: str, text: str, workspace: Workspace, itop: Itop
) -> None:
    use(workspace, token=TOKENS.get(login, "no-such-token"))
    (finding,) = examine(workspace)
    assert (finding.level.value, finding.about) == ("failure", "itop.account")
    assert text in finding.found
    assert finding.to_do
    assert itop.calls == []


def test_an_account_that_is_not_an_administrator_is_a_warning(workspace: Workspace, itop: Itop) -> None:
    use(workspace, token=TOKENS["agent_app"])
    findings = run(examine_account)
    found = levels(findings)
    assert (found["itop.administrator"], found["itop.reading"], found["itop.writing"]) == (
        "warning",
        "warning",
        "ok",
    )
    assert "author's name in the text" in about(findings, "itop.administrator").found
    missing = [finding.found for finding in findings if finding.about == "itop.reading" and finding.to_do]
    assert len(missing) == 2
    assert "may not read User" in missing[0]
    assert "may not read CMDBChangeOpSetAttributeCaseLog" in missing[1]
    workspace.itop.refresh_from_db()
    assert workspace.itop.is_administrator is False


def test_an_account_that_became_an_administrator_is_stored_as_one(workspace: Workspace) -> None:
    use(workspace, is_administrator=False)
    run(examine_account)
    workspace.itop.refresh_from_db()
    assert workspace.itop.is_administrator is True


def test_an_account_with_read_permission_only_is_a_failure(workspace: Workspace) -> None:
    use(workspace, token=TOKENS["reader_app"])
    findings = [finding.found for finding in run(examine_account) if finding.about == "itop.writing"]
    assert [("may not create" in found, "may not modify" in found) for found in findings] == [
        (True, False),
        (False, True),
    ]
    assert "“Create a ticket”" in findings[0]


@pytest.mark.parametrize("secret", ["PUT_YOUR_TOKEN_HERE", None])
def test_an_invalid_secret_is_reported_without_a_call(
    secret: str | None, workspace: Workspace, itop: Itop, settings: Any
) -> None:
    if secret:
        use(workspace, token=secret)
    else:
        settings.FIELD_ENCRYPTION_KEYS = ["YW5vdGhlci1rZXktZm9yLXRoZS10ZXN0cy0zMmJ5dGU="]
    (finding,) = examine(workspace)
    assert (finding.about, finding.level.value) == ("itop.secret", "failure")
    assert itop.calls == []


# Responses


def test_an_unreachable_itop_has_one_finding(workspace: Workspace, itop: Itop) -> None:
    itop.faults.away = True
    (finding,) = examine(workspace)
    assert (finding.about, finding.level.value) == ("itop.answer", "failure")
    assert "cannot be reached" in finding.found


def test_an_itop_that_does_not_respond_has_one_finding(
    workspace: Workspace, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "REQUEST_SECONDS", 0.3)
    itop.faults.add("slow", seconds=30)
    (finding,) = examine(workspace)
    assert "did not respond" in finding.found


def test_findings_before_a_failure_are_kept(workspace: Workspace, itop: Itop) -> None:
    itop.faults.add("maintenance", operation="core/get", class_name="Organization")
    findings = examine(workspace)
    assert findings[0].about == "itop.answer"
    assert (findings[-1].level.value, findings[-1].about) == ("failure", "itop.stopped")
    assert "maintenance" in findings[-1].found


def test_a_rejected_request_is_not_reported_as_an_outage(
    workspace: Workspace, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise ItopPermissionError("does not have enough permissions for that")

    monkeypatch.setattr("intercom_bridge.doctor.itop.examine_triggers", refuse)
    finding = about(examine(workspace), "itop.stopped")
    assert "rejected a request" in finding.found
    assert "error log" not in finding.to_do


class Clock(Deadline):
    """Each request takes six seconds."""

    def remaining(self) -> float:
        self._end -= 6
        return self._end


def test_with_a_time_limit_no_request_is_cut_short(workspace: Workspace, itop: Itop) -> None:
    clock = Clock(0)
    clock._end = 27.0
    findings = list(doctor.itop.examine(workspace.itop, [workspace], clock))
    assert about(findings, "itop.answer").level.value == "ok"
    assert (findings[-1].about, findings[-1].level.value) == ("itop.time", "warning")
    assert "itop.stopped" not in levels(findings)
    assert len(itop.calls) == 3


def test_only_a_page_has_a_time_limit(workspace: Workspace, itop: Itop) -> None:
    assert about(doctor.examine_itop(workspace.itop, 0.0), "itop.time").level.value == "warning"
    assert about(doctor.examine(workspace, 0.0), "workspace.time").level.value == "warning"
    assert itop.calls == []
    assert "itop.time" not in levels(doctor.examine(workspace))


def test_the_time_limit_of_a_page_is_below_that_of_nginx() -> None:
    site = (BASE_DIR / "deploy" / "nginx" / "bridge.conf").read_text(encoding="utf-8")
    (waits,) = re.findall(r"proxy_read_timeout (\d+)s;", site)
    assert float(waits) > doctor.PAGE_SECONDS + 2


@pytest.mark.parametrize(
    ("kind", "text"), [("html", "not with its REST interface"), ("maintenance", "maintenance")]
)
def test_a_response_that_is_not_from_the_rest_interface_is_explained(
    kind: str, text: str, workspace: Workspace, itop: Itop
) -> None:
    itop.faults.add(kind)
    (finding,) = examine(workspace)
    assert finding.about == "itop.answer"
    assert text in finding.found


def test_a_redirect_is_not_followed_and_its_token_is_hidden(workspace: Workspace, itop: Itop) -> None:
    def redirect(server: Any, connection: socket.socket) -> None:
        connection.sendall(http_response(b"", f"Location: {itop.url}/?auth_token=t0k3n", status="302 Found"))

    with serving(redirect) as server:
        use(workspace, url=server.url)
        (finding,) = examine(workspace)
        assert len(server.requests) == 1
    assert "redirects" in finding.found
    assert "t0k3n" not in f"{finding.found} {finding.to_do}"
    assert itop.calls == []


def test_a_self_signed_certificate_is_reported(workspace: Workspace, tmp_path: Path) -> None:
    context, _ = certificate(tmp_path)
    with serving(lambda server, connection: None, context) as server:
        use(workspace, url=server.url)
        (finding,) = examine(workspace)
    assert (finding.about, finding.level.value) == ("itop.certificate", "failure")
    assert "self-signed" in finding.found


def test_a_certificate_that_expires_tomorrow_is_a_warning(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, authority = certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    operations = b'{"code": 0, "version": "1.3", "operations": []}'
    with serving(lambda server, connection: connection.sendall(http_response(operations)), context) as server:
        use(workspace, url=server.url)
        finding = find(workspace, "itop.certificate")
    assert finding.level.value == "warning"
    assert " more day" in finding.found


def test_plain_http_to_another_machine_is_a_warning(
    workspace: Workspace, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intercom_bridge.doctor.itop._THIS_MACHINE", ())
    assert find(workspace, "itop.certificate").level.value == "warning"


@pytest.mark.parametrize(("seconds", "text"), [(90, "ahead of"), (-90, "behind"), (5, "correct")])
def test_a_wrong_clock_is_a_warning(seconds: int, text: str, workspace: Workspace, itop: Itop) -> None:
    itop.store.clock = lambda: time.time() + seconds
    finding = find(workspace, "itop.clock")
    assert text in finding.found
    assert finding.level.value == ("ok" if text == "correct" else "warning")


# Requirements


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"details_attributes": ["status", "nope"]}, "nope, which is one of its details"),
        (
            {"form_attributes": ["title", "description", "urgencie"]},
            "urgencie, which is a field of its create form",
        ),
        ({"subtitle_attribute": "headline"}, "headline, which is its subtitle"),
        ({"attributes_mapping": {"public_log": "customer_log"}}, "mapped as its public_log"),
        ({"defaults": {"colour": "red"}}, "colour, which is one of its defaults"),
    ],
)
def test_each_attribute_of_the_profile_must_exist(
    change: dict[str, Any], text: str, workspace: Workspace
) -> None:
    TicketProfile.objects.update(**change)
    findings = [finding for finding in run(examine_profiles) if finding.about == "profile.attributes"]
    assert [finding.level.value for finding in findings] == ["failure"]
    assert text in findings[0].found


def test_a_misspelt_attribute_gets_a_suggestion(workspace: Workspace) -> None:
    TicketProfile.objects.update(details_attributes=["prioritie", "statuss"])
    to_do = [finding.to_do for finding in run(examine_profiles) if finding.about == "profile.attributes"]
    assert any("priority" in text for text in to_do)
    assert any("status" in text for text in to_do)


def test_a_missing_class_is_reported_once(workspace: Workspace) -> None:
    TicketProfile.objects.update(ticket_class="Complaint")
    findings = examine(workspace)
    assert about(findings, "profile.class").level.value == "failure"
    assert "itop.stopped" not in levels(findings)


def test_an_abstract_class_is_a_failure(workspace: Workspace) -> None:
    TicketProfile.objects.update(ticket_class="Ticket")
    findings = examine(workspace)
    assert any("may not create a Ticket" in finding.found for finding in findings)
    assert "itop.stopped" not in levels(findings)


def test_an_unknown_state_is_a_warning(workspace: Workspace) -> None:
    TicketProfile.objects.update(excluded_states=["close"])
    finding = about(run(examine_profiles), "profile.states")
    assert "closed" in finding.found
    assert finding.level.value == "warning"


@pytest.mark.parametrize(("is_imported", "level"), [(False, "warning"), (True, "failure")])
def test_a_default_value_that_is_not_allowed_is_found(
    workspace: Workspace, is_imported: bool, level: str
) -> None:
    TicketProfile.objects.update(defaults={"urgency": "9", "impact": "1"})
    if is_imported:
        ImportedClass.objects.create(
            itop=workspace.itop,
            name="UserRequest",
            definition=to_json(BUILTIN_CLASSES["UserRequest"]),
            file_name="a.xml",
        )
    finding = about(run(examine_profiles), "profile.defaults")
    assert finding.level.value == level
    assert "urgency has no value “9”. Its values: 1 (Critical)" in finding.found


@pytest.mark.parametrize(
    ("scope", "level", "text"),
    [
        ("SELECT Organization", "ok", "finds objects of the class Organization: 6"),
        ("SELECT Organization WHERE id = :current_contact->org_id", "ok", "depends on the contact"),
        ("SELECT Organization WHERE name = 'Nobody Inc'", "warning", "no contact is in scope"),
        ("SELECT Organization WHERE nope = 1", "failure", "nope"),
        ("SELECT Organisation", "failure", "Did you mean Organization?"),
    ],
)
def test_the_scope_is_tested_in_itop(scope: str, level: str, text: str, workspace: Workspace) -> None:
    Workspace.objects.update(scope=scope)
    finding = about(run(examine_scopes), "workspace.scope")
    assert finding.level.value == level
    assert text in finding.found


@pytest.mark.parametrize(
    ("person_id", "scope", "level", "text"),
    [
        (41, "SELECT Organization WHERE name LIKE 'Acme%'", "ok", "Bob Durand"),
        (
            50,
            "SELECT Organization WHERE name LIKE 'Acme%'",
            "failure",
            "Person 50, is not in the workspace's scope",
        ),
        (99999, "SELECT Organization", "failure", "Person 99999, is not"),
        (42, "SELECT Organization", "warning", "is inactive"),
    ],
)
def test_the_caller_for_unknown_customers_must_be_in_scope(
    person_id: int, scope: str, level: str, text: str, workspace: Workspace, itop: Itop
) -> None:
    itop.store.update("Person", 42, status="inactive")
    Workspace.objects.update(default_caller_id=person_id, scope=scope)
    finding = about(run(examine_scopes), "workspace.default_caller")
    assert (finding.level.value, text in finding.found) == (level, True)


@pytest.mark.parametrize(("code", "level"), [("employee_number", "ok"), ("id", "ok"), ("badge", "failure")])
def test_the_attribute_for_the_external_id_must_exist(code: str, level: str, workspace: Workspace) -> None:
    Workspace.objects.update(external_id_attribute=code)
    assert about(run(examine_scopes), "workspace.external_id").level.value == level


def forbid(itop: Itop, monkeypatch: pytest.MonkeyPatch, *classes: str) -> None:
    """Remove the account's permission to read these classes."""
    may = accounts.may

    def forbidden(store: Any, user: Any, action: str, class_name: str) -> bool:
        return class_name not in classes and may(store, user, action, class_name)

    monkeypatch.setattr(accounts, "may", forbidden)


def test_unreadable_persons_do_not_stop_other_checks(
    workspace: Workspace, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    Workspace.objects.update(external_id_attribute="employee_number")
    forbid(itop, monkeypatch, "Person")
    findings = examine(workspace)
    finding = about(findings, "workspace.external_id")
    assert (finding.level.value, "read Person" in finding.to_do) == ("failure", True)
    assert "itop.stopped" not in levels(findings)
    assert "itop.triggers" in levels(findings)


def test_an_invalid_filter_is_reported_with_its_field(workspace: Workspace) -> None:
    team = Attribute(code="team_id", kind=Kind.KEY, target_class="Team", filter="SELECT Team WHERE nope = 1")
    known = TicketClass(name="UserRequest", attributes={"team_id": team})
    ImportedClass.objects.create(itop=workspace.itop, name="UserRequest", definition=to_json(known))
    TicketProfile.objects.update(form_attributes=["title", "description", "team_id"])
    finding = about(run(examine_profiles), "profile.choices")
    assert finding.level.value == "failure"
    assert "team_id" in finding.found


# Notifications


def trigger(
    itop: Itop,
    description: str,
    attributes: str,
    *,
    status: str = "enabled",
    on: str = "UserRequest",
    context: str = "",
    query: str = "",
) -> None:
    made = itop.store.insert(
        "TriggerOnObjectUpdate",
        description=description,
        target_class=on,
        target_attcodes=attributes,
        context=context,
        filter=query,
    )
    action = itop.store.insert("ActionEmail", name=f"Mail of {description}", status=status)
    itop.store.insert("lnkTriggerAction", trigger_id=made["id"], action_id=action["id"])


def test_triggers_that_send_e_mails_are_listed_by_name(workspace: Workspace, itop: Itop) -> None:
    trigger(itop, "Public log updated", "public_log")
    trigger(itop, "Anything changed", "", on="Ticket")
    trigger(itop, "Priority changed", "priority")
    trigger(itop, "Rehearsed", "public_log", status="test")
    trigger(itop, "Of a person", "", on="Person")
    finding = about(run(examine_triggers), "itop.triggers")
    assert finding.level.value == "warning"
    assert "“Public log updated”" in finding.found
    assert "“Anything changed”" in finding.found
    assert not any(name in finding.found for name in ("Priority", "Rehearsed", "person"))


def test_a_trigger_for_other_contexts_than_rest_is_not_listed(workspace: Workspace, itop: Itop) -> None:
    trigger(itop, "Portal only", "public_log", context="GUI:Console, GUI:Portal")
    assert (
        about(run(examine_triggers), "itop.triggers").found
        == "sends no e-mail when a message is written to a log"
    )
    trigger(itop, "REST too", "public_log", context="GUI:Portal, REST/JSON")
    finding = about(run(examine_triggers), "itop.triggers")
    assert "“REST too”" in finding.found and "Portal only" not in finding.found


def test_a_trigger_whose_filter_leaves_out_the_bridges_tickets_is_no_warning(
    workspace: Workspace, itop: Itop
) -> None:
    trigger(itop, "Not from chat", "public_log", query="SELECT UserRequest WHERE origin != 'chat'")
    finding = about(run(examine_triggers), "itop.triggers")
    assert finding.level.value == "ok"
    assert "not created from a conversation" in finding.found and "“Not from chat”" in finding.found
    trigger(itop, "Of one team", "public_log", query="SELECT UserRequest WHERE team_id = 3")
    findings = [each for each in run(examine_triggers) if each.about == "itop.triggers"]
    assert [each.level.value for each in findings] == ["ok", "warning"]
    assert "“Of one team”" in findings[1].found and "Not from chat" not in findings[1].found


def test_a_trigger_for_tickets_without_a_conversation_is_not_listed(workspace: Workspace, itop: Itop) -> None:
    trigger(itop, "No chat", "public_log", query="SELECT UserRequest AS u WHERE u.intercom_ref = ''")
    assert (
        about(run(examine_triggers), "itop.triggers").found
        == "sends no e-mail when a message is written to a log"
    )


@pytest.mark.parametrize("missing", [("context",), ("filter",), ("context", "filter", "target_attcodes")])
def test_an_itop_without_an_attribute_of_triggers_is_examined_nevertheless(
    workspace: Workspace, itop: Itop, monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...]
) -> None:
    trigger(itop, "Public log updated", "public_log")
    original = probe.Probe.get

    def get(self: Any, class_name: str, query: str, fields: Any = ("id",), **more: Any) -> Any:
        if class_name.startswith("Trigger"):
            for name in missing:
                if name in fields:
                    raise UnknownAttributeError("", attribute=name)
        return original(self, class_name, query, fields, **more)

    monkeypatch.setattr(probe.Probe, "get", get)
    assert "“Public log updated”" in about(run(examine_triggers), "itop.triggers").found


# Written messages


@pytest.fixture
def written(teammate: Teammate, itop: Itop, client: Client, work: Work) -> Delivery:
    store_link(teammate, itop, "R-000006")
    notify(client, part(37358198350, "<p>Any news?</p>", created_at=int(time.time())))
    work()
    return Delivery.objects.get()


def test_a_written_message_shows_change_tracking_and_the_time_zone(
    written: Delivery, workspace: Workspace
) -> None:
    findings = run(examine_traces)
    assert any("tracks changes of UserRequest.public_log" in finding.found for finding in findings)
    assert about(findings, "itop.time_zone").found == "writes its dates in Europe/Paris, as set here"
    assert about(findings, "itop.doubles").level.value == "ok"


def test_a_wrong_time_zone_is_reported_with_the_difference(written: Delivery, workspace: Workspace) -> None:
    use(workspace, time_zone="Asia/Tokyo")
    finding = about(run(examine_traces), "itop.time_zone")
    assert finding.level.value == "warning"
    assert "hours behind Asia/Tokyo" in finding.found


def test_a_purged_history_is_a_warning(written: Delivery, workspace: Workspace, itop: Itop) -> None:
    assert workspace.itop.tracked_logs == {}
    itop.store.connection.execute('DELETE FROM "CMDBChangeOp"')
    finding = next(
        finding
        for finding in run(examine_traces)
        if "R-000006" in finding.found and finding.about == "itop.changes"
    )
    assert finding.level.value == "warning"


def test_change_tracking_that_was_turned_on_is_noticed(written: Delivery, workspace: Workspace) -> None:
    use(workspace, tracked_logs={"UserRequest.public_log": False})
    findings = run(examine_traces)
    assert any("tracks changes of UserRequest.public_log" in finding.found for finding in findings)
    assert ItopInstance.objects.get().tracked_logs == {"UserRequest.public_log": True}


def test_a_newer_message_in_another_log_does_not_hide_change_tracking(
    written: Delivery, workspace: Workspace
) -> None:
    use(workspace, tracked_logs={})
    profile = TicketProfile.objects.create(name="Incidents", ticket_class="Incident")
    other = Workspace.objects.create(itop=workspace.itop, profile=profile, workspace_id="other123")
    ticket = Ticket.objects.create(itop=workspace.itop, ticket_class="Incident", object_id=9, ref="I-000009")
    conversation = Conversation.objects.create(workspace=other, conversation_id="99")
    # A copy as a new row.
    written.pk, written.ticket, written.conversation = None, ticket, conversation
    written._state.adding = True
    written.save()
    findings = [finding.found for finding in doctor.examine_itop(workspace.itop)]
    assert "tracks changes of UserRequest.public_log: each write can be verified" in findings


def test_a_log_without_change_tracking_is_a_warning(workspace: Workspace) -> None:
    use(workspace, tracked_logs={"UserRequest.public_log": False})
    finding = next(
        finding
        for finding in run(examine_traces)
        if "public_log" in finding.found and finding.about == "itop.changes"
    )
    assert finding.level.value == "warning"
    assert "tracking level" in finding.to_do


def add_duplicate(itop: Itop, seconds: int, message: str = "<p>Any news?</p>") -> None:
    """Add the message as the PHP extension writes it."""
    log = itop.store.log(6)
    entry = {"date": itop.store.local(time.time() + seconds), "user_login": "Alice Martin", "user_id": "8"}
    itop.store.update("UserRequest", 6, public_log=[*log, entry | {"format": "html", "message": message}])


def test_a_duplicate_message_is_a_failure(written: Delivery, workspace: Workspace, itop: Itop) -> None:
    add_duplicate(itop, 3)
    finding = about(run(examine_traces), "itop.doubles")
    assert finding.level.value == "failure"
    assert "R-000006" in finding.found


@pytest.mark.parametrize(("seconds", "message"), [(3600, "<p>Any news?</p>"), (3, "<p>Any news now?</p>")])
def test_an_equal_message_later_or_another_message_is_not_a_duplicate(
    seconds: int, message: str, written: Delivery, workspace: Workspace, itop: Itop
) -> None:
    add_duplicate(itop, seconds, message)
    assert about(run(examine_traces), "itop.doubles").level.value == "ok"


def test_a_message_sent_twice_in_intercom_is_not_a_duplicate(
    written: Delivery, workspace: Workspace, client: Client, work: Work
) -> None:
    notify(client, part(37358198351, "<p>Any news?</p>", created_at=int(time.time()) + 1))
    work()
    assert about(run(examine_traces), "itop.doubles").level.value == "ok"


def test_a_message_copied_at_creation_is_not_a_duplicate(
    written: Delivery, workspace: Workspace, itop: Itop
) -> None:
    """The text of messages copied at creation is not stored, so an equal later message looks like a duplicate."""
    add_duplicate(itop, -50)
    assert about(run(examine_traces), "itop.doubles").level.value == "failure"
    Delivery.objects.create(
        ticket=written.ticket,
        conversation=written.conversation,
        kind="part",
        part_id="1",
        part_created_at=int(time.time()) - 50,
        log="public_log",
        state=Delivery.State.WRITTEN,
        reason_code="copied_at_creation",
    )
    assert about(run(examine_traces), "itop.doubles").level.value == "ok"
    # A third one was written by another program.
    add_duplicate(itop, 3)
    assert about(run(examine_traces), "itop.doubles").level.value == "failure"


def test_an_unreadable_log_does_not_stop_other_checks(written: Delivery, workspace: Workspace) -> None:
    TicketProfile.objects.update(attributes_mapping={"public_log": "customer_log"})
    findings = examine(workspace)
    finding = about(findings, "itop.doubles")
    assert finding.level.value == "warning"
    assert "customer_log" in finding.found
    assert "itop.stopped" not in levels(findings)
    assert "itop.triggers" in levels(findings)


# The PHP extension


def pages(
    itop: Itop, monkeypatch: pytest.MonkeyPatch, extension: tuple[int, str], nobody: tuple[int, str]
) -> None:
    respond = Handler.respond

    def answered(self: Handler, form: dict[str, str], chosen: Any = ()) -> None:
        if not self.path.startswith("/pages/exec.php?"):
            respond(self, form, chosen)
            return
        status, text = extension if "combodo-intercom-integration" in self.path else nobody
        self.send(status, HTML, text)

    monkeypatch.setattr(Handler, "respond", answered)


NOT_FOUND = "{module} is not installed"


@pytest.mark.parametrize(
    ("extension", "nobody", "level"),
    [
        (
            (200, NOT_FOUND.format(module="combodo-intercom-integration")),
            (200, NOT_FOUND.format(module="a-module-that-nobody-has")),
            "ok",
        ),
        ((401, ""), (200, "Page not found"), "warning"),
        ((200, "{}"), (200, "Page not found"), "warning"),
    ],
)
def test_the_extension_is_active_if_its_page_differs_from_an_unknown_one(
    extension: tuple[int, str],
    nobody: tuple[int, str],
    level: str,
    workspace: Workspace,
    itop: Itop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pages(itop, monkeypatch, extension, nobody)
    finding = about(run(examine_extension), "itop.extension")
    assert finding.level.value == level
    if level == "warning":
        assert "/webhooks/intercom" in finding.to_do


def test_without_the_extensions_attributes_its_page_is_not_requested(workspace: Workspace) -> None:
    with running_itop(extension=False) as other:
        use(workspace, url=other.url)
        finding = about(run(examine_extension), "itop.extension")
    assert (finding.level.value, finding.found) == (
        "ok",
        "does not have the PHP extension's attributes (optional)",
    )
    workspace.refresh_from_db()
    assert workspace.has_extension_attributes is False


@pytest.mark.parametrize(
    ("path", "text"),
    [("/pages/UI.php?class={class}&id={id}", "404"), ("/?id={id}", "responds"), ("/portal", "lacks {id}")],
)
def test_the_portal_address_is_tested(path: str, text: str, workspace: Workspace, itop: Itop) -> None:
    use(workspace, portal_url=f"{itop.url}{path}")
    assert text in about(run(examine_portal), "itop.portal").found
