"""Object queries (OQL), safely: quoting, reading the shape of a given query, filling it in and narrowing it.

Only the shape is read (SELECT, FROM, JOIN, WHERE, UNION, quotes, brackets, placeholders); whether classes and
attributes exist is iTop's to say. https://www.itophub.io/wiki/page?id=latest:oql:start
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<backquoted>`[^`]+`)
      | (?P<placeholder>:[A-Za-z_]\w*(?:->[A-Za-z_]\w*)*)
      | (?P<name>[A-Za-z_]\w*)
      | (?P<number>\d\w*)
      | (?P<sign>[=<>!.,()*/+\-|&^~%])""",
    re.VERBOSE | re.ASCII | re.DOTALL,
)
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_OBJECT = "this->"
_KEYWORDS = frozenset({"SELECT", "FROM", "AS", "JOIN", "ON", "WHERE", "UNION"})
# Words of a condition that are no attribute's name; functions are known by the bracket that follows.
_WORDS = frozenset(
    {"AND", "OR", "NOT", "IN", "LIKE", "REGEXP", "MATCHES", "ABOVE", "BELOW", "STRICT", "DIV", "MOD"}
    | {"NULL", "TRUE", "FALSE"}
    | {"INTERVAL", "SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR"}
)
# What the person is called where a query on accounts becomes one on persons.
_HOLDER = "account_holder"


class OqlError(ValueError):
    """A query that iTop would not understand; its text says what is wrong in plain words."""


def quote(value: str | int) -> str:
    r"""A literal that may stand in a query: 'O\'Brien' for text, 42 for a number.

    Escaped with backslashes (recording 058). Control characters, NUL and lone surrogates are dropped: no
    value of iTop's holds them, and iTop refuses a request with the latter.
    """
    if isinstance(value, int) and value >= 0:
        return str(int(value))
    kept = "".join(one for one in str(value) if unicodedata.category(one) not in ("Cc", "Cs"))
    return "'" + kept.replace("\\", "\\\\").replace("'", "\\'") + "'"


def containing(text: str) -> str:
    """What stands after LIKE to find the text anywhere in a value; % and _ in it are themselves."""
    return quote("%" + re.sub(r"([\\%_])", r"\\\1", text) + "%")


def ids(values: Iterable[int]) -> str:
    """What stands in the brackets of IN: "1,2,3"; "0", which no object bears, when there are none."""
    return ",".join(str(int(value)) for value in values) or "0"


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int
    keyword: str  # in capitals; "" when this is not one of those that give a query its shape

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True)
class _Member:
    """One SELECT of a UNION: what comes before its condition, the condition, and what it selects."""

    head: str
    condition: str
    class_name: str
    alias: str  # as written, backquotes included
    sources: str  # the classes, as they stand after FROM
    classes: int  # how many there are
    joins: str  # what follows the first class in the head
    is_first: bool  # whether what it selects is of that first class

    def qualified_condition(self) -> str:
        """The condition with the class's name in the query before each attribute: `name` becomes `o.name`.

        Within another query, or beside one more class, iTop takes a bare name for any that has it ("Ambiguous
        filter code"). OqlError where it cannot be known whose attribute a bare name is.
        """
        tokens = list(_tokens(self.condition))
        meant = [token for token in tokens if token.kind != "space"]
        bare = {token.start: token.text for number, token in enumerate(meant) if _is_bare(meant, number)}
        if bare and (self.classes > 1 or any(token.keyword == "SELECT" for token in meant)):
            raise OqlError(f"it does not say whose attribute {next(iter(bare.values()))} is")
        return "".join(f"{self.alias}.{one.text}" if one.start in bare else one.text for one in tokens)


