"""The panel uses each workspace's language: complete translations, and no English text on a screen."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from typing import Any

import polib
import pytest
from django.test import Client
from django.utils import timezone, translation

from intercom_bridge.datamodel.builtin_labels import CHOICES
from intercom_bridge.models import (
    Conversation,
    Delivery,
    OutgoingMessage,
    Secret,
    TicketCreation,
    TicketLink,
    Workspace,
)
from intercom_bridge.models.reason import ReasonCode
from intercom_bridge.models.workspace import LANGUAGES
from intercom_bridge.panel.screens.parts import format_time
from sandbox.itop import Itop
from settings.env import BASE_DIR
from tests.teammate import ADA, ALICE, Teammate, author_of, notify, part

Work = Callable[[], None]

TRANSLATED = [code for code, _name in LANGUAGES if code != "en"]
LOCALE = BASE_DIR / "intercom_bridge" / "locale"
PLACEHOLDER = re.compile(r"%\(\w+\)[ds]|\{\w+\}|%%")
TEXT_KEYS = ("text", "label", "placeholder", "title", "subtitle", "tertiary_text", "field", "value")

in_each_language = pytest.mark.parametrize("language", TRANSLATED)


# The .po and .mo files


def translations(language: str, ending: str = "po") -> Any:
    path = LOCALE / language / "LC_MESSAGES" / f"django.{ending}"
    return polib.pofile(str(path)) if ending == "po" else polib.mofile(str(path))


def pairs(entry: polib.POEntry) -> list[tuple[str, str]]:
    """Return each original with its translation; the plural is paired with every form but the first."""
    if not entry.msgid_plural:
        return [(entry.msgid, entry.msgstr)]
    first, *others = entry.msgstr_plural.values()
    return [(entry.msgid, first), *((entry.msgid_plural, form) for form in others)]


@in_each_language
def test_everything_is_translated_and_compiled(language: str) -> None:
    po = translations(language)
    assert [entry.msgid for entry in po if not entry.translated()] == []
    compiled = {(entry.msgctxt, entry.msgid): pairs(entry) for entry in translations(language, "mo")}
    assert compiled == {(entry.msgctxt, entry.msgid): pairs(entry) for entry in po}, "run `make messages`"


@in_each_language
def test_all_languages_translate_the_same_texts(language: str) -> None:
    first = {(entry.msgctxt, entry.msgid, entry.msgid_plural) for entry in translations(TRANSLATED[0])}
    assert {(entry.msgctxt, entry.msgid, entry.msgid_plural) for entry in translations(language)} == first


@in_each_language
def test_a_translation_keeps_placeholders_and_markdown(language: str) -> None:
    for entry in translations(language):
        for original, translated in pairs(entry):
            assert sorted(PLACEHOLDER.findall(translated)) == sorted(PLACEHOLDER.findall(original)), (
                translated
            )
            assert translated.count("**") == original.count("**"), translated
            assert translated.count("](") == original.count("]("), translated
            assert translated == translated.strip(), translated
            assert translated.endswith(".") == original.endswith("."), translated


def test_each_language_has_its_own_plural_rule() -> None:
    def label(language: str, count: int) -> str:
        with translation.override(language):
            text = translation.ngettext("%(count)d linked ticket", "%(count)d linked tickets", count)
            return text % {"count": count}

    assert label("fr", 0) == "0 ticket lié"
    assert label("es", 0) == "0 tickets vinculados"
    assert label("de", 1) == "1 verknüpftes Ticket"


# The screens


class Reader(Teammate):
    """A teammate who asserts that no English sentence is on the panel."""

    def __init__(self, client: Client, language: str) -> None:
        super().__init__(client)
        self.english = [
            pattern
            for entry in translations(language)
            for original, translated in pairs(entry)
            if (pattern := _pattern(original, translated))
        ]

    def send(self, path: str, body: dict[str, Any]) -> Teammate:
        super().send(path, body)
        for text in self._texts():
            found = next((pattern for pattern in self.english if pattern.search(text)), None)
            assert found is None, f"“{text}” is English: {found}"
        return self

    def _texts(self) -> Iterator[str]:
        for component in self.components:
            for row in (component, *component.get("items", ()), *component.get("options", ())):
                yield from (row[key] for key in TEXT_KEYS if isinstance(row.get(key), str))


def _pattern(original: str, translated: str) -> re.Pattern[str] | None:
    """Find an English text: a long sentence anywhere, a short one if it is the whole text."""
    if original == translated:
        return None
    literals = PLACEHOLDER.split(original)
    pattern = ".+?".join(re.escape(literal) for literal in literals)
    is_long = len(re.findall(r"[a-z]+", " ".join(literals))) >= 4
    return re.compile(pattern if is_long else rf"\A{pattern}( \*)?\Z", re.DOTALL)


@pytest.fixture
def reader(client: Client, workspace: Workspace, language: str) -> Reader:
    workspace.language = language
    workspace.save()
    return Reader(client, language)


@in_each_language
def test_linking_and_pausing_are_translated(reader: Reader, client: Client, work: Work) -> None:
    reader.open().send_click("ongoing:1").send_click("ticket:UserRequest:8")
    reader.send_click("link:UserRequest:8").send_click("link:UserRequest:8:copy")
    work()
    reader.open().send_click("linked:1").send_click("ticket:UserRequest:8").send_click("sync")
    reader.send_click("pause")
    notify(client, part(37358198350, "<p>50</p>"))
    work()
    reader.send_click("sync").send_click("resume").send_click("sync").send_click("write-left-out")


@in_each_language
def test_creating_a_ticket_is_translated(
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


@in_each_language
def test_errors_are_translated(reader: Reader, workspace: Workspace, itop: Itop) -> None:
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


@in_each_language
def test_reasons_are_translated(reader: Reader, workspace: Workspace) -> None:
    reader.open().send_click("link:UserRequest:8:from-now-on")
    link = TicketLink.objects.get()
    for number, code in enumerate((ReasonCode.LOG_FULL, ReasonCode.TICKET_NOT_FOUND, ReasonCode.GAVE_UP)):
        Delivery.objects.create(
            ticket=link.ticket,
            conversation=link.conversation,
            kind="part",
            part_id=str(37358198390 + number),
            part_created_at=1_768_999_000 + number,
            state="failed",
            reason_code=code,
            log="public_log",
        )
    Conversation.objects.update(reconcile_code=ReasonCode.NO_ACCESS_TOKEN)
    workspace.itop.paused_until = timezone.now() + dt.timedelta(minutes=1)
    workspace.itop.pause_code = ReasonCode.ITOP_UNAVAILABLE
    workspace.itop.save()
    reader.open().send_click("sync")
    with translation.override(workspace.language):
        assert str(ReasonCode.NO_ACCESS_TOKEN.label) in reader.text
        assert str(ReasonCode.ITOP_UNAVAILABLE.label) in reader.text


@in_each_language
def test_values_are_labelled_as_in_itop(language: str) -> None:
    with translation.override(language):
        urgency = [str(label) for label in CHOICES["urgency"].values()]
    assert urgency == {
        "fr": ["Critique", "Haute", "Moyenne", "Basse"],
        "de": ["Kritisch", "Hoch", "Mittel", "Niedrig"],
        "es": ["Crítica", "Alta", "Media", "Baja"],
    }[language]  # fmt: skip


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "5 Feb 2026 17:05"),
        ("fr", "5 fév. 2026 à 17:05"),
        ("de", "5. Feb. 2026, 17:05"),
        ("es", "5 feb 2026, 17:05"),
        ("pt", "5 Fev 2026 17:05"),
    ],
)
def test_dates_are_formatted_for_the_language(language: str, text: str) -> None:
    with translation.override(language):
        assert format_time(dt.datetime(2026, 2, 5, 17, 5)) == text


# Texts that the worker writes


@pytest.fixture
def german(workspace: Workspace) -> Workspace:
    workspace.language = "de"
    workspace.save()
    return workspace


def test_messages_to_intercom_are_in_the_language_of_the_workspace(
    german: Workspace, teammate: Teammate, itop: Itop, work: Work
) -> None:
    teammate.open().send_click("create")
    itop.faults.add("drop_before", operation="core/create", count=1)
    teammate.send_click("form:submit", {"Titel": "Export"})
    TicketCreation.objects.update(due_at=timezone.now())
    with translation.override("en"):
        work()
    teammate.send_click("link:UserRequest:8:from-now-on")
    reply, note = OutgoingMessage.objects.order_by("pk").values_list("body", flat=True)
    assert re.fullmatch(r"<p>Ada Reyes hat .* verknüpft\.</p>", note)
    assert re.fullmatch(r"<p>Wir haben .* eröffnet\..*</p>", reply)


def test_texts_added_to_a_log_entry_are_in_the_language_of_the_workspace(
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
