"""Payloads are parsed tolerantly: wrong values count as missing, and only useless payloads are rejected."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_bridge.intercom.payloads import (
    Attachment,
    Author,
    CanvasRequest,
    Contact,
    Conversation,
    Event,
    Part,
    PayloadError,
    contact_ids_in,
    workspace_id_of,
)
from intercom_bridge.intercom.text import clean_text
from tests.ids import short_id
from tests.payloads import load, names

# --- As documented ---


def test_an_initialize_request_is_parsed_completely() -> None:
    request = CanvasRequest.parse(load("initialize"))
    assert request.workspace_id == "abcd1234"
    assert (request.admin.id, request.admin.name, request.admin.email) == (
        "9608799",
        "Ada Reyes",
        "ada@acme.example",
    )
    contact = request.contact
    assert (contact.id, contact.external_id, contact.role) == ("696205460674dbb9050aa7fd", "user-42", "user")
    assert (contact.email, contact.name) == ("jo@client.example", "Jo Park")
    assert contact.custom_attributes == {"plan": "team"}
    assert request.component_id == ""
    assert request.input_values == {}
    assert request.stored_data == {}
    conversation = request.conversation
    assert conversation.id == "215472621202693"
    assert conversation.title == ""
    assert conversation.contact_ids == ("696205460674dbb9050aa7fd",)
    assert conversation.is_complete
    source, part = conversation.messages
    assert (source.kind, source.part_type, source.id) == ("source", "source", "3381828792")
    assert source.created_at == conversation.created_at == 1768031789
    assert source.body == "<p>The export button does nothing</p>"
    assert source.author == Author(
        type="user", id="696205460674dbb9050aa7fd", name="Jo Park", email="jo@client.example"
    )
    assert (part.kind, part.part_type, part.id) == ("part", "comment", "37358198341")
    assert part.created_at == 1768032000
    assert part.author.type == "admin"
    assert part.app_package_code == ""
    assert not part.redacted


def test_a_submit_request_is_parsed_completely() -> None:
    request = CanvasRequest.parse(load("submit"))
    assert request.component_id == "create_report"
    assert request.input_values == {
        "severity": "high",
        "flags": ("regression",),
        "summary": "Export button dead in Firefox",
    }
    assert request.stored_data == {"v": 1, "screen": "form"}


@pytest.mark.parametrize("name", names("webhook_"))
def test_each_documented_notification_is_parsed(name: str) -> None:
    event = Event.parse(load(name))
    assert event.workspace_id == "abcd1234"
    if event.topic == "ping":
        assert event.id == ""
        assert event.conversation is None
        return
    assert event.id.startswith("notif_")
    assert event.conversation is not None
    assert event.conversation.id == "215472621202693"


def test_the_first_message_of_a_customer_is_the_source() -> None:
    conversation = Event.parse(load("webhook_user_created")).conversation
    assert conversation is not None
    assert conversation.parts == ()
    assert [message.kind for message in conversation.messages] == ["source"]


def test_a_reply_contains_its_files() -> None:
    conversation = Event.parse(load("webhook_user_replied")).conversation
    assert conversation is not None
    (part,) = conversation.parts
    log, picture = part.attachments
    assert (log.name, log.content_type, log.size) == ("export.log", "text/plain", 2048)
    assert log.url.startswith("https://downloads.intercomcdn.com/")
    assert picture.name == "screen shot.png"


def test_a_part_names_the_app_that_wrote_it() -> None:
    conversation = Event.parse(load("webhook_admin_noted_by_an_app")).conversation
    assert conversation is not None
    assert conversation.parts[0].app_package_code == "itop-bridge-abcd"


def test_an_event_part_has_an_empty_body() -> None:
    conversation = Event.parse(load("webhook_admin_closed")).conversation
    assert conversation is not None
    assert conversation.parts[0].body == ""


def test_a_deleted_conversation_is_incomplete() -> None:
    conversation = Event.parse(load("webhook_deleted")).conversation
    assert conversation is not None
    assert conversation.messages == ()
    assert not conversation.is_complete


def test_a_redacted_part_is_marked() -> None:
    conversation = Event.parse(load("webhook_part_redacted")).conversation
    assert conversation is not None
    assert conversation.parts[0].redacted


# --- Undocumented shapes ---


def conversation(**fields: Any) -> Conversation:
    return Conversation.parse({"type": "conversation", "id": "1", "created_at": 5, **fields})


def test_ids_of_any_type_become_strings() -> None:
    assert Conversation.parse({"id": 215472621202693}).id == "215472621202693"
    assert Conversation.parse({"id": 215472621202693.0}).id == "215472621202693"
    assert Conversation.parse({"id": " 42\n"}).id == "42"
    assert Author.parse({"id": 9608799}).id == "9608799"
    assert conversation(contacts={"contacts": [{"id": 7}]}).contact_ids == ("7",)


@pytest.mark.parametrize(
    "wrong", [None, True, "", "   ", [], {}, -1, 1.5, float("nan"), "x" * 256, 10**400], ids=short_id
)
def test_a_conversation_without_an_id_is_rejected(wrong: Any) -> None:
    with pytest.raises(PayloadError):
        Conversation.parse({"id": wrong})
    with pytest.raises(PayloadError):
        CanvasRequest.parse({"workspace_id": "abcd1234", "conversation": {"id": wrong}})


@pytest.mark.parametrize("data", [None, [], "x", 1, {}, {"conversation": None}, {"conversation": [1]}])
def test_a_canvas_request_without_a_conversation_is_rejected(data: Any) -> None:
    with pytest.raises(PayloadError):
        CanvasRequest.parse(data)


@pytest.mark.parametrize(
    "data", [None, [], {}, {"app_id": "a"}, {"topic": "ping"}, {"app_id": [], "topic": "x"}]
)
def test_a_notification_without_workspace_or_topic_is_rejected(data: Any) -> None:
    with pytest.raises(PayloadError):
        Event.parse(data)


def test_a_notification_without_a_readable_item_is_accepted() -> None:
    items: list[Any] = [None, [], "x", {"type": "conversation"}, {"type": "ticket", "id": "1"}, {"id": "1"}]
    for item in items:
        event = Event.parse({"app_id": "a", "topic": "x", "data": {"item": item}})
        assert event.conversation is None
    assert Event.parse({"app_id": "a", "topic": "x", "data": [1]}).conversation is None


@pytest.mark.parametrize(
    ("given_value", "seconds"),
    [
        (1768032000, 1768032000),
        (1768032000.9, 1768032000),
        ("1768032000", 1768032000),
        (" 1768032000.5 ", 1768032000),
        ("2026-01-10T08:00:00.000+00:00", 1768032000),
        ("2026-01-10T08:00:00Z", 1768032000),
        ("2026-01-10T09:00:00+01:00", 1768032000),
        ("2026-01-10 08:00:00", 1768032000),
        (None, 0),
        (True, 0),
        ("yesterday", 0),
        ("", 0),
        (-1, 0),
        (float("nan"), 0),
        (float("inf"), 0),
        ("nan", 0),
        ("1e400", 0),
        ("9" * 5000, 0),
        (10**400, 0),
        ("0001-01-01T00:00:00+23:59", 0),
        ([1768032000], 0),
        ({"at": 1}, 0),
    ],
    ids=short_id,
)
def test_dates_in_any_format_become_seconds(given_value: Any, seconds: int) -> None:
    part = Part.parse({"id": "1", "created_at": given_value})
    assert part is not None
    assert part.created_at == seconds


def test_parts_are_sorted_by_date_and_id_and_those_without_id_dropped() -> None:
    found = conversation(
        conversation_parts={
            "total_count": 6,
            "conversation_parts": [
                {"id": "10", "created_at": 2},
                {"id": "9", "created_at": 2},
                {"id": 8, "created_at": "3"},
                {"id": "11", "created_at": 1},
                {"created_at": 1},
                None,
            ],
        }
    )
    assert [part.id for part in found.parts] == ["11", "9", "10", "8"]
    assert not found.is_complete


def test_completeness_depends_on_intercoms_count() -> None:
    part = {"id": "1"}
    assert conversation(conversation_parts={"conversation_parts": [part], "total_count": 1}).is_complete
    assert not conversation(conversation_parts={"conversation_parts": [part], "total_count": 2}).is_complete
    assert conversation(conversation_parts={"conversation_parts": [part]}).is_complete
    assert conversation(conversation_parts=[part]).is_complete
    assert conversation(conversation_parts={"conversation_parts": [], "total_count": 0}).is_complete
    assert not conversation(conversation_parts=None).is_complete
    assert not conversation(statistics={"count_conversation_parts": 3}).is_complete


def test_a_source_has_the_conversations_date() -> None:
    source = conversation(source={"type": "source", "id": "9", "body": "x"}).source
    assert source is not None
    assert (source.kind, source.part_type, source.created_at) == ("source", "source", 5)


def test_a_source_and_a_part_may_have_the_same_id() -> None:
    found = conversation(
        source={"id": "9", "body": "x"}, conversation_parts={"conversation_parts": [{"id": "9"}]}
    )
    assert [(message.kind, message.id) for message in found.messages] == [("source", "9"), ("part", "9")]


def test_a_source_without_an_id_gets_the_conversations() -> None:
    source = conversation(source={"body": "x"}).source
    assert source is not None
    assert source.id == "1"


@pytest.mark.parametrize("wrong", [None, [], "x", {}, {"id": None, "body": None, "attachments": None}])
def test_an_empty_source_is_none(wrong: Any) -> None:
    assert conversation(source=wrong).source is None


@pytest.mark.parametrize("body", [None, 3, [], {}, True])
def test_a_body_that_is_not_text_is_empty(body: Any) -> None:
    part = Part.parse({"id": "1", "body": body})
    assert part is not None
    assert part.body == ""


def test_a_file_always_has_a_name() -> None:
    def name(**data: Any) -> str:
        found = Attachment.parse(data)
        assert found is not None
        return found.name

    assert name(name="a.txt") == "a.txt"
    assert name(name=None, url="https://cdn.example/o/2/my%20log.txt?expires=1") == "my log.txt"
    assert name(name=7, url="https://cdn.example/") == "cdn.example"
    assert name(name=" \n", url="https://cdn.example/a/b/") == "b"
    assert name(url="http://[broken/x.png")
    assert Attachment.parse({}) is None
    assert Attachment.parse("x") is None
    assert Attachment.parse({"url": "javascript:alert(1)"}) is None


def test_a_file_with_invalid_details_keeps_its_name() -> None:
    found = Attachment.parse(
        {"name": "a", "url": "file:///etc/passwd", "filesize": "big", "content_type": None}
    )
    assert found == Attachment(name="a", url="", content_type="", size=0)


def test_old_and_new_names_of_the_contact_are_accepted() -> None:
    def person(**fields: Any) -> tuple[str, str]:
        contact = CanvasRequest.parse({"conversation": {"id": 1}, **fields}).contact
        return contact.id, contact.external_id

    assert person(contact={"id": "c", "external_id": "e"}) == ("c", "e")
    assert person(customer={"id": "c", "user_id": "u"}) == ("c", "u")
    assert person(contact=None, customer={"id": "c", "user_id": 42}) == ("c", "42")
    assert person(contact={"id": "c", "external_id": "e"}, customer={"id": "x"}) == ("c", "e")
    assert person(contact=[1]) == ("", "")


def test_the_type_of_an_old_contact_is_its_role() -> None:
    request = CanvasRequest.parse({"conversation": {"id": 1}, "customer": {"type": "lead", "id": "1"}})
    assert request.contact.role == "lead"
    request = CanvasRequest.parse({"conversation": {"id": 1}, "contact": {"type": "contact", "id": "1"}})
    assert request.contact.role == ""


def test_the_workspace_id_has_two_names() -> None:
    assert workspace_id_of({"workspace_id": "w", "app_id": "a"}) == "w"
    assert workspace_id_of({"workspace_id": None, "app_id": "a"}) == "a"
    assert workspace_id_of({"workspace_id": ["w"]}) == ""
    assert workspace_id_of(["w"]) == ""


def test_input_values_are_strings_or_tuples_of_strings() -> None:
    values = CanvasRequest.parse(
        {
            "conversation": {"id": 1},
            "input_values": {"a": "x\x00", "b": None, "c": ["1", 2, None], "d": 5, "e": {"f": 1}, "g": True},
        }
    ).input_values
    assert values == {"a": "x", "c": ("1",), "d": "5"}


def test_nested_stored_data_is_found() -> None:
    nested = {"current_canvas": {"stored_data": {"v": 1}}}
    assert CanvasRequest.parse({"conversation": {"id": 1}, "current_canvas": nested}).stored_data == {"v": 1}


def test_contact_ids_are_unique_and_optional() -> None:
    twice = {"contacts": [{"id": "a"}, {"id": "b"}, {"id": "a"}, {}, None]}
    assert conversation(contacts=twice).contact_ids == ("a", "b")
    assert conversation(contacts=[{"id": "a"}]).contact_ids == ("a",)
    assert conversation(contacts=None).contact_ids == ()
    assert conversation(user={"id": "u"}).contact_ids == ("u",)


def test_scalar_custom_attributes_are_kept() -> None:
    request = CanvasRequest.parse(
        {
            "conversation": {"id": 1},
            "contact": {
                "custom_attributes": {"a": "x", "b": 2, "c": None, "d": [1], "e": False, "f": {"g": 1}}
            },
        }
    )
    assert request.contact.custom_attributes == {"a": "x", "b": 2, "e": False}


def test_deeply_nested_json_causes_no_recursion_error() -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"conversation": deep}
    with pytest.raises(PayloadError):
        CanvasRequest.parse(deep)
    assert conversation(source=deep, contacts=deep, title=deep).messages == ()
    while deep:  # the interpreter would free it recursively
        deep = deep.pop("conversation", None)


# --- Text ---


def test_text_is_cleaned_for_databases() -> None:
    assert clean_text("a\x00b\x1bc\x7fd\x85e") == "abcde"
    assert clean_text("tab\tand\nline\r\nends\r.") == "tab\tand\nline\nends\n."
    assert clean_text("lone \ud83d and \ude00 but 😀") == "lone  and  but 😀"
    assert clean_text("e\u0301 قائمة \u200f 👩‍👩‍👧") == "e\u0301 قائمة \u200f 👩‍👩‍👧"
    assert clean_text(None) == clean_text(7) == clean_text(b"x") == ""


@given(st.text(st.characters()))
def test_clean_text_can_be_stored_anywhere(text: str) -> None:
    cleaned = clean_text(text)
    cleaned.encode("utf-8")
    assert "\x00" not in cleaned
    assert clean_text(cleaned) == cleaned


# --- Any JSON ---

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=6), children, max_size=4)
    ),
    max_leaves=12,
)


def mostly(**shape: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for objects of this shape, whose fields may also be missing or of any type."""
    return ANYTHING | st.fixed_dictionaries(
        {}, optional={key: value | ANYTHING for key, value in shape.items()}
    )


