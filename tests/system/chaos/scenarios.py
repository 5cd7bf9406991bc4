"""The scenarios: one function per scenario, which runs on its own test bed and returns a result."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import requests

from itop_client import ItopError
from sandbox.demo_inbox import Inbox, Panel
from sandbox.demo_processes import DemoError

from .children import SystemTestError, wait_until
from .environment import Environment, Waits
from .files import FileStory
from .flood import WANTED_ADDED_SECONDS, Flood
from .proxy import Fault
from .result import Result, Ticket, acknowledged_ids, acknowledgement_times, tally, token_in, writes
from .testbed import TICKET_CLASS, RealItop, Testbed
from .traffic import CLIENTS, Traffic
from .two_way import AGENTS, Story, wait_until_reported


@dataclass(frozen=True)
class Size:
    """The size of a run: complete, or short for CI."""

    messages: int = 50
    # While a third of all calls fail, each message takes one to two seconds.
    messages_with_faults: int = 50
    kills: int = 10
    away_seconds: float = 60.0
    presses: int = 20
    forms: int = 6
    foreign: int = 40
    # Tickets and conversations, and the entries of each agent over so many seconds.
    tickets: int = 20
    talks: int = 30
    entries: int = 50
    entries_seconds: float = 90.0
    # Files in each direction, over so many seconds.
    files: int = 100
    files_seconds: float = 90.0
    flood: int = 1600
    # Of the measurements without and with the flood.
    flood_seconds: int = 30
    # Give up after this time without progress: reconciliation runs each minute, and the circuit breaker adds a pause.
    patience: float = 200.0
    limit: float = 900.0


WHOLE = Size()
SHORT = Size(
    messages=6,
    messages_with_faults=3,
    kills=3,
    away_seconds=8.0,
    presses=8,
    forms=1,
    foreign=8,
    tickets=4,
    talks=6,
    entries=6,
    entries_seconds=10.0,
    files=12,
    files_seconds=12.0,
    flood=400,
    flood_seconds=10,
    patience=90.0,
    limit=150.0,
)


@dataclass
class ScenarioContext:
    """The parameters of a scenario."""

    environment: Environment
    size: Size
    real: RealItop | None = None

    def testbed(self, name: str, **options: Any) -> Testbed:
        return Testbed(self.environment, name, real=self.real, **options)

    def wait_and_count(self, testbed: Testbed, traffic: Traffic, notes: list[str]) -> Result:
        """Wait until the logs contain all messages, and count them."""
        traffic.wait()
        testbed.wait_until_delivered()
        testbed.to_itop.faults = ()
        waits = self.environment.waits
        # A late request may still arrive and erase an entry, which is then written again.
        quiet = waits.write + waits.unknown_outcome + 2
        problem = testbed.wait_until_written(
            traffic.sent, patience=self.size.patience, limit=self.size.limit, quiet=quiet
        )
        result = tally(traffic.sent, testbed.final_logs(), testbed.to_web.calls, testbed.to_itop.calls)
        result.notes += notes
        unanswered = len(
            {message.token for message in traffic.sent} - set(acknowledgement_times(testbed.to_web.calls))
        )
        if unanswered:
            result.problems.append(f"{unanswered} messages' notifications were never answered 200.")
        if problem:
            result.problems.append(problem)
        return result


def plain(context: ScenarioContext) -> Result:
    with context.testbed("scenario-1") as testbed, _LogExcerpts(testbed):
        return context.wait_and_count(
            testbed, Traffic(testbed, messages=context.size.messages, seconds=4).start(), []
        )


def killed_workers(context: ScenarioContext) -> Result:
    with context.testbed("scenario-2") as testbed, _LogExcerpts(testbed):
        kills = 0
        traffic = Traffic(testbed, messages=context.size.messages, seconds=2.2 * context.size.kills).start()
        while traffic.is_running or kills < context.size.kills:
            time.sleep(random.uniform(0.5, 3.0))
            worker = random.choice(testbed.workers)
            worker.kill()
            worker.start()
            kills += 1
        return context.wait_and_count(testbed, traffic, [f"{kills} workers killed"])


def faults(context: ScenarioContext) -> tuple[Fault, ...]:
    """Return faults of 10 % each: dropped after the write; written after the deadline; HTTP 500 or HTML."""
    waits = context.environment.waits
    return (
        Fault("drop_after", 0.10),
        # The request runs after the service has given up, before or after the retry.
        Fault("late", 0.03, waits.write + 1),
        Fault("late", 0.02, waits.write + waits.unknown_outcome + 1),
        Fault("slow", 0.05, waits.write + 1),
        Fault("error500", 0.05),
        Fault("html", 0.05),
    )


def _describe_faults(testbed: Testbed) -> str:
    done = testbed.to_itop.faults_done
    return (
        f"{done['drop_after']} dropped, {done['late'] + done['slow']} after the deadline, "
        f"{done['error500'] + done['html']} HTTP 500 or HTML of {len(testbed.to_itop.calls)} calls"
    )


def troubled_itop(context: ScenarioContext) -> Result:
    with context.testbed("scenario-3") as testbed, _LogExcerpts(testbed):
        testbed.to_itop.faults = faults(context)
        traffic = Traffic(
            testbed, messages=context.size.messages_with_faults, seconds=10 if context.size is WHOLE else 1
        )
        traffic.start().wait()
        # Keep the faults until everything is written, because `wait_and_count` removes them.
        problem = testbed.wait_until_written(
            traffic.sent, patience=context.size.patience, limit=context.size.limit, quiet=0
        )
        note = f"{_describe_faults(testbed)}; {context.environment.waits}"
        result = context.wait_and_count(testbed, traffic, [note])
        result.problems += [problem] if problem and not result.problems else []
        return result


def itop_away(context: ScenarioContext) -> Result:
    with context.testbed("scenario-4") as testbed, _LogExcerpts(testbed):
        traffic = Traffic(testbed, messages=context.size.messages, seconds=15).start()
        wait_until(lambda: traffic.progress > 0.4 or not traffic.is_running, "the clients to write", 120)
        away = testbed.send_away(context.size.away_seconds)
        away.join()
        back = time.monotonic()
        result = context.wait_and_count(testbed, traffic, [f"away for {context.size.away_seconds:.0f} s"])
        first = next((call for call in testbed.to_itop.calls if call.begun > back), None)
        if first is not None:
            result.notes.append(f"asked again {first.begun - back:.0f} s later")
        return result


def other_writer(context: ScenarioContext) -> Result:
    with context.testbed("scenario-5") as testbed, _LogExcerpts(testbed):
        writers = [_OtherWriter(testbed, ticket, context.size.foreign) for ticket in testbed.tickets]
        traffic = Traffic(testbed, messages=context.size.messages, seconds=12).start()
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.wait()
        result = context.wait_and_count(testbed, traffic, [])
        in_logs = {
            token_in(body)
            for logs in testbed.final_logs()
            for bodies in logs.entries.values()
            for body in bodies
        }
        tokens = [token for writer in writers for token in writer.written]
        lost = sum(token not in in_logs for token in tokens)
        result.notes.append(f"the other writer lost {lost} of {len(tokens)}")
        return result


class _OtherWriter:
    """An agent or another integration that appends to a ticket without the bridge, as the pages of iTop do."""

    def __init__(self, testbed: Testbed, ticket: Ticket, entries: int) -> None:
        self._client = testbed.itop_client()
        self._ticket = ticket
        self._entries = entries
        self.written: list[str] = []
        self._error: ItopError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait(self) -> None:
        self._thread.join(120)
        if self._error is not None:
            raise SystemTestError(f"The other writer could not write: {self._error}")

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
                self._error = error
                return
            self.written.append(token)
            time.sleep(random.uniform(0.05, 0.45))


def presses_of_create(context: ScenarioContext) -> Result:
    """Click "Create ticket" many times at once, for each way in which a creation can fail."""
    waits = context.environment.waits
    ways = (
        Fault("late", 1, waits.write + 1),
        Fault("drop_after", 1),
        # The panel gives up after four seconds, independent of the configured timeouts.
        Fault("late", 1, 6.0),
        Fault("slow", 1, 6.0),
        Fault("error500", 1),
        Fault("html", 1),
    )[: context.size.forms]
    with context.testbed("scenario-6", linked=0) as testbed, _LogExcerpts(testbed):
        titles, answers = [], []
        for number, way in enumerate(ways):
            titles.append(f"chaos-create-{random.randrange(36**4):x}-{number}")
            testbed.begin_conversation()
            form = _Form(testbed.inbox(), testbed.conversation_id)
            form.open()
            form.press("Create a ticket")
            form.fill_in("Title", titles[-1])
            click = form.request("Create ticket")
            testbed.to_itop.faults, testbed.to_itop.creation_faults = faults(context), [way]
            with ThreadPoolExecutor(4) as pool:
                presses = pool.map(
                    lambda _, click=click: _press(testbed.inbox(), click), range(context.size.presses)
                )
                answers += list(presses)
            testbed.to_itop.faults = ()
        return _count_tickets(context, testbed, titles, answers)


class _Form(Panel):
    def request(self, label: str) -> dict[str, Any]:
        """Return what a click on the button with this label sends."""
        button = next(button for button in self._pressable() if label in self._label_of(button))
        return {
            "conversation_id": self._conversation_id,
            "component_id": button["id"],
            "input_values": self._values,
            "current_canvas": self._canvas,
        }

    def __init__(self, inbox: Inbox, conversation_id: str) -> None:
        super().__init__(inbox, conversation_id, str(inbox.ask("state")["admins"][0]["id"]))


def _press(inbox: Inbox, click: dict[str, Any]) -> bool:
    """Click and return whether the panel responded with a canvas."""
    answer = inbox.ask("canvas", click)
    return bool(answer["status"] == 200)


def _count_tickets(
    context: ScenarioContext, testbed: Testbed, titles: list[str], answers: list[bool]
) -> Result:
    def all_created() -> bool:
        testbed.children.check()
        try:
            return all(testbed.tickets_titled(title) for title in titles)
        except ItopError:
            return False

    result = Result(sent=len(titles))
    try:
        wait_until(all_created, "each form has its ticket", context.size.patience, 0.5)
    except SystemTestError as error:
        result.problems.append(str(error))
    result.notes.append(f"tickets, {len(answers)} presses, {_describe_faults(testbed)}")
    # Late requests, and the attempt of a worker, may still arrive.
    time.sleep(2 * (context.environment.waits.write + context.environment.waits.unknown_outcome) + 4)
    for title in titles:
        testbed.tickets = testbed.tickets_titled(title)
        result.written += bool(testbed.tickets)
        result.duplicated += max(0, len(testbed.tickets) - 1)
        for logs in testbed.final_logs():
            entries = sum(map(len, logs.entries.values()))
            if entries != 1:
                result.problems.append(
                    f"{logs.ticket.ref} holds {entries} entries; the conversation has one message."
                )
    if not all(answers):
        result.problems.append(f"{answers.count(False)} presses were answered with no canvas.")
    return result


def killed_web(context: ScenarioContext) -> Result:
    with context.testbed("scenario-7") as testbed, _LogExcerpts(testbed):
        kills = 0
        traffic = Traffic(testbed, messages=context.size.messages, seconds=3.5 * context.size.kills).start()
        while traffic.is_running or kills < context.size.kills:
            time.sleep(random.uniform(0.3, 2.5))
            web = random.choice(testbed.webs)
            web.kill()
            web.start()
            kills += 1
            # Wait for the restart, because a notification that is never acknowledged proves nothing.
            testbed.wait_for_web(web)
        traffic.wait()
        testbed.wait_until_delivered()
        # Only acknowledged notifications count; Intercom drops the others after its single retry.
        taken = set(acknowledgement_times(testbed.to_web.calls))
        sent = len(traffic.sent)
        traffic.sent[:] = [message for message in traffic.sent if message.token in taken]
        ids = acknowledged_ids(testbed.to_web.calls)
        lost = ids - testbed.database.notification_ids()
        note = f"web killed {kills} times, {len(ids) - len(lost)} of {len(ids)} acknowledged notifications stored"
        result = context.wait_and_count(testbed, traffic, [note, f"{sent - len(taken)} messages never taken"])
        if lost:
            result.problems.append(
                f"{len(lost)} notifications were answered 200 and are not in the database."
            )
        return result


# About the duration of a write to a real iTop, with the stand-in's own time.
ITOP_LATENCY = 0.08

# A message that is refused, one that is too large for the web server, and one that a firewall does not let through.
BAD_MESSAGES = {"check": "please refuse this", "too_large": "this is too large", "forbidden": "' OR 1=1 --"}


def bad_messages(context: ScenarioContext) -> Result:
    """Compare how long good messages take beside a full log and messages that iTop never accepts, and without."""
    seconds = {}
    for name, is_troubled in (("scenario-8-quiet", False), ("scenario-8", True)):
        with context.testbed(name, linked=1, others=1 + len(BAD_MESSAGES)) as testbed, _LogExcerpts(testbed):
            if is_troubled:
                _send_bad_messages(testbed)
            traffic = Traffic(testbed, messages=context.size.messages, seconds=4).start()
            result = context.wait_and_count(testbed, traffic, [])
            written = {write.token: write.call.ended for write in reversed(writes(testbed.to_itop.calls))}
            received = acknowledgement_times(testbed.to_web.calls)
            seconds[is_troubled] = sorted(
                written[token] - at for token, at in received.items() if token in written
            )
            if is_troubled:
                result.problems += _unfinished(testbed, context)
    middle, slowest = (
        tuple(
            seconds[is_troubled][int(share * len(seconds[is_troubled])) - 1] for is_troubled in (False, True)
        )
        for share in (0.5, 1.0)
    )
    result.notes.append(
        f"median {middle[0]:.2f} s without and {middle[1]:.2f} s with bad messages, slowest {slowest[0]:.2f} and "
        f"{slowest[1]:.2f} s"
    )
    if slowest[1] > 2 * slowest[0] + 2:
        result.problems.append("The bad messages delayed the good ones.")
    return result


def _send_bad_messages(testbed: Testbed) -> None:
    testbed.set_faults(
        [{"kind": kind, "operation": "core/update", "contains": text} for kind, text in BAD_MESSAGES.items()]
    )
    full, *bad = testbed.others
    testbed.fill_log(testbed.others[full])
    for conversation_id, text in zip([full, *bad], ["one too many", *BAD_MESSAGES.values()], strict=True):
        testbed.inbox().write(conversation_id, author="contact", body=text)


def _unfinished(testbed: Testbed, context: ScenarioContext) -> list[str]:
    """Return a sentence if a bad message is not set aside in time."""
    try:
        wait_until(
            lambda: len(testbed.database.failed()) == len(testbed.others),
            "each bad message is set aside",
            context.size.limit,
            0.5,
        )
    except SystemTestError as error:
        return [str(error)]
    return []


def flood_in_one_conversation(context: ScenarioContext) -> Result:
    return _flood(context, "scenario-9", 1)


def flood_in_many_conversations(context: ScenarioContext) -> Result:
    return _flood(context, "scenario-10", 50)


def _flood(context: ScenarioContext, name: str, conversations: int) -> Result:
    """Compare how long other conversations' messages take beside a flood, and without."""
    size = context.size
    with (
        context.testbed(name, linked=1, others=conversations, second=True, latency=ITOP_LATENCY) as testbed,
        _LogExcerpts(testbed),
    ):
        flood = Flood(testbed)
        without = flood.measure(size.flood_seconds)
        beside = flood.measure(size.flood_seconds, flood=size.flood)
        written = flood.written()
        result = Result()
        for talk in flood.talks():
            testbed.tickets = [talk.ticket]
            counted = tally(talk.sent, testbed.final_logs(), testbed.to_web.calls, testbed.to_itop.calls)
            result.duplicated += counted.duplicated
            result.out_of_order += counted.out_of_order
            if talk in flood.quiet:
                result.sent += counted.sent
                result.written += counted.written
    flooded = [message.token in written for talk in flood.flooded for message in talk.sent]
    added = beside.max - without.max
    result.notes.append(
        f"others: {without} without, {beside} with the flood, at most {added:.2f} s more "
        f"({WANTED_ADDED_SECONDS:.0f} s wanted); "
        f"{sum(flooded)} of the flood's {len(flooded)} written meanwhile"
    )
    return result


