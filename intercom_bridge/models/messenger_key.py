from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import IntegrityError, models, transaction
from django.utils import timezone

from .encryption import SecretField
from .itop_instance import ITOP, ItopInstance
from .workspace import NOTED_EVERY


def new_key_id() -> str:
    return secrets.token_hex(16)


class MessengerKeyQuerySet(models.QuerySet["MessengerKey"]):
    def valid(self) -> MessengerKeyQuerySet:
        return self.filter(models.Q(expires_at=None) | models.Q(expires_at__gt=timezone.now()))

    def current(self, itop: ItopInstance) -> MessengerKey:
        """Return this iTop's newest key that has no expiry date. Create a key if there is none."""
        with _locked_keys(itop):
            key = self.valid().filter(itop=itop, expires_at=None).order_by("-pk").first()
            return key or self.create(itop=itop, secret=secrets.token_urlsafe(32))

    def rotate(self, itop: ItopInstance, overlap: dt.timedelta) -> MessengerKey:
        """Create a key and return it. The latest valid key expires after `overlap`; all others are deleted."""
        with _locked_keys(itop):
            keys = self.filter(itop=itop)
            latest = keys.valid().order_by("-pk").first()
            if latest is None:
                keys.delete()
            else:
                keys.exclude(pk=latest.pk).delete()
                keys.filter(pk=latest.pk).update(expires_at=timezone.now() + overlap)
            return self.create(itop=itop, secret=secrets.token_urlsafe(32))


@contextmanager
def _locked_keys(itop: ItopInstance) -> Iterator[None]:
    """Begin a transaction. Until it ends, no other process changes this iTop's keys."""
    with transaction.atomic():
        ItopInstance.objects.select_for_update().only("pk").get(pk=itop.pk)
        yield


class MessengerKey(models.Model):
    """A key with which one iTop signs its questions about the Messenger. An iTop has at most two valid keys."""

    itop = models.ForeignKey(ItopInstance, models.CASCADE, verbose_name=ITOP, related_name="messenger_keys")
    key_id = models.CharField(max_length=32, unique=True, default=new_key_id, editable=False)
    secret = SecretField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = MessengerKeyQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.key_id[:8]

    def note_use(self) -> None:
        """Store that iTop used this key. At most one write per minute."""
        now = timezone.now()
        if self.last_used_at is None or now - self.last_used_at >= NOTED_EVERY:
            type(self).objects.filter(pk=self.pk).update(last_used_at=now)


class MessengerNonceQuerySet(models.QuerySet["MessengerNonce"]):
    def use(self, key: MessengerKey, nonce: str) -> bool:
        """Store that the nonce was used. Return False if it had been used before.

        About every hundredth call also deletes old nonces, so that the table stays small.
        """
        try:
            with transaction.atomic():
                row = self.create(key=key, nonce=nonce)
        except IntegrityError:
            return False
        if row.pk % 100 == 0:
            self.filter(at__lt=timezone.now() - MessengerNonce.KEPT).delete()
        return True


class MessengerNonce(models.Model):
    """The nonce of an answered question. If the same question is sent again (a replay), it is refused."""

    # A question is accepted for ten minutes: from five minutes before to five minutes after the time in it.
    KEPT = dt.timedelta(minutes=15)

    key = models.ForeignKey(MessengerKey, models.CASCADE, related_name="nonces")
    nonce = models.CharField(max_length=64)
    at = models.DateTimeField(default=timezone.now, db_index=True)

    objects = MessengerNonceQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key", "nonce"], name="messenger_nonce_once")]

    def __str__(self) -> str:
        return self.nonce
