"""Silence counts only while a process could have received: outages of the database and of the processes themselves are
taken out of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from shared.delivery.webhook_outages import OUTAGE_S, WebhookOutages
from shared.messages import OutboundMessage
from shared.process.slot_lock import boot_id
from shared.store.messages import Doubt
from shared.store.webhook_evidence import Elsewhere, SharedOutage
from tests.support.full_disk import files_limited_to

REPEAT_S = 70.0
CLAIMED_AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Clock:
    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Watch:
    """One kind's watch in a home, and the time that passes."""

    path: Path
    clock: Clock

    def looks(self, for_s: float) -> None:
        """Processes look, twice a second, each with a memory of its own."""
        for _ in range(round(for_s * 2)):
            self.clock.now += 0.5
            WebhookOutages(self.path, REPEAT_S, self.clock).record_alive()

    def stands_still(self, for_s: float) -> None:
        """No process looks for so long; then a process does."""
        self.clock.now += for_s
        WebhookOutages(self.path, REPEAT_S, self.clock).record_alive()

    def discount(self, age_s: float, doubt_s: float) -> Doubt:
        (discounted,) = WebhookOutages(self.path, REPEAT_S, self.clock).discount([doubt(age_s, doubt_s)])
        return discounted


def watched(directory: Path, for_s: float) -> Watch:
    watch = Watch(directory / "meta.webhook-outages", Clock())
    watch.looks(for_s)
    return watch


def doubt(age_s: float, doubt_s: float) -> Doubt:
    message = OutboundMessage(
        id=1,
        company_id="acme",
        connection_id=1,
        connection_type="meta_direct",
        chat_id="a",
        type="text",
        content={},
        attempt=1,
        token="t",
        incarnation="meta-0.a",
    )
    return Doubt(message=message, age_s=age_s, doubt_s=doubt_s, claimed_at=CLAIMED_AT, policy=None)


def test_without_an_outage_the_whole_absence_counts(tmp_path: Path) -> None:
    assert watched(tmp_path, 60.0).discount(12.0, 11.0) == doubt(12.0, 11.0)


def test_a_late_poll_is_no_outage(tmp_path: Path) -> None:
    watch = watched(tmp_path, 60.0)
    watch.stands_still(OUTAGE_S)
    assert watch.discount(30.0, 30.0) == doubt(30.0, 30.0)


def test_absence_restarts_after_an_outage_and_must_last_longer_by_its_length(tmp_path: Path) -> None:
    watch = watched(tmp_path, 60.0)
    watch.stands_still(13.0)
    assert watch.discount(14.0, 14.0).doubt_s == 0.0, "the provider's waits may be as long as the break was"
    watch.looks(13.0)
    assert watch.discount(27.0, 27.0).doubt_s == 0.0
    watch.looks(10.0)
    discounted = watch.discount(37.0, 37.0)
    assert round(discounted.doubt_s, 2) == 10.0
    assert abs(discounted.claimed_at - CLAIMED_AT - timedelta(seconds=37.0 - 23.0)) < timedelta(milliseconds=10), (
        "what came before the break's end proves nothing"
    )


def test_a_break_before_the_claim_does_not_matter(tmp_path: Path) -> None:
    watch = watched(tmp_path, 60.0)
    watch.stands_still(13.0)
    watch.looks(20.0)
    assert watch.discount(19.0, 18.0) == doubt(19.0, 18.0)


def test_the_longest_break_counts_and_the_last_one_begins_anew(tmp_path: Path) -> None:
    watch = watched(tmp_path, 60.0)
    for break_s in (8.0, 4.0):
        watch.stands_still(break_s)
        watch.looks(5.0)
    watch.looks(15.0)
    assert round(watch.discount(40.0, 40.0).doubt_s, 2) == 20.0 - 8.0


def test_a_claim_from_before_the_first_poll_lies_in_an_outage(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "meta.webhook-outages", Clock())
    watch.stands_still(0.0)
    watch.looks(10.0)
    assert round(watch.discount(14.0, 14.0).doubt_s, 2) == 10.0 - 4.0
    assert watch.discount(9.0, 8.0) == doubt(9.0, 8.0)


def test_a_process_that_comes_after_another_goes_on_with_its_watch(tmp_path: Path) -> None:
    watch = watched(tmp_path, 10.0)
    watch.stands_still(2.0)
    assert watch.discount(9.0, 8.0) == doubt(9.0, 8.0)


def test_a_refused_webhook_may_be_repeated_later(tmp_path: Path) -> None:
    watch = watched(tmp_path, 30.0)
    WebhookOutages(watch.path, REPEAT_S, watch.clock).record_outage(5.0)
    assert watch.discount(20.0, 20.0).doubt_s == 0.0
    watch.looks(15.0)
    assert round(watch.discount(35.0, 35.0).doubt_s, 2) == 15.0 - 5.0


def test_a_refused_webhook_does_not_count_as_a_poll(tmp_path: Path) -> None:
    watch = watched(tmp_path, 30.0)
    for _ in range(8):
        watch.clock.now += 1.0
        WebhookOutages(watch.path, REPEAT_S, watch.clock).record_outage(0.2)
    WebhookOutages(watch.path, REPEAT_S, watch.clock).record_alive()
    watch.looks(10.0)
    assert round(watch.discount(20.0, 20.0).doubt_s, 2) == 10.0 - 8.0, "eight seconds without a look are one break"


def test_before_the_first_look_of_all_nothing_is_noted(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "meta.webhook-outages", Clock())
    WebhookOutages(watch.path, REPEAT_S, watch.clock).record_outage(1.0)
    watch.looks(10.0)
    assert round(watch.discount(14.0, 14.0).doubt_s, 2) == 9.5 - 4.5, "what lies before it is one break"


