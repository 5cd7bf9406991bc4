"""Handle object queries (OQL) safely: quote values, parse a query's structure, fill in placeholders, add conditions.

Only the structure is parsed (SELECT, FROM, JOIN, WHERE, UNION, quotes, parentheses, placeholders). Whether classes and
attributes exist is for iTop to decide. https://www.itophub.io/wiki/page?id=latest:oql:start
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

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
_KEYWORDS: Final = frozenset({"SELECT", "FROM", "AS", "JOIN", "ON", "WHERE", "UNION"})
# Words in a condition that are not attributes. Functions are recognized by the parenthesis that follows.
_CONDITION_WORDS: Final = frozenset(
    {"AND", "OR", "NOT", "IN", "LIKE", "REGEXP", "MATCHES", "ABOVE", "BELOW", "STRICT", "DIV", "MOD"}
    | {"NULL", "TRUE", "FALSE"}
    | {"INTERVAL", "SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR"}
)
# Placeholders with this prefix are attributes of the current object.
_OBJECT_PREFIX: Final = "this->"
_PERSON_ALIAS: Final = "account_holder"
_JOINED_ALIAS: Final = "joined"


class OqlError(ValueError):
    """A query that iTop would not accept. The text says what is wrong."""


def quote(value: str | int) -> str:
    r"""Return the value as a literal for a query: 'O\'Brien' for text, 42 for a number.

    Text is escaped with backslashes (recording 058). Control characters, NUL and lone surrogates are dropped: no value
    in iTop contains them, and iTop rejects requests with lone surrogates.
    """
    if isinstance(value, int) and value >= 0:
        return str(int(value))
    text = "".join(
        character for character in str(value) if unicodedata.category(character) not in ("Cc", "Cs")
    )
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def containing(text: str) -> str:
    """Return the literal for LIKE that finds the text anywhere in a value; % and _ have no special meaning."""
    return quote("%" + re.sub(r"([\\%_])", r"\\\1", text) + "%")


def ids(values: Iterable[int]) -> str:
    """Return the list for IN (...): "1,2,3", or "0", which is the id of no object, if there are none."""
    return ",".join(str(int(value)) for value in values) or "0"


def parse(text: str) -> Query:
    """Parse a query's structure. Raise OqlError if iTop would not accept it."""
    tokens = [token for token in _tokenize(text) if token.kind != "space"]
    if not tokens:
        raise OqlError("the query is empty")
    selects = tuple(_SelectParser(text, part).parse() for part in _split_at(tokens, "UNION"))
    placeholders = frozenset(token.text[1:] for token in tokens if token.kind == "placeholder")
    return Query(text.strip(), selects, placeholders)


