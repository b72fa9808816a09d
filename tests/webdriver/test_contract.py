"""The contract with wa-js: what the bridge uses stands in the published declarations, and the sandbox's object has the
same names and shapes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.chromium_path import find
from shared.clock import monotonic
from tests.support import processes
from tests.support.waiting import patient_by
from tests.webdriver.env import Web, run, session_env, soon
from webdriver.chromium.browser import Browser
from webdriver.chromium.process import Chromium, Launch
from webdriver.page import bridge, outcomes, parsing, wa_js
from webdriver.page.parsing import ACKS

OFFERED = ("conn.isRegistered", "conn.isMainReady", "conn.isOnline", "conn.needsUpdate", "conn.getMyUserWid", "conn.getMyUserId",  # noqa: E501
           "chat.get", "chat.getMessageACK")  # fmt: skip
"""What the sandbox's object has beyond what the bridge uses."""


GIVEN = {
    "conn.genLinkDeviceCodeForPhoneNumber": ("phone: string",),
    "chat.find": ("chatId: string",),
    "chat.generateMessageID": ("chat: string",),
    "chat.sendTextMessage": ("chatId: any", "content: any", "options?: TextMessageOptions"),
    "chat.sendFileMessage": ("chatId: string", "content: string | Blob | File", "options:"),
    "chat.sendLocationMessage": ("chatId: any", "options: LocationMessageOptions"),
    "chat.sendRawMessage": ("chatId: any", "rawMessage: RawMessage", "options?: SendMessageOptions"),
    "chat.sendReactionToMessage": ("messageId: string", "reaction: string | false"),
    "chat.editMessage": ("msgId: string", "newText: string", "options?: EditMessageOptions"),
    "chat.deleteMessage": ("chatId: string", "ids: string", "deleteMediaInDevice?: boolean", "revoke?: boolean"),
    "chat.forwardMessages": ("toChatId: string", "msgsId: string[]", "options?: ForwardMessagesOptions"),
    "chat.markIsRead": ("chatId: string",),
    "chat.markIsComposing": ("chatId: string",),
    "chat.markIsRecording": ("chatId: string",),
    "chat.markIsPaused": ("chatId: string",),
    "chat.downloadMedia": ("id: string",),
    "chat.getMessageById": ("id: string",),
    "chat.getMessages": ("chatId: string", "options?: GetMessagesOptions"),
    "chat.getReactions": ("msgId: string",),
    "chat.list": ("options?: ChatListOptions",),
}
"""The beginning of each parameter that `bridge.js` gives, in order; functions that are not here are given none."""


class Published:
    """The pinned package's type declarations."""

    def __init__(self, package: Path) -> None:
        with tarfile.open(package) as archive:
            self.files = {
                member.name.removeprefix("package/dist/"): (archive.extractfile(member) or pytest.fail(member.name))
                .read()
                .decode()
                for member in archive.getmembers()
                if member.name.endswith(".d.ts")
            }

    def function(self, name: str) -> str:
        """Return the declarations of `namespace.function`, exported all the way up to `WPP`."""
        space, _, function = name.partition(".")
        assert re.search(rf"export \* as {space} from", self.files["index.d.ts"]), f"WPP.{space} is not exported"
        assert re.search(rf"\b{function}\b", self.files[f"{space}/functions/index.d.ts"]), f"WPP.{name} is not exported"
        assert "functions" in self.files[f"{space}/index.d.ts"]
        found = [
            text
            for path, text in self.files.items()
            if path.startswith(f"{space}/functions/") and f"function {function}(" in text
        ]
        assert found, f"WPP.{name} is not declared"
        return found[0]

    def events(self) -> set[str]:
        """Return the names of all events."""
        return {
            name
            for path, text in self.files.items()
            if path.endswith("events/eventTypes.d.ts")
            for name in re.findall(r"^    '([a-z]+\.[a-z_]+)'", text, re.M)
        }

    def enum(self, name: str) -> dict[str, Any]:
        """Return the members of an enumeration."""
        (text,) = [text for path, text in self.files.items() if path == f"whatsapp/enums/{name}.d.ts"]
        body = text.partition(f"enum {name} {{")[2].partition("}")[0]
        return {
            key: int(value) if value.lstrip("-").isdigit() else value.strip('"')
            for key, value in re.findall(r'(\w+) = ("?[\w-]+"?)', body)
        }


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> wa_js.Library:
    """The library, fetched by npm as the product fetches it; its script is kept."""
    made = wa_js.Library("", tmp_path_factory.mktemp("npm") / "cache")

    async def scenario() -> None:
        # at once: one of them fetches
        first, second = await asyncio.gather(made.source(), made.source())
        assert first is second

    asyncio.run(scenario())
    return made


