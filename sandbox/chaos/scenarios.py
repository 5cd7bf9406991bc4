"""What happens: one function a scenario. Each plays on a stage of its own and answers a score."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import requests

from itop_client import ItopError
from sandbox.demo_inbox import Inbox, Panel
from sandbox.demo_processes import DemoTrouble

from .children import Trouble, wait_until
from .lane import Lane, Waits
from .stage import TICKET_CLASS, RealItop, Stage
from .talk import CLIENTS, Talk
from .tally import Score, Ticket, answered, answered_ids, tally, token_in
from .tap import Harm


@dataclass(frozen=True)
class Size:
    """How much of it: the whole, or a short version for CI."""

    messages: int = 50
    # While a third of all calls fail, each one takes a second or two.
    troubled_messages: int = 50
    kills: int = 10
    away_seconds: float = 60.0
    presses: int = 20
    forms: int = 6
    foreign: int = 40
    # Nothing more has come for so long: a sweep comes each minute, a pause of iTop lasts as long again as its trouble.
    patience: float = 200.0
    limit: float = 900.0


WHOLE = Size()
SHORT = Size(
    messages=10,
    troubled_messages=3,
    kills=3,
    away_seconds=8.0,
    presses=8,
    forms=1,
    foreign=8,
    patience=90.0,
    limit=150.0,
)


@dataclass
class Play:
    """What a scenario needs to know."""

    lane: Lane
    size: Size
    real: RealItop | None = None
    # Where scenarios say what they are about to do, when asked to.
    say: Callable[[str], None] = field(default=lambda _words: None)

    def stage(self, name: str, **options: Any) -> Stage:
        return Stage(self.lane, name, real=self.real, **options)

    def settle(self, stage: Stage, talk: Talk, score_notes: list[str]) -> Score:
        """Waits until the logs hold all that was said, and counts."""
        talk.wait()
        stage.wait_until_told()
        stage.to_itop.harms = ()
        waits = self.lane.waits
        # A request that runs late may still come, and what it erased is written again.
        quiet = waits.write + waits.unknown_outcome + 2
        complaint = stage.wait_until_kept(
            talk.said, patience=self.size.patience, limit=self.size.limit, quiet=quiet
        )
        score = tally(talk.said, stage.final_logs(), stage.to_web.calls, stage.to_itop.calls)
        score.notes += score_notes
        unanswered = len({message.token for message in talk.said} - set(answered(stage.to_web.calls)))
        if unanswered:
            score.complaints.append(f"{unanswered} messages' notifications were never answered 200.")
        if complaint:
            score.complaints.append(complaint)
        return score


def plain(play: Play) -> Score:
    with play.stage("scenario-1") as stage, _told(stage):
        return play.settle(stage, Talk(stage, messages=play.size.messages, seconds=4).start(), [])


def killed_workers(play: Play) -> Score:
    with play.stage("scenario-2") as stage, _told(stage):
        kills = 0
        talk = Talk(stage, messages=play.size.messages, seconds=2.2 * play.size.kills).start()
        while talk.goes_on or kills < play.size.kills:
            time.sleep(random.uniform(0.5, 3.0))
            worker = random.choice(stage.workers)
            worker.kill()
            worker.start()
            kills += 1
        return play.settle(stage, talk, [f"{kills} workers killed"])


def harms(play: Play) -> tuple[Harm, ...]:
    """10 % each: written and then dropped; answered after the deadline but written, half of them late; 500 or HTML."""
    waits = play.lane.waits
    return (
        Harm("drop_after", 0.10),
        # It runs after we have given up, and before or after it was tried again.
        Harm("late", 0.03, waits.write + 1),
        Harm("late", 0.02, waits.write + waits.unknown_outcome + 1),
        Harm("slow", 0.05, waits.write + 1),
        Harm("error500", 0.05),
        Harm("html", 0.05),
    )


def _harm_done(stage: Stage) -> str:
    done = stage.to_itop.harmed
    return (
        f"{done['drop_after']} dropped, {done['late'] + done['slow']} after the deadline, "
        f"{done['error500'] + done['html']} HTTP 500 or HTML of {len(stage.to_itop.calls)} calls"
    )


def troubled_itop(play: Play) -> Score:
    with play.stage("scenario-3") as stage, _told(stage):
        stage.to_itop.harms = harms(play)
        talk = Talk(stage, messages=play.size.troubled_messages, seconds=10 if play.size is WHOLE else 1)
        talk.start().wait()
        # The harm goes on until all was written: `settle` would end it.
        complaint = stage.wait_until_kept(
            talk.said, patience=play.size.patience, limit=play.size.limit, quiet=0
        )
        note = f"{_harm_done(stage)}; {play.lane.waits}"
        score = play.settle(stage, talk, [note])
        score.complaints += [complaint] if complaint and not score.complaints else []
        return score


def itop_away(play: Play) -> Score:
    with play.stage("scenario-4") as stage, _told(stage):
        talk = Talk(stage, messages=play.size.messages, seconds=15).start()
        wait_until(lambda: talk.share > 0.4 or not talk.goes_on, "the clients to write", 120)
        away = stage.send_away(play.size.away_seconds)
        away.join()
        back = time.monotonic()
        score = play.settle(stage, talk, [f"away for {play.size.away_seconds:.0f} s"])
        first = next((call for call in stage.to_itop.calls if call.begun > back), None)
        if first is not None:
            score.notes.append(f"asked again {first.begun - back:.0f} s later")
        return score


def foreign_writer(play: Play) -> Score:
    with play.stage("scenario-5") as stage, _told(stage):
        foreigners = [_Foreigner(stage, ticket, play.size.foreign) for ticket in stage.tickets]
        talk = Talk(stage, messages=play.size.messages, seconds=12).start()
        for one in foreigners:
            one.start()
        for one in foreigners:
            one.wait()
        score = play.settle(stage, talk, [])
        there = {token_in(body) for logs in stage.final_logs() for of in logs.entries.values() for body in of}
        written = [token for one in foreigners for token in one.written]
        lost = sum(token not in there for token in written)
        score.notes.append(f"the other writer lost {lost} of {len(written)}")
        return score


class _Foreigner:
    """An agent, or another integration: appends to a ticket past us, as iTop's own pages do."""

    def __init__(self, stage: Stage, ticket: Ticket, entries: int) -> None:
        self._client = stage.itop_client()
        self._ticket = ticket
        self._entries = entries
        self.written: list[str] = []
        self._trouble: ItopError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait(self) -> None:
        self._thread.join(120)
        if self._trouble is not None:
            raise Trouble(f"The other writer could not write: {self._trouble}")

    def _run(self) -> None:
        for number in range(self._entries):
            token = f"chaos-foreign-{self._ticket.id}-{number}"
            item = {"message": f"<p>Written past the bridge: {token}</p>", "format": "html"}
            try:
                self._client.update(
                    TICKET_CLASS,
                    self._ticket.id,
                    {"public_log": {"add_item": item}},
                    comment="Another writer",
                )
            except ItopError as error:
                self._trouble = error
                return
            self.written.append(token)
            time.sleep(random.uniform(0.05, 0.45))


