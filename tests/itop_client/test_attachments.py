"""Files: what is sent, the five ways of saying "too large", and reading piece by piece."""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itop_client import (
    Attached,
    AttachmentFile,
    Client,
    FileOwner,
    FileTooLargeError,
    InvalidValueError,
    ItopError,
    ItopLoginError,
    ItopNoResponseError,
    ItopPermissionError,
    ItopUnavailableError,
    ObjectNotFoundError,
    OutOfResourcesError,
    ProblemKind,
    UnclassifiedError,
    attach,
    create_inline_image,
    delete_attachments,
    find_attachments,
    list_attachments,
    open_session,
    read_attachment,
    read_inline_image,
)
from itop_client.streams import DocumentSink, FileSink

from .recordings import FILES_FOLDER, TOKEN, Recording, found, ok, recording, refused
from .socket_server import SocketServer, http_response, serving

TICKET = FileOwner("UserRequest", 1016, 4)
TEMP_ID = "Intercom attachment 37358198341/1"
NAME = 'Écran "1"; 日本.png'
CREATED = ok(("Attachment", 5, {"id": "5"}))
OPERATIONS = {"code": 0, "version": "1.3", "operations": [{"verb": "core/get"}]}
LARGE = 600_000
NGINX_413 = http_response(b"<html>413</html>", status="413 Request Entity Too Large")
OUT_OF_MEMORY = http_response(
    b"<p>iTop: Allowed memory size of 128M exhausted, contact your administrator</p>", status="500 Error"
)


def file_recording(name: str) -> Recording:
    return recording(name, FILES_FOLDER)


class FakeItop:
    """Sends the queued responses, whole HTTP responses or envelopes, and shows what was sent."""

    def __init__(self) -> None:
        self.queue: list[bytes] = []
        self.server: SocketServer
        self.served = threading.Event()

    def respond(self, *responses: bytes | dict[str, Any]) -> None:
        for response in responses:
            if isinstance(response, dict):
                # As PHP writes it: slashes are escaped.
                text = json.dumps(response, separators=(",", ":")).replace("/", "\\/")
                response = http_response(text.encode())
            self.queue.append(response)

    def serve(self, server: SocketServer, connection: socket.socket) -> None:
        response = self.queue.pop(0)
        self.served.set()
        connection.sendall(response)

    def form(self, number: int = 0) -> dict[str, str]:
        """Return the fields of a request of multipart/form-data."""
        message = BytesParser().parsebytes(self.server.requests[number].partition(b"\r\n")[2])
        fields: dict[str, str] = {}
        for part in message.get_payload():
            value = part.get_payload(decode=True)  # type: ignore[union-attr]
            fields[str(part.get_param("name", header="Content-Disposition"))] = value.decode()  # type: ignore[union-attr]
        return fields

    def operation(self, number: int = 0) -> dict[str, Any]:
        operation: dict[str, Any] = json.loads(self.form(number)["json_data"])
        return operation


@pytest.fixture
def itop() -> Iterator[FakeItop]:
    fake = FakeItop()
    with serving(fake.serve) as server:
        fake.server = server
        yield fake
    assert not fake.queue, "not every response was asked for"


@pytest.fixture
def client(itop: FakeItop) -> Client:
    return Client(itop.server.url, token=TOKEN)


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[[bytes], AttachmentFile]:
    def make(content: bytes) -> AttachmentFile:
        path = tmp_path / "upload"
        path.write_bytes(content)
        return AttachmentFile(path, NAME, "image/png", len(content))

    return make


MakeFile = Callable[[bytes], AttachmentFile]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 49_151, 49_152, 49_153, 200_000])
def test_a_file_is_sent_whole_and_with_its_exact_length(
    client: Client, itop: FakeItop, make_file: MakeFile, size: int
) -> None:
    content = bytes(number * 31 % 256 for number in range(size))
    itop.respond(CREATED)
    attached = attach(
        client,
        TICKET,
        make_file(content),
        temp_id=TEMP_ID,
        contact_id=40,
        creation_date="2026-11-20 10:00:00",
    )
    assert attached == Attached(5, existed=False)
    head, _, body = itop.server.requests[0].partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    assert length is not None
    assert int(length[1]) == len(body)
    assert b"Auth-Token: " + TOKEN.encode() in head
    assert TOKEN.encode() not in body
    fields = itop.operation()["fields"]
    assert base64.b64decode(fields["contents"].pop("data")) == content
    assert fields["contents"] == {"mimetype": "image/png", "filename": NAME, "downloads_count": 0}
    assert (fields["item_class"], fields["item_id"], fields["item_org_id"]) == ("UserRequest", 1016, 4)
    assert fields["creation_date"] == "2026-11-20 10:00:00"
    assert "user_id" not in fields


