"""The chat widget in a real browser: the sandbox's portal, the extension's script, and a JavaScript JWT library."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from intercom_bridge.models import Messenger, MessengerKey, TicketProfile, Workspace
from sandbox.intercom import MESSENGER_SECRET, Intercom
from tests.browser import browser_test, new_page

from .inbox import Inbox

pytestmark = [*browser_test, pytest.mark.django_db(transaction=True)]
ALICE = 40
JOSE = Path(__file__).parents[1] / "messenger/vendor/jose.js"
EXTENSION = Path(__file__).parents[2] / "intercom_bridge/messenger/extension/main.php"


@pytest.fixture
def messenger(workspace: Workspace) -> Messenger:
    MessengerKey.objects.current(workspace.itop)
    return Messenger.objects.create(workspace=workspace, enabled=True, api_secret=MESSENGER_SECRET)


@pytest.fixture
def portal(browser: Any, live_server: Any, messenger: Messenger) -> Iterator[Any]:
    """Return a page of the sandbox's portal."""
    with new_page(browser, f"{live_server.url}/sandbox/portal/") as page:
        yield page


def test_a_conversation_that_begins_in_the_portal_is_verified_in_the_panel(
    portal: Any, inbox: Inbox, messenger: Messenger, intercom: Intercom
) -> None:
    # Another workspace comes first, but does not serve Alice.
    other = Workspace.objects.create(
        workspace_id="aaaa0000",
        itop=messenger.workspace.itop,
        profile=TicketProfile.objects.get(),
        scope="SELECT Organization WHERE name = 'Nobody here'",
    )
    Messenger.objects.create(workspace=other, enabled=True, api_secret="other", position=0)
    Messenger.objects.filter(pk=messenger.pk).update(position=1)
    portal.goto(f"?person={ALICE}")
    portal.get_by_text(f"Messenger of workspace {messenger.workspace.workspace_id}").wait_for()
    portal.get_by_label("Message").fill("The portal does not let me print")
    portal.get_by_role("button", name="Send").click()
    portal.locator("p.sent").wait_for()
    inbox.load()
    inbox.page.locator("#conversations").get_by_text("The portal does not let me print").click()
    inbox.panel.get_by_text("verified by iTop").wait_for()
    assert inbox.panel.get_by_text("Alice Martin").count() == 1
    assert inbox.panel.get_by_text("Not verified").count() == 0
    assert intercom.store.contacts()[-1].external_id == messenger.workspace.itop.user_id_of(ALICE)


def test_a_page_or_person_that_is_not_served_has_no_messenger(portal: Any) -> None:
    for address in (f"?person={ALICE}&page=another-portal", "?person=999999"):
        portal.goto(address)
        portal.get_by_text("this person sees no Messenger").wait_for()
        assert portal.locator(".messenger").count() == 0


def test_without_an_answer_of_the_bridge_the_page_has_no_chat(portal: Any) -> None:
    MessengerKey.objects.all().delete()
    portal.goto(f"?person={ALICE}")
    portal.get_by_text("The bridge did not respond, so the page has no Messenger.").wait_for()


@pytest.fixture
def blank(browser: Any) -> Iterator[Any]:
    """Return a page whose requests never leave the browser. WebCrypto needs a secure context."""
    with new_page(browser, "https://itop.test/") as page:
        page.context.route("**/*", lambda route: route.fulfill(content_type="text/html", body="<p>iTop</p>"))
        yield page
        page.evaluate("localStorage.clear()")
        page.context.unroute_all()


VERIFY = """async ([module, token, secret]) => {
    const { jwtVerify } = await import(URL.createObjectURL(new Blob([module], { type: "text/javascript" })));
    try {
        const key = new TextEncoder().encode(secret);
        return (await jwtVerify(token, key, { algorithms: ["HS256"] })).payload.user_id;
    } catch (error) { return error.code; }
}"""


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        ("genuine", "itop-1-40"),
        ("tampered", "ERR_JWS_SIGNATURE_VERIFICATION_FAILED"),
        ("other secret", "ERR_JWS_SIGNATURE_VERIFICATION_FAILED"),
        ("expired", "ERR_JWT_EXPIRED"),
        ("HS512", "ERR_JOSE_ALG_NOT_ALLOWED"),
        ("none", "ERR_JOSE_ALG_NOT_ALLOWED"),
    ],
)
def test_two_libraries_judge_a_token_alike(blank: Any, kind: str, verdict: str) -> None:
    """Tokens that PyJWT makes, as the bridge does, are judged by jose and by PyJWT."""
    claims = {
        "user_id": "itop-1-40",
        "name": "Zoë 👍",
        "exp": int(time.time()) + (3600 if kind != "expired" else -60),
    }
    algorithm = {"HS512": "HS512", "none": "none"}.get(kind, "HS256")
    secret: Any = {"none": None, "other secret": "x" * 40}.get(kind, MESSENGER_SECRET * 2)
    token = jwt.encode(claims, secret, algorithm=algorithm)
    if kind == "tampered":
        head, _body, signature = token.split(".")
        forged = jwt.encode({**claims, "user_id": "itop-1-41"}, MESSENGER_SECRET * 2, algorithm="HS256")
        token = ".".join((head, forged.split(".")[1], signature))
    blank.goto("/")
    assert blank.evaluate(VERIFY, [JOSE.read_text(), token, MESSENGER_SECRET * 2]) == verdict
    if kind == "genuine":
        assert jwt.decode(token, MESSENGER_SECRET * 2, algorithms=["HS256"])["user_id"] == verdict
    else:
        with pytest.raises(jwt.InvalidTokenError):
            jwt.decode(token, MESSENGER_SECRET * 2, algorithms=["HS256"])