AUTHOR = mostly(type=st.just("user"), id=st.integers(), name=st.text(), email=st.text())
FILE = mostly(name=st.text(), url=st.just("https://[x") | st.text(), filesize=st.integers())
MESSAGE = mostly(
    id=st.integers() | st.text(),
    body=st.text(),
    created_at=st.floats() | st.text(),
    author=AUTHOR,
    attachments=st.lists(FILE, max_size=2),
)
CONVERSATION = mostly(
    type=st.just("conversation"),
    id=st.integers() | st.text(),
    source=MESSAGE,
    contacts=mostly(contacts=st.lists(AUTHOR, max_size=2)),
    conversation_parts=mostly(conversation_parts=st.lists(MESSAGE, max_size=3), total_count=st.integers()),
)


def check_texts(value: Any) -> None:
    """Assert that all text in the result is clean."""
    if isinstance(value, str):
        assert clean_text(value) == value
    elif isinstance(value, tuple):
        for item in value:
            check_texts(item)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            if name not in ("stored_data", "custom_attributes"):
                check_texts(getattr(value, name))


@given(
    mostly(
        workspace_id=st.text(),
        conversation=CONVERSATION,
        contact=AUTHOR,
        admin=AUTHOR,
        input_values=mostly(a=st.text()),
        current_canvas=mostly(stored_data=ANYTHING),
    )
)
def test_any_json_is_a_canvas_request_or_a_payload_error(data: Any) -> None:
    try:
        request = CanvasRequest.parse(data)
    except PayloadError:
        return
    assert request.conversation.id
    check_texts(request)
    json.dumps(dict(request.input_values))


