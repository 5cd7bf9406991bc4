"""``python -m sandbox.itop``: run the stand-in as a program, with its data in a file."""

from __future__ import annotations

import argparse
import logging
import signal
import threading

from . import seed, wording
from .database import CHARACTER_SETS
from .datamodel import VERSIONS
from .operations import MEGABYTE
from .server import Itop


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sandbox.itop", description=__doc__)
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--database", default=":memory:", help="a file; filled when it is new")
    parser.add_argument(
        "--token", default=seed.TOKEN, help="of the account intercom_sync_app (default: %(default)s)"
    )
    parser.add_argument(
        "--timezone", default="Europe/Paris", help="of the server's dates (default: %(default)s)"
    )
    parser.add_argument("--clock-offset", type=float, default=0.0, metavar="SECONDS", help="how fast it is")
    parser.add_argument("--version", default=VERSIONS[-1], choices=VERSIONS, help="default: %(default)s")
    parser.add_argument(
        "--language",
        default=wording.ENGLISH,
        choices=wording.LANGUAGES,
        help="of the accounts (default: %(default)s)",
    )
    parser.add_argument(
        "--character-set",
        default=CHARACTER_SETS[0],
        choices=CHARACTER_SETS,
        help="of the database (default: %(default)s)",
    )
    parser.add_argument("--root-address", default="", help="its app_root_url (default: its own address)")
    parser.add_argument("--max-body", type=int, metavar="BYTES", help="larger ones are answered 413")
    for name, megabytes, whose in (
        ("--post-max-size", 8, "PHP"),
        ("--upload-max-filesize", 2, "PHP"),
        ("--memory-limit", 128, "PHP"),
        ("--max-allowed-packet", 16, "the database"),
    ):
        words = f"of {whose} (default: %(default)s)"
        parser.add_argument(name, type=int, default=megabytes * MEGABYTE, metavar="BYTES", help=words)
    parser.add_argument(
        "--no-extension", action="store_true", help="without the PHP extension's intercom_* attributes"
    )
    parser.add_argument("--verbose", action="store_true", help="log each request")
    options = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.WARNING, format="%(asctime)s %(message)s"
    )
    itop = Itop(
        options.database,
        port=options.port,
        token=options.token,
        version=options.version,
        language=options.language,
        character_set=options.character_set,
        max_body=options.max_body,
        post_max_size=options.post_max_size,
        upload_max_filesize=options.upload_max_filesize,
        memory_limit=options.memory_limit,
        max_allowed_packet=options.max_allowed_packet,
        extension=not options.no_extension,
        timezone=options.timezone,
        clock_offset=options.clock_offset,
    )
    itop.store.root_address = options.root_address or itop.store.root_address
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    itop.start()
    print(
        f"iTop (sandbox) at {itop.url}/ - REST at {itop.rest_url} - database {options.database}", flush=True
    )
    ended.wait()
    itop.stop()


if __name__ == "__main__":
    main()
