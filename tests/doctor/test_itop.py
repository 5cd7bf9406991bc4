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
from intercom_bridge.datamodel.stored import to_json
from intercom_bridge.deadline import Deadline
from intercom_bridge.doctor import Finding, asking, intercom, ping
from intercom_bridge.models import Delivery, LearnedClass, Posting, TicketProfile, Workspace
from intercom_bridge.models.delivery import COPIED
from itop_client import ItopNotAllowed
from sandbox.itop import Itop, accounts, running_itop
from sandbox.itop.operations import Call
from sandbox.itop.seed import TOKENS
from sandbox.itop.server import HTML, Handler
from settings.environment import BASE_DIR
from tests.doctor.findings import about, levels
from tests.itop_client.socket_server import answer, certificate, serving
from tests.teammate import Teammate, notify, part

Work = Callable[[], None]


def examine(workspace: Workspace) -> list[Finding]:
    workspace.itop.refresh_from_db()
    return list(doctor.examine_itop(workspace.itop))


def use(workspace: Workspace, **fields: Any) -> None:
    for name, value in fields.items():
        setattr(workspace.itop, name, value)
    workspace.itop.save()


def test_a_good_itop_is_good_in_every_way(workspace: Workspace, itop: Itop) -> None:
    findings = examine(workspace)
    assert set(levels(findings).values()) == {"ok"}
    assert "(REST 1.3)" in about(findings, "itop.answer").found
    assert all(one.to_do == "" for one in findings)
    assert "TriggerOnObjectUpdate" in [class_name for _, class_name in itop.calls]


def test_nothing_is_left_in_itop(workspace: Workspace, itop: Itop) -> None:
    before = itop.state() | {"calls": 0, "now": ""}
    for login in ("intercom_sync_app", "agent_app", "reader_app"):
        use(workspace, token=TOKENS[login])
        examine(workspace)
    assert itop.state() | {"calls": 0, "now": ""} == before
    assert itop.store.all("CMDBChange") == []
    assert ("core/create", "UserRequest") in itop.calls
    assert ("core/update", "UserRequest") in itop.calls


def test_a_mandatory_title_is_not_what_keeps_it_from_creating_one(
    workspace: Workspace, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Call, "check", lambda *_: None)
    tickets = len(itop.state()["tickets"])
    assert levels(examine(workspace))["itop.writing"] == "ok"
    assert len(itop.state()["tickets"]) == tickets


# Who we are there


@pytest.mark.parametrize(
    ("login", "words"),
    [
        ("", "refuses the token"),
        ("norest_app", "lacks the profile REST Services User"),
        ("adminonly_app", "lacks the profile REST Services User"),
        ("portal_app", "portal user"),
        ("disabled_app", "disabled"),
    ],
)
def test_a_refused_account_is_told_why_and_nothing_else_is_asked(
    login: str, words: str, workspace: Workspace, itop: Itop
) -> None:
    use(workspace, token=TOKENS.get(login, "no-such-token"))
    (finding,) = examine(workspace)
    assert (finding.level.value, finding.about) == ("failure", "itop.account")
    assert words in finding.found
    assert finding.to_do
    assert itop.calls == []


def test_an_account_that_is_no_administrator_costs_the_authors_names_only(
    workspace: Workspace, itop: Itop
) -> None:
    use(workspace, token=TOKENS["agent_app"])
    findings = examine(workspace)
    found = levels(findings)
    assert (found["itop.administrator"], found["itop.reading"], found["itop.writing"]) == (
        "warning",
        "warning",
        "ok",
    )
    assert "author's name stands in the text" in about(findings, "itop.administrator").found
    missing = [one.found for one in findings if one.about == "itop.reading" and one.to_do]
    assert len(missing) == 1
    assert "may not read User" in missing[0]
    workspace.itop.refresh_from_db()
    assert workspace.itop.is_administrator is False


def test_what_was_taken_for_no_administrator_is_learned_to_be_one(workspace: Workspace) -> None:
    use(workspace, is_administrator=False)
    examine(workspace)
    workspace.itop.refresh_from_db()
    assert workspace.itop.is_administrator is True


def test_an_account_that_may_only_read_is_a_failure_by_name(workspace: Workspace) -> None:
    use(workspace, token=TOKENS["reader_app"])
    findings = [one.found for one in examine(workspace) if one.about == "itop.writing"]
    assert [("create" in one, "modify" in one) for one in findings] == [(True, False), (False, True)]
    assert "“Create a ticket” fails" in findings[0]


