"""The panel speaks each workspace's language: whole catalogues, and no English sentence left over on a screen."""

from __future__ import annotations

import ast
import datetime as dt
import gettext
import itertools
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone, translation

from intercom_bridge import checks, reasons
from intercom_bridge.canvas.components import FIRST_SCREEN_HEIGHT, Canvas
from intercom_bridge.canvas.screens import home as home_screen
from intercom_bridge.canvas.screens.parts import moment
from intercom_bridge.catalogues import LOCALE, Message, catalogue, read
from intercom_bridge.desk import Desk, SyncStatus
from intercom_bridge.labels import CHOICES
from intercom_bridge.models import (
    Conversation,
    Delivery,
    PersonMatch,
    Posting,
    Secret,
    Submission,
    TicketLink,
    Workspace,
)
from intercom_bridge.models.workspace import LANGUAGES
from itop_client.errors import ItopError, classify
from sandbox.itop import Itop
from tests.teammate import ADA, ALICE, Teammate, author_of, notify, part

Work = Callable[[], None]

TRANSLATED = [code for code, _name in LANGUAGES if code != "en"]
PRODUCT = Path(settings.BASE_DIR) / "intercom_bridge"
PLACE = re.compile(r"%\(\w+\)[ds]|\{\w+\}|%%")
MARKERS = (
    "gettext",
    "gettext_lazy",
    "gettext_noop",
    "ngettext",
    "ngettext_lazy",
    "pgettext",
    "pgettext_lazy",
)

in_each_language = pytest.mark.parametrize("language", TRANSLATED)


# The catalogues


def marked_words() -> Iterator[tuple[str, str]]:
    """(msgid, plural or "") of all that the code marks for translation, also where xgettext does not look."""
    for path in PRODUCT.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            alias.asname or alias.name: alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == "django.utils.translation"
            for alias in node.names
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                marker = names.get(node.func.id, "")
                if marker in MARKERS and all(isinstance(one, ast.Constant) for one in node.args[:1]):
                    first = 1 if marker.startswith("pgettext") else 0
                    said = [one.value for one in node.args[first:] if isinstance(one, ast.Constant)]
                    yield said[0], said[1] if marker.startswith("ngettext") else ""


def words(language: str) -> list[Message]:
    return read(catalogue(language))


@in_each_language
def test_every_word_that_the_code_marks_is_in_the_catalogue_and_no_other(language: str) -> None:
    marked = set(marked_words())
    assert len(marked) > 200
    there = {(message.id, message.plural) for message in words(language)}
    assert marked - there == set(), "run `make messages` and translate these"
    assert there - marked == set(), "run `make messages`: the code does not say these any more"


SHOWN = {"text", "label", "placeholder", "title", "subtitle", "tertiary_text", "field", "value"}
WORD = re.compile(r"[^\W\d_]{2}")


def unmarked_words() -> Iterator[str]:
    """Words that a screen gives to a component as they are, also within an f-string."""
    for path in (PRODUCT / "canvas" / "screens").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg in SHOWN:
                pieces = node.value.values if isinstance(node.value, ast.JoinedStr) else [node.value]
                for piece in pieces:
                    if isinstance(piece, ast.Constant) and WORD.search(str(piece.value)):
                        yield f"{path.name}:{node.value.lineno} {piece.value}"


def test_no_screen_shows_words_that_are_not_marked() -> None:
    assert list(unmarked_words()) == []


@in_each_language
def test_every_word_is_translated_in_all_of_its_forms(language: str) -> None:
    assert [message.id for message in words(language) if not message.is_translated] == []
    assert {len(message.strings) for message in words(language) if message.plural} == {2}
    assert {len(message.strings) for message in words(language) if not message.plural} == {1}


@in_each_language
def test_a_translation_keeps_places_markdown_and_the_edges_of_the_sentence(language: str) -> None:
    for message in words(language):
        originals = [message.id, message.plural] if message.plural else [message.id]
        for original, translated in zip(originals, message.strings, strict=True):
            assert sorted(PLACE.findall(translated)) == sorted(PLACE.findall(original)), translated
            assert translated.count("**") == original.count("**"), translated
            assert translated.count("](") == original.count("]("), translated
            assert translated == translated.strip() and "  " not in translated
            assert translated.endswith(".") == original.endswith("."), translated
            # A word that a sentence continues with begins small; the panel makes it large where it comes first.
            if original[0].islower() and not original.startswith("iTop") and language != "de":
                assert not translated[0].isupper(), translated


