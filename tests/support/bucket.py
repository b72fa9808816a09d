"""A small S3: takes what a client of Amazon's protocol sends, and believes nothing: every request's signature (version
4) and content hash is checked.

It keeps objects in memory, knows PUT, GET, HEAD, deletions in lists and uploads in parts, and answers errors in S3's
XML.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit

KEY_ID: Final = "AKIDOFTHETESTS"
SECRET: Final = "secret+of/the/tests"
REGION: Final = "eu-central-1"
BUCKET: Final = "files"

_CREDENTIAL: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, "
    r"?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})"
)
_UNSIGNED: Final = "UNSIGNED-PAYLOAD"


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


class Bucket:
    """The server, on a port of this machine.

    Attributes:
        objects: content by key. refused: why requests were refused. failing: HTTP status for every request while it is
            set.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.refused: list[str] = []
        self.failing = 0
        self._parts: dict[str, dict[int, bytes]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _problem(self, handler: BaseHTTPRequestHandler, body: bytes) -> str:
        """Return what is wrong with a request's signature, "" when nothing is."""
        found = _CREDENTIAL.fullmatch(handler.headers.get("Authorization", ""))
        stamp, declared = handler.headers.get("x-amz-date", ""), handler.headers.get("x-amz-content-sha256", "")
        if not found:
            return "no signature"
        key_id, day, region, signed, signature = found.groups()
        if (key_id, region, day) != (KEY_ID, REGION, stamp[:8]):
            return "another key, region or day"
        if declared not in {_UNSIGNED, hashlib.sha256(body).hexdigest()}:
            return "the content is not what its hash says"
        parts = urlsplit(handler.path)
        pairs = sorted(
            (quote(name, safe="-_.~"), quote(value, safe="-_.~"))
            for name, value in parse_qsl(parts.query, keep_blank_values=True)
        )
        headers = "".join(
            f"{name}:{' '.join((handler.headers.get(name) or '').split())}\n" for name in signed.split(";")
        )
        request = "\n".join(
            (
                handler.command,
                parts.path,
                "&".join(f"{name}={value}" for name, value in pairs),
                headers,
                signed,
                declared,
            )
        )
        scope = f"{day}/{region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = _mac(_mac(_mac(_mac(b"AWS4" + SECRET.encode(), day), region), "s3"), "aws4_request")
        return "" if hmac.compare_digest(_mac(key, text).hex(), signature) else "the signature is wrong"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if problem := bucket._problem(self, body):
                    bucket.refused.append(problem)
                    self._error(403, "SignatureDoesNotMatch")
                    return
                if bucket.failing:
                    self._error(bucket.failing, "InternalError")
                    return
                parts = urlsplit(self.path)
                _, name, key = f"{unquote(parts.path)}/".split("/", 2)
                key = key.removesuffix("/")
                if name != BUCKET:
                    self._error(404, "NoSuchBucket")
                    return
                query: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True))
                getattr(self, f"_{self.command.lower()}")(key, query, body)

            do_GET = do_HEAD = do_PUT = do_POST = _serve  # noqa: N815 - names that the standard library looks for

            def _get(self, key: str, query: dict[str, Any], _body: bytes) -> None:
                if "list-type" in query:
                    names = sorted(one for one in bucket.objects if one.startswith(query.get("prefix", "")))
                    self._xml(
                        "ListBucketResult",
                        "<IsTruncated>false</IsTruncated>"
                        + "".join(
                            f"<Contents><Key>{one}</Key><LastModified>2026-12-01T09:00:00.000Z</LastModified>"
                            f"<ETag>&quot;part&quot;</ETag><Size>{len(bucket.objects[one])}</Size></Contents>"
                            for one in names
                        ),
                    )
                elif (content := bucket.objects.get(key)) is None:
                    self._error(404, "NoSuchKey")
                else:
                    self._say(200, content, {"Last-Modified": formatdate(usegmt=True)})

            _head = _get

            def _put(self, key: str, query: dict[str, Any], body: bytes) -> None:
                if "uploadId" in query:
                    bucket._parts[query["uploadId"]][int(query["partNumber"])] = body
                else:
                    bucket.objects[key] = body
                self._say(200)

            def _post(self, key: str, query: dict[str, Any], body: bytes) -> None:
                if "delete" in query:
                    keys = re.findall(r"<Key>([^<]+)</Key>", body.decode())
                    for one in keys:
                        bucket.objects.pop(one, None)
                    self._xml("DeleteResult", "".join(f"<Deleted><Key>{one}</Key></Deleted>" for one in keys))
                    return
                if "uploads" in query:
                    upload = f"upload-{len(bucket._parts)}"
                    bucket._parts[upload] = {}
                    self._xml(
                        "InitiateMultipartUploadResult",
                        f"<Bucket>{BUCKET}</Bucket><Key>{key}</Key><UploadId>{upload}</UploadId>",
                    )
                    return
                bucket.objects[key] = b"".join(part for _, part in sorted(bucket._parts.pop(query["uploadId"]).items()))
                self._xml("CompleteMultipartUploadResult", f'<Key>{key}</Key><ETag>"whole"</ETag>')

            def _xml(self, name: str, inner: str) -> None:
                self._say(
                    200,
                    f'<?xml version="1.0" encoding="UTF-8"?><{name}>{inner}</{name}>'.encode(),
                    {"Content-Type": "application/xml"},
                )

            def _error(self, status: int, code: str) -> None:
                self._say(status, f"<Error><Code>{code}</Code></Error>".encode(), {"Content-Type": "application/xml"})

            def _say(self, status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), "ETag": '"part"', **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                """Log nothing."""

        return Handler