@pytest.mark.parametrize("secret", ["PUT_YOUR_TOKEN_HERE", None])
def test_a_secret_that_is_none_is_told_without_a_call(
    secret: str | None, workspace: Workspace, itop: Itop, settings: Any
) -> None:
    if secret:
        use(workspace, token=secret)
    else:
        settings.FIELD_ENCRYPTION_KEYS = ["YW5vdGhlci1rZXktZm9yLXRoZS10ZXN0cy0zMmJ5dGU="]
    (finding,) = examine(workspace)
    assert (finding.about, finding.level.value) == ("itop.secret", "failure")
    assert itop.calls == []


# Whether it answers


def test_one_that_is_away_ends_within_its_deadline_with_one_finding(workspace: Workspace, itop: Itop) -> None:
    itop.faults.away = True
    (finding,) = examine(workspace)
    assert (finding.about, finding.level.value) == ("itop.answer", "failure")
    assert "cannot be reached" in finding.found


def test_one_that_takes_the_call_and_says_nothing_is_given_up_on(
    workspace: Workspace, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "QUESTION_SECONDS", 0.3)
    itop.faults.add("slow", seconds=30)
    (finding,) = examine(workspace)
    assert "did not answer" in finding.found


def test_one_that_stops_half_way_keeps_what_was_found(workspace: Workspace, itop: Itop) -> None:
    itop.faults.add("maintenance", operation="core/get", class_name="Organization")
    findings = examine(workspace)
    assert findings[0].about == "itop.answer"
    assert [(one.level.value, one.about) for one in findings[-1:]] == [("failure", "itop.stopped")]
    assert "maintenance" in findings[-1].found


def test_one_that_refuses_half_way_has_not_stopped(
    workspace: Workspace, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise ItopNotAllowed("does not have enough permissions for that")

    monkeypatch.setattr("intercom_bridge.doctor.itop.examine_triggers", refuse)
    finding = about(examine(workspace), "itop.stopped")
    assert "refused what it was asked" in finding.found
    assert "error log" not in finding.to_do


class Clock(Deadline):
    """Each question takes six seconds of it."""

    def remaining(self) -> float:
        self._end -= 6
        return self._end


def test_where_somebody_waits_no_question_is_cut_short(workspace: Workspace, itop: Itop) -> None:
    """That our time is over is not iTop's failure."""
    clock = Clock(0)
    clock._end = 27.0
    findings = list(doctor.itop.examine(workspace.itop, [workspace], clock))
    assert about(findings, "itop.answer").level.value == "ok"
    assert (findings[-1].about, findings[-1].level.value) == ("itop.time", "warning")
    assert "itop.stopped" not in levels(findings)
    assert len(itop.calls) == 3


def test_the_command_waits_for_everything_and_a_page_does_not(workspace: Workspace, itop: Itop) -> None:
    assert about(doctor.examine_itop(workspace.itop, 0.0), "itop.time").level.value == "warning"
    assert about(doctor.examine(workspace, 0.0), "itop.time").level.value == "warning"
    assert itop.calls == []
    assert "itop.time" not in levels(doctor.examine(workspace))


def test_a_page_of_the_admin_is_there_before_nginx_gives_up() -> None:
    site = (BASE_DIR / "deploy" / "nginx" / "bridge.conf").read_text(encoding="utf-8")
    (waits,) = re.findall(r"proxy_read_timeout (\d+)s;", site)
    before = 2 * intercom.QUESTION_SECONDS + ping.ANSWER_SECONDS
    assert before + asking.QUESTION_SECONDS <= doctor.PAGE_SECONDS < float(waits)


@pytest.mark.parametrize(
    ("kind", "words"), [("html", "not as its REST interface"), ("maintenance", "maintenance")]
)
def test_something_else_at_its_address_is_told_apart(
    kind: str, words: str, workspace: Workspace, itop: Itop
) -> None:
    itop.faults.add(kind)
    (finding,) = examine(workspace)
    assert finding.about == "itop.answer"
    assert words in finding.found


def test_a_redirect_is_not_followed_and_shows_no_token(workspace: Workspace, itop: Itop) -> None:
    def redirect(server: Any, connection: socket.socket) -> None:
        connection.sendall(answer(b"", f"Location: {itop.url}/?auth_token=t0k3n", status="302 Found"))

    with serving(redirect) as server:
        use(workspace, url=server.url)
        (finding,) = examine(workspace)
        assert len(server.requests) == 1
    assert "redirects" in finding.found
    assert "t0k3n" not in f"{finding.found} {finding.to_do}"
    assert itop.calls == []


def test_a_self_signed_certificate_is_called_so(workspace: Workspace, tmp_path: Path) -> None:
    context, _ = certificate(tmp_path)
    with serving(lambda server, connection: None, context) as server:
        use(workspace, url=server.url)
        (finding,) = examine(workspace)
    assert (finding.about, finding.level.value) == ("itop.certificate", "failure")
    assert "self-signed" in finding.found


def test_a_certificate_that_ends_tomorrow_is_a_warning(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, authority = certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    operations = b'{"code": 0, "version": "1.3", "operations": []}'
    with serving(lambda server, connection: connection.sendall(answer(operations)), context) as server:
        use(workspace, url=server.url)
        finding = about(examine(workspace), "itop.certificate")
    assert finding.level.value == "warning"
    assert "more days only" in finding.found or "more day only" in finding.found


def test_plain_http_to_another_machine_is_a_warning(
    workspace: Workspace, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intercom_bridge.doctor.itop._THIS_MACHINE", ())
    assert about(examine(workspace), "itop.certificate").level.value == "warning"


@pytest.mark.parametrize(("seconds", "words"), [(90, "ahead of"), (-90, "behind"), (5, "agree")])
def test_clocks_that_differ_are_told(seconds: int, words: str, workspace: Workspace, itop: Itop) -> None:
    itop.store.clock = lambda: time.time() + seconds
    finding = about(examine(workspace), "itop.clock")
    assert words in finding.found
    assert finding.level.value == ("ok" if words == "agree" else "warning")


# What we need of it


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"details_attributes": ["status", "nope"]}, "nope, which is one of its details"),
        (
            {"form_attributes": ["title", "description", "urgencie"]},
            "urgencie, which is a field of its create form",
        ),
        ({"subtitle_attribute": "headline"}, "headline, which is its subtitle"),
        ({"attributes_mapping": {"public_log": "customer_log"}}, "what it says its public_log is"),
        ({"defaults": {"colour": "red"}}, "colour, which is one of its defaults"),
    ],
)
def test_each_attribute_that_the_profile_names_must_be_there(
    change: dict[str, Any], words: str, workspace: Workspace
) -> None:
    TicketProfile.objects.update(**change)
    findings = [one for one in examine(workspace) if one.about == "profile.attributes"]
    assert [one.level.value for one in findings] == ["failure"]
    assert words in findings[0].found