def presses_of_create(play: Play) -> Score:
    """A form for each of the ways in which a creation can go wrong, each pressed so often."""
    waits = play.lane.waits
    ways = (
        Harm("late", 1, waits.write + 1),
        Harm("drop_after", 1),
        # The panel gives up after four seconds, whatever the service's own waits are.
        Harm("late", 1, 6.0),
        Harm("slow", 1, 6.0),
        Harm("error500", 1),
        Harm("html", 1),
    )[: play.size.forms]
    with play.stage("scenario-6", linked=0) as stage, _told(stage):
        titles, answers = [], []
        for number, way in enumerate(ways):
            titles.append(f"chaos-create-{random.randrange(36**4):x}-{number}")
            stage.begin_conversation()
            form = _Form(stage.inbox(), stage.conversation_id).open()
            form.press("Create a ticket")
            form.fill_in("Title", titles[-1])
            click = form.request("Create the ticket")
            stage.to_itop.harms, stage.to_itop.harms_of_creations = harms(play), [way]
            with ThreadPoolExecutor(4) as pool:
                presses = pool.map(
                    lambda _, click=click: _press(stage.inbox(), click), range(play.size.presses)
                )
                answers += list(presses)
            stage.to_itop.harms = ()
        return _count_tickets(play, stage, titles, answers)


