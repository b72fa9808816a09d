"""The simulated loss of power: after it, the files of a run directory name another boot, and journals are as before."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chaos.calls import Calls
from chaos.installation import ChaosInstallation
from chaos.power_loss import lose_power
from shared.delivery import in_flight_journal
from shared.delivery.in_flight_journal import InFlightJournal, InFlightJournalInvalid
from shared.process import runtime
from shared.process.slot_lock import boot_id


def test_what_was_written_under_way_is_lost_and_the_boot_is_another(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runtime.run_dir(home)
    run.mkdir(parents=True, exist_ok=True)
    journal = InFlightJournal(in_flight_journal.path_of(run, "meta-0.a"), 2).open()
    settled = InFlightJournal(in_flight_journal.path_of(run, "meta-1.a"), 2).open()
    installation = ChaosInstallation(home, {}, {}, Calls())
    killed = []

    async def under_way() -> None:
        journal.begin(7)
        settled.close(remove=True)
        killed.append(True)

    monkeypatch.setattr(installation, "kill_everything", under_way)
    asyncio.run(lose_power(installation, 0.0))
    assert killed
    with pytest.raises(InFlightJournalInvalid):
        in_flight_journal.read(in_flight_journal.path_of(run, "meta-0.a"))
    content = in_flight_journal.path_of(run, "meta-0.a").read_bytes()
    assert boot_id().encode() not in content
    assert (7).to_bytes(8, "little") not in content
    assert not in_flight_journal.path_of(run, "meta-1.a").exists()
