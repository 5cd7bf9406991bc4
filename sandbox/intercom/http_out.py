"""Send one request to the bridge, with a time limit."""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Outcome:
    """The bridge's response. Without a response, `status` is 0 and `trouble` says why."""

    status: int
    body: bytes
    seconds: float
    trouble: str = ""


def send(
    method: str, url: str, body: bytes | None, headers: Mapping[str, str], *, time_limit: float
) -> Outcome:
    """Send a request and return the outcome. Network errors are part of the outcome."""
    parts = urlsplit(url)
    connection_class = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connection_class(parts.hostname or "", parts.port, timeout=time_limit)
    path = parts.path or "/"
    if parts.query:
        path += f"?{parts.query}"
    began = time.monotonic()
    try:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException) as error:
        why = "no answer in time" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
        return Outcome(0, b"", time.monotonic() - began, why)
    finally:
        connection.close()
    return Outcome(answer.status, content, time.monotonic() - began)