@dataclass(frozen=True)
class Query:
    """A parsed query. `str()` returns OQL."""

    text: str
    selects: tuple[_Select, ...]
    placeholders: frozenset[str]

    def __str__(self) -> str:
        return self.text

    @property
    def class_name(self) -> str:
        """The class of the selected objects; in a UNION, that of the first SELECT."""
        return self.selects[0].class_name

    @property
    def alias(self) -> str:
        """The alias of the selected objects, or their class if the query defines none."""
        return self.selects[0].alias.strip("`")

    @property
    def object_codes(self) -> frozenset[str]:
        """The attributes of the current object that the query refers to: `:this->code`."""
        return frozenset(
            name.removeprefix(_OBJECT_PREFIX) for name in self.placeholders if name.startswith(_OBJECT_PREFIX)
        )

    @property
    def optional_codes(self) -> frozenset[str]:
        """Those `object_codes` that the query tests for emptiness: `ISNULL(:this->code)`, `:this->code = 0`."""
        codes = set()
        for reference in _object_references(self.text):
            compares_to_empty = re.match(r"""\s*=\s*(0\b|''|"")""", self.text[reference.end :])
            if reference.is_null_test or compares_to_empty:
                codes.add(reference.code)
        return frozenset(codes)

    def fill(self, values: Mapping[str, str | int]) -> Query:
        """Replace each placeholder with its value as a literal. Raise OqlError if one has no value."""
        parts = []
        for token in _tokenize(self.text):
            if token.kind != "placeholder":
                parts.append(token.text)
            elif (name := token.text[1:]) in values:
                parts.append(quote(values[name]))
            else:
                raise OqlError(f"there is no value for :{name}")
        return parse("".join(parts))

    def fill_object(self, values: Mapping[str, str | int]) -> Query:
        """Replace each `:this->code` with the current object's value. Other placeholders are left for iTop.

        A missing code, "" and 0 count as empty. `ISNULL(:this->code)` is evaluated here, because not every iTop has an
        OQL literal for NULL.
        """
        parts, position = [], 0
        for reference in _object_references(self.text):
            value = values.get(reference.code, "")
            if reference.is_null_test:
                literal = "(1 = 0)" if value else "(1 = 1)"
            else:
                literal = quote(value)
            parts += [self.text[position : reference.start], literal]
            position = reference.end
        return parse("".join((*parts, self.text[position:])))

    def narrow(self, attribute: str, value: int) -> Query:
        """Return the query for those of its objects whose `attribute` is `value`."""
        _check_attribute(attribute)
        return self.filtered(lambda alias: f"{alias}.{attribute} = {quote(int(value))}")

    def containing(self, attribute: str, words: Iterable[str]) -> Query:
        """Return the query for those of its objects whose `attribute` contains each word, as iTop compares text."""
        _check_attribute(attribute)
        patterns = [containing(word) for word in words]
        if not patterns:
            return self
        return self.filtered(
            lambda alias: " AND ".join(f"{alias}.{attribute} LIKE {pattern}" for pattern in patterns)
        )

    def filtered(self, condition: Callable[[str], str]) -> Query:
        """Return the query for those of its objects that also match `condition(alias)`."""
        return parse(
            " UNION ".join(
                f"{select.head} WHERE {_and(condition(select.alias), select.condition)}"
                for select in self.selects
            )
        )

    def excludes(self, attribute: str, value: str) -> bool:
        """Return whether it is certain that no object with this value of `attribute`, which is not empty, is selected.

        Read are comparisons with literals (=, !=, IN, NOT IN, ISNULL), joined by AND and OR.
        """
        return all(select.excludes(attribute, value) for select in self.selects)

    def joined_to(
        self, class_name: str, on: Callable[[str, str], str], condition: Callable[[str], str]
    ) -> Query | None:
        """Return the query for the objects of `class_name` that are joined to the query's and match `condition`.

        `on(alias, joined_alias)` returns the join's condition. Return None if a condition names an attribute whose
        class is not certain: with one more class in the query, iTop would reject it as ambiguous.
        """
        names = {token.text.casefold() for token in _tokenize(self.text)}
        alias = _JOINED_ALIAS
        while alias in names:
            alias += "_"
        parts = []
        for select in self.selects:
            try:
                own_condition = select.qualified_condition()
            except OqlError:
                return None
            join = f"JOIN {class_name} AS {alias} ON {on(select.alias, alias)}"
            where = _and(condition(alias), own_condition)
            parts.append(" ".join(("SELECT", alias, "FROM", select.sources, join, "WHERE", where)))
        return parse(" UNION ".join(parts))

    def as_membership_condition(self, attribute: str, *, through: str = "") -> str:
        """Return a condition for another query: the object that `attribute` ("t.org_id") refers to is in this query.

        With `through`, the query's objects refer to persons by this attribute, and `attribute` must be one of those.
        The other query must not use the same aliases. Raise OqlError if this query cannot be nested.
        """
        conditions = []
        for select in self.selects:
            if any(token.keyword for token in _tokenize(select.condition)):
                raise OqlError("there is a query within its condition")
            head, condition = select.head, select.qualified_condition()
            if through:
                if not select.is_first_class:
                    raise OqlError("it does not select its first class")
                source = (
                    f"{select.class_name} AS {select.alias} ON {select.alias}.{through} = {_PERSON_ALIAS}.id"
                )
                head = f"SELECT Person AS {_PERSON_ALIAS} JOIN {source} {select.joins}".rstrip()
            where = f" WHERE {condition}" if condition else ""
            conditions.append(f"{attribute} IN ({head}{where})")
        return f"({' OR '.join(conditions)})"


def _check_attribute(attribute: str) -> None:
    if not _NAME.fullmatch(attribute):
        raise OqlError(f"{attribute!r} is not the name of an attribute")


def _and(added: str, condition: str) -> str:
    return f"({added}) AND ({condition})" if condition else f"({added})"


