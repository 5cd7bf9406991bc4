"""The texts that explain errors of iTop, of Intercom and of stored secrets to a teammate."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from django.utils.translation import gettext as _

from intercom_bridge.models.encryption import SecretDecryptionError
from intercom_bridge.models.reason import ReasonCode, reason_label
from itop_client import RemoteError
from itop_client.errors import ProblemKind

from .components import escape_markdown, shorten

MAX_DETAIL_LENGTH = 300
# In TicketCreation.problems, `kind` is a ProblemKind, a ReasonCode, or this: iTop's data model lacks the attribute.
UNKNOWN_ATTRIBUTE = "unknown_attribute"

PanelError = RemoteError | SecretDecryptionError


class Explanation(NamedTuple):
    """What happened, in a few words, and details or advice in one or more sentences."""

    title: str
    advice: str


def explain(error: PanelError) -> Explanation:
    """Return the texts about an error. If its code has no texts, quote the message from iTop."""
    code = _code(error)
    if code in (ReasonCode.UNSUPPORTED_CHARACTER, ReasonCode.REQUEST_TOO_LARGE):
        return Explanation(_("iTop rejected the request"), reason_label(code))
    if known := _explanations().get(code):
        return Explanation(*known)
    message = error.detail if isinstance(error, RemoteError) else ""
    quoted = {"detail": escape_markdown(shorten(message, MAX_DETAIL_LENGTH))}
    return Explanation(_("iTop rejected the request"), _("iTop's message: “%(detail)s”.") % quoted)


def explain_cached(error: PanelError, moment: str) -> str:
    """Return the notice for a screen that shows cached data. `moment` is when iTop returned the data, as text."""
    if isinstance(error, SecretDecryptionError):
        text = _("An admin must enter the iTop account again. This data is from %(moment)s.")
    elif _code(error) in (ReasonCode.ITOP_LOGIN_REFUSED, ReasonCode.ITOP_NOT_ALLOWED):
        text = _("iTop refused the bridge's account. An admin must check it. This data is from %(moment)s.")
    else:
        text = _("iTop is not responding. This data is from %(moment)s.")
    return text % {"moment": moment}


def explain_problems(problems: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return a text about the first problem of each attribute, by attribute code. See `explain_problem`."""
    texts: dict[str, str] = {}
    for problem in problems:
        texts.setdefault(problem["attribute"], explain_problem(problem))
    return texts


def explain_problem(problem: Mapping[str, Any]) -> str:
    """Return the error text for an item of TicketCreation.problems: iTop's own message if the kind is unknown."""
    if problem["kind"] == ProblemKind.TOO_LONG and not problem["max_length"]:
        return _("This text is too long for iTop's database. Please shorten it.")
    if problem["kind"] == ProblemKind.TOO_LONG:
        return too_long(problem["length"], problem["max_length"])
    if problem["kind"] in (ReasonCode.UNSUPPORTED_CHARACTER, ReasonCode.LOG_FULL):
        return reason_label(problem["kind"])
    texts = {
        ProblemKind.MISSING: _("iTop requires this field."),
        ProblemKind.NOT_ALLOWED: _("iTop does not accept this value."),
        ProblemKind.NO_SUCH_OBJECT: _("This no longer exists in iTop. Please choose again."),
        ProblemKind.INVALID_DATE: _("iTop cannot read this date."),
        ProblemKind.INVALID_FORMAT: _("iTop cannot read this value: the format is wrong."),
        UNKNOWN_ATTRIBUTE: _(
            "This field does not exist in iTop. An admin can remove it from the ticket profile."
        ),
    }
    return texts.get(problem["kind"]) or str(problem["detail"])


def too_long(length: int, max_length: int) -> str:
    return _("Too long: %(count)d characters, at most %(limit)d are allowed.") % {
        "count": length,
        "limit": max_length,
    }


def _code(error: PanelError) -> str:
    return error.code if isinstance(error, RemoteError) else ReasonCode.SECRET_UNREADABLE


def _explanations() -> dict[str, tuple[str, str]]:
    """Return the fields of an Explanation by reason code, in the current language."""
    # xgettext does not find texts inside the f-strings below.
    input_kept = _("Your input is kept.")
    renew_token = _("An admin must renew the access token of the workspace.")
    not_copied = _("The bridge could not read the conversation to copy it, so no ticket was created.")
    no_conversation = (_("Intercom did not return the conversation"), f"{not_copied} {input_kept}")
    no_token = (_("Intercom refuses the access token"), f"{not_copied} {input_kept} {renew_token}")
    no_permission = (
        _("The bridge lacks a permission in iTop"),
        _("An admin can grant the permission to the bridge's account, or end iTop's read-only mode."),
    )
    return {
        ReasonCode.ITOP_UNREACHABLE: (
            _("iTop cannot be reached"),
            _("The bridge could not connect to iTop."),
        ),
        ReasonCode.ITOP_NO_RESPONSE: (
            _("iTop did not respond in time"),
            _("iTop may be busy or temporarily down."),
        ),
        ReasonCode.ITOP_UNAVAILABLE: (
            _("iTop is not working correctly"),
            _("iTop returned an error page, or is under maintenance."),
        ),
        ReasonCode.ITOP_UNKNOWN_RESPONSE: (
            _("iTop is not working correctly"),
            _("iTop, or a proxy in front of it, sent a response that the bridge does not know."),
        ),
        ReasonCode.ITOP_LOGIN_REFUSED: (
            _("iTop refuses the bridge's account"),
            _(
                "In iTop, an admin must check that the account's token is valid, and that the account has the profile "
                "REST Services User."
            ),
        ),
        ReasonCode.ITOP_NOT_ALLOWED: no_permission,
        ReasonCode.ITOP_NOT_ADMINISTRATOR: no_permission,
        ReasonCode.SECRET_UNREADABLE: (
            _("The bridge cannot use its account"),
            _(
                "The bridge cannot decrypt a stored token. Nothing was changed. New messages are kept, and are copied "
                "once an admin has entered the token again."
            ),
        ),
        ReasonCode.INTERCOM_TOKEN_REFUSED: no_token,
        ReasonCode.INTERCOM_UNREACHABLE: no_conversation,
        ReasonCode.INTERCOM_NO_RESPONSE: no_conversation,
        ReasonCode.INTERCOM_UNAVAILABLE: no_conversation,
        ReasonCode.INTERCOM_RATE_LIMITED: no_conversation,
        ReasonCode.INTERCOM_REJECTED: no_conversation,
        ReasonCode.CONVERSATION_DELETED: no_conversation,
    }
