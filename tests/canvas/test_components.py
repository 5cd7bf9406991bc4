"""Components say what Canvas Kit reads, and cannot be built outside its limits."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_bridge.canvas import components as kit
from intercom_bridge.canvas.components import (
    FIRST_SCREEN_HEIGHT,
    ZERO_WIDTH,
    Button,
    Canvas,
    Checkbox,
    DataTable,
    Divider,
    Dropdown,
    Field,
    Image,
    Input,
    Item,
    LimitError,
    List,
    OpenUrl,
    Option,
    SingleSelect,
    Spacer,
    Submit,
    Text,
    TextArea,
    inert,
    link,
    shorten,
)

from .schema import check_canvas


def options(count: int) -> tuple[Option, ...]:
    return tuple(Option(id=str(number), text=f"Choice {number}") for number in range(count))


def test_the_form_of_intercoms_own_example_comes_out_as_documented() -> None:
    canvas = Canvas(
        components=(
            Text(id="title", text="**No report linked**"),
            Dropdown(
                id="severity",
                label="Severity",
                options=(Option(id="low", text="Low"), Option(id="high", text="High")),
                value="low",
            ),
            Checkbox(
                id="flags",
                label="Flags",
                options=(
                    Option(id="regression", text="Regression"),
                    Option(id="paying", text="Paying customer"),
                ),
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
                    {
                        "type": "text",
                        "id": "title",
                        "text": "**No report linked**",
                        "style": "paragraph",
                        "align": "left",
                    },
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
                    {
                        "type": "checkbox",
                        "id": "flags",
                        "label": "Flags",
                        "option": [
                            {"type": "option", "id": "regression", "text": "Regression"},
                            {"type": "option", "id": "paying", "text": "Paying customer"},
                        ],
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
        Text(text="Jo Park", style="header", align="center", id="who", bottom_margin="none"),
        Text(text="No ticket yet", style="muted"),
        Input(
            id="q",
            label="Search",
            placeholder="R-000123",
            value="printer",
            action=Submit(),
            save_state="failed",
            disabled=True,
        ),
        TextArea(id="d", label="What", placeholder="…", value="It\nbroke", error=True, disabled=True),
        Dropdown(id="i", label="Impact", options=options(10), value="9", save_state="saved", disabled=True),
        SingleSelect(id="u", options=options(2), label="U", value="1", action=Submit(), save_state="unsaved"),
        Checkbox(id="c", label="Copy", options=options(40), value=("1", "39"), save_state="saved"),
        List(
            items=(
                Item(
                    id="t:1",
                    title="R-000001",
                    subtitle="Printer",
                    tertiary_text="New",
                    image="https://cdn.example/x.png",
                    image_width=16,
                    image_height=16,
                    rounded_image=True,
                    action=Submit(),
                ),
                Item(id="t:2", title="R-000002", disabled=True, action=OpenUrl("https://itop.example/2")),
            ),
            disabled=True,
        ),
        DataTable(items=(Field(field="Status", value="New"), Field(field="Agent", value=" "))),
        Image(
            url="https://cdn.example/i.png",
            width=40,
            height=30,
            id="img",
            align="full_width",
            rounded=True,
            bottom_margin="none",
            action=OpenUrl("https://itop.example/"),
        ),
        Divider(id="line"),
        Divider(),
        Spacer(size="xl", id="room"),
        Button(id="b", label="Open", action=OpenUrl("http://itop.local/x?y=1&z=2"), style="link"),
        Button(id="p", label="Go", action=Submit(), style="primary", disabled=True),
    ),
    stored_data={"v": 1},
)


def test_every_property_of_every_component_is_a_documented_one() -> None:
    check_canvas(json.loads(json.dumps(EVERYTHING.to_json())))
    properties = {
        (one["type"], name)
        for one in EVERYTHING.to_json()["canvas"]["content"]["components"]
        for name in one
        if one["type"] == "checkbox"
    }
    assert ("checkbox", "option") in properties
    assert ("checkbox", "options") not in properties


def test_a_blank_value_in_a_data_table_shows_as_a_dash() -> None:
    assert Field(field="Agent", value=" \n").to_json()["value"] == "–"


REFUSED: dict[str, Callable[[], Any]] = {
    "text without words": lambda: Text(text=" \n\x00 "),
    "text that is a number": lambda: Text(text=7),  # type: ignore[arg-type]
    "text in a style of its own": lambda: Text(text="a", style="bold"),  # type: ignore[arg-type]
    "text aligned nowhere": lambda: Text(text="a", align="full_width"),  # type: ignore[arg-type]
    "text with a wide margin": lambda: Text(text="a", bottom_margin="large"),  # type: ignore[arg-type]
    "button without label": lambda: Button(id="b", label="", action=Submit()),
    "button without id": lambda: Button(id="", label="b", action=Submit()),
    "button with a control character in its id": lambda: Button(id="b\x00", label="b", action=Submit()),
    "button of no style": lambda: Button(id="b", label="b", action=Submit(), style="big"),  # type: ignore[arg-type]
    "input without id": lambda: Input(id=""),
    "input in no save state": lambda: Input(id="i", save_state="maybe"),  # type: ignore[arg-type]
    "input holding a number": lambda: Input(id="i", value=3),  # type: ignore[arg-type]
    "textarea without id": lambda: TextArea(id=""),
    "dropdown of one": lambda: Dropdown(id="d", options=options(1)),
    "dropdown of eleven": lambda: Dropdown(id="d", options=options(11)),
    "dropdown with a foreign value": lambda: Dropdown(id="d", options=options(2), value="2"),
    "dropdown with twins": lambda: Dropdown(id="d", options=options(2) + options(1)),
    "single select of one": lambda: SingleSelect(id="s", options=options(1)),
    "single select of eleven": lambda: SingleSelect(id="s", options=options(11)),
    "single select with a foreign value": lambda: SingleSelect(id="s", options=options(2), value="x"),
    "checkbox of none": lambda: Checkbox(id="c", label="c", options=()),
    "checkbox without label": lambda: Checkbox(id="c", label=" ", options=options(1)),
    "checkbox with a foreign value": lambda: Checkbox(id="c", label="c", options=options(1), value=("1",)),
    "checkbox with one string": lambda: Checkbox(id="c", label="c", options=options(1), value="0"),  # type: ignore[arg-type]
    "option without text": lambda: Option(id="a", text=""),
    "option without id": lambda: Option(id="", text="a"),
    "list of none": lambda: List(items=()),
    "item without title": lambda: Item(id="a", title=""),
    "item with an image over http": lambda: Item(
        id="a", title="a", image="http://cdn.example/a.png", image_width=1, image_height=1
    ),
    "item with an image of no size": lambda: Item(id="a", title="a", image="https://cdn.example/a.png"),
    "item with a size of no image": lambda: Item(id="a", title="a", image_width=16),
    "data table of none": lambda: DataTable(items=()),
    "field without name": lambda: Field(field="", value="a"),
    "image over http": lambda: Image(url="http://cdn.example/a.png", width=1, height=1),
    "image without height": lambda: Image(url="https://cdn.example/a.png", width=1, height=0),
    "image that submits": lambda: Image(
        url="https://cdn.example/a.png",
        width=1,
        height=1,
        action=Submit(),  # type: ignore[arg-type]
    ),
    "spacer of no size": lambda: Spacer(size="huge"),  # type: ignore[arg-type]
    "script behind a button": lambda: OpenUrl("javascript:alert(1)"),
    "address without host": lambda: OpenUrl("https:///x"),
    "address with a space": lambda: OpenUrl("https://itop.example/a b"),
    "address with a line break": lambda: OpenUrl("https://itop.example/\n"),
    "address that is none": lambda: OpenUrl("http://[::1"),
    "relative address": lambda: OpenUrl("/pages/UI.php"),
    "mail address": lambda: OpenUrl("mailto:jo@client.example"),
    "canvas of nothing": lambda: Canvas(components=()),
    "canvas with twins": lambda: Canvas(components=(Divider(id="a"), Spacer(id="a"))),
    "canvas whose item is a button's twin": lambda: Canvas(
        components=(
            Button(id="a", label="a", action=Submit()),
            List(items=(Item(id="a", title="a"),)),
        )
    ),
    "list with twins": lambda: Canvas(
        components=(List(items=(Item(id="a", title="a"), Item(id="a", title="b"))),)
    ),
    "canvas of 65 KB": lambda: Canvas(components=(Text(text="x" * 65_000),)),
    "canvas whose letters take six bytes": lambda: Canvas(components=(Text(text="é" * 11_000),)),
    "stored data of 65 KB": lambda: Canvas(components=(Divider(),), stored_data={"x": "y" * 65_000}),
    "stored data that is no JSON": lambda: Canvas(components=(Divider(),), stored_data={"x": object()}),
    "stored data without a number": lambda: Canvas(components=(Divider(),), stored_data={"x": float("nan")}),
}


@pytest.mark.parametrize("build", REFUSED.values(), ids=REFUSED.keys())
def test_a_component_refuses_to_be_built_outside_the_limits(build: Callable[[], Any]) -> None:
    with pytest.raises(LimitError):
        build()


def test_a_refusal_names_the_component_and_the_field() -> None:
    with pytest.raises(LimitError, match=r"Dropdown 'impact': takes 2 to 10 options, not 11"):
        Dropdown(id="impact", options=options(11))


def test_the_edges_of_the_limits_are_within() -> None:
    canvas = Canvas(
        components=(
            Dropdown(id="two", options=options(2)),
            Dropdown(id="ten", options=options(10)),
            Checkbox(id="one", label="One", options=options(1)),
        )
    )
    check_canvas(canvas.to_json())


def test_a_canvas_close_to_64_kb_is_taken() -> None:
    check_canvas(Canvas(components=(Text(text="x" * 63_800),)).to_json())


def test_what_a_person_reads_is_cleaned_on_its_way_out() -> None:
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


def test_a_long_title_is_cut_with_an_ellipsis() -> None:
    title = Item(id="t", title="word " * 100).to_json()["title"]
    assert len(title) <= kit.LABEL_LENGTH
    assert title.endswith("word…")


# --- Heights ---


def test_a_home_screen_as_planned_fits_the_first_screen() -> None:
    home = Canvas(
        components=(
            Text(text="**Jo Park**, Client Ltd\nMatched by e-mail"),
            List(
                items=(
                    Item(
                        id="linked", title="1 linked ticket", subtitle="R-000123, assigned", action=Submit()
                    ),
                    Item(id="ongoing", title="3 ongoing tickets", action=Submit()),
                )
            ),
            Text(text="Messages are copied to the ticket.", style="muted"),
            Button(id="create", label="Create a ticket", action=Submit()),
            Button(id="pause", label="Pause", action=Submit(), style="link"),
        )
    )
    assert 200 < home.height() <= FIRST_SCREEN_HEIGHT


def test_every_component_adds_to_the_height() -> None:
    for component in EVERYTHING.components:
        assert component.pixels() > 0
    assert EVERYTHING.height() > sum(component.pixels() for component in EVERYTHING.components)


def test_longer_text_is_higher_and_wide_letters_count_twice() -> None:
    short, long = Text(text="word " * 6), Text(text="word " * 60)
    assert short.pixels() < long.pixels()
    assert Text(text="プ" * 60).pixels() > Text(text="p" * 60).pixels()
    assert Text(text="a\nb\nc").pixels() > Text(text="a b c").pixels()


def test_markdown_and_invisible_characters_take_no_room() -> None:
    link = Text(text=f"[R-000123](https://itop.example/pages/UI.php?{'x' * 200})")
    assert link.pixels() == Text(text="R-000123").pixels()
    assert Text(text="**a**").pixels() == Text(text="a").pixels()


# --- Markdown ---

MARKS = st.lists(st.sampled_from([*"*_[]()` \nab/:.é", "http://x", "👩‍👩‍👧", ZERO_WIDTH])).map("".join)


@given(st.one_of(st.text(), MARKS))
def test_inert_text_holds_no_markdown_and_reads_the_same(text: str) -> None:
    result = inert(text)
    assert "**" not in result
    assert "](" not in result
    assert result.replace(ZERO_WIDTH, "") == text.replace(ZERO_WIDTH, "")
    assert inert(result) == result


@given(MARKS, MARKS)
def test_inert_texts_stay_inert_side_by_side_and_between_our_own_marks(first: str, second: str) -> None:
    side_by_side = inert(first) + inert(second)
    assert "**" not in side_by_side
    assert "](" not in side_by_side
    bold = f"**{inert(first)}**"
    if first:
        assert bold.count("**") == 2
        assert "***" not in bold
    assert link(first + "a", "https://itop.example/").count("](") == 1


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
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert inert(text) == text


@pytest.mark.parametrize("text", ["**bold**", "[click](https://evil.example)", "__bold__", "``code``", "***"])
def test_markdown_in_data_is_broken_up(text: str) -> None:
    assert ZERO_WIDTH in inert(text)


def test_a_link_survives_the_brackets_of_its_label_and_of_its_address() -> None:
    assert link("[R-1] (new)", "https://itop.example/a(b)?c=**") == (
        f"[{ZERO_WIDTH}(R-1) (new)](https://itop.example/a%28b%29?c=%2A%2A)"
    )
    with pytest.raises(LimitError):
        link("R-1", "javascript:alert(1)")


# --- Cutting ---


@given(st.text(), st.integers(0, 60))
def test_shortened_text_never_exceeds_its_limit(text: str, limit: int) -> None:
    result = shorten(text, limit)
    assert len(result) <= limit
    assert "\n" not in result


def test_text_is_cut_at_a_word_and_never_inside_a_visible_character() -> None:
    assert shorten("The export button does nothing", 20) == "The export button…"
    assert shorten("Donaudampfschifffahrtsgesellschaft", 10) == "Donaudamp…"
    family = "👩‍👩‍👧"
    assert shorten(f"ab{family}cd", 6) == "ab…"
    assert shorten("🇫🇷🇩🇪🇮🇪x", 6) == "🇫🇷🇩🇪…"
    assert shorten("cafe\u0301s are open", 5) == "caf…"
    assert shorten("👍🏽👍🏽👍🏽", 4) == "👍🏽…"
    assert shorten("short", 5) == "short"
    assert shorten("long", 0) == ""