def both_ways(context: ScenarioContext) -> Result:
    """Agents work in iTop and customers write, while workers are killed and outcomes are unknown on both sides."""
    size, waits = context.size, context.environment.waits
    with (
        context.testbed("scenario-11", linked=size.tickets, talks=size.talks) as testbed,
        _LogExcerpts(testbed),
    ):
        story = Story(testbed, entries=size.entries, seconds=size.entries_seconds)
        testbed.to_itop.faults = (
            Fault("drop_after", 0.05),
            Fault("late", 0.02, waits.write + 1),
            Fault("slow", 0.03, waits.write + 1),
        )
        testbed.to_intercom.faults = (Fault("drop_after", 0.10),)
        story.start()
        kills = _kill_workers(testbed, story, size.kills, size.entries_seconds)
        story.wait()
        testbed.wait_until_delivered()
        for proxy in (testbed.to_itop, testbed.to_intercom):
            proxy.faults = ()
        result = wait_until_reported(
            story,
            # A killed worker's lease of an iTop lasts a minute and a half.
            patience=max(size.patience, 120.0),
            quiet=waits.write + waits.unknown_outcome + 2,
            check=testbed.children.check,
        )
        dropped = testbed.to_intercom.faults_done.total()
        result.notes.append(
            f"{kills} workers killed; unknown outcomes: {testbed.to_itop.faults_done.total()} of "
            f"{len(testbed.to_itop.calls)} calls to iTop, {dropped} of {len(testbed.to_intercom.calls)} to Intercom"
        )
        return result


