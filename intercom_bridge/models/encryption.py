"""Secrets at rest: Fernet under FIELD_ENCRYPTION_KEYS, newest first; older keys still read."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models


class SecretUnreadable(Exception):
    """A stored secret was encrypted under a key that FIELD_ENCRYPTION_KEYS no longer holds."""


@lru_cache(maxsize=4)
def _cipher(keys: tuple[str, ...]) -> MultiFernet:
    if not keys:
        raise ImproperlyConfigured(
            "FIELD_ENCRYPTION_KEYS is not set: secrets can be neither stored nor read."
        )
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError as error:
        raise ImproperlyConfigured(
            "FIELD_ENCRYPTION_KEYS holds something that is not a Fernet key (32 bytes, URL-safe base64)."
        ) from error


def cipher() -> MultiFernet:
    """The cipher of the current settings; raises ImproperlyConfigured when no usable key is set."""
    return _cipher(tuple(settings.FIELD_ENCRYPTION_KEYS))


class Secret:
    """A secret as the database holds it. Neither `str` nor `repr` tells it; `reveal()` does.

    `reveal()` raises SecretUnreadable when no current key decrypts it, so that one unreadable row breaks
    itself only and not the list it stands in.
    """

    __slots__ = ("ciphertext",)

    def __init__(self, ciphertext: str = "") -> None:
        self.ciphertext = ciphertext

    @classmethod
    def seal(cls, plain: str) -> Secret:
        return cls(cipher().encrypt(plain.encode()).decode() if plain else "")

    def reveal(self) -> str:
        if not self.ciphertext:
            return ""
        try:
            return cipher().decrypt(self.ciphertext.encode()).decode()
        except InvalidToken as error:
            raise SecretUnreadable(
                "A stored secret cannot be decrypted with FIELD_ENCRYPTION_KEYS. Put the key that it was "
                "stored under back into the list, or enter the secret again in the admin."
            ) from error

    @property
    def is_readable(self) -> bool:
        try:
            self.reveal()
        except (SecretUnreadable, ImproperlyConfigured):
            return False
        return True

    @property
    def is_current(self) -> bool:
        """Whether the newest key decrypts it: the older ones are not needed for it."""
        keys = tuple(settings.FIELD_ENCRYPTION_KEYS)
        try:
            _cipher(keys[:1]).decrypt(self.ciphertext.encode())
        except InvalidToken:
            return False
        return True

    def renewed(self) -> Secret:
        """The same under the newest key. Raises SecretUnreadable when no current key decrypts it."""
        return Secret.seal(self.reveal())

    @property
    def hint(self) -> str:
        """What the admin may show: "•••• 1a2b", "" when unset."""
        if not self.ciphertext:
            return ""
        if not self.is_readable:
            return "unreadable: encrypted under another key"
        plain = self.reveal()
        return f"•••• {plain[-4:]}" if len(plain) >= 12 else "••••"

    def __bool__(self) -> bool:
        return bool(self.ciphertext)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.ciphertext == other.ciphertext

    def __hash__(self) -> int:
        return hash(self.ciphertext)

    def __str__(self) -> str:
        return "••••" if self.ciphertext else ""

    def __repr__(self) -> str:
        return f"<Secret {'set' if self.ciphertext else 'unset'}>"


class SecretField(models.TextField):  # type: ignore[type-arg]
    """A column of ciphertext. Reads as a Secret; a plain string that is assigned is encrypted when saved."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("blank", True)
        kwargs.setdefault("default", Secret)
        super().__init__(*args, **kwargs)

    def from_db_value(self, value: str | None, *_: Any) -> Secret:
        return Secret(value or "")

    def to_python(self, value: Any) -> Secret:
        return value if isinstance(value, Secret) else Secret.seal(str(value or ""))

    def get_prep_value(self, value: Any) -> str:
        return self.to_python(value).ciphertext

    def pre_save(self, instance: models.Model, add: bool) -> Any:
        secret = self.to_python(getattr(instance, self.attname))
        setattr(instance, self.attname, secret)
        return secret

    def value_to_string(self, obj: models.Model) -> str:
        return self.get_prep_value(self.value_from_object(obj))