@given(mostly(app_id=st.text(), topic=st.text(), id=st.text(), data=mostly(item=CONVERSATION)))
def test_any_json_is_a_notification_or_a_payload_error(data: Any) -> None:
    try:
        event = Event.parse(data)
    except PayloadError:
        return
    assert event.workspace_id
    assert event.topic
    check_texts(event)


@pytest.mark.parametrize(("length", "is_kept"), [(320, True), (321, False), (1_000_000, False)])
def test_an_email_address_that_is_too_long_is_ignored(length: int, is_kept: bool) -> None:
    email = "x" * (length - 13) + "@acme.example"
    assert Contact.parse({"type": "contact", "id": "1", "email": email}).email == (email if is_kept else "")


def test_a_payload_that_names_very_many_contacts_is_bounded() -> None:
    many = [{"type": "contact", "id": str(number)} for number in range(300_000)]
    assert len(contact_ids_in({"contacts": {"contacts": many}})) == 1_000
    assert len(Conversation.parse({"id": "1", "contacts": {"contacts": many}}).contact_ids) == 1_000


def test_a_customer_without_an_id_is_not_counted_among_the_contacts() -> None:
    assert contact_ids_in({"author": {"type": "user", "id": None}, "x": [{"type": "lead", "id": "7"}]}) == {
        "7"
    }
