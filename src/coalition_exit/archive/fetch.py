"""Getting the author's deposited data from Dataverse by DOI, once and verified.

The listed checksum of a file that Dataverse has turned into a table may be that of the deposited file
or of the tab-separated copy (IQSS/dataverse issues 7275 and 9501). It is therefore evidence when
it agrees and no proof when it does not; the SHA-256 of what was received is recorded, and a later
fetch must agree with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coalition_exit.errors import InputError, one_of
from coalition_exit.provenance import sha256_of

if TYPE_CHECKING:
    import requests

DOI = "doi:10.7910/DVN/DUFHM1"
FILE_NAME = "coalition_exit_final.dta"
BASE_URL = "https://dataverse.harvard.edu"
TIMEOUT = (15.0, 60.0)
ATTEMPTS = 4
_RETRIED = (429, 500, 502, 503, 504)
_CHUNK = 1 << 16
# First bytes of Stata files: version 117 and later; versions 102 to 115 begin with their number and 1 or 2.
_MODERN, _OLD = b"<stata_dta>", range(102, 116)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Deposit:
    """What Dataverse lists about the file."""

    id: int
    name: str
    size: int | None
    checksum_type: str
    checksum: str
    ingested: bool


@dataclass(frozen=True)
class Received:
    """What was received; written beside the file as JSON.

    ``checksum`` says how the listed checksum compares: "agrees", or "not comparable" for a file
    that Dataverse has turned into a table.
    """

    path: str
    doi: str
    sha256: str
    size: int
    checksum: str
    listed_checksum: str
    source: str


def archive_folder() -> Path:
    """Return the user's data folder for the archive (it may not exist yet)."""
    import platformdirs

    return Path(platformdirs.user_data_dir("coalition-exit", appauthor=False))


def archive_path(folder: Path | None = None) -> Path:
    """Return where the archive's file is kept (it may not exist yet)."""
    return (folder or archive_folder()) / FILE_NAME


def fetch_archive(
    folder: Path | None = None,
    base_url: str = BASE_URL,
    progress: Progress | None = None,
    wait: float = 1.0,
) -> Received:
    """Download the deposited file, verify it and put it into the data folder as a whole.

    Parameters
    ----------
    folder
        Data folder; the user's own by default.
    base_url
        Address of the Dataverse installation.
    progress
        Called with bytes received and bytes expected (0 if unknown).
    wait
        Seconds before the second attempt; doubled for each further one.

    Returns
    -------
    Received

    Raises
    ------
    InputError
        One line: network, proxy or HTTP error, wrong checksum, another file than before, a full disk.
    """
    target, base_url = archive_path(folder), base_url.rstrip("/")
    with _reported(base_url, target), _session(wait) as session:
        target.parent.mkdir(parents=True, exist_ok=True)
        deposit = _find(session, base_url)
        url = f"{base_url}/api/access/datafile/{deposit.id}" + ("?format=original" if deposit.ingested else "")
        part = target.with_name(f"{FILE_NAME}.part")
        _download(session, url, part, deposit, progress)
        received = _verify(part, target, deposit, url)
        part.replace(target)
        _write(_record_of(target), json.dumps(asdict(received), indent=2, sort_keys=True) + "\n")
        _state_of(part).unlink(missing_ok=True)
    return received


def _session(wait: float) -> requests.Session:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util.retry import Retry

    from coalition_exit import __version__

    retry = Retry(
        total=ATTEMPTS,
        backoff_factor=wait,
        status_forcelist=_RETRIED,
        allowed_methods=["GET"],
        respect_retry_after_header=True,
        raise_on_status=False,
    )
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    session.headers["User-Agent"] = f"coalition-exit/{__version__}"
    # A compressed body would make Content-Length, and resuming, meaningless.
    session.headers["Accept-Encoding"] = "identity"
    return session


@contextmanager
def _reported(base_url: str, target: Path) -> Iterator[None]:
    """Turn what can go wrong on the way into one line."""
    import requests

    try:
        yield
    except requests.exceptions.ProxyError as error:
        raise InputError(base_url, "an answer through the proxy", _reason(error)) from None
    except requests.exceptions.Timeout:
        raise InputError(base_url, f"an answer within {TIMEOUT[1]:.0f} s", "none", "Try again later") from None
    except requests.exceptions.SSLError as error:
        raise InputError(base_url, "a valid certificate", _reason(error)) from None
    except (requests.exceptions.MissingSchema, requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema):
        raise InputError(
            "base address", "a web address such as https://dataverse.harvard.edu", repr(base_url)
        ) from None
    except requests.exceptions.RequestException as error:
        hint = "Check the network, then run the command again: it goes on where it stopped"
        raise InputError(base_url, "an answer", _reason(error), hint) from None
    except OSError as error:
        raise InputError(str(target.parent), "a folder that can be written", error.strerror or str(error)) from None


def _reason(error: BaseException) -> str:
    from urllib3.exceptions import NewConnectionError

    inner = error.args[0] if error.args else error
    reason = getattr(inner, "reason", inner)
    # urllib3 puts the cause, in its own words, behind what it was doing.
    cause = getattr(reason, "original_error", None) or reason
    words = " ".join(str(cause).split())
    return words.rpartition(": ")[2] if isinstance(cause, NewConnectionError) else words[:160]


def _get(session: requests.Session, url: str, **options: Any) -> requests.Response:
    response = session.get(url, timeout=TIMEOUT, **options)
    if response.status_code not in (200, 206, 416):
        meaning = {
            401: "access denied", 403: "access denied", 404: "not found", 429: "too many requests; try again later",
        }.get(response.status_code, response.reason or "")  # fmt: skip
        raise InputError(url, "an answer", f"HTTP {response.status_code} ({meaning})")
    return response