@in_each_language
def test_what_django_reads_is_what_people_wrote(language: str) -> None:
    with catalogue(language).with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for message in words(language):
        if message.plural:
            forms = {compiled.ngettext(message.id, message.plural, count) for count in (1, 2, 0)}
            assert forms == set(message.strings), "run `make messages`"
        else:
            assert compiled.gettext(message.id) == message.strings[0], "run `make messages`"


def test_each_language_counts_as_its_speakers_do() -> None:
    def said(language: str, count: int) -> str:
        with translation.override(language):
            return translation.ngettext("%(count)d linked ticket", "%(count)d linked tickets", count) % {
                "count": count
            }

    assert [said("de", count) for count in (0, 1, 2)] == [
        "0 verknüpfte Tickets", "1 verknüpftes Ticket", "2 verknüpfte Tickets",
    ]  # fmt: skip
    assert [said("fr", count) for count in (0, 1, 2)] == ["0 ticket lié", "1 ticket lié", "2 tickets liés"]
    assert [said("es", count) for count in (0, 1)] == ["0 tickets vinculados", "1 ticket vinculado"]


def test_a_po_file_is_read_as_gettext_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "django.po"
    path.write_text(
        '# A header\nmsgid ""\nmsgstr ""\n"Language: de\\n"\n\n'
        '#: a.py b.py\n#, python-format\nmsgid ""\n"A \\"long\\" "\n"one"\nmsgstr ""\n"Ein "\n"langer\\n"\n\n'
        '#, fuzzy, python-format\n#| msgid "Old"\nmsgctxt "menu"\nmsgid "New"\nmsgstr "Neu"\n\n'
        'msgid "%(n)d x"\nmsgid_plural "%(n)d xs"\nmsgstr[0] "eins"\nmsgstr[1] ""\n\n'
        '#~ msgid "Gone"\n#~ msgstr "Weg"\n',
        encoding="utf-8",
    )
    assert read(path) == [
        Message(id='A "long" one', strings=["Ein langer\n"]),
        Message(id="New", context="menu", strings=["Neu"], is_fuzzy=True),
        Message(id="%(n)d x", plural="%(n)d xs", strings=["eins", ""]),
    ]
    assert [message.is_translated for message in read(path)] == [True, False, False]


# What `manage.py check` says


def test_complete_languages_are_no_matter_for_the_check() -> None:
    assert checks.check_languages() == []


@pytest.mark.parametrize(
    ("before", "after"),
    [('msgstr "Zurück"', 'msgstr ""'), ('msgid "Back"', '#, fuzzy\nmsgid "Back"')],
)
def test_the_check_names_a_word_that_is_missing_or_only_guessed(
    tmp_path: Path, before: str, after: str
) -> None:
    locale = tmp_path / "locale"
    shutil.copytree(LOCALE, locale)
    german = catalogue("de", locale)
    german.write_text(german.read_text().replace(before, after))
    [message] = checks.check_languages(locale=locale)
    assert message.id == "intercom_bridge.W005"
    assert message.msg == "Deutsch lacks 1 of the panel's words, the first is “Back”."
    assert "make messages" in str(message.hint)


@pytest.mark.parametrize("name", ["django.po", "django.mo"])
def test_the_check_says_so_when_a_file_is_not_there(tmp_path: Path, name: str) -> None:
    locale = tmp_path / "locale"
    shutil.copytree(LOCALE, locale)
    catalogue("es", locale).with_name(name).unlink()
    [message] = checks.check_languages(locale=locale)
    assert "Español has no catalogue" in message.msg


# The screens


