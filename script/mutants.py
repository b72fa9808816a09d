"""Safety rules as data: each with the edit that removes it and the test that must then fail.

A test that passes without the rule that it covers proves nothing. script/mutate.py runs them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Edit:
    """Replace `old`, which must occur exactly once in the file, by `new`."""

    path: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutation:
    """One rule: its purpose, the edits that remove it, and the test that must fail without it."""

    rule: str
    edits: tuple[Edit, ...]
    test: str


_SQL: Final = "shared/store/queries/messages.sql"
_LIFE: Final = "tests/model/test_life.py"
_CONNECTION: Final = "shared/process/http_protocol.py"
_COMPOSER: Final = "tests/compose/test_composer.py"
_DOORS: Final = "tests/process/test_http_limits.py"
_OPERATIONS: Final = "api/http/operations.py"
_WALK: Final = "tests/tenants/test_walk.py"
_EXCHANGE: Final = "tests/meta/test_graph_exchange.py"
_HTTP_CLIENT: Final = "shared/http_client/connection.py"
_HOOKS_SQL: Final = "hooks/queries/hooks.sql"
_READING: Final = "tests/store/test_reading.py"
_READING_SQL: Final = "shared/store/queries/reading.sql"
_CLIENT: Final = "tests/client/test_decisions.py"
_VERIFYING: Final = "tests/client/test_webhooks.py"
_TURNS: Final = "tests/ai/test_turns.py"
_TASKS: Final = "tests/process/test_tasks.py"
_KEYS_SQL: Final = "shared/store/queries/keys.sql"
_CONVERSATIONS: Final = "migrations/0120.conversations.sql"
_CONVERSATIONS_SQL: Final = "shared/conversations/queries/conversations.sql"
_TAKEOVER: Final = "tests/conversations/test_takeover.py"
_ARRIVAL: Final = "tests/conversations/test_arrival.py"
_KEYWORDS: Final = "tests/conversations/test_keywords.py"

_INDEX_SQL: Final = "index/queries/index.sql"
_INDEXING: Final = "tests/index/test_indexing.py"

MUTATIONS: Final[Mapping[str, Mutation]] = {
    "installation-webhooks-apart": Mutation(
        "a webhook of the installation gets what concerns the installation, and nothing of a company",
        (
            Edit(
                "hooks/service.py",
                'is_installations=row["company_id"] is None,',
                "is_installations=False,",
            ),
        ),
        "tests/hooks/test_delivery.py::test_a_webhook_of_the_installation_gets_alerts_and_no_message",
    ),
    "installation-webhooks-of-no-company": Mutation(
        "a company finds no webhook of the installation among its own",
        (
            Edit(
                "api/queries/hooks.sql",
                """DELETE FROM hooks
WHERE (company_id = %(company_id)s OR (company_id IS NULL AND %(company_id)s::text IS NULL)) AND id""",
                """DELETE FROM hooks
