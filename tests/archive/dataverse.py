"""A local server that answers as Dataverse does, faults included."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlparse

from coalition_exit.archive.fetch import FILE_NAME

BODY = b"<stata_dta><header>" + bytes(range(256)) * 800


@dataclass
class Dataverse:
    """What the server serves, and how it misbehaves."""

    body: bytes = BODY
    ingested: bool = True
    listed: str | None = None
    name: str = FILE_NAME
    listed_size: int | None = None
    # One entry per request of the file: a status, "cut", "redirect"; then answers are sound.
    faults: list[object] = field(default_factory=list)
    metadata_status: int = 200
    metadata: bytes | None = None
    ranges: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    honour_range: bool = True

    def metadata_body(self) -> bytes:
        if self.metadata is not None:
            return self.metadata
        value = self.listed if self.listed is not None else hashlib.md5(self.body).hexdigest()
        entry = {
            "id": 3002, "filename": "coalition_exit_final.tab" if self.ingested else self.name,
            "filesize": 12 if self.ingested else len(self.body), "checksum": {"type": "MD5", "value": value},
            "tabularData": self.ingested,
        }  # fmt: skip
        if self.ingested:
            size = len(self.body) if self.listed_size is None else self.listed_size
            entry |= {
                "originalFileName": self.name,
                "originalFileFormat": "application/x-stata-14",
                "originalFileSize": size,
            }
        other = {"id": 1, "filename": "analysis_final.do", "filesize": 1, "tabularData": False}
        return json.dumps(
            {"status": "OK", "data": {"latestVersion": {"files": [{"dataFile": other}, {"dataFile": entry}]}}}
        ).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        state: Dataverse = self.server.state
        state.requests.append(self.path)
        path = urlparse(self.path).path
        if path.startswith("/api/datasets/"):
            self._send(state.metadata_status, state.metadata_body())
        elif path == "/moved":
            self._send(200, state.body)
        elif path == "/api/access/datafile/3002":
            self._file(state)
        else:
            self._send(404, b"")

    def _file(self, state: Dataverse) -> None:
        fault = state.faults.pop(0) if state.faults else None
        if isinstance(fault, int):
            self._send(fault, b"busy", {"Retry-After": "0"} if fault in (429, 503) else {})
            return
        if fault == "redirect":
            self._send(302, b"", {"Location": "/moved"})
            return
        body, status = state.body, 200
        asked = self.headers.get("Range")
        if asked and state.honour_range:
            state.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self._send(416, b"")
                return
            body, status = body[start:], 206
        if fault == "cut":
            self._send(status, body[: len(body) // 2], length=len(body))
            self.close_connection = True
            return
        self._send(status, body)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, length: int | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