def test_a_misspelt_attribute_is_guessed(workspace: Workspace) -> None:
    TicketProfile.objects.update(details_attributes=["prioritie", "statuss"])
    to_do = [one.to_do for one in examine(workspace) if one.about == "profile.attributes"]
    assert any("priority" in one for one in to_do)
    assert any("status" in one for one in to_do)


def test_a_class_that_itop_lacks_is_told_once(workspace: Workspace) -> None:
    TicketProfile.objects.update(ticket_class="Complaint")
    findings = examine(workspace)
    assert about(findings, "profile.class").level.value == "failure"
    assert "itop.stopped" not in levels(findings)


def test_a_class_without_objects_of_its_own_is_no_class_of_tickets(workspace: Workspace) -> None:
    TicketProfile.objects.update(ticket_class="Ticket")
    findings = examine(workspace)
    assert any("may not create a Ticket" in one.found for one in findings)
    assert "itop.stopped" not in levels(findings)


def test_a_state_that_there_is_not_is_told(workspace: Workspace) -> None:
    TicketProfile.objects.update(excluded_states=["close"])
    finding = about(examine(workspace), "profile.states")
    assert "closed" in finding.found
    assert finding.level.value == "warning"


@pytest.mark.parametrize(
    ("scope", "level", "words"),
    [
        ("SELECT Organization", "ok", "finds 6 of Organization"),
        ("SELECT Organization WHERE id = :current_contact->org_id", "ok", "depends on who writes"),
        ("SELECT Organization WHERE name = 'Nobody Inc'", "warning", "nobody is served"),
        ("SELECT Organization WHERE nope = 1", "failure", "nope"),
        ("SELECT Organisation", "failure", "Organisation"),
    ],
)
def test_the_scope_is_tried_on_the_real_thing(
    scope: str, level: str, words: str, workspace: Workspace
) -> None:
    Workspace.objects.update(scope=scope)
    finding = about(examine(workspace), "workspace.scope")
    assert finding.level.value == level
    assert words in finding.found


