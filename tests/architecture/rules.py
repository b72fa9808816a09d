"""What ARCHITECTURE.md says, as data. A rule is changed here and there together, with the reason."""

from __future__ import annotations

from collections.abc import Mapping

from shared.kinds import KINDS

ROOMS = ("supervision", "chaos", "moving", *sorted({row.room for row in KINDS}))
"""No room knows another."""

LEAVES = "shared"
"""Files directly in `shared`: words, tables and shapes."""

LAYERS: Mapping[str, tuple[str, ...]] = {
    # room or layer -> what it may import beside itself
    LEAVES: (),
    "shared.channels": (LEAVES,),
    "shared.store": (LEAVES, "shared.channels"),
    "shared.media": (LEAVES,),
    # small POSTs by the thousand
    "shared.http_client": (LEAVES,),
    # for every kind that follows the stream
    "shared.events": (LEAVES, "shared.store", "shared.process"),
    "shared.process": (LEAVES, "shared.store"),
    # who asks, and what they may
    "shared.tenancy": (LEAVES, "shared.store"),
    # who answers in a chat
    "shared.conversations": (LEAVES, "shared.channels", "shared.store", "shared.tenancy"),
    # the journal of what comes in, for every channel
    "shared.inbound": (LEAVES, "shared.store", "shared.process", "shared.conversations"),
    # models behind OpenAI's API
    "shared.llm": (LEAVES, "shared.media", "shared.http_client", "shared.process"),
    "shared.queues": (LEAVES, "shared.channels", "shared.store", "shared.process"),
    "shared.delivery": (
        LEAVES,
        "shared.channels",
        "shared.store",
        "shared.queues",
        "shared.process",
        # what is accepted may be a human's reply
        "shared.conversations",
    ),
    "shared.compose": (
        LEAVES,
        "shared.channels",
        "shared.store",
        "shared.media",
        "shared.process",
        "shared.delivery",
        # whether anything may be sent for a company
        "shared.tenancy",
    ),
    # finds passages of documents: by kinds index and ai, and by words alone for the API
    "shared.rag": (LEAVES, "shared.store", "shared.tenancy", "shared.process", "shared.media", "shared.llm"),
    # the orchestrator and the embedded servers need neither PostgreSQL nor Redis to do their work
    "supervision": (LEAVES, "shared.channels", "shared.process"),
    # drives a running copy from outside; cuts its connections to both stores
    "chaos": (LEAVES, "shared.channels", "shared.store", "shared.process", "shared.queues"),
    # stands before another server, and drives a shadow of ours from outside
    "moving": (LEAVES, "shared.process"),
    **dict.fromkeys(
        {row.room for row in KINDS},
        (
            LEAVES,
            "shared.channels",
            "shared.store",
            "shared.events",
            "shared.conversations",
            "shared.inbound",
            "shared.media",
            "shared.http_client",
            "shared.process",
            "shared.queues",
            "shared.delivery",
            "shared.compose",
            "shared.tenancy",
            "shared.rag",
            "shared.llm",
        ),
    ),
    # the servers and the stand-ins for providers know nothing of the database
    "embedded": (LEAVES, "shared.process"),
    "sandbox": (LEAVES, "shared.process"),
    # entry files, each over its own room
    **{row.entry.removesuffix(".py"): (row.room, LEAVES, "shared.process") for row in KINDS},
    "orchestrator": ("supervision", "embedded", LEAVES, "shared.process"),
}

FRAMEWORKS: Mapping[str, tuple[str, ...]] = {
    # every room that answers HTTP speaks Starlette's types; that is no door
    "starlette": ("api", "meta", "webdriver", "recorder", "sandbox", "shared.process"),
}

DOORS: Mapping[str, tuple[str, ...]] = {
    # third-party package -> modules (or packages of modules) that may import it; a package that is not listed may be
    # imported nowhere
    "uvicorn": ("shared.process.server", "shared.process.http_protocol"),
    "httptools": ("shared.process.http_protocol", "shared.http_client.connection"),
    "aiohappyeyeballs": ("shared.http_client.pool", "shared.http_client.names"),
    "uvloop": ("shared.process.child",),
    "psycopg2": ("shared.store",),
    "greenlet": ("shared.store.waiting",),
    "yoyo": ("shared.store",),
    "redis": ("shared.queues",),
    "rq": ("shared.queues",),
    "cryptography": ("shared.secrets",),
    "segno": ("shared.qr",),
    "psutil": ("supervision.processes.resources",),
    # the operator's command line
    "click": ("supervision.commands",),
    # terminals
    "rich": ("supervision.commands.terminal_view",),
    # pyppeteer, and the library of its own that it leaks
    "pyppeteer": ("webdriver.chromium.browser",),
    "pyee": ("webdriver.chromium.browser",),
    # loaded only with AMQP_URL; aio-pika does not pass on all errors of the library below it
    "aio_pika": ("hooks.amqp",),
    # loaded only where OTEL_EXPORTER_OTLP_ENDPOINT is set
    "opentelemetry": ("shared.process.otel",),
    "aiormq": ("hooks.amqp",),
    # the client of models, and the HTTP library below it, of which its transport is ours
    "openai": ("shared.llm.provider",),
    "httpx2": ("shared.llm.provider", "shared.llm.transport"),
    "pydantic": ("ai.tools",),
    "aiohttp": (
        "meta.graph",
        "sandbox.webhooks",
        "sandbox.media_links",
        "chaos.calls",
        "moving.shadow",
        "shared.media.wire",
    ),
    "filetype": ("shared.media.kinds",),
    "python_multipart": ("api.http.multipart",),
    "regex": ("shared.compose.checks",),
    "phonenumbers": ("shared.channels.chat_ids",),
    "obstore": ("shared.media.s3",),
    # each file is read by a process of its own
    "pypdf": ("index.formats",),
    "docx": ("index.formats",),
    "lxml": ("index.formats",),
    # loaded with the first text that is embedded
    "numpy": ("shared.word_vectors",),
    "safetensors": ("shared.word_vectors",),
    "tokenizers": ("shared.word_vectors",),
    "yaml": ("sandbox.openapi.extract",),
    "jsonschema_rs": ("sandbox.openapi.validators",),
}

