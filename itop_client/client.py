"""Client for iTop's REST/JSON interface. One call is one request; it returns a result or raises an ItopError.

https://www.itophub.io/wiki/page?id=latest:advancedtopics:rest_json

tests/recordings/itop contains numbered exchanges with a real iTop: list_operations 001, get 028 to 059, create 060 to
088, update 089 to 110, 121, 122, 127 and 128, apply_stimulus 111 to 119, delete 129 to 132.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO, Final, TypeAlias, TypeVar
from urllib.parse import urlsplit, urlunsplit

import requests

from . import http
from .errors import FileTooLargeError, ItopError, ItopNoResponseError, ItopUnreachableError
from .response import (
    ItopObject,
    classify,
    read_deleted,
    read_objects,
    read_operations,
    read_total,
    unexpected_response,
)
from .streams import DocumentSink, MultipartBody

REST_PATH: Final = "/webservices/rest.php"
REST_VERSION: Final = "1.3"
MAX_READ_ATTEMPTS: Final = 3

OnCall: TypeAlias = Callable[[str, str, float, str], None]
Key: TypeAlias = int | str | Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class ServerInfo:
    """Facts about a server from its response to `list_operations`.

    `seconds` is how long the call took, and `version` is the version of the REST interface. `date` is the time of the
    server's clock, and `certificate_end` is when its certificate expires: both in seconds since 1970, None if unknown.
    """

    seconds: float
    version: str
    operations: tuple[str, ...]
    date: float | None
    certificate_end: float | None


@dataclass(frozen=True)
class Found:
    """One page of the objects found. `total` is the number of matches on all pages."""

    total: int
    objects: tuple[ItopObject, ...] = ()

    def __iter__(self) -> Iterator[ItopObject]:
        return iter(self.objects)

    def __len__(self) -> int:
        return len(self.objects)


class Client:
    """Client for the iTop at `url` (its base address) with one account: `token`, or `user` and `password`.

    `deadline` is the time limit of a call in seconds (wall-clock), unless the call has its own. Threads can share a
    client. No call is repeated; `repeating_reads` returns a client that repeats reads. If the address is invalid or
    contains a password, each call raises ItopUnreachableError.

    `on_call(operation, class_name, seconds, outcome)` is called after each call. `outcome` is "ok" or the name of the
    error's class. `on_call` must not raise.
    """

    def __init__(  # noqa: PLR0913 - settings, all by keyword
        self,
        url: str,
        *,
        token: str = "",
        user: str = "",
        password: str = "",
        session: requests.Session | None = None,
        user_agent: str = http.DEFAULT_USER_AGENT,
        deadline: float = 10.0,
        on_call: OnCall | None = None,
    ) -> None:
        self.url, self._url_problem = _parse_url(url)
        self.deadline = deadline
        self.on_call = on_call
        self._token = token.strip()
        self._user = user
        self._password = password
        self._session = session or http.open_session(user_agent=user_agent)
        self.repeats_reads = False

    def repeating_reads(self) -> Client:
        """Return a client with the same account that repeats a `get` without a response, within the call's deadline."""
        client = copy.copy(self)
        client.repeats_reads = True
        return client

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def get(  # noqa: PLR0913 - the parameters of core/get
        self,
        class_name: str,
        key: Key,
        *,
        fields: Iterable[str] = ("friendlyname",),
        limit: int | None = None,
        page: int = 1,
        deadline: float | None = None,
    ) -> Found:
        """Return the objects that match `key`, which is an id, OQL, or criteria such as {"ref": "R-000042"}.

        For an id that does not exist, return no objects. `limit` is the number of objects on a page; pages start at 1.
        """
        request = {"class": class_name, "key": _to_json(key), "output_fields": _comma_separated(fields)}
        if limit is not None:
            request |= {"limit": str(limit), "page": str(page)}
        time_limit = http.Deadline(self.deadline if deadline is None else deadline)

        def read() -> dict[str, Any]:
            return self._call("core/get", request, time_limit.remaining())[0]

        envelope = retry_read(read, ItopNoResponseError) if self.repeats_reads else read()
        total, objects = read_total(envelope), read_objects(envelope)
        # Writes depend on whether something was found, so a response that contradicts itself is an error.
        must_contain_objects = total > 0 and page == 1 and limit != 0
        if must_contain_objects and not objects:
            raise unexpected_response(f"it found {total} objects and contains none")
        return Found(total, objects)

    def get_document(  # noqa: PLR0913 - which document, and where to write it
        self,
        class_name: str,
        key: int,
        attribute: str,
        *,
        into: DocumentSink,
        max_bytes: int,
        deadline: float | None = None,
    ) -> Found:
        """Write the file in this attribute into the sink. Return the object with this id, if it exists.

        The returned attribute contains the file's name and type, but not its data. Raise FileTooLargeError if the
        response has more than `max_bytes`.
        """
        request = {"class": class_name, "key": key, "output_fields": attribute}
        envelope = self._call("core/get", request, deadline, into=into, max_bytes=max_bytes)[0]
        return Found(read_total(envelope), read_objects(envelope))

    def download(
        self, path: str, *, into: http.Sink, max_bytes: int, deadline: float | None = None
    ) -> http.Response:
        """Write what iTop sends for `path` (such as "/pages/x.php?id=1") into the sink, whatever the HTTP status.

        The request contains no login, and a redirect is not followed. Raise FileTooLargeError if the body has more than
        `max_bytes`.
        """
        try:
            return self._exchange("GET", path, deadline, into=into, max_bytes=max_bytes)
        except ItopError as error:
            error.redact((self._token, self._password))
            raise

    def create(  # noqa: PLR0913 - the parameters of core/create
        self,
        class_name: str,
        fields: Mapping[str, Any],
        *,
        comment: str,
        output_fields: Iterable[str] = ("friendlyname",),
        file: BinaryIO | None = None,
        deadline: float | None = None,
    ) -> ItopObject:
        """Create an object and return it. Its history shows `comment` as the author.

        `file` is an open file on disk. One of the fields must contain streams.FILE_DATA: the base64 of the file is sent
        in its place, as multipart/form-data.
        """
        request = {"class": class_name, "fields": dict(fields), "comment": comment}
        return self._write("core/create", request, output_fields, deadline, file)

    def update(  # noqa: PLR0913 - the parameters of core/update
        self,
        class_name: str,
        key: Key,
        fields: Mapping[str, Any],
        *,
        comment: str,
        output_fields: Iterable[str] = ("friendlyname",),
        deadline: float | None = None,
    ) -> ItopObject:
        """Update the one object that `key` matches and return it."""
        request = {"class": class_name, "key": _to_json(key), "fields": dict(fields), "comment": comment}
        return self._write("core/update", request, output_fields, deadline)

    def apply_stimulus(  # noqa: PLR0913 - the parameters of core/apply_stimulus
        self,
        class_name: str,
        key: Key,
        stimulus: str,
        fields: Mapping[str, Any],
        *,
        comment: str,
        output_fields: Iterable[str] = ("friendlyname",),
        deadline: float | None = None,
    ) -> ItopObject:
        """Apply a stimulus (a transition to another state) to the one object that `key` matches, and return the object.

        `fields` are the attributes that the transition requires.
        """
        request = {
            "class": class_name,
            "key": _to_json(key),
            "stimulus": stimulus,
            "fields": dict(fields),
            "comment": comment,
        }
        return self._write("core/apply_stimulus", request, output_fields, deadline)

    def delete(self, class_name: str, key: Key, *, comment: str, deadline: float | None = None) -> int:
        """Delete the objects that `key` matches and return how many were deleted.

        iTop's data model decides what happens to objects that refer to the deleted ones. iTop often deletes them, too.
        """
        request = {"class": class_name, "key": _to_json(key), "comment": comment}
        return read_deleted(self._call("core/delete", request, deadline)[0])

    def list_operations(self, *, deadline: float | None = None) -> tuple[str, ...]:
        """Return this iTop's operations, such as "core/get". This is the cheapest call with a login."""
        return read_operations(self._call("list_operations", {}, deadline)[0])

    def server_info(self, *, deadline: float | None = None) -> ServerInfo:
        """Return facts about the server from its response to `list_operations`."""
        start = time.monotonic()
        envelope, response = self._call("list_operations", {}, deadline)
        return ServerInfo(
            seconds=time.monotonic() - start,
            version=str(envelope.get("version", "")),
            operations=read_operations(envelope),
            date=_parse_date(response.headers.get("Date", "")),
            certificate_end=response.certificate_end,
        )

    def _write(
        self,
        operation: str,
        request: dict[str, Any],
        output_fields: Iterable[str],
        deadline: float | None,
        file: BinaryIO | None = None,
    ) -> ItopObject:
        request |= {"output_fields": _comma_separated(output_fields)}
        objects = read_objects(self._call(operation, request, deadline, file=file)[0])
        if len(objects) != 1:
            raise unexpected_response(f"it contains {len(objects)} objects instead of the one written")
        return objects[0]

    def _call(  # noqa: PLR0913 - a request, and the streams of both directions
        self,
        operation: str,
        request: Mapping[str, Any],
        deadline: float | None,
        *,
        file: BinaryIO | None = None,
        into: DocumentSink | None = None,
        max_bytes: int = http.MAX_RESPONSE_BYTES,
    ) -> tuple[dict[str, Any], http.Response]:
        """Execute an operation. Return the envelope of the response, and the HTTP response."""
        start = time.monotonic()
        outcome = "ok"
        try:
            headers, data = self._encode({"operation": operation, **request}, file)
            response = self._exchange(
                "POST", REST_PATH, deadline, headers=headers, data=data, into=into, max_bytes=max_bytes
            )
            body = response.body if into is None else into.envelope
            return classify(response.status, response.headers.get("Content-Type", ""), body), response
        except ItopError as error:
            outcome = type(error).__name__
            error.redact((self._token, self._password))
            raise
        finally:
            if self.on_call is not None:
                seconds = time.monotonic() - start
                self.on_call(operation, str(request.get("class", "")), seconds, outcome)

    def _encode(
        self, request: Mapping[str, Any], file: BinaryIO | None
    ) -> tuple[dict[str, str], Mapping[str, str | bytes] | MultipartBody]:
        headers = {}
        form: dict[str, str] = {"version": REST_VERSION}
        if self._token:
            headers["Auth-Token"] = self._token
        elif self._user:
            form |= {"auth_user": self._user, "auth_pwd": self._password}
        if file is not None:
            body = MultipartBody(form, request, file)
            return headers | {"Content-Type": body.content_type}, body
        # ensure_ascii=False keeps the request small, because web servers limit its size. URL-encoded, a Cyrillic
        # letter has six bytes; escaped as \u0416, it would have eight.
        json_data = json.dumps(request, allow_nan=False, ensure_ascii=False).encode("utf-8", "replace")
        return headers, {**form, "json_data": json_data}

    def _exchange(self, method: str, path: str, deadline: float | None, **options: Any) -> http.Response:
        """Call `http.exchange` with these options, and raise its errors as ItopErrors."""
        if self._url_problem:
            raise ItopUnreachableError(self._url_problem)
        try:
            return http.exchange(
                self._session,
                method,
                self.url + path,
                deadline=self.deadline if deadline is None else deadline,
                **options,
            )
        except http.HttpUnreachableError as error:
            raise ItopUnreachableError(str(error), certificate_problem=error.certificate_problem) from error
        except http.HttpNoResponseError as error:
            is_download = options.get("into") is not None
            if is_download and isinstance(error, http.HttpTooLargeError):
                raise FileTooLargeError(str(error)) from error
            raise ItopNoResponseError(str(error)) from error