WHERE (company_id = %(company_id)s OR company_id IS NULL) AND id""",
            ),
            Edit(
                "api/queries/hooks.sql",
                "(h.company_id = %(company_id)s OR (h.company_id IS NULL AND %(company_id)s::text IS NULL))",
                "(h.company_id = %(company_id)s OR h.company_id IS NULL OR %(company_id)s::text IS NULL)",
            ),
        ),
        "tests/api/test_hooks.py::test_the_installation_has_webhooks_of_its_own",
    ),
    "traces-by-the-clients-choice": Mutation(
        "whether a trace is recorded is decided once, where it begins, and every process keeps to it",
        (Edit("shared/process/otel.py", "'01' if decided.decision is Decision.RECORD_AND_SAMPLE else '00'", "'01'"),),
        "tests/process/test_tracing.py::test_a_trace_that_begins_here_is_recorded_as_the_sampler_says",
    ),
    "own-place-passed-on": Mutation(
        "a place of its own that a holder gives back goes to another one that waits for such a place",
        (Edit("shared/http_client/places.py", "elif self._own_free == 1 and (without", "elif not self and (without"),),
        "tests/unit/test_shared_places.py::test_places_are_counted_right_and_given_as_soon_as_they_may_be",
    ),
    "npm-of-a-cancelled-fetch": Mutation(
        "a fetch of the page library that is cancelled ends its npm",
        (
            Edit(
                "webdriver/page/wa_js.py",
                "            if npm.returncode is None:\n                npm.kill()\n",
                "            if False:\n                npm.kill()\n",
            ),
        ),
        "tests/webdriver/test_contract.py::test_a_fetch_that_is_cancelled_leaves_no_npm_behind",
    ),
    "document-fence": Mutation(
        "a document is written by the incarnation that has leased it, and by no other",
        (
            Edit(
                _INDEX_SQL,
                "WHERE id = %(id)s AND incarnation = %(incarnation)s AND state = 'indexing' FOR NO KEY UPDATE;",
                "WHERE id = %(id)s AND state = 'indexing' FOR NO KEY UPDATE;",
            ),
        ),
        f"{_INDEXING}::test_who_lost_its_lease_writes_nothing",
    ),
    "document-tries": Mutation(
        "a document in whose indexing the process dies three times is given up",
        (Edit(_INDEX_SQL, "WHERE attempts >= %(tries)s", "WHERE attempts > %(tries)s"),),
        f"{_INDEXING}::test_a_document_at_which_the_process_dies_three_times_is_given_up",
    ),
    "reembedding-to-and-fro": Mutation(
        "a process leaves alone what another one has indexed by another model since it began",
        (Edit(_INDEX_SQL, "      AND o.indexed_at < %(since)s\n", ""),),
        f"{_INDEXING}::test_another_model_of_a_company_makes_a_new_index_beside",
    ),
    "embedding-budget": Mutation(
        "embeddings cost no more than a company's budget of the month has left",
        (Edit("shared/store/queries/spend.sql", "WHERE %(budget)s::bigint IS NULL OR %(micros)s <= %(budget)s", ""),),
        "tests/rag/test_remote.py::test_a_budget_is_checked_before_the_call",
    ),
    "embedding-key": Mutation(
        "the installation's key never goes to a company's address",
        (
            Edit(
                "shared/rag/embedders.py",
                "base_url=own_url, key=own_key, is_ours=False",
                "base_url=own_url, key=own_key or self._key, is_ours=False",
            ),
        ),
        "tests/rag/test_embedders.py::test_model_address_and_key",
    ),
    "silent-process-says-nothing": Mutation(
        "what a process said of itself is no trouble any more when it is silent",
        (Edit("api/operators/observer.py", '        if row["status"] == "healthy"\n', ""),),
        "tests/api/test_health.py::test_what_a_process_says_of_itself_is_a_trouble_while_it_has_a_heartbeat",
    ),
    "documents-in-turn": Mutation(
        "one company's documents do not wait for all of another one's",
        (Edit(_INDEX_SQL, "row_number() OVER (PARTITION BY company_id ORDER BY due_at, id)", "0"),),
        f"{_INDEXING}::test_one_companys_backlog_is_no_other_companys_wait",
    ),
    "index-beside": Mutation(
        "a new index is searched only when it is complete",
        (
            Edit(
                "index/rows.py",
                "generation=document.generation + 1,\n        locale",
                "generation=document.generation,\n        locale",
            ),
        ),
        f"{_INDEXING}::test_a_new_index_is_made_beside_and_switched",
    ),
    "originals-stay": Mutation(
        "retention of files leaves the originals of documents alone",
        (
            Edit(
                "shared/store/queries/media.sql",
                "AND NOT is_document(company_id, sha256)\n       ORDER BY used_at",
                "ORDER BY used_at",
            ),
        ),
        f"{_INDEXING}::test_retention_of_files_leaves_documents_alone",
    ),
    "reader-dies-too": Mutation(
        "the process that reads a file ends with its parent",
        (Edit("index/reader.py", "prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)", "prctl(_PR_SET_PDEATHSIG, 0)"),),
        "tests/index/test_program.py::test_a_killed_process_takes_its_reader_along",
    ),
    "reader-of-nobody": Mutation(
        "a reader whose owner ended before it asked for the kernel's signal reads nothing",
        (Edit("index/reader.py", "if os.getppid() != owner:", "if False:"),),
        "tests/index/test_reading.py::test_a_reader_whose_owner_is_gone_already_reads_nothing",
    ),
    "pipe-half-open": Mutation(
        "a start of Chromium that is cancelled between the two ends of its pipe leaves none open",
        (Edit("webdriver/chromium/pipe.py", "            reading.close()\n            raise", "            raise"),),
        "tests/webdriver/test_pipe.py::test_a_cancelled_connect_leaves_nothing_open",
    ),
    "opened-for-nobody": Mutation(
        "a file that a thread opens after the cancellation is closed",
        (Edit("shared/opening.py", "        opening.add_done_callback(_close)\n", ""),),
        "tests/unit/test_opening.py::test_what_is_opened_after_the_cancellation_is_closed",
    ),
    "reader-clock": Mutation(
        "a file that takes too long is given up",
        (Edit("index/reading.py", "timeout=limits.wall_s, return_when", "timeout=None, return_when"),),
        "tests/index/test_reading.py::test_a_file_that_takes_too_long_is_given_up_by_the_clock_too",
    ),
    "threshold-zero": Mutation(
        "0 is a threshold",
        (Edit("shared/rag/fusion.py", "if least is None or score >= least", "if not least or score >= least"),),
        "tests/rag/test_fusion.py::test_zero_is_a_threshold_and_not_none",
    ),
    "vectors-one-length": Mutation(
        "a vector of another length is refused, not padded",
        (Edit("shared/rag/embedding.py", "if len(vector) != dimensions:", "if False:"),),
        "tests/rag/test_fusion.py::test_a_vector_of_another_length_is_refused",
    ),
    "settle-fence": Mutation(
        "an outcome counts only if it comes from the incarnation that claimed the row",
        (
            Edit(
                _SQL,
                "coalesce(m.state, '') = 'sending' AND m.incarnation = %(incarnation)s",
                "coalesce(m.state, '') = 'sending'",
            ),
        ),
        "tests/store/test_messages.py::TestFence",
    ),
    "settle-once": Mutation(
        "an outcome counts only while the row is being sent",
        (
            Edit(
                _SQL,
                "coalesce(m.state, '') = 'sending' AND m.incarnation = %(incarnation)s",
                "m.incarnation = %(incarnation)s",
            ),
        ),
        _LIFE,
    ),
    "upgrade-ignored": Mutation(
        "a request that asks for another protocol keeps its body",
        (Edit(_CONNECTION, "self._parse_without_upgrade(data[stopped.args[0] :])", "return"),),
        f"{_DOORS}::TestUpgradeIsIgnored",
    ),
    "head-limited": Mutation(
        "a head is refused beyond its limit",
        (Edit(_CONNECTION, "if self._head_bytes > self._limits.head_bytes:", "if False:"),),
        f"{_DOORS}::TestHead::test_one_endless_field_is_refused",
    ),
    "fields-limited": Mutation(
        "a head has a limited number of fields",
        (Edit(_CONNECTION, "if len(self.headers) > self._limits.headers:", "if False:"),),
        f"{_DOORS}::TestHead::test_many_small_fields_below_the_size_are_refused",
    ),
    "one-host": Mutation(
        "a request has one Host",
        (Edit(_CONNECTION, "if self._hosts != 1 and (", "if False and ("),),
        f"{_DOORS}::TestHead::test_a_request_has_one_host",
    ),
    "head-in-time": Mutation(
        "a head arrives in time",
        (
            Edit(
                _CONNECTION,
                "self._enter(HEAD, self._limits.head_s)\n        self._chunk",
                "self._enter(HEAD, inf)\n        self._chunk",
            ),
        ),
        f"{_DOORS}::TestHead::test_a_head_that_does_not_come_is_refused",
    ),
    "body-in-time": Mutation(
        "a body that stops is refused",
        (Edit(_CONNECTION, "if self.flow.read_paused or (", "if True or ("),),
        f"{_DOORS}::TestBody::test_a_body_that_stops_is_refused",
    ),
    "trailers-limited": Mutation(
        "what follows a body's head and is no body is limited",
        (Edit(_CONNECTION, "if self._stray_bytes > self._limits.head_bytes + self._chunk:", "if False:"),),
        f"{_DOORS}::TestBody::test_what_is_no_body_has_an_end",
    ),
    "answer-kept-at-close": Mutation(
        "a close keeps the answer readable while the request still arrives",
        (Edit(_CONNECTION, "self._raw.write_eof()", "self._raw.close()"),),
        f"{_DOORS}::TestBody::test_an_answer_before_the_body_arrives_intact",
    ),
    "connections-limited": Mutation(
        "a server has a limited number of connections",
        (Edit("shared/process/server.py", "if len(self._state.connections) + opening < self._most:", "if True:"),),
        f"{_DOORS}::TestConnections::test_beyond_the_limit_they_are_refused",
    ),
    "drain-announced": Mutation(
        "the last answers of a draining process say so",
        (
            Edit(
                _CONNECTION,
                "if self._state.draining:\n            self.cycle.keep_alive = False",
                "if False:\n            pass",
            ),
        ),
        f"{_DOORS}::TestDrain::test_the_last_answers_say_so",
    ),
    "idle-not-cut-in-a-drain": Mutation(
        "a drain gives kept-alive connections one more request before it closes them",
        (
            Edit(
                _CONNECTION,
                "self.due_at = self.since + self._limits.drain_idle_s\n\n    def abort",
                "self._raw.close()\n\n    def abort",
            ),
        ),
        f"{_DOORS}::TestDrain",
    ),
    "bodies-share-a-budget": Mutation(
        "one owner's bodies leave memory for others",
        (Edit("shared/process/request_body.py", " or self._by_owner[owner] + size > self._owner_bytes", ""),),
        f"{_DOORS}::TestBudget",
    ),
    "values-limited": Mutation(
        "a body with too many values is refused before it is decoded",
        (Edit("api/http/bodies.py", 'if body.count(b",") >= _MOST_VALUES:', "if False:"),),
        "tests/api/test_bodies.py::test_two_million_names_are_refused_and_hold_up_no_one",
    ),
    "places-for-bodies-that-are-there": Mutation(
        "a body that does not arrive holds no place of the few for large ones",
        (
            Edit(
                "api/http/bodies.py",
                "    body = await read_body(request, limit=limit",
                "    async with places or nullcontext():\n        body = await read_body(request, limit=limit",
            ),
        ),
        "tests/api/test_bodies.py::test_clients_that_stop_in_the_middle_hold_no_place",
    ),
    "numbers-in-paths-limited": Mutation(
        "a number in a path has a limited number of digits",
        (Edit("shared/process/endpoints.py", 'regex = "[0-9]{1,18}"', 'regex = "[0-9]+"'),),
        "tests/meta/test_webhooks.py::test_an_index_of_any_length_is_refused",
    ),
    "signature-before-body": Mutation(
        "a webhook without a signature is refused before its body is read",
        (Edit("meta/inbound/webhooks.py", "            await admit()\n            event", "            event"),),
        "tests/meta/test_webhooks.py::test_without_a_signature_or_the_right_secret_no_body_is_read",
    ),
    "slot-of-nobody": Mutation(
        "a slot whose process is being started names none, and never process 0",
        (Edit("shared/process/slot_lock.py", '{"pid": values["pid"] or None}', '{"pid": values["pid"]}'),),
        "tests/supervision/test_slot_lock.py::test_a_slot_whose_process_is_being_started_names_none",
    ),
    "hooks-order": Mutation(
        "a webhook gets no later event of a conversation while one of it waits",
        (Edit("hooks/subscriber.py", "self._waiting[conversation] > 0 or self.is_down", "self.is_down"),),
        "tests/hooks/test_delivery.py::test_what_is_not_taken_waits_with_all_behind_it_and_no_other_chat_waits",
    ),
    "hooks-redirects": Mutation(
        "a redirect is a failure",
        (Edit("hooks/sending.py", "if 200 <= answer.status < 300:", "if 200 <= answer.status < 400:"),),
        "tests/hooks/test_delivery.py::test_statuses",
    ),
    "hooks-fence": Mutation(
        "only the incarnation that serves a subscriber writes how far it has come",
        (Edit(_HOOKS_SQL, "h.incarnation = %(incarnation)s AND h.version", "h.version"),),
        "tests/hooks/test_settlement.py",
    ),
    "hooks-version": Mutation(
        "what was read of a subscriber before it was changed is not written",
        (Edit(_HOOKS_SQL, "h.version = g.version AND h.state", "h.state"),),
        "tests/hooks/test_settlement.py",
    ),
    "hooks-position": Mutation(
        "a position is written after what lies before it was delivered or kept",
        (
            Edit(
                "hooks/window.py",
                "            taken.position = self._entries.popleft().position\n",
                "            taken.position = self._entries[-1].position\n            self._entries.popleft()\n",
            ),
        ),
        "tests/hooks/test_window.py",
    ),
    "hooks-window": Mutation(
        "a delivery that takes long does not hold up other conversations",
        (Edit("hooks/subscriber.py", "WINDOW: Final = 200", "WINDOW: Final = 1"),),
        "tests/hooks/test_delivery.py::test_a_chat_whose_delivery_takes_long_lets_others_go_on",
    ),
    "hooks-gone-at-once": Mutation(
        "a subscriber that is gone is disabled at once, also while earlier deliveries are under way",
        (
            Edit(
                "hooks/subscriber.py",
                "            if settlement.gone:\n                # now",
                "            if False:\n                # now",
            ),
        ),
        "tests/hooks/test_delivery.py::test_a_subscriber_that_is_gone_gets_nothing_more_whatever_is_under_way",
    ),
    "alert-of-a-newborn-counter": Mutation(
        "a counter that is born with a burst fires its alert",
        (Edit("shared/alert_policy.py", 'last = 0.0 if labels.get("slot", "") in slots else value', "last = value"),),
        "tests/unit/test_alert_policy.py",
    ),
    "probe-counts-as-up": Mutation(
        "a process that is tried after a quarantine is no end of it until it has lived long enough",
        (Edit("shared/process/slot_metrics.py", ' and not slot.get("is_probe", False)', ""),),
        "tests/process/test_exposition.py::test_figures_of_slots",
    ),
    "own-setting-never-set": Mutation(
        "a setting of one kind that was never set before is a change when the settings are read again",
        (
            Edit(
                "supervision/configuration.py",
                "given = {name: value for row in before.kinds for name, value in environ_for(before, row).items()}",
                "given = {name: str(value) for name, value in before.values.items()}",
            ),
        ),
        "tests/supervision/test_environment.py::test_a_setting_of_one_kind_that_was_never_set_is_a_change",
    ),
    "groups-that-go-meanwhile": Mutation(
        "a control group that another orchestrator removes at the same moment stops no start",
        (
            Edit(
                "supervision/processes/cgroups.py",
                "    with suppress(OSError):\n        return [path",
                "    if True:\n        return [path",
            ),
        ),
        "tests/supervision/test_cgroups.py::test_a_group_that_goes_while_others_are_swept_is_no_error",
    ),
    "hooks-window-places": Mutation(
        "what a death may deliver again is bounded, also while it is being written",
        (
            Edit(
                "hooks/window.py", "len(self._entries) + self._writing < self._most", "len(self._entries) < self._most"
            ),
        ),
        "tests/hooks/test_window.py",
    ),
    "hooks-replayed-waits": Mutation(
        "an event that waits is not kept a second time when its webhook is moved back",
        (Edit("hooks/subscriber.py", " and event.position not in self._ahead", ""),),
        "tests/hooks/test_delivery.py::test_what_waits_and_is_replayed_is_delivered_as_what_waits",
    ),
    "hooks-replay-to-come": Mutation(
        "a replay repeats no event that the stream is still to bring",
        (Edit("api/queries/hooks.sql", " FROM found WHERE NOT is_to_come", " FROM found"),),
        "tests/api/test_hooks.py::test_a_replay_repeats_nothing_that_is_still_to_come",
    ),
    "hooks-kept-once": Mutation(
        "an event that is kept twice at once stops no subscriber",
        (
            Edit(
                "hooks/rows.py",
                '(one.hook_id, event["xid"], event["event_id"]): {',
                "(id(one), id(event)): {",
            ),
        ),
        "tests/hooks/test_settlement.py::test_an_event_that_was_read_twice_is_kept_once",
    ),
    "hooks-first-of-conversation": Mutation(
        "a conversation is tried again when its first event is due",
        (
            Edit(
                _HOOKS_SQL,
                "due AS (\n    SELECT conversation FROM (\n        SELECT DISTINCT ON (conversation) conversation, next_at",
                "due AS (\n    SELECT conversation FROM (\n        SELECT conversation, next_at",
            ),
        ),
        "tests/hooks/test_settlement.py",
    ),
    "hooks-retry-order": Mutation(
        "an event that is not taken ends the round of its conversation",
        (Edit("hooks/subscriber.py", "            if not is_taken:\n                break\n", ""),),
        "tests/hooks/test_delivery.py::test_many_that_wait_are_delivered_in_order",
    ),
    "hooks-head": Mutation(
        "the head of a subscriber's answer has a limit",
        (Edit(_HTTP_CLIENT, "if not self._has_head and self._received > self._limits.head:", "if False:"),),
        "tests/hooks/test_connections.py::test_what_never_ends_is_ended_soon",
    ),
    "hooks-body": Mutation(
        "the body of a subscriber's answer has a limit",
        (
            Edit(_HTTP_CLIENT, "self._body_size > self._limits.body", "False"),
            Edit(_HTTP_CLIENT, "self._received > _MARKS * self._limits.body", "False"),
        ),
        "tests/hooks/test_connections.py::test_what_never_ends_is_ended_soon",
    ),
    "amqp-position": Mutation(
        "the position of an export is written after the broker has confirmed",
        (
            Edit(
                "hooks/exporting.py",
                "                if not await self._is_published(broker, events):",
                "                await self._move(page.position)\n                if not await self._is_published(broker, events):",
            ),
        ),
        "tests/hooks/test_amqp.py::test_a_broker_that_dies_and_comes_back_gets_everything",
    ),
    "events-by-whole-key": Mutation(
        "an event is looked up without reading those of others",
        (
            Edit("shared/store/queries/events.sql", "m.message_id = p.message_id AND m.id = p.id", "m.id = p.id"),
            Edit("shared/store/queries/events.sql", "u.id + 0 = p.id", "u.id = p.id"),
        ),
        "tests/events/test_public.py::test_an_event_is_found_without_a_look_at_the_others",
    ),
    "hooks-retry-in-hand": Mutation(
        "what waits is found again once it is written how its last attempt went",
        (Edit(_HOOKS_SQL, "next_at <= now() AND NOT conversation = ANY(%(in_hand)s::text[])", "next_at <= now()"),),
        "tests/hooks/test_settlement.py::test_what_is_in_hand_is_not_found",
    ),
    "hooks-retry-by-itself": Mutation(
        "a conversation whose retry takes long holds up no other",
        (
            Edit(
                "hooks/subscriber.py",
                '            self._retried[conversation] = self._start(again, "retry")\n',
                '            self._retried[conversation] = self._start(again, "retry")\n'
                "        await asyncio.gather(*self._retried.values())\n",
            ),
        ),
        "tests/hooks/test_delivery.py::test_a_chat_whose_retry_takes_long_lets_others_go_on",
    ),
    "hooks-hurry": Mutation(
        "what waits for a subscriber that takes events again is due at once",
        (Edit("hooks/subscriber.py", "        if settlement.is_back:", "        if False:"),),
        "tests/hooks/test_delivery.py::test_when_a_subscriber_takes_events_again_nothing_waits_for_its_hour",
    ),
    "hooks-looks": Mutation(
        "what waits for a subscriber is looked at when something is due",
        (
            Edit(
                "hooks/subscriber.py", "self._waiting.total() and monotonic() >= self._look_by", "self._waiting.total()"
            ),
        ),
        "tests/hooks/test_retry_looks.py",
    ),
    "hooks-name-share": Mutation(
        "names of one company that are not found leave threads to look up those of others",
        (
            Edit(
                "shared/http_client/names.py",
                "SharedPlaces(most, fair_share)",
                "SharedPlaces(most, lambda **asked: asked['free'] > 0)",
            ),
        ),
        "tests/unit/test_name_lookups.py",
    ),
    "hooks-own-place": Mutation(
        "each subscriber has one connection that no other takes",
        (Edit("hooks/sending.py", "own=SUBSCRIBERS_MOST", "own=0"),),
        "tests/hooks/test_connections.py::test_two_hundred_that_hang_delay_none_that_answers",
    ),
    "hooks-fair-share": Mutation(
        "the subscribers of one company take half of the shared connections at most",
        (
            Edit(
                "shared/http_client/places.py",
                "return of_owner < (free if is_quick else free - places // 2)",
                "return (free if is_quick else free - places // 2) > 0",
            ),
        ),
        "tests/unit/test_shared_places.py",
    ),
    "hooks-slow-share": Mutation(
        "subscribers that do not answer in time take no connections of one half of the shared ones",
        (
            Edit(
                "shared/http_client/places.py",
                "(free if is_quick else free - places // 2)",
                "free",
            ),
        ),
        "tests/unit/test_shared_places.py",
    ),
    "hooks-stale": Mutation(
        "a delivery that met the end of a kept connection is repeated",
        (Edit("hooks/sending.py", "if not problem.is_stale:", "if problem:"),),
        "tests/hooks/test_connections.py::test_a_delivery_that_met_the_end_of_a_kept_connection_is_repeated",
    ),
    "events-of-their-company": Mutation(
        "an event shows no message of another company",
        (
            Edit(
                "shared/events/public.py",
                'found if found is not None and found["company_id"] == event.company_id else None',
                "found",
            ),
        ),
        "tests/events/test_public.py::test_an_event_shows_no_message_of_another_company",
    ),
    "instants-in-range": Mutation(
        "an instant in a cursor is one that the database can hold",
        (Edit("api/http/cursors.py", "instant = read_timestamp(at)", "instant = datetime.fromisoformat(at)"),),
        "tests/api/test_fuzz.py::test_any_instant_in_a_cursor",
    ),
    "proof-of-death": Mutation(
        "a slot is free only when its lock is free and nothing of the incarnation lives",
        (
            Edit(
                "supervision/processes/children.py",
                """                child.gone
                and is_free(runtime.slot_lock_file(self._home, child.slot))
                and not self._trees.living(child.incarnation)