@dataclass(frozen=True)
class Query:
    """A query whose shape is known. `str()` of it is OQL."""

    text: str
    members: tuple[_Member, ...]
    placeholders: frozenset[str]

    def __str__(self) -> str:
        return self.text

    @property
    def class_name(self) -> str:
        """The class of the object selected; of a UNION, its first member's."""
        return self.members[0].class_name

    @property
    def alias(self) -> str:
        """The name the query calls that object by; the class where it gives none."""
        return self.members[0].alias.strip("`")

    def fill(self, values: Mapping[str, str | int]) -> Query:
        """Each placeholder replaced by its value as a literal. OqlError names one that has no value."""
        parts = []
        for token in _tokens(self.text):
            if token.kind != "placeholder":
                parts.append(token.text)
            elif (name := token.text[1:]) in values:
                parts.append(quote(values[name]))
            else:
                raise OqlError(f"there is no value for :{name}")
        return parse("".join(parts))

    @property
    def object_codes(self) -> frozenset[str]:
        """The attributes of the object in hand that it asks for: `:this->code`."""
        return frozenset(name.removeprefix(_OBJECT) for name in self.placeholders if name.startswith(_OBJECT))

    @property
    def codes_that_may_be_empty(self) -> frozenset[str]:
        """Those of `object_codes` that it tests for having no value: `ISNULL(:this->code)`, `:this->code = 0`."""
        found = set()
        for mention in _mentions(self.text):
            compared = re.match(r"""\s*=\s*(0\b|''|"")""", self.text[mention.end :])
            if mention.is_null_test or compared:
                found.add(mention.code)
        return frozenset(found)

    def fill_object(self, values: Mapping[str, str | int]) -> Query:
        """As iTop asks it for the object in hand: `:this->code` filled in; other placeholders are left to iTop.

        A code that is not there, "" and 0 are no value, and `ISNULL(:this->code)` says so. It is answered here, since
        a literal of OQL cannot say NULL in every iTop.
        """
        parts, done = [], 0
        for mention in _mentions(self.text):
            value = values.get(mention.code, "")
            if mention.is_null_test:
                literal = "(1 = 0)" if value else "(1 = 1)"
            else:
                literal = quote(value)
            parts += [self.text[done : mention.start], literal]
            done = mention.end
        return parse("".join((*parts, self.text[done:])))

    def narrow(self, attribute: str, value: int) -> Query:
        """Those of its objects whose `attribute` is `value`, however its own conditions are put together."""
        _check(attribute)
        return self.that(lambda alias: f"{alias}.{attribute} = {quote(int(value))}")

    def containing(self, attribute: str, words: Iterable[str]) -> Query:
        """Those of its objects whose `attribute` has each of these words in it, as iTop compares letters."""
        _check(attribute)
        patterns = [containing(word) for word in words]
        if not patterns:
            return self
        return self.that(lambda alias: " AND ".join(f"{alias}.{attribute} LIKE {one}" for one in patterns))

    def that(self, fulfil: Callable[[str], str]) -> Query:
        """Those of its objects that fulfil a condition too; `fulfil` makes it, given what an object is called."""
        return parse(
            " UNION ".join(
                f"{member.head} WHERE {_both(fulfil(member.alias), member.condition)}"
                for member in self.members
            )
        )

    def reach(
        self, class_name: str, on: Callable[[str, str], str], fulfil: Callable[[str], str]
    ) -> Query | None:
        """The objects of `class_name` that are joined to one of its own, and fulfil a condition.

        `on` makes what follows ON, given what its object and the joined one are called. None where a condition
        names an attribute without its class, and which class is not certain: beside one more class it would be
        ambiguous.
        """
        alias = "reached"
        while alias in {token.text.casefold() for token in _tokens(self.text)}:
            alias += "_"
        reached = []
        for member in self.members:
            try:
                condition = member.qualified_condition()
            except OqlError:
                return None
            joined = f"JOIN {class_name} AS {alias} ON {on(member.alias, alias)}"
            wanted = _both(fulfil(alias), condition)
            reached.append(" ".join(["SELECT", alias, "FROM", member.sources, joined, "WHERE", wanted]))
        return parse(" UNION ".join(reached))

    def holds(self, attribute: str, *, through: str = "") -> str:
        """A condition for another query: `attribute` ("t.org_id") is one of its objects.

        `through`: its objects point with this attribute to the persons that are meant. The other query must use
        other names than this one. OqlError when this query cannot stand within another.
        """
        conditions = []
        for member in self.members:
            if any(token.keyword for token in _tokens(member.condition)):
                raise OqlError("there is a query within its condition")
            head, condition = member.head, member.qualified_condition()
            if through:
                if not member.is_first:
                    raise OqlError("what it selects is not the class it begins with")
                source = f"{member.class_name} AS {member.alias} ON {member.alias}.{through} = {_HOLDER}.id"
                head = f"SELECT Person AS {_HOLDER} JOIN {source} {member.joins}".rstrip()
            where = f" WHERE {condition}" if condition else ""
            conditions.append(f"{attribute} IN ({head}{where})")
        return f"({' OR '.join(conditions)})"


