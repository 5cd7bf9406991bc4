"""A redirect of iTop or Intercom is not followed: the account's token would go wherever it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from intercom_bridge.intercom.client import IntercomClient, IntercomError
from itop_client import Client, ItopError
from tests.itop_client.socket_server import SocketServer, http_response, serving

TOKEN = "s3cr3t-token-that-must-stay"
STATUSES = [
    "301 Moved Permanently",
    "302 Found",
    "303 See Other",
    "307 Temporary Redirect",
    "308 Permanent Redirect",
]


@pytest.fixture
def elsewhere() -> Iterator[SocketServer]:
    with serving(lambda server, c: c.sendall(http_response(b'{"code": 0, "message": ""}'))) as server:
        yield server


def ask_itop(url: str) -> None:
    with pytest.raises(ItopError) as caught:
        Client(url, token=TOKEN).list_operations()
    assert TOKEN not in str(caught.value)


def ask_intercom(url: str) -> None:
    with pytest.raises(IntercomError) as caught:
        IntercomClient(TOKEN, base_url=url).me()
    assert TOKEN not in str(caught.value)


def write_into_intercom(url: str) -> None:
    with pytest.raises(IntercomError):
        IntercomClient(TOKEN, base_url=url).reply("1", admin_id="1", body="<p>x</p>", note=True)


@pytest.mark.parametrize("ask", [ask_itop, ask_intercom, write_into_intercom])
@pytest.mark.parametrize("status", STATUSES)
def test_no_redirect_is_followed(ask: Callable[[str], None], status: str, elsewhere: SocketServer) -> None:
    there = f"Location: {elsewhere.url}/"
    with serving(lambda server, c: c.sendall(http_response(b"", there, status=status))) as server:
        ask(server.url)
        assert server.requests and TOKEN.encode() in server.requests[0]
    assert elsewhere.requests == []
