"""Logging in: how names are read and failures are counted, and how many passwords are checked at once."""

import threading
import time
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.http import HttpRequest

MAX_WAITING = 2
MAX_WAIT_SECONDS = 3.0


def normalized_username(request: HttpRequest, credentials: dict[str, Any] | None = None) -> str:
    """Return the name by which failed logins are counted, equal for all spellings of a name."""
    name = (credentials or request.POST).get("username") or ""
    # Twice, because casefolding can produce characters that are not normalized.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", str(name)).casefold())


class BusyError(Exception):
    """Too many passwords are being checked."""


class PasswordChecks:
    """Let a process check one password at a time, and rest after each check for as long as it took.

    Hashing a password takes much CPU time by design. Unlimited, guesses would delay webhooks by seconds.
    """

    def __init__(self) -> None:
        self._running = threading.Lock()
        self._waiting = threading.BoundedSemaphore(MAX_WAITING + 1)
        self._rests_until = 0.0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until no other check is running. Raise BusyError if too many wait already, or if it takes too long."""
        with ExitStack() as held:
            if not self._waiting.acquire(blocking=False):
                raise BusyError
            held.callback(self._waiting.release)
            if not self._running.acquire(timeout=MAX_WAIT_SECONDS):
                raise BusyError
            held.callback(self._running.release)
            time.sleep(min(max(0.0, self._rests_until - time.monotonic()), MAX_WAIT_SECONDS))
            began = time.monotonic()
            try:
                yield
            finally:
                ended = time.monotonic()
                self._rests_until = ended + (ended - began)


password_checks = PasswordChecks()


class LiteralUsernameField(forms.CharField):
    """A user name. Django's field would replace other characters, like full-width letters, by ASCII letters."""

    def to_python(self, value: Any) -> Any:
        """Return the name with composed letters: how letters with accents are sent depends on the keyboard."""
        return unicodedata.normalize("NFC", super().to_python(value) or "")

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        """Return the attributes of Django's field."""
        return {**super().widget_attrs(widget), "autocapitalize": "none", "autocomplete": "username"}


class LoginForm(AdminAuthenticationForm):
    """The admin's login form."""

    username = LiteralUsernameField(widget=forms.TextInput(attrs={"autofocus": True}))

    def clean(self) -> dict[str, Any]:
        """Check the password, unless too many people are logging in: that is not counted as a failed attempt."""
        try:
            with password_checks.turn():
                return super().clean()
        except BusyError:
            raise forms.ValidationError(
                "Too many people are logging in. Try again in a few seconds.", code="busy"
            ) from None
