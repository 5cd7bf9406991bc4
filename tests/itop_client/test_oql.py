"""Queries: quoting is reversible, and a condition added to any query only ever narrows it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itop_client import OqlError, containing, ids, parse, quote
from itop_client.oql import _tokenize
from tests.ids import short_id

PIECES = [
    "'",
    '"',
    "\\",
    "`",
    " WHERE ",
    " UNION ",
    " OR ",
    " SELECT ",
    ":current_contact_id",
    "(",
    ")",
    "\n",
]
NASTY = st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join))
ALIASED = "SELECT UserRequest AS t"


def unquoted(literal: str) -> str:
    """Return the value as iTop reads it: without the quotes, each backslash replaced by what follows it."""
    assert literal[0] == literal[-1]
    return re.sub(r"\\(.)", r"\1", literal[1:-1], flags=re.DOTALL)


def strings(query: object) -> list[str]:
    return [token.text for token in _tokenize(str(query)) if token.kind == "string"]


def printable(text: str) -> str:
    dropped = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
    return dropped.sub("", text)


def test_a_quote_is_escaped_as_recorded() -> None:
    assert quote("O'Brien") == "'O\\'Brien'"


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        (42, "42"),
        (0, "0"),
        (-1, "'-1'"),
        ("42", "'42'"),
        ("", "''"),
        ("a\0b\x07c\ud800d\x7f", "'abcd'"),
        ("\\", "'\\\\'"),
        ("\\'", "'\\\\\\''"),
        ('say "x"', "'say \"x\"'"),
    ],
)
def test_a_literal_is_a_number_or_escaped_text(value: str | int, literal: str) -> None:
    assert quote(value) == literal


@given(NASTY)
def test_quoting_can_be_reversed(text: str) -> None:
    assert unquoted(quote(text)) == printable(text)


@given(NASTY)
def test_a_quoted_text_is_a_single_literal(text: str) -> None:
    query = parse(f"{ALIASED} WHERE t.title = {quote(text)}")
    assert strings(query) == [quote(text)]
    assert query.placeholders == frozenset()


def test_a_list_of_ids_is_never_empty() -> None:
    assert ids([3, 1, 2]) == "3,1,2"
    assert ids(iter(())) == "0"


@pytest.mark.parametrize(
    ("text", "class_name", "alias"),
    [
        ("SELECT UserRequest", "UserRequest", "UserRequest"),
        ("  select UserRequest  ", "UserRequest", "UserRequest"),
        ("SELECT UserRequest AS t", "UserRequest", "t"),
        ("SELECT `UserRequest` AS `t` WHERE `t`.`id` = 1", "UserRequest", "t"),
        ("SELECT a FROM A AS a JOIN B AS b ON a.b_id = b.id", "A", "a"),
        ("SELECT b FROM A AS a JOIN B AS b ON a.b_id = b.id WHERE a.x = 1", "B", "b"),
        ("SELECT b, a FROM A AS a JOIN B AS b ON a.b_id = b.id", "B", "b"),
        ("SELECT A JOIN B ON A.b_id = B.id WHERE B.x = 1", "A", "A"),
        ("SELECT Person\nWHERE\n  org_id = 3\n", "Person", "Person"),
        ("SELECT A WHERE x = 'UNION SELECT' UNION SELECT B AS b WHERE b.y = 1", "A", "A"),
        ("SELECT Organization AS o JOIN Organization AS p ON o.parent_id BELOW p.id", "Organization", "o"),
        ("SELECT A AS a WHERE a.union = 1 AND a.where = 2 AND a.select = 3", "A", "a"),
    ],
    ids=short_id,
)
def test_the_selected_class_and_its_alias(text: str, class_name: str, alias: str) -> None:
    query = parse(text)
    assert (query.class_name, query.alias) == (class_name, alias)
    assert str(query) == text.strip()


def test_placeholders_in_strings_are_ignored() -> None:
    query = parse(
        "SELECT Service AS s JOIN Contract AS c ON s.c_id = c.id AND c.org_id = :current_contact->org_id"
        " WHERE s.id = :this->service_id AND s.name != ':no' AND s.x = \":neither\""
        " AND s.y IN (:current_contact_id)"
        " UNION SELECT Service WHERE id = :current_contact_id"
    )
    assert query.placeholders == {"current_contact->org_id", "this->service_id", "current_contact_id"}


def test_fill_replaces_placeholders_only() -> None:
    query = parse("SELECT A WHERE x = :this->name AND y = ':this->name' AND z = :id AND w = :id")
    filled = query.fill({"this->name": "O'Brien :id", "id": 5, "unused": "x"})
    assert str(filled) == "SELECT A WHERE x = 'O\\'Brien :id' AND y = ':this->name' AND z = 5 AND w = 5"
    assert filled.placeholders == frozenset()


def test_a_placeholder_without_a_value_is_an_error() -> None:
    with pytest.raises(OqlError, match="no value for :current_contact->org_id"):
        parse("SELECT A WHERE x = :id AND y = :current_contact->org_id").fill({"id": 1})


@given(NASTY, NASTY)
def test_filled_values_cannot_escape_their_literal(kept: str, value: str) -> None:
    query = parse(f"{ALIASED} WHERE t.a = {quote(kept)} OR t.b = :value OR t.c = 1")
    assert str(query.fill({"value": value})) == (
        f"{ALIASED} WHERE t.a = {quote(kept)} OR t.b = {quote(value)} OR t.c = 1"
    )


@pytest.mark.parametrize(
    ("text", "narrowed"),
    [
        ("SELECT A", "SELECT A WHERE (A.id = 7)"),
        ("SELECT A AS a", "SELECT A AS a WHERE (a.id = 7)"),
        ("SELECT A WHERE x = 1 OR y = 2", "SELECT A WHERE (A.id = 7) AND (x = 1 OR y = 2)"),
        ("select A as a where a.x = 1", "select A as a WHERE (a.id = 7) AND (a.x = 1)"),
        (
            "SELECT b FROM A AS a JOIN B AS b ON a.b_id = b.id WHERE a.x = 1",
            "SELECT b FROM A AS a JOIN B AS b ON a.b_id = b.id WHERE (b.id = 7) AND (a.x = 1)",
        ),
        (
            "SELECT A WHERE x = 1 UNION SELECT B AS b UNION SELECT `C` WHERE y = 2 OR z = 3",
            "SELECT A WHERE (A.id = 7) AND (x = 1) UNION SELECT B AS b WHERE (b.id = 7)"
            " UNION SELECT `C` WHERE (`C`.id = 7) AND (y = 2 OR z = 3)",
        ),
        (
            "SELECT A AS a"
            " WHERE a.id IN (SELECT B AS b WHERE b.x = 1 UNION SELECT C WHERE C.y = 2) OR a.z = 1",
            "SELECT A AS a WHERE (a.id = 7)"
            " AND (a.id IN (SELECT B AS b WHERE b.x = 1 UNION SELECT C WHERE C.y = 2) OR a.z = 1)",
        ),
        (
            "SELECT A WHERE x = 'it\\'s WHERE UNION (' OR y = \"\\\") UNION SELECT\"",
            "SELECT A WHERE (A.id = 7) AND (x = 'it\\'s WHERE UNION (' OR y = \"\\\") UNION SELECT\")",
        ),
        ("SELECT A\nWHERE\n x = 1\n OR y = 2\n", "SELECT A WHERE (A.id = 7) AND (x = 1\n OR y = 2)"),
        ("SELECT A WHERE x = :id OR y = 2", "SELECT A WHERE (A.id = 7) AND (x = :id OR y = 2)"),
        ("SELECT A WHERE (x = 1) OR (y = 2)", "SELECT A WHERE (A.id = 7) AND ((x = 1) OR (y = 2))"),
    ],
    ids=short_id,
)
def test_narrow_adds_its_condition_first(text: str, narrowed: str) -> None:
    assert str(parse(text).narrow("id", 7)) == narrowed


def test_narrowing_twice_keeps_both_conditions() -> None:
    query = parse("SELECT A AS a WHERE a.x = 1 OR a.y = 2").narrow("id", 7).narrow("org_id", 3)
    assert str(query) == "SELECT A AS a WHERE (a.org_id = 3) AND ((a.id = 7) AND (a.x = 1 OR a.y = 2))"


@pytest.mark.parametrize("attribute", ["", "id = 1 OR x", "a.b", "id)", "1d", "é", "id\n"])
def test_narrow_accepts_only_attribute_names(attribute: str) -> None:
    with pytest.raises(OqlError):
        parse("SELECT A").narrow(attribute, 1)


HEADS = [
    "SELECT A",
    "select A AS a",
    "SELECT a FROM A AS a\nJOIN B AS b ON a.b_id = b.id",
    "SELECT `A` as `a`",
]


@st.composite
def queries(draw: st.DrawFn) -> str:
    def condition(depth: int = 0) -> str:
        kind = draw(st.integers(0, 4 if depth < 2 else 2))
        if kind == 0:
            return f"x = {quote(draw(NASTY))}"
        if kind == 1:
            doubled = printable(draw(NASTY)).replace("\\", "\\\\").replace('"', '\\"')
            return f'a.y LIKE "{doubled}"'
        if kind == 2:
            return "`union` != :current_contact->org_id"
        if kind == 3:
            both = draw(st.sampled_from(["OR", "and", "AND"]))
            return f"({condition(depth + 1)}) {both} {condition(depth + 1)}"
        return f"id IN (SELECT B AS b WHERE {condition(depth + 1)})"

    def member() -> str:
        head = draw(st.sampled_from(HEADS))
        where = draw(st.sampled_from(["WHERE", "where", ""]))
        return f"{head} {where} {condition()}" if where else head

    return " UNION ".join(member() for _ in range(draw(st.integers(1, 3))))


@given(queries())
def test_narrowing_keeps_strings_and_structure(text: str) -> None:
    query = parse(text)
    narrowed = query.narrow("org_id", 3)
    assert strings(narrowed) == strings(query)
    assert narrowed.placeholders == query.placeholders
    assert (narrowed.class_name, narrowed.alias) == (query.class_name, query.alias)
    assert len(narrowed.selects) == len(query.selects)
    for before, after in zip(query.selects, narrowed.selects, strict=True):
        condition = f"({before.alias}.org_id = 3)"
        assert after.head == before.head
        assert after.condition == (f"{condition} AND ({before.condition})" if before.condition else condition)


@given(queries(), NASTY)
def test_filling_keeps_strings(text: str, value: str) -> None:
    query = parse(text)
    filled = query.fill({"current_contact->org_id": value})
    added = strings(filled)
    for string in strings(query):
        added.remove(string)
    assert set(added) <= {quote(value)}
    assert filled.placeholders == frozenset()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("   \n", "empty"),
        ("UserRequest", "SELECT is missing"),
        ("DELETE UserRequest", "SELECT is missing"),
        ("(SELECT A)", "SELECT is missing"),
        ("SELECT", "class is missing"),
        ("SELECT WHERE x = 1", "class is missing"),
        ("SELECT 'A'", "class is missing"),
        ("SELECT A WHERE", "no condition after WHERE"),
        ("SELECT A WHERE x = 'open", "quote is opened"),
        ('SELECT A WHERE x = "open', "quote is opened"),
        ("SELECT A WHERE x = 'open\\'", "quote is opened"),
        ("SELECT `A", "quote is opened"),
        ("SELECT A WHERE (x = 1", "bracket is opened"),
        ("SELECT A WHERE x = 1)", "bracket is closed"),
        ("SELECT A WHERE x = 1) OR (y = 2", "bracket is closed"),
        ("SELECT A UNION", "starts with SELECT"),
        ("UNION SELECT A", "starts with SELECT"),
        ("SELECT A UNION WHERE x = 1", "SELECT is missing"),
        ("SELECT A t", "t is not expected"),
        ("SELECT A ORDER BY id", "ORDER is not expected"),
        ("SELECT A AS", "name after AS is missing"),
        ("SELECT A AS WHERE x = 1", "name after AS is missing"),
        ("SELECT a, b", "FROM is missing"),
        ("SELECT c FROM A AS a", "no class has this name"),
        ("SELECT A JOIN B WHERE x = 1", "ON is missing"),
        ("SELECT A JOIN B ON WHERE x = 1", "no condition after ON"),
        ("SELECT A WHERE x = 1 WHERE y = 2", "WHERE is not expected"),
        ("SELECT A WHERE x IN SELECT B", "SELECT is not expected"),
        ("SELECT A; DROP TABLE x", "';' has no meaning"),
        ("SELECT A WHERE x = ?", "no meaning"),
        ("SELECT A\N{NO-BREAK SPACE}WHERE x = 1", "no meaning"),
        ("SELECT A WHERE x = : id", "no meaning"),
        ("SELECT \0", "no meaning"),
    ],
)
def test_an_invalid_query_is_explained(text: str, problem: str) -> None:
    with pytest.raises(OqlError, match=re.escape(problem)):
        parse(text)


@given(st.text(alphabet="SELECT A.WHERE'\"\\`()=: UNION1ab->,\n", max_size=60))
def test_any_text_is_a_query_or_an_oql_error(text: str) -> None:
    try:
        query = parse(text)
    except OqlError:
        return
    assert str(parse(str(query))) == str(query)
    query.narrow("id", 1)


def test_deeply_nested_brackets_are_parsed() -> None:
    text = "SELECT A WHERE " + "(" * 5000 + "x = 1" + ")" * 5000
    assert parse(text).narrow("id", 1).class_name == "A"


# Joining other classes


def joined(text: str) -> str | None:
    query = parse(text).joined_to(
        "P", lambda own, new: f"{new}.a_id = {own}.id", lambda new: f"{new}.x = 1 OR 2"
    )
    return str(query) if query else None


JOINED = "SELECT joined FROM A AS a JOIN P AS joined ON joined.a_id = a.id WHERE (joined.x = 1 OR 2)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT A", "SELECT joined FROM A JOIN P AS joined ON joined.a_id = A.id WHERE (joined.x = 1 OR 2)"),
        ("SELECT A AS a", JOINED),
        ("SELECT a FROM A AS a", JOINED),
        ("SELECT A AS a WHERE a.x = 1 OR a.y = 2", f"{JOINED} AND (a.x = 1 OR a.y = 2)"),
        (
            "SELECT A AS a WHERE x = 'y' OR `union` NOT IN (1, 2) AND ISNULL(z)"
            " AND d > DATE_SUB(NOW(), INTERVAL 1 DAY)",
            f"{JOINED} AND (a.x = 'y' OR a.`union` NOT IN (1, 2) AND ISNULL(a.z)"
            " AND a.d > DATE_SUB(NOW(), INTERVAL 1 DAY))",
        ),
        (
            "SELECT A AS a WHERE x = 1 UNION SELECT A AS a WHERE a.y = 2",
            f"{JOINED} AND (a.x = 1) UNION {JOINED} AND (a.y = 2)",
        ),
        (
            "SELECT b FROM A AS joined JOIN B AS b ON joined.b_id = b.id WHERE b.x = 1",
            "SELECT joined_ FROM A AS joined JOIN B AS b ON joined.b_id = b.id"
            " JOIN P AS joined_ ON joined_.a_id = b.id WHERE (joined_.x = 1 OR 2) AND (b.x = 1)",
        ),
        (
            "SELECT A AS a WHERE a.id IN (SELECT B AS b WHERE b.x = 1)",
            f"{JOINED} AND (a.id IN (SELECT B AS b WHERE b.x = 1))",
        ),
        # Only iTop knows which class has x.
        ("SELECT b FROM A AS a JOIN B AS b ON a.b_id = b.id WHERE x = 1", None),
        ("SELECT A AS a WHERE a.id IN (SELECT B AS b WHERE x = 1)", None),
        ("SELECT A AS a UNION SELECT A AS a JOIN B AS b ON a.b_id = b.id WHERE x = 1", None),
    ],
    ids=short_id,
)
def test_joined_objects_match_both_conditions(text: str, expected: str | None) -> None:
    assert joined(text) == expected


@given(queries())
def test_joining_keeps_strings_and_conditions(text: str) -> None:
    query = parse(text)
    result = query.joined_to("P", lambda own, new: f"{new}.a_id = {own}.id", lambda new: f"{new}.x = 1")
    if result is not None:
        assert strings(result) == strings(query)
        assert result.class_name == "P"
        assert all(
            after.condition.startswith("(joined.x = 1)")
            and bool(before.condition) == (" AND (" in after.condition)
            for before, after in zip(query.selects, result.selects, strict=True)
        )


@given(NASTY)
def test_containing_matches_the_text_literally(text: str) -> None:
    pattern = unquoted(containing(text))
    assert pattern[0] == pattern[-1] == "%"
    assert re.sub(r"\\(.)", r"\1", pattern[1:-1], flags=re.DOTALL) == printable(text)
    assert not re.search(r"(?<!\\)(?:\\\\)*[%_]", pattern[1:-1])


# Nested queries


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("SELECT Organization", "(t.org_id IN (SELECT Organization))"),
        (
            "SELECT Organization WHERE name LIKE 'Acme%' AND ISNULL(code)",
            "(t.org_id IN (SELECT Organization WHERE Organization.name LIKE 'Acme%' AND ISNULL(Organization.code)))",
        ),
        (
            "SELECT Organization AS o WHERE `name` = 'name' OR o.code = name OR parent_id->name = 'x'",
            "(t.org_id IN (SELECT Organization AS o WHERE o.`name` = 'name' OR o.code = o.name "
            "OR o.parent_id->name = 'x'))",
        ),
        (
            "SELECT o FROM Organization AS o JOIN Person AS p ON p.org_id = o.id WHERE p.name = 'x'",
            "(t.org_id IN (SELECT o FROM Organization AS o JOIN Person AS p ON p.org_id = o.id WHERE p.name = 'x'))",
        ),
        (
            "SELECT Organization WHERE id = 1 UNION SELECT Organization WHERE code != NOW() AND NOT id IN (2, 3)",
            "(t.org_id IN (SELECT Organization WHERE Organization.id = 1) OR "
            "t.org_id IN (SELECT Organization WHERE Organization.code != NOW() AND NOT Organization.id IN (2, 3)))",
        ),
    ],
    ids=short_id,
)
def test_attributes_of_a_nested_query_are_qualified(text: str, condition: str) -> None:
    assert parse(text).as_membership_condition("t.org_id") == condition


def test_a_query_for_accounts_becomes_one_for_their_persons() -> None:
    query = parse("SELECT User AS u JOIN URP_UserProfile AS l ON l.userid = u.id WHERE l.profileid = 2")
    assert query.as_membership_condition("t.caller_id", through="contactid") == (
        "(t.caller_id IN (SELECT Person AS account_holder JOIN User AS u ON u.contactid = account_holder.id "
        "JOIN URP_UserProfile AS l ON l.userid = u.id WHERE l.profileid = 2))"
    )


@pytest.mark.parametrize(
    ("text", "through"),
    [
        ("SELECT Organization AS o JOIN Person AS p ON p.org_id = o.id WHERE code = 'x'", ""),
        ("SELECT Organization AS o WHERE o.id IN (SELECT Organization AS p WHERE p.code = 'x')", ""),
        ("SELECT u FROM Person AS p JOIN User AS u ON u.contactid = p.id", "contactid"),
    ],
    ids=short_id,
)
def test_a_query_that_cannot_be_nested_is_an_error(text: str, through: str) -> None:
    with pytest.raises(OqlError):
        parse(text).as_membership_condition("t.org_id", through=through)


@given(queries())
def test_nesting_keeps_strings(text: str) -> None:
    try:
        condition = parse(text).as_membership_condition("t.org_id")
    except OqlError:
        return
    whole = parse(f"SELECT UserRequest AS t WHERE {condition}")
    assert sorted(strings(whole)) == sorted(strings(parse(text)))


def test_containing_escapes_wildcards() -> None:
    assert containing("50%_a\\'") == r"'%50\\%\\_a\\\\\'%'"


# The current object

FILTER = (
    "SELECT ServiceSubcategory AS s WHERE s.service_id = :this->service_id "
    "AND (isnull( :this->request_type ) OR s.request_type = :this->request_type) "
    "AND s.name != ':this->name' AND s.owner_id = :current_contact_id"
)


def test_fill_object_replaces_only_the_objects_placeholders() -> None:
    filled = str(parse(FILTER).fill_object({"service_id": 4, "request_type": "inci'dent"}))
    assert filled == (
        "SELECT ServiceSubcategory AS s WHERE s.service_id = 4 "
        "AND ((1 = 0) OR s.request_type = 'inci\\'dent') "
        "AND s.name != ':this->name' AND s.owner_id = :current_contact_id"
    )


@pytest.mark.parametrize("values", [{}, {"service_id": 0, "request_type": ""}])
def test_missing_values_are_null(values: dict[str, str | int]) -> None:
    assert "AND ((1 = 1) OR s.request_type = '')" in str(parse(FILTER).fill_object(values))


def test_object_codes_and_optional_codes() -> None:
    assert parse(FILTER).object_codes == {"service_id", "request_type"}
    assert parse(FILTER).optional_codes == {"request_type"}


@pytest.mark.parametrize(
    ("test", "is_optional"),
    [
        (":this->a = 0", True),
        (":this->a=''", True),
        (':this->a = ""', True),
        ("NOT ISNULL(:this->a)", True),
        (":this->a = 01", False),
        (":this->a = 'x'", False),
        ("x.a = :this->a", False),
        ("CONCAT(:this->a) = 'x'", False),
    ],
)
def test_codes_tested_for_emptiness_are_optional(test: str, is_optional: bool) -> None:
    query = parse(f"SELECT A AS x WHERE {test}")
    assert query.optional_codes == ({"a"} if is_optional else set())


@given(NASTY)
def test_object_values_cannot_escape_their_literal(value: str) -> None:
    query = parse("SELECT A AS t WHERE t.x = :this->x").fill_object({"x": value})
    assert str(query) == f"SELECT A AS t WHERE t.x = {quote(value)}"


def test_containing_applies_to_every_select_of_a_union() -> None:
    query = parse("SELECT A AS t WHERE t.x = 1 OR t.y = 2 UNION SELECT B AS u").containing(
        "name", ["O'B", "x"]
    )
    assert str(query) == (
        "SELECT A AS t WHERE (t.name LIKE '%O\\'B%' AND t.name LIKE '%x%') AND (t.x = 1 OR t.y = 2) "
        "UNION SELECT B AS u WHERE (u.name LIKE '%O\\'B%' AND u.name LIKE '%x%')"
    )
    assert str(parse("SELECT A").containing("name", [])) == "SELECT A"


@pytest.mark.parametrize(
    ("condition", "is_excluded"),
    [
        ("origin != 'chat'", True),
        ('origin <> "chat"', True),
        ("t.origin NOT IN ('mail', 'chat')", True),
        ("((`t`.`origin` != 'chat')) AND t.status = 'new'", True),
        ("origin = 'portal'", True),
        ("origin IN ('portal', 'phone')", True),
        ("(origin = 'portal' AND status = 'new') OR origin = 'mail'", True),
        ("ISNULL(origin)", True),
        ("origin = ''", True),
        # Whether the database's collation distinguishes these from 'chat' is not known.
        ("origin = 'CHAT'", False),
        ("origin IN ('portal', 'Chât ')", False),
        ("origin != 'CHAT'", False),
        ("origin != 'mail'", False),
        ("origin = 'chat'", False),
        ("origin NOT IN ('mail')", False),
        ("origin = 'portal' OR status = 'new'", False),
        ("NOT (origin = 'portal')", False),
        ("origin LIKE 'chat'", False),
        ("title = 'origin != \\'chat\\''", False),
        ("agent.origin != 'chat'", False),
        ("status = 'origin'", False),
    ],
)
def test_a_condition_excludes_a_value_only_if_that_is_certain(condition: str, *, is_excluded: bool) -> None:
    assert parse(f"SELECT UserRequest AS t WHERE {condition}").excludes("origin", "chat") is is_excluded


def test_a_union_excludes_what_all_its_parts_exclude() -> None:
    one, other = "SELECT A WHERE origin != 'chat'", "SELECT B WHERE origin = 'mail'"
    assert parse(f"{one} UNION {other}").excludes("origin", "chat")
    assert not parse(f"{one} UNION SELECT B").excludes("origin", "chat")
    # Of which class the attribute is, is not certain.
    joined = "SELECT A AS a JOIN B AS b ON a.b_id = b.id WHERE origin != 'chat'"
    assert not parse(joined).excludes("origin", "chat")