@pytest.fixture(scope="module")
def published(library: wa_js.Library) -> Published:
    """What the package declares."""
    (package,) = library._cache.iterdir()
    return Published(package)


def test_package_is_the_pinned_one_and_nothing_else_passes(tmp_path: Path, published: Published) -> None:
    assert published.files["index.d.ts"]
    forged = tmp_path / "package.tgz"
    forged.write_bytes(b"something else")
    with pytest.raises(wa_js.LibraryUnavailable, match=r"is not @wppconnect/wa-js 4\.6\.0"):
        wa_js.script_in(forged)
    with pytest.raises(wa_js.LibraryUnavailable, match="WA_JS_PATH"):
        asyncio.run(wa_js.Library(str(tmp_path / "missing.js"), tmp_path).source())


def test_library_is_fetched_once_and_kept(library: wa_js.Library, monkeypatch: pytest.MonkeyPatch) -> None:
    (kept,) = library._cache.iterdir()
    assert base64.b64encode(hashlib.sha512(kept.read_bytes()).digest()).decode() == wa_js.INTEGRITY
    # without npm: the next life reads what this one kept
    monkeypatch.setattr(wa_js, "_PATH", "/nowhere")
    assert "WPP" in asyncio.run(wa_js.Library("", library._cache).source())


def test_a_fetch_that_is_cancelled_leaves_no_npm_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm, pid = tmp_path / "npm", tmp_path / "pid"
    npm.write_text(f"#!/bin/sh\necho $$ > {pid}.new\n/bin/mv {pid}.new {pid}\nexec /bin/sleep 600\n")
    npm.chmod(0o755)
    monkeypatch.setattr(wa_js, "_PATH", str(tmp_path))
    package = tmp_path / "cache" / "package.tgz"

    async def scenario() -> None:
        fetching = asyncio.create_task(wa_js.fetch(package))
        await soon(pid.exists)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching

    asyncio.run(scenario())
    assert not processes.is_alive(int(pid.read_text()))
    assert list(package.parent.iterdir()) == []


@pytest.mark.parametrize("name", sorted({*bridge.USED_FUNCTIONS, *OFFERED}))
def test_function_is_published(published: Published, name: str) -> None:
    assert published.function(name)


@pytest.mark.parametrize("name", bridge.USED_FUNCTIONS)
def test_parameters_are_published(published: Published, name: str) -> None:
    function = name.partition(".")[2]
    (declared, *_) = re.findall(rf"function {function}\((.*?)\): ", published.function(name), re.S)
    parameters = re.split(r", (?=\w+\??: )", declared) if declared else []
    given = GIVEN.get(name, ())
    assert len(parameters) >= len(given), declared
    for parameter, expected in zip(parameters, given, strict=False):
        assert parameter.startswith(expected), declared
    assert all("?:" in parameter for parameter in parameters[len(given) :]), (
        f"{name} needs more than it is given: {declared}"
    )


@pytest.mark.parametrize("name", bridge.USED_EVENTS)
def test_event_is_published(published: Published, name: str) -> None:
    assert name in published.events()


