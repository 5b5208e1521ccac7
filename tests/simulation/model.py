"""What must be true at the end, said the obvious way, from what really happened and what is written down.

Each check raises AssertionError with the guarantee's name. None of them uses the house's own judging.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from drip.language.files import load_text
from tests.simulation.house import QUIET_HOURS, START, House, message_id_of

HOME = "America/Chicago"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAYS = {"day": 1, "week": 7, "month": 30}


def instant(milliseconds: int) -> datetime:
    return EPOCH + timedelta(milliseconds=milliseconds)


class Model:
    """The end of one seed's run, and all that has to hold of it."""

    def __init__(self, house: House) -> None:
        self.house = house
        with contextlib.closing(sqlite3.connect(house.path)) as connection:
            connection.row_factory = sqlite3.Row
            read = lambda sql: connection.execute(sql).fetchall()  # noqa: E731 - three queries
            self.contacts = {row["id"]: row for row in read("SELECT * FROM contacts")}
            self.runs = {row["id"]: row for row in read("SELECT * FROM runs")}
            self.messages = {row["id"]: row for row in read("SELECT * FROM messages")}
            self.judgements = read(
                "SELECT j.*, r.code, r.sentence FROM judgements j JOIN reasons r ON r.id = j.reason_id ORDER BY j.id"
            )
            self.versions = {
                (r["campaign"], r["version"]): r["text"]
                for r in read("SELECT * FROM campaign_versions")
            }
        self.by_key = {row["key"]: row for row in self.contacts.values()}
        self.by_message_id = {
            message_id_of(house.path, m["run_id"], m["step"], m["channel"]): m
            for m in self.messages.values()
        }
        self.end = (house.end - EPOCH) // timedelta(milliseconds=1)

    def check(self) -> None:
        self.everything_has_an_end()
        self.everybody_who_was_due_entered()
        self.nobody_was_given_up_by_a_server_that_takes_nobody()
        self.nothing_left_twice()
        self.no_cap_was_broken()
        self.no_cap_held_back_without_need()
        self.nobody_without_consent()
        self.nothing_in_quiet_hours_or_early()
        self.one_bad_address_delayed_nobody()
        self.runs_kept_their_version()
        self.the_preview_was_right()

    # --- G1

    def everything_has_an_end(self) -> None:
        delivered = {each.message_id for each in self.house.trace.delivered}
        for message_id, row in self.by_message_id.items():
            state = row["state"]
            told = (state, row["code"], row["campaign"], row["step"])
            waits = state == "deferred" and row["due_at"] > self.end
            assert waits or state in ("sent", "skipped", "failed", "held"), (
                f"G1 no end: {told}"
            )
            if state == "sent":
                assert message_id in delivered, f"G1 never left: {told}"
            if message_id in delivered and not row["maybe_left_at"]:
                assert state == "sent" or (state, row["code"]) == ("held", "unknown"), (
                    f"G1 left, and is {told}"
                )
        for run in self.runs.values():
            if run["active"]:
                own = [m for m in self.messages.values() if m["run_id"] == run["id"]]
                waiting = any(m["state"] == "deferred" for m in own)
                timed = run["due_at"] is not None and run["due_at"] > self.end
                for_message = run["wake"] == "waits-for-message" and waiting
                for_event = run["wake"] == "waits-for-event"
                assert timed or for_message or for_event, (
                    f"G1 a run is forgotten: {dict(run)}"
                )

    def everybody_who_was_due_entered(self) -> None:
        started = {
            (r["campaign"], self.contacts[r["contact_id"]]["key"], r["occurrence"])
            for r in self.runs.values()
        }
        for key, rules in self.house.rules.items():
            for contact in self.contacts.values():
                for occurrence in self._occurrences(rules.trigger, contact):
                    assert (key, contact["key"], occurrence) in started, (
                        f"G1 {contact['key']} not in {key}: {occurrence}"
                    )

    def _occurrences(self, trigger: str, contact: Any) -> Iterable[str]:
        zone = ZoneInfo(contact["zone"] or HOME)
        last = self.house.end.astimezone(zone)
        if "order.placed" in trigger:
            return [
                number for who, number, _ in self.house.orders if who == contact["key"]
            ]
        if "birthday" in trigger:
            before = timedelta(days=1 if "1 day before" in trigger else 0)
            month, day = map(int, self._birthday(contact).split("-"))
            anchor = date(2026, month, day) - before
            entry = datetime.combine(anchor, time(), zone)
            seen = START + timedelta(
                days=1
            ) < entry and entry < self.house.end - timedelta(days=1)
            return [anchor.isoformat()] if seen else []
        if "every day at 9:00" in trigger or "55 20" in trigger:
            clock = time(9) if "9:00" in trigger else time(20, 55)
            return [
                (
                    last.date()
                    if last.time() >= clock
                    else last.date() - timedelta(days=1)
                ).isoformat()
            ]
        if "*/7" in trigger:
            return [
                datetime.combine(last.date(), time(last.hour // 7 * 7)).isoformat(
                    timespec="minutes"
                )
            ]
        return []

    def _birthday(self, contact: Any) -> str:
        import json

        return str(json.loads(contact["attributes"])["birthday"])[-5:]

    def nobody_was_given_up_by_a_server_that_takes_nobody(self) -> None:
        if self.house.seed % 2:
            for message_id, row in self.by_message_id.items():
                given_up = (row["state"], row["code"]) == ("failed", "refused")
                assert not given_up or message_id in self.house.trace.proven, (
                    f"G1 given up without proof: {row['campaign']}"
                )

    # --- G2

    def nothing_left_twice(self) -> None:
        trace = self.house.trace
        for message_id, count in Counter(
            each.message_id for each in trace.delivered
        ).items():
            campaign = self.by_message_id[message_id]["campaign"]
            if not self.house.rules[campaign].resend:
                assert count == 1, f"G2 twice under hold: {campaign}"
            else:
                assert count <= 3, f"G2 too often under resend: {campaign}"

    # --- G3

    def _left(self) -> dict[str, list[tuple[datetime, datetime, str, str]]]:
        """By contact: counted messages that really left, with when they began and ended, topic and campaign."""
        found: dict[str, list[tuple[datetime, datetime, str, str]]] = defaultdict(list)
        for each in self.house.trace.delivered:
            row = self.by_message_id[each.message_id]
            if row["counted"]:
                key = self.contacts[row["contact_id"]]["key"]
                found[key].append((each.began, each.dot, row["topic"], row["campaign"]))
        return found

    def _rules(self, campaign: str | None = None) -> Iterable[Any]:
        workspace = self.house.world.workspace
        yield from workspace.settings.caps
        for each in workspace.loaded.campaigns.values():
            if campaign in (None, each.key):
                yield from each.caps

    def no_cap_was_broken(self) -> None:
        for key, uses in self._left().items():
            zone = ZoneInfo(self.by_key[key]["zone"] or HOME)
            for rule in self._rules():
                obeying = [u for u in uses if rule.counts("email", u[2], u[3])]
                if any(self.house.rules[u[3]].ignores_caps for u in obeying):
                    continue
                most = fullest([u[0] for u in obeying], rule.days, rule.seconds, zone)
                assert most <= rule.limit, f"G3 {key}: {most} of {rule.text}"

    def no_cap_held_back_without_need(self) -> None:
        """In the quiet days: what a cap holds back would have broken it."""
        # Of what may have left nobody knows, so it counts.
        unknown = {
            m["contact_id"]
            for m in self.messages.values()
            if m["maybe_left_at"] or m["code"] == "unknown"
        }
        left = self._left()
        judged_otherwise: dict[int, set[int]] = defaultdict(set)
        for each in self.judgements:
            if each["code"] != "cap":
                judged_otherwise[each["at"]].add(each["message_id"])
        for each in self.judgements:
            if each["code"] != "cap" or each["id"] <= self.house.judged_before:
                continue
            message = self.messages[each["message_id"]]
            contact = self.contacts[message["contact_id"]]
            if message["contact_id"] in unknown:
                continue
            now, zone = instant(each["at"]), ZoneInfo(contact["zone"] or HOME)
            full = False
            # What was granted and then given back, or could not be filled in, had taken its slot by then.
            in_vain = [
                m
                for m in self.messages.values()
                if m["contact_id"] == contact["id"]
                and (
                    m["id"] in judged_otherwise[each["at"]]
                    or m["id"] in self.house.granted_before
                    or (m["code"], m["settled_at"]) == ("render-error", each["at"])
                )
            ]
            for rule in self._rules(message["campaign"]):
                if rule.counts("email", message["topic"], message["campaign"]):
                    times = [
                        u[0]
                        for u in left.get(contact["key"], ())
                        if rule.counts("email", u[2], u[3])
                    ]
                    times += [
                        now
                        for m in in_vain
                        if rule.counts("email", m["topic"], m["campaign"])
                    ]
                    full = (
                        full
                        or fullest(
                            [*(t for t in times if near(t, now)), now],
                            rule.days,
                            rule.seconds,
                            zone,
                        )
                        > rule.limit
                    )
            assert full, (
                f"G3 held back without need: {contact['key']}, {message['campaign']}, {each['sentence']}"
            )

    # --- G4 to G8

    def nobody_without_consent(self) -> None:
        trace = self.house.trace
        for (key, topic), (turn, excused) in trace.withdrawn.items():
            for each in trace.delivered:
                row = self.by_message_id[each.message_id]
                mine = (
                    self.contacts[row["contact_id"]]["key"] == key
                    and row["topic"] == topic
                )
                if mine and each.order > turn and row["id"] not in excused:
                    raise AssertionError(f"G4 {key} had unsubscribed from {topic}")

    def nothing_in_quiet_hours_or_early(self) -> None:
        for each in self.house.trace.delivered:
            row = self.by_message_id[each.message_id]
            zone = ZoneInfo(self.contacts[row["contact_id"]]["zone"] or HOME)
            wall = each.began.astimezone(zone)
            assert QUIET_HOURS[1] <= wall.hour < QUIET_HOURS[0], (
                f"G5 in quiet hours: {wall}"
            )
            campaign = self.house.world.workspace.loaded.campaigns[row["campaign"]]
            if (
                "10:00-12:00"
                in self.versions[campaign.key, self.runs[row["run_id"]]["version"]]
            ):
                assert 10 <= wall.hour < 12, f"G5 outside of the window: {wall}"
            assert each.began >= instant(row["planned_at"]), (
                f"G5 early: {row['campaign']}"
            )

    def one_bad_address_delayed_nobody(self) -> None:
        """A good contact's messages do not wait for no reason."""
        for row in self.messages.values():
            waits = row["state"] == "deferred" and row["code"] not in (
                "cap",
                "quiet-hours",
                "outside-window",
                "paused",
                "unsent",
                None,
            )
            assert not waits, f"G6 {dict(row)}"

    def runs_kept_their_version(self) -> None:
        steps: dict[tuple[str, str], set[str]] = {}
        for row in self.messages.values():
            run = self.runs[row["run_id"]]
            version = (run["campaign"], run["version"])
            if version not in steps:
                campaign = load_text(
                    *(run["campaign"], self.versions[version]),
                    self.house.world.workspace.settings,
                )
                assert campaign
                steps[version] = {step.id for step in campaign.steps}
            assert row["step"] in steps[version], (
                f"G7 {run['campaign']} changed under a run"
            )

    def the_preview_was_right(self) -> None:
        foreseen, happened = self.house.foreseen, self.house.happened
        if foreseen != happened:
            missing = [e for e in foreseen if e not in happened][:2]
            extra = [e for e in happened if e not in foreseen][:2]
            raise AssertionError(
                f"G8 preview differs: foreseen {missing}, happened {extra}"
            )


def near(left: datetime, right: datetime) -> bool:
    return abs(left - right) < timedelta(days=31)


def fullest(times: list[datetime], days: int, seconds: int, zone: ZoneInfo) -> int:
    """The most messages in any window, by trying every window that begins with one."""
    most = 0
    for first in times:
        if days:
            start = first.astimezone(zone).date()
            inside = [
                t
                for t in times
                if start <= t.astimezone(zone).date() < start + timedelta(days=days)
            ]
        else:
            inside = [
                t for t in times if first <= t < first + timedelta(seconds=seconds)
            ]
        most = max(most, len(inside))
    return most
