"""Parse OQL, iTop's query language, and translate it to SQLite.

The supported subset is ``SELECT [a FROM] Class [AS a] [JOIN Other AS b ON a.key = b.id ...] [WHERE ...] [UNION SELECT
...]`` with AND, OR, NOT, parentheses, comparisons, LIKE, IN (a list or another SELECT), BELOW in a join, and a few
functions. Values become SQL parameters, never SQL text. The error texts come from recordings 043, 044, 045 and 125.
Error texts without a recording are marked "guess".
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .datamodel import Attribute, DataModel


class OqlError(Exception):
    """iTop refuses a query. ``str()`` is the message of iTop's exception, ``kind`` is the name of its PHP class."""

    def __init__(self, query: str, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.query, self.kind = query, kind

    def as_key(self, version: str) -> str:
        """Return the text with which this version of iTop refuses the query as the ``key`` of an operation.

        If the query is the value of an attribute, every version uses ``str()`` instead.
        """
        if version < "3.2" or self.kind == "MissingQueryArgument":
            return str(self)
        return (
            f"Query failed to execute: query = {self.query}, exception_class = {self.kind}, "
            f"exception_message = {self}"
        )


# --- tokens


@dataclass(frozen=True)
class Token:
    kind: str  # NAME STRVAL NUMVAL VARNAME END, a keyword, or the symbol itself
    value: str
    position: int


KEYWORDS = (
    frozenset({"SELECT", "FROM", "AS", "JOIN", "ON", "WHERE", "UNION", "BELOW", "STRICT"})
    | {"AND", "OR", "NOT", "IN", "LIKE"}
    | {"INTERVAL", "NULL", "TRUE", "FALSE"}
)
TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<VARNAME>:[A-Za-z_]\w*(?:->\w+)*)
    |(?P<NUMVAL>0x[0-9a-fA-F]+|\d+(?:\.\d+)?)
    |(?P<STRVAL>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |(?P<quoted>`[^`]+`)
    |(?P<NAME>[A-Za-z_]\w*)
    |(?P<sign>->|<>|!=|<=|>=|[=<>(),.+*/-])""",
    re.VERBOSE | re.DOTALL,
)


def tokens(query: str) -> list[Token]:
    """Split a query into tokens.

    Raise OqlError at a character that starts no token, such as a quote that is never closed.
    """
    found: list[Token] = []
    position = 0
    while position < len(query):
        match = TOKEN.match(query, position)
        if match is None:
            rest = query[position]
            raise OqlError(
                query,
                "OQLLexerException",
                f"Unexpected character - found '{rest}' at {position} in '{query}'",
            )  # guess
        kind, value = str(match.lastgroup), match.group()
        if kind == "NAME" and value.upper() in KEYWORDS:
            kind = value.upper()
        elif kind == "quoted":
            kind, value = "NAME", value[1:-1]
        elif kind == "STRVAL":
            value = re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL)
        elif kind == "sign":
            kind = value
        if kind != "space":
            found.append(Token(kind, value, position))
        position = match.end()
    return [*found, Token("END", "", len(query))]


# --- tree


@dataclass(frozen=True)
class Literal:
    value: str | int | float | None


@dataclass(frozen=True)
class Argument:
    name: str


@dataclass(frozen=True)
class Column:
    alias: str
    path: tuple[str, ...]
    position: int


@dataclass(frozen=True)
class Call:
    function: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True)
class Interval:
    amount: Expression
    unit: str


@dataclass(frozen=True)
class Operation:
    sign: str
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Negation:
    of: Expression


@dataclass(frozen=True)
class Membership:
    of: Expression
    values: tuple[Expression, ...] | Query
    negated: bool


@dataclass(frozen=True)
class Source:
    class_name: str
    alias: str
    position: int


@dataclass(frozen=True)
class Join:
    source: Source
    left: Column
    sign: str
    right: Column


@dataclass(frozen=True)
class Select:
    wanted: str  # the alias of the objects that are selected
    source: Source
    joins: tuple[Join, ...]
    where: Expression | None


@dataclass(frozen=True)
class Query:
    text: str
    members: tuple[Select, ...]


Expression = Literal | Argument | Column | Call | Interval | Operation | Negation | Membership

FUNCTIONS = {
    "ISNULL": "({0}) IS NULL",
    "CONCAT": "",
    "NOW": "",
    "LOWER": "lower({0})",
    "UPPER": "upper({0})",
    "IF": "CASE WHEN {0} THEN {1} ELSE {2} END",
    "DATE_SUB": "itop_date({0}, -({1}))",
    "DATE_ADD": "itop_date({0}, ({1}))",
}
SECONDS = {
    "SECOND": 1,
    "MINUTE": 60,
    "HOUR": 3600,
    "DAY": 86400,
    "WEEK": 604800,
    "MONTH": 2592000,
    "YEAR": 31536000,
}


class Parser:
    """A recursive descent parser with one token of lookahead.

    Each method named after a part of the grammar parses this part and returns its node.
    """

    def __init__(self, query: str) -> None:
        self.query = query
        self.tokens = tokens(query)
        self.index = 0

    @property
    def next(self) -> Token:
        return self.tokens[self.index]

    def at(self, *kinds: str) -> bool:
        """Return whether the next token is of one of these kinds."""
        return self.next.kind in kinds

    def take(self, kind: str = "") -> Token:
        """Consume the next token and return it. Raise OqlError if it is of another kind."""
        token = self.next
        if kind and token.kind != kind:
            raise self.unexpected()
        self.index += 1
        return token

    def take_if(self, kind: str) -> bool:
        """Consume the next token if it is of this kind. Return whether it was."""
        if self.at(kind):
            self.index += 1
            return True
        return False

    def unexpected(self) -> OqlError:
        token = self.next
        if token.kind == "END":  # recording 043: iTop names '0' at position 0, wherever the query ends
            name, value, position = "End of Input", "0", 0
        else:
            name, value, position = token.kind, token.value, token.position
        detail = f"Unexpected token {name} - found '{value}' at {position} in '{self.query}'"
        return OqlError(self.query, "OQLParserSyntaxErrorException", detail)

    def parse(self) -> Query:
        query = self.union()
        if not self.at("END"):
            raise self.unexpected()
        return query

    def union(self) -> Query:
        members = [self.select()]
        while self.take_if("UNION"):
            members.append(self.select())
        return Query(self.query, tuple(members))

    def select(self) -> Select:
        self.take("SELECT")
        names = [self.take("NAME")]
        while self.take_if(","):
            names.append(self.take("NAME"))
        wanted = ""
        if len(names) > 1 or self.at("FROM"):
            self.take("FROM")
            wanted = names[0].value
            source = self.source(self.take("NAME"))
        else:
            source = self.source(names[0])
        joins = []
        while self.take_if("JOIN"):
            joins.append(self.join())
        where = self.disjunction() if self.take_if("WHERE") else None
        return Select(wanted or source.alias, source, tuple(joins), where)

    def source(self, name: Token) -> Source:
        alias = self.take("NAME").value if self.take_if("AS") else name.value
        return Source(name.value, alias, name.position)

    def join(self) -> Join:
        source = self.source(self.take("NAME"))
        self.take("ON")
        left = self.column()
        if self.take_if("="):
            sign = "="
        else:
            sign = ("NOT " if self.take_if("NOT") else "") + self.take("BELOW").kind
            sign += " STRICT" if self.take_if("STRICT") else ""
        return Join(source, left, sign, self.column())

    def column(self) -> Column:
        first = self.take("NAME")
        alias, path = "", [first.value]
        if self.take_if("."):
            alias, path = first.value, [self.take("NAME").value]
        while self.take_if("->"):
            path.append(self.take("NAME").value)
        return Column(alias, tuple(path), first.position)

    def disjunction(self) -> Expression:
        left = self.conjunction()
        while self.take_if("OR"):
            left = Operation("OR", left, self.conjunction())
        return left

    def conjunction(self) -> Expression:
        left = self.negation()
        while self.take_if("AND"):
            left = Operation("AND", left, self.negation())
        return left

    def negation(self) -> Expression:
        return Negation(self.negation()) if self.take_if("NOT") else self.comparison()

    def comparison(self) -> Expression:
        left = self.sum()
        negated = self.at("NOT")
        if negated:
            self.take()
            if not self.at("IN", "LIKE"):
                raise self.unexpected()
        if self.take_if("IN"):
            return Membership(left, self.members(), negated)
        if self.at("=", "!=", "<>", "<", ">", "<=", ">=", "LIKE"):
            found = Operation(self.take().kind, left, self.sum())
            return Negation(found) if negated else found
        return left

    def members(self) -> tuple[Expression, ...] | Query:
        self.take("(")
        found: tuple[Expression, ...] | Query
        if self.at("SELECT"):
            found = self.union()
        else:
            values = [self.sum()]
            while self.take_if(","):
                values.append(self.sum())
            found = tuple(values)
        self.take(")")
        return found

    def sum(self) -> Expression:
        left = self.product()
        while self.at("+", "-"):
            left = Operation(self.take().kind, left, self.product())
        return left

    def product(self) -> Expression:
        left = self.operand()
        while self.at("*", "/"):
            left = Operation(self.take().kind, left, self.operand())
        return left

    def operand(self) -> Expression:
        if self.take_if("("):
            inner = self.disjunction()
            self.take(")")
            return inner
        if self.take_if("-"):
            return Operation("-", Literal(0), self.operand())
        if self.at("STRVAL"):
            return Literal(self.take().value)
        if self.at("NUMVAL"):
            return Literal(_number(self.take().value))
        if self.at("VARNAME"):
            return Argument(self.take().value[1:])
        for keyword, constant in (("NULL", None), ("TRUE", 1), ("FALSE", 0)):
            if self.take_if(keyword):
                return Literal(constant)
        if self.at("INTERVAL"):
            self.take()
            amount = self.operand()
            return Interval(amount, self.take("NAME").value.upper())
        if self.at("NAME") and self.tokens[self.index + 1].kind == "(":
            return self.call()
        if self.at("NAME"):
            return self.column()
        raise self.unexpected()

    def call(self) -> Call:
        if self.next.value.upper() not in FUNCTIONS:
            raise self.unexpected()
        name = self.take().value.upper()
        self.take("(")
        arguments: list[Expression] = []
        if not self.at(")"):
            arguments.append(self.disjunction())
            while self.take_if(","):
                arguments.append(self.disjunction())
        self.take(")")
        return Call(name, tuple(arguments))


def parse(query: str) -> Query:
    """Parse a query. Raise OqlError."""
    return Parser(query).parse()


# --- SQL


@dataclass
class Scope:
    """The aliases of one SELECT. ``around`` is the scope of the SELECT that encloses it."""

    around: Scope | None = None
    classes: dict[str, str] = field(default_factory=dict)  # alias -> class
    tables: dict[str, str] = field(default_factory=dict)  # alias -> SQL alias
    # (SQL of an external key, its target class) -> (SQL alias of the joined table, LEFT JOIN clause)
    left_joins: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)

    def with_enclosing(self) -> list[Scope]:
        """Return this scope and those around it, from the innermost to the outermost."""
        return [self, *(self.around.with_enclosing() if self.around else [])]


@dataclass
class Translator:
    """Translates a query to SQL: call ``sql``. After that, ``values`` has the SQL parameters by name."""

    model: DataModel
    query: Query
    arguments: Mapping[str, str | int]  # the values of placeholders such as current_contact_id
    now: str  # the server's local time
    values: dict[str, str | int | float | None] = field(default_factory=dict)
    count: int = 0

    def sql(self, columns: Callable[[str], list[str]]) -> tuple[str, str]:
        """Return the class that the query selects, and SQL that returns its rows in iTop's order.

        ``columns(root)`` returns the columns to read from the table of a topmost class.
        """
        inner, class_name = self.ids(self.query, None)
        attribute, descending = self.model.order(class_name)
        root = self.model.root(class_name)
        direction = "DESC" if descending else "ASC"
        read = ", ".join(f'x."{column}"' for column in columns(root))
        # iTop orders objects by their names, as text. The name of a change is its number, so change 100 comes before
        # change 94 (recording 238).
        first = f'CAST(x."{attribute}" AS TEXT)' if attribute == "change" else f'x."{attribute}"'
        # iTop returns operations of one change, and changes of one second, in no particular order. To prevent callers
        # from relying on one, this order looks random.
        then = f"x.id {direction}" if not class_name.startswith("CMDBChange") else "x.id * 7 % 11, x.id"
        return class_name, (
            f'SELECT {read} FROM "{root}" AS x WHERE x.id IN ({inner}) ORDER BY {first} {direction}, {then}'
        )

    def ids(self, query: Query, around: Scope | None) -> tuple[str, str]:
        """Return SQL that returns the ids of the selected objects, and the common class of these objects."""
        found = [self.select(member, around) for member in query.members]
        class_name = found[0][1]
        for _, other in found[1:]:
            while not self.model.is_a(other, class_name):
                class_name = self.model[class_name].parent
                if not class_name:
                    raise self.error(
                        "OqlNormalizeException", f"Union of unrelated classes in '{query.text}'"
                    )  # guess
        return " UNION ".join(sql for sql, _ in found), class_name

    def select(self, select: Select, around: Scope | None) -> tuple[str, str]:
        """Return SQL that returns the ids of the objects of one SELECT, and their class."""
        scope = Scope(around)
        self.add_source(scope, select.source)
        for join in select.joins:
            self.add_source(scope, join.source)
        if select.wanted not in scope.classes:
            raise self.error(
                "OqlNormalizeException",
                f"Unknown class alias - found '{select.wanted}' in '{self.query.text}', "
                f"expecting {{{', '.join(scope.classes)}}}",
            )  # guess
        root = self.model.root(select.source.class_name)
        clauses = [f'FROM "{root}" AS {scope.tables[select.source.alias]}']
        for join in select.joins:
            root = self.model.root(join.source.class_name)
            clauses.append(
                f'JOIN "{root}" AS {scope.tables[join.source.alias]} ON {self.join_condition(scope, join)}'
            )
        where = [self.class_condition(scope, alias) for alias in scope.classes]
        if select.where is not None:
            where.append(f"({self.expression(scope, select.where)})")
        clauses += [clause for _, clause in scope.left_joins.values()]
        sql = f"SELECT {scope.tables[select.wanted]}.id {' '.join(clauses)} WHERE {' AND '.join(where)}"
        return sql, scope.classes[select.wanted]

    def add_source(self, scope: Scope, source: Source) -> None:
        """Add a class of a query to the scope."""
        if source.class_name not in self.model:
            raise self.error(
                "UnknownClassOqlException",
                f"Unknown class - found '{source.class_name}' at {source.position} in '{self.query.text}', "
                f"expecting {{{', '.join(self.model.by_name)}}}, "
                f"I would suggest to use '{nearest(source.class_name, list(self.model.by_name))}'",
            )
        if source.alias in scope.classes:
            raise self.error(
                "OqlNormalizeException",
                f"Duplicate class alias - found '{source.alias}' at {source.position} in '{self.query.text}'",
            )  # guess
        self.count += 1
        scope.classes[source.alias] = source.class_name
        scope.tables[source.alias] = f"t{self.count}"

    def class_condition(self, scope: Scope, alias: str) -> str:
        """Return the SQL condition that a row is of the alias's class or of a descendant: they share a table."""
        names = ", ".join(f"'{name}'" for name in self.model.concrete(scope.classes[alias]))
        return f"{scope.tables[alias]}.finalclass IN ({names})"

    def join_condition(self, scope: Scope, join: Join) -> str:
        left, left_attribute = self.column(scope, join.left)
        right, right_attribute = self.column(scope, join.right)
        if right_attribute.kind != "id":
            raise self.error(
                "OqlNormalizeException",
                f"Wrong format for Join clause (right hand), expecting an id - found '{join.right.path[-1]}' "
                f"at {join.right.position} in '{self.query.text}', expecting {{id}}",
            )  # guess
        if left_attribute.kind not in ("key", "objkey", "id"):
            raise self.error(
                "OqlNormalizeException",
                f"Wrong or unknown external key - found '{join.left.path[-1]}' at {join.left.position} "
                f"in '{self.query.text}'",
            )  # guess
        if join.sign == "=":
            return f"{left} = {right}"
        # "a.parent_id BELOW b.id" means that b is a itself or one of a's ancestors; with STRICT, only an ancestor.
        holder = left.rsplit(".", 1)[0]
        root = self.model.root(left_attribute.target)
        start = f'{holder}."{left_attribute.code}"' if "STRICT" in join.sign else f"{holder}.id"
        sql = (
            f'EXISTS (WITH RECURSIVE up(id) AS (SELECT {start} UNION SELECT o."{left_attribute.code}" '
            f'FROM "{root}" AS o JOIN up ON o.id = up.id) SELECT 1 FROM up WHERE up.id = {right})'
        )
        return f"NOT {sql}" if join.sign.startswith("NOT") else sql

    def expression(self, scope: Scope, node: Expression) -> str:
        match node:
            case Literal(value):
                return self.value(value)
            case Argument(name):
                if name not in self.arguments:
                    known = "; ".join(f"{number}=>{known}" for number, known in enumerate(self.arguments))
                    raise self.error(
                        "MissingQueryArgument",
                        f"Missing query argument: expecting = {name}, available = {{{known}}}",
                    )
                return self.value(self.arguments[name])
            case Column():
                return self.column(scope, node)[0]
            case Call("NOW"):
                return self.value(self.now)
            case Call("CONCAT", arguments):
                return (
                    "(" + " || ".join(self.expression(scope, each) for each in arguments) + ") COLLATE itop"
                )
            case Call(name, arguments):
                return (
                    "(" + FUNCTIONS[name].format(*(self.expression(scope, each) for each in arguments)) + ")"
                )
            case Interval(amount, unit):
                return f"({self.expression(scope, amount)} * {SECONDS.get(unit, 86400)})"
            case Operation(sign, left, right):
                return f"({self.expression(scope, left)} {sign} {self.expression(scope, right)})"
            case Negation(of):
                return f"(NOT {self.expression(scope, of)})"
            case Membership(of, values, negated):
                word = "NOT IN" if negated else "IN"
                if isinstance(values, Query):
                    inside = self.ids(values, scope)[0]
                else:
                    inside = ", ".join(self.expression(scope, each) for each in values)
                return f"({self.expression(scope, of)} {word} ({inside}))"

    def value(self, value: str | int | float | None) -> str:
        """Add a parameter with this value, and return its name in the SQL."""
        name = f"v{len(self.values)}"
        self.values[name] = value
        return f":{name}"

    def column(self, scope: Scope, column: Column) -> tuple[str, Attribute]:
        """Return the SQL for an attribute, such as ``t.org_id->name``, and the attribute."""
        code = column.path[0]
        holder, alias = self.holder(scope, column)
        sql, attribute, class_name = self.attribute(holder, holder.tables[alias], holder.classes[alias], code)
        for step in column.path[1:]:
            if attribute.kind != "key" or step not in self.model.filter_codes(attribute.target):
                raise self.unknown(step, column.position, class_name)
            table, target = self.follow(holder, sql, attribute)
            sql, attribute, class_name = self.attribute(holder, table, target, step)
        return sql, attribute

    def holder(self, scope: Scope, column: Column) -> tuple[Scope, str]:
        """Return the scope and the alias to which a column belongs. Raise OqlError if this is not certain."""
        code = column.path[0]
        if column.alias:
            for each in scope.with_enclosing():
                if column.alias in each.classes:
                    if code not in self.model.filter_codes(each.classes[column.alias]):
                        raise self.unknown(code, column.position, each.classes[column.alias])
                    return each, column.alias
            known = [alias for each in scope.with_enclosing() for alias in each.classes]
            raise self.error(
                "OqlNormalizeException",
                f"Unknown class alias - found '{column.alias}' at {column.position} in '{self.query.text}', "
                f"expecting {{{', '.join(known)}}}, I would suggest to use '{nearest(column.alias, known)}'",
            )  # guess
        found = [
            (each, alias)
            for each in scope.with_enclosing()
            for alias, class_name in each.classes.items()
            if code in self.model.filter_codes(class_name)
        ]
        if not found:
            raise self.unknown(code, column.position, next(iter(scope.classes.values())))
        if len(found) > 1:
            aliases = ", ".join(f"{alias}.{code}" for _, alias in found)
            raise self.error(
                "OqlNormalizeException",
                f"Ambiguous filter code - found '{code}' at {column.position} in '{self.query.text}', "
                f"expecting {{{aliases}}}",
            )
        return found[0]

    def attribute(self, scope: Scope, table: str, class_name: str, code: str) -> tuple[str, Attribute, str]:
        """Return the SQL for an attribute, the attribute and its class. For an external field, those of the target."""
        attribute = self.model.attributes(class_name).get(code) or Attribute(code, derived=True)
        if attribute.kind != "external":
            return f'{table}."{code}"', attribute, class_name
        key = self.model.attributes(class_name)[attribute.via]
        key_sql, key, _ = self.attribute(scope, table, class_name, attribute.via)
        other, target = self.follow(scope, key_sql, key)
        return self.attribute(scope, other, target, attribute.remote)

    def follow(self, scope: Scope, key_sql: str, key: Attribute) -> tuple[str, str]:
        """Return the SQL alias of the table to which an external key points, and its class. Join it if needed."""
        name = (key_sql, key.target)
        if name not in scope.left_joins:
            self.count += 1
            table = f"t{self.count}"
            clause = f'LEFT JOIN "{self.model.root(key.target)}" AS {table} ON {table}.id = {key_sql}'
            scope.left_joins[name] = (table, clause)
        return scope.left_joins[name][0], key.target

    def unknown(self, code: str, position: int, class_name: str) -> OqlError:
        known = self.model.filter_codes(class_name)
        return self.error(
            "OqlNormalizeException",
            f"Unknown filter code - found '{code}' at {position} in '{self.query.text}', "
            f"expecting {{{', '.join(known)}}}, I would suggest to use '{nearest(code, known)}'",
        )

    def error(self, kind: str, detail: str) -> OqlError:
        return OqlError(self.query.text, kind, detail)


def _number(text: str) -> int | float:
    if "." in text:
        return float(text)
    return int(text, 16) if "x" in text else int(text)


def nearest(name: str, known: list[str]) -> str:
    """Return the known name that is most similar, "" if none is."""
    return next(iter(difflib.get_close_matches(name, known, 1)), "")