def _check(attribute: str) -> None:
    if not _NAME.fullmatch(attribute):
        raise OqlError(f"{attribute!r} is not the name of an attribute")


def _both(one: str, other: str) -> str:
    return f"({one}) AND ({other})" if other else f"({one})"


def _is_bare(tokens: list[_Token], number: int) -> bool:
    """Whether this is an attribute without the name of its class before it."""
    token = tokens[number]
    before = tokens[number - 1] if number else None
    follows_arrow = [one.text for one in tokens[max(0, number - 2) : number]] == ["-", ">"]
    after = tokens[number + 1].text if number + 1 < len(tokens) else ""
    if token.kind not in ("name", "backquoted") or token.keyword or token.text.upper() in _WORDS:
        return False
    if before and (follows_arrow or before.text == "." or before.keyword in ("SELECT", "FROM", "JOIN", "AS")):
        return False
    # A function is known by the bracket that follows.
    return after not in (".", "(")


@dataclass(frozen=True)
class _Mention:
    """Where a query asks for an attribute of the object in hand: its value, or whether it has one."""

    start: int
    end: int
    code: str
    is_null_test: bool


def _mentions(text: str) -> Iterator[_Mention]:
    tokens = [token for token in _tokens(text) if token.kind != "space"]
    for at, token in enumerate(tokens):
        if token.kind != "placeholder" or not token.text[1:].startswith(_OBJECT):
            continue
        code = token.text[1:].removeprefix(_OBJECT)
        around = tokens[max(at - 2, 0) : at + 2]
        if [one.text.upper() for one in around] == ["ISNULL", "(", token.text.upper(), ")"]:
            yield _Mention(around[0].start, around[-1].end, code, is_null_test=True)
        else:
            yield _Mention(token.start, token.end, code, is_null_test=False)


def parse(text: str) -> Query:
    """Reads a query's shape. Raises OqlError, in plain words, when it has none that iTop would accept."""
    tokens = [token for token in _tokens(text) if token.kind != "space"]
    if not tokens:
        raise OqlError("the query is empty")
    members = tuple(_member(text, part) for part in _split_unions(tokens))
    placeholders = frozenset(token.text[1:] for token in tokens if token.kind == "placeholder")
    return Query(text.strip(), members, placeholders)


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    after_dot = False
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            rest = text[position : position + 20]
            if rest[0] in "'\"`":
                raise OqlError(f"a quote is opened and not closed: {rest}")
            raise OqlError(f"{rest[0]!r} has no meaning in a query: {rest}")
        kind, found = match.lastgroup, match.group()
        # t.union is an attribute, whatever its name.
        keyword = found.upper() if kind == "name" and not after_dot and found.upper() in _KEYWORDS else ""
        yield _Token(kind, found, position, keyword)
        if kind != "space":
            after_dot = found == "."
        position = match.end()


