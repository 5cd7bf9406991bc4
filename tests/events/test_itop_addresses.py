"""The bridge recognises the addresses of an iTop, and those of its pages that customers cannot open."""

from __future__ import annotations

import itertools
import time

import pytest

from intercom_bridge.models import ItopInstance
from tests.cases.cost import takes_linear_time

ITOP = ItopInstance(name="iTop", url="https://itop.example/itop")


@pytest.mark.parametrize(
    "url",
    [
        "https://itop.example/itop/pages/UI.php?operation=details&class=UserRequest&id=1",
        "HTTPS://ITOP.Example/itop/pages/UI.php",
        "https://itop.example:443/itop/pages/UI.php",
        "http://itop.example/itop/pages/UI.php",
        "http://itop.example:80/itop/pages/UI.php",
        "https://itop.example/itop/webservices/export-v2.php",
        "https://itop.example/itop/env-production/some-module/page.php",
    ],
)
def test_pages_that_customers_cannot_open_are_recognised(url: str) -> None:
    assert ITOP.has_page(url)
    assert ITOP.is_console_page(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://itop.example/itop",
        "https://itop.example/itop/",
        "https://itop.example/itop/index.php",
        "https://itop.example/itop/pages/exec.php/object/edit/UserRequest/1?exec_module=itop-portal-base",
        "https://itop.example/itop/pages/exec.php?exec_module=itop-portal-base",
    ],
)
def test_customers_can_open_the_portals_and_the_home_page(url: str) -> None:
    assert ITOP.has_page(url)
    assert not ITOP.is_console_page(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://itop.example/itop-manual/pages/UI.php",
        "https://itop.example/",
        "https://itop.example:8443/itop/pages/UI.php",
        "https://itop.example.com/itop/pages/UI.php",
        "https://other.example/?url=https://itop.example/itop/pages/UI.php",
        "mailto:support@itop.example",
        "https://itop.example:port/itop/pages/UI.php",
        "https://[itop.example/itop/pages/UI.php",
        "",
    ],
)
def test_other_addresses_are_not_pages_of_the_itop(url: str) -> None:
    assert not ITOP.has_page(url)
    assert not ITOP.is_console_page(url)


@pytest.mark.parametrize(
    "text",
    [
        "https://itop.example/itop/pages/UI.php",
        "ITOP.example/itop/pages/UI.php?operation=details&class=UserRequest&id=1",
        "(itop.example:443/itop/pages/UI.php)",
        "//itop.example:80/itop/pages/UI.php",
        "https://other.example/?url=https://itop.example/itop/pages/UI.php",
        "https://itop.example/itop/pages/exec.php?next=https://itop.example/itop/pages/UI.php",
        "itop.example, or itop.example/itop/pages/UI.php",
    ],
)
def test_a_page_that_customers_cannot_open_is_found_in_a_text(text: str) -> None:
    assert ITOP.has_console_page_in(text)


@pytest.mark.parametrize(
    "text",
    [
        "itop.example",
        "itop.example/itop",
        "support@itop.example",
        "itop.example/itop/pages/exec.php/object/edit/UserRequest/1",
        "https://other.example/?url=https://itop.example/itop/&data=1",
        "https://other.example/?url=https://itop.example/itop/index.php?a=1",
        "my-itop.example/itop/pages/UI.php",
        "itop.example.com/itop/pages/UI.php",
        "itop.example:8443/itop/pages/UI.php",
        "",
    ],
)
def test_no_page_that_customers_cannot_open_is_found_in_another_text(text: str) -> None:
    assert not ITOP.has_console_page_in(text)


def test_the_host_of_an_itop_is_not_mistaken_for_an_address_in_a_text() -> None:
    itop = ItopInstance(url="http://itop")
    assert not itop.has_console_page_in("iTop/Intercom")
    assert itop.has_console_page_in("https://other.example/?url=http://itop/pages/UI.php")


@pytest.mark.parametrize("address", ["https://ITOP.example", "https://itop.example:443/"])
def test_the_spelling_of_the_itop_s_own_address_does_not_matter(address: str) -> None:
    itop = ItopInstance(name="iTop", url=address)
    assert itop.is_console_page("https://itop.example/pages/UI.php?id=1")
    assert not itop.is_console_page("https://itop.example/")


def test_customers_can_open_a_portal_below_the_itop_s_address() -> None:
    itop = ItopInstance(url="https://itop.example", portal_url="https://itop.example/support/{class}/{id}")
    assert not itop.is_console_page("https://itop.example/support/UserRequest/1")
    assert itop.is_console_page("https://itop.example/pages/UI.php?id=1")


def test_a_portal_directly_below_the_itops_address_does_not_open_the_console() -> None:
    itop = ItopInstance(url="https://itop.example/itop", portal_url="https://itop.example/itop/{class}/{id}")
    assert itop.is_console_page("https://itop.example/itop/pages/UI.php?id=1")


def test_an_itop_without_a_web_address_has_no_pages() -> None:
    itop = ItopInstance(url="ftp://itop.example/itop")
    assert not itop.has_page("mailto:support@itop.example")
    assert not itop.has_console_page_in("ftp://itop.example/itop/pages/UI.php")
    assert not ItopInstance().has_console_page_in("//pages/UI.php")


def test_the_time_for_a_long_host_grows_linearly() -> None:
    hosts = itertools.count()

    def seconds(factor: int) -> float:
        # A different URL each time, because `urlsplit` remembers its results.
        url = f"https://{next(hosts)}" + "\u0301\u0323" * factor * 3_000
        start = time.process_time()
        ITOP.is_console_page(url)
        return time.process_time() - start

    assert takes_linear_time(seconds)
