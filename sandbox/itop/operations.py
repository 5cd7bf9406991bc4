"""The operations of iTop's REST interface (``webservices/rest.php``) and their responses."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from . import accounts, caselog, database, files, values, wording
from .datamodel import WITHOUT_HISTORY, Attribute
from .files import File
from .oql import OqlError
from .store import Row, Store

VERSIONS = ("1.0", "1.1", "1.2", "1.3", "1.4")
VERBS = {
    "core/create": "Create an object",
    "core/update": "Update an object",
    "core/apply_stimulus": "Apply a stimulus to change the state of an object",
    "core/get": "Search for objects",
    "core/delete": "Delete objects",
    "core/get_related": "Get related objects through the specified relation",
    "core/check_credentials": "Check user credentials",
}
MEGABYTE = 1024 * 1024
REST, INTERACTIVE = "webservice-rest", "interactive"  # origins of a change
WRITES = frozenset({"core/create", "core/update", "core/apply_stimulus", "core/delete"})

# The life cycle of a UserRequest: state -> stimulus -> next state.
TRANSITIONS = {
    "new": {
        "ev_assign": "assigned",
        "ev_wait_for_approval": "waiting_for_approval",
        "ev_timeout": "escalated_tto",
        "ev_autoresolve": "resolved",
    },
    "waiting_for_approval": {"ev_approve": "approved", "ev_reject": "rejected"},
    "approved": {"ev_assign": "assigned", "ev_timeout": "escalated_tto", "ev_autoresolve": "resolved"},
    "rejected": {"ev_reopen": "new"},
    "escalated_tto": {"ev_assign": "assigned"},
    "assigned": {
        "ev_reassign": "assigned",
        "ev_pending": "pending",
        "ev_resolve": "resolved",
        "ev_timeout": "escalated_ttr",
        "ev_autoresolve": "resolved",
    },
    "escalated_ttr": {
        "ev_reassign": "assigned",
        "ev_pending": "pending",
        "ev_resolve": "resolved",
        "ev_autoresolve": "resolved",
    },
    "pending": {"ev_assign": "assigned", "ev_autoresolve": "resolved"},
    "resolved": {"ev_reopen": "assigned", "ev_close": "closed", "ev_autoresolve": "resolved"},
    "closed": {},
}
# The attributes that a ticket needs when it enters a state.
NEEDED_FOR = {
    "assigned": ("request_type",),
    "pending": ("request_type", "pending_reason"),
    "resolved": ("request_type", "service_id", "resolution_code", "solution"),
    "closed": ("request_type",),
}
UNASSIGNED = ("new", "approved", "escalated_tto")
PORTAL_STIMULI = ("ev_reopen", "ev_close")
PORTAL_FIELDS = {"user_satisfaction", "user_comment"}
# The attribute that iTop sets to the current time when a ticket enters a state.
DATED = {
    "assigned": "assignment_date",
    "pending": "last_pending_date",
    "resolved": "resolution_date",
    "closed": "close_date",
}


class RefusalError(Exception):
    """iTop refuses a request. ``answer`` is its response: with ``objects``, it contains ``"objects": null``."""

    def __init__(self, message: str, code: int = 100, *, objects: bool = False) -> None:
        super().__init__(message)
        self.answer: dict[str, Any] = {"code": code, "message": message}
        if objects:
            self.answer["objects"] = None


class CrashError(Exception):
    """iTop fails with HTTP 500 (recording 076). If PHP's memory is exhausted, ``str()`` is PHP's text, else ""."""


@dataclass(frozen=True)
class Entry:
    """What a person enters: an entry (HTML) for a log, pictures pasted at its end, and files attached to the ticket."""

    html: str = ""
    log: str = "public_log"
    files: Sequence[File] = ()
    pictures: Sequence[File] = ()


class Operations:
    """All operations on one store. ``character_set`` is one of ``database.CHARACTER_SETS``.

    With ``lost_updates``, a log is read and later written back without a lock, as iTop does. So one of two simultaneous
    entries gets lost. ``pause`` is called between reading and writing. It waits ``window`` seconds, unless a test sets
    it to make two writers collide. ``before_commit`` is called when a save already has its date and the numbers of its
    operations, but is not visible yet. A test can set it to make a save visible late.
    """

    def __init__(
        self,
        store: Store,
        *,
        lost_updates: bool = True,
        window: float = 0.02,
        character_set: str = database.CHARACTER_SETS[0],
        memory_limit: int = 128 * MEGABYTE,
        max_allowed_packet: int = 16 * MEGABYTE,
    ) -> None:
        if character_set not in database.CHARACTER_SETS:
            raise ValueError(f"unknown character set {character_set!r}")
        self.store = store
        self.character_set = character_set
        self.memory_limit = memory_limit
        self.max_allowed_packet = max_allowed_packet
        self.lost_updates = lost_updates
        self.window = window
        self.pause: Callable[[], None] = lambda: time.sleep(self.window)
        self.before_commit: Callable[[], None] = lambda: None
        self.one_writer = threading.RLock()
        self.row_locks: dict[tuple[str, int], threading.Lock] = {}

    def writing(self) -> AbstractContextManager[object]:
        """Return a context manager for a write. Without ``lost_updates`` it is a lock, so writes do not overlap."""
        return nullcontext() if self.lost_updates else self.one_writer

    def row_lock(self, row: Row) -> threading.Lock:
        """Return the lock that a save holds until its commit, as the database's UPDATE does."""
        return self.row_locks.setdefault(
            (self.store.model.root(row["finalclass"]), row["id"]), threading.Lock()
        )

    def answer(
        self, user: Row, version: str, request: Mapping[str, Any], *, commit_after: float = 0.0
    ) -> dict[str, Any]:
        """Return the response to a request of an authenticated account. Raise CrashError.

        A write becomes visible ``commit_after`` seconds after it got its date and its numbers.
        """
        call = Call(self, user, commit_after=commit_after)
        try:
            return call.answer(version, request)
        except RefusalError as refusal:
            return refusal.answer
        except OqlError as error:
            return {"code": 100, "message": f"Error: {error.as_key(self.store.model.version)}"}