class _Running(Protocol):
    @property
    def is_running(self) -> bool: ...


def _kill_workers(testbed: Testbed, story: _Running, least: int, seconds: float) -> int:
    """Kill workers at random moments while the story runs, at least so many. Return the number."""
    kills = 0
    while story.is_running or kills < least:
        time.sleep(random.uniform(0.5, 2 * seconds / least))
        worker = random.choice(testbed.workers)
        worker.kill()
        worker.start()
        kills += 1
    return kills


def files_both_ways(context: ScenarioContext) -> Result:
    """Files and pictures in both directions; workers are killed, and calls, downloads and uploads break."""
    size, waits = context.size, context.environment.waits
    with (
        context.testbed("scenario-12", linked=size.tickets, talks=size.talks) as testbed,
        _LogExcerpts(testbed),
    ):
        story = FileStory(testbed, files=size.files, seconds=size.files_seconds)
        testbed.to_itop.faults = (
            Fault("drop_after", 0.05),
            Fault("cut_off", 0.02),
            # It is executed after the client was told nothing, and before the client asks what became of it.
            Fault("abandoned", 0.02, waits.unknown_outcome / 2),
            Fault("slow", 0.01, waits.write + 1),
        )
        testbed.to_intercom.faults = (Fault("drop_after", 0.05), Fault("cut_off", 0.05))
        story.start()
        kills = _kill_workers(testbed, story, size.kills, size.files_seconds)
        story.wait()
        testbed.wait_until_delivered()
        # A killed worker's claim of a file lasts two and a half minutes.
        patience = max(size.patience, 240.0)
        counted = wait_until_reported(story, patience=patience, quiet=0, check=testbed.children.check)
        for proxy in (testbed.to_itop, testbed.to_intercom):
            proxy.faults = ()
        result = wait_until_reported(
            story,
            patience=patience,
            quiet=waits.write + waits.unknown_outcome + 2,
            check=testbed.children.check,
        )
        if story.missing:
            result.problems.append(f"{len(story.missing)} are missing: {', '.join(story.missing[:8])}")
        ordered = story.count_order()
        result.out_of_order += ordered.out_of_order
        result.restored += ordered.restored
        result.notes += [
            f"{size.files} files in each direction, {kills} workers killed; unknown outcomes: "
            f"{testbed.to_itop.faults_done.total()} of {len(testbed.to_itop.calls)} calls to iTop, "
            f"{testbed.to_intercom.faults_done.total()} of {len(testbed.to_intercom.calls)} to Intercom; "
            f"{counted.written} of {counted.sent} were there before the faults ended"
        ]
        return result


