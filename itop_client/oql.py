"""Handle object queries (OQL) safely: quote values, parse a query's structure, fill in placeholders, add conditions.

Only the structure is parsed (SELECT, FROM, JOIN, WHERE, UNION, quotes, parentheses, placeholders). Only iTop knows
whether classes and attributes exist. https://www.itophub.io/wiki/page?id=latest:oql:start
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
# Words in a condition that are not attributes. Functions are not listed: a parenthesis follows their names.
_CONDITION_WORDS: Final = frozenset(
    {"AND", "OR", "NOT", "IN", "LIKE", "REGEXP", "MATCHES", "ABOVE", "BELOW", "STRICT", "DIV", "MOD"}
    | {"NULL", "TRUE", "FALSE"}
    | {"INTERVAL", "SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR"}
)
# Placeholders with this prefix are attributes of the current object. In the filter of an external key, this is the
# object whose external key is chosen: for `:this->org_id`, the new ticket.
_OBJECT_PREFIX: Final = "this->"
# Aliases of the classes that this module adds to a query.
_PERSON_ALIAS: Final = "account_holder"
_JOINED_ALIAS: Final = "joined"


class OqlError(ValueError):
    """A query that iTop would not accept, or that this module cannot change. The text says what is wrong."""


def quote(value: str | int) -> str:
    r"""Return the value as a literal for a query: 'O\'Brien' for text, 42 for a number.

    Text is escaped with backslashes (tests/recordings/itop/058-*.json). Control characters and lone surrogates are
    dropped: no value in iTop contains them, and iTop rejects requests with lone surrogates.
    """
    if isinstance(value, int) and value >= 0:
        return str(int(value))
    text = "".join(
        character for character in str(value) if unicodedata.category(character) not in ("Cc", "Cs")
    )
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def containing(text: str) -> str:
    """Return a LIKE pattern that matches each value containing the text. % and _ in the text stand for themselves."""
    return quote("%" + re.sub(r"([\\%_])", r"\\\1", text) + "%")


def ids(values: Iterable[int]) -> str:
    """Return the list for IN (...): "1,2,3". Without values return "0", because no object has this id."""
    return ",".join(str(int(value)) for value in values) or "0"


def parse(text: str) -> Query:
    """Parse a query's structure. Raise OqlError if iTop would not accept this structure."""
    tokens = [token for token in _tokenize(text) if token.kind != "space"]
    if not tokens:
        raise OqlError("the query is empty")
    selects = tuple(
        _SelectParser(text, select_tokens).parse() for select_tokens in _split_at(tokens, "UNION")
    )
    placeholders = frozenset(token.text[1:] for token in tokens if token.kind == "placeholder")
    return Query(text.strip(), selects, placeholders)