def test_the_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    watch = watched(tmp_path, 1.0)
    watch.path.write_text(f"{boot_id()}\n" + "1.000 2.000 outage\n" * 6000)
    os.utime(watch.path, (watch.clock.now, watch.clock.now))
    watch.stands_still(5.0)
    assert watch.path.stat().st_size < 6000
    watch.looks(20.0)
    assert round(watch.discount(30.0, 30.0).doubt_s, 2) == 15.0, "the youngest are kept"


def test_after_another_boot_nothing_that_was_noted_is_believed(tmp_path: Path) -> None:
    """The file is never synced: after a power loss it may lack the outages that were noted last."""
    watch = watched(tmp_path, 60.0)
    watch.path.write_text(watch.path.read_text().replace(boot_id(), "another"))
    os.utime(watch.path, (watch.clock.now, watch.clock.now))
    assert watch.discount(20.0, 20.0).doubt_s == 0.0
    watch.looks(15.0)
    assert watch.discount(35.0, 35.0).doubt_s == 0.0, "all that was before the first poll of this boot was an outage"
    watch.looks(15.0)
    assert round(watch.discount(29.0, 28.0).doubt_s, 1) == 28.0


def test_a_damaged_file_counts_as_an_outage_and_is_made_anew(tmp_path: Path) -> None:
    watch = watched(tmp_path, 60.0)
    watch.path.write_text(watch.path.read_text() + "12.0 1\xff")
    assert watch.discount(20.0, 20.0).doubt_s == 0.0
    watch.looks(10.0)
    assert round(watch.discount(9.0, 9.0).doubt_s, 1) == 9.0
    assert watch.discount(20.0, 20.0).doubt_s == 0.0


def test_an_outage_that_a_full_disk_cannot_keep_ends_no_process_and_is_not_forgotten(tmp_path: Path) -> None:
    watch = watched(tmp_path, 60.0)
    outages = WebhookOutages(watch.path, REPEAT_S, watch.clock)
    known = watch.path.read_text()
    for room in (0, 10):
        with files_limited_to(len(known) + room):
            outages.record_outage(4.0)
            for _ in range(20):
                watch.clock.now += 0.5
                outages.record_alive()
            (discounted,) = outages.discount([doubt(20.0, 20.0)])
            assert discounted.doubt_s <= 6.0
        assert watch.path.read_text() == known, "no half lines"
    outages.record_alive()
    assert len(watch.path.read_text()) > len(known)
    watch.looks(10.0)
    assert watch.discount(30.0, 30.0).doubt_s == 0.0, "what was pending stands in the file now, for the others too"


def test_a_disk_that_is_full_from_the_beginning(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "meta.webhook-outages", Clock())
    outages = WebhookOutages(watch.path, REPEAT_S, watch.clock)
    with files_limited_to(0):
        for _ in range(20):
            watch.clock.now += 0.5
            outages.record_alive()
    watch.looks(10.0)
    assert watch.discount(20.0, 20.0).doubt_s == 0.0
    assert round(watch.discount(9.0, 9.0).doubt_s, 1) == 9.0


def test_a_death_counts_for_as_long_as_the_provider_may_repeat_what_the_dead_had_in_hand(tmp_path: Path) -> None:
    """A POST with the proof on the dead process's connection comes again after a minute; others' prove nothing
    before."""
    watch = watched(tmp_path, 30.0)
    WebhookOutages(watch.path, REPEAT_S, watch.clock).record_death()
    watch.looks(75.0)
    assert round(watch.discount(80.0, 80.0).doubt_s, 1) == 75.0 - REPEAT_S
    assert watch.discount(74.0, 73.0) == doubt(74.0, 73.0), "what was claimed after it has nothing to do with it"


class TestElsewhere:
    """Webhooks reach any host: what another one could not receive is no silence either."""

    def test_outages_of_other_hosts_count_as_our_own(self, tmp_path: Path) -> None:
        watch = watched(tmp_path, 60.0)
        outages = WebhookOutages(watch.path, REPEAT_S, watch.clock)
        theirs = SharedOutage(began_ago_s=25.0, ended_ago_s=20.0, is_death=False)
        (discounted,) = outages.discount([doubt(30.0, 30.0)], Elsewhere(outages=[theirs], uncovered_s=0.0))
        assert round(discounted.doubt_s, 2) == 20.0 - 5.0
        death = SharedOutage(began_ago_s=20.0, ended_ago_s=20.0, is_death=True)
        (discounted,) = outages.discount([doubt(30.0, 30.0)], Elsewhere(outages=[death], uncovered_s=0.0))
        assert discounted.doubt_s == 0.0, "the provider repeats what the dead process had in hand within REPEAT_S"

    def test_nothing_is_known_since_another_host_last_said_that_it_lives(self, tmp_path: Path) -> None:
        watch = watched(tmp_path, 60.0)
        outages = WebhookOutages(watch.path, REPEAT_S, watch.clock)
        (discounted,) = outages.discount([doubt(30.0, 12.0)], Elsewhere(outages=[], uncovered_s=9.0))
        assert discounted.doubt_s == 3.0

    def test_outages_are_shared_once(self, tmp_path: Path) -> None:
        watch = watched(tmp_path, 60.0)
        outages = WebhookOutages(watch.path, REPEAT_S, watch.clock)
        outages.record_outage(4.0)
        watch.clock.now += 2.0
        (first,) = outages.unshared()
        assert (first.began_ago_s, first.ended_ago_s) == (6.0, 2.0)
        outages.shared(1)
        assert outages.unshared() == []