""",
                "                child.gone\n",
            ),
        ),
        "tests/model/test_proof_of_death.py",
    ),
    "least-privilege": Mutation(
        "a process receives only the settings that its kind's row lists",
        (
            Edit(
                "shared/settings.py",
                "for name in visible_fields(row)} | kinds | own",
                "for name in _FIELDS} | kinds | own",
            ),
        ),
        "tests/unit/test_settings.py::TestLeastPrivilege",
    ),
    "foreign-environment": Mutation(
        "nothing of the operator's environment reaches a child but what programs need of a machine",
        (
            Edit(
                "supervision/environment.py",
                "if name in names or name.startswith(_MACHINE_PREFIXES)",
                "if not name.startswith(_MACHINE_PREFIXES)",
            ),
        ),
        "tests/supervision/test_command_line.py::test_no_variable_of_libpq_reaches_a_child",
    ),
    "sockets-bound-again": Mutation(
        "a removed socket file is noticed, and nobody is called hung for it",
        (Edit("supervision/ipc/notify_socket.py", "return self._file.is_there()", "return True"),),
        "tests/supervision/test_removed_files.py::test_a_removed_socket_directory_is_recreated_and_no_child_is_called_hung",
    ),
    "logs-opened-again": Mutation(
        "a process writes to the log file of its name after that was removed",
        (Edit("shared/logs.py", "            self._file.open_again_if_lost()\n", "            pass\n"),),
        "tests/unit/test_logs.py::test_a_line_goes_to_the_file_of_that_name_after_it_was_removed_or_replaced",
    ),
    "missing-extra-is-a-sentence": Mutation(
        "a kind whose extra is missing ends as a configuration error, not with a traceback",
        (Edit("shared/process/child.py", "isinstance(error, ModuleNotFoundError) and (", "False and ("),),
        "tests/process/test_packages.py::test_a_missing_extra_is_one_sentence_and_a_configuration_error[webdriver-pyppeteer]",
    ),
    "journal-after-power-loss": Mutation(
        "a journal that lost its end uses no number twice",
        (
            Edit(
                "shared/process/journal.py",
                "max(_last_seq(self._path), *(_read_position(file) for file in _positions(self._path)), 0)",
                "_last_seq(self._path)",
            ),
        ),
        "tests/supervision/test_journal.py::test_a_journal_that_lost_its_end_uses_no_number_twice",
    ),
    "browser-witness": Mutation(
        "a page proves no absence of what was sent through another link to the phone",
        (Edit("webdriver/channel.py", "linked_at is not None and linked_at <= doubt.claimed_at", "True"),),
        "tests/webdriver/test_channel.py::test_a_page_proves_no_absence_of_what_was_sent_through_another_link",
    ),
    "witness-of-attempt": Mutation(
        "only the link through which an attempt was made proves that it was not sent",
        (Edit("webdriver/channel.py", "if doubt.link and doubt.link != link:", "if False:"),),
        "tests/webdriver/test_channel.py::test_a_page_proves_no_absence_of_what_was_sent_through_another_link",
    ),
    "browser-proof": Mutation(
        "a state is proved only by a loaded page that reports it in this document",
        (
            Edit(
                "webdriver/session/decide.py",
                "        if not page.loaded or not page.mode:\n",
                "        if False:\n",
            ),
        ),
        "tests/webdriver/test_decide.py",
    ),
    "browser-report-alone": Mutation(
        "a report that the store refuses ends no session",
        (
            Edit(
                "webdriver/session/reports.py",
                "except Exception as error:",
                "except ZeroDivisionError as error:",
            ),
        ),
        "tests/webdriver/test_records.py::test_a_report_that_the_store_refuses_stops_no_other",
    ),
    "browser-lid-chat": Mutation(
        "what comes under an id of the page stands in the chat with the number",
        (
            Edit(
                "webdriver/session/inbound_events.py",
                "    messages = _in_known_chats(transaction, messages)\n",
                "",
            ),
        ),
        "tests/webdriver/test_records.py::test_what_comes_under_an_id_of_the_page_stands_in_the_chat_with_the_number",
    ),
    "browser-known-link": Mutation(
        "nothing is sent through a link that the store does not know, since rows are claimed for the account it knows",
        (
            Edit(
                "webdriver/session/session.py",
                "        if model.link and self.reports.written_link != model.link:\n            return None\n",
                "",
            ),
        ),
        "tests/webdriver/test_channel.py::test_nothing_is_sent_through_a_link_that_the_store_does_not_know",
    ),
    "browser-pipe": Mutation(
        "no port leads to a browser",
        (
            Edit(
                "webdriver/chromium/process.py",
                '    "--remote-debugging-pipe",\n',
                '    "--remote-debugging-pipe",\n    "--remote-debugging-port=0",\n',
            ),
        ),
        "tests/webdriver/test_containment.py::"
        "test_no_other_user_reaches_a_browser_and_its_page_reaches_nothing_of_ours",
    ),
    "browser-identity": Mutation(
        "a process counts as a browser of an earlier life only with the start time that was written down",
        (
            Edit(
                "webdriver/chromium/processes.py",
                "return pids_of_session(identity.pid) if int(leader[_STARTED]) == identity.started else []",
                "return pids_of_session(identity.pid)",
            ),
        ),
        "tests/webdriver/test_containment.py::"
        "test_a_stranger_that_names_a_profile_is_not_killed_and_keeps_no_session_from_starting",
    ),
    "one-profile-alone": Mutation(
        "a profile that cannot be cleaned stops no other session",
        (
            Edit(
                "webdriver/session/sessions.py",
                'except OSError as error:\n                log.error("profile_not_released"',
                'except FileNotFoundError as error:\n                log.error("profile_not_released"',
            ),
        ),
        "tests/webdriver/test_containment.py::test_a_profile_that_cannot_be_used_fails_alone",
    ),
    "unique-key": Mutation(
        "an idempotency key names one row",
        (
            Edit(
                "migrations/0001.schema.sql",
                "CREATE UNIQUE INDEX messages_idempotency_key",
                "CREATE INDEX messages_idempotency_key",
            ),
            Edit(
                _SQL, "    ON CONFLICT (company_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING\n", ""
            ),
        ),
        _LIFE,
    ),
    "head-of-chat": Mutation(
        "a claim takes only the first open row of a chat",
        (
            Edit(
                _SQL,
                """            AND earlier.state IN ('queued', 'sending', 'in_doubt') AND (earlier.scheduled_for IS NULL OR earlier.scheduled_for <= now())
          OFFSET 0)
      -- what overtook a row while""",
                """            AND FALSE
          OFFSET 0)
      -- what overtook a row while""",
            ),
        ),
        _LIFE,
    ),
    "claim-recheck": Mutation(
        "a row that changed between the look and the lock is looked at again",
        (
            Edit(
                _SQL,
                "WHERE q.id = ANY(ARRAY(SELECT id FROM allowed)) AND coalesce(q.state, '') = "
                "'queued' AND (q.not_before IS NULL OR q.not_before <= now())",
                "WHERE q.id = ANY(ARRAY(SELECT id FROM allowed))",
            ),
        ),
        "tests/store/test_messages.py::TestClaim",
    ),
    "writing-note": Mutation(
        "the in-flight journal says that a request may leave before it may leave",
        (
            Edit(
                "shared/delivery/sender.py",
                '        self._in_flight.may_leave(message)\n        hit("send.writing")',
                '        hit("send.writing")',
            ),
        ),
        "tests/model/test_record.py",
    ),
    "waits-on-the-loop": Mutation(
        "a wait for PostgreSQL does not hold the event loop",
        (
            Edit(
                "shared/store/waiting.py",
                "    if isinstance(worker, _Worker):\n        _wait_in_worker",
                "    if False:\n        _wait_in_worker",
            ),
        ),
        "tests/store/test_waiting.py",
    ),
    "deadline-on-the-loop": Mutation(
        "a transaction on the event loop ends at its deadline",
        (Edit("shared/store/waiting.py", "            self._go_on(False)\n", "            pass\n"),),
        "tests/store/test_waiting.py",
    ),
    "turns-in-order": Mutation(
        "callers get connections in the order in which they asked",
        (Edit("shared/store/pool.py", "self._turns.popleft().give(connection)", "self._turns.pop().give(connection)"),),
        "tests/store/test_waiting.py",
    ),
    "no-scans": Mutation(
        "a plan that was made while a table was small does not read all of it once it has grown",
        (Edit("shared/store/pool.py", " -c enable_seqscan=off", ""),),
        "tests/store/test_hot_statements.py",
    ),
    "people-by-key": Mutation(
        "whether two ids are linked is looked up by whole keys, not in a join with all ids of the company",
        (
            Edit(
                "shared/store/queries/people.sql",
                "    WHERE coalesce((SELECT person_id FROM contact_aliases WHERE company_id = p.company_id AND alias = "
                "g.first)\n                   <> (SELECT person_id FROM contact_aliases WHERE company_id = p.company_id "
                "AND alias = g.second), true)\n",
                "    WHERE NOT EXISTS (\n        SELECT FROM contact_aliases a JOIN contact_aliases b USING (company_id, "
                "person_id)\n        WHERE a.company_id = p.company_id AND a.alias = g.first AND b.alias = g.second)\n",
            ),
        ),
        "tests/store/test_hot_statements.py",
    ),
    "unseen-rows": Mutation(
        "a rate-limited connection is polled until nothing of it is queued",
        (Edit("shared/delivery/backlog.py", "claimed.unseen - claimed.waits.keys()", "frozenset[int]()"),),
        "tests/delivery/test_backlog.py",
    ),
    "unseen-rows-named": Mutation(
        "a claim names the polled connections that have more queued rows",
        (Edit(_SQL, "(SELECT array_agg(id) FROM unseen) AS unseen", "NULL::bigint[] AS unseen"),),
        "tests/delivery/test_pacing.py::TestTokens",
    ),
    "answer-note": Mutation(
        "an answer stands in the in-flight journal before it is written to the database",
        (
            Edit(
                "shared/delivery/sender.py",
                '        self._in_flight.answered(message, outcome)\n        hit("send.recorded")',
                '        hit("send.recorded")',
            ),
        ),
        "tests/model/test_record.py",
    ),
    "lease-before-send": Mutation(
        "a request leaves only within a lease that covers the whole send",
        (Edit("shared/delivery/sender.py", "if not self._may_send():", "if False:"),),
        "tests/delivery/test_dispatcher_faults.py",
    ),
    "lease-before-claim": Mutation(
        "nothing is claimed without a lease",
        (Edit("shared/delivery/claim_loop.py", "if not self._may_send():", "if False:"),),
        "tests/delivery/test_dispatcher_faults.py",
    ),
    "fence-before-reclaim": Mutation(
        "a life that has renewed its lease keeps its rows",
        (
            Edit(
                "shared/delivery/reclaim.py",
                "if life.host and not processes.fence(transaction, life.incarnation):",
                "if False:",
            ),
        ),
        "tests/store/test_hosts.py",
    ),
    "fenced-for-good": Mutation(
        "a fenced life never renews its lease",
        (
            Edit(
                "shared/store/queries/processes.sql",
                "WHERE (NOT h.fenced OR h.incarnation <> excluded.incarnation)",
                "WHERE true",
            ),
        ),
        "tests/store/test_hosts.py",
    ),
    "silence-is-measured-here": Mutation(
        "a clock of the database that jumps makes no process dead",
        (Edit("recorder/dead_hosts.py", "(life.incarnation, life.beat) for life", '(life.incarnation, "") for life'),),
        "tests/recorder/test_dead_hosts.py",
    ),
    "hints-of-one-installation": Mutation(
        "two installations on one Redis never take each other's hints",
        (Edit("shared/queues/stock_rq.py", 'return f"{kind.name}-{self._installation}"', "return kind.name"),),
        "tests/queues/test_hints.py::TestJobs::test_two_installations_on_one_redis_take_their_own",
    ),
    "old-hints-of-the-living": Mutation(
        "hints of the version before stay while a worker listens to them",
        (
            Edit(
                "shared/queues/stock_rq.py",
                "if redis.call('EXISTS', worker) == 1 then return 0 end",
                "",
            ),
        ),
        "tests/queues/test_hints.py::TestHintsOfTheVersionBefore",
    ),
    "share-of-each-server": Mutation(
        "behind a server that is silent, the next one of the address is tried in time",
        (
            Edit(
                "shared/store/address.py",
                "share_s = left(by, monotonic()) / (len(servers) - number + 1)",
                "share_s = left(by, monotonic())",
            ),
        ),
        "tests/store/test_several_servers.py::test_behind_a_silent_one_the_next_is_tried_in_time",
    ),
    "waits-for-own-connections": Mutation(
        "at the server's limit, callers wait for connections of their own process",
        (Edit("shared/store/pool.py", "if not is_full or self._in_use == 1:", "if True:"),),
        "tests/store/test_database_troubles.py::test_at_the_servers_limit_callers_wait_for_connections_of_their_own",
    ),
    "late-claims-of-turns": Mutation(
        "a turn that was claimed after its process was found dead is given back",
        (Edit("shared/kinds.py", 'holders=("turn_holders",),', ""),),
        "tests/ai/test_rows.py::TestLateClaims",
    ),
    "elders-stay": Mutation(
        "of two hosts that do not fit, the one that came later leaves",
        (Edit("shared/process/place.py", "if other.uptime_s > uptime_s + _TOGETHER_S", "if True"),),
        "tests/process/test_place.py::TestLater",
    ),
    "places-compared-later": Mutation(
        "hosts are compared also after the start",
        (
            Edit(
                "shared/process/place.py",
                "if found := problems_with_elders(place, uptime_s(), others):",
                "if found := []:",
            ),
        ),
        "tests/process/test_place.py::TestName::test_a_host_with_another_key_that_comes_back_is_seen",
    ),
    "sessions-of-living-hosts": Mutation(
        "a browser session is not taken from a host that lives",
        (
            Edit(
                "shared/store/queries/sessions.sql",
                " AND c.session_host <> ALL(coalesce(living.hosts, '{}'))",
                "",
            ),
        ),
        "tests/store/test_session_hosts.py",
    ),
    "journal-of-this-boot": Mutation(
        "an in-flight journal of another boot is none",
        (
            Edit(
                "shared/delivery/in_flight_journal.py",
                "if _BOOT.unpack_from(content, _BOOT_AT)[0] != boot_id().encode():",
                "if False:",
            ),
        ),
        "tests/delivery/test_in_flight_journal.py",
    ),
    "journal-has-its-space": Mutation(
        "the in-flight journal's file has its disk space before anything is written to it",
        (
            Edit(
                "shared/delivery/in_flight_journal.py",
                "os.posix_fallocate(file.fileno(), 0, size)",
                "file.truncate(size)",
            ),
        ),
        "tests/delivery/test_in_flight_journal.py",
    ),
    "outages-of-this-boot": Mutation(
        "outages that were noted before another boot may be missing, so that boot is one",
        (Edit("shared/delivery/webhook_outages.py", "if boot != self._boot:", "if not boot:"),),
        "tests/delivery/test_webhook_outages.py",
    ),
    "hints-are-strangers": Mutation(
        "what is read from Redis may be anything",
        (Edit("shared/queues/stock_rq.py", " and 0 < row_id <= _MAX_ROW_ID", ""),),
        "tests/queues/test_hints.py",
    ),
    "busy-chat": Mutation(
        "a chat with a message in flight is not claimed again before that one is settled",
        (
            Edit(
                "shared/delivery/backlog.py",
                "chats = [chat for chat in self._chats if chat not in busy][:most]",
                "chats = list(self._chats)[:most]",
            ),
        ),
        "tests/delivery/test_backlog.py",
    ),
    "doubt-of-this-attempt": Mutation(
        "what was found out about one attempt decides about no other",
        (
            Edit(
                _SQL,
                "WHERE m.id = %(id)s AND m.state = 'in_doubt' AND m.attempt = %(attempt)s",
                "WHERE m.id = %(id)s AND m.state = 'in_doubt'",
            ),
        ),
        "tests/store/test_message_ends.py",
    ),
    "size-of-the-page": Mutation(
        "a file that the browser sees with another size than ours is not sent",
        (Edit("webdriver/page/bridge.js", '        if (given.size !== size) refuse("file_incomplete");\n', ""),),
        "tests/webdriver/test_operations.py",
    ),
    "reclaim-writing": Mutation(
        "a dead process's row whose request may have left is in doubt",
        (Edit(_SQL, "WHEN f.stage = 'WRITING' THEN 'in_doubt'\n", ""),),
        _LIFE,
    ),
    "counted-silence": Mutation(
        "silence in a time in which nobody could have touched is no evidence",
        (Edit("shared/delivery/reconcile.py", "return self._outages.discount(doubts, elsewhere)", "return doubts"),),
        "tests/delivery/test_reconcile.py",
    ),
    "death-is-an-outage": Mutation(
        "a process that died may have had the proof in hand: until it may have come again, its absence proves nothing",
        (
            Edit(
                "shared/delivery/reclaim.py",
                "        _record_death(transaction, run_dir, incarnation)\n",
                "        pass\n",
            ),
        ),
        "tests/delivery/test_reclaim.py",
    ),
    "token-of-this-installation": Mutation(
        "a token counts only if this installation made it",
        (Edit(_SQL, "split_part(given.token, ':', 2) = (SELECT i.id FROM installation i)", "true"),),
        "tests/store/test_receipts.py",
    ),
    "token-of-this-row": Mutation(
        "a token names the row that was accepted when it says, not one of another history with the same number",
        (
            Edit(
                _SQL,
                "          AND split_part(given.token, ':', 5) = to_hex((extract(epoch FROM "
                "created_at) * 1000000)::bigint)\n",
                "",
            ),
        ),
        "tests/store/test_receipts.py",
    ),
    "attempt-was-made": Mutation(
        "news count only for an attempt that was made",
        (Edit(_SQL, "WHERE coalesce(found.named_attempt, 0) <= locked.attempt;", ";"),),
        "tests/store/test_receipts.py",
    ),
    "attempt-is-not-closed": Mutation(
        "news of a dead letter's attempt do not move the row that was redriven",
        (
            Edit(
                "shared/store/receipts.py",
                'matches = [row for row in locked if not row["is_closed"]]',
                "matches = locked",
            ),
        ),
        "tests/store/test_receipts.py",
    ),
    "dead-id-is-forgotten": Mutation(
        "the provider's id of a dead letter names nothing once it is redriven",
        (Edit("shared/store/queries/interventions.sql", "        provider_id = '', token =", "        token ="),),
        "tests/store/test_receipts.py",
    ),
    "dead-id-is-not-quoted": Mutation(
        "a message that failed is quoted by no reply",
        (
            Edit(
                "shared/store/targets.py",
                'is_known = bool(self.provider_id) and (self.state == "received" or self.state in _GONE_OUT)',
                "is_known = bool(self.provider_id)",
            ),
        ),
        "tests/store/test_receipts.py",
    ),
    "doubts-are-attempts": Mutation(
        "a message is not sent again without end because its sends end in doubt",
        (
            Edit(
                "shared/delivery/reconcile.py",
                "attempts_left=doubt.message.attempts_used < self._attempts",
                "attempts_left=True",
            ),
        ),
        "tests/delivery/test_reconcile.py",
    ),
    "doubts-end": Mutation(
        "a doubt whose window outages keep open is held and listed after a time",
        (Edit("shared/delivery/reconcile.py", "if is_endless else None", "if False else None"),),
        "tests/delivery/test_reconcile.py",
    ),
    "claim-by-halves": Mutation(
        "a row that breaks a claim stops no other",
        (
            Edit(
                "shared/delivery/claim_loop.py",
                "            for row_id in await self._unclaimable(await self._rows_of(request)):\n",
                "            for row_id in []:\n",
            ),
        ),
        "tests/delivery/test_dispatcher_faults.py",
    ),
    "world-of-the-row": Mutation(
        "what was accepted for the sandbox never leaves to a real provider",
        (
            Edit(
                _SQL,
                "CASE WHEN q.world <> (%(worlds)s::text[])[array_position(%(world_types)s::text[], "
                "c.connection_type::text)] THEN 'other_world'\n                WHEN",
                "CASE WHEN",
            ),
        ),
        "tests/store/test_worlds.py",
    ),
    "account-of-the-row": Mutation(
        "a message leaves from the account that it was accepted for",
        (
            Edit(
                _SQL,
                "                WHEN q.account <> coalesce(nullif(c.account_id, ''), "
                "nullif(linked.account, '')) THEN 'other_account' END AS stranger",
                "                END AS stranger",
            ),
        ),
        "tests/store/test_worlds.py",
    ),
    "world-of-a-doubt": Mutation(
        "nothing is concluded in one world about a message of the other",
        (
            Edit(
                _SQL,
                "  AND (m.world IS NULL OR coalesce(m.world = "
                "(%(worlds)s::text[])[array_position(%(world_types)s::text[], "
                "c.connection_type::text)], true))\n",
                "",
            ),
        ),
        "tests/store/test_worlds.py",
    ),
    "redrive-of-the-removed": Mutation(
        "a removed connection redrives nothing",
        (Edit("shared/store/queries/interventions.sql", " AND c.status <> 'removed'\n", "\n"),),
        "tests/store/test_interventions.py",
    ),
    "fair-share": Mutation(
        "a slow connection leaves places to others",
        (Edit(_SQL, " AND (d.capacity IS NULL OR d.place <= d.capacity)", ""),),
        "tests/delivery/test_fairness.py",
    ),
    "socket-address": Mutation(
        "a file is fetched only from an address that the socket may connect to, however its URL spells it",
        (Edit("shared/media/wire.py", "socket_factory=guard, ", ""),),
        "tests/media/test_fetch.py",
    ),
    "account-event-owner": Mutation(
        "an event about an account changes only connections of the door that it came through",
        (
            Edit(
                "meta/inbound/event_owners.py",
                "        if self._door is not None:\n            return connection.id == self._door\n",
                "",
            ),
            Edit("meta/inbound/event_owners.py", "        if self._door is None:\n", "        if True:\n"),
        ),
        "tests/meta/test_inbound.py",
    ),
    "retry-after-date": Mutation(
        "a wait that a provider asks for as a date is kept",
        (Edit("shared/retry_after.py", "    until = _http_date(value)\n", "    until = None\n"),),
        "tests/meta/test_errors.py",
    ),
    "door-of-the-number": Mutation(
        "only an event of the same number proves that its webhooks arrive",
        (
            Edit(
                "shared/store/queries/webhook_evidence.sql",
                "WHERE connection_id = %(connection_id)s AND happened_at",
                "WHERE %(connection_id)s IS NOT NULL AND happened_at",
            ),
        ),
        "tests/meta/test_absence_evidence.py",
    ),
    "event-without-time": Mutation(
        "a webhook that does not say when its event happened did not happen just now",
        (
            Edit(
                "meta/inbound/processor.py",
                "            if happened_at is not None\n",
                "",
            ),
            Edit(
                "meta/inbound/processor.py", "happened_at=happened_at)", "happened_at=happened_at or row.received_at)"
            ),
        ),
        "tests/meta/test_absence_evidence.py",
    ),
    "unsent-parts": Mutation(
        "whoever takes back a message with several files takes back all of them",
        (Edit("shared/store/queries/inbound.sql", "    WHERE fresh.type = 'revoke'\n", "    WHERE FALSE\n"),),
        "tests/meta/test_inbound.py",
    ),
    "facts-of-a-world": Mutation(
        "what is known from the sandbox is not used at a real provider",
        (
            Edit(
                "shared/store/queries/connections.sql",
                "SELECT c.id, given.world, c.world IS NOT NULL AS is_other FROM",
                "SELECT c.id, given.world, FALSE AS is_other FROM",
            ),
        ),
        "tests/meta/test_proofs.py",
    ),
    "proved-account": Mutation(
        "events are taken only for an account that the connection's token was proved to reach",
        (
            Edit(
                "meta/inbound/event_owners.py",
                "connection.connection_type != D360 and connection.is_proved(account)",
                "connection.connection_type != D360",
            ),
        ),
        "tests/meta/test_proofs.py",
    ),
    "bytes-have-no-name": Mutation(
        "a file that a customer sends renames nothing of the company's",
        (
            Edit(
                "shared/store/queries/media.sql",
                "SET used_at = now(), is_animated = ",
                "SET used_at = now(), mimetype = excluded.mimetype, is_animated = ",
            ),
        ),
        "tests/meta/test_received_files.py",
    ),
    "clean-names": Mutation(
        "names of files that come in are cleaned",
        (Edit("shared/store/inbound.py", "with_clean_names(message.content)", "dict(message.content)"),),
        "tests/meta/test_received_files.py",
    ),
    "send-redirect": Mutation(
        "a send follows no redirect",
        (
            Edit(
                "meta/graph.py",
                "                answer = await connection.exchange(request, by)\n",
                "                answer = await connection.exchange(request, by)\n"
                "                if there := answer.field(b'location'):\n"
                "                    return await self.post(Endpoint(there, endpoint.headers), body, by, writing)\n",
            ),
        ),
        "tests/meta/test_graph.py",
    ),
    "send-note-first": Mutation(
        "a request is noted as perhaps written before it leaves",
        (
            Edit("meta/graph.py", "                await writing()\n", ""),
            Edit(
                "meta/graph.py",
                "                answer = await connection.exchange(request, by)\n",
                "                answered = asyncio.ensure_future(connection.exchange(request, by))\n"
                "                await asyncio.sleep(0)\n"
                "                await writing()\n"
                "                answer = await answered\n",
            ),
        ),
        "tests/meta/test_graph.py",
    ),
    "send-note-adjacent": Mutation(
        "a request leaves in the step of the event loop that notes it",
        (
            Edit(
                "meta/graph.py",
                "                await writing()\n",
                "                await writing()\n                await asyncio.sleep(0)\n",
            ),
        ),
        "tests/meta/test_graph.py",
    ),
    "send-written-is-doubt": Mutation(
        "a request that was written and has no answer in time may have been carried out",
        (
            Edit(
                "meta/graph.py",
                "is_written = connection is not None and connection.is_written",
                "is_written = False",
            ),
        ),
        _EXCHANGE,
    ),
    "send-ended-connection": Mutation(
        "a connection that has ended is not written to",
        (Edit(_HTTP_CLIENT, "if not self.is_open or not left(by):", "if not left(by):"),),
        _EXCHANGE,
    ),
    "send-idle-input": Mutation(
        "an idle connection with something to read is not used again",
        (Edit("shared/http_client/pool.py", " and not connection.has_input():", ":"),),
        "tests/meta/test_graph_pool.py",
    ),
    "send-clean-reuse": Mutation(
        "a connection is used again only after a whole answer",
        (Edit("shared/http_client/pool.py", "if connection.is_reusable and", "if connection.is_open and"),),
        _EXCHANGE,
    ),
    "send-stray-answer": Mutation(
        "what comes behind an answer ends the connection",
        (
            Edit(
                _HTTP_CLIENT,
                '            raise NotAnswered("a second answer")\n',
                "            return\n",
            ),
        ),
        _EXCHANGE,
    ),
    "send-header-lines": Mutation(
        "a header of a send is one line",
        (
            Edit(
                "shared/http_client/request.py",
                "return text.isascii() and text.isprintable()",
                "return text.isascii()",
            ),
        ),
        _EXCHANGE,
    ),
    "redacted-response": Mutation(
        "a provider's words do not repeat the secrets of the request",
        (
            Edit(
                "meta/graph.py",
                "GraphAnswer(status, redacted(body, secrets), headers)",
                "GraphAnswer(status, body, headers)",
            ),
        ),
        "tests/meta/test_graph.py",
    ),
    "forward-only": Mutation(
        "a webhook moves a row forward only",
        (Edit(_SQL, "AND m.id = first.id AND m.state = ANY(%(before)s)", "AND m.id = first.id"),),
        _LIFE,
    ),
    "database-troubles": Mutation(
        "an error that speaks of the database, and of no row, means that it cannot serve now",
        (
            Edit(
                "shared/store/sqlstates.py",
                "        return Trouble.ROW\n    return Trouble.DATABASE",
                "        return Trouble.ROW\n    return Trouble.DATABASE if isinstance(error, "
                "psycopg2.OperationalError) else Trouble.ROW",
            ),
        ),
        "tests/store/test_database_troubles.py",
    ),
    "statement-limit": Mutation(
        "a statement that its caller gave up ends in the server",
        (Edit("shared/store/pool.py", 'f" -c statement_timeout={round(self._statement_s * 1000)}ms"', 'f""'),),
        "tests/store/test_database_troubles.py",
    ),
    "receipt-owner": Mutation(
        "a receipt moves only a message of the connection that it came through, whatever else stands in its batch",
        (Edit(_SQL, "found JOIN locked USING (id, connection_id)", "found JOIN locked USING (id)"),),
        "tests/store/test_receipts.py",
    ),
    "event-horizon": Mutation(
        "events are read below the oldest transaction that still runs",
        (
            Edit(
                "shared/store/queries/events.sql",
                "pg_snapshot_xmin(s)::text::bigint + event_xid_offset() AS oldest",
                "pg_snapshot_xmax(s)::text::bigint + event_xid_offset() AS oldest",
            ),
        ),
        "tests/events/test_reader.py",
    ),
    "positions-after-restore": Mutation(
        "new events of a restored database stand behind every position that the lost one gave",
        (
            Edit(
                "migrations/0145.loaded-databases.sql",
                "shift    bigint := greatest(event_xid_offset(), last + margin - present);",
                "shift    bigint := event_xid_offset();",
            ),
        ),
        "tests/recorder/test_backup.py::test_everything_comes_back_and_waits_for_a_human",
    ),
    "restored-connections-wait": Mutation(
        "what waited at the time of a backup is not sent again without a human",
        (
            Edit(
                "shared/store/dumps.sql",
                "WHERE status = 'active';",
                "WHERE status = 'active' AND false;",
            ),
        ),
        "tests/recorder/test_backup.py::test_everything_comes_back_and_waits_for_a_human",
    ),
    "restore-into-empty-home": Mutation(
        "a restore changes nothing that exists",
        (Edit("supervision/commands/restore.py", "    if there:\n", "    if False and there:\n"),),
        "tests/recorder/test_backup.py::test_nothing_that_exists_is_changed",
    ),
    "top-asks": Mutation(
        "a process is restarted or drained from `top` only after a yes",
        (
            Edit(
                "supervision/commands/top_model.py",
                'done = choice.asked if key in ("y", "Y") else None',
                "done = choice.asked",
            ),
        ),
        "tests/supervision/test_screen.py::test_a_process_is_touched_only_after_a_yes",
    ),
    "event-order": Mutation(
        "events are read in the order of their transactions, not of their ids",
        (Edit("shared/store/queries/events.sql", "ORDER BY xid, id LIMIT", "ORDER BY id LIMIT"),),
        "tests/events/test_reader.py",
    ),
    "held-pages": Mutation(
        "rows in doubt that stay hide no others",
        (Edit("shared/delivery/reconcile.py", "            after = found[-1].message.id\n", "            return\n"),),
        "tests/delivery/test_reconcile.py",
    ),
    "due-shares": Mutation(
        "the backlog of one connection hides no row of another from the relay",
        (Edit(_SQL, "WHERE place <= most_rows ORDER BY place, id LIMIT", "WHERE place <= wanted ORDER BY id LIMIT"),),
        "tests/store/test_backlogs.py",
    ),
    "poison-alone": Mutation(
        "a raw event that cannot be processed stops no other",
        (
            Edit(
                "shared/inbound/pipeline.py", "            return await self._one_by_one(most)\n", "            raise\n"
            ),
        ),
        "tests/inbound/test_pipeline.py",
    ),
    "one-person": Mutation(
        "chats are joined only where two ids can name one person",
        (Edit("shared/store/people.py", "        if may_be_one_person(pair.first, pair.second)\n", ""),),
        "tests/store/test_people.py",
    ),
    "change-in-own-chat": Mutation(
        "an edit or a deletion changes a message of its own chat only",
        (
            Edit(
                "migrations/0045.chat-scope.sql",
                "from_me = its_from_me AND is_one_chat(company, chat, its_chat)",
                "from_me = its_from_me",
            ),
        ),
        "tests/inbound/test_chat_scope.py",
    ),
    "change-by-author": Mutation(
        "in a group only the author of a message edits or deletes it",
        (
            Edit(
                "shared/store/queries/inbound.sql",
                """    WHERE is_by_author(locked.company_id, locked.chat_id, locked.sender, locked.from_me,
                       c.chat_id, c.sender, c.from_me)