@dataclass(frozen=True)
class Query:
    """A parsed query. `str()` returns its OQL; `placeholders` are the names without the colon."""

    text: str
    selects: tuple[_Select, ...]
    placeholders: frozenset[str]

    def __str__(self) -> str:
        return self.text

    @property
    def class_name(self) -> str:
        """The class of the selected objects. In a UNION, this is the class of the first SELECT."""
        return self.selects[0].class_name

    @property
    def alias(self) -> str:
        """The alias of the selected objects, or their class if the query defines no alias."""
        return self.selects[0].alias.strip("`")

    @property
    def object_codes(self) -> frozenset[str]:
        """The codes of the current object's attributes to which the query refers: "org_id" for `:this->org_id`."""
        return frozenset(
            name.removeprefix(_OBJECT_PREFIX) for name in self.placeholders if name.startswith(_OBJECT_PREFIX)
        )

    @property
    def optional_codes(self) -> frozenset[str]:
        """The `object_codes` that may be empty: the query has `ISNULL(:this->code)` or `:this->code = 0` (or '')."""
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
                continue
            name = token.text[1:]
            if name not in values:
                raise OqlError(f"there is no value for :{name}")
            parts.append(quote(values[name]))
        return parse("".join(parts))

    def fill_object(self, values: Mapping[str, str | int]) -> Query:
        """Replace each `:this->code` with the current object's value. Leave all other placeholders to iTop.

        `values` contains the object's attributes by code. A missing code, "" and 0 count as empty.
        `ISNULL(:this->code)` is evaluated here, because not every version of iTop has an OQL literal for NULL.
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
        """Return a query that selects only those objects of this query whose `attribute` is `value`."""
        _check_attribute(attribute)
        return self.filtered(lambda alias: f"{alias}.{attribute} = {quote(int(value))}")

    def containing(self, attribute: str, words: Iterable[str]) -> Query:
        """Return a query that selects only those objects of this query whose `attribute` contains each word."""
        _check_attribute(attribute)
        patterns = [containing(word) for word in words]
        if not patterns:
            return self
        return self.filtered(
            lambda alias: " AND ".join(f"{alias}.{attribute} LIKE {pattern}" for pattern in patterns)
        )

    def filtered(self, condition: Callable[[str], str]) -> Query:
        """Return a query that selects only those objects of this query that meet `condition(alias)` as well."""
        return parse(
            " UNION ".join(
                f"{select.head} WHERE {_and(condition(select.alias), select.condition)}"
                for select in self.selects
            )
        )

    def excludes(self, attribute: str, value: str) -> bool:
        """Return whether the query certainly selects no object whose `attribute` has this value. False means unknown.

        `value` must not be empty. Only ISNULL and comparisons with literals (=, !=, <>, IN, NOT IN), combined with AND
        and OR, are understood. If a literal differs from `value` only in case, accents or spaces at the end, the
        database's collation decides whether the two are equal, so the result is False.
        """
        return all(select.excludes(attribute, value) for select in self.selects)

    def joined_to(
        self, class_name: str, on: Callable[[str, str], str], condition: Callable[[str], str]
    ) -> Query | None:
        """Return a query that selects the objects of `class_name` that are joined to this query's objects.

        `on(alias, joined_alias)` returns the condition of the join. `condition(joined_alias)` returns a condition that
        the selected objects must meet as well.

        Return None if this query names an attribute without an alias and several of its classes may have this
        attribute: iTop could then reject the longer query as ambiguous.
        """
        used_names = {token.text.casefold() for token in _tokenize(self.text)}
        joined_alias = _JOINED_ALIAS
        while joined_alias in used_names:
            joined_alias += "_"
        selects = []
        for select in self.selects:
            try:
                own_condition = select.qualified_condition()
            except OqlError:
                return None
            sources = (
                f"{select.sources} JOIN {class_name} AS {joined_alias} ON {on(select.alias, joined_alias)}"
            )
            where = _and(condition(joined_alias), own_condition)
            selects.append(" ".join(("SELECT", joined_alias, "FROM", sources, "WHERE", where)))
        return parse(" UNION ".join(selects))

    def as_membership_condition(self, attribute: str, *, through: str = "") -> str:
        """Return a condition for another query: `attribute` ("t.org_id") refers to an object that this query selects.

        If this query selects objects that refer to persons, such as accounts, set `through` to the attribute that
        refers to the person. The condition is then that `attribute` refers to one of these persons.

        The other query must not use the aliases of this query. Raise OqlError if this query cannot be nested.
        """
        conditions = []
        for select in self.selects:
            if any(token.keyword for token in _tokenize(select.condition)):
                raise OqlError("there is a query within its condition")
            head, condition = select.head, select.qualified_condition()
            if through:
                if not select.selects_first_class:
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
    """Combine two conditions. `condition` may be ""."""
    return f"({added}) AND ({condition})" if condition else f"({added})"


@dataclass(frozen=True, kw_only=True)
class _Select:
    """One SELECT of a UNION."""

    head: str  # everything before WHERE
    condition: str  # everything after WHERE, "" without WHERE
    class_name: str
    alias: str  # as written, with backquotes
    sources: str  # the first class and the JOINs, as written
    joins: str  # the JOINs, as written
    class_count: int
    # False if the selected class is a joined one, as in SELECT t FROM Person AS p JOIN UserRequest AS t ON ...
    selects_first_class: bool

    def qualified_condition(self) -> str:
        """Return the condition with an alias before each attribute: `name` becomes `o.name`.

        A name without an alias can refer to every class of a query. Once the condition is nested in another query, or
        another class is joined, iTop could reject the name as ambiguous ("Ambiguous filter code"). Raise OqlError if
        the class of such a name cannot be determined.
        """
        tokens = list(_tokenize(self.condition))
        significant = [token for token in tokens if token.kind != "space"]
        bare_attributes = [
            token for index, token in enumerate(significant) if _is_bare_attribute(significant, index)
        ]
        has_subquery = any(token.keyword == "SELECT" for token in significant)
        if bare_attributes and (self.class_count > 1 or has_subquery):
            raise OqlError(f"the class of the attribute {bare_attributes[0].text} is not certain")
        return "".join(
            f"{self.alias}.{token.text}" if token in bare_attributes else token.text for token in tokens
        )

    def excludes(self, attribute: str, value: str) -> bool:
        """Return whether the condition is certainly false for an object with `attribute` = `value`."""
        names = [f"{self.alias.strip('`')}.{attribute}"]
        if self.class_count == 1:
            names.append(attribute)
        tokens = [token for token in _tokenize(self.condition) if token.kind != "space"]
        return _is_certainly_false(tokens, names, value)


def _is_certainly_false(condition: list[_Token], names: list[str], value: str) -> bool:
    """Return whether the condition is certainly false for an object whose attribute has this value.

    `names` are what the condition may call the attribute: "t.origin", and "origin" if that is not ambiguous.
    """
    condition = _without_outer_parentheses(condition)
    alternatives = _split_at(condition, "OR")
    if len(alternatives) > 1:
        return all(_is_certainly_false(alternative, names, value) for alternative in alternatives)
    requirements = _split_at(condition, "AND")
    if len(requirements) > 1:
        return any(_is_certainly_false(requirement, names, value) for requirement in requirements)
    return any(_is_false_comparison(condition, name, value) for name in names)


def _is_false_comparison(comparison: list[_Token], name: str, value: str) -> bool:
    # For example, t.origin NOT IN ('chat', 'mail') becomes "t.originNOTIN(,)" and ["chat", "mail"].
    text = "".join(token.text.strip("`") for token in comparison if token.kind != "string")
    literals = [_unquote(token.text) for token in comparison if token.kind == "string"]
    if text == f"ISNULL({name})":  # false, because `value` is not empty
        return True
    if not text.startswith(name):
        return False
    operator = text.removeprefix(name)
    commas = "," * (len(literals) - 1)
    if operator in ("=", f"IN({commas})"):
        return _collated(value) not in map(_collated, literals)
    if operator in ("!=", "<>", f"NOTIN({commas})"):
        return value in literals
    return False


def _collated(text: str) -> str:
    """Return what all texts have in common that a collation of MySQL may take for equal to this one."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character)).rstrip()


