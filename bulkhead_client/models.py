"""Types of what the API answers, made by script/client from its OpenAPI document."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class AcceptedMessage(TypedDict):
    """`AcceptedMessage` of the OpenAPI document."""

    id: str
    status: MessageStatus
    companyId: str
    chatId: str
    phoneIndex: int
    connectionType: str
    type: str
    held: bool
    createdAt: str
    sendAt: NotRequired[str]


class Analytics(TypedDict):
    """`Analytics` of the OpenAPI document."""

    companyId: str
    since: str
    until: str
    asOf: str
    total: Figures
    rows: list[FiguresRow]


AnyMessageStatus = Literal[
    "queued", "sending", "in_doubt", "sent", "delivered", "read", "failed", "deleted", "received"
]


AssistantFailure = Literal["handoff", "apology", "silence"]


class Capability(TypedDict):
    """`Capability` of the OpenAPI document."""

    supported: bool
    reason: NotRequired[UnsupportedReason]
    limits: NotRequired[dict[str, int | list[str] | dict[str, int]]]


class Chat(TypedDict):
    """`Chat` of the OpenAPI document."""

    chatId: str
    aliases: list[str]
    contact: ChatContact | None
    phoneIndex: int
    connectionType: str
    lastMessage: ChatMessage | None
    lastAt: str
    unread: int
    readAt: str | None


class ChatContact(TypedDict):
    """`ChatContact` of the OpenAPI document."""

    id: str
    name: str | None
    username: str | None


ChatMessage = TypedDict(
    "ChatMessage",
    {
        "id": "str",
        "direction": "Direction",
        "status": "AnyMessageStatus",
        "chatId": "str",
        "phoneIndex": "int",
        "connectionType": "str",
        "type": "str",
        "sender": "str | None",
        "senderName": "str | None",
        "senderUsername": "str | None",
        "providerMessageId": "str | None",
        "errorCode": "str | None",
        "at": "str",
        "createdAt": "str",
        "message": "NotRequired[str]",
        "preview": "NotRequired[bool]",
        "media": "NotRequired[MessageFile]",
        "caption": "NotRequired[str]",
        "tag": "NotRequired[str]",
        "filename": "NotRequired[str]",
        "voice": "NotRequired[bool]",
        "latitude": "NotRequired[float]",
        "longitude": "NotRequired[float]",
        "name": "NotRequired[str]",
        "address": "NotRequired[str]",
        "contacts": "NotRequired[list[dict[str, Any]]]",
        "emoji": "NotRequired[str]",
        "interactive": "NotRequired[dict[str, Any]]",
        "language": "NotRequired[Any]",
        "components": "NotRequired[list[dict[str, Any]]]",
        "text": "NotRequired[str]",
        "payload": "NotRequired[Any]",
        "messageId": "NotRequired[str | None]",
        "targetProviderId": "NotRequired[str | None]",
        "sourceChatId": "NotRequired[str | None]",
        "for": "NotRequired[DeletedFor]",
        "state": "NotRequired[TypingState]",
        "lastsSeconds": "NotRequired[float]",
        "content": "NotRequired[Any]",
        "quotedMessageId": "NotRequired[str]",
        "quotedMessage": "NotRequired[QuotedMessage]",
        "context": "NotRequired[dict[str, Any]]",
        "edited": "NotRequired[bool]",
        "editedAt": "NotRequired[str]",
        "deleted": "NotRequired[bool]",
        "deletedFor": "NotRequired[DeletedFor]",
        "deletedAt": "NotRequired[str]",
        "reactions": "NotRequired[list[Reaction]]",
    },
)


class ChatRead(TypedDict):
    """`ChatRead` of the OpenAPI document."""

    chatId: str
    readAt: str


class Company(TypedDict):
    """`Company` of the OpenAPI document."""

    companyId: str
    name: str
    inDoubtPolicy: str | None
    state: CompanyState
    stateReason: str | None
    stateAt: str
    settings: CompanySettings
    connections: int
    version: int
    createdAt: str
    updatedAt: str


class CompanySettings(TypedDict):
    """`CompanySettings` of the OpenAPI document."""

    brandName: str
    tone: str
    locale: list[str]
    enableAssistant: bool
    answerDelaySeconds: float
    enableRag: bool
    enableFunctionCalling: bool
    enableHumanHandoff: bool
    humanHandoffKeywords: list[str]
    humanTimeoutMinutes: int
    waitingTimeoutMinutes: int
    waitingLimitMinutes: int
    conversationTimeoutMinutes: int
    ragConfig: CompanySettingsRagConfig
    assistantConfig: CompanySettingsAssistantConfig


class CompanySettingsAssistantConfig(TypedDict):
    """`CompanySettingsAssistantConfig` of the OpenAPI document."""

    model: str
    fallbackModels: list[str]
    baseUrl: str
    prompt: str
    maxTokens: int
    temperature: float
    historyMessages: int
    cacheSeconds: int
    monthlyBudget: float
    onFailure: AssistantFailure
    apology: str
    handoffText: str
    redact: bool
    functionHosts: list[str]


class CompanySettingsRagConfig(TypedDict):
    """`CompanySettingsRagConfig` of the OpenAPI document."""

    chunkSize: int
    chunkOverlap: int
    topK: int
    minSimilarity: float
    weights: CompanySettingsRagConfigWeights
    fusion: SearchFusion
    embeddingModel: str
    embeddingDimensions: int
    embeddingBaseUrl: str


class CompanySettingsRagConfigWeights(TypedDict):
    """`CompanySettingsRagConfigWeights` of the OpenAPI document."""

    keyword: float
    vector: float


CompanyState = Literal["active", "suspended", "deleting"]


class Connection(TypedDict):
    """`Connection` of the OpenAPI document."""

    phoneIndex: int
    connectionType: str
    process: str
    status: ConnectionStatus
    statusReason: str | None
    desired: DesiredSession
    state: str
    detail: str | None
    accountId: str | None
    account: str | None
    sandbox: bool
    wabaId: str | None
    options: dict[str, Any]
    warning: str | None
    facts: dict[str, Any]
    checkedAt: str | None
    templatesSyncedAt: str | None
    provedAt: str | None
    lastEventAt: str | None
    observedAt: str | None
    capabilities: dict[str, Capability]


ConnectionStatus = Literal["active", "paused"]


class Connections(TypedDict):
    """`Connections` of the OpenAPI document."""

    companyId: str
    connections: list[Connection]


class Contact(TypedDict):
    """`Contact` of the OpenAPI document."""

    id: str
    name: str | None
    givenName: str | None
    profileName: str | None
    username: str | None
    aliases: list[str]
    phones: list[str]
    tags: list[str]
    customFields: dict[str, str | float | bool]
    marketing: list[MarketingChoice]
    merges: list[ContactMerge]
    firstSeenAt: str
    lastSeenAt: str
    createdAt: str
    updatedAt: str


class ContactMerge(TypedDict):
    """`ContactMerge` of the OpenAPI document."""

    mergeId: str
    contactId: str
    aliases: list[str]
    mergedAt: str


class Conversation(TypedDict):
    """`Conversation` of the OpenAPI document."""

    id: str
    chatId: str
    aliases: list[str]
    contact: ChatContact | None
    phoneIndex: int | None
    connectionType: str | None
    state: ConversationState
    reason: str | None
    stateAt: str
    waitingS: float | None
    assignee: str | None
    humanUntil: str | None
    lastInboundAt: str | None
    version: int
    formerIds: list[str]
    createdAt: str
    updatedAt: str


ConversationState = Literal["bot", "waiting", "human", "closed"]


class ConversationWithMessages(TypedDict):
    """`ConversationWithMessages` of the OpenAPI document."""

    id: str
    chatId: str
    aliases: list[str]
    contact: ChatContact | None
    phoneIndex: int | None
    connectionType: str | None
    state: ConversationState
    reason: str | None
    stateAt: str
    waitingS: float | None
    assignee: str | None
    humanUntil: str | None
    lastInboundAt: str | None
    version: int
    formerIds: list[str]
    createdAt: str
    updatedAt: str
    messages: list[ChatMessage]


DeletedFor = Literal["everyone", "me"]


DeliveryOutcome = Literal["taken", "failed", "dead"]


DesiredSession = Literal["linked", "paused", "logged_out"]


Direction = Literal["in", "out"]


class Document(TypedDict):
    """`Document` of the OpenAPI document."""

    id: str
    status: DocumentStatus
    title: str
    mimetype: str
    size: int
    sha256: str
    chunks: int
    pages: int | None
    model: str | None
    attempts: int
    code: str | None
    reason: str | None
    createdAt: str
    updatedAt: str
    indexedAt: str | None


class DocumentSearch(TypedDict):
    """`DocumentSearch` of the OpenAPI document."""

    results: list[FoundPassage]
    legs: list[SearchLeg]
    why: str | None


DocumentStatus = Literal["uploaded", "indexing", "indexed", "no_text", "failed"]


class Event(TypedDict):
    """`Event` of the OpenAPI document."""

    id: str
    type: str
    at: str
    companyId: str | None
    data: dict[str, Any]


EventMessage = TypedDict(
    "EventMessage",
    {
        "id": "str",
        "direction": "Direction",
        "status": "AnyMessageStatus",
        "companyId": "str",
        "chatId": "str",
        "phoneIndex": "int",
        "connectionType": "str",
        "type": "str",
        "attempt": "int",
        "sender": "str | None",
        "senderName": "str | None",
        "senderUsername": "str | None",
        "providerMessageId": "str | None",
        "error": "MessageError | None",
        "sendAt": "str | None",
        "notBefore": "str | None",
        "inDoubtPolicy": "InDoubtPolicy | None",
        "heldForHumanAt": "str | None",
        "createdAt": "str",
        "sentAt": "str | None",
        "updatedAt": "str",
        "message": "NotRequired[str]",
        "preview": "NotRequired[bool]",
        "media": "NotRequired[MessageFile]",
        "caption": "NotRequired[str]",
        "tag": "NotRequired[str]",
        "filename": "NotRequired[str]",
        "voice": "NotRequired[bool]",
        "latitude": "NotRequired[float]",
        "longitude": "NotRequired[float]",
        "name": "NotRequired[str]",
        "address": "NotRequired[str]",
        "contacts": "NotRequired[list[dict[str, Any]]]",
        "emoji": "NotRequired[str]",
        "interactive": "NotRequired[dict[str, Any]]",
        "language": "NotRequired[Any]",
        "components": "NotRequired[list[dict[str, Any]]]",
        "text": "NotRequired[str]",
        "payload": "NotRequired[Any]",
        "messageId": "NotRequired[str | None]",
        "targetProviderId": "NotRequired[str | None]",
        "sourceChatId": "NotRequired[str | None]",
        "for": "NotRequired[DeletedFor]",
        "state": "NotRequired[TypingState]",
        "lastsSeconds": "NotRequired[float]",
        "content": "NotRequired[Any]",
        "quotedMessageId": "NotRequired[str]",
        "quotedMessage": "NotRequired[QuotedMessage]",
        "context": "NotRequired[dict[str, Any]]",
        "edited": "NotRequired[bool]",
        "editedAt": "NotRequired[str]",
        "deleted": "NotRequired[bool]",
        "deletedFor": "NotRequired[DeletedFor]",
        "deletedAt": "NotRequired[str]",
        "reactions": "NotRequired[list[Reaction]]",
        "requestId": "NotRequired[str | None]",
        "traceparent": "NotRequired[str | None]",
        "held": "NotRequired[bool]",
    },
)


class EventPage(TypedDict):
    """`EventPage` of the OpenAPI document."""

    events: list[Event]
    next: str


class Figures(TypedDict):
    """`Figures` of the OpenAPI document."""

    accepted: int
    open: int
    sent: int
    delivered: int
    read: int
    failed: int
    cancelled: int
    received: int
    echoed: int
    sentLatencyMs: Latency | None
    deliveredLatencyMs: Latency | None


class FiguresRow(TypedDict):
    """`FiguresRow` of the OpenAPI document."""

    accepted: int
    open: int
    sent: int
    delivered: int
    read: int
    failed: int
    cancelled: int
    received: int
    echoed: int
    sentLatencyMs: Latency | None
    deliveredLatencyMs: Latency | None
    day: NotRequired[str]
    phoneIndex: NotRequired[int]
    connectionType: NotRequired[str]
    type: NotRequired[str]


FileStatus = Literal["stored", "linked", "uploaded", "pending", "refused", "failed", "unknown"]


class FoundPassage(TypedDict):
    """`FoundPassage` of the OpenAPI document."""

    documentId: str
    title: str
    source: str
    text: str
    score: float


class HistoryStep(TypedDict):
    """`HistoryStep` of the OpenAPI document."""

    state: MessageStatus
    at: str
    providerAt: str | None
    attempt: int
    incarnation: str | None
    code: str | None
    detail: str | None
    extra: dict[str, Any] | None


class Hook(TypedDict):
    """`Hook` of the OpenAPI document."""

    id: str
    url: str
    types: list[str]
    phoneIndexes: list[int]
    headers: list[str]
    state: HookState
    stateReason: str | None
    position: str
    waiting: int
    deadLetters: int
    failingSince: str | None
    formerSecretUntil: str | None
    createdAt: str
    updatedAt: str


class HookDelivery(TypedDict):
    """`HookDelivery` of the OpenAPI document."""

    eventId: str
    type: str
    at: str
    attempt: int | None
    outcome: DeliveryOutcome
    statusCode: int | None
    error: str | None
    tookMs: int | None


class HookReplay(TypedDict):
    """`HookReplay` of the OpenAPI document."""

    events: int | None
    after: str | None


HookState = Literal["active", "paused", "disabled"]


class HookTest(TypedDict):
    """`HookTest` of the OpenAPI document."""

    eventId: str


InDoubtPolicy = Literal["auto", "resend", "hold"]


class Latency(TypedDict):
    """`Latency` of the OpenAPI document."""

    messages: int
    p50: int
    p95: int


class MarketingChoice(TypedDict):
    """`MarketingChoice` of the OpenAPI document."""

    phoneIndex: int
    accepts: bool
    at: str | None


Message = TypedDict(
    "Message",
    {
        "id": "str",
        "direction": "Direction",
        "status": "AnyMessageStatus",
        "companyId": "str",
        "chatId": "str",
        "phoneIndex": "int",
        "connectionType": "str",
        "type": "str",
        "attempt": "int",
        "sender": "str | None",
        "senderName": "str | None",
        "senderUsername": "str | None",
        "providerMessageId": "str | None",
        "error": "MessageError | None",
        "sendAt": "str | None",
        "notBefore": "str | None",
        "inDoubtPolicy": "InDoubtPolicy | None",
        "heldForHumanAt": "str | None",
        "createdAt": "str",
        "sentAt": "str | None",
        "updatedAt": "str",
        "history": "list[HistoryStep]",
        "message": "NotRequired[str]",
        "preview": "NotRequired[bool]",
        "media": "NotRequired[MessageFile]",
        "caption": "NotRequired[str]",
        "tag": "NotRequired[str]",
        "filename": "NotRequired[str]",
        "voice": "NotRequired[bool]",
        "latitude": "NotRequired[float]",
        "longitude": "NotRequired[float]",
        "name": "NotRequired[str]",
        "address": "NotRequired[str]",
        "contacts": "NotRequired[list[dict[str, Any]]]",
        "emoji": "NotRequired[str]",
        "interactive": "NotRequired[dict[str, Any]]",
        "language": "NotRequired[Any]",
        "components": "NotRequired[list[dict[str, Any]]]",
        "text": "NotRequired[str]",
        "payload": "NotRequired[Any]",
        "messageId": "NotRequired[str | None]",
        "targetProviderId": "NotRequired[str | None]",
        "sourceChatId": "NotRequired[str | None]",
        "for": "NotRequired[DeletedFor]",
        "state": "NotRequired[TypingState]",
        "lastsSeconds": "NotRequired[float]",
        "content": "NotRequired[Any]",
        "quotedMessageId": "NotRequired[str]",
        "quotedMessage": "NotRequired[QuotedMessage]",
        "context": "NotRequired[dict[str, Any]]",
        "edited": "NotRequired[bool]",
        "editedAt": "NotRequired[str]",
        "deleted": "NotRequired[bool]",
        "deletedFor": "NotRequired[DeletedFor]",
        "deletedAt": "NotRequired[str]",
        "reactions": "NotRequired[list[Reaction]]",
        "requestId": "NotRequired[str | None]",
        "traceparent": "NotRequired[str | None]",
        "held": "NotRequired[bool]",
    },
)


class MessageError(TypedDict):
    """`MessageError` of the OpenAPI document."""

    code: str
    detail: str | None


class MessageEvent(TypedDict):
    """`MessageEvent` of the OpenAPI document."""

    id: str
    type: str
    at: str
    companyId: str | None
    data: MessageEventData


class MessageEventData(TypedDict):
    """`MessageEventData` of the OpenAPI document."""

    messageId: str
    status: str | None
    attempt: int | None
    error: MessageError | None
    message: EventMessage | None


class MessageFile(TypedDict):
    """`MessageFile` of the OpenAPI document."""

    status: FileStatus
    sha256: NotRequired[str]
    mimetype: NotRequired[str]
    size: NotRequired[int]
    filename: NotRequired[str]
    url: NotRequired[str]
    mediaId: NotRequired[str]
    reason: NotRequired[str]


MessageStatus = Literal["queued", "sending", "in_doubt", "sent", "delivered", "read", "failed", "deleted"]


class NewHook(TypedDict):
    """`NewHook` of the OpenAPI document."""

    id: str
    url: str
    types: list[str]
    phoneIndexes: list[int]
    headers: list[str]
    state: HookState
    stateReason: str | None
    position: str
    waiting: int
    deadLetters: int
    failingSince: str | None
    formerSecretUntil: str | None
    createdAt: str
    updatedAt: str
    secret: str


class QuotedMessage(TypedDict):
    """`QuotedMessage` of the OpenAPI document."""

    id: str | None
    providerMessageId: str
    direction: Direction | None
    type: str | None
    text: str | None


Reaction = TypedDict(
    "Reaction",
    {
        "from": "str | None",
        "emoji": "str",
    },
)


SearchFusion = Literal["weighted", "rank"]


SearchLeg = Literal["keyword", "vector"]


class StoredFile(TypedDict):
    """`StoredFile` of the OpenAPI document."""

    sha256: str
    size: int
    mimetype: str
    filename: str | None
    url: str


class Task(TypedDict):
    """`Task` of the OpenAPI document."""

    id: str
    operation: str
    status: TaskStatus
    result: dict[str, Any] | None
    progress: dict[str, Any] | None
    problem: TaskProblem | None
    createdAt: str
    expiresAt: str
    finishedAt: str | None


class TaskProblem(TypedDict):
    """`TaskProblem` of the OpenAPI document."""

    code: str
    detail: str


TaskStatus = Literal["queued", "running", "done", "failed"]


class Template(TypedDict):
    """`Template` of the OpenAPI document."""

    id: str | None
    name: str
    language: str
    category: str | None
    status: str
    reason: str | None
    quality: str | None
    components: list[dict[str, Any]]
    updatedAt: str


TypingState = Literal["on", "off"]


UnsupportedReason = Literal["channel", "not_yet"]