class Reader(Teammate):
    """A teammate who does not read English: any sentence of it on the panel is an error."""

    def __init__(self, client: Client, language: str) -> None:
        super().__init__(client)
        self.english = [
            (message.id, pattern)
            for message in words(language)
            for original, translated in zip(
                (message.id, message.plural) if message.plural else (message.id,),
                message.strings,
                strict=True,
            )
            if (pattern := _english(original, translated))
        ]
        self.seen = 0

    def send(self, path: str, body: dict[str, Any]) -> Teammate:
        super().send(path, body)
        for said in self._said():
            for msgid, pattern in self.english:
                assert not pattern.search(said), f"“{said}” has English in it: “{msgid}”"
        self.seen += 1
        return self

    def _said(self) -> Iterator[str]:
        for one in self.components:
            for row in (one, *one.get("items", ()), *one.get("options", ())):
                for key in (
                    "text", "label", "placeholder", "title", "subtitle", "tertiary_text", "field", "value",
                ):  # fmt: skip
                    if isinstance(row.get(key), str):
                        yield row[key]


def _english(original: str, translated: str) -> re.Pattern[str] | None:
    """Finds the English words in a text: a long sentence anywhere, a short one where it is all there is."""
    if original == translated:
        return None
    literal = PLACE.split(original)
    pattern = ".+?".join(re.escape(words) for words in literal)
    if original[0].islower():
        pattern = f"[{original[0]}{original[0].upper()}]{pattern.removeprefix(original[0])}"
    is_long = len(re.findall(r"[a-z]+", " ".join(literal))) >= 4
    return re.compile(pattern if is_long else rf"\A{pattern}( \*)?\Z", re.DOTALL)


@pytest.fixture
def reader(client: Client, workspace: Workspace, language: str) -> Reader:
    workspace.language = language
    workspace.save()
    return Reader(client, language)


def fail_for(*said: str) -> None:
    """For each of these reasons one message of the conversation could not be written."""
    link = TicketLink.objects.get()
    for number, reason in enumerate(said):
        Delivery.objects.create(
            ticket=link.ticket,
            conversation=link.conversation,
            kind="part",
            part_id=str(37358198390 + number),
            part_created_at=1_768_999_000 + number,
            state="failed",
            reason=reason,
            log="public_log",
        )


@in_each_language
def test_tickets_are_found_read_and_linked_in_the_workspaces_language(
    reader: Reader, client: Client, work: Work
) -> None:
    reader.open().send_click("ongoing:1").send_click("ticket:UserRequest:8")
    reader.send_click("link:UserRequest:8").send_click("link:UserRequest:8:copy")
    reader.send_click("link:UserRequest:8")
    work()
    reader.open().send_click("linked:1").send_click("ticket:UserRequest:8").send_click("sync")
    reader.send_click("pause")
    notify(client, part(37358198350, "<p>50</p>"))
    work()
    reader.send_click("sync").send_click("resume").send_click("sync").send_click("write-left-out")
    assert reader.seen == 15


@in_each_language
def test_a_ticket_is_created_in_the_workspaces_language(
    reader: Reader, workspace: Workspace, itop: Itop, work: Work
) -> None:
    workspace.profile.form_attributes = [
        "title", "description", "service_id", "servicesubcategory_id", *CHOICES,
    ]  # fmt: skip
    workspace.profile.save()
    reader.open().send_click("create")
    key = reader.canvas["stored_data"]["form"]["key"]
    reader.send_click("form:submit", {reader.field("")["label"]: ""})
    reader.send_click("form:pick:service_id:1").send_click("form:search:service_id").send_click("form:show")
    itop.faults.add("drop_before", operation="core/create", count=1)
    reader.send_click("form:submit", {reader.field("")["label"]: "Broken"})
    reader.open().send_click(f"creation:{key}")
    work()
    reader.open()
    assert reader.seen == 10


@in_each_language
def test_trouble_is_told_in_the_workspaces_language(reader: Reader, workspace: Workspace, itop: Itop) -> None:
    reader.open().send_click("no-such-button").send_click("ticket:UserRequest:999999")
    itop.faults.away = True
    reader.send_click("home")
    itop.faults.away = False
    workspace.itop.token = Secret("wrong")
    workspace.itop.save()
    reader.send_click("home")
    reader.contact = ALICE | {"email": "nobody@nowhere.example"}
    reader.open()
    reader.contact = ALICE | {"email": None, "role": "lead"}
    reader.open()
    workspace.enabled = False
    workspace.save()
    reader.open()
    reader.send("/canvas-kit/submit", {"workspace_id": reader.workspace_id})
    assert reader.seen == 9


