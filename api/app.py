"""The API as one ASGI application: all operations, routed, behind the middleware."""

from __future__ import annotations

import json
from functools import cache
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from api.answers.appointments import AppointmentOperations
from api.answers.functions import FunctionOperations
from api.answers.process_message import ProcessMessageOperations
from api.answers.spending import SpendingOperations
from api.connections.connection_tasks import ConnectionTaskOperations
from api.connections.connections import ConnectionOperations
from api.connections.credentials import Credentials
from api.connections.sessions import SessionOperations
from api.connections.signup import SignupOperations
from api.connections.tasks import TaskOperations
from api.connections.templates import TemplateOperations
from api.conversations.conversations import ConversationOperations
from api.events.feed import FeedOperations
from api.events.hooks import HookOperations
from api.http import cors, openapi, pages, reference
from api.http.addresses import ClientAddresses, read_networks
from api.http.middleware import RequestMiddleware
from api.http.operations import EntryChecks, Operation, routes
from api.http.problems import Problem
from api.knowledge.documents import DocumentOperations
from api.knowledge.search import DocumentSearchOperations
from api.messages.acceptance import AcceptanceAnswers
from api.messages.amendments import AmendmentOperations
from api.messages.drafts import DraftReader
from api.messages.history import HistoryOperations
from api.messages.media import MediaOperations
from api.messages.sending import SendingOperations
from api.messages.serializers import MessageSerializer
from api.operators.alerts import AlertOperations
from api.operators.dashboard.page import Dashboard
from api.operators.dead_letters import DeadLetterOperations
from api.operators.dependencies import Dependencies
from api.operators.doctor import DoctorOperations
from api.operators.figures import FigureOperations
from api.operators.health import HealthOperations
from api.operators.observer import InstallationObserver
from api.operators.overview import OverviewOperations
from api.operators.processes import ProcessOperations
from api.operators.raw_events import RawEventOperations
from api.reading.analytics import AnalyticsOperations
from api.reading.chats import ChatOperations
from api.reading.contact_transfer import ContactTransferOperations
from api.reading.contacts import ContactOperations
from api.reading.messages import SearchOperations
from api.tenants.audit import AuditOperations
from api.tenants.companies import CompanyOperations
from api.tenants.exports import ExportOperations
from api.tenants.keys import KeyOperations
from api.tenants.limits import LimitOperations
from api.tenants.secrets import SecretOperations
from shared.channels.worlds import worlds
from shared.compose.acceptance import RowAcceptor
from shared.compose.composer import Composer
from shared.compose.directory import Directory
from shared.compose.files import Files
from shared.events.tail import EventTail
from shared.media.files import Storage
from shared.media.reach import reach_of
from shared.process.service import Child
from shared.secrets import Vault

# version of the contract; its major number is the `v2` of the paths
API_VERSION: Final = "2.0"


class Topic(Protocol):
    """A group of operations."""

    def operations(self) -> list[Operation]:
        """Return them."""


def operations_of(*topics: Topic) -> list[Operation]:
    """Return every operation of the API, including the two documents that are generated from them."""
    listed = [operation for topic in topics for operation in topic.operations()]

    @cache
    def document() -> bytes:
        # made once: a request for it needs no key
        return json.dumps(openapi.document(listed, API_VERSION), ensure_ascii=False).encode()

    async def show_openapi(_: Request) -> Response:
        return Response(document(), media_type="application/json")

    async def show_reference(_: Request) -> Response:
        return pages.html(reference.page(listed))

    # the two handlers read `listed` when they are called, so that both documents contain themselves
    listed += [
        Operation(
            operation_id="getOpenApiDocument",
            method="GET",
            path="/openapi.json",
            group="Pages",
            summary="The API as an OpenAPI 3.1 document",
            handler=show_openapi,
            scope="public",
            answers={200: ("The document.", "OpenApiDocument")},
        ),
        Operation(
            operation_id="getReferencePage",
            method="GET",
            path="/docs",
            group="Pages",
            summary="The API reference as a page",
            handler=show_reference,
            scope="public",
            answers={200: ("The page.", "text/html")},
        ),
    ]
    return listed


