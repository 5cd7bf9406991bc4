"""The objects of a new stand-in: those of the recordings, and a second customer for edge cases.

Tests replay the recordings against these objects. So the objects of the recordings must not change, and organization 4
must get no further person or ticket. All other objects belong to organization 5.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from . import accounts, markup
from .datamodel import DataModel, data_model
from .store import Store

_NOT_STARTED = "1970-01-01 00:00:00"  # start date of a demo ticket until a store is opened
RECORDED_DAY = "2026-11-22"
TOKEN = "sandbox-token"  # noqa: S105 - public on purpose: it opens nothing but the sandbox
TOKENS = {  # login of a token account -> its token
    "intercom_sync_app": TOKEN,
    "norest_app": "token-of-norest-app",
    "adminonly_app": "token-of-adminonly-app",
    "agent_app": "token-of-agent-app",
    "portal_app": "token-of-portal-app",
    "reader_app": "token-of-reader-app",
    "disabled_app": "token-of-disabled-app",
}
PROFILES = {
    1: accounts.ADMINISTRATOR,
    2: accounts.PORTAL,
    5: accounts.SUPPORT,
    117: "Configuration Manager",
    1024: accounts.REST,
}


def open_store(
    database: str | Path,
    *,
    model: DataModel,
    timezone: str,
    clock: Callable[[], float],
    language: str,
    token: str = TOKEN,
    demo: bool = True,
) -> Store:
    """Open a database and fill it if it is new.

    ``demo`` is whether to add the tickets that no recording contains. ``token`` is the token of the account
    intercom_sync_app. ``language`` is the language of all accounts.
    """
    initial = _seeded_database(model.extension, model.version, demo)
    store = Store(database, model=model, timezone=timezone, clock=clock, initial=initial)
    with store.transaction():
        store.update("UserToken", 2, auth_token=token)
        store.connection.execute('UPDATE "User" SET language = ?', (language,))
        # The demo tickets appear in no recording, so their dates may differ: they start when a new store is opened.
        now = store.now()
        store.connection.execute(
            'UPDATE "Ticket" SET start_date = ?, last_update = ? WHERE start_date = ?',
            (now, now, _NOT_STARTED),
        )
    return store


@cache
def _seeded_database(extension: bool, version: str, demo: bool) -> sqlite3.Connection:
    """Return a database in memory. New stores are copies of it, because filling one takes longer than most tests."""
    store = Store(model=data_model(extension=extension, version=version))
    with store.transaction():
        _organizations(store)
        _contacts(store)
        _accounts(store)
        _services(store)
        _recorded_tickets(store)
        # The next numbers. The recorded iTop had used up the lower ones for deleted tickets and refused creations.
        store.set_number("Ticket", 23)
        store.set_number("ref", 29)
        store.set_number("Attachment", 5)
        if demo:
            _demo_tickets(store)
    return store.connection


def _organizations(store: Store) -> None:
    for number, name, model in (
        (1, "My Company/Department", 0),
        (2, "Demo", 0),
        (3, "IT Department", 0),
        (4, "Acme Corp", 1),
        (5, "Globex & Söhne", 1),
    ):
        store.insert(
            "Organization", id=number, name=name, code=name.split()[0].upper(), deliverymodel_id=model
        )
    store.insert("Organization", id=6, name="Globex Iberia", code="GLOBEX-ES", parent_id=5)
    store.insert("DeliveryModel", id=1, name="Standard support", org_id=3)


def _contacts(store: Store) -> None:
    people: tuple[tuple[int, str, str, int, str], ...] = (
        (1, "My first name", "My last name", 1, "my.email@foo.example"),
        (2, "Pablo", "Picasso", 2, "pablo.picasso@demo.example"),
        (9, "Jules", "Verne", 3, "jules.verne@it.example"),
        (10, "Agatha", "Christie", 3, "agatha.christie@it.example"),
        (40, "Alice", "Martin", 4, "alice.martin@acme.example"),
        (41, "Bob", "Durand", 4, "bob.durand@acme.example"),
        (42, "Chloé", "D'Arcy", 4, "chloe.darcy@acme.example"),
        (50, "Dana", "O'Neil", 5, "dana.oneil@globex.example"),
        (51, "ليلى", "حداد", 5, "layla.haddad@globex.example"),
        (52, "Sam 🚀", "Rocket", 5, "sam.rocket@globex.example"),
        (53, "*Max*", "[Mark](down) _Smith_", 5, "max.smith@globex.example"),
        (54, 'Ann "Annie"', "Ärzte <b>", 5, "reception@globex.example"),
        (55, "Ben", "Twin", 5, "reception@globex.example"),
        (56, "Rosa", "Delgado", 6, "rosa.delgado@globex.example"),
    )
    for number, first, name, organization, email in people:
        phone = "+33 4 76 00 00 00" if number == 40 else ""
        values: dict[str, Any] = {
            "first_name": first,
            "name": name,
            "org_id": organization,
            "email": email,
            "phone": phone,
        }
        store.insert("Person", id=number, **values)
    store.insert(
        "Person",
        id=57,
        first_name="Otto",
        name="Gone",
        org_id=5,
        email="otto.gone@globex.example",
        status="inactive",
    )
    store.insert("Team", id=37, name="Helpdesk", org_id=3)
    store.insert("Team", id=38, name="Second line", org_id=3, email="second.line@it.example")
    for number, (team, person) in enumerate(((37, 9), (37, 10), (38, 10)), 1):
        store.insert("lnkPersonToTeam", id=number, team_id=team, person_id=person)
    for number, team in enumerate((37, 38), 1):
        store.insert("lnkDeliveryModelToContact", id=number, deliverymodel_id=1, contact_id=team)


def _accounts(store: Store) -> None:
    for number, name in PROFILES.items():
        store.insert("URP_Profiles", id=number, name=name)
    link = 1
    for number, login, contact, password, profiles in (
        (1, "admin", 1, "admin", (1, 1024)),
        (2, "intercom_sync_app", 0, "", (1, 1024)),
        (3, "norest_app", 0, "", (5,)),
        (4, "adminonly_app", 0, "", (1,)),
        (5, "agent_app", 0, "", (5, 1024)),
        (6, "portal_app", 0, "", (2, 1024)),
        (7, "reader_app", 0, "", (117, 1024)),
        (8, "alice.martin", 40, "Passw0rd!Alice", (2,)),
        (9, "bob.durand", 41, "Passw0rd!Bob", (2,)),
        (10, "disabled_app", 0, "", (1, 1024)),
        (11, "jverne", 9, "Passw0rd!agent", (5,)),
        (12, "achristie", 10, "Passw0rd!agent", (5,)),
        (13, "layla.haddad", 51, "Passw0rd!Layla", (2,)),
        (14, "facts_rest_only", 0, "Passw0rd!facts", (1024,)),
        (15, "facts_other_org", 0, "Passw0rd!facts", (5, 1024)),
    ):
        if login in TOKENS:
            status = "disabled" if login == "disabled_app" else "enabled"
            store.insert("UserToken", id=number, login=login, status=status, auth_token=TOKENS[login])
        else:
            store.insert(
                "UserLocal",
                id=number,
                login=login,
                contactid=contact,
                password=password,
                password_renewed_date=RECORDED_DAY,
            )
        for profile in profiles:
            store.insert("URP_UserProfile", id=link, userid=number, profileid=profile, reason="seed")
            link += 1
    store.insert("URP_UserOrg", id=1, userid=15, allowed_org_id=3, reason="seed")


def _services(store: Store) -> None:
    for number, name in ((1, "IT Services"), (2, "Acme catalog"), (3, "Globex catalog")):
        store.insert("ServiceFamily", id=number, name=name)
    stock = (
        (1, "Computers and peripherals", 1, "production"),
        (2, "Software", 1, "production"),
        (3, "Telecom and connectivity", 1, "production"),
        (4, "Workplace", 2, "production"),
        (5, "E-mail & messaging", 2, "production"),
        (6, "Business applications <ERP>", 2, "production"),
        (7, "Future cloud", 2, "implementation"),
        (8, "Fax gateway", 2, "obsolete"),
        (9, "Empty service", 2, "production"),
    )
    twelve = (
        "Accounts and access",
        "Badge and doors 🔑",
        "Cloud storage",
        "Data protection",
        "Employee onboarding",
        "Field devices",
        "Génie logiciel",
        "Helpdesk *priority*",
        "Internet access",
        "Jobs and batch",
        "Kiosk [lobby](floor 0)",
        "دعم فني",
    )
    services = stock + tuple((number, name, 3, "production") for number, name in enumerate(twelve, 10))
    for number, name, family, status in services:
        store.insert("Service", id=number, name=name, org_id=3, servicefamily_id=family, status=status)
    subcategories: tuple[tuple[int, str, int, str, str], ...] = (
        (18, "New laptop", 4, "service_request", "production"),
        (19, "Laptop broken", 4, "incident", "production"),
        (20, "Typewriter ribbon", 4, "service_request", "obsolete"),
        (21, "New mailbox", 5, "service_request", "production"),
        (22, "Mail not received", 5, "incident", "production"),
        (23, "Move to the cloud", 7, "service_request", "implementation"),
        (24, "Access request", 6, "service_request", "production"),
        (25, "ERP slow", 6, "incident", "production"),
    )
    for number, name, service, request_type, status in subcategories:
        store.insert(
            "ServiceSubcategory",
            id=number,
            name=name,
            service_id=service,
            request_type=request_type,
            status=status,
        )
    following = 26
    for number, name, family, _ in services:
        if family != 3:
            continue
        for label, request_type in (
            (f"{name}: something is broken", "incident"),
            (f"{name}: request", "service_request"),
        ):
            values = {
                "name": label,
                "service_id": number,
                "request_type": request_type,
                "status": "production",
            }
            store.insert("ServiceSubcategory", id=following, **values)
            following += 1
    for extra in range(1, 15):  # a choice that does not fit one dropdown
        values = {
            "name": f"Access to application {extra:02d}",
            "service_id": 10,
            "request_type": "service_request",
        }
        store.insert("ServiceSubcategory", id=following, status="production", **values)
        following += 1
    for number, name, organization in ((1, "Acme support contract", 4), (2, "Globex support contract", 5)):
        store.insert(
            "CustomerContract", id=number, name=name, org_id=organization, provider_id=3, status="production"
        )
    offered = [(1, number) for number in range(4, 10)] + [(2, number) for number in range(10, 22)]
    for link, (contract, service) in enumerate(offered, 1):
        store.insert(
            "lnkCustomerContractToService", id=link, customercontract_id=contract, service_id=service
        )


def _ticket(store: Store, number: int, title: str, **values: Any) -> None:
    caller = "Bob" if values.get("caller_id") == 41 else "Alice"
    known: dict[str, Any] = {
        "ref": f"R-{number:06d}",
        "org_id": 4,
        "caller_id": 40,
        "description": f"<p>{title}</p><p>Reported by {caller}</p>",
        "start_date": f"{RECORDED_DAY} 12:55:38",
        "last_update": f"{RECORDED_DAY} 12:55:39",
        "impact": "3",
        "urgency": "3",
        "origin": "portal",
    }
    store.insert("UserRequest", id=number, title=title, **(known | values))


def _recorded_tickets(store: Store) -> None:
    noon = f"{RECORDED_DAY} 12:55:39"
    helpdesk = {"team_id": 37, "agent_id": 9, "tto": 1}
    assigned = helpdesk | {"assignment_date": noon}
    resolved = assigned | {"resolution_date": noon, "ttr": 1, "time_spent": "1", "resolution_code": "other"}
    broken = {"request_type": "incident", "service_id": 4, "servicesubcategory_id": 19}
    request = {"request_type": "service_request"}
    _ticket(store, 1, "Laptop does not boot", **broken, last_update=f"{RECORDED_DAY} 12:58:33")
    _ticket(
        store,
        2,
        "Mail from partner not received",
        request_type="incident",
        service_id=5,
        servicesubcategory_id=22,
        urgency="2",
        status="assigned",
        **assigned,
    )
    _ticket(
        store,
        3,
        "Need a new mailbox",
        **request,
        service_id=5,
        servicesubcategory_id=21,
        status="resolved",
        solution="<p>Mailbox created</p>",
        **resolved,
    )
    _ticket(
        store,
        4,
        "ERP slow at month end",
        request_type="incident",
        service_id=6,
        servicesubcategory_id=25,
        status="closed",
        close_date=noon,
        solution="<p>Index rebuilt</p>",
        user_comment="Thanks",
        **resolved,
    )
    _ticket(
        store,
        5,
        "Please give me a helicopter",
        **request,
        service_id=4,
        servicesubcategory_id=18,
        status="rejected",
        approver_id=41,
        tto=1,
        ttr=1,
    )
    _ticket(
        store,
        6,
        "ERP access for the new trainee",
        **request,
        service_id=6,
        servicesubcategory_id=24,
        status="pending",
        last_pending_date=noon,
        pending_reason="Waiting for the manager",
        ttr=1,
        **assigned,
    )
    _ticket(store, 7, "Printer (2nd floor) is out of toner", **broken, caller_id=41)
    _ticket(
        store,
        8,
        "Screen flickers",
        **broken,
        status="assigned",
        **assigned,
        last_update=f"{RECORDED_DAY} 12:55:40",
        public_log=[
            _entry("2024-10-01 09:00:00", "Alice Martin", 8, "<p>My screen <b>flickers</b></p>"),
            _entry("2024-10-01 09:30:00", "Jules Verne", 11, "<p>Can you send a picture?</p>"),
            _entry(
                f"{RECORDED_DAY} 12:55:40", "intercom_sync_app", 2, "<p>Plain text entry by the API user</p>"
            ),
        ],
        private_log=[
            _entry(f"{RECORDED_DAY} 12:55:40", "intercom_sync_app", 2, "<p>internal: probably the cable</p>")
        ],
    )


def _entry(date: str, name: str, user: int, message: str) -> dict[str, Any]:
    return {
        "date": date,
        "user_login": name,
        "user_id": str(user),
        "format": "html",
        "message": markup.sanitise(message),
    }


def _demo_tickets(store: Store) -> None:
    """Add a person with more tickets than one page shows. Their titles contain characters that must be escaped."""
    titles = (
        "Badge does not open the *north* door",
        "VPN [down](again)",
        "شاشة سوداء عند التشغيل",
        "🖨️ paper jam, third time",
        'Folder "Sales & Öffentlich" vanished',
        "<script>alert(1)</script> in my signature",
        "New starter: Zoë",
        "Password reset",
        "Phone has no dial tone",
        "Projector __blurred__",
        "Access to application 07",
        "Slow Wi-Fi",
    )
    for position, title in enumerate(titles):
        number = store.take_number("ref")
        store.insert(
            "UserRequest",
            ref=f"R-{number:06d}",
            title=title,
            description=f"<p>{escape(title)}</p>",
            org_id=5,
            caller_id=(50, 50, 51, 52, 50, 53, 50, 50, 50, 50, 50, 50)[position],
            request_type="incident",
            service_id=10 + position,
            impact="3",
            urgency="3",
            status=("new", "assigned", "pending", "new")[position % 4],
            team_id=37 if position % 4 else 0,
            agent_id=9 if position % 4 else 0,
            pending_reason="Waiting for the supplier" if position % 4 == 2 else "",
            start_date=_NOT_STARTED,
            last_update=_NOT_STARTED,
        )