def _find(session: requests.Session, base_url: str) -> Deposit:
    """Look the file up in the deposit's list."""
    url = f"{base_url}/api/datasets/:persistentId/?persistentId={DOI}"
    answer = _get(session, url)
    try:
        files = answer.json()["data"]["latestVersion"]["files"]
        entries = [entry["dataFile"] for entry in files]
        for entry in entries:
            if FILE_NAME in (entry.get("originalFileName"), entry.get("filename")):
                return _deposit(entry)
        for entry in entries:
            if Path(str(entry.get("filename"))).stem == Path(FILE_NAME).stem:
                return _deposit(entry)
    except (ValueError, KeyError, TypeError):
        raise InputError(url, "Dataverse's list of files", "another answer") from None
    names = [str(entry.get("filename")) for entry in entries]
    raise InputError(url, f"a file {FILE_NAME}", one_of(names))


def _deposit(entry: dict[str, Any]) -> Deposit:
    checksum = entry.get("checksum") or {}
    ingested = bool(entry.get("tabularData")) or "originalFileFormat" in entry
    size = entry.get("originalFileSize") if ingested else entry.get("filesize")
    return Deposit(
        id=int(entry["id"]),
        name=str(entry.get("originalFileName") or entry.get("filename")),
        size=int(size) if size is not None else None,
        checksum_type=str(checksum.get("type") or ("MD5" if entry.get("md5") else "")),
        checksum=str(checksum.get("value") or entry.get("md5") or "").lower(),
        ingested=ingested,
    )


def _download(session: requests.Session, url: str, part: Path, deposit: Deposit, progress: Progress | None) -> None:
    """Fill the partial file; a body cut short is taken up again where it broke off."""
    state = json.dumps(asdict(deposit), sort_keys=True)
    if part.exists() and (not _state_of(part).exists() or _state_of(part).read_text("utf-8") != state):
        part.unlink()
    _write(_state_of(part), state)
    expected: int | None = None
    for _ in range(ATTEMPTS):
        expected = _append(session, url, part, deposit, progress)
        if expected is None or part.stat().st_size >= expected:
            break
    size = part.stat().st_size
    for known in (expected, deposit.size):
        if known is not None and size < known:
            hint = "Run the command again: it goes on where it stopped"
            raise InputError(url, f"{known} bytes", f"{size} (cut short)", hint)
        if known is not None and size > known:
            part.unlink()
            raise InputError(url, f"{known} bytes", f"{size}")


def _append(session: requests.Session, url: str, part: Path, deposit: Deposit, progress: Progress | None) -> int | None:
    """Ask for what is missing and append it; return the full size as far as the server tells."""
    import requests
    from urllib3.exceptions import HTTPError

    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with _get(session, url, headers=headers, stream=True) as response:
        if response.status_code == 416:
            # Nothing is missing, or the partial file is longer than the server's.
            return have if have == deposit.size else _start_over(part)
        if response.status_code == 200:
            have = 0
        length = response.headers.get("Content-Length")
        expected = have + int(length) if length and length.isdigit() else deposit.size
        try:
            with part.open("ab" if have else "wb") as file:
                for chunk in response.iter_content(_CHUNK):
                    file.write(chunk)
                    have += len(chunk)
                    if progress is not None:
                        progress(have, expected or 0)
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError, HTTPError):
            return expected if expected is not None else have + 1
    return expected


def _start_over(part: Path) -> int:
    part.unlink(missing_ok=True)
    part.touch()
    return 1


def _verify(part: Path, target: Path, deposit: Deposit, url: str) -> Received:
    """Check what was received; a wrong file is removed."""
    try:
        head = part.read_bytes()[: len(_MODERN)]
        if not (head.startswith(_MODERN) or (len(head) > 1 and head[0] in _OLD and head[1] in (1, 2))):
            got = "tab-separated text" if b"\t" in part.read_bytes()[:4096] else "something else"
            raise InputError(url, "a Stata file, as deposited", got)
        agreement = _compare_checksum(part, deposit, url)
        sha256 = sha256_of(part)
        record = _record_of(target)
        if record.exists() and target.exists():
            before = json.loads(record.read_text("utf-8"))["sha256"]
            if before != sha256:
                hint = f"The deposit has changed, or the file was altered on the way; {target} is left as it was"
                raise InputError(url, f"the file fetched before (SHA-256 {before})", f"SHA-256 {sha256}", hint)
    except InputError:
        part.unlink(missing_ok=True)
        _state_of(part).unlink(missing_ok=True)
        raise
    return Received(str(target), DOI, sha256, part.stat().st_size, agreement, deposit.checksum, url)


def _compare_checksum(part: Path, deposit: Deposit, url: str) -> str:
    kind = deposit.checksum_type.replace("-", "").lower()
    if not deposit.checksum or kind not in ("md5", "sha1", "sha256", "sha512"):
        return "not comparable"
    with part.open("rb") as file:
        got = hashlib.file_digest(file, kind).hexdigest()
    if got == deposit.checksum:
        return "agrees"
    if deposit.ingested:
        return "not comparable"
    raise InputError(url, f"{deposit.checksum_type} {deposit.checksum}", got, "The file was altered on the way")


def _record_of(target: Path) -> Path:
    return target.with_suffix(".json")


def _state_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    temporary.replace(path)