@in_each_language
def test_reasons_that_were_kept_in_english_are_told_in_the_workspaces_language(
    reader: Reader, workspace: Workspace
) -> None:
    reader.open().send_click("link:UserRequest:8:from-now-on")
    trouble = reasons.GIVEN_UP % {
        "reason": "the connection was lost before a complete answer: Connection refused"
    }
    fail_for(reasons.LOG_FULL, reasons.TICKET_GONE, trouble)
    Conversation.objects.update(reconcile_trouble=reasons.NO_TOKEN)
    workspace.itop.paused_until = timezone.now() + dt.timedelta(minutes=1)
    workspace.itop.pause_reason = "HTTP 503: an empty answer"
    workspace.itop.save()
    reader.open().send_click("sync")
    assert translation.get_language() == "en"
    with translation.override(workspace.language):
        assert reasons.told(reasons.NO_TOKEN) in reader.text
        assert reasons.told("HTTP 503: an empty answer") in reader.text


def test_english_stays_as_it_is_written(teammate: Teammate) -> None:
    assert "5 ongoing tickets" in teammate.open().text


@in_each_language
def test_ticket_words_are_itops_own(language: str) -> None:
    with translation.override(language):
        urgency = [str(label) for label in CHOICES["urgency"].values()]
    assert urgency == {
        "fr": ["Critique", "Haute", "Moyenne", "Basse"],
        "de": ["Kritisch", "Hoch", "Mittel", "Niedrig"],
        "es": ["Crítica", "Alta", "Media", "Baja"],
    }[language]  # fmt: skip


@pytest.mark.parametrize(
    ("language", "shown"),
    [
        ("en", "5 Feb 2026 17:05"),
        ("fr", "5 fév. 2026 à 17:05"),
        ("de", "5. Feb. 2026, 17:05"),
        ("es", "5 feb 2026, 17:05"),
        ("pt", "5 Fev 2026 17:05"),
    ],
)
def test_dates_are_written_as_people_there_write_them(language: str, shown: str) -> None:
    with translation.override(language):
        assert moment(dt.datetime(2026, 2, 5, 17, 5)) == shown


# What is written from the background


@pytest.fixture
def german(workspace: Workspace) -> Workspace:
    workspace.language = "de"
    workspace.save()
    return workspace


def test_what_we_say_in_the_conversation_is_in_the_workspaces_language(
    german: Workspace, teammate: Teammate, itop: Itop, work: Work
) -> None:
    teammate.open().send_click("create")
    itop.faults.add("drop_before", operation="core/create", count=1)
    teammate.send_click("form:submit", {"Titel": "Export"})
    Submission.objects.update(due_at=timezone.now())
    with translation.override("en"):
        work()
    teammate.send_click("link:UserRequest:8:from-now-on")
    reply, note = Posting.objects.order_by("pk").values_list("body", flat=True)
    assert re.fullmatch(r"<p>Ada Reyes hat Ticket .* mit dieser Konversation verknüpft\.</p>", note)
    assert re.fullmatch(r"<p>Wir haben für Sie das Ticket .* eröffnet\. Dort .*</p>", reply)


def test_what_we_add_to_a_log_is_in_the_workspaces_language(
    german: Workspace, teammate: Teammate, client: Client, itop: Itop, work: Work
) -> None:
    teammate.open().send_click("link:UserRequest:8:from-now-on")
    file = {
        "type": "upload",
        "name": "a.png",
        "url": "https://files.example/a.png",
        "content_type": "image/png",
    }
    notify(client, part(37358198350, "", author_of(ADA, "admin"), attachments=[file, file]))
    with translation.override("en"):
        work()
    assert itop.store.log(8)[-1]["message"] == "<p>[Dateien: a.png, a.png]</p>"


# The reasons


@in_each_language
@pytest.mark.parametrize("sentence", reasons.KNOWN)
def test_a_reason_is_found_again_whatever_stands_in_its_places(language: str, sentence: str) -> None:
    assert sentence[0] != "%", "a sentence that begins with anything would be found in everything"
    names = re.findall(r"%\((\w+)\)s", sentence)
    reason = sentence % {name: f"<{name}>" for name in names}
    with translation.override(language):
        told = reasons.told(reason)
        assert told == translation.gettext(sentence) % {name: f"<{name}>" for name in names}
    assert told != reason
    assert reasons.told(reason) == reason, "in English it is what was kept"