class Call:
    """One request of one account: over REST or, with ``origin`` "interactive", in the console or the portal.

    All its entries in the history belong to one CMDBChange.
    """

    def __init__(
        self, operations: Operations, user: Row, origin: str = REST, *, commit_after: float = 0.0
    ) -> None:
        self.operations = operations
        self.store = operations.store
        self.model = operations.store.model
        self.user = user
        self.origin = origin
        self.commit_after = commit_after
        self.change: int | None = None
        self.arguments = accounts.query_arguments(self.store, user)
        self.organizations = accounts.organizations_of(self.store, user)
        self.administrator = accounts.ADMINISTRATOR in accounts.profiles_of(self.store, user)
        self.request: Mapping[str, Any] = {}

    def answer(self, version: str, request: Mapping[str, Any]) -> dict[str, Any]:
        self.request = request
        operation = self.mandatory("operation")
        if version not in VERSIONS:
            raise RefusalError(f"Error: There is no service available for version '{version}'", 10)
        if operation == "list_operations":
            return self.list_operations(version)
        if operation not in VERBS:
            raise RefusalError(f"Error: Unknown verb '{operation}' in version '{version}'", 11)
        if operation == "core/check_credentials":
            return self.check_credentials()
        if operation == "core/get_related":
            raise RefusalError("Error: the sandbox does not support core/get_related")
        work = {
            "core/get": self.get,
            "core/create": self.create,
            "core/update": self.update,
            "core/apply_stimulus": self.apply_stimulus,
            "core/delete": self.delete,
        }[operation]
        with self.operations.writing() if operation in WRITES else nullcontext():
            return work()

    def list_operations(self, version: str) -> dict[str, Any]:
        listed = [
            {"verb": verb, "description": description, "extension": "CoreServices"}
            for verb, description in VERBS.items()
        ]
        return {"code": 0, "message": f"Operations: {len(listed)}", "version": version, "operations": listed}

    def check_credentials(self) -> dict[str, Any]:
        login, password = self.mandatory("user"), self.mandatory("password")
        found = accounts.by_password(self.store, str(login), str(password))
        return {"code": 0, "message": None, "authorized": found is not None}

    def get(self) -> dict[str, Any]:
        class_name, key = self.class_name(), self.mandatory("key")
        codes = self.output_fields(class_name)
        self.allow("reading", class_name)
        limit, page = _integer(self.request.get("limit"), 0), _integer(self.request.get("page"), 1)
        if page < 1:
            raise RefusalError(
                "The request page number is not valid. It must be an integer greater than 0", 13, objects=True
            )
        rows = self.objects(class_name, key)
        if rows:
            self.allow("reading", rows[0]["finalclass"])
        chosen = rows[(page - 1) * limit : page * limit] if limit else rows
        objects = {_name(row): self.shown(row, "", class_name, codes) for row in chosen}
        if not isinstance(codes, str):
            for row in chosen:
                objects[_name(row)]["fields"] |= values.names_of_nothing(self.store, row, codes)
        return {"code": 0, "message": f"Found: {len(rows)}", "objects": objects or None}

    def create(self) -> dict[str, Any]:
        class_name = self.class_name()
        fields, comment = self.fields(), str(self.mandatory("comment"))
        if self.model[class_name].abstract:
            raise CrashError
        codes = self.output_fields(class_name)
        self.allow("creating", class_name)
        row = self.store.blank(class_name)
        if class_name in WITHOUT_HISTORY:
            row |= {"expire": self.store.now(), "temp_id": ""}
        if class_name == "Attachment":
            row |= {"creation_date": self.store.now(), "user_id": self.user["id"]}
            row["contact_id"] = self.user["contactid"] or 0
        row |= self.taken(row, fields)
        if self.model.is_a(class_name, "Ticket"):
            # The reference number is used up even if the ticket is refused below: the recordings have such gaps.
            row["ref"] = f"R-{self.store.take_number('ref'):06d}"
            row["start_date"] = row["start_date"] or self.store.now()
            row["last_update"] = self.store.now()
        self.check(row, self.model.attributes(class_name), comment)
        if class_name in WITHOUT_HISTORY:
            self.check_size(row)
        row["id"] = self.store.take_number(self.model.root(class_name))
        if class_name in WITHOUT_HISTORY or self.model.is_a(class_name, "CMDBChangeOp"):
            self.insert_without_history(comment, row)
        else:
            self.commit(comment, row, [("CMDBChangeOpCreate", {})], lambda: self.store.insert_row(row))
        return self.written(row, "created", class_name, codes)

    def insert_without_history(self, comment: str, row: Row) -> None:
        """Insert an object whose creation iTop does not record: a file, or a CMDBChangeOp.

        A CMDBChangeOp gets a new change that belongs to this call (recording 250).
        """
        is_line = self.model.is_a(row["finalclass"], "CMDBChangeOp")
        change = self.store.take_number("CMDBChange") if is_line else 0
        if self.commit_after:
            time.sleep(self.commit_after)
        self.operations.before_commit()
        with self.store.transaction():
            if is_line:
                self.store.record_change(change, self.store.now(), comment, self.user["id"], self.origin)
                row["change"] = change
            self.store.insert_row(row)

    def update(self) -> dict[str, Any]:
        class_name, key = self.class_name(), self.mandatory("key")
        fields, comment = self.fields(), str(self.mandatory("comment"))
        codes = self.output_fields(class_name)
        self.allow("modifying", class_name)
        row = self.object(class_name, key)
        self.write(row, self.taken(row, fields), comment)
        return self.written(row, "updated", class_name, codes)

    def apply_stimulus(self) -> dict[str, Any]:
        class_name, key = self.class_name(), self.mandatory("key")
        fields, comment = self.fields(), str(self.mandatory("comment"))
        stimulus = self.mandatory("stimulus")
        codes = self.output_fields(class_name)
        self.allow("modifying", class_name)
        row = self.object(class_name, key)
        changes = self.taken(row, fields)
        self.move(row, changes, str(stimulus))
        self.write(row, changes, comment)
        return self.written(row, "updated", class_name, codes)

    def move(self, row: Row, changes: Row, stimulus: str) -> None:
        """Add the values that a stimulus sets to ``changes``. Raise RefusalError if the stimulus is not possible."""
        state = TRANSITIONS.get(row.get("status", ""), {}).get(stimulus)
        if state is None:
            raise RefusalError(
                f"Invalid stimulus: '{stimulus}' on the object {row['friendlyname']} "
                f"in state '{row.get('status')}'",
                objects=True,
            )
        missing = [code for code in NEEDED_FOR.get(state, ()) if not (row | changes)[code]]
        if missing:
            raise RefusalError(
                f"Missing mandatory attribute(s) for applying the stimulus: {', '.join(missing)}.",
                objects=True,
            )
        self.enter(state, row, changes)

    def enter(self, state: str, row: Row, changes: Row) -> None:
        """Add the new state, and the dates that iTop sets with it, to ``changes``."""
        changes["status"] = state
        if state in DATED and (state != "assigned" or row["status"] in UNASSIGNED):
            changes[DATED[state]] = self.store.now()
        if state == "resolved":
            changes["time_spent"] = str(self.store.seconds_since(row["start_date"]))

    def act(self, ticket: Row, entry: Entry, stimulus: str, fields: Mapping[str, Any]) -> None:
        """Save a ticket once, as a person does in the console or, with the profile Portal user, in the portal.

        Raise RefusalError.
        """
        in_portal = accounts.PORTAL in accounts.profiles_of(self.store, self.user)
        if in_portal:
            contact = self.store.load("Person", self.user["contactid"]) or {}
            is_of_own_organization = ticket["org_id"] == contact.get("org_id")
            is_offered = (
                entry.log == "public_log"
                and stimulus in ("", *PORTAL_STIMULI)
                and set(fields) <= PORTAL_FIELDS
            )
            if not (is_of_own_organization and is_offered):
                raise RefusalError("The portal does not offer this", 1)  # guess
        else:
            self.allow("modifying", ticket["finalclass"])
        message = entry.html + "".join(files.show_inline(self, ticket, each) for each in entry.pictures)
        sent = dict(fields)
        if message:
            sent[entry.log] = message
        changes = self.taken(ticket, sent)
        if stimulus:
            self.move(ticket, changes, stimulus)
        name = caselog.author_name(self.store, self.user)
        # All of this belongs to one change. The console adds files before the entry, the portal after it (recordings
        # 225 and 236).
        if in_portal:
            self.write(ticket, changes, name)
        for file in entry.files:
            files.attach(self, ticket, file, name)
        if not in_portal:
            self.write(ticket, changes, name)

    def delete(self) -> dict[str, Any]:
        class_name, key, comment = self.class_name(), self.mandatory("key"), str(self.mandatory("comment"))
        self.allow("deleting", class_name)
        rows = self.objects(class_name, key)
        simulate = bool(self.request.get("simulate"))
        references = self.references_to(rows)
        codes = ["id", "friendlyname"]
        objects: dict[str, Any] = {_name(row): self.shown(row, "", "", codes) for row in rows}
        for name, (holder, key_attribute) in references.items():
            reset = f"Reset external keys: {key_attribute.label}"
            objects[name] = self.shown(holder, reset, "", codes) | {"code": 5}
        if not simulate:
            for row in rows:
                names = {"fclass": row["finalclass"], "fname": row["friendlyname"]}
                root = row | {"finalclass": self.model.root(row["finalclass"])}  # recording 265
                history = [] if row["finalclass"] in WITHOUT_HISTORY else [("CMDBChangeOpDelete", names)]
                self.commit(comment, root, history, partial(self.store.erase, row))
            with self.store.transaction():
                for holder, key_attribute in references.values():
                    self.store.write_row(holder, {key_attribute.code: 0})
        message = f"{'SIMULATING: ' if simulate else ''}Deleted: {len(rows)}"
        message += f" plus (for DB integrity) {len(references)}" if references else ""
        return {"code": 0, "message": message, "objects": objects or None}

    def references_to(self, rows: list[Row]) -> dict[str, tuple[Row, Attribute]]:
        """Return the other objects that refer to these, by name, each with its first external key that does so."""
        names = {_name(row) for row in rows}
        references: dict[str, tuple[Row, Attribute]] = {}
        for row in rows:
            for holder_class, attribute in self.model.keys_to(row["finalclass"]):
                query = f"SELECT `{holder_class}` WHERE `{attribute.code}` = {int(row['id'])}"
                for holder in self.store.find(query)[1]:
                    is_history = self.model.is_a(holder["finalclass"], "CMDBChangeOp")
                    if not is_history and _name(holder) not in names:
                        references.setdefault(_name(holder), (holder, attribute))
        return references

    # --- parts of a request

    def mandatory(self, name: str) -> Any:
        value = self.request.get(name)
        if value is None:
            raise RefusalError(f"Error: Missing parameter '{name}'")
        return value

    def class_name(self) -> str:
        name = self.mandatory("class")
        if not isinstance(name, str) or name not in self.model:
            raise RefusalError(f"Error: class: '{name}' is not a valid class'")
        return name

    def fields(self) -> Mapping[str, Any]:
        fields = self.mandatory("fields")
        return fields if isinstance(fields, Mapping) else {}

    def output_fields(self, class_name: str) -> list[str] | str:
        wanted = self.request.get("output_fields") or "*"
        if wanted in ("*", "*+"):
            return str(wanted)
        codes = [code.strip() for code in str(wanted).split(",")]
        for code in codes:
            if code not in self.model.attributes(class_name):
                raise RefusalError(f"Error: output_fields: invalid attribute code '{code}'")
        return codes

    def allow(self, action: str, class_name: str) -> None:
        if not accounts.may(self.store, self.user, action, class_name):
            raise RefusalError(
                f"The current user does not have enough permissions for {action} data of class {class_name}",
                1,
                objects=True,
            )

    # --- finding

    def objects(self, class_name: str, key: Any) -> list[Row]:
        """Return all objects that a key (an id, criteria or OQL) selects and that the account may see."""
        if isinstance(key, Mapping):
            found = self.store.find(self.criteria_query(class_name, key))[1]
        elif _is_number(key):
            row = self.store.load(class_name, int(key))
            found = [row] if row else []
        elif isinstance(key, str):
            found = self.store.find(key, self.arguments)[1]
        else:
            raise RefusalError("Error: Wrong format for key")
        return [row for row in found if accounts.sees(row, self.organizations)]

    def object(self, class_name: str, key: Any) -> Row:
        """Return the one object that a key selects."""
        found = self.objects(class_name, key)
        if len(found) == 1:
            return found[0]
        if _is_number(key):
            raise RefusalError(f"Error: Invalid object {class_name}::{int(key)}")
        if isinstance(key, Mapping):
            how = "with criteria: " + ", ".join(
                f"{code}: {_plain(value)} ({_plain(value)})" for code, value in key.items()
            )
        else:
            how = f"for query: {key}"
        if not found:
            raise RefusalError(f"Error: No item found {how}")
        raise RefusalError(f"Error: Several items found ({len(found)}) {how}")

    def criteria_query(self, class_name: str, criteria: Mapping[str, Any]) -> str:
        known = self.model.attributes(class_name)
        conditions = []
        for code, value in criteria.items():
            if code not in known:
                raise RefusalError(f"Error: {code}: Unknown attribute")
            if known[code].kind == "key":
                value = self.external_key(code, known[code].target, value)
            escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
            conditions.append(f"`{code}` = '{escaped}'")
        return f"SELECT `{class_name}`" + (f" WHERE {' AND '.join(conditions)}" if conditions else "")

    def external_key(self, code: str, target: str, sent: Any) -> int:
        """Return the id for the value that was sent for an external key: an id, criteria or OQL.

        The text of a refusal begins with the attribute's code. The value finds only objects that the account may read.
        So an account that is not an Administrator cannot set another user for a file (seen on iTop 3.3).
        """
        if sent in (None, "", 0, "0"):
            return 0
        if isinstance(sent, str) and sent.isalpha():
            raise RefusalError(
                f"Error: {code}: Expecting an OQL query - found 'FieldOqlExpression' at 0 in '{sent}'"
            )
        try:
            if not accounts.may(self.store, self.user, "reading", target):
                unseen = (
                    f"Invalid object {target}::{sent}"
                    if _is_number(sent)
                    else f"No item found for query: {sent}"
                )
                raise RefusalError(f"Error: {unseen}")
            return int(self.object(target, sent)["id"])
        except RefusalError as refusal:
            text = refusal.answer["message"].removeprefix("Error: ")
            raise RefusalError(f"Error: {code}: {text}", refusal.answer["code"]) from None
        except OqlError as error:
            raise RefusalError(f"Error: {code}: {error}") from None

    # --- writing

    def taken(self, row: Row, fields: Mapping[str, Any]) -> Row:
        """Return the values to store for the fields that were sent. Raise RefusalError at the first invalid one."""
        known = self.model.attributes(row["finalclass"])
        found: Row = {}
        for code, sent in fields.items():
            attribute = known.get(code)
            if attribute is None or code in ("id", "finalclass"):
                raise RefusalError(f"Error: {code}: Unknown attribute")
            if not attribute.writable:
                raise RefusalError(f"Error: {code}: Attribute {code} is read-only")  # guess
            try:
                if attribute.kind == "key":
                    found[code] = self.external_key(code, attribute.target, sent)
                elif attribute.kind == "log":
                    found[code] = caselog.applied(self.store, self.user, self.administrator, row[code], sent)
                else:
                    found[code] = values.taken(attribute, sent, self.store)
            except caselog.LogError as error:
                raise RefusalError(f"Error: {code}: {error}", error.code) from None
            except values.FieldError as error:
                raise RefusalError(f"Error: {code}: {error}") from None
        return found

    def check(self, row: Row, attributes: Mapping[str, Attribute], comment: str) -> None:
        """Raise RefusalError if iTop or its database refuses one of these attributes, or the comment."""
        self.refuse(
            row["finalclass"],
            row["id"],
            {
                attribute: values.issue(attribute, row.get(code))
                for code, attribute in attributes.items()
                if attribute.writable
            },
        )
        userinfo = self.model.attributes("CMDBChange")["userinfo"]
        self.refuse("CMDBChange", None, {userinfo: values.issue(userinfo, comment)})
        written = {code: row[code] for code, attribute in attributes.items() if attribute.stored}
        try:
            database.check(attributes, written | {"userinfo": comment}, self.operations.character_set)
        except database.DatabaseError as error:
            raise _database_refusal(error, row, written) from None

    def check_size(self, row: Row) -> None:
        """Raise CrashError or RefusalError for a file that PHP or the database cannot hold (recording 258)."""
        size = len(base64.b64decode(self.store.file(row, "contents")["data"]))
        limit = self.operations.memory_limit
        if size * files.MEMORY_FOR_A_BYTE > limit:
            raise CrashError(f"Allowed memory size of {limit // MEGABYTE}M exhausted")
        if size >= self.operations.max_allowed_packet:
            gone = "MySQL server has gone away"
            details = f"query = ROLLBACK, mysql_errno = 2006, mysql_error = {gone}"
            raise RefusalError(f"Error: {gone}: {details}", 2006)

    def refuse(self, class_name: str, object_id: int | None, reasons: Mapping[Attribute, str]) -> None:
        """Raise RefusalError if one of the attributes has a reason (not ""), in the account's language."""
        language = str(self.user["language"])
        issues = [
            wording.refused_value(self.model.version, language, attribute, reason)
            for attribute, reason in reasons.items()
            if reason
        ]
        if issues:
            listed = "; ".join(f"{number}=>{text}" for number, text in enumerate(issues))
            number = -1 if object_id is None else object_id
            raise RefusalError(
                f"Error: {', '.join(issues)}: issues = {{{listed}}}, class = {class_name}, id = {number}"
            )

    def write(self, row: Row, sent: Row, comment: str) -> None:
        """Write the values that differ from ``row``, and record them in the history.

        With ``lost_updates``, ``row`` was read without a lock, as in iTop: this call overwrites an entry that another
        call has added since then. The pause gives the other call time to add it.
        """
        known = self.model.attributes(row["finalclass"])
        changes = {code: value for code, value in sent.items() if value != row.get(code)}
        if not changes:
            return
        self.check(row | changes, {code: known[code] for code in changes}, comment)
        if self.operations.lost_updates and any(known[code].kind == "log" for code in changes):
            self.operations.pause()
        self.save(row, changes, comment)

    def save(self, row: Row, changes: Row, comment: str) -> None:
        """Save a row. Before that, copy what iTop copies from a parent request to its child requests."""
        if row["finalclass"] == "UserRequest":
            self.copy_to_children(row, changes, comment)
        changes = dict(changes)
        if "last_update" in self.model.attributes(row["finalclass"]):
            changes.setdefault("last_update", self.store.now())
        with self.operations.row_lock(row):
            history = self.store.operations(row, self.store.computed(row | changes))
            self.commit(comment, row, history, lambda: self.store.write_row(row, changes))

    def copy_to_children(self, row: Row, changes: Row, comment: str) -> None:
        """Change the child requests as iTop does when their parent request is saved.

        Resolve them if the parent is being resolved, and copy the newest entry of each changed log to theirs. `save`
        does the same for their own children.
        """
        # Without the second condition, a request that is its own parent would be copied to itself without end.
        query = f"SELECT UserRequest WHERE parent_request_id = {int(row['id'])} AND id != {int(row['id'])}"
        if changes.get("status") == "resolved":
            for child in self.store.find(query)[1]:
                if child["status"] not in ("resolved", "closed"):
                    self.save(child, self.resolution(child, row | changes), comment)
        for code in ("public_log", "private_log"):
            entries = json.loads(changes.get(code) or "[]")
            if entries:
                newest = {"message": entries[-1]["message"], "format": entries[-1]["format"]}
                # Read the children again, because the steps above have changed them.
                for child in self.store.find(query)[1]:
                    copy = {"add_item": newest}
                    log = caselog.applied(self.store, self.user, self.administrator, child[code], copy)
                    self.save(child, {code: log}, comment)

    def resolution(self, child: Row, parent: Row) -> Row:
        """Return the values that a child request gets when its parent request is resolved."""
        changes = {code: parent[code] for code in NEEDED_FOR["resolved"] if not child[code]}
        if not (child["team_id"] and child["agent_id"]):
            changes |= {code: parent[code] for code in ("team_id", "agent_id")}
        link = f"[[UserRequest:{parent['id']}|{parent['ref']}]]"
        changes["solution"] = f"<p>Automatically resolved from {link}</p>"
        if "ev_autoresolve" in TRANSITIONS[child["status"]]:
            self.enter("resolved", child, changes)
        return changes

    def commit(
        self, comment: str, row: Row, operations: list[tuple[str, Row]], write: Callable[[], Any]
    ) -> None:
        """Write an object and its history in one transaction.

        Date and numbers are taken before the transaction. So a later save can become visible earlier, as in iTop.
        """
        is_new = self.change is None and bool(operations)
        change = self.change or (self.store.take_number("CMDBChange") if operations else 0)
        date = self.store.now()
        numbers = [self.store.take_number("CMDBChangeOp") for _ in operations]
        if self.commit_after:
            time.sleep(self.commit_after)
        self.operations.before_commit()
        with self.store.transaction():
            is_creation = operations[:1] == [("CMDBChangeOpCreate", {})]
            if not is_creation and self.store.load(row["finalclass"], row["id"]) is None:
                raise RefusalError(f"Error: Invalid object {_name(row)}")
            write()
            if is_new:
                self.store.record_change(change, date, comment, self.user["id"], self.origin)
            for number, (kind, values_of_kind) in zip(numbers, operations, strict=True):
                self.store.record_op(kind, number, change, row, **values_of_kind)
        self.change = change or None

    # --- answering

    def shown(self, row: Row, message: str, class_name: str, codes: list[str] | str) -> dict[str, Any]:
        if isinstance(codes, str):
            extended = codes == "*+" or not self.model.is_a(row["finalclass"], class_name)
            shown_class = row["finalclass"] if extended else class_name
            fields = values.shown_all(self.store, row, shown_class, extended=codes == "*+")
        else:
            fields = {code: values.shown(self.store, row, code) for code in codes}
        return {
            "code": 0,
            "message": message,
            "class": row["finalclass"],
            "key": str(row["id"]),
            "fields": fields,
        }

    def written(self, row: Row, message: str, class_name: str, codes: list[str] | str) -> dict[str, Any]:
        return {
            "code": 0,
            "message": None,
            "objects": {_name(row): self.shown(row, message, class_name, codes)},
        }


