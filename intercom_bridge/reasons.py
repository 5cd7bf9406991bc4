"""Why something did not work: rows keep it as an English sentence, and the panel tells it in the workspace's language.

A reason is often made of another one ("given up after seven days of trouble with iTop: HTTP 503: an empty answer"),
and its end may be what iTop or Intercom said, in whatever language. So each sentence that we or our clients say is
here with places for what varies, and `told` finds them again one within the other. What is none of ours stays as it
is.
"""

from __future__ import annotations

import re
from typing import Final

from django.utils.translation import gettext, gettext_noop

# What the writer says of a message

TICKET_GONE: Final = gettext_noop(
    "The ticket no longer exists in iTop. Unlink it; link or create another one."
)
LOG_FULL: Final = gettext_noop(
    "The ticket's log is full: iTop keeps about 300 entries in one. Link or create another ticket for what follows."
)
# As rows of the first release have them.
TICKET_GONE_BEFORE: Final = gettext_noop("The ticket no longer exists in iTop.")
LOG_FULL_BEFORE: Final = gettext_noop("The ticket's log is full: iTop keeps about 300 entries in one.")
REFUSED: Final = gettext_noop("iTop refused it: %(reason)s")
TRIED: Final = gettext_noop("tried %(count)s times; iTop: %(reason)s")
ONLY_THIS_ONE: Final = gettext_noop(
    "iTop failed at it %(count)s times while it took other messages: %(reason)s"
)
GIVEN_UP: Final = gettext_noop("given up after seven days of trouble with iTop: %(reason)s")
ERASED: Final = gettext_noop("erased from the log by a save of %(person)s (%(date)s)")

# What the comparison with Intercom says of a conversation

NO_TOKEN: Final = gettext_noop("the workspace has no access token")
GONE: Final = gettext_noop("deleted in Intercom")

KNOWN: Final = (
    TICKET_GONE,
    TICKET_GONE_BEFORE,
    LOG_FULL,
    LOG_FULL_BEFORE,
    REFUSED,
    TRIED,
    ONLY_THIS_ONE,
    GIVEN_UP,
    ERASED,
    NO_TOKEN,
    GONE,
    # models.encryption
    gettext_noop(
        "A stored secret cannot be decrypted with FIELD_ENCRYPTION_KEYS. Put the key that it was stored under back "
        "into the list, or enter the secret again in the admin."
    ),
    # itop_client.errors
    gettext_noop("iTop refused the account"),
    gettext_noop("Bad user"),
    gettext_noop("HTTP %(status)s: the address redirects elsewhere; it must be iTop's own"),
    gettext_noop("HTTP %(status)s: an empty answer"),
    gettext_noop("HTTP %(status)s: not an answer of iTop's REST (%(kind)s)"),
    gettext_noop("HTTP %(status)s: an answer without a code"),
    gettext_noop("HTTP %(status)s, code %(code)s: %(text)s"),
    gettext_noop("code %(code)s: %(text)s"),
    gettext_noop("nothing said about its type"),
    # itop_client.client
    gettext_noop("iTop's answer makes no sense: %(reason)s"),
    gettext_noop("it lists no operations"),
    gettext_noop("it says neither what nor how much it found"),
    gettext_noop("it names %(count)s objects instead of the one written"),
    gettext_noop("its objects are not a list by name"),
    gettext_noop("one of its objects has no class"),
    gettext_noop("one of its objects has an error of its own"),
    gettext_noop("one of its objects has no number"),
    gettext_noop("one of its objects has no fields"),
    gettext_noop("iTop's address must look like https://itop.example.com/itop"),
    gettext_noop("iTop's address must not hold a user or a password"),
    # itop_client.transport
    gettext_noop("no time was left to connect"),
    gettext_noop("no connection within %(seconds)s s"),
    gettext_noop("no complete answer within %(seconds)s s"),
    gettext_noop("the connection was lost before a complete answer: %(reason)s"),
    gettext_noop("the answer is larger than %(count)s bytes"),
    gettext_noop("the host's name has no address"),
    gettext_noop("the host's name could not be resolved"),
    gettext_noop("connecting took too long"),
    gettext_noop("the look-up of the host's name took too long"),
    gettext_noop("the server closed the connection without answering"),
    # The operating system, most often
    gettext_noop("Connection refused"),
    gettext_noop("Connection reset by peer"),
    gettext_noop("Connection timed out"),
    gettext_noop("Network is unreachable"),
    gettext_noop("No route to host"),
    # intercom.api
    gettext_noop("Intercom cannot be reached: %(reason)s"),
    gettext_noop("Intercom did not answer: %(reason)s"),
    gettext_noop("Intercom answered %(answer)s"),
    gettext_noop("Intercom's answer is not JSON"),
    gettext_noop("Intercom's answer is no conversation: %(reason)s"),
)

_PLACE = re.compile(r"%\((\w+)\)s")


def _pattern(sentence: str) -> re.Pattern[str]:
    literal, *rest = _PLACE.split(sentence)
    pattern = re.escape(literal)
    for name, words in zip(rest[::2], rest[1::2], strict=True):
        pattern += f"(?P<{name}>.*?){re.escape(words)}"
    return re.compile(pattern, re.DOTALL)


_PATTERNS: Final = tuple((sentence, _pattern(sentence)) for sentence in KNOWN)


def told(reason: str) -> str:
    """The reason in the active language, as far as it is made of sentences of ours."""
    for sentence, pattern in _PATTERNS:
        if found := pattern.fullmatch(reason):
            return gettext(sentence) % {name: told(words) for name, words in found.groupdict().items()}
    return reason