def test_the_guard_is_the_recorded_one(client: Client, itop: FakeItop, make_file: MakeFile) -> None:
    itop.respond(file_recording("243").envelope)
    attach(client, TICKET, make_file(b"hello"), temp_id=TEMP_ID, contact_id=40, user_id=8)
    recorded = file_recording("243").request["fields"]
    sent = itop.operation()["fields"]
    assert {name: sent[name] for name in ("contact_id", "temp_id", "user_id")} == {
        name: recorded[name] for name in ("contact_id", "temp_id", "user_id")
    }


@pytest.mark.parametrize("number", ["244", "246"])
def test_a_file_of_an_earlier_attempt_is_returned(
    client: Client, itop: FakeItop, make_file: MakeFile, number: str
) -> None:
    itop.respond(file_recording(number).envelope, file_recording("252").envelope)
    attached = attach(client, TICKET, make_file(b"hello"), temp_id=TEMP_ID, contact_id=40)
    assert attached == Attached(5, existed=True)


def test_a_contact_that_does_not_exist_is_an_invalid_value(
    client: Client, itop: FakeItop, make_file: MakeFile
) -> None:
    itop.respond(file_recording("244").envelope, found(), found())
    with pytest.raises(InvalidValueError) as caught:
        attach(client, TICKET, make_file(b"hello"), temp_id=TEMP_ID, contact_id=40)
    assert caught.value.problems[0].kind is ProblemKind.NO_SUCH_OBJECT


def test_a_refusal_without_a_reason_can_be_retried(
    client: Client, itop: FakeItop, make_file: MakeFile
) -> None:
    itop.respond(file_recording("244").envelope, found(), found(("Person", 40, {})))
    with pytest.raises(ItopNoResponseError):
        attach(client, TICKET, make_file(b"hello"), temp_id=TEMP_ID, contact_id=40)


def test_without_a_contact_iTop_is_asked_first(client: Client, itop: FakeItop, make_file: MakeFile) -> None:  # noqa: N802
    itop.respond(found(("Attachment", 5, {"id": "5", "temp_id": TEMP_ID})))
    assert attach(client, TICKET, make_file(b"x"), temp_id=TEMP_ID) == Attached(5, existed=True)
    itop.respond(found(), CREATED)
    assert attach(client, TICKET, make_file(b"x"), temp_id=TEMP_ID) == Attached(5, existed=False)
    assert "contact_id" not in itop.operation(2)["fields"]


def test_an_author_that_the_account_cannot_see_is_left_out(
    client: Client, itop: FakeItop, make_file: MakeFile
) -> None:
    itop.respond(refused("Error: user_id: Invalid object User::8"), CREATED)
    assert attach(client, TICKET, make_file(b"x"), temp_id=TEMP_ID, contact_id=40, user_id=8).id == 5
    assert ["user_id" in itop.operation(number)["fields"] for number in (0, 1)] == [True, False]


def test_a_file_that_expires_belongs_to_no_ticket(
    client: Client, itop: FakeItop, make_file: MakeFile
) -> None:
    itop.respond(found(), CREATED)
    attach(client, TICKET, make_file(b"x"), temp_id=TEMP_ID, expires=True)
    assert itop.operation(1)["fields"]["item_id"] == 0


def test_a_user_and_a_password_are_sent_in_the_form(itop: FakeItop, make_file: MakeFile) -> None:
    itop.respond(CREATED)
    client = Client(itop.server.url, user="bridge", password="pä ss")
    attach(client, TICKET, make_file(b"x"), temp_id=TEMP_ID, contact_id=40)
    form = itop.form()
    assert (form["version"], form["auth_user"], form["auth_pwd"]) == ("1.3", "bridge", "pä ss")


