"""Components produce valid Canvas Kit JSON and enforce its limits."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_bridge.panel import components as kit
from intercom_bridge.panel.components import (
    MAX_FIRST_SCREEN_HEIGHT,
    ZERO_WIDTH_SPACE,
    Button,
    Canvas,
    DataTable,
    Dropdown,
    Field,
    Input,
    Item,
    LimitError,
    List,
    OpenUrl,
    Option,
    SingleSelect,
    Submit,
    Text,
    TextArea,
    escape_markdown,
    estimated_height,
    markdown_link,
    shorten,
)

from .schema import check_canvas


def options(count: int) -> tuple[Option, ...]:
    return tuple(Option(id=str(number), text=f"Choice {number}") for number in range(count))


def test_the_form_of_intercoms_example_is_serialized_as_documented() -> None:
    canvas = Canvas(
        components=(
            Text(text="**No report linked**"),
            Dropdown(
                id="severity",
                label="Severity",
                options=(Option(id="low", text="Low"), Option(id="high", text="High")),
                value="low",
            ),
            TextArea(id="summary", label="Summary"),
            Button(id="create_report", label="Create report", action=Submit()),
        ),
        stored_data={"v": 1, "screen": "form"},
    )
    assert canvas.to_json() == {
        "canvas": {
            "content": {
                "components": [
                    {"type": "text", "text": "**No report linked**", "style": "paragraph", "align": "left"},
                    {
                        "type": "dropdown",
                        "id": "severity",
                        "label": "Severity",
                        "options": [
                            {"type": "option", "id": "low", "text": "Low"},
                            {"type": "option", "id": "high", "text": "High"},
                        ],
                        "value": "low",
                    },
                    {"type": "textarea", "id": "summary", "label": "Summary"},
                    {
                        "type": "button",
                        "id": "create_report",
                        "label": "Create report",
                        "style": "secondary",
                        "action": {"type": "submit"},
                    },
                ]
            },
            "stored_data": {"v": 1, "screen": "form"},
        }
    }
    check_canvas(canvas.to_json())


EVERYTHING = Canvas(
    components=(
        Text(text="Jo Park", style="header", bottom_margin="none"),
        Text(text="No ticket yet", style="muted"),
        Input(
            id="q",
            label="Search",
            placeholder="R-000123",
            value="printer",
            action=Submit(),
            save_state="failed",
        ),
        TextArea(id="d", label="What", value="It\nbroke", error=True),
        Dropdown(id="i", label="Impact", options=options(10), value="9", save_state="failed"),
        SingleSelect(id="s", label="Service", options=options(10), value="9", action=Submit()),
        List(
            items=(
                Item(id="t:1", title="R-000001", subtitle="Printer", tertiary_text="New", action=Submit()),
                Item(id="t:2", title="R-000002", disabled=True, action=OpenUrl("https://itop.example/2")),
            )
        ),
        DataTable(items=(Field(field="Status", value="New"), Field(field="Agent", value=" "))),
        Button(id="b", label="Open", action=OpenUrl("http://itop.local/x?y=1&z=2"), style="link"),
        Button(id="p", label="Go", action=Submit(), style="primary"),
    ),
    stored_data={"v": 1},
)


def test_every_property_of_every_component_is_documented() -> None:
    check_canvas(json.loads(json.dumps(EVERYTHING.to_json())))


def test_a_blank_value_in_a_data_table_is_displayed_as_a_dash() -> None:
    assert Field(field="Agent", value=" \n").to_json()["value"] == "–"


REFUSED: dict[str, Callable[[], Any]] = {
    "text without words": lambda: Text(text=" \n\x00 "),
    "button without label": lambda: Button(id="b", label="", action=Submit()),
    "button without id": lambda: Button(id="", label="b", action=Submit()),
    "button with a control character in its id": lambda: Button(id="b\x00", label="b", action=Submit()),
    "input without id": lambda: Input(id=""),
    "textarea without id": lambda: TextArea(id=""),
    "dropdown of one": lambda: Dropdown(id="d", options=options(1)),
    "dropdown of eleven": lambda: Dropdown(id="d", options=options(11)),
    "dropdown with a foreign value": lambda: Dropdown(id="d", options=options(2), value="2"),
    "single-select of one": lambda: SingleSelect(id="s", options=options(1)),
    "single-select of eleven": lambda: SingleSelect(id="s", options=options(11)),
    "dropdown with twins": lambda: Dropdown(id="d", options=options(2) + options(1)),
    "option without text": lambda: Option(id="a", text=""),
    "option without id": lambda: Option(id="", text="a"),
    "list of none": lambda: List(items=()),
    "item without title": lambda: Item(id="a", title=""),
    "data table of none": lambda: DataTable(items=()),
    "field without name": lambda: Field(field="", value="a"),
    "script behind a button": lambda: OpenUrl("javascript:alert(1)"),
    "address without host": lambda: OpenUrl("https:///x"),
    "address with a space": lambda: OpenUrl("https://itop.example/a b"),
    "address with a line break": lambda: OpenUrl("https://itop.example/\n"),
    "address that is none": lambda: OpenUrl("http://[::1"),
    "relative address": lambda: OpenUrl("/pages/UI.php"),
    "mail address": lambda: OpenUrl("mailto:jo@client.example"),
    "canvas of nothing": lambda: Canvas(components=()),
    "canvas with twins": lambda: Canvas(components=(Input(id="a"), TextArea(id="a"))),
    "canvas whose item is a button's twin": lambda: Canvas(
        components=(Button(id="a", label="a", action=Submit()), List(items=(Item(id="a", title="a"),)))
    ),
    "list with twins": lambda: Canvas(
        components=(List(items=(Item(id="a", title="a"), Item(id="a", title="b"))),)
    ),
    "canvas of 65 KB": lambda: Canvas(components=(Text(text="x" * 65_000),)),
    "canvas whose letters take six bytes": lambda: Canvas(components=(Text(text="é" * 11_000),)),
    "stored data of 65 KB": lambda: Canvas(components=(Text(text="x"),), stored_data={"x": "y" * 65_000}),
    "stored data that is no JSON": lambda: Canvas(components=(Text(text="x"),), stored_data={"x": object()}),
    "stored data without a number": lambda: Canvas(
        components=(Text(text="x"),), stored_data={"x": float("nan")}
    ),
}


@pytest.mark.parametrize("build", REFUSED.values(), ids=REFUSED.keys())
def test_a_component_outside_the_limits_is_rejected(build: Callable[[], Any]) -> None:
    with pytest.raises(LimitError):
        build()


def test_the_error_names_the_component_and_the_field() -> None:
    with pytest.raises(LimitError, match=r"Dropdown 'impact': takes 2 to 10 options, not 11"):
        Dropdown(id="impact", options=options(11))


def test_values_at_the_limits_are_accepted() -> None:
    canvas = Canvas(
        components=(Dropdown(id="two", options=options(2)), Dropdown(id="ten", options=options(10)))
    )
    check_canvas(canvas.to_json())


def test_a_canvas_just_below_64_kb_is_accepted() -> None:
    check_canvas(Canvas(components=(Text(text="x" * 63_800),)).to_json())


def test_control_characters_are_removed_from_displayed_text() -> None:
    canvas = Canvas(
        components=(
            Text(text="a\x00b\ud800c"),
            Input(id="i", value="one\r\ntwo"),
            List(items=(Item(id="t", title="Printer\x07\n is  down"),)),
        )
    )
    check_canvas(canvas.to_json())
    text, field, lines = canvas.to_json()["canvas"]["content"]["components"]
    assert text["text"] == "abc"
    assert field["value"] == "one two"
    assert lines["items"][0]["title"] == "Printer is down"


def test_a_long_title_is_truncated_with_an_ellipsis() -> None:
    title = Item(id="t", title="word " * 100).to_json()["title"]
    assert len(title) <= kit.MAX_LABEL_LENGTH
    assert title.endswith("word…")


# --- Heights ---


def test_a_typical_home_screen_fits_the_height_limit() -> None:
    home = Canvas(
        components=(
            Text(text="**Jo Park**, Client Ltd\nMatched by e-mail"),
            List(
                items=(
                    Item(
                        id="linked", title="1 linked ticket", subtitle="R-000123, assigned", action=Submit()
                    ),
                    Item(id="ongoing", title="3 open tickets", action=Submit()),
                )
            ),
            Text(text="Messages are copied to the ticket.", style="muted"),
            Button(id="create", label="Create a ticket", action=Submit()),
            Button(id="pause", label="Pause", action=Submit(), style="link"),
        )
    )
    assert 200 < estimated_height(home.components) <= MAX_FIRST_SCREEN_HEIGHT


def test_every_component_adds_to_the_height() -> None:
    for component in EVERYTHING.components:
        assert component.estimated_height() > 0
    assert estimated_height(EVERYTHING.components) > sum(
        component.estimated_height() for component in EVERYTHING.components
    )


def test_longer_text_is_higher_and_wide_characters_count_twice() -> None:
    short, long = Text(text="word " * 6), Text(text="word " * 60)
    assert short.estimated_height() < long.estimated_height()
    assert Text(text="プ" * 60).estimated_height() > Text(text="p" * 60).estimated_height()
    assert Text(text="a\nb\nc").estimated_height() > Text(text="a b c").estimated_height()


def test_markdown_and_invisible_characters_add_no_height() -> None:
    link = Text(text=f"[R-000123](https://itop.example/pages/UI.php?{'x' * 200})")
    assert link.estimated_height() == Text(text="R-000123").estimated_height()
    assert Text(text="**a**").estimated_height() == Text(text="a").estimated_height()


# --- Markdown ---

MARKS = st.lists(st.sampled_from([*"*_[]()` \nab/:.é", "http://x", "👩‍👩‍👧", ZERO_WIDTH_SPACE])).map("".join)


@given(st.one_of(st.text(), MARKS))
def test_escaped_text_contains_no_markdown_and_reads_the_same(text: str) -> None:
    result = escape_markdown(text)
    assert "**" not in result
    assert "](" not in result
    assert result.replace(ZERO_WIDTH_SPACE, "") == text.replace(ZERO_WIDTH_SPACE, "")
    assert escape_markdown(result) == result


@given(MARKS, MARKS)
def test_escaped_texts_stay_escaped_when_concatenated_or_formatted(first: str, second: str) -> None:
    side_by_side = escape_markdown(first) + escape_markdown(second)
    assert "**" not in side_by_side
    assert "](" not in side_by_side
    bold = f"**{escape_markdown(first)}**"
    if first:
        assert bold.count("**") == 2
        assert "***" not in bold
    assert markdown_link(first + "a", "https://itop.example/").count("](") == 1


@pytest.mark.parametrize(
    "text",
    [
        "Printer (2nd floor)",
        "[R-000123] Printer (2nd floor)",
        "2 * 3 * 4",
        "snake_case_name and `code`",
        "see https://itop.example/a__b/(x)?y=[1]&z=__z__",
        "قائمة [1] (٢)",
    ],
)
def test_ordinary_text_is_not_changed(text: str) -> None:
    assert escape_markdown(text) == text


@pytest.mark.parametrize("text", ["**bold**", "[click](https://evil.example)", "__bold__", "``code``", "***"])
def test_markdown_in_data_is_escaped(text: str) -> None:
    assert ZERO_WIDTH_SPACE in escape_markdown(text)


def test_a_link_with_brackets_in_its_label_and_address_stays_a_link() -> None:
    assert markdown_link("[R-1] (new)", "https://itop.example/a(b)?c=**") == (
        f"[{ZERO_WIDTH_SPACE}(R-1) (new)](https://itop.example/a%28b%29?c=%2A%2A)"
    )
    with pytest.raises(LimitError):
        markdown_link("R-1", "javascript:alert(1)")


# --- Truncation ---


@given(st.text(), st.integers(0, 60))
def test_shortened_text_never_exceeds_its_limit(text: str, limit: int) -> None:
    result = shorten(text, limit)
    assert len(result) <= limit
    assert "\n" not in result


def test_text_is_truncated_at_a_word_and_never_inside_a_grapheme() -> None:
    assert shorten("The export button does nothing", 20) == "The export button…"
    assert shorten("Donaudampfschifffahrtsgesellschaft", 10) == "Donaudamp…"
    family = "👩‍👩‍👧"
    assert shorten(f"ab{family}cd", 6) == "ab…"
    assert shorten("🇫🇷🇩🇪🇮🇪x", 6) == "🇫🇷🇩🇪…"
    assert shorten("cafe\u0301s are open", 5) == "caf…"
    assert shorten("👍🏽👍🏽👍🏽", 4) == "👍🏽…"
    assert shorten("short", 5) == "short"
    assert shorten("long", 0) == ""