def _without_outer_parentheses(tokens: list[_Token]) -> list[_Token]:
    """Remove each pair of parentheses that encloses all other tokens."""
    while tokens and tokens[0].text == "(" and all(depth > 0 for _token, depth in _with_depth(tokens)):
        tokens = tokens[1:-1]
    return tokens


def _unquote(literal: str) -> str:
    return re.sub(r"\\(.)", r"\1", literal[1:-1], flags=re.DOTALL)


def _is_bare_attribute(tokens: list[_Token], index: int) -> bool:
    """Return whether the token is an attribute without an alias before it. `tokens` contain no spaces."""
    token = tokens[index]
    if token.kind not in ("name", "backquoted") or token.keyword or token.text.upper() in _CONDITION_WORDS:
        return False
    next_text = tokens[index + 1].text if index + 1 < len(tokens) else ""
    if next_text in (".", "("):  # the token is an alias or a function
        return False
    if index == 0:
        return True
    previous = tokens[index - 1]
    if previous.keyword in ("SELECT", "FROM", "JOIN", "AS"):  # the token is a class or an alias
        return False
    # In t.org_id and org_id->name, the second name is qualified by the first.
    is_after_arrow = previous.text == ">" and index > 1 and tokens[index - 2].text == "-"
    return previous.text != "." and not is_after_arrow