class _Form(Panel):
    def request(self, words: str) -> dict[str, Any]:
        """What pressing the button with these words sends."""
        button = next(one for one in self._pressable() if words in self._words_of(one))
        return {
            "conversation_id": self._conversation_id,
            "component_id": button["id"],
            "input_values": self._values,
            "current_canvas": self._canvas,
        }

    def __init__(self, inbox: Inbox, conversation_id: str) -> None:
        super().__init__(inbox, conversation_id, str(inbox.ask("state")["admins"][0]["id"]))


def _press(inbox: Inbox, click: dict[str, Any]) -> bool:
    """Whether the panel was answered at all."""
    answer = inbox.ask("canvas", click)
    return answer["status"] == 200


def _count_tickets(play: Play, stage: Stage, titles: list[str], answers: list[bool]) -> Score:
    def there() -> bool:
        stage.children.check()
        try:
            return all(stage.tickets_titled(title) for title in titles)
        except ItopError:
            return False

    score = Score(sent=len(titles))
    try:
        wait_until(there, "each form has its ticket", play.size.patience, 0.5)
    except Trouble as trouble:
        score.complaints.append(str(trouble))
    score.notes.append(f"tickets, {len(answers)} presses, {_harm_done(stage)}")
    # Requests that run late, and a worker's own try, may still come.
    time.sleep(2 * (play.lane.waits.write + play.lane.waits.unknown_outcome) + 4)
    for title in titles:
        stage.tickets = stage.tickets_titled(title)
        score.kept += bool(stage.tickets)
        score.doubled += max(0, len(stage.tickets) - 1)
        for logs in stage.final_logs():
            entries = sum(map(len, logs.entries.values()))
            if entries != 1:
                score.complaints.append(
                    f"{logs.ticket.ref} holds {entries} entries; the conversation has one message."
                )
    if not all(answers):
        score.complaints.append(f"{answers.count(False)} presses were answered with no canvas.")
    return score


def killed_web(play: Play) -> Score:
    with play.stage("scenario-7") as stage, _told(stage):
        kills = 0
        talk = Talk(stage, messages=play.size.messages, seconds=3.5 * play.size.kills).start()
        while talk.goes_on or kills < play.size.kills:
            time.sleep(random.uniform(0.3, 2.5))
            web = random.choice(stage.webs)
            web.kill()
            web.start()
            kills += 1
            # Up again before the next one is killed: what is never answered says nothing.
            stage.wait_for_web(web)
        talk.wait()
        stage.wait_until_told()
        # Only what was answered 200 was taken; Intercom itself forgets the rest after its one repeat.
        taken = set(answered(stage.to_web.calls))
        said = len(talk.said)
        talk.said[:] = [message for message in talk.said if message.token in taken]
        ids = answered_ids(stage.to_web.calls)
        lost = ids - stage.database.notification_ids()
        note = f"web killed {kills} times, {len(ids)} notifications answered 200, {len(ids) - len(lost)} of them kept"
        score = play.settle(stage, talk, [note, f"{said - len(taken)} messages never taken"])
        if lost:
            score.complaints.append(
                f"{len(lost)} notifications were answered 200 and are not in the database."
            )
        return score


class _told:
    """On trouble, says it in one sentence with the ends of the logs."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, Trouble | ItopError | DemoTrouble | requests.RequestException | OSError):
            raise Trouble(f"{error}\n{self._stage.children.last_words()}") from error


@dataclass(frozen=True)
class Scenario:
    number: int
    title: str
    play: Callable[[Play], Score]
    # Against a real iTop, and again on PostgreSQL with Redis.
    with_real_itop: bool = False
    on_postgresql: bool = True
    # Where a third of all calls fail, most of the time is spent waiting: shorter than elsewhere.
    waits: Waits | None = None


SCENARIOS = (
    Scenario(1, f"{CLIENTS} clients, each notification twice and shuffled", plain, with_real_itop=True),
    Scenario(2, "workers killed with SIGKILL", killed_workers, with_real_itop=True),
    Scenario(3, "iTop drops, hangs, breaks: 10 % each", troubled_itop, waits=Waits(1.0, 1.0, 5.0)),
    Scenario(4, "iTop away in the middle", itop_away),
    Scenario(
        5, "another writer on the same tickets", foreign_writer, with_real_itop=True, on_postgresql=False
    ),
    Scenario(
        6, "presses of Create, four at once", presses_of_create, with_real_itop=True, on_postgresql=False
    ),
    Scenario(7, "web killed with SIGKILL", killed_web),
)