@pytest.mark.parametrize(("code", "level"), [("employee_number", "ok"), ("id", "ok"), ("badge", "failure")])
def test_the_external_ids_attribute_must_be_there(code: str, level: str, workspace: Workspace) -> None:
    Workspace.objects.update(external_id_attribute=code)
    assert about(examine(workspace), "workspace.external_id").level.value == level


def forbid(itop: Itop, monkeypatch: pytest.MonkeyPatch, *classes: str) -> None:
    """The account may not read these."""
    may = accounts.may

    def forbidden(store: Any, user: Any, action: str, class_name: str) -> bool:
        return class_name not in classes and may(store, user, action, class_name)

    monkeypatch.setattr(accounts, "may", forbidden)


def test_persons_that_may_not_be_read_are_not_found_by_external_id_and_the_rest_is_asked(
    workspace: Workspace, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    Workspace.objects.update(external_id_attribute="employee_number")
    forbid(itop, monkeypatch, "Person")
    findings = examine(workspace)
    finding = about(findings, "workspace.external_id")
    assert (finding.level.value, "read Person" in finding.to_do) == ("failure", True)
    assert "itop.stopped" not in levels(findings)
    assert "itop.triggers" in levels(findings)


def test_a_filter_that_itop_does_not_understand_is_told_by_its_field(workspace: Workspace) -> None:
    team = Attribute(code="team_id", kind=Kind.KEY, target_class="Team", filter="SELECT Team WHERE nope = 1")
    known = TicketClass(name="UserRequest", attributes={"team_id": team})
    LearnedClass.objects.create(itop=workspace.itop, name="UserRequest", definition=to_json(known))
    TicketProfile.objects.update(form_attributes=["title", "description", "team_id"])
    finding = about(examine(workspace), "profile.choices")
    assert finding.level.value == "failure"
    assert "team_id" in finding.found


# Notifications of its own


def trigger(
    itop: Itop, description: str, attributes: str, status: str = "enabled", on: str = "UserRequest"
) -> None:
    kind = "TriggerOnObjectUpdate"
    made = itop.store.insert(kind, description=description, target_class=on, target_attcodes=attributes)
    action = itop.store.insert("ActionEmail", name=f"Mail of {description}", status=status)
    itop.store.insert("lnkTriggerAction", trigger_id=made["id"], action_id=action["id"])


def test_triggers_that_mail_each_message_are_listed_by_name(workspace: Workspace, itop: Itop) -> None:
    trigger(itop, "Public log updated", "public_log")
    trigger(itop, "Anything changed", "", on="Ticket")
    trigger(itop, "Priority changed", "priority")
    trigger(itop, "Rehearsed", "public_log", status="test")
    trigger(itop, "Of a person", "", on="Person")
    finding = about(examine(workspace), "itop.triggers")
    assert finding.level.value == "warning"
    assert "“Public log updated”" in finding.found
    assert "“Anything changed”" in finding.found
    assert not any(one in finding.found for one in ("Priority", "Rehearsed", "person"))


# What our messages left


@pytest.fixture
def written(teammate: Teammate, client: Client, work: Work) -> Delivery:
    teammate.link("R-000006")
    Posting.objects.all().delete()
    work()
    notify(client, part(37358198350, "<p>Any news?</p>", created_at=int(time.time())))
    work()
    return Delivery.objects.get()


def test_a_written_message_proves_the_marker_and_the_time_zone(
    written: Delivery, workspace: Workspace
) -> None:
    findings = examine(workspace)
    assert any("keeps changes of UserRequest.public_log" in one.found for one in findings)
    assert about(findings, "itop.time_zone").found == "writes its dates in Europe/Paris, as set here"
    assert about(findings, "itop.doubles").level.value == "ok"


def test_a_time_zone_that_is_set_wrong_is_told_by_how_much(written: Delivery, workspace: Workspace) -> None:
    use(workspace, time_zone="Asia/Tokyo")
    finding = about(examine(workspace), "itop.time_zone")
    assert finding.level.value == "warning"
    assert "hours behind Asia/Tokyo" in finding.found


def test_a_marker_that_is_gone_is_told(written: Delivery, workspace: Workspace, itop: Itop) -> None:
    assert workspace.itop.tracked_logs == {}
    itop.store.connection.execute('DELETE FROM "CMDBChangeOp"')
    finding = next(
        one for one in examine(workspace) if "R-000006" in one.found and one.about == "itop.changes"
    )
    assert finding.level.value == "warning"


def test_a_log_whose_changes_are_not_kept_is_a_warning(workspace: Workspace) -> None:
    use(workspace, tracked_logs={"UserRequest.public_log": False})
    finding = next(
        one for one in examine(workspace) if "public_log" in one.found and one.about == "itop.changes"
    )
    assert finding.level.value == "warning"
    assert "tracking level" in finding.to_do


def double(itop: Itop, seconds: int, message: str = "<p>Any news?</p>") -> None:
    """As the PHP extension writes the same message."""
    log = itop.store.log(6)
    again = {"date": itop.store.local(time.time() + seconds), "user_login": "Alice Martin", "user_id": "8"}
    itop.store.update("UserRequest", 6, public_log=[*log, again | {"format": "html", "message": message}])


def test_a_message_that_stands_twice_is_a_second_writers(
    written: Delivery, workspace: Workspace, itop: Itop
) -> None:
    double(itop, 3)
    finding = about(examine(workspace), "itop.doubles")
    assert finding.level.value == "failure"
    assert "R-000006" in finding.found


@pytest.mark.parametrize(("seconds", "message"), [(3600, "<p>Any news?</p>"), (3, "<p>Any news now?</p>")])
def test_the_same_words_an_hour_later_or_other_words_are_no_double(
    seconds: int, message: str, written: Delivery, workspace: Workspace, itop: Itop
) -> None:
    double(itop, seconds, message)
    assert about(examine(workspace), "itop.doubles").level.value == "ok"


def test_who_writes_the_same_twice_in_intercom_is_no_double(
    written: Delivery, workspace: Workspace, client: Client, work: Work
) -> None:
    notify(client, part(37358198351, "<p>Any news?</p>", created_at=int(time.time()) + 1))
    work()
    assert about(examine(workspace), "itop.doubles").level.value == "ok"


def test_what_came_with_the_ticket_is_no_double_of_what_came_after(
    written: Delivery, workspace: Workspace, itop: Itop
) -> None:
    """“Hello?”, the ticket is created with it, “Hello?” once more: of the first no words are kept."""
    double(itop, -50)
    assert about(examine(workspace), "itop.doubles").level.value == "failure"
    Delivery.objects.create(
        ticket=written.ticket,
        conversation=written.conversation,
        kind="part",
        part_id="1",
        part_created_at=int(time.time()) - 50,
        log="public_log",
        state=Delivery.State.WRITTEN,
        reason=COPIED,
    )
    assert about(examine(workspace), "itop.doubles").level.value == "ok"
    # A third is somebody else's.
    double(itop, 3)
    assert about(examine(workspace), "itop.doubles").level.value == "failure"


def test_a_log_that_cannot_be_read_is_the_profiles_mistake_and_the_rest_is_asked(
    written: Delivery, workspace: Workspace
) -> None:
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

    def answered(self: Handler, form: dict[str, str]) -> None:
        if not self.path.startswith("/pages/exec.php?"):
            respond(self, form)
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
def test_the_extension_is_at_work_only_if_its_page_answers_otherwise_than_nobodys(
    extension: tuple[int, str],
    nobody: tuple[int, str],
    level: str,
    workspace: Workspace,
    itop: Itop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pages(itop, monkeypatch, extension, nobody)
    finding = about(examine(workspace), "itop.extension")
    assert finding.level.value == level
    if level == "warning":
        assert "/webhooks/intercom" in finding.to_do


def test_an_itop_that_never_had_the_extension_is_not_asked_for_its_page(workspace: Workspace) -> None:
    with running_itop(extension=False) as other:
        use(workspace, url=other.url)
        finding = about(examine(workspace), "itop.extension")
    assert (finding.level.value, finding.found) == (
        "ok",
        "has no attributes of the PHP extension, and needs none",
    )
    workspace.itop.refresh_from_db()
    assert workspace.itop.has_intercom_attributes is False


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/pages/UI.php?class={class}&id={id}", "404"),
        ("/?id={id}", "is there"),
        ("/portal", "lacks {id}"),
    ],
)
def test_the_portals_address_is_tried(path: str, words: str, workspace: Workspace, itop: Itop) -> None:
    use(workspace, portal_url=f"{itop.url}{path}")
    assert words in about(examine(workspace), "itop.portal").found