def test_bridge_uses_what_it_says() -> None:
    source = Path(bridge.__file__).with_suffix(".js").read_text()
    assert set(re.findall(r"WPP\.((?:conn|chat)\.\w+)\(", source)) == set(bridge.USED_FUNCTIONS)
    used = set(re.findall(r'"((?:conn|chat)\.[a-z_]+)"', source))
    assert used == set(bridge.USED_EVENTS)


def test_options_and_results_are_published(published: Published) -> None:
    options = published.files["chat/types.d.ts"]
    for name in ("messageId", "waitForAck", "markIsRead", "detectMentioned", "quotedMsg"):
        assert f"    {name}?:" in options
    assert all(
        f"    {name}" in options.partition("interface SendMessageReturn")[2]
        for name in ("id: string", "ack: number", "sendMsgResult:")
    )
    assert re.search(
        r"linkPreview\?:", "".join(text for path, text in published.files.items() if path.startswith("chat/"))
    )
    assert all(
        f"    {name}: string" in published.files["conn/types.d.ts"]
        for name in ("ref", "staticKeyPair", "identityKeyPair", "secretKey", "fullCode")
    )
    assert all(
        f"    {name}" in published.files["config/Config.d.ts"]
        for name in ("deviceName", "disableGoogleAnalytics", "linkPreviewApiServers")
    )
    files = published.function("chat.sendFileMessage")
    assert all(f"    {name}?: " in files for name in ("caption", "filename", "mimetype", "isPtt"))
    assert all(f"type: '{name}'" in files for name in ("image", "video", "audio", "document", "sticker"))
    place = published.function("chat.sendLocationMessage")
    assert all(f"    {name}" in place for name in ("lat: number", "lng: number", "address?: string", "name?: string"))
    assert "displayCaptionText?: boolean" in published.function("chat.forwardMessages")
    assert all(
        f"    {name}" in published.function("chat.deleteMessage")
        for name in ("sendMsgResult: SendMsgResult", "isRevoked: boolean", "isDeleted: boolean")
    )
    assert "reactionByMe: {" in published.function("chat.getReactions")
    list_options, message_options = (published.files[f"chat/functions/{name}.d.ts"] for name in ("list", "getMessages"))
    assert "onlyWithUnreadMessage?: boolean" in list_options and "count?: number" in list_options
    assert all(
        f"    {name}" in message_options
        for name in ("onlyUnread?: boolean", "count?: number", "id?: string", "direction?: 'after' | 'before'")
    )
    assert "export declare let isReady: boolean" in published.files["loader/index.d.ts"]


def test_what_the_bridge_reads_is_published(published: Published) -> None:
    message = published.files["whatsapp/models/MsgModel.d.ts"]
    for name in ("id", "body", "type", "subtype", "t", "notifyName", "from", "to", "author", "ack", "caption", "clientUrl", "loc", "lat", "lng", "mimetype",  # noqa: E501
                 "size", "filename", "filehash", "isViewOnce", "quotedStanzaID", "quotedMsgKey", "isForwarded", "vcardList", "selectedId", "selectedButtonId",  # noqa: E501
                 "listResponse", "mediaData"):  # fmt: skip
        assert re.search(rf"^    {name}\??: ", message, re.M), name
    types = published.files["chat/events/eventTypes.d.ts"]
    for event, fields in (
        ("chat.msg_revoke", ("author?: Wid", "id: MsgKey", "refId: MsgKey")),
        ("chat.msg_edited", ("msg: MsgModel",)),
        (
            "chat.new_reaction",
            ("id: MsgKey", "msgId: MsgKey", "reactionText: string", "sender: Wid", "timestamp: number"),
        ),
        ("chat.msg_ack_change", ("ack: number", "ids: MsgKey[]")),
    ):
        described = types.partition(f"'{event}': {{")[2].partition("\n    }")[0]
        assert all(f"        {field};" in described for field in fields), event