def test_sending_fails_if_the_file_becomes_shorter(
    client: Client, itop: FakeItop, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make_file(b"x" * 200_000)
    monkeypatch.setattr("itop_client.streams._PIECE_BYTES", 3)
    plain = base64.b64encode

    def shorten(piece: bytes) -> bytes:
        with file.path.open("r+b") as opened:
            opened.truncate(0)
        return plain(piece)

    monkeypatch.setattr(base64, "b64encode", shorten)
    itop.respond(CREATED)  # sent to nobody: the client has disconnected
    with pytest.raises(ItopNoResponseError):
        attach(client, TICKET, file, temp_id=TEMP_ID, contact_id=40)
    assert itop.served.wait(5)


TOO_LARGE: dict[str, tuple[bytes | dict[str, Any], ...]] = {
    "web-server": (NGINX_413,),
    "post_max_size": (file_recording("256").envelope,),
    "post_max_size-with-login-in-the-form": (file_recording("257").envelope, OPERATIONS),
    "upload_max_filesize": (refused("Error: Missing parameter 'json_data'", 3),),
    "memory_limit": (OUT_OF_MEMORY, found()),
    "max_allowed_packet": (file_recording("258").envelope, found()),
}


@pytest.mark.parametrize("answers", TOO_LARGE.values(), ids=TOO_LARGE)
def test_too_large_is_about_the_file(
    client: Client, itop: FakeItop, make_file: MakeFile, answers: tuple[bytes | dict[str, Any], ...]
) -> None:
    itop.respond(*answers)
    with pytest.raises(FileTooLargeError) as caught:
        attach(client, TICKET, make_file(b"x" * LARGE), temp_id=TEMP_ID, contact_id=40)
    assert (caught.value.size, caught.value.retry) == (LARGE, False)


@pytest.mark.parametrize("content", [b"x", b"x" * LARGE], ids=["small", "large"])
def test_a_login_that_is_refused_without_the_file_too_is_a_login_error(
    client: Client, itop: FakeItop, make_file: MakeFile, content: bytes
) -> None:
    itop.respond(*[file_recording("257").envelope] * (1 if content == b"x" else 2))
    with pytest.raises(ItopLoginError):
        attach(client, TICKET, make_file(content), temp_id=TEMP_ID, contact_id=40)


def test_a_database_that_is_away_is_not_the_fault_of_the_file(
    client: Client, itop: FakeItop, make_file: MakeFile
) -> None:
    gone = file_recording("258").envelope
    itop.respond(gone)
    with pytest.raises(OutOfResourcesError):
        attach(client, TICKET, make_file(b"x"), temp_id=TEMP_ID, contact_id=40)
    itop.respond(gone, gone)
    with pytest.raises(OutOfResourcesError):
        attach(client, TICKET, make_file(b"x" * LARGE), temp_id=TEMP_ID, contact_id=40)


def test_a_file_that_was_created_before_the_memory_gave_out_is_found(
    client: Client, itop: FakeItop, make_file: MakeFile
) -> None:
    itop.respond(OUT_OF_MEMORY, file_recording("252").envelope)
    file = make_file(b"x" * LARGE)
    assert attach(client, TICKET, file, temp_id=TEMP_ID, contact_id=40) == Attached(5, existed=True)


def test_a_name_that_is_too_long_is_an_invalid_value(
    client: Client, itop: FakeItop, make_file: MakeFile
) -> None:
    itop.respond(file_recording("254").envelope)
    with pytest.raises(InvalidValueError) as caught:
        attach(client, TICKET, make_file(b"x"), temp_id=TEMP_ID, contact_id=40)
    assert caught.value.attribute == "contents_filename"


def test_a_picture_is_created_once(client: Client, itop: FakeItop, make_file: MakeFile) -> None:
    itop.respond(found(), file_recording("230").envelope)
    assert create_inline_image(client, TICKET, make_file(b"x"), temp_id="p", secret="ab" * 16).id == 2
    assert itop.operation(1)["fields"]["secret"] == "ab" * 16
    itop.respond(found(("InlineImage", 2, {"temp_id": "p"})))
    file = make_file(b"x")
    assert create_inline_image(client, TICKET, file, temp_id="p", secret="ab" * 16) == Attached(
        2, existed=True
    )


def test_the_first_attempt_does_not_look_for_an_earlier_picture(
    client: Client, itop: FakeItop, make_file: MakeFile
) -> None:
    itop.respond(file_recording("230").envelope)
    file = make_file(b"x")
    assert create_inline_image(client, TICKET, file, temp_id="p", secret="ab" * 16, is_first=True).id == 2
    assert itop.operation(0)["operation"] == "core/create"


def test_a_picture_needs_an_administrator(client: Client, itop: FakeItop, make_file: MakeFile) -> None:
    itop.respond(found(), file_recording("231").envelope)
    with pytest.raises(ItopPermissionError):
        create_inline_image(client, TICKET, make_file(b"x"), temp_id="p", secret="ab" * 16)


def sent_form(itop: FakeItop) -> dict[str, Any]:
    """Return the last operation that was sent urlencoded."""
    body = itop.server.requests[-1].partition(b"\r\n\r\n")[2].decode()
    operation: dict[str, Any] = json.loads(parse_qs(body)["json_data"][0])
    return operation


def test_files_are_found_by_their_marker(client: Client, itop: FakeItop) -> None:
    itop.respond(file_recording("252").envelope)
    assert find_attachments(client, [TEMP_ID, "M3", "none"]) == {TEMP_ID: 5, "M3": 7}
    assert find_attachments(client, []) == {}
    itop.respond(found(*[("Attachment", number, {"temp_id": "M3"}) for number in (9, 7, 8)]))
    assert find_attachments(client, ["M3"], owner=TICKET) == {"M3": 7}
    assert sent_form(itop)["key"] == (
        "SELECT Attachment AS a WHERE a.temp_id IN ('M3') AND a.item_class = 'UserRequest' AND a.item_id = 1016"
    )


def test_deleting_returns_how_many_there_were(client: Client, itop: FakeItop) -> None:
    itop.respond(
        {"code": 0, "message": "Deleted: 2", "objects": None}, refused("Error: No item found for query: x")
    )
    assert delete_attachments(client, [5, 7]) == 2
    assert delete_attachments(client, [99]) == 0
    assert delete_attachments(client, []) == 0


def test_the_lists_are_the_recorded_ones(client: Client, itop: FakeItop) -> None:
    itop.respond(file_recording("276").envelope, file_recording("275").envelope)
    assert [item.id for item in list_attachments(client, "UserRequest", [8, 1016], added_by_people=True)] == [
        1,
        2,
        4,
    ]
    assert sent_form(itop)["key"] == file_recording("276").request["key"]
    assert list_attachments(client, "UserRequest", [8, 1016]).total > 0


@pytest.mark.parametrize("name", ["contents", "*", "*+"])
def test_a_list_never_reads_contents(client: Client, name: str) -> None:
    with pytest.raises(ValueError, match="one by one"):
        list_attachments(client, "UserRequest", [1], fields=("id", name))


def document(content: bytes, name: str = NAME) -> dict[str, Any]:
    data = base64.b64encode(content).decode()
    contents = {"data": data, "mimetype": "image/png", "filename": name, "downloads_count": 0}
    return found(("Attachment", 5, {"contents": contents}))


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 100_000, bytes(range(256)) * 1000], ids=["empty", "slashes", "all"]
)
def test_a_file_is_read(client: Client, itop: FakeItop, tmp_path: Path, content: bytes) -> None:
    itop.respond(document(content))
    path = tmp_path / "read"
    read = read_attachment(client, 5, max_bytes=len(content), path=path)
    assert read == AttachmentFile(path, NAME, "image/png", len(content))
    assert path.read_bytes() == content