@dataclass(frozen=True, kw_only=True)
class _Select:
    """One SELECT of a UNION."""

    head: str  # everything before WHERE
    condition: str
    class_name: str
    alias: str  # as written, with backquotes
    sources: str  # the classes, as written after FROM
    joins: str  # the rest of the head, after the first class
    class_count: int
    is_first_class: bool  # whether the selected class is the first one

    def qualified_condition(self) -> str:
        """Return the condition with the alias before each attribute: `name` becomes `o.name`.

        Within another query, or next to one more class, a bare name refers to any class that has it ("Ambiguous
        filter code"). Raise OqlError if the class of a bare name cannot be determined.
        """
        tokens = list(_tokenize(self.condition))
        significant = [token for token in tokens if token.kind != "space"]
        bare = {
            token.start: token.text
            for index, token in enumerate(significant)
            if _is_bare_attribute(significant, index)
        }
        if bare and (self.class_count > 1 or any(token.keyword == "SELECT" for token in significant)):
            raise OqlError(f"the class of the attribute {next(iter(bare.values()))} is not certain")
        return "".join(
            f"{self.alias}.{token.text}" if token.start in bare else token.text for token in tokens
        )

    def excludes(self, attribute: str, value: str) -> bool:
        """Return whether the condition contradicts `attribute` = `value`."""
        names = [f"{self.alias.strip('`')}.{attribute}"]
        if self.class_count == 1:
            names.append(attribute)
        tokens = [token for token in _tokenize(self.condition) if token.kind != "space"]
        return _contradicts(tokens, names, value)


def _contradicts(tokens: list[_Token], names: list[str], value: str) -> bool:
    while tokens and tokens[0].text == "(" and all(depth for _token, depth in _with_depth(tokens)):
        tokens = tokens[1:-1]
    for operator, combine in (("OR", all), ("AND", any)):
        parts = _split_at(tokens, operator)
        if len(parts) > 1:
            return combine(_contradicts(part, names, value) for part in parts)
    text = "".join(token.text.strip("`") for token in tokens if token.kind != "string")
    literals = [_unquote(token.text) for token in tokens if token.kind == "string"]
    commas = "," * (len(literals) - 1)
    is_named = value in literals
    contradicts = {
        "=": not is_named,
        "!=": is_named,
        "<>": is_named,
        f"IN({commas})": not is_named,
        f"NOTIN({commas})": is_named,
    }
    return any(
        text == f"ISNULL({name})" or (text.startswith(name) and contradicts.get(text[len(name) :], False))
        for name in names
    )


def _unquote(literal: str) -> str:
    return re.sub(r"\\(.)", r"\1", literal[1:-1], flags=re.DOTALL)


def _is_bare_attribute(tokens: list[_Token], index: int) -> bool:
    """Return whether the token is an attribute without a class before it."""
    token = tokens[index]
    before = tokens[index - 1] if index else None
    after = tokens[index + 1].text if index + 1 < len(tokens) else ""
    if token.kind not in ("name", "backquoted") or token.keyword or token.text.upper() in _CONDITION_WORDS:
        return False
    is_after_arrow = [token.text for token in tokens[max(0, index - 2) : index]] == ["-", ">"]
    if before and (
        is_after_arrow or before.text == "." or before.keyword in ("SELECT", "FROM", "JOIN", "AS")
    ):
        return False
    # A parenthesis follows the name of a function.
    return after not in (".", "(")


@dataclass(frozen=True)
class _ObjectReference:
    """A `:this->code` in a query, or an `ISNULL(...)` around it."""

    start: int
    end: int
    code: str
    is_null_test: bool


def _object_references(text: str) -> Iterator[_ObjectReference]:
    tokens = [token for token in _tokenize(text) if token.kind != "space"]
    for index, token in enumerate(tokens):
        if token.kind != "placeholder" or not token.text[1:].startswith(_OBJECT_PREFIX):
            continue
        code = token.text[1:].removeprefix(_OBJECT_PREFIX)
        call = tokens[max(index - 2, 0) : index + 2]
        if [part.text.upper() for part in call] == ["ISNULL", "(", token.text.upper(), ")"]:
            yield _ObjectReference(call[0].start, call[-1].end, code, is_null_test=True)
        else:
            yield _ObjectReference(token.start, token.end, code, is_null_test=False)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int
    keyword: str  # in capitals, "" unless it is one of _KEYWORDS

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def _tokenize(text: str) -> Iterator[_Token]:
    position = 0
    is_after_dot = False
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            rest = text[position : position + 20]
            if rest[0] in "'\"`":
                raise OqlError(f"a quote is opened and not closed: {rest}")
            raise OqlError(f"{rest[0]!r} has no meaning in a query: {rest}")
        kind, found = match.lastgroup, match.group()
        # In t.union, union is an attribute.
        is_keyword = kind == "name" and not is_after_dot and found.upper() in _KEYWORDS
        yield _Token(kind, found, position, found.upper() if is_keyword else "")
        if kind != "space":
            is_after_dot = found == "."
        position = match.end()


