"""`python -m sandbox.intercom`: run the stand-in as a program, with its data in a file."""

from __future__ import annotations

import argparse
import logging
import signal
import threading

from .server import SECRET, TOKEN, WORKSPACE_ID, Intercom
from .store import FIRST_CONVERSATION_ID


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sandbox.intercom", description=__doc__)
    parser.add_argument("--port", type=int, default=8002)
    parser.add_argument("--database", default=":memory:", help="a file; filled when it is new")
    parser.add_argument(
        "--bridge", default="http://127.0.0.1:8000", help="the service (default: %(default)s)"
    )
    parser.add_argument("--workspace", default=WORKSPACE_ID, help="its id (default: %(default)s)")
    parser.add_argument("--secret", default=SECRET, help="the app's client secret (default: %(default)s)")
    parser.add_argument("--token", default=TOKEN, help="the app's access token (default: %(default)s)")
    parser.add_argument("--region", default="US", choices=("US", "EU", "AU"))
    parser.add_argument(
        "--api-version", default="2.14", help="the app's; from 2.15 on notifications are in plain text"
    )
    parser.add_argument(
        "--retry-seconds", type=float, default=60.0, help="until a notification that failed is repeated"
    )
    parser.add_argument(
        "--files-url", default="", help="where its files are downloaded (default: its own address)"
    )
    parser.add_argument(
        "--first-conversation",
        type=int,
        default=FIRST_CONVERSATION_ID,
        help="the id of the first conversation of a new database (default: %(default)s)",
    )
    parser.add_argument("--verbose", action="store_true", help="log each request")
    options = parser.parse_args()
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.WARNING, format="%(asctime)s %(message)s"
    )
    intercom = Intercom(
        options.database,
        bridge_url=options.bridge,
        port=options.port,
        workspace_id=options.workspace,
        secret=options.secret,
        token=options.token,
        region=options.region,
        api_version=options.api_version,
        retry_seconds=options.retry_seconds,
        long_conversation=True,
        first_conversation_id=options.first_conversation,
        attributes=("iTop ticket", "iTop status"),
    )
    intercom.workspace.addresses.origin = options.files_url or intercom.url
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    intercom.start()
    print(f"Intercom (sandbox) at {intercom.url}/ - the bridge at {options.bridge}", flush=True)
    ended.wait()
    intercom.stop()


if __name__ == "__main__":
    main()
