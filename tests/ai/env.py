"""Kind `ai` as a process, over a real database, with the sandbox's model; what it answers are rows of `messages`."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import requests

from shared.conversations import arrival
from shared.kinds import admin_port, kind_named
from shared.messages import InboundMessage
from shared.store import inbound
from shared.store.pool import Transaction
from tests.sandbox.env import Receiver, SandboxEnv
from tests.store.env import StoreEnv
from tests.support import ports
from tests.support.database import query
from tests.support.entry import Entry
from tests.support.waiting import deadline_s, eventually

ON: Mapping[str, Any] = {"enableAssistant": True, "answerDelaySeconds": 0}


def empty(url: str) -> None:
    """Remove what earlier tests have left of the assistant."""
    query(url, "DELETE FROM services; DELETE FROM functions; DELETE FROM model_calls; DELETE FROM model_spend")


class AiEnv:
    """The process, the company `acme`, and the model."""

    def __init__(self, home: Path, store: StoreEnv, model: SandboxEnv, **variables: Any) -> None:
        given: dict[str, Any] = {
            "database_url": store.url,
            # nothing listens there: hints are not needed
            "redis_url": f"redis://127.0.0.1:{ports.free_ports(1)[0]}/0",
            "admin_port": (admin := ports.free_port_block(100)),
            "sandbox": "off",
            "openai_base_url": f"{model.base}/openai/v1",
            "llm_model": "sandbox-model",
            "chaos": "on",
        }
        self.store, self.model = store, model
        empty(store.url)
        self._metrics = f"http://127.0.0.1:{admin_port(admin, kind_named('ai'), 0)}/metrics"
        self.entry = Entry("ai", home, **(given | variables))
        self.connection = store.connect()
        self._names = 0
        self.seq = int(model.control("POST", "reset", {"seed": 1})["seq"])

    def set(self, **settings: Any) -> Self:
        """Replace the company's settings."""
        query(
            self.store.url,
            "UPDATE companies SET settings = %(settings)s, version = version + 1 WHERE id = 'acme'",
            settings=json.dumps({**ON, **settings}),
        )
        return self

    def start(self) -> Self:
        self.entry.start().wait_ready()
        return self

    def behave(self, behaviour: str, **details: Any) -> None:
        """Let the model behave."""
        self.model.control("POST", "model", {"behaviour": behaviour, **details})

    def asked(self) -> list[dict[str, Any]]:
        """Return the calls of the model since the start of the test."""
        return [entry for entry in self.model.ledger(since=self.seq) if entry["channel"] == "model"]

    def write(self, chat: str, *texts: str) -> None:
        """Let a customer write, one transaction for all texts."""
        at = datetime.now(UTC)
        messages = []
        for text in texts:
            self._names += 1
            messages.append(
                (
                    InboundMessage(
                        connection_id=self.connection,
                        provider_id=f"wamid.{self._names}",
                        chat_id=chat,
                        sender=chat,
                        from_me=False,
                        type="text",
                        content={"body": text},
                        at=at,
                    ),
                    None,
                )
            )

        def arrive(transaction: Transaction) -> None:
            new = inbound.insert(transaction, messages)
            arrival.note(transaction, [row["arrived"] for row in new if row["arrived"]])

        self.store.store.run(arrive)

    def answers(self, chat: str) -> list[str]:
        """Return the texts that were accepted for a chat."""
        rows = query(
            self.store.url,
            "SELECT content ->> 'body' AS body FROM messages WHERE chat_id = %(chat)s AND type = 'text' ORDER BY id",
            chat=chat,
        )
        return [row["body"] for row in rows]

    def turns(self) -> Sequence[Mapping[str, Any]]:
        """Return all turns, the oldest first."""
        return query(self.store.url, "SELECT * FROM turns ORDER BY id")

    def ended(self, most: int = 1, within_s: float = 30.0) -> Sequence[Mapping[str, Any]]:
        """Return the turns once `most` of them have ended."""
        eventually(
            lambda: sum(turn["ended_at"] is not None for turn in self.turns()) >= most,
            within_s,
            lambda: f"{most} turns end; there are {self.turns()}\n{self.entry.log.read_text()[-6000:]}",
        )
        return self.turns()

    def spent(self) -> Mapping[str, Any]:
        """Return the company's spend of all months."""
        (row,) = query(
            self.store.url,
            "SELECT coalesce(sum(spent_micros), 0) AS spent, coalesce(sum(reserved_micros), 0) AS reserved, "
            "coalesce(sum(calls), 0) AS calls FROM model_spend",
        )
        return row

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric of the process over all its series that have these labels."""
        lines = requests.get(self._metrics, timeout=deadline_s(10)).text.splitlines()
        pairs = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.partition("{")[0].partition(" ")[0] == f"bulkhead_{name}" and all(one in line for one in pairs)
        )

    def kill(self) -> None:
        """End the process as a crash would."""
        os.kill(self.entry.process.pid, signal.SIGKILL)
        self.entry.process.wait(deadline_s(10))

    def reclaim(self) -> None:
        """Give back what dead processes had in hand, as the recorder does with its proof."""
        query(
            self.store.url,
            "UPDATE turns SET incarnation_id = NULL, due_at = now() WHERE state = 'running'",
        )

    def close(self) -> None:
        self.entry.close()


__all__ = ["AiEnv", "Receiver", "SandboxEnv"]