def build_app(
    child: Child,
    acceptor: RowAcceptor,
    storage: Storage,
    dependencies: Dependencies,
    entry: EntryChecks,
    *,
    tail: EventTail,
) -> tuple[ASGIApp, Composer]:
    """Return the application, and its composer, which counts what it accepts.

    Args:
        acceptor: commits rows. storage: of files. entry: checks before the handlers. tail: of the events.
    Raises:
        SettingsInvalid: the key that seals credentials is missing or wrong.
    """
    # shared by all operations: a removal by one of them must also clear the cache of the others
    directory = Directory(child.store)
    shown, files = MessageSerializer(directory, child.store), Files(child.store, storage)
    composer = Composer(child.store, acceptor, files, child.metrics, reach=reach_of(child.settings))
    answers = AcceptanceAnswers(child.store, child.stopping)
    health = HealthOperations(child, InstallationObserver(child, dependencies), directory)
    tasks = TaskOperations(directory, child.store, child.stopping)
    vault = Vault.from_settings(child.settings)
    connections = ConnectionOperations(directory, child.store, Credentials(vault), worlds(child.settings))
    task_operations = ConnectionTaskOperations(connections, child.store, tasks, vault)
    dead_letters = DeadLetterOperations(directory, child.store, shown.one, worlds(child.settings))
    # where two paths match, the first one wins: `…/messages/text/{companyId}/{chatId}` also matches the path of one
    # message, so that sending comes first
    listed = operations_of(
        SendingOperations(DraftReader(directory, files), composer, answers),
        HistoryOperations(directory, shown),
        AmendmentOperations(directory, child.store, composer, answers, shown),
        ChatOperations(directory, child.store),
        ConversationOperations(directory, child.store, composer, answers, shown),
        SearchOperations(directory, child.store),
        ContactOperations(directory, child.store),
        ContactTransferOperations(directory, child.store, tasks),
        AnalyticsOperations(directory, child.store),
        MediaOperations(directory, files, storage),
        DocumentOperations(directory, child.store, storage),
        DocumentSearchOperations(directory, child.store, child.stopping),
        dead_letters,
        CompanyOperations(child.store),
        SecretOperations(directory, child.store, vault),
        ExportOperations(directory, child.store, storage),
        AuditOperations(child.store),
        LimitOperations(child.store),
        KeyOperations(child.store, entry.keys.known, sandbox=set(worlds(child.settings).values()) == {"sandbox"}),
        connections,
        task_operations,
        SignupOperations(directory, child.store, tasks, vault),
        TemplateOperations(connections, task_operations, child.store),
        SessionOperations(directory, child.store, tasks),
        FeedOperations(directory, child.store, tail),
        HookOperations(directory, child.store, vault),
        tasks,
        ProcessMessageOperations(directory, child.store, tasks),
        FunctionOperations(directory, child.store),
        AppointmentOperations(directory, child.store),
        SpendingOperations(directory, child.store),
        AlertOperations(child.store),
        FigureOperations(child.settings.bulkhead_home),
        health,
        ProcessOperations(child),
        DoctorOperations(child),
        OverviewOperations(child.store),
        RawEventOperations(child.store, shown.one),
        Dashboard(),
    )
    # a path with a closing slash is another path: a redirected POST would lose its body with some clients
    router = Router(routes(listed, entry), redirect_slashes=False, default=_unknown_path)
    addresses = ClientAddresses(read_networks(child.settings.trusted_proxies))
    app = RequestMiddleware(router, child.metrics, child.heartbeat.count_error, addresses, child.tracer)
    return cors.allowing(app, cors.read_origins(child.settings.cors_origins)), composer


async def _unknown_path(_scope: Scope, _receive: Receive, _send: Send) -> None:
    # raised, not answered: the middleware gives every refusal its correlation id and form
    raise Problem("path_unknown", "There is nothing at this path.")