@given(st.binary(max_size=200), st.lists(st.integers(1, 400), max_size=30), st.text(max_size=10))
def test_a_document_is_decoded_however_the_response_is_cut(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, cuts: list[int], name: str
) -> None:
    envelope = document(content, name + '"data":"x"')
    text = json.dumps(envelope, separators=(",", ":")).replace("/", "\\/").encode()
    path = tmp_path_factory.getbasetemp() / "cut"
    with path.open("wb") as opened:
        sink = DocumentSink(FileSink(opened, 200))
        ends = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
        for start, end in zip(ends, ends[1:], strict=False):
            sink.write(text[start:end])
    assert path.read_bytes() == content
    fields = json.loads(sink.envelope)["objects"]["Attachment::5"]["fields"]
    assert fields["contents"]["filename"] == name + '"data":"x"'
    assert fields["contents"]["data"] == ""


def test_reading_stops_above_the_limit(client: Client, itop: FakeItop, tmp_path: Path) -> None:
    path = tmp_path / "read"
    itop.respond(document(b"x" * 2_000_000))
    with pytest.raises(FileTooLargeError) as caught:
        read_attachment(client, 5, max_bytes=1000, path=path)
    assert 1000 < caught.value.size < 100_000, "more was read than necessary"
    assert not path.exists()
    itop.respond(document(b"x" * 1001))
    with pytest.raises(FileTooLargeError):
        read_attachment(client, 5, max_bytes=1000, path=path)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (found(), ObjectNotFoundError),
        (file_recording("229").envelope, ItopPermissionError),
        (http_response(b"<html>login</html>"), ItopUnavailableError),
        (http_response(b'{"data":"!!!!"}'), ItopUnavailableError),
        (http_response(b'{"data":"abc"}'), ItopUnavailableError),
        (http_response(b'{"data":"abcd'), ItopUnavailableError),
        (OUT_OF_MEMORY, FileTooLargeError),
    ],
    ids=["gone", "not-allowed", "html", "no-base64", "cut-base64", "no-end", "memory"],
)
def test_nothing_is_left_of_a_file_that_cannot_be_read(
    client: Client, itop: FakeItop, tmp_path: Path, answer: bytes | dict[str, Any], error: type[ItopError]
) -> None:
    itop.respond(answer)
    with pytest.raises(error):
        read_attachment(client, 5, max_bytes=1000, path=tmp_path / "read")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_not_the_fault_of_iTop(client: Client, itop: FakeItop) -> None:  # noqa: N802
    itop.respond(document(b"x" * 100_000))
    with pytest.raises(OSError, match="No space left"):
        client.get_document(
            "Attachment", 5, "contents", into=DocumentSink(FileSink(full_disk(), 10**6)), max_bytes=10**6
        )