def _split_at(tokens: list[_Token], word: str) -> list[list[_Token]]:
    """Split at this word, outside of parentheses and not after a dot."""
    parts: list[list[_Token]] = [[]]
    before = ""
    for token, depth in _with_depth(tokens):
        if depth == 0 and token.kind == "name" and token.text.upper() == word and before != ".":
            parts.append([])
        else:
            parts[-1].append(token)
        before = token.text
    return parts


def _with_depth(tokens: Iterable[_Token]) -> Iterator[tuple[_Token, int]]:
    """Yield each token with the number of parentheses around it; a parenthesis itself counts as inside."""
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


class _SelectParser:
    """Parses one SELECT of a UNION from its tokens, which are part of `text`."""

    def __init__(self, text: str, tokens: list[_Token]) -> None:
        self._text = text
        self._tokens = list(_with_depth(tokens))
        self._position = 0
        self._classes: dict[str, str] = {}  # by alias, without backquotes

    def parse(self) -> _Select:
        if not self._tokens:
            raise OqlError("a query starts with SELECT")
        first, last = self._tokens[0][0], self._tokens[-1][0]
        if not self._take_keyword("SELECT"):
            raise OqlError(f"SELECT is missing before {first.text}")
        alias, sources_start = self._parse_selection()
        joins = self._next
        self._parse_joins()
        if alias.strip("`") not in self._classes:
            raise OqlError(f"{alias} is selected, but no class is called so")
        where = self._next
        self._parse_where()
        head_end = where.start if where else last.end
        return _Select(
            head=self._text[first.start : head_end].rstrip(),
            condition=self._text[where.end : last.end].strip() if where else "",
            class_name=self._classes[alias.strip("`")],
            alias=alias,
            sources=self._text[sources_start:head_end].rstrip(),
            joins=self._text[joins.start : head_end].rstrip() if joins else "",
            class_count=len(self._classes),
            is_first_class=next(iter(self._classes)) == alias.strip("`"),
        )

    def _parse_selection(self) -> tuple[str, int]:
        """Parse up to the first class. Return the alias of the selected objects and where the classes start."""
        sources_start = self._next_start
        names = [self._take_name("the class")]
        while self._take_sign(","):
            names.append(self._take_name("the class"))
        if self._take_keyword("FROM"):
            sources_start = self._next_start
            self._add_class(self._take_name("a class"))
            alias = names[0]
        elif len(names) > 1:
            raise OqlError("FROM is missing after the names that are selected")
        else:
            alias = self._add_class(names[0])
        return alias, sources_start

    def _parse_joins(self) -> None:
        while self._take_keyword("JOIN"):
            self._add_class(self._take_name("a class"))
            if not self._take_keyword("ON"):
                raise OqlError("ON is missing after JOIN")
            if not self._skip_to("JOIN", "WHERE"):
                raise OqlError("there is no condition after ON")

    def _parse_where(self) -> None:
        if self._next is None:
            return
        if not self._take_keyword("WHERE"):
            raise OqlError(f"{self._next.text} is not expected here; JOIN, WHERE or UNION may follow")
        if self._next is None:
            raise OqlError("there is no condition after WHERE")
        self._skip_to("WHERE", "JOIN", "FROM", "SELECT")
        if self._next is not None:
            raise OqlError(f"{self._next.text} is not expected within a condition")

    def _add_class(self, class_name: str) -> str:
        """Parse an optional alias for the class and return it."""
        alias = self._take_name("a name after AS") if self._take_keyword("AS") else class_name
        self._classes[alias.strip("`")] = class_name.strip("`")
        return alias

    @property
    def _next(self) -> _Token | None:
        return self._tokens[self._position][0] if self._position < len(self._tokens) else None

    @property
    def _next_start(self) -> int:
        return self._next.start if self._next else len(self._text)

    def _take_keyword(self, keyword: str) -> bool:
        if self._next is None or self._next.keyword != keyword:
            return False
        self._position += 1
        return True

    def _take_sign(self, sign: str) -> bool:
        if self._next is None or self._next.text != sign:
            return False
        self._position += 1
        return True

    def _take_name(self, expected: str) -> str:
        token = self._next
        if token is None:
            raise OqlError(f"{expected} is missing at the end")
        if token.kind not in ("name", "backquoted") or token.keyword:
            raise OqlError(f"{expected} is missing before {token.text}")
        self._position += 1
        return token.text

    def _skip_to(self, *keywords: str) -> bool:
        """Skip to one of these keywords outside of parentheses, or to the end. Return whether anything was skipped."""
        start = self._position
        while self._position < len(self._tokens):
            token, depth = self._tokens[self._position]
            if depth == 0 and token.keyword in keywords:
                break
            self._position += 1
        return self._position > start