ENVIRONMENT_READERS = ("shared.settings", "orchestrator", "chaos.__main__", "shared.process.tracing")
"""Modules that may touch `os.environ` and `os.getenv`: settings reads them, and entries hand the machine's own on to
children. The variables of traces are the library's, which reads them itself."""

FORBIDDEN_NAMES = ("utils", "util", "common", "helpers", "helper", "misc", "manager", "managers", "base")
"""Names of files and folders that say nothing; classes may not end in them either."""

ONE_MEANING = ("Tick",)
"""Names of several classes that mean the same in each: here that time has passed, for a pure decision."""

LONGEST_FILE = 500
REGISTRIES = ("shared/kinds.py",)
"""Files that grow by a row for each kind: their length is no sign of a second reason to exist."""
LONG_FILES: Mapping[str, str] = {
    "shared/store/messages.py": "one typed function for each statement of messages.sql, with the shapes that "
    "they take and return",
    "api/http/examples.py": "a table: an example for each schema of the API",
    "shared/settings.py": "a table: one row for each setting, and its one reader",
}
"""Files that may be longer, each with its reason."""
LONG_TESTS: Mapping[str, str] = {
    "bulkhead_client/models.py": "made by script/client: one type for each component of the OpenAPI document",
    "script/mutants.py": "a table: one row for each rule, with the edit that removes it",
    "tests/cases/test_cases.py": "one test for each reported case",
    "tests/meta/test_events_whatsapp.py": "one test for each shape of a webhook",
    "tests/meta/test_inbound.py": "what each kind of webhook becomes in the database",
    "tests/delivery/test_pacing.py": "policy, claim and dispatcher under limits, read through the same tokens",
}
"""The same for tests and scripts."""

OF_ONE_KIND = (
    "openai",
    "httpx2",
    "pydantic",
    "numpy",
    "httpx",
    "requests",
    "jsonschema",
    "obstore",
    "matplotlib",
    "yaml",
    "aio_pika",
    "aiormq",
    "opentelemetry",
    "pypdf",
    "docx",
    "lxml",
    "tokenizers",
    "safetensors",
)
"""Packages that no entry loads at its start: only the kind or the setting that needs them does, or only tests do."""

_NEVER_LOADED_BY: Mapping[str, tuple[str, ...]] = {
    # entry file -> third-party packages whose failure must not reach it, though a layer below it may import them
    # not even the library of the command line: the process that supervises parses its one option itself
    "orchestrator": (
        *("psycopg2", "redis", "rq", "pyppeteer", "aiohttp", "starlette", "uvicorn", "cryptography"),
        *("click", "rich"),
    ),
    "proc_api": ("pyppeteer", "aiohttp", "jsonschema_rs"),
    "proc_meta": ("pyppeteer", "websockets", "jsonschema_rs", "segno"),
    "proc_webdriver": ("aiohttp", "jsonschema_rs"),
    "proc_recorder": ("pyppeteer", "aiohttp", "jsonschema_rs"),
    "proc_sandbox": ("pyppeteer", "redis", "rq"),
    "proc_hooks": ("pyppeteer", "aiohttp", "redis", "rq", "jsonschema_rs", "segno"),
    "proc_postgres": ("psycopg2", "redis", "rq", "pyppeteer", "aiohttp", "starlette", "uvicorn", "cryptography"),
    "proc_redis": ("psycopg2", "redis", "rq", "pyppeteer", "aiohttp", "starlette", "uvicorn", "cryptography"),
    "proc_model": ("psycopg2", "redis", "rq", "pyppeteer", "aiohttp", "starlette", "uvicorn", "cryptography"),
}


_BY_FRAMEWORKS = frozenset({"python_multipart", "aiohappyeyeballs", "click"})
"""Packages that Starlette, aiohttp or uvicorn loads wherever it is used, whatever door they have."""


def _of_other_rooms(room: str) -> set[str]:
    """Packages whose every door is in a room of other kinds."""
    owners = {package: {door.partition(".")[0] for door in doors} for package, doors in DOORS.items()}
    return {package for package, rooms in owners.items() if LEAVES not in rooms and room not in rooms} - _BY_FRAMEWORKS


NEVER_LOADED_BY: Mapping[str, frozenset[str]] = {
    entry: frozenset(_NEVER_LOADED_BY.get(entry) or _of_other_rooms(room))
    for entry, room in {
        "orchestrator": "supervision",
        **{row.entry.removesuffix(".py"): row.room for row in KINDS},
    }.items()
}
"""Entry file -> third-party packages that must not be loaded with it; a kind that is not listed above loads none of
other rooms."""
