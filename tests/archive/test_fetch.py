"""Fetching from a local server that answers as Dataverse does, faults included."""

from __future__ import annotations

import errno
import hashlib
import json
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from archive.dataverse import BODY
from coalition_exit.archive import fetch
from coalition_exit.archive.fetch import FILE_NAME, archive_path, fetch_archive
from coalition_exit.errors import InputError


def _fetch(server: ThreadingHTTPServer, folder: Path):
    return fetch_archive(folder, server.url, wait=0.0)


def _left(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_fetches_the_deposited_file(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    received = fetch_archive(tmp_path / "new" / "folder", server.url, lambda *step: seen.append(step), 0.0)
    target = archive_path(tmp_path / "new" / "folder")
    assert target.read_bytes() == BODY
    assert received.sha256 == hashlib.sha256(BODY).hexdigest()
    assert received.checksum == "agrees"
    assert json.loads(target.with_suffix(".json").read_text())["sha256"] == received.sha256
    assert _left(target.parent) == {FILE_NAME, "coalition_exit_final.json"}
    assert "format=original" in server.state.requests[-1]
    assert seen[-1] == (len(BODY), len(BODY))


def test_an_address_may_end_in_a_slash(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    fetch_archive(tmp_path, f"{server.url}/", wait=0.0)
    assert [path for path in server.state.requests if path.startswith("//")] == []


def test_a_file_that_is_no_table_is_asked_for_as_it_is(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    server.state.ingested = False
    assert _fetch(server, tmp_path).checksum == "agrees"
    assert "format" not in server.state.requests[-1]


def test_listed_checksum_of_a_table_is_no_proof(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    server.state.listed = hashlib.md5(b"the tab file").hexdigest()
    assert _fetch(server, tmp_path).checksum == "not comparable"


def test_wrong_checksum_of_a_plain_file_is_refused(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    server.state.ingested, server.state.listed = False, "0" * 32
    with pytest.raises(InputError, match=r"MD5 0{32}, got [0-9a-f]{32}"):
        _fetch(server, tmp_path)
    assert _left(tmp_path) == set()


def test_cut_body_is_taken_up_again(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    server.state.faults = ["cut", "cut"]
    assert _fetch(server, tmp_path).size == len(BODY)
    # What had arrived by whole blocks is not asked for again.
    first = int(server.state.ranges[0].removeprefix("bytes=").rstrip("-"))
    assert 0 < first <= len(BODY) // 2
    assert archive_path(tmp_path).read_bytes() == BODY


def test_interrupted_fetch_goes_on_in_the_next_run(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    server.state.faults = ["cut"] * fetch.ATTEMPTS
    with pytest.raises(InputError, match=r"cut short.*goes on where it stopped"):
        _fetch(server, tmp_path)
    assert FILE_NAME not in _left(tmp_path)
    server.state.ranges.clear()
    assert _fetch(server, tmp_path).size == len(BODY)
    assert len(server.state.ranges) == 1
    assert _left(tmp_path) == {FILE_NAME, "coalition_exit_final.json"}


def test_partial_file_of_another_version_is_not_taken_up(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    server.state.faults = ["cut"] * fetch.ATTEMPTS
    with pytest.raises(InputError, match="cut short"):
        _fetch(server, tmp_path)
    server.state.body = BODY[:-5] + b"other"
    server.state.ranges.clear()
    assert _fetch(server, tmp_path).sha256 == hashlib.sha256(server.state.body).hexdigest()
    assert server.state.ranges == []


def test_server_without_ranges_sends_all_again(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    server.state.honour_range, server.state.faults = False, ["cut"]
    assert _fetch(server, tmp_path).size == len(BODY)


@pytest.mark.parametrize("status", [429, 503])
def test_busy_server_is_asked_again(server: ThreadingHTTPServer, tmp_path: Path, status: int) -> None:
    server.state.faults = [status, status]
    assert _fetch(server, tmp_path).size == len(BODY)


@pytest.mark.parametrize("status", [429, 503])
def test_busy_server_is_not_asked_for_ever(server: ThreadingHTTPServer, tmp_path: Path, status: int) -> None:
    server.state.faults = [status] * 50
    with pytest.raises(InputError, match=f"HTTP {status}"):
        _fetch(server, tmp_path)
    assert FILE_NAME not in _left(tmp_path)
    assert len(server.state.requests) < 20


@pytest.mark.parametrize(("status", "meaning"), [(404, "not found"), (403, "access denied")])
def test_http_errors_are_one_line(server: ThreadingHTTPServer, tmp_path: Path, status: int, meaning: str) -> None:
    server.state.metadata_status = status
    with pytest.raises(InputError, match=rf"HTTP {status} \({meaning}\)") as caught:
        _fetch(server, tmp_path)
    assert "\n" not in str(caught.value)


def test_redirect_is_followed(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    server.state.faults = ["redirect"]
    assert _fetch(server, tmp_path).size == len(BODY)


def test_tab_file_in_place_of_the_original_is_refused(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    server.state.body = b"idvar\tcoalid\twithdraw\n" * 50
    with pytest.raises(InputError, match="a Stata file, as deposited, got tab-separated text"):
        _fetch(server, tmp_path)
    assert _left(tmp_path) == set()


def test_body_shorter_than_listed_is_refused(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    server.state.listed_size = len(BODY) + 10
    with pytest.raises(InputError, match=f"{len(BODY) + 10} bytes, got {len(BODY)}"):
        _fetch(server, tmp_path)


def test_changed_deposit_is_refused_with_both_hashes(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    first = _fetch(server, tmp_path)
    server.state.body = BODY[:-1] + b"x"
    with pytest.raises(InputError) as caught:
        _fetch(server, tmp_path)
    assert first.sha256 in str(caught.value)
    assert hashlib.sha256(server.state.body).hexdigest() in str(caught.value)
    assert archive_path(tmp_path).read_bytes() == BODY
    assert _left(tmp_path) == {FILE_NAME, "coalition_exit_final.json"}


def test_fetching_again_is_harmless(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    assert _fetch(server, tmp_path) == _fetch(server, tmp_path)


@pytest.mark.parametrize("body", [b"<html>", b'{"data": {}}', b"[]", b"null"])
def test_other_answer_than_a_list_is_one_line(server: ThreadingHTTPServer, tmp_path: Path, body: bytes) -> None:
    server.state.metadata = body
    with pytest.raises(InputError, match="Dataverse's list of files"):
        _fetch(server, tmp_path)


def test_missing_file_names_what_there_is(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    server.state.ingested, server.state.name = False, "other.dta"
    with pytest.raises(InputError, match=r"coalition_exit_final.dta, got one of analysis_final.do, other.dta"):
        _fetch(server, tmp_path)


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Check the network") as caught:
        fetch_archive(tmp_path, "http://127.0.0.1:9", wait=0.0)
    assert "\n" not in str(caught.value)


def test_proxy_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(InputError, match=r"through the proxy, got .*refused\Z"):
        fetch_archive(tmp_path, "http://dataverse.invalid", wait=0.0)


@pytest.mark.parametrize("url", ["dataverse", "ftp://somewhere", "http://"])
def test_address_that_is_none(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="a web address"):
        fetch_archive(tmp_path, url, wait=0.0)


def test_timeout_is_one_line(server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    def late(*_: object, **__: object) -> None:
        raise requests.exceptions.ReadTimeout

    monkeypatch.setattr(requests.Session, "get", late)
    with pytest.raises(InputError, match="within 60 s"):
        _fetch(server, tmp_path)


def test_full_disk_is_one_line(server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch, "_append", full)
    with pytest.raises(InputError, match="No space left on device"):
        _fetch(server, tmp_path)
    assert FILE_NAME not in _left(tmp_path)
