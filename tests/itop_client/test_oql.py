"""Queries: quoting comes back as it was, and narrowing never widens, whatever the query looks like."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itop_client import OqlError, containing, ids, parse, quote
from itop_client.oql import _tokens

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
    """What iTop reads from a literal: the quotes off, each backslash dropped with what follows kept."""
    assert literal[0] == literal[-1]
    return re.sub(r"\\(.)", r"\1", literal[1:-1], flags=re.DOTALL)


def strings(query: object) -> list[str]:
    return [token.text for token in _tokens(str(query)) if token.kind == "string"]


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
def test_a_quoted_text_comes_back_as_it_was(text: str) -> None:
    assert unquoted(quote(text)) == printable(text)


@given(NASTY)
def test_a_quoted_text_is_one_literal_of_a_query(text: str) -> None:
    query = parse(f"{ALIASED} WHERE t.title = {quote(text)}")
    assert strings(query) == [quote(text)]
    assert query.placeholders == frozenset()


def test_ids_stand_in_brackets_even_when_there_are_none() -> None:
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
)
def test_the_selected_class_and_its_alias(text: str, class_name: str, alias: str) -> None:
    query = parse(text)
    assert (query.class_name, query.alias) == (class_name, alias)
    assert str(query) == text.strip()


def test_placeholders_are_found_outside_of_strings_only() -> None:
    query = parse(
        "SELECT Service AS s JOIN Contract AS c ON s.c_id = c.id AND c.org_id = :current_contact->org_id"
        " WHERE s.id = :this->service_id AND s.name != ':no' AND s.x = \":neither\""
        " AND s.y IN (:current_contact_id)"
        " UNION SELECT Service WHERE id = :current_contact_id"
    )
    assert query.placeholders == {"current_contact->org_id", "this->service_id", "current_contact_id"}


def test_filling_replaces_each_placeholder_and_nothing_else() -> None:
    query = parse("SELECT A WHERE x = :this->name AND y = ':this->name' AND z = :id AND w = :id")
    filled = query.fill({"this->name": "O'Brien :id", "id": 5, "unused": "x"})
    assert str(filled) == "SELECT A WHERE x = 'O\\'Brien :id' AND y = ':this->name' AND z = 5 AND w = 5"
    assert filled.placeholders == frozenset()


def test_a_placeholder_without_a_value_is_named() -> None:
    with pytest.raises(OqlError, match="no value for :current_contact->org_id"):
        parse("SELECT A WHERE x = :id AND y = :current_contact->org_id").fill({"id": 1})


@given(NASTY, NASTY)
def test_filling_keeps_what_is_quoted_and_cannot_be_broken_out_of(kept: str, value: str) -> None:
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
)
def test_narrowing_puts_the_condition_before_all_others(text: str, narrowed: str) -> None:
    assert str(parse(text).narrow("id", 7)) == narrowed


def test_narrowing_twice_holds_both_conditions() -> None:
    query = parse("SELECT A AS a WHERE a.x = 1 OR a.y = 2").narrow("id", 7).narrow("org_id", 3)
    assert str(query) == "SELECT A AS a WHERE (a.org_id = 3) AND ((a.id = 7) AND (a.x = 1 OR a.y = 2))"


@pytest.mark.parametrize("attribute", ["", "id = 1 OR x", "a.b", "id)", "1d", "é", "id\n"])
def test_only_an_attributes_name_narrows(attribute: str) -> None:
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
def test_narrowing_changes_no_string_and_leaves_the_query_readable(text: str) -> None:
    query = parse(text)
    narrowed = query.narrow("org_id", 3)
    assert strings(narrowed) == strings(query)
    assert narrowed.placeholders == query.placeholders
    assert (narrowed.class_name, narrowed.alias) == (query.class_name, query.alias)
    assert len(narrowed.members) == len(query.members)
    for before, after in zip(query.members, narrowed.members, strict=True):
        condition = f"({before.alias}.org_id = 3)"
        assert after.head == before.head
        assert after.condition == (f"{condition} AND ({before.condition})" if before.condition else condition)


@given(queries(), NASTY)
def test_filling_changes_no_string(text: str, value: str) -> None:
    query = parse(text)
    filled = query.fill({"current_contact->org_id": value})
    added = strings(filled)
    for one in strings(query):
        added.remove(one)
    assert set(added) <= {quote(value)}
    assert filled.placeholders == frozenset()


@pytest.mark.parametrize(
    ("text", "complaint"),
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
        ("SELECT c FROM A AS a", "no class is called so"),
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
def test_what_is_no_query_is_refused_in_plain_words(text: str, complaint: str) -> None:
    with pytest.raises(OqlError, match=re.escape(complaint)):
        parse(text)


@given(st.text(alphabet="SELECT A.WHERE'\"\\`()=: UNION1ab->,\n", max_size=60))
def test_any_text_is_a_query_or_an_oql_error(text: str) -> None:
    try:
        query = parse(text)
    except OqlError:
        return
    assert str(parse(str(query))) == str(query)
    query.narrow("id", 1)


def test_very_deep_brackets_are_read() -> None:
    text = "SELECT A WHERE " + "(" * 5000 + "x = 1" + ")" * 5000
    assert parse(text).narrow("id", 1).class_name == "A"


# Reaching other objects from a query's own


def reached(text: str) -> str | None:
    query = parse(text).reach("P", lambda own, new: f"{new}.a_id = {own}.id", lambda new: f"{new}.x = 1 OR 2")
    return str(query) if query else None


JOINED = "SELECT reached FROM A AS a JOIN P AS reached ON reached.a_id = a.id WHERE (reached.x = 1 OR 2)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "SELECT A",
            "SELECT reached FROM A JOIN P AS reached ON reached.a_id = A.id WHERE (reached.x = 1 OR 2)",
        ),
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
            "SELECT b FROM A AS reached JOIN B AS b ON reached.b_id = b.id WHERE b.x = 1",
            "SELECT reached_ FROM A AS reached JOIN B AS b ON reached.b_id = b.id"
            " JOIN P AS reached_ ON reached_.a_id = b.id WHERE (reached_.x = 1 OR 2) AND (b.x = 1)",
        ),
        (
            "SELECT A AS a WHERE a.id IN (SELECT B AS b WHERE b.x = 1)",
            f"{JOINED} AND (a.id IN (SELECT B AS b WHERE b.x = 1))",
        ),
        # Which class has x is iTop's to know.
        ("SELECT b FROM A AS a JOIN B AS b ON a.b_id = b.id WHERE x = 1", None),
        ("SELECT A AS a WHERE a.id IN (SELECT B AS b WHERE x = 1)", None),
        ("SELECT A AS a UNION SELECT A AS a JOIN B AS b ON a.b_id = b.id WHERE x = 1", None),
    ],
)
def test_what_is_joined_to_a_querys_objects_is_reached_under_both_conditions(
    text: str, expected: str | None
) -> None:
    assert reached(text) == expected


@given(queries())
def test_reaching_changes_no_string_and_loses_no_condition(text: str) -> None:
    query = parse(text)
    found = query.reach("P", lambda own, new: f"{new}.a_id = {own}.id", lambda new: f"{new}.x = 1")
    if found is not None:
        assert strings(found) == strings(query)
        assert found.class_name == "P"
        assert all(
            after.condition.startswith("(reached.x = 1)")
            and bool(before.condition) == (" AND (" in after.condition)
            for before, after in zip(query.members, found.members, strict=True)
        )


@given(NASTY)
def test_what_is_looked_for_within_a_value_is_meant_to_the_letter(text: str) -> None:
    pattern = unquoted(containing(text))
    assert pattern[0] == pattern[-1] == "%"
    assert re.sub(r"\\(.)", r"\1", pattern[1:-1], flags=re.DOTALL) == printable(text)
    assert not re.search(r"(?<!\\)(?:\\\\)*[%_]", pattern[1:-1])


# A query within another


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
)
def test_a_query_within_another_calls_each_attribute_by_its_class(text: str, condition: str) -> None:
    assert parse(text).holds("t.org_id") == condition


def test_a_query_on_accounts_becomes_one_on_the_persons_who_have_them() -> None:
    query = parse("SELECT User AS u JOIN URP_UserProfile AS l ON l.userid = u.id WHERE l.profileid = 2")
    assert query.holds("t.caller_id", through="contactid") == (
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
)
def test_what_cannot_stand_within_another_query_says_so(text: str, through: str) -> None:
    with pytest.raises(OqlError):
        parse(text).holds("t.org_id", through=through)


@given(queries())
def test_within_another_a_query_keeps_its_strings(text: str) -> None:
    try:
        condition = parse(text).holds("t.org_id")
    except OqlError:
        return
    whole = parse(f"SELECT UserRequest AS t WHERE {condition}")
    assert sorted(strings(whole)) == sorted(strings(parse(text)))


def test_what_is_looked_for_within_a_text_means_itself() -> None:
    assert containing("50%_a\\'") == r"'%50\\%\\_a\\\\\'%'"


# The object in hand

FILTER = (
    "SELECT ServiceSubcategory AS s WHERE s.service_id = :this->service_id "
    "AND (isnull( :this->request_type ) OR s.request_type = :this->request_type) "
    "AND s.name != ':this->name' AND s.owner_id = :current_contact_id"
)


def test_a_query_is_filled_in_for_an_object_and_the_rest_is_left_to_itop() -> None:
    filled = str(parse(FILTER).fill_object({"service_id": 4, "request_type": "inci'dent"}))
    assert filled == (
        "SELECT ServiceSubcategory AS s WHERE s.service_id = 4 "
        "AND ((1 = 0) OR s.request_type = 'inci\\'dent') "
        "AND s.name != ':this->name' AND s.owner_id = :current_contact_id"
    )


@pytest.mark.parametrize("values", [{}, {"service_id": 0, "request_type": ""}])
def test_what_has_no_value_is_null(values: dict[str, str | int]) -> None:
    assert "AND ((1 = 1) OR s.request_type = '')" in str(parse(FILTER).fill_object(values))


def test_the_codes_that_a_query_asks_of_the_object_are_known_and_which_may_be_empty() -> None:
    assert parse(FILTER).object_codes == {"service_id", "request_type"}
    assert parse(FILTER).codes_that_may_be_empty == {"request_type"}


@pytest.mark.parametrize(
    ("test", "may_be_empty"),
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
def test_a_test_for_having_no_value_is_recognised(test: str, may_be_empty: bool) -> None:
    query = parse(f"SELECT A AS x WHERE {test}")
    assert query.codes_that_may_be_empty == ({"a"} if may_be_empty else set())


@given(NASTY)
def test_a_value_of_the_object_cannot_be_broken_out_of(value: str) -> None:
    query = parse("SELECT A AS t WHERE t.x = :this->x").fill_object({"x": value})
    assert str(query) == f"SELECT A AS t WHERE t.x = {quote(value)}"


def test_a_query_is_narrowed_to_names_with_some_words_in_each_of_its_members() -> None:
    query = parse("SELECT A AS t WHERE t.x = 1 OR t.y = 2 UNION SELECT B AS u").containing(
        "name", ["O'B", "x"]
    )
    assert str(query) == (
        "SELECT A AS t WHERE (t.name LIKE '%O\\'B%' AND t.name LIKE '%x%') AND (t.x = 1 OR t.y = 2) "
        "UNION SELECT B AS u WHERE (u.name LIKE '%O\\'B%' AND u.name LIKE '%x%')"
    )
    assert str(parse("SELECT A").containing("name", [])) == "SELECT A"