def _file_refusal(error: database.DatabaseError, table: str, written: Row) -> RefusalError:
    """Return the refusal of a file by the database. Its text quotes the query with the file (recording 254)."""
    columns: Row = {}
    for code, value in written.items():
        if code == "contents":
            file = json.loads(value)
            content = base64.b64decode(file["data"]).decode("utf-8", "replace")
            columns |= {"contents_data": content, "contents_mimetype": file["mimetype"]}
            columns |= {"contents_filename": file["filename"], "contents_downloads_count": 0}
        elif code not in ("id", "finalclass", "friendlyname"):
            columns[code] = value
    names = ",".join(f"`{name}`" for name in columns)
    listed = ", ".join(
        str(value) if isinstance(value, int) else f"'{value or ''}'" for value in columns.values()
    )
    query = f"INSERT INTO `{table}` ({names}) VALUES ({listed})"
    return RefusalError(f"Error: Failed to issue SQL query: query = {query}, {error}", error.number)


def _name(row: Row) -> str:
    return f"{row['finalclass']}::{row['id']}"


def _is_number(value: Any) -> bool:
    return (isinstance(value, int | float) and not isinstance(value, bool)) or (
        isinstance(value, str) and re.fullmatch(r"\s*-?\d+\s*", value) is not None
    )


def _integer(value: Any, default: int) -> int:
    if value is None:
        return default
    return int(value) if _is_number(value) else 0


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping | list) else str(value)


def _database_refusal(error: database.DatabaseError, row: Row, written: Row) -> RefusalError:
    """Return the refusal of a value by the database. Its text quotes the query, and so the texts that people wrote."""
    if row["finalclass"] in WITHOUT_HISTORY:
        return _file_refusal(error, row["finalclass"].lower(), written)
    is_new = row["id"] is None
    pairs = ", ".join(f"`{code}` = '{value}'" for code, value in written.items())
    query = (
        f"INSERT INTO `ticket` SET {pairs}"
        if is_new
        else f"UPDATE `ticket` SET {pairs} WHERE `id` = {row['id']}"
    )
    text = f"Failed to issue SQL query: query = {query}, {error}"
    if is_new:
        return RefusalError(f"Error: {text}", error.number)
    name = f"id = {row['id']}, class = {row['finalclass']}"
    return RefusalError(f"Error: {text}: {name}, issues = {{0=>{text}}}")
