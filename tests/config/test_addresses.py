"""Which hosts and schemes each URL accepts: probes accept any, everything else only the configured host."""

from __future__ import annotations

import pytest
from django.test import Client
from pytest_django import Settings

from .started import PRODUCTION, python

PROBES = ["/healthz", "/readyz"]


@pytest.fixture
def production(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["bridge.example.com"]
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")


@pytest.mark.django_db
@pytest.mark.parametrize("path", PROBES)
@pytest.mark.parametrize("host", ["10.1.2.3:8000", "[::1]", "elsewhere.example", "not a host/", ""])
def test_probes_accept_any_host_and_plain_http(
    production: None, client: Client, path: str, host: str
) -> None:
    for method in (client.get, client.head):
        assert method(path, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/admin/login/",
        "/webhooks/intercom",
        "/canvas-kit/initialize",
        "/pages/exec.php",
        "/healthz/",
        "/healthz/x",
        "//healthz",
        "/HEALTHZ",
        "/nowhere",
    ],
)
def test_every_other_url_refuses_an_unknown_host(production: None, client: Client, path: str) -> None:
    headers = {"Host": "10.1.2.3:8000", "X-Forwarded-Proto": "https"}
    assert client.get(path, headers=headers).status_code == 400
    assert client.post(path, b"{}", content_type="application/json", headers=headers).status_code == 400


@pytest.mark.django_db
def test_without_x_forwarded_proto_every_other_url_redirects_to_https(
    production: None, client: Client
) -> None:
    """The README insists on X-Forwarded-Proto because Intercom follows no redirects."""
    headers = {"Host": "bridge.example.com"}
    answer = client.post("/webhooks/intercom", b"{}", content_type="application/json", headers=headers)
    assert (answer.status_code, answer["Location"]) == (301, "https://bridge.example.com/webhooks/intercom")
    headers["X-Forwarded-Proto"] = "https"
    answer = client.post("/webhooks/intercom", b"{}", content_type="application/json", headers=headers)
    assert answer.status_code == 401


def test_production_exempts_the_probes_from_https() -> None:
    """The fixture above copies these settings; this checks the settings themselves."""
    code = """
import django, logging
django.setup()
logging.disable()
from django.test import Client
print(Client().get("/healthz", headers={"Host": "10.1.2.3"}).status_code)
print(Client().get("/admin/", headers={"Host": "10.1.2.3"}).status_code)
print(Client().get("/admin/", headers={"Host": "bridge.example.com"}).status_code)
print(Client().get("/", headers={"Host": "bridge.example.com", "X-Forwarded-Proto": "https"})["Location"])
"""
    made = python(code, DJANGO_SETTINGS_MODULE="settings.production", **PRODUCTION)
    assert made.stdout.split() == ["200", "400", "301", "/admin/"], made.stderr


@pytest.mark.parametrize(
    ("intercom", "place"), [("http://127.0.0.1:8002", "/sandbox/"), ("", "/admin/")], ids=["demo", "make run"]
)
def test_the_root_redirects_to_the_inbox_only_if_it_has_an_intercom_to_show(
    intercom: str, place: str
) -> None:
    code = """
import django
django.setup()
from django.test import Client
for method in (Client().get, Client().head):
    answer = method("/", headers={"Host": "127.0.0.1"})
    print(answer.status_code, answer["Location"])
"""
    settings = "settings.development"
    made = python(code, DJANGO_SETTINGS_MODULE=settings, INTERCOM_API_URL=intercom)
    assert made.stdout.splitlines() == [f"302 {place}"] * 2, made.stderr


def test_the_root_refuses_post(client: Client) -> None:
    assert client.post("/", b"{}", content_type="application/json").status_code == 405