def retry_read(read: Callable[[], T], errors: type[ItopError] = ItopError) -> T:
    """Call `read`, and again after one of these `errors` whose `retry` is true: at most MAX_READ_ATTEMPTS times."""
    for _ in range(MAX_READ_ATTEMPTS - 1):
        try:
            return read()
        except errors as error:
            if not error.retry:
                raise
    return read()


def _parse_url(url: str) -> tuple[str, str]:
    """Return the base address without credentials, and a sentence about what is wrong with `url` ("" if valid)."""
    address = url.strip().rstrip("/").removesuffix(REST_PATH).rstrip("/")
    invalid = "iTop's address must look like https://itop.example.com/itop"
    try:
        parts = urlsplit(address)
        host, base = parts.hostname, urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    except ValueError:
        return "", invalid
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        return base, invalid
    # Addresses appear in logs, errors and pages, so a password in an address would not stay secret.
    if "@" in parts.netloc:
        return base, "iTop's address must not contain a user or a password"
    return base, ""


def _parse_date(header: str) -> float | None:
    try:
        return parsedate_to_datetime(header).timestamp()
    except ValueError:
        return None


def _to_json(key: Key) -> int | str | dict[str, Any]:
    return dict(key) if isinstance(key, Mapping) else key


def _comma_separated(fields: Iterable[str]) -> str:
    return fields if isinstance(fields, str) else ",".join(fields)