def _split_unions(tokens: list[_Token]) -> list[list[_Token]]:
    parts: list[list[_Token]] = [[]]
    for token, depth in _with_depth(tokens):
        if depth == 0 and token.keyword == "UNION":
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _with_depth(tokens: Iterable[_Token]) -> Iterator[tuple[_Token, int]]:
    """Each token with the number of brackets around it; an opening one counts as inside."""
    depth = 0
    for token in tokens:
        if token.text == "(":
            depth += 1
        yield token, depth
        if token.text == ")":
            depth -= 1
            if depth < 0:
                raise OqlError("a bracket is closed that was not opened")
    if depth:
        raise OqlError("a bracket is opened and not closed")


def _member(text: str, tokens: list[_Token]) -> _Member:
    reader = _Reader(tokens)
    if not reader.takes("SELECT"):
        raise OqlError(
            "a query starts with SELECT" if not tokens else f"SELECT is missing before {tokens[0].text}"
        )
    start = reader.next
    selected = [reader.name("the class")]
    while reader.takes_sign(","):
        selected.append(reader.name("the class"))
    classes: dict[str, str] = {}
    is_first = True
    if reader.takes("FROM"):
        start = reader.next
        is_first = _class_and_alias(reader, classes) == selected[0]
        alias = selected[0]
    elif len(selected) > 1:
        raise OqlError("FROM is missing after the names that are selected")
    else:
        alias = _class_and_alias(reader, classes, selected[0])
    joins = reader.next
    while reader.takes("JOIN"):
        _class_and_alias(reader, classes)
        if not reader.takes("ON"):
            raise OqlError("ON is missing after JOIN")
        if not reader.skip_to("JOIN", "WHERE"):
            raise OqlError("there is no condition after ON")
    if alias.strip("`") not in classes:
        raise OqlError(f"{alias} is selected, but no class is called so")
    first, last = tokens[0], tokens[-1]
    class_name = classes[alias.strip("`")]
    where = reader.next
    begin = start.start if start else first.end
    if where is None:
        return _Member(
            text[first.start : last.end],
            "",
            class_name,
            alias,
            text[begin : last.end],
            len(classes),
            text[joins.start : last.end] if joins else "",
            is_first,
        )
    if where.keyword != "WHERE":
        raise OqlError(f"{where.text} is not expected here; JOIN, WHERE or UNION may follow")
    reader.takes("WHERE")
    if reader.next is None:
        raise OqlError("there is no condition after WHERE")
    if reader.skip_to("WHERE", "JOIN", "FROM", "SELECT"):
        stray = reader.next
        if stray is not None:
            raise OqlError(f"{stray.text} is not expected within a condition")
    return _Member(
        text[first.start : where.start].rstrip(),
        text[where.end : last.end].strip(),
        class_name,
        alias,
        text[begin : where.start].rstrip(),
        len(classes),
        text[joins.start : where.start].rstrip() if joins else "",
        is_first,
    )


def _class_and_alias(reader: _Reader, classes: dict[str, str], class_name: str = "") -> str:
    class_name = class_name or reader.name("a class")
    alias = reader.name("a name after AS") if reader.takes("AS") else class_name
    classes[alias.strip("`")] = class_name.strip("`")
    return alias


class _Reader:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = list(_with_depth(tokens))
        self._at = 0

    @property
    def next(self) -> _Token | None:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else None

    def takes(self, keyword: str) -> bool:
        if self.next is None or self.next.keyword != keyword:
            return False
        self._at += 1
        return True

    def takes_sign(self, sign: str) -> bool:
        if self.next is None or self.next.text != sign:
            return False
        self._at += 1
        return True

    def name(self, what: str) -> str:
        token = self.next
        if token is None:
            raise OqlError(f"{what} is missing at the end")
        if token.kind not in ("name", "backquoted") or token.keyword:
            raise OqlError(f"{what} is missing before {token.text}")
        self._at += 1
        return token.text

    def skip_to(self, *keywords: str) -> bool:
        """Goes on to one of these outside of brackets, or to the end. True when anything was passed."""
        start = self._at
        while self._at < len(self._tokens):
            token, depth = self._tokens[self._at]
            if depth == 0 and token.keyword in keywords:
                break
            self._at += 1
        return self._at > start
