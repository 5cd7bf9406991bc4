"""A client of iTop's REST/JSON: one call, one exchange, one answer or one of errors.py.

https://www.itophub.io/wiki/page?id=latest:advancedtopics:rest_json
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn
from urllib.parse import urlsplit, urlunsplit

import requests

from . import transport
from .errors import ItopError, ItopNoAnswer, ItopTrouble, ItopUnreachable, classify

REST_PATH = "/webservices/rest.php"
REST_VERSION = "1.3"

OnCall = Callable[[str, str, float, str], None]


@dataclass(frozen=True)
class ItopObject:
    """An object as iTop answered it: only the fields that were asked for, all scalars being text."""

    class_name: str
    id: int
    fields: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def text(self, code: str) -> str:
        """The attribute as text; "" when it is null, absent, or not a scalar (a log, a set of links)."""
        value = self.fields.get(code)
        return str(value) if isinstance(value, (str, int, float)) else ""

    def integer(self, code: str) -> int:
        """The attribute as a number, such as an external key; 0 (iTop's "none") when it is not one."""
        try:
            return int(self.text(code))
        except ValueError:
            return 0


@dataclass(frozen=True)
class Greeting:
    """How an iTop answered to the cheapest call: what it can do, and what stood around the answer.

    `seconds` the call took; `version` of its REST interface; `date` as the server's clock had it, in seconds since
    1970, and `certificate_end`; None where the answer did not say.
    """

    seconds: float
    version: str
    verbs: tuple[str, ...]
    date: float | None
    certificate_end: float | None


@dataclass(frozen=True)
class Found:
    """One page of what was found; `total` counts all matches, whatever the limit."""

    total: int
    objects: tuple[ItopObject, ...] = ()

    def __iter__(self) -> Iterator[ItopObject]:
        return iter(self.objects)

    def __len__(self) -> int:
        return len(self.objects)


class Client:
    """Speaks to the iTop at `url` (its base address) as one account: `token`, else `user` and `password`.

    `deadline` is wall time of one call in seconds, for each call that brings none of its own. Safe to share
    between threads. No call is ever repeated. An address that is none, or holds a password, makes each call
    raise ItopUnreachable. `on_call(operation, class_name, seconds, outcome)` hears of each call once it is
    over; outcome is "ok" or the error's class name; it must not raise.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        user: str = "",
        password: str = "",
        session: requests.Session | None = None,
        deadline: float = 10.0,
        on_call: OnCall | None = None,
    ) -> None:
        self.url, self._misaddressed = _read_address(url)
        self.deadline = deadline
        self.on_call = on_call
        self._token = token.strip()
        self._user = user
        self._password = password
        self._session = session or transport.open_session()
        self._calls = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    @property
    def calls(self) -> int:
        """How many exchanges there were, the failed ones included."""
        return self._calls

    def get(
        self,
        class_name: str,
        key: int | str | Mapping[str, Any],
        *,
        fields: Iterable[str] = ("friendlyname",),
        limit: int | None = None,
        page: int = 1,
        deadline: float | None = None,
    ) -> Found:
        """The objects that `key` (an id, OQL or criteria) stands for; an id that does not exist finds none.

        Pages count from 1. Recordings 028 to 059.
        """
        request = {"class": class_name, "key": _plain(key), "output_fields": _comma(fields)}
        if limit is not None:
            request |= {"limit": str(limit), "page": str(page)}
        envelope = self._call("core/get", request, deadline)
        objects = _objects(envelope)
        total = re.fullmatch(r"Found: (\d{1,18})", str(envelope.get("message")))
        # Nothing found is a statement that decides over writing: it must have been made.
        if total is None or (not objects and int(total[1]) > 0 and page == 1 and limit != 0):
            _strange("it says neither what nor how much it found")
        return Found(int(total[1]), objects)

    def create(
        self,
        class_name: str,
        fields: Mapping[str, Any],
        *,
        comment: str,
        output_fields: Iterable[str] = ("friendlyname",),
        deadline: float | None = None,
    ) -> ItopObject:
        """The object as created. `comment` stands in its history as who did it. Recordings 060 to 088."""
        request = {"class": class_name, "fields": dict(fields)}
        return self._write("core/create", request, comment, output_fields, deadline)

    def update(
        self,
        class_name: str,
        key: int | str | Mapping[str, Any],
        fields: Mapping[str, Any],
        *,
        comment: str,
        output_fields: Iterable[str] = ("friendlyname",),
        deadline: float | None = None,
    ) -> ItopObject:
        """The object as updated.

        `key` must stand for exactly one. Recordings 089 to 110, 121, 122, 127, 128.
        """
        request = {"class": class_name, "key": _plain(key), "fields": dict(fields)}
        return self._write("core/update", request, comment, output_fields, deadline)

    def apply_stimulus(
        self,
        class_name: str,
        key: int | str | Mapping[str, Any],
        stimulus: str,
        fields: Mapping[str, Any],
        *,
        comment: str,
        output_fields: Iterable[str] = ("friendlyname",),
        deadline: float | None = None,
    ) -> ItopObject:
        """The object in its new state; `fields` are what the stimulus asks for. Recordings 111 to 119."""
        request = {"class": class_name, "key": _plain(key), "stimulus": stimulus, "fields": dict(fields)}
        return self._write("core/apply_stimulus", request, comment, output_fields, deadline)

    def list_operations(self, *, deadline: float | None = None) -> tuple[str, ...]:
        """The verbs this iTop knows, such as "core/get".

        The cheapest call that needs a login. Recording 001.
        """
        return _verbs(self._call("list_operations", {}, deadline))

    def greet(self, *, deadline: float | None = None) -> Greeting:
        """The same call, for whoever wants to know how this iTop is: see `Greeting`."""
        began = time.monotonic()
        envelope, answer = self._converse("list_operations", {}, deadline)
        return Greeting(
            seconds=time.monotonic() - began,
            version=str(envelope.get("version", "")),
            verbs=_verbs(envelope),
            date=_date(answer.headers.get("Date", "")),
            certificate_end=answer.certificate_end,
        )

    def _write(
        self,
        operation: str,
        request: dict[str, Any],
        comment: str,
        output_fields: Iterable[str],
        deadline: float | None,
    ) -> ItopObject:
        request |= {"comment": comment, "output_fields": _comma(output_fields)}
        objects = _objects(self._call(operation, request, deadline))
        if len(objects) != 1:
            _strange(f"it names {len(objects)} objects instead of the one written")
        return objects[0]

    def _call(self, operation: str, request: Mapping[str, Any], deadline: float | None) -> dict[str, Any]:
        return self._converse(operation, request, deadline)[0]

    def _converse(
        self, operation: str, request: Mapping[str, Any], deadline: float | None
    ) -> tuple[dict[str, Any], transport.Answer]:
        with self._lock:
            self._calls += 1
        began = time.monotonic()
        outcome = "ok"
        try:
            answer = self._exchange({"operation": operation, **request}, deadline)
            return classify(answer.status, answer.headers.get("Content-Type", ""), answer.body), answer
        except ItopError as error:
            outcome = type(error).__name__
            error.hide((self._token, self._password))
            raise
        finally:
            if self.on_call is not None:
                seconds = time.monotonic() - began
                self.on_call(operation, str(request.get("class", "")), seconds, outcome)

    def _exchange(self, request: Mapping[str, Any], deadline: float | None) -> transport.Answer:
        if self._misaddressed:
            raise ItopUnreachable(self._misaddressed)
        form = {"version": REST_VERSION, "json_data": json.dumps(request, allow_nan=False)}
        headers = {}
        if self._token:
            headers["Auth-Token"] = self._token
        elif self._user:
            form |= {"auth_user": self._user, "auth_pwd": self._password}
        try:
            return transport.exchange(
                self._session,
                "POST",
                self.url + REST_PATH,
                deadline=self.deadline if deadline is None else deadline,
                headers=headers,
                data=form,
            )
        except transport.Unreachable as error:
            raise ItopUnreachable(str(error)) from error
        except transport.NoAnswer as error:
            raise ItopNoAnswer(str(error)) from error


def _read_address(url: str) -> tuple[str, str]:
    """The address to use and to show, and what is wrong with it ("" when nothing is)."""
    address = url.strip().rstrip("/").removesuffix(REST_PATH).rstrip("/")
    try:
        parts = urlsplit(address)
        host, shown = parts.hostname, urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    except ValueError:
        host, shown = None, ""
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        return shown, "iTop's address must look like https://itop.example.com/itop"
    # Addresses are shown in logs, errors and pages; a password in one could not be kept.
    if "@" in parts.netloc:
        return shown, "iTop's address must not hold a user or a password"
    return shown, ""


def _verbs(envelope: Mapping[str, Any]) -> tuple[str, ...]:
    operations = envelope.get("operations")
    if not isinstance(operations, list):
        _strange("it lists no operations")
    return tuple(str(one["verb"]) for one in operations if isinstance(one, dict) and "verb" in one)


def _date(header: str) -> float | None:
    try:
        return parsedate_to_datetime(header).timestamp()
    except ValueError:
        return None


def _plain(key: int | str | Mapping[str, Any]) -> int | str | dict[str, Any]:
    return dict(key) if isinstance(key, Mapping) else key


def _comma(fields: Iterable[str]) -> str:
    return fields if isinstance(fields, str) else ",".join(fields)


def _objects(envelope: Mapping[str, Any]) -> tuple[ItopObject, ...]:
    objects = envelope.get("objects")
    if objects is None:
        return ()
    if not isinstance(objects, dict):
        _strange("its objects are not a list by name")
    return tuple(_object(value) for value in objects.values())


def _object(value: object) -> ItopObject:
    if not isinstance(value, dict) or not isinstance(value.get("class"), str):
        _strange("one of its objects has no class")
    if value.get("code", 0) != 0:
        _strange("one of its objects has an error of its own")
    key, fields = value.get("key"), value.get("fields")
    if not isinstance(key, (str, int)) or not re.fullmatch(r"\d{1,18}", str(key)):
        _strange("one of its objects has no number")
    # PHP writes an empty map as an empty list.
    if not fields and not isinstance(fields, dict):
        fields = {}
    if not isinstance(fields, dict):
        _strange("one of its objects has no fields")
    return ItopObject(value["class"], int(key), fields)


def _strange(what: str) -> NoReturn:
    raise ItopTrouble(f"iTop's answer makes no sense: {what}")