Show = Callable[[str, dict[str, Any] | None], None]


@pytest.fixture
def show(blank: Any) -> Show:
    """Return a function that loads a page of iTop with the extension's script, for a user with settings or none."""
    source = EXTENSION.read_text()
    script = source[source.index("(function (user, settings)") : source.index("\nJS;")]

    def load(user: str, settings: dict[str, Any] | None) -> None:
        filled = script.replace("$sUser", user).replace("$sSettings", json.dumps(settings))
        links = '<a href="/pages/logoff.php?operation=do_logoff">Log off</a>'
        page = f"<!doctype html><head></head><body>{links}<script>{filled}</script></body>"
        widget = (
            "if (!document.cookie.includes('intercom-session-')) "
            "document.cookie = 'intercom-session-abcd1234=' + window.intercomSettings.intercom_user_jwt + '; path=/';"
            "localStorage.setItem('intercom.intercom-state-abcd1234', window.intercomSettings.intercom_user_jwt);"
            "window.calls = []; window.Intercom = (...call) => window.calls.push(call);"
        )
        blank.context.unroute_all()
        blank.context.route(
            "**/*", lambda route: route.fulfill(content_type="text/html", body="<p>Log in</p>")
        )
        blank.context.route(
            "https://widget.intercom.io/**",
            lambda route: route.fulfill(content_type="text/javascript", body=widget),
        )
        blank.context.route(
            "https://itop.test/", lambda route: route.fulfill(content_type="text/html", body=page)
        )
        blank.goto("/")

    return load


SETTINGS = {"app_id": "abcd1234", "api_base": "https://api-iam.intercom.io", "intercom_user_jwt": "of-alice"}
SESSION = "intercom-session-abcd1234"


def test_the_script_loads_the_messenger_once_and_ends_it_at_logout(blank: Any, show: Show) -> None:
    show("alice", SETTINGS)
    blank.wait_for_function("() => window.calls !== undefined")
    assert blank.evaluate("window.intercomSettings.intercom_user_jwt") == "of-alice"
    assert blank.locator("script[src='https://widget.intercom.io/widget/abcd1234']").count() == 1
    assert f"{SESSION}=of-alice" in blank.evaluate("document.cookie")
    blank.evaluate(
        "addEventListener('beforeunload', () => sessionStorage.setItem('calls', JSON.stringify(calls)))"
    )
    blank.get_by_text("Log off").click()
    blank.get_by_text("Log in").wait_for()
    assert json.loads(blank.evaluate("sessionStorage.getItem('calls')")) == [["shutdown"]]
    assert SESSION not in blank.evaluate("document.cookie")
    assert blank.evaluate("localStorage.length") == 0


@pytest.mark.parametrize("settings", [None, SETTINGS | {"intercom_user_jwt": "of-bob"}], ids=["none", "own"])
def test_the_next_person_sees_nothing_of_a_session_that_timed_out(
    blank: Any, show: Show, settings: dict[str, Any] | None
) -> None:
    show("alice", SETTINGS)
    blank.wait_for_function("() => window.calls !== undefined")
    # Without a click on the link, the cookie of the Messenger stays until the next page of a signed-in person.
    show("bob", settings)
    if settings:
        blank.wait_for_function("() => window.calls !== undefined")
    cookie = blank.evaluate("document.cookie")
    assert "of-alice" not in cookie + blank.evaluate("JSON.stringify(localStorage)")
    assert ("of-bob" in cookie) is bool(settings)


def test_the_same_person_keeps_the_session(blank: Any, show: Show) -> None:
    for token in ("of-alice", "newer"):
        show("alice", SETTINGS | {"intercom_user_jwt": token})
        blank.wait_for_function("() => window.calls !== undefined")
    assert blank.evaluate("window.intercomSettings.intercom_user_jwt") == "newer"
    assert f"{SESSION}=of-alice" in blank.evaluate("document.cookie")
