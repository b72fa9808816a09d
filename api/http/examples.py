"""Examples of answers for `/openapi.json`, by schema; a test validates each against its schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# fixed, so that the document is the same each time it is made
_AT: Final = "2026-12-01T09:00:00.000Z"
_ACCEPTED: Final = {
    "id": "41",
    "status": "queued",
    "companyId": "demo",
    "chatId": "15550100200",
    "phoneIndex": 0,
    "connectionType": "meta_direct",
    "type": "text",
    "held": False,
    "createdAt": _AT,
}
_CONNECTION: Final = {
    "phoneIndex": 1,
    "connectionType": "wwebjs",
    "process": "webdriver",
    "status": "active",
    "statusReason": None,
    "desired": "linked",
    "state": "ready",
    "detail": None,
    "accountId": None,
    "account": "15550100999",
    "sandbox": False,
    "wabaId": None,
    "options": {},
    "warning": None,
    "facts": {},
    "checkedAt": None,
    "templatesSyncedAt": None,
    "provedAt": _AT,
    "lastEventAt": None,
    "observedAt": _AT,
    "capabilities": {"text": {"supported": True, "limits": {"characters": 65536}}},
}
_COMPANY: Final = {"companyId": "demo", "name": "Demo", "inDoubtPolicy": None, "connections": 4, "createdAt": _AT}

_KEY: Final = {
    "id": "3",
    "name": "shop",
    "companyId": "demo",
    "prefix": "bh_live_4Jq8Zw",
    "scopes": ["send", "read"],
    "createdAt": _AT,
    "expiresAt": None,
    "rotatedAt": None,
    "previousUntil": None,
    "lastUsedAt": None,
    "revokedAt": None,
    "limits": {
        "requestsPerSecond": 20,
        "messagesPerSecond": None,
        "fileMegabytesPerHour": None,
        "openWaits": None,
    },
}

EXAMPLES: Final[Mapping[str, Any]] = {
    "Key": _KEY,
    "Keys": {"keys": [_KEY], "next": None},
    "NewKey": {**_KEY, "key": "bh_live_4Jq8ZwExampleOfAKeyThatIsNotOneAndNeverWas00000000"},
    "AcceptedMessage": _ACCEPTED,
    "MessageOrAccepted": _ACCEPTED,
    "StoredFile": {
        "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "size": 51234,
        "mimetype": "image/jpeg",
        "filename": "parcel.jpg",
        "url": "/api/v2/media/demo/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    },
    "DeadLetters": {
        "letters": [
            {
                "id": "41",
                "status": "failed",
                "chatId": "15550100200",
                "phoneIndex": 0,
                "connectionType": "meta_direct",
                "type": "text",
                "attempt": 5,
                "error": {"code": "131026", "detail": "131026: the message is undeliverable"},
                "reason": "131026: the message is undeliverable",
                "choices": ["redrive"],
                "heldForHumanAt": None,
                "createdAt": _AT,
                "updatedAt": _AT,
            }
        ],
        "next": None,
    },
    "Redriven": {"redriven": 12, "more": False},
    "Connection": _CONNECTION,
    "Connections": {"companyId": "demo", "connections": [_CONNECTION]},
    "RemovedConnection": {"companyId": "demo", "phoneIndex": 1, "failedMessages": 0},
    "Company": _COMPANY,
    "Companies": {"companies": [_COMPANY], "next": None},
    "Task": {
        "id": "7",
        "operation": "test_connection",
        "status": "done",
        "result": {},
        "problem": None,
        "createdAt": _AT,
        "expiresAt": _AT,
        "finishedAt": _AT,
    },
}