def test_what_has_no_declaration_stands_in_the_script(library: wa_js.Library) -> None:
    """Names that the bridge relies on and that only the library's own code holds."""
    script = asyncio.run(library.source())
    assert "latestEditMsgKey" in script and "latestEditSenderTimestampMs" in script
    assert all(f'"{code}"' in script for code in outcomes.WPP_ERRORS), [
        code for code in outcomes.WPP_ERRORS if f'"{code}"' not in script
    ]


def test_page_types_are_published(published: Published) -> None:
    known = set(published.enum("MSG_TYPE").values())
    ours = parsing.PAGE_TYPES
    assert {"chat", "image", "video", "audio", "ptt", "document", "sticker", "location", "vcard", "multi_vcard"} <= ours
    # a round video and a listed reply are newer than wa-js's list
    assert ours - known <= {"ptv", ""}, ours - known


def test_tables_cover_what_is_published(published: Published) -> None:
    assert set(ACKS) == set(published.enum("ACK").values())
    assert {*outcomes.RESULTS, "OK"} == set(published.enum("SendMsgResult").values())
    assert {"QR", "MAIN", "SYNCING", "OFFLINE", "CONFLICT", "PROXYBLOCK", "TOS_BLOCK", "SMB_TOS_BLOCK"} <= set(
        published.enum("StreamMode").values()
    )


def tree() -> Iterator[str]:
    """Yield JavaScript expressions that say what the sandbox's object is."""
    yield "({ functions: Object.fromEntries(['conn', 'chat'].map((space) => [space, Object.keys(WPP[space])])),"
    yield " enums: WPP.whatsapp.enums, version: WPP.version, ready: WPP.isReady })"


def test_sandbox_object_has_the_published_names_and_values(home: Path, web: Web, published: Published) -> None:
    async def scenario() -> dict[str, Any]:
        chromium = await Chromium.start(
            Launch(executable=find(""), profile=home / "sessions" / "1", marker="--bulkhead-session=contract"),
            patient_by(20),
        )
        try:
            browser = await Browser.open(chromium.pipe, patient_by(10))
            await browser.go(web.url, patient_by(10))
            ready = (
                "new Promise((done) => { const look = () => window.WPP ? done(true) : setTimeout(look, 10); look(); })"
            )
            assert await browser.evaluate(ready, patient_by(10), "waiting for WPP")
            described: dict[str, Any] = await browser.evaluate("".join(tree()), patient_by(5), "describing WPP")
            await browser.close(monotonic() + 3)
            return described
        finally:
            await chromium.end()

    described = run(scenario())
    names = {f"{space}.{name}" for space, functions in described["functions"].items() for name in functions}
    assert names == {*bridge.USED_FUNCTIONS, *OFFERED}
    for name, members in described["enums"].items():
        assert members == published.enum(name), name
    assert described["version"] == wa_js.VERSION
    assert described["ready"] is True


def test_real_library_takes_our_settings_and_has_what_the_bridge_uses(home: Path, library: wa_js.Library) -> None:
    """It finds no WhatsApp in an empty page, and reports itself not ready; its functions and its configuration are
    there nevertheless."""

    async def scenario() -> None:
        source = await library.source()
        chromium = await Chromium.start(
            Launch(executable=find(""), profile=home / "sessions" / "1", marker="--bulkhead-session=contract"),
            patient_by(20),
        )
        try:
            browser = await Browser.open(chromium.pipe, patient_by(10))
            page = bridge.Bridge(browser, lambda: asyncio.sleep(0, source), lambda _: None)
            await page.prepare(patient_by(10))
            await page.open(
                "data:text/html,<meta http-equiv=Content-Security-Policy content=\"script-src 'none'\">",
                patient_by(10),
            )
            assert await page.probe(patient_by(10)) == bridge.PageState(loaded=False), (
                "a library was injected into a page that is not WhatsApp's"
            )
            await browser.evaluate(f"{source}\n;null", patient_by(10), "injecting wa-js")
            names = ", ".join(f"WPP.{name}" for name in bridge.USED_FUNCTIONS)
            assert set(
                await browser.evaluate(f"[{names}].map((function_) => typeof function_)", patient_by(5), "looking")
            ) == {"function"}
            settings = await browser.evaluate(
                "[WPP.config.disableGoogleAnalytics, WPP.config.linkPreviewApiServers.length, WPP.version]",
                patient_by(5),
                "looking",
            )
            assert settings == [True, 0, wa_js.VERSION]
            assert await page.probe(patient_by(10)) == bridge.PageState(loaded=False)
            await browser.close(monotonic() + 3)
        finally:
            await chromium.end()

    run(scenario())