""",
                "    WHERE is_one_chat(locked.company_id, locked.chat_id, c.chat_id) AND locked.from_me = c.from_me\n",
            ),
        ),
        "tests/inbound/test_chat_scope.py",
    ),
    "echo-in-own-chat": Mutation(
        "the business's app deletes a message of ours only in the chat that it names",
        (
            Edit(
                "shared/store/queries/inbound.sql",
                " AND is_one_chat(t.company_id, t.chat_id, g.chat_id)\n",
                "\n",
            ),
        ),
        "tests/inbound/test_chat_scope.py",
    ),
    "reaction-in-own-chat": Mutation(
        "a reaction counts in the chat of its message only",
        (
            Edit(
                "shared/store/queries/marks.sql",
                "g.connection_id = i.connection_id AND is_one_chat(i.company_id, i.chat_id, g.chat_id)\n        WHERE",
                "g.connection_id = i.connection_id\n        WHERE",
            ),
        ),
        "tests/inbound/test_chat_scope.py",
    ),
    "company-role": Mutation(
        "a request about one company runs in the tenant role",
        (
            Edit(
                "shared/store/store.py",
                "return self._store._pool.transaction(by, company_id=self.company_id)",
                "return self._store._pool.transaction(by)",
            ),
        ),
        "tests/tenants/test_row_security.py",
    ),
    "secrets-in-the-tenant-role": Mutation(
        "a request about one company needs nothing that the runtime role may do",
        (
            Edit(
                "api/tenants/secrets.py",
                "await self._store.as_company(company_id).call(sealed.secrets_of",
                "await self._store.call(sealed.secrets_of",
            ),
        ),
        "tests/tenants/test_row_security.py::test_the_runtime_role_is_not_needed_for_requests_about_one_company",
    ),
    "company-for-one-transaction": Mutation(
        "role and company end with the transaction",
        (
            Edit(
                "shared/store/queries/server.sql",
                "SELECT set_config('role', tenant_role(), true), "
                "set_config('bulkhead.company_id', %(company_id)s, true);",
                "SELECT set_config('role', tenant_role(), false), "
                "set_config('bulkhead.company_id', %(company_id)s, false);",
            ),
        ),
        "tests/store/test_row_security.py",
    ),
    "no-company-is-an-error": Mutation(
        "the tenant role without a company fails, and sees no empty list",
        (
            Edit(
                "migrations/0080.row-level-security.sql",
                "SELECT coalesce(nullif(current_setting('bulkhead.company_id', true), ''), no_company())",
                "SELECT nullif(current_setting('bulkhead.company_id', true), '')",
            ),
        ),
        "tests/store/test_row_security.py",
    ),
    "no-compiled-plans": Mutation(
        "no statement is compiled: a distribution's PostgreSQL would spend seconds on each claim",
        (Edit("shared/store/pool.py", " -c jit=off", ""),),
        "tests/store/test_pool.py",
    ),
    "commit-that-rolls-back": Mutation(
        "a commit that PostgreSQL turned into a rollback is an error",
        (Edit("shared/store/roles.py", ' != statements()["commit_transaction"]:', ' == "":'),),
        "tests/store/test_pool.py",
    ),
    "begins-with-the-first-statement": Mutation(
        "a statement that did not arrive leaves the next one to begin the transaction",
        (
            Edit(
                "shared/store/roles.py",
                "        super().execute(self._beginning + self.mogrify(query, vars))\n",
                '        beginning, self._beginning = self._beginning, b""\n'
                "        super().execute(beginning + self.mogrify(query, vars))\n",
            ),
        ),
        "tests/store/test_pool.py",
    ),
    "roles-of-another-installation": Mutation(
        "a role that another user may take is not used",
        (
            Edit(
                "migrations/0080.row-level-security.sql",
                "CONTINUE WHEN NOT pg_has_role(name, CASE WHEN modern THEN 'SET' ELSE 'MEMBER' END);",
                "",
            ),
        ),
        "tests/store/test_row_security_servers.py",
    ),
    "page-names-the-chat": Mutation(
        "what a page reports about a message is in the chat where it was done, not where its target is",
        (
            Edit(
                "webdriver/page/parsing.py",
                "    chat, own = _side(made)\n",
                '    chat, own = _side(str(content["target"]))\n',
            ),
        ),
        "tests/webdriver/test_words.py",
    ),
    "two-numbers": Mutation(
        "two numbers never become one chat, whatever names both",
        (
            Edit(
                "migrations/0097.people-by-key.sql",
                "ON a.alias < b.alias AND contradict(a.alias, b.alias)",
                "ON a.alias < b.alias AND false",
            ),
        ),
        "tests/store/test_people.py",
    ),
    "webhook-needs-read": Mutation(
        "a key that may not read makes no webhook that does",
        (Edit("api/events/hooks.py", 'if "read" not in principal_of(request).scopes:', "if False:"),),
        "tests/api/test_hooks.py::test_a_key_that_may_not_read_makes_no_webhook_that_does",
    ),
    "slowest-limit": Mutation(
        "no limit is so slow that it cannot be counted",
        (Edit("shared/tenancy/limits.py", "min(max(value * kind.per_s, _SLOWEST), _FASTEST)", "value * kind.per_s"),),
        "tests/tenants/test_limits.py::test_no_limit_is_so_slow_or_fast_that_it_cannot_be_counted",
    ),
    "contact-of-its-time": Mutation(
        "a webhook that is repeated later gives a user id back to no former number",
        (
            Edit(
                "meta/events/people.py",
                "username=username(part), at=change.happened_at)",
                "username=username(part), at=change.received_at)",
            ),
        ),
        "tests/meta/test_inbound.py::test_a_repeated_webhook_gives_a_user_id_back_to_no_former_number",
    ),
    "quotation-joins": Mutation(
        "who quotes a message is not joined with a person whom the provider has named otherwise",
        (
            Edit(
                "shared/store/queries/people.sql",
                "WHERE i.chat_id !~ '^[0-9]+$' AND c.connection_id",
                "WHERE false AND c.connection_id",
            ),
        ),
        "tests/store/test_people.py",
    ),
    "file-of-deleted": Mutation(
        "the file of a message that was deleted is not fetched",
        (
            Edit(
                "shared/store/erasure.py",
                "        media.drop_files_of_deleted(transaction, sorted(ids))\n",
                "",
            ),
        ),
        "tests/recorder/test_files.py",
    ),
    "content-of-deleted": Mutation(
        "what is deleted for everyone has no content any more",
        (Edit("shared/store/erasure.py", '        transaction.execute("erase_deleted", ids=sorted(ids))\n', ""),),
        "tests/inbound/test_erasure.py",
    ),
    "late-edit-of-deleted": Mutation(
        "an edit that comes after the deletion of its message keeps no words",
        (Edit("shared/store/inbound.py", "        erasure.erase_targets(transaction, named)\n", ""),),
        "tests/inbound/test_erasure.py::test_what_its_author_deletes_is_gone_everywhere",
    ),
    "raw-copies-of-deleted": Mutation(
        "what is deleted is removed from every raw event that brought it",
        (
            Edit(
                "shared/store/queries/erasure.sql",
                "WHERE c.connection_id = one.connection_id AND c.provider_id = one.provider_id AND NOT c.is_due;",
                "WHERE false;",
            ),
        ),
        "tests/inbound/test_erasure.py::test_raw_events_that_brought_it_again_count_too",
    ),
    "cancelled-keeps-content": Mutation(
        "what was cancelled before it left keeps its content, since a late proof may show that it did leave",
        (Edit("shared/store/queries/erasure.sql", "      AND error_code <> 'cancelled'\n", ""),),
        "tests/inbound/test_erasure.py::TestOurOwn",
    ),
    "deleted-in-memory": Mutation(
        "events that a process keeps in memory lose the content of what is deleted",
        (Edit("shared/events/tail.py", "        await self._forget_content(page)\n", ""),),
        "tests/events/test_tail.py",
    ),
    "target-of-a-world": Mutation(
        "what one world's provider has is not quoted or reacted to at the other's",
        (Edit("shared/store/targets.py", "return is_known and not self.is_foreign", "return is_known"),),
        "tests/compose/test_composer.py::test_nothing_acts_on_a_message_of_the_other_world",
    ),
    "own-ports": Mutation(
        "a webhook or a file's address leads to no port of ours, also while this machine may be reached",
        (Edit("shared/media/reach.py", "        if port in reach.but_ports:\n", "        if False:\n"),),
        "tests/hooks/test_reach.py",
    ),
    "guesses-by-network": Mutation(
        "guesses of keys are slowed by the network of an IPv6 address",
        (Edit("api/http/keys.py", "client_network(address)", "address"),),
        "tests/tenants/test_addresses.py::test_guesses_from_one_ipv6_network_are_slowed_together",
    ),
    "stuck-browser-is-its-sessions": Mutation(
        "a browser that survives SIGKILL when its session stops ends no process",
        (
            Edit(
                "webdriver/session/session.py",
                '            except (BulkheadError, OSError) as error:\n                log.error("browser_not_ended"',
                '            except ZeroDivisionError as error:\n                log.error("browser_not_ended"',
            ),
        ),
        "tests/webdriver/test_limits.py::test_a_browser_that_survives_the_stop_of_its_session_ends_no_process",
    ),
    "poison-parked-change": Mutation(
        "a parked change that cannot be applied stops no other, and no recorder",
        (Edit("recorder/parked_changes.py", "            await _one_by_one(store, ids)\n", "            raise\n"),),
        "tests/inbound/test_erasure.py::TestInAnyOrder::test_one_that_cannot_be_applied_stops_no_other",
    ),
    "parked-changes": Mutation(
        "an edit or a deletion that finds no message is looked at again",
        (Edit("shared/store/inbound.py", '        transaction.execute("park_changes", ids=named)\n', ""),),
        "tests/inbound/test_erasure.py::TestInAnyOrder",
    ),
    "still-sticker": Mutation(
        "a still WebP picture has the lower limit of those that do not move",
        (Edit("shared/compose/checks.py", "is_animated=kept.is_animated", "is_animated=None"),),
        "tests/api/test_files.py::test_a_file_that_is_too_large_for_the_channel_is_refused_with_the_limit",
    ),
    "released-for-one": Mutation(
        "a file of a deleted message stays while another message has it",
        (
            Edit(
                "shared/store/queries/media.sql",
                "AND i.sha256 = media_files.sha256\n                           AND i.state = 'stored')",
                "AND i.sha256 = media_files.sha256\n                           AND false)",
            ),
            Edit(
                "shared/store/queries/media.sql",
                "AND f.sha256 = m.sha256 AND f.state = 'stored'));",
                "AND f.sha256 = m.sha256 AND false));",
            ),
        ),
        "tests/recorder/test_files.py",
    ),
    "echo-of-another": Mutation(
        "the echo of another installation's send is a message of the chat",
        (
            Edit(
                "meta/inbound/processor.py",
                "arrived += [one for one in echoes if not _is_in(ours, one[0])]",
                "arrived += [one for one in echoes if False]",
            ),
        ),
        "tests/meta/test_inbound.py::test_an_echo_proves_a_send_of_ours_and_is_kept_once_of_a_human",
    ),
    "echo-of-ours": Mutation(
        "the echo of our own send is no message",
        (
            Edit(
                "meta/inbound/processor.py",
                "arrived += [one for one in echoes if not _is_in(ours, one[0])]",
                "arrived += echoes",
            ),
            Edit(
                "shared/store/queries/inbound.sql",
                "WHERE NOT (r.from_me AND EXISTS (",
                "WHERE NOT (false AND EXISTS (",
            ),
        ),
        "tests/meta/test_inbound.py::test_an_echo_proves_a_send_of_ours_and_is_kept_once_of_a_human",
    ),
    "template-of-a-world": Mutation(
        "what one world's provider says of a template counts in that world alone",
        (Edit("shared/store/queries/templates.sql", "     AND t.world = %(world)s\nWHERE c.id", "WHERE c.id"),),
        "tests/meta/test_proofs.py::test_what_is_known_from_another_world_is_not_used",
    ),
    "upload-of-a-world": Mutation(
        "the id of an upload is used in its own world alone",
        (
            Edit(
                "shared/store/queries/media.sql",
                "WHERE connection_id = %(connection_id)s AND world = %(world)s AND sha256",
                "WHERE connection_id = %(connection_id)s AND sha256",
            ),
        ),
        "tests/meta/test_proofs.py::test_what_is_known_from_another_world_is_not_used",
    ),
    "file-of-a-world": Mutation(
        "a file that the sandbox named is not fetched from a real provider",
        (
            Edit(
                "meta/inbound/media_fetcher.py",
                "        if file.world not in (None, account.connection.world):\n",
                "        if False:\n",
            ),
        ),
        "tests/meta/test_fetch.py::test_a_file_of_the_other_world_is_not_asked_for",
    ),
    "redrive-by-command": Mutation(
        "an operator's command redrives nothing of the other world",
        (
            Edit(
                "shared/store/queries/interventions.sql",
                "                                          c.world),\n",
                "                                          NULL),\n",
            ),
        ),
        "tests/store/test_worlds.py",
    ),
    "providers-time": Mutation(
        "the newest reaction by the provider's time counts",
        (
            Edit(
                "shared/store/queries/marks.sql",
                "ORDER BY connection_id, target, person, at DESC, id DESC",
                "ORDER BY connection_id, target, person, id DESC",
            ),
        ),
        "tests/store/test_people.py",
    ),
    "redrive-removed": Mutation(
        "a dead letter at a removed connection is not redriven: it would only fail again",
        (
            Edit(
                "shared/store/queries/interventions.sql",
                "m.company_id = %(company_id)s AND c.status <> 'removed'",
                "m.company_id = %(company_id)s",
            ),
        ),
        "tests/store/test_interventions.py::TestRedrive::test_none_at_a_connection_that_was_removed",
    ),
    "quote-there": Mutation(
        "only a message that the provider has can be quoted",
        (
            Edit(
                "shared/compose/contents.py",
                "if is_here and target.is_there and target.type not in content.LINES:",
                "if is_here and target.provider_id:",
            ),
        ),
        f"{_COMPOSER}::test_only_what_is_there_is_quoted",
    ),
    "lines-are-no-messages": Mutation(
        "nothing acts on a line that is no message at the provider",
        (Edit("shared/compose/contents.py", "                require_message(target, operation)\n", ""),),
        f"{_COMPOSER}::test_nothing_acts_on_a_line_that_is_no_message",
    ),
    "answered-once-it-wrote": Mutation(
        "an id whose spelling proves no chat is written to only after a message came from there",
        (
            Edit(
                "shared/compose/composer.py",
                "if error.answerable and await self._wrote(connection, error.answerable):",
                "if error.answerable:",
            ),
        ),
        f"{_COMPOSER}::test_a_chat_whose_id_proves_nothing_is_answered_once_it_wrote",
    ),
    "first-schedule": Mutation(
        "a repetition shows the time for which the first call scheduled the message",
        (
            Edit(
                "shared/compose/composer.py",
                "scheduled_for = await self._first_schedule(order, clients_key) if asked_for else None",
                "pass",
            ),
        ),
        f"{_COMPOSER}::test_a_repetition_shows_the_first_schedule_when_it_has_passed",
    ),
    "admitted-is-readable": Mutation(
        "every chat id that a provider delivers can be read through the API",
        (
            Edit(
                "shared/channels/chat_ids.py",
                "return (_BY_ITSELF + printable)[:LONGEST].rstrip()",
                "return chat_id",
            ),
        ),
        "tests/channels/test_chat_ids.py::test_whatever_a_provider_names_can_be_read",
    ),
    "trunk-prefix": Mutation(
        "a trunk prefix is no part of a phone number",
        (Edit("shared/channels/chat_ids.py", "digits = _without_trunk_prefix(digits)", "pass"),),
        "tests/channels/test_chat_ids.py::test_a_phone_number_is_its_digits_on_every_channel",
    ),
    "texts-are-plain-at-meta": Mutation(
        "a text of any kind is given to Meta as plain text, the only one that it takes",
        (Edit("shared/channels/whatsapp_cloud.py", 'sent_as={"text/": "text/plain"},', ""),),
        "tests/channels/test_files.py",
    ),
    "one-title": Mutation(
        "two reply buttons of one message have different titles",
        (
            Edit(
                "shared/compose/objects/interactive.py",
                'distinct=(("buttons", ("reply", "id")), ("buttons", ("reply", "title"))),',
                'distinct=(("buttons", ("reply", "id")),),',
            ),
        ),
        "tests/compose/test_objects.py::test_a_wrong_interactive_message_is_named_with_its_place",
    ),
    "nulls-are-absent": Mutation(
        "null for an optional field is as good as leaving it out",
        (Edit("shared/fields.py", "        if given is not None:\n", "        if name in value:\n"),),
        "tests/compose/test_composer.py::test_null_is_as_good_as_absent",
    ),
    "company-closed": Mutation(
        "a key of one company gets another's path as one that does not exist",
        (
            Edit(
                _OPERATIONS,
                'if operation.owner == "path" and not principal.may_reach(request.path_params["companyId"]):',
                "if False:",
            ),
        ),
        _WALK,
    ),
    "scope-needed": Mutation(
        "a key does what its scopes say and nothing else",
        (
            Edit(
                _OPERATIONS,
                'if operation.scope != "public" and not principal.may_use(operation.scope):',
                "if False:",
            ),
        ),
        _WALK,
    ),
    "key-revoked": Mutation(
        "a revoked key is refused",
        (Edit(_KEYS_SQL, "AND k.revoked_at IS NULL", ""),),
        "tests/tenants/test_keys.py::test_a_revoked_key_ends_in_every_process_within_a_second",
    ),
    "key-rotated-out": Mutation(
        "the text from before a rotation ends with the overlap",
        (Edit(_KEYS_SQL, "AND k.previous_until > now()", ""),),
        "tests/tenants/test_keys.py::test_after_a_rotation_both_texts_work_for_the_overlap",
    ),
    "key-not-taken-over": Mutation(
        "no key rotates one that may do more than itself",
        (Edit("api/tenants/keys.py", '    _require_scopes(principal, row["scopes"])\n', ""),),
        "tests/tenants/test_keys.py::test_a_key_takes_over_none_that_may_do_more",
    ),
    "audit-with-its-change": Mutation(
        "an act is written in the transaction of its change",
        (Edit("shared/tenancy/audit.py", "                act.write(transaction)\n", "                pass\n"),),
        "tests/tenants/test_audit.py",
    ),
    "forwarded-of-trusted": Mutation(
        "a forwarded address is believed of trusted proxies alone",
        (Edit("api/http/addresses.py", "if not self._trusted or not self._is_trusted(peer):", "if False:"),),
        "tests/tenants/test_addresses.py",
    ),
    "limit-shared": Mutation(
        "what one process allows is taken from the limit of all",
        (Edit("shared/store/queries/limits.sql", "- (EXCLUDED.capacity - EXCLUDED.tokens)", ""),),
        "tests/tenants/test_limits.py::test_what_is_spent_is_taken_from_what_came_in_since",
    ),
    "seed-not-truth": Mutation(
        "the environment never undoes what an operator did",
        (Edit("recorder/environment_seeds.py", "_state(row, vault) != seed.written", "False"),),
        "tests/recorder/test_environment_seeds.py",
    ),
    "figures-once": Mutation(
        "a message whose outcome changes is taken from the figure in which it was counted",
        (Edit(_READING_SQL, "FROM current WHERE is_old", "FROM current WHERE false"),),
        f"{_READING}::test_figures_are_those_of_the_rows_after_any_history[0]",
    ),
    "echo-before-its-id": Mutation(
        "the echo of our own send goes when the id by which it is known is stored",
        (
            Edit(
                "shared/store/reading.py",
                """[row["message_id"] for row in changed if row["is_new"] or row["furthest"]])""",
                "[])",
            ),
        ),
        f"{_READING}::test_the_echo_of_our_own_message_is_no_second_line",
    ),
    "lists-are-whole": Mutation(
        "a list holds what the copies lack",
        (
            Edit(
                _READING_SQL,
                "(SELECT * FROM known UNION ALL SELECT * FROM new) AS merged",
                "(SELECT * FROM known UNION ALL SELECT * FROM new WHERE false) AS merged",
            ),
        ),
        f"{_READING}::test_a_list_holds_what_the_copies_lack",
    ),
    "quoted-in-its-chat": Mutation(
        "a quotation shows a message of its own chat alone",
        (
            Edit(
                "shared/store/queries/marks.sql",
                "      AND m.company_id = %(company_id)s AND is_one_chat(m.company_id, g.chat_id, m.chat_id)\n    UNION ALL",
                "      AND m.company_id = %(company_id)s\n    UNION ALL",
            ),
        ),
        "tests/api/test_chats.py::test_a_reply_shows_what_it_quotes",
    ),
    "suspended-claim": Mutation(
        "nothing is claimed for a company that is suspended or being deleted",
        (
            Edit(
                _SQL,
                "JOIN companies owner ON owner.id = c.company_id AND owner.state = 'active' "
                "LEFT JOIN phone_status linked",
                "LEFT JOIN phone_status linked",
            ),
        ),
        "tests/store/test_suspension.py::test_queued_messages_wait_and_leave_in_their_order",
    ),
    "suspended-key": Mutation(
        "a key of a suspended company is refused",
        (Edit("api/http/keys.py", "if principal.is_suspended:", "if False:"),),
        "tests/tenants/test_companies.py::test_a_suspended_company_is_refused_in_every_process_within_a_second",
    ),
    "deletion-order": Mutation(
        "the rows by which profiles are confirmed to be gone are deleted last",
        (Edit("recorder/company_deletion.py", "but=_CONFIRMING if profiles else ()", "but=()"),),
        "tests/recorder/test_company_deletion.py::test_a_session_is_unlinked_and_its_profile_confirmed_before_its_row_goes",
    ),
    "deletion-of-no-life": Mutation(
        "the task of a deletion belongs to no life of a process, whose reclaim would end it",
        (Edit("shared/store/queries/companies.sql", "'running', 'deletion', now()", "'running', '', now()"),),
        "tests/recorder/test_company_deletion.py::test_nothing_is_left_and_another_company_is_untouched",
    ),
    "export-ends-with-its-task": Mutation(
        "no archive is kept of a company whose deletion has begun",
        (Edit("recorder/queries/exports.sql", "AND state = 'running' FOR SHARE", "FOR SHARE"),),
        "tests/store/test_company_export.py::test_an_export_ends_with_its_task_and_leaves_nothing",
    ),
    "retry-after-no-date": Mutation(
        "a date that no calendar has, sent by the other end, is no error of ours",
        (Edit("shared/retry_after.py", "(ValueError, TypeError, OverflowError)", "(ValueError, TypeError)"),),
        "tests/unit/test_retry_after.py::test_what_is_none_asks_for_nothing",
    ),
    "page-event-of-any-script": Mutation(
        "no text that a script of the page reports is an error of ours",
        (Edit("webdriver/page/bridge.py", "TypeError, OverflowError, RecursionError)", "TypeError)"),),
        "tests/webdriver/test_page_events.py::test_what_is_no_event_is_skipped",
    ),
    "no-empty-secret": Mutation(
        "the client verifies nothing with a secret that is missing",
        (Edit("bulkhead_client/webhooks.py", "if len(key) < _FEWEST_BYTES:", "if False:"),),
        "tests/client/test_webhooks.py::test_no_key_can_be_forgotten",
    ),
    "needed-key": Mutation(
        "no process starts while a key is missing that something is sealed with",
        (Edit("shared/store/sealed.py", "if key_id not in vault.key_ids\n", "if False\n"),),
        "tests/store/test_sealed.py::test_reseal_covers_every_column_and_retires_a_key_only_then",
    ),
    "canary": Mutation(
        "a key is compared with the one of its name that sealed here",
        (Edit("shared/store/sealed.py", "if key_id in vault.key_ids and not", "if False and not"),),
        "tests/store/test_sealed.py::test_a_key_of_the_same_name_that_is_another_one_is_refused",
    ),
    "split-gives-back": Mutation(
        "the undoing of a merge moves the ids that the merge moved, and no others",
        (
            Edit(
                "shared/store/contacts.py",
                """        aliases=taken["aliases"],""",
                """        aliases=None,""",
            ),
        ),
        "tests/api/test_contacts.py::test_a_merge_is_one_chat_and_can_be_undone",
    ),
    "merged-meanwhile": Mutation(
        "who is recorded while being merged is the contact that was kept",
        (Edit("shared/store/queries/contacts.sql", "OFFSET 0 FOR SHARE) AS now", "OFFSET 0) AS now"),),
        "tests/store/test_people.py::test_who_writes_while_being_merged_stays_one_contact",
    ),
    "merges-nested": Mutation(
        "merges of a contact that is merged itself are undone from it, when it is itself again",
        (
            Edit(
                "shared/store/contacts.py",
                """kept_id=other_id, ids=earlier)""",
                """kept_id=kept_id, ids=earlier)""",
            ),
        ),
        "tests/api/test_contacts.py::test_merges_are_undone_in_the_opposite_order",
    ),
    "files-beside-the-loop": Mutation(
        "a file of contacts is read in a thread, so that the event loop serves the others",
        (Edit("recorder/contact_import.py", "await asyncio.to_thread(next_lines, entries)", "next_lines(entries)"),),
        "tests/recorder/test_contact_import.py::test_a_contact_that_cannot_be_changed_stops_no_other",
    ),
    "import-position": Mutation(
        "an import goes on where its last commit was",
        (
            Edit(
                "recorder/contact_import.py",
                "read_entries(content, form), position, None)",
                "read_entries(content, form), 0, None)",
            ),
        ),
        "tests/recorder/test_contact_import.py::test_a_recorder_that_is_killed_goes_on_where_it_was",
    ),
    "import-together": Mutation(
        "contacts of a file are written by a few statements, whatever their number",
        (
            Edit(
                "shared/store/contacts.py",
                "    asked = list(dict.fromkeys(aliases))\n",
                "    asked = list(dict.fromkeys(aliases))\n"
                "    if len(asked) > 1:\n"
                "        each = [_people_named(transaction, company_id, [one]) for one in asked]\n"
                "        return {alias: person_id for found in each for alias, person_id in found.items()}\n",
            ),
        ),
        "tests/store/test_people.py::test_people_of_a_file_are_written_together",
    ),
    "import-locks": Mutation(
        "a contact that is changed while an import reads it keeps that change",
        (
            Edit(
                "shared/store/queries/contacts.sql",
                "ON CONFLICT (company_id, id) DO UPDATE SET id = excluded.id WHERE people.id IS NULL\nRETURNING id;",
                "ON CONFLICT (company_id, id) DO NOTHING\nRETURNING id;",
            ),
        ),
        "tests/store/test_people.py::test_a_person_that_is_changed_meanwhile_keeps_that_change",
    ),
    "hook-read-unlocked": Mutation(
        "who reads a webhook waits for nobody who changes it",
        (
            Edit(
                "api/events/hooks.py",
                "self._on(request, lambda _, row: row, locked=False)",
                "self._on(request, lambda _, row: row)",
            ),
        ),
        "tests/api/test_hooks.py::test_it_is_read_while_its_row_is_locked",
    ),
    "download-of-a-revoked-key": Mutation(
        "a download that has begun ends when its key is revoked",
        (
            Edit(
                "api/http/operations.py",
                "            send = while_valid(request, send)\n",
                "            pass\n",
            ),
        ),
        "tests/tenants/test_keys.py::test_a_revoked_key_gets_no_more_of_a_file",
    ),
    "import-fence": Mutation(
        "an import is written by the process whose task it is",
        (
            Edit(
                "recorder/queries/contact_imports.sql",
                "AND t.state = 'running' AND t.incarnation = %(incarnation)s",
                "AND t.incarnation <> %(incarnation)s || '!'",
            ),
        ),
        "tests/recorder/test_contact_import.py::test_another_life_that_is_still_at_it_writes_nothing_more",
    ),
    "import-lost-answer": Mutation(
        "contacts whose commit was not confirmed are not taken twice",
        (
            Edit(
                "recorder/queries/contact_imports.sql",
                "i.position = %(position)s AND",
                "i.position <= %(position)s + 1000 AND",
            ),
        ),
        "tests/recorder/test_contact_import.py::test_a_commit_whose_answer_was_lost_is_not_repeated",
    ),
    "client-repeatable": Mutation(
        "the client sends nothing again that could happen twice",
        (
            Edit(
                "bulkhead_client/wire.py",
                "return self.method in _SAFE or IDEMPOTENCY_KEY in self.headers",
                "return True",
            ),
        ),
        f"{_CLIENT}::test_only_what_cannot_happen_twice_is_sent_again",
    ),
    "client-same-key": Mutation(
        "the client sends a message again with the same Idempotency-Key",
        (
            Edit(
                "bulkhead_client/sync_core.py",
                "self._transport.exchange(request, self._timeout_s + wait_s)",
                """self._transport.exchange(
                    type(request)(**{**vars(request), "headers": {"Idempotency-Key": "x" * 21 + str(attempt)}}),
                    self._timeout_s + wait_s,
                )""",
            ),
        ),
        f"{_CLIENT}::test_a_message_whose_answer_was_lost_is_sent_again_with_the_same_key",
    ),
    "client-transient": Mutation(
        "the client sends nothing again that would end in the same way",
        (Edit("bulkhead_client/retries.py", "outcome.status not in _TRANSIENT", "outcome.status < 400"),),
        f"{_CLIENT}::test_what_would_end_in_the_same_way_is_not_sent_again",
    ),
    "client-retry-after": Mutation(
        "the client does not come back before Retry-After",
        (Edit("bulkhead_client/retries.py", "wait_s += outcome.retry_after_s or 0.0", "wait_s += 0.0"),),
        f"{_CLIENT}::test_retry_after_is_a_minimum",
    ),
    "client-signature": Mutation(
        "the client rejects a delivery that no secret signed",
        (Edit("bulkhead_client/webhooks.py", "if not any(fits):", "if not fits:"),),
        f"{_VERIFYING}::test_anything_else_is_rejected",
    ),
    "client-old-delivery": Mutation(
        "the client rejects a delivery that is repeated later",
        (Edit("bulkhead_client/webhooks.py", "int(moment)) > tolerance_s:", "int(moment)) > 10 * tolerance_s:"),),
        f"{_VERIFYING}::test_anything_else_is_rejected",
    ),
    "client-signed-head": Mutation(
        "id and time of a delivery are signed with its body",
        (
            Edit(
                "bulkhead_client/webhooks.py",
                'signed = f"{webhook_id}.{timestamp}.".encode("utf-8", "replace") + body',
                "signed = body",
            ),
        ),
        f"{_VERIFYING}::test_the_example_of_the_specification",
    ),
    "client-constant-time": Mutation(
        "the client compares signatures in constant time",
        (Edit("bulkhead_client/webhooks.py", "hmac.compare_digest(one, other)", "one == other"),),
        f"{_VERIFYING}::test_every_secret_is_compared_with_every_signature_in_constant_time",
    ),
    "client-strangers-text": Mutation(
        "whatever a stranger writes into the headers of a delivery is a rejection",
        (Edit("bulkhead_client/webhooks.py", "if not _MOMENT.fullmatch(moment):", "if not moment.isdecimal():"),),
        f"{_VERIFYING}::test_anything_else_is_rejected",
    ),
    "contact-file-as-text": Mutation(
        "a file of contacts is never in memory as text",
        (
            Edit(
                "shared/contact_files.py",
                'io.TextIOWrapper(io.BytesIO(body), encoding="utf-8-sig", newline="")',
                'io.StringIO(body.decode("utf-8-sig"), newline="")',
            ),
        ),
        "tests/unit/test_contact_files.py::test_a_file_costs_no_more_memory_than_its_bytes",
    ),
    "contact-file-folded": Mutation(
        "a folded line of a vCard is kept only as far as it can be read",
        (Edit("shared/contact_files.py", "elif size <= 2 * _FIELD_LIMIT:", "else:"),),
        "tests/unit/test_contact_files.py::test_a_file_costs_no_more_memory_than_its_bytes",
    ),
    "no-formulas": Mutation(
        "no cell of an exported file is a formula to a spreadsheet",
        (
            Edit(
                "shared/contact_files.py",
                """rows.writerow([_UNESCAPED.sub("'", cell) for cell in cells])""",
                """rows.writerow(cells)""",
            ),
        ),
        "tests/unit/test_contact_files.py::test_what_is_written_as_csv_is_read_back",
    ),
    "contact-file-other-dividers": Mutation(
        "no cell of an exported file is a formula to a spreadsheet of another language, which divides it elsewhere",
        (
            Edit(
                "shared/contact_files.py",
                """_BEGINS: Final = r"(?:\\A|(?<=[;\\t\\r\\n]))\"""",
                """_BEGINS: Final = r"\\A\"""",
            ),
        ),
        "tests/unit/test_contact_files.py::test_what_is_written_as_csv_is_read_back",
    ),
    "figures-fresh": Mutation(
        "figures of a process that is gone or hangs do not count",
        (
            Edit(
                "shared/process/metrics_files.py",
                """        if not -FRESH_S <= now - float(values["at"]) <= FRESH_S:
            return []
""",
                "",
            ),
        ),
        "tests/process/test_exposition.py::test_files_of_every_process_and_none_that_is_old_or_broken",
    ),
    "figures-bounded": Mutation(
        "no peer fills our memory by inventing label values",
        (
            Edit(
                "shared/process/metrics.py",
                """        if len(self._series) >= SERIES_MOST:
            values = (_OTHER,) * len(values)
""",
                "",
            ),
        ),
        "tests/unit/test_leaves.py::TestMetrics::test_label_values_are_bounded",
    ),
    "alert-of-an-outage": Mutation(
        "an alert that fires and ends while the database is away has both events",
        (
            Edit(
                "recorder/alerts.py",
                """            # before the next change: it may be the end of this one, of which there is an event only after the first
            alerts.notify(transaction)
""",
                "",
            ),
        ),
        "tests/recorder/test_alerts.py::TestJudging::test_an_outage_of_the_database_delays_rows_and_no_decision",
    ),
    "alert-keeps": Mutation(
        "an alert that comes and goes is one alert",
        (
            Edit(
                "shared/alert_policy.py",
                "elif not holds and now - condition.last >= rule.keep_s * self._factor:",
                "elif not holds:",
            ),
        ),
        "tests/unit/test_alert_policy.py::test_histories",
    ),
    "alert-silenced": Mutation(
        "what is silenced has no event",
        (
            Edit(
                "shared/store/queries/alerts.sql",
                """WHERE a.ended_at IS NULL AND a.notified_at IS NULL
      AND NOT EXISTS (SELECT FROM alert_silences s
                      WHERE s.until > now() AND (s.name = '' OR s.name = a.name) AND a.labels @> s.labels)
""",
                "WHERE a.ended_at IS NULL AND a.notified_at IS NULL ",
            ),
        ),
        "tests/recorder/test_alerts.py::TestRows::test_what_is_silenced_is_kept_without_an_event",
    ),
    "human-takes-over": Mutation(
        "a message that a client sends gives the conversation to the human",
        (
            Edit(
                "shared/delivery/accept.py",
                "    takeover.on_accepted(transaction, zip(batch, accepted, strict=True))\n",
                "",
            ),
        ),
        f"{_TAKEOVER}::test_a_clients_message_takes_over",
    ),
    "assistant-is-no-human": Mutation(
        "what the assistant writes takes nothing over",
        (Edit("shared/conversations/takeover.py", "message.author is None and message.type", "message.type"),),
        f"{_TAKEOVER}::test_what_is_no_reply_of_a_human",
    ),
    "echo-undecided": Mutation(
        "a line that may be the echo of our own message takes nothing over",
        (Edit("shared/conversations/rows.py", "            if one.id not in undecided\n", ""),),
        f"{_TAKEOVER}::TestEchoes::test_that_comes_before_our_id_is_known",
    ),
    "echo-is-ours": Mutation(
        "an echo is known by the provider's id, also while its line is not withdrawn yet",
        (
            Edit(
                _CONVERSATIONS_SQL,
                "i.id IS NULL OR EXISTS (SELECT FROM messages m WHERE m.provider_id = i.provider_id",
                "i.id IS NULL OR EXISTS (SELECT FROM messages m WHERE false AND m.provider_id = i.provider_id",
            ),
        ),
        f"{_TAKEOVER}::TestEchoes::test_that_comes_before_our_id_is_known",
    ),
    "echo-waited-for": Mutation(
        "an echo is not decided while the message that it may be of is being sent",
        (Edit(_CONVERSATIONS_SQL, "(looked.is_ours OR NOT looked.is_open)", "true"),),
        f"{_TAKEOVER}::TestEchoes::test_that_comes_before_our_id_is_known",
    ),
    "state-read-again": Mutation(
        "the state is locked by the transaction that queues an answer",
        (
            Edit(
                _CONVERSATIONS_SQL,
                "former_ids @> ARRAY[%(id)s::bigint])) FOR NO KEY UPDATE OF c;",
                "former_ids @> ARRAY[%(id)s::bigint]));",
            ),
        ),
        f"{_TAKEOVER}::TestAnswer",
    ),
    "keyword-whole": Mutation(
        "a keyword is a whole word",
        (
            Edit(
                "shared/conversations/keywords.py",
                "if _is_bound(before, keyword[0], is_end=False) and _is_bound(keyword[-1], after, is_end=True):",
                "if before is not None:",
            ),
        ),
        f"{_KEYWORDS}::test_not_found",
    ),
    "one-move": Mutation(
        "a conversation is moved only from a state that it may leave",
        (Edit(_CONVERSATIONS_SQL, "AND given.before ? c.state", ""),),
        f"{_ARRIVAL}::TestRaces::test_of_two_moves_at_once_one_is_made",
    ),
    "one-open-turn": Mutation(
        "a conversation has one open turn",
        (
            Edit(
                _CONVERSATIONS,
                "CREATE UNIQUE INDEX turns_one_open ON turns (conversation_id) WHERE state = 'open';",
                "",
            ),
            Edit(
                _CONVERSATIONS_SQL,
                "ON CONFLICT (conversation_id) WHERE state = 'open' DO UPDATE",
                "ON CONFLICT (id) DO UPDATE",
            ),
        ),
        f"{_ARRIVAL}::test_further_messages_join_the_open_turn_for_a_bounded_time",
    ),
    "events-of-conversations": Mutation(
        "events of a conversation are read in the order of its changes",
        (
            Edit(
                _CONVERSATIONS,
                "NEW.event_xid := greatest(NEW.event_xid, pg_current_xact_id()::text::bigint);",
                "NEW.event_xid := pg_current_xact_id()::text::bigint;",
            ),
        ),
        f"{_ARRIVAL}::TestRaces::test_events_are_read_in_the_order_of_the_changes",
    ),
    "stream-key": Mutation(
        "a stream of health ends when its key is revoked",
        (Edit("api/operators/live.py", "await require_still_valid(request)", "pass"),),
        "tests/api/test_processes.py::test_a_stream_ends_with_its_key",
    ),
    "log-by-name": Mutation(
        "only logs of processes are read, by their names",
        (Edit("api/operators/processes.py", "if slot not in names:", "if False:"),),
        "tests/api/test_processes.py::test_a_log_is_read_by_name_and_by_no_path",
    ),
    "page-texts": Mutation(
        "the control room shows names and texts of others as texts",
        (
            Edit(
                "api/operators/dashboard/dom.js",
                "  return node;\n}\n\n/** An element",
                "  node.innerHTML = node.innerHTML.replaceAll('&lt;', '<');\n  return node;\n}\n\n/** An element",
            ),
        ),
        "tests/control_room/test_control_room.py::test_hostile_names_and_texts_stay_texts",
    ),
    "edited-migrations": Mutation(
        "a migration that was edited after it was applied is refused",
        (Edit("shared/store/migrate.py", "if kept.get(name, digest) != digest:", "if False:"),),
        "tests/store/test_migrations.py::TestEdited",
    ),
    "old-server-unharmed": Mutation(
        "no write of the single-process server fails by a trigger of ours",
        (
            Edit(
                "migrations/0165.old-server.sql",
                " EXCEPTION WHEN undefined_column OR undefined_table THEN RETURN NEW; END",
                " END",
            ),
        ),
        "tests/store/test_migrations.py::TestBesideTheOldServer",
    ),
    "imported-paused": Mutation(
        "an imported number is served by the single-process server alone",
        (
            Edit(
                "recorder/old_server_import.py",
                "        connections.pause(transaction, connection_id, PAUSED)\n",
                "",
            ),
        ),
        "tests/recorder/test_old_server_import.py",
    ),
    "let-go-before-taken": Mutation(
        "a number is served here only after the single-process server has let it go",
        (Edit("recorder/moving.py", "            self._old.let_go(number)\n", ""),),
        "tests/recorder/test_moving.py",
    ),
    "shadow-in-the-sandbox": Mutation(
        "a shadow that sends to real providers gets no copy of a request",
        (Edit("moving/shadow.py", "                if live:\n", "                if False:\n"),),
        "tests/moving/test_shadow.py",
    ),
    "turn-state-read-again": Mutation(
        "an answer is not sent when a human has taken over while it was being written",
        (Edit("ai/answers.py", "if state is not ConversationState.BOT:", "if state is None:"),),
        f"{_TURNS}::test_a_human_who_takes_over_while_the_model_thinks_is_not_talked_over",
    ),
    "turn-share-of-a-company": Mutation(
        "one company does not take all turns",
        (Edit("ai/queries/turns.sql", "WHERE place <= %(each)s ORDER", "WHERE place <= 1000 + %(each)s ORDER"),),
        f"{_TURNS}::test_many_conversations_of_one_company_leave_room_for_another",
    ),
    "task-share-of-a-company": Mutation(
        "one company's tasks do not take all places of a process",
        (Edit("shared/store/queries/tasks.sql", "place - 1 < %(most)s - (taken - 1)", "taken <= %(most)s"),),
        f"{_TASKS}::test_one_company_whose_tasks_hang_leaves_places_to_the_next",
    ),
    "tasks-of-companies-in-turn": Mutation(
        "where one task is done at a time, companies take turns",
        (
            Edit(
                "shared/store/queries/tasks.sql",
                "next_company_with_tasks(%(kind)s, %(after)s) AS owner",
                "next_company_with_tasks(%(kind)s, '') AS owner",
            ),
        ),
        f"{_TASKS}::test_companies_take_turns_where_there_is_one_place",
    ),
    "outage-is-not-the-answers-time": Mutation(
        "an answer is not given up because the database is away",
        (Edit("ai/runs.py", "        with self._time.stopped():\n", "        if True:\n"),),
        "tests/ai/test_answer_time.py::test_an_answer_that_has_come_is_stored_after_the_outage_whatever_time_was_left",
    ),
    "outage-is-given-back": Mutation(
        "a turn that goes on after an outage has the time that it had before",
        (Edit("ai/answer_time.py", "self._by += min(self._clock() - began, query_s)", "self._by += 0"),),
        "tests/ai/test_answer_time.py::test_an_outage_does_not_count_and_what_was_done_before_it_does",
    ),
    "marks-are-no-lines": Mutation(
        "a read or typing mark is no line of a chat",
        (Edit("shared/store/queries/messages.sql", " AND m.type <> ALL(%(marks)s::text[])", ""),),
        f"{_READING}::test_marks_are_no_lines_unless_they_are_asked_for",
    ),
    "cache-of-one-company": Mutation(
        "an answer that was given to one company is never given to another",
        (
            Edit("shared/llm/cache.py", "self._find(question.company_id, _key", 'self._find("", _key'),
            Edit("shared/llm/cache.py", "self._keep(question.company_id, _key", 'self._keep("", _key'),
        ),
        "tests/llm/test_cache.py::test_whatever_decides_an_answer_is_part_of_the_question",
    ),
    "question-answered-once": Mutation(
        "a message that a gateway hands over twice is one question to the model",
        (
            Edit(
                "shared/store/queries/tasks.sql",
                "%(arguments)s, %(once)s, %(about)s,",
                "%(arguments)s, NULL, %(about)s,",
            ),
        ),
        "tests/api/test_assistant.py::test_the_same_message_is_asked_once",
    ),
    "turn-reclaim": Mutation(
        "what a dead process was answering is given back with the proof of its death",
        (Edit("shared/kinds.py", 'reclaims=("reclaim_turns",)', "reclaims=()"),),
        "tests/ai/test_rows.py::test_what_a_dead_process_had_in_hand_is_claimed_first",
    ),
    "turn-of-another-host": Mutation(
        "a new life of a slot takes no turn of another host's slot of the same name",
        (
            Edit(
                "ai/queries/turns.sql",
                "AND split_part(incarnation_id, '@', 2) = split_part(%(living)s, '@', 2) END",
                "END",
            ),
        ),
        "tests/ai/test_rows.py::test_a_new_life_of_a_slot_takes_nothing_from_another_host",
    ),
    "turn-fence": Mutation(
        "a process whose turn is another's by now asks no model for it",
        (Edit("ai/runs.py", "        run.fence(transaction)\n        used", "        used"),),
        "tests/ai/test_rows.py::test_a_lost_turn_asks_no_model",
    ),
    "model-budget": Mutation(
        "money is checked before the call",
        (
            Edit(
                "ai/queries/model_calls.sql",
                "OR s.spent_micros + s.reserved_micros + excluded.reserved_micros <= %(budget)s",
                "OR s.spent_micros >= 0",
            ),
        ),
        f"{_TURNS}::test_money_is_checked_before_the_call_and_what_costs_none_is_given",
    ),
    "kept-answer-needs-no-budget": Mutation(
        "an answer that costs nothing is given with a spent budget",
        (Edit("shared/llm/asking.py", "(kept := asker.kept(target, question)) is not None:", "(kept := None):"),),
        "tests/llm/test_asking.py::test_what_is_known_is_given_with_a_spent_budget_and_without_time",
    ),
    "claim-reads-a-share": Mutation(
        "a claim of turns reads what a company may have, however much waits",
        (Edit("ai/queries/turns.sql", "LIMIT greatest(0, %(each)s - coalesce(b.turns, 0))", "LIMIT 1000000"),),
        "tests/ai/test_rows.py::test_a_claim_reads_what_a_company_may_have_and_not_what_waits",
    ),
    "signs-lead-to-the-nearest": Mutation(
        "of a large company the passages with the likeliest signs are compared, and not any",
        (Edit("migrations/0185.signs-of-vectors.sql", "ORDER BY bit_count(s.signs # $6) LIMIT $7", "LIMIT $7"),),
        "tests/rag/test_retrieve.py::test_three_passages_beside_thousands",
    ),
    "turn-of-the-dead-first": Mutation(
        "a turn whose process died comes before what came in since",
        (
            Edit(
                "ai/queries/turns.sql",
                "UPDATE turns SET incarnation_id = NULL WHERE state = 'running' AND incarnation_id = %(incarnation)s",
                "UPDATE turns SET incarnation_id = NULL, due_at = now() WHERE state = 'running' "
                "AND incarnation_id = %(incarnation)s",
            ),
        ),
        "tests/ai/test_rows.py::test_what_a_dead_process_had_in_hand_comes_before_what_came_in_since",
    ),
    "model-answers-replayed": Mutation(
        "what a model has answered is not asked again after a death",
        (Edit("ai/talking.py", "if iteration < len(answers):", "if iteration < 0:"),),
        "tests/ai/test_crashes.py::test_a_kill_at_each_point[tool.done]",
    ),
    "tool-called-once": Mutation(
        "a call of a function with effects that may have been carried out is not repeated",
        (Edit("ai/talking.py", "tool.outside is not None and not tool.is_repeatable:", "False:"),),
        "tests/ai/test_crashes.py::test_a_kill_at_each_point[tool.called]",
    ),
    "model-retries-known": Mutation(
        "the client library of models repeats nothing by itself",
        (Edit("shared/llm/provider.py", "max_retries=0,", "max_retries=2,"),),
        "tests/ai/test_failures.py::test_a_model_that_fails_is_bounded_and_the_customer_gets_an_apology[error]",
    ),
    "model-addresses-of-companies": Mutation(
        "where a company's model is served is decided where the socket is made",
        (
            Edit(
                "shared/llm/provider.py",
                "ModelPool(Reach.PRIVATE), ModelPool(reach)",
                "ModelPool(Reach.PRIVATE), ModelPool(Reach.PRIVATE)",
            ),
        ),
        "tests/llm/test_provider.py::test_a_companys_address_is_decided_where_it_is_connected_to",
    ),
    "model-key-of-the-installation": Mutation(
        "the installation's key does not go to an address that a company chose",
        (
            Edit(
                "ai/models.py",
                'config.base_url.rstrip("/"), own_key, False',
                'config.base_url.rstrip("/"), own_key or self._key, False',
            ),
        ),
        "tests/ai/test_models.py",
    ),
    "redacted-before-it-leaves": Mutation(
        "customers' numbers and mail addresses do not leave to a model",
        (Edit("ai/talking.py", "[said[0], *redactor.hide(said[1:])] if config.redacts else said", "said"),),
        f"{_TURNS}::test_numbers_and_mails_do_not_leave_and_come_back_in_the_answer",
    ),
    "history-in-exchanges": Mutation(
        "a cut of the history parts no call of a tool from its result",
        (
            Edit(
                "ai/context.py",
                'if message["role"] == "user" and current and current[-1]["role"] != "user":',
                "if current:",
            ),
        ),
        "tests/ai/test_context.py",
    ),
}


def place_of(edit: Edit, text: str) -> re.Match[str]:
    """Return the place of the rule in a file's text; in statements, line breaks may differ.

    Raises:
        ValueError: it does not occur exactly once: this table is out of date.
    """
    exact = re.escape(edit.old)
    found = list(
        re.finditer(r"\s+".join(map(re.escape, edit.old.split())) if edit.path.endswith(".sql") else exact, text)
    )
    if len(found) != 1:
        raise ValueError(f"{edit.path}: {edit.old!r} stands there {len(found)} times, not once")
    return found[0]
