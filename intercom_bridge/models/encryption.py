"""Encrypt stored secrets with Fernet under FIELD_ENCRYPTION_KEYS. The first key encrypts, all of them decrypt."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models


class SecretDecryptionError(Exception):
    """A stored secret was encrypted under a key that FIELD_ENCRYPTION_KEYS no longer holds."""

    code = "secret_unreadable"
    detail = ""


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
            "FIELD_ENCRYPTION_KEYS contains a value that is not a Fernet key (32 bytes, URL-safe base64)."
        ) from error


def cipher() -> MultiFernet:
    """Return the cipher of the current settings. Raise ImproperlyConfigured if there is no usable key."""
    return _cipher(tuple(settings.FIELD_ENCRYPTION_KEYS))


class Secret:
    """An encrypted secret. Neither `str` nor `repr` contains the plain text.

    Only `reveal` decrypts the secret, so a row whose secret cannot be decrypted can still be loaded and displayed.
    """

    __slots__ = ("ciphertext",)

    def __init__(self, ciphertext: str = "") -> None:
        self.ciphertext = ciphertext

    @classmethod
    def seal(cls, plain: str) -> Secret:
        """Encrypt the text. The Secret of "" is empty."""
        return cls(cipher().encrypt(plain.encode()).decode() if plain else "")

    def reveal(self) -> str:
        """Return the plain text, or "" if there is no secret. Raise SecretDecryptionError if no key decrypts it."""
        if not self.ciphertext:
            return ""
        try:
            return cipher().decrypt(self.ciphertext.encode()).decode()
        except InvalidToken as error:
            raise SecretDecryptionError(
                "A stored secret cannot be decrypted with FIELD_ENCRYPTION_KEYS. Put the key that encrypted it "
                "back into the list, or enter the secret again in the admin."
            ) from error

    @property
    def is_readable(self) -> bool:
        try:
            self.reveal()
        except (SecretDecryptionError, ImproperlyConfigured):
            return False
        return True

    @property
    def is_current(self) -> bool:
        """Return whether the newest key (the first one) decrypts the secret, so that no older key is needed."""
        keys = tuple(settings.FIELD_ENCRYPTION_KEYS)
        try:
            _cipher(keys[:1]).decrypt(self.ciphertext.encode())
        except InvalidToken:
            return False
        return True

    def renewed(self) -> Secret:
        """Return the secret encrypted with the newest key. Raise SecretDecryptionError if no key decrypts it."""
        return Secret.seal(self.reveal())

    @property
    def hint(self) -> str:
        """Return a text to display instead of the secret, such as "•••• 1a2b"; "" if there is no secret."""
        if not self.ciphertext:
            return ""
        if not self.is_readable:
            return "unreadable: encrypted with another key"
        plain = self.reveal()
        # Four characters of a short secret would make the rest easy to guess.
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
    """A text column with ciphertext. The attribute's value is a Secret; an assigned string is encrypted on saving."""

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