def test_sandbox_answers_have_the_published_shapes(home: Path, web: Web, published: Published) -> None:
    result = re.findall(
        r"^    (\w+)\??:",
        published.files["chat/types.d.ts"].partition("interface SendMessageReturn")[2].partition("\n}")[0],
        re.M,
    )

    async def scenario() -> None:
        async with session_env(home, web) as here:
            await here.link()
            page = here.session().page()
            assert page is not None

            async def ask(expression: str) -> Any:
                return await page._browser.evaluate(expression, patient_by(5), "asking")

            sent = await ask("WPP.chat.sendTextMessage('60123456789@c.us', 'hello', {linkPreview: false})")
            assert set(sent) <= set(result)
            assert set(sent["sendMsgResult"]) == {"messageSendResult", "t"}
            assert set(await ask("WPP.conn.getStreamData()")) == {"mode", "info"}
            assert set(await ask("WPP.conn.getHistorySyncProgress()")) == {"progress", "paused", "inProgress"}
            assert set(await ask(f"WPP.chat.getMessageACK('{sent['id']}')")) == {
                "ack", "fromMe", "deliveryRemaining", "readRemaining", "playedRemaining", "participants",
            }  # fmt: skip
            key = await ask(
                "WPP.chat.generateMessageID('60123456789@c.us').then((key) => [String(key), "
                "key.fromMe, String(key.remote), key.id])"
            )
            assert key[0] == f"true_60123456789@c.us_{key[3]}"
            for wrong, code in (
                ("{messageId: 'false_60123456789@c.us_AA'}", "message_key_is_not_from_me"),
                ("{messageId: 'true_60999999999@c.us_AA'}", "message_key_remote_id_is_not_same_of_chat"),
            ):
                assert (
                    await ask(
                        f"WPP.chat.sendTextMessage('60123456789@c.us', 'x', {wrong}).catch((error) => error.code)"
                    )
                    == code
                )
            assert (
                await ask("WPP.chat.getMessageById('true_60123456789@c.us_AA').catch((error) => error.code)")
                == "msg_not_found"
            )
            assert (
                await ask("WPP.chat.getMessageById('true_60999999999@c.us_AA').catch((error) => error.code)")
                == "chat_not_found"
            )
            edited = await ask(f"WPP.chat.editMessage('{sent['id']}', 'hello again')")
            assert set(edited) <= set(result) and edited["sendMsgResult"] is None
            reacted = await ask(f"WPP.chat.sendReactionToMessage('{sent['id']}', 'x')")
            assert set(reacted) == {"sendMsgResult"}
            assert set(await ask(f"WPP.chat.getReactions('{sent['id']}')")) == {"reactionByMe", "reactions"}
            assert await ask(f"WPP.chat.forwardMessages('60123456789@c.us', ['{sent['id']}'])") == []
            deleted = await ask(f"WPP.chat.deleteMessage('60123456789@c.us', '{sent['id']}', false, true)")
            assert set(deleted) == {"id", "sendMsgResult", "isRevoked", "isDeleted", "isSentByMe"}
            assert (
                await ask(f"WPP.chat.downloadMedia('{sent['id']}').catch((error) => error.code)")
                == "message_not_contains_media"
            )
            assert (
                await ask(f"WPP.chat.editMessage('{sent['id']}', 'x').catch((error) => error.code)")
                == "edit_message_error"
            )
            assert await ask("WPP.chat.markIsRead('60999999999@c.us').catch((error) => error.code)") == "chat_not_found"

    run(scenario())
