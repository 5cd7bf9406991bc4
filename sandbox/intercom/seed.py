"""The people and conversations of a new stand-in. The customers are persons in the stand-in for iTop."""

from __future__ import annotations

import time

from . import markup
from .store import Admin, Store, Team

ADA = Admin(id="9608799", name="Ada Reyes", email="ada.reyes@it.example")
SAM = Admin(id="9608800", name="Sam Field", email="sam.field@it.example")
FIRST_LINE = Team(id="814865", name="First line", admin_ids=(ADA.id, SAM.id))
SECOND_LINE = Team(id="814866", name="Second line", admin_ids=(SAM.id,))
TEAMS = (FIRST_LINE, SECOND_LINE)

# (author, text) or (author, text, part type). The author is c (contact), a (Ada), s (Sam) or b (bot).
Line = tuple[str, str] | tuple[str, str, str]


def fill(store: Store, *, long_conversation: bool) -> None:
    """Add teammates, contacts and conversations. The newest conversation is less than half an hour old.

    With `long_conversation`, Bob Durand's conversation has 320 messages instead of 10. Adding them takes ten times as
    long as all the rest.
    """
    seeding = _Seeding(store, int(time.time()))
    for admin in (ADA, SAM):
        store.add_admin(admin)
    for team in TEAMS:
        store.add_team(team)
    seeding.printer(messages=320 if long_conversation else 10)
    seeding.two_people_of_one_address()
    seeding.outside_the_scope()
    seeding.unknown_in_itop()
    seeding.lead_without_address()
    seeding.careless_text()
    seeding.known_by_attributes()
    seeding.files_and_notes()
    seeding.alice()


class _Seeding:
    def __init__(self, store: Store, now: int) -> None:
        self._store = store
        self._now = now

    def _conversation(
        self, contact_id: str, minutes_ago: int, first: str, lines: list[Line], source_id: str = ""
    ) -> str:
        when = self._now - minutes_ago * 60
        conversation = self._store.start_conversation(
            [contact_id], markup.from_text(first), created_at=when, source_id=source_id
        )
        contact = self._store.contact(contact_id)
        step = max(1, minutes_ago * 60 // (len(lines) + 1))
        for number, (author, text, *kind) in enumerate(lines, 1):
            author_type = {"c": contact.role, "b": "bot"}.get(author, "admin")
            author_id = {"c": contact_id, "a": ADA.id, "s": SAM.id, "b": "9608700"}[author]
            self._store.add_part(
                conversation.id,
                part_type=kind[0] if kind else "comment",
                body=markup.from_text(text),
                author_type=author_type,
                author_id=author_id,
                created_at=when + number * step,
            )
        return conversation.id

    def alice(self) -> None:
        contact = self._store.add_contact(
            name="Alice Martin", email="alice.martin@acme.example", external_id="user-40"
        )
        lines: list[Line] = [
            ("a", "Hello Alice, I am sorry to hear that. Which model is it, and do any lights come on?"),
            (
                "c",
                "It is the ThinkPad from March. The power light blinks twice, then nothing.\n\n"
                "I have a customer meeting at two.",
            ),
        ]
        first = "Good morning! My laptop does not start any more since the update last night."
        self._conversation(contact.id, 24, first, lines)

    def files_and_notes(self) -> None:
        contact = self._store.add_contact(
            name="Chloé D'Arcy", email="chloe.darcy@acme.example", external_id="user-42"
        )
        lines: list[Line] = [
            ("a", "Thank you, Chloé. Could you send us the bounce message as well?"),
            (
                "a",
                "The partner changed their mail gateway on Monday, see https://status.example/mail.",
                "note",
            ),
        ]
        conversation_id = self._conversation(
            contact.id, 95, "Mails of our partner come back. The screenshot shows what they get.", lines
        )
        self._store.add_part(
            conversation_id,
            part_type="comment",
            body=None,
            author_type="user",
            author_id=contact.id,
            attachments=("bounce message.txt", "capture d'écran.png"),
            created_at=self._now - 26 * 60,
        )
        self._store.add_part(
            conversation_id,
            part_type="note",
            body=markup.from_text("Second line has the gateway's log. I keep an eye on it."),
            author_type="admin",
            author_id=SAM.id,
            attachments=("gateway.log",),
            created_at=self._now - 25 * 60,
        )

    def known_by_attributes(self) -> None:
        contact = self._store.add_contact(
            name="Dana O'Neil",
            email="dana@home.example",
            external_id="user-50",
            custom_attributes={"itop_contact_class": "Person", "itop_contact_id": 50},
        )
        lines: list[Line] = [
            ("b", "Hi Dana, I am Fin. Is this about an application that is listed in the self-service?"),
            ("c", "No, it is new. A person, please."),
        ]
        self._conversation(contact.id, 130, "I need access to the new planning application.", lines)

    def careless_text(self) -> None:
        contact = self._store.add_contact(
            name="**Layla** ليلى 🚀 [حداد](x)", email="layla.haddad@globex.example", external_id="user-51"
        )
        lines: list[Line] = [
            ("a", "Is it *all* of the screen, or a part of it?"),
            ("c", "كلها 😕 **all** of it, see [this](https://example.com/a_b_c)\n<b>not bold</b> & `so on`"),
        ]
        self._conversation(contact.id, 180, "شاشة سوداء عند التشغيل 🖥️ \\o/ -- __help__ *me*", lines)

    def lead_without_address(self) -> None:
        contact = self._store.add_contact(role="lead")
        self._conversation(contact.id, 240, "do you sell to schools?", [])

    def unknown_in_itop(self) -> None:
        contact = self._store.add_contact(name="Jo Park", email="jo@client.example", external_id="user-7")
        lines: list[Line] = [("a", "Which browser is this?"), ("c", "Firefox.")]
        self._conversation(contact.id, 300, "The export button does nothing", lines)

    def outside_the_scope(self) -> None:
        contact = self._store.add_contact(
            name="Rosa Delgado", email="rosa.delgado@globex.example", external_id="user-56"
        )
        self._conversation(contact.id, 360, "Buenos días, no puedo entrar en el portal.", [])

    def two_people_of_one_address(self) -> None:
        contact = self._store.add_contact(
            name="Reception", email="reception@globex.example", external_id="user-54"
        )
        self._conversation(contact.id, 420, "The door bell is silent again.", [])

    def printer(self, messages: int) -> None:
        contact = self._store.add_contact(
            name="Bob Durand", email="bob.durand@acme.example", external_id="user-41"
        )
        lines: list[Line] = []
        for number in range(1, messages + 1):
            if number % 10 == 0:
                lines.append(("s", f"Checked the counters, round {number // 10}.", "note"))
            else:
                writer = "c" if number % 2 else "a"
                lines.append(
                    (writer, f"Message {number}: the printer says {'toner low' if number % 3 else 'ready'}.")
                )
        # The source has the same id as the first reply, as can happen in Intercom.
        self._conversation(
            contact.id,
            60 * 24 * 3,
            "The printer on the 2nd floor has a mind of its own.",
            lines,
            source_id="37358198341",
        )