@dataclass(frozen=True)
class _ObjectReference:
    """A `:this->code` in a query, together with an `ISNULL(...)` that directly encloses it."""

    start: int
    end: int
    code: str
    is_null_test: bool  # whether there is such an ISNULL


def _object_references(text: str) -> Iterator[_ObjectReference]:
    tokens = [token for token in _tokenize(text) if token.kind != "space"]
    for index, token in enumerate(tokens):
        if token.kind != "placeholder" or not token.text[1:].startswith(_OBJECT_PREFIX):
            continue
        code = token.text[1:].removeprefix(_OBJECT_PREFIX)
        call = tokens[max(index - 2, 0) : index + 2]  # two tokens before the placeholder, and one after it
        if [part.text.upper() for part in call] == ["ISNULL", "(", token.text.upper(), ")"]:
            yield _ObjectReference(call[0].start, call[-1].end, code, is_null_test=True)
        else:
            yield _ObjectReference(token.start, token.end, code, is_null_test=False)


@dataclass(frozen=True)
class _Token:
    kind: str  # the name of a group in _TOKEN
    text: str
    start: int  # position in the query's text
    keyword: str  # the text in capitals if it is one of _KEYWORDS, else ""

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
        kind, word = match.lastgroup, match.group()
        # After a dot, as in t.union, the word is an attribute.
        is_keyword = kind == "name" and not is_after_dot and word.upper() in _KEYWORDS
        yield _Token(kind, word, position, word.upper() if is_keyword else "")
        if kind != "space":
            is_after_dot = word == "."
        position = match.end()


def _split_at(tokens: list[_Token], word: str) -> list[list[_Token]]:
    """Split at each occurrence of `word` (in capitals) outside of parentheses. After a dot, `word` is an attribute."""
    parts: list[list[_Token]] = [[]]
    previous_text = ""
    for token, depth in _with_depth(tokens):
        is_word = token.kind == "name" and token.text.upper() == word and previous_text != "."
        if is_word and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
        previous_text = token.text
    return parts


def _with_depth(tokens: Iterable[_Token]) -> Iterator[tuple[_Token, int]]:
    """Yield each token with its depth in parentheses. A parenthesis has the same depth as the tokens it encloses."""
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
    """Parses one SELECT of a UNION. `tokens` are the tokens of this SELECT, `text` is the complete query."""

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
        first_join = self._next
        self._parse_joins()
        if alias.strip("`") not in self._classes:
            raise OqlError(f"{alias} is selected, but no class has this name")
        where = self._next
        self._parse_where()
        head_end = where.start if where else last.end
        return _Select(
            head=self._text[first.start : head_end].rstrip(),
            condition=self._text[where.end : last.end].strip() if where else "",
            class_name=self._classes[alias.strip("`")],
            alias=alias,
            sources=self._text[sources_start:head_end].rstrip(),
            joins=self._text[first_join.start : head_end].rstrip() if first_join else "",
            class_count=len(self._classes),
            selects_first_class=next(iter(self._classes)) == alias.strip("`"),
        )

    def _parse_selection(self) -> tuple[str, int]:
        """Parse from the selected names to the first class.

        Return the alias of the selected objects, and the position in the text at which the classes start.
        """
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
        """Parse the optional alias of this class, record the class, and return the alias (or the class)."""
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
        """Skip to one of these keywords outside of parentheses, or to the end. Return whether a token was skipped."""
        start = self._position
        while self._position < len(self._tokens):
            token, depth = self._tokens[self._position]
            if depth == 0 and token.keyword in keywords:
                break
            self._position += 1
        return self._position > start