def test_a_reason_within_a_reason_is_told_too_and_itops_own_words_stay() -> None:
    with translation.override("de"):
        assert reasons.told("tried 3 times; iTop: HTTP 502: not an answer of iTop's REST (text/html)") == (
            "Versuche: 3; iTop: HTTP 502: keine Antwort der REST-Schnittstelle von iTop (text/html)"
        )
        assert reasons.told("iTop refused it: title: 100% is\nno title") == (
            "iTop hat sie abgelehnt: title: 100% is\nno title"
        )
        assert reasons.told("something that nobody knows") == "something that nobody knows"


CLIENTS = (
    "itop_client/transport.py",
    "itop_client/client.py",
    "itop_client/errors.py",
    "intercom_bridge/intercom/api.py",
)
TROUBLES = {
    "Unreachable", "NoAnswer", "ItopUnreachable", "ItopNoAnswer", "ItopTrouble", "ItopLoginRefused", "OSError",
    "ConnectTimeoutError", "IntercomUnreachable", "IntercomNoAnswer", "_strange",
}  # fmt: skip


def sentences_of_the_clients() -> Iterator[str]:
    """What the clients say of trouble, with 7 where something varies."""
    for name in CLIENTS:
        for node in ast.walk(ast.parse((Path(settings.BASE_DIR) / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in TROUBLES:
                for said in node.args:
                    if isinstance(said, ast.Constant) and isinstance(said.value, str):
                        yield said.value
                    elif isinstance(said, ast.JoinedStr):
                        yield "".join(
                            getattr(one, "value", "7") if isinstance(one, ast.Constant) else "7"
                            for one in said.values
                        )


@pytest.mark.parametrize("sentence", sorted(set(sentences_of_the_clients())))
def test_every_trouble_that_a_client_speaks_of_is_known(sentence: str) -> None:
    with translation.override("de"):
        assert reasons.told(sentence) != sentence


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (401, "text/html", b""),
        (503, "text/html", b""),
        (302, "", b"x"),
        (200, "", b"<html>"),
        (500, "", b'{"code": 0}'),
    ],
)
def test_what_itops_answers_are_called_is_known(status: int, kind: str, body: bytes) -> None:
    with pytest.raises(ItopError) as caught:
        classify(status, kind, body)
    with translation.override("es"):
        assert reasons.told(str(caught.value)) != str(caught.value)


# The height of the first screen


WIDE = "株式会社エイビーシーデザイン研究所の山田太郎" * 3
LONG = "Bartholomäus Maximilian von und zu Hohenlohe-Schillingsfürst the Third"


@in_each_language
@pytest.mark.parametrize("is_on", [True, False])
def test_home_fits_in_longer_words_too(reader: Reader, monkeypatch: pytest.MonkeyPatch, is_on: bool) -> None:
    heights: list[int] = []

    def measured(**parts: Any) -> Canvas:
        canvas = Canvas(**parts)
        heights.append(canvas.height())
        return canvas

    monkeypatch.setattr(home_screen, "Canvas", measured)
    reader.open().send_click("link:UserRequest:8:from-now-on")
    for name, reason, count, how in itertools.product(
        ("Alice Martin", LONG, WIDE),
        ("", reasons.LOG_FULL, "very long " * 50),
        (0, 1, 999),
        PersonMatch.How.values,
    ):
        status = SyncStatus(
            on=is_on,
            written=1234,
            waiting=count,
            left_out=count,
            failed=999 if reason else 0,
            retriable=999 if reason else 0,
            last_at=dt.datetime(2026, 11, 22, 11, 55, tzinfo=dt.UTC),
            last_failure=reason,
        )
        monkeypatch.setattr(Desk, "sync_status", lambda _desk, status=status: status)
        PersonMatch.objects.update(name=name, org_name=name, how=how)
        reader.open()
        ids = {one["id"] for one in reader.clickable()}
        assert {"create", "sync", "pause" if is_on else "resume"} <= ids
        assert ("try-again" in ids) is bool(reason)
        assert not count or "write-left-out" in ids or str(count) in reader.text
    assert len(heights) > 54
    assert max(heights) <= FIRST_SCREEN_HEIGHT