def full_disk() -> Any:
    return open("/dev/full", "wb", buffering=0)


def picture(body: bytes, content_type: str = "image/png", status: str = "200 OK") -> bytes:
    return http_response(body, status=status).replace(b"text/plain", content_type.encode())


def test_a_picture_is_fetched_without_a_login(client: Client, itop: FakeItop, tmp_path: Path) -> None:
    itop.respond(picture(b"\x89PNG"))
    read = read_inline_image(client, 7, "a&b=c", max_bytes=100, path=tmp_path / "p")
    assert (read.size, read.content_type, read.path.read_bytes()) == (4, "image/png", b"\x89PNG")
    request = itop.server.requests[0]
    assert request.startswith(
        b"GET /pages/ajax.document.php?operation=download_inlineimage&id=7&s=a%26b%3Dc HTTP"
    )
    assert TOKEN.encode() not in request


REASON = b" - the object does not exist or you are not allowed to view it</p>"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (picture(b"<p>Invalid secret for class 'InlineImage'" + REASON, "text/html"), ObjectNotFoundError),
        (picture(b"<p>Invalid id (99) for class 'InlineImage'" + REASON, "text/html"), ObjectNotFoundError),
        (picture(b"<html>login</html>", "text/html"), UnclassifiedError),
        (picture(b"", "image/png", "503 Away"), UnclassifiedError),
        (http_response(b"", "Location: http://127.0.0.1:1/", status="302 Found"), UnclassifiedError),
        (picture(b"x" * 201), FileTooLargeError),
    ],
    ids=["secret", "id", "html", "away", "redirect", "large"],
)
def test_nothing_is_left_of_a_picture_that_cannot_be_read(
    client: Client, itop: FakeItop, tmp_path: Path, answer: bytes, error: type[ItopError]
) -> None:
    itop.respond(answer)
    with pytest.raises(error):
        read_inline_image(client, 7, "s", max_bytes=200, path=tmp_path / "p")
    assert list(tmp_path.iterdir()) == []


SIZE = 8_000_000


@contextmanager
def no_more_memory_than(limit: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_a_file_that_is_read(
    client: Client, itop: FakeItop, tmp_path: Path
) -> None:
    itop.respond(document(b"\0" * SIZE))
    with no_more_memory_than(SIZE // 4):
        assert read_attachment(client, 5, max_bytes=SIZE, path=tmp_path / "read").size == SIZE


def test_memory_does_not_grow_with_a_file_that_is_sent(make_file: MakeFile) -> None:
    file = make_file(b"\0" * SIZE)
    received = 0

    def accept() -> None:
        nonlocal received
        connection, _ = listener.accept()
        with connection:
            while received < SIZE * 4 // 3:  # the rest fits into the socket's buffer
                received += len(connection.recv(65_536))
            connection.sendall(http_response(json.dumps(CREATED).encode()))
            while connection.recv(65_536):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        with open_session() as session, no_more_memory_than(SIZE // 4):
            client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}", token=TOKEN, session=session)
            assert attach(client, TICKET, file, temp_id=TEMP_ID, contact_id=40).id == 5
        thread.join(5)
    assert received >= SIZE * 4 // 3