class _LogExcerpts:
    """Report an error in one sentence, with the ends of the logs."""

    def __init__(self, testbed: Testbed) -> None:
        self._testbed = testbed

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, SystemTestError | ItopError | DemoError | requests.RequestException | OSError):
            raise SystemTestError(f"{error}\n{self._testbed.children.log_excerpts()}") from error


@dataclass(frozen=True)
class Scenario:
    number: int
    title: str
    run: Callable[[ScenarioContext], Result]
    # Whether the scenario also runs against a real iTop, and with PostgreSQL and Redis.
    with_real_itop: bool = False
    on_postgresql: bool = True
    # Shorter timeouts for scenarios in which a third of all calls fail.
    waits: Waits | None = None


SCENARIOS = (
    Scenario(1, f"{CLIENTS} clients, each notification twice and shuffled", plain, with_real_itop=True),
    Scenario(2, "workers killed with SIGKILL", killed_workers, with_real_itop=True),
    Scenario(3, "iTop drops, hangs, breaks: 10 % each", troubled_itop, waits=Waits(1.0, 1.0, 5.0)),
    Scenario(4, "iTop away in the middle", itop_away),
    Scenario(5, "another writer on the same tickets", other_writer, with_real_itop=True, on_postgresql=False),
    Scenario(
        6, "presses of Create, four at once", presses_of_create, with_real_itop=True, on_postgresql=False
    ),
    Scenario(7, "web killed with SIGKILL", killed_web),
    Scenario(8, "a full log and three messages that iTop never accepts", bad_messages),
    Scenario(9, "a flood in one conversation", flood_in_one_conversation, waits=Waits(8, 10, 180)),
    Scenario(10, "a flood in 50 conversations", flood_in_many_conversations, waits=Waits(8, 10, 180)),
    Scenario(
        11, f"both ways: {AGENTS} agents, killed workers, unknown outcomes", both_ways, waits=Waits(poll=2.0)
    ),
    Scenario(12, "files both ways, killed workers, unknown outcomes", files_both_ways, waits=Waits(poll=2.0)),
)
