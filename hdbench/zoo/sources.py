"""One file from one source: resumed where an earlier attempt stopped, tried again with back-off, never trusted.

`hf://` goes through huggingface_hub (its endpoint, its token, its errors), `s3://` and `file://` through fsspec.
What is downloaded is whole only once its size and sha256 are those that model.toml states.
"""

import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import quote, urlsplit

from hdbench.errors import HdbenchError
from hdbench.progress import Progress, Task
from hdbench.store import file_digest
from hdbench.zoo.manifest import ModelFile

ATTEMPTS = 5
FIRST_PAUSE = 0.5
"""Seconds before the second attempt; doubled before each further one."""
TIMEOUT = 30.0
"""Seconds without a byte after which an attempt is given up."""
BLOCK = 1 << 18
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_KILO = 1000


class SourceError(Exception):
    """Why a file cannot be had from one source, in a few words."""


class TryAgain(SourceError):
    """A failure that another attempt may not meet."""


class Stream(Protocol):
    """Bytes from where they were asked for."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; b"" at the end."""


Opener = Callable[[int], AbstractContextManager[tuple[Stream, int]]]
"""Opens a file at an offset; gives its bytes and the offset they really start at (0 from who knows no ranges)."""


def is_offline() -> bool:
    """Whether the user wants nothing from the network: HDBENCH_OFFLINE or HF_HUB_OFFLINE."""
    wanted = (os.environ.get(name, "") for name in ("HDBENCH_OFFLINE", "HF_HUB_OFFLINE"))
    return any(value.strip().lower() in ("1", "true", "yes", "on") for value in wanted)


def download(source: str, file: ModelFile, target: Path, progress: Progress) -> None:
    """Have `file` of the folder `source` at `target`, verified; goes on from `<target>.part` where there is one.

    Raises SourceError, and leaves nothing but a part that can be resumed.
    """
    _refuse_offline(source)
    part = target.with_name(f"{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    _refuse_full_disk(file, target.parent)
    opener = _opener(source, file.path, file.size)
    resumed = _transfer(opener, file, part, progress)
    if resumed and not _matches(part, file):  # what lay there may be of other bytes than these
        part.unlink()
        _transfer(opener, file, part, progress)
    if not _matches(part, file):
        found = file_digest(part)
        part.unlink()
        raise SourceError(f"wrong content (sha256 {found[:12]}…, expected {file.sha256[:12]}…)")
    part.replace(target)


def read_text(source: str, path: str, *, limit: int) -> str:
    """The text file `path` of the folder `source`, of at most `limit` bytes, whatever it says.

    Raises SourceError.
    """
    _refuse_offline(source)
    opener = _opener(source, path, None)
    for attempt in range(ATTEMPTS):
        try:
            with opener(0) as (stream, _):
                content = _read_all(stream, limit)
            return content.decode()
        except TryAgain as error:
            _pause(attempt, error)
        except UnicodeDecodeError as error:
            raise SourceError(f"{path} is no text") from error
    raise AssertionError("every attempt returns or raises")


def _read_all(stream: Stream, limit: int) -> bytes:
    content = b""
    try:
        while block := stream.read(BLOCK):
            content += block
            if len(content) > limit:
                raise SourceError(f"larger than {limit} bytes")
    except (OSError, http.client.HTTPException) as error:
        raise TryAgain(f"connection lost ({_words(error)})") from error
    return content


def _refuse_offline(source: str) -> None:
    if is_offline() and not source.startswith("file://"):
        raise SourceError("offline (HDBENCH_OFFLINE or HF_HUB_OFFLINE is set)")


def _pause(attempt: int, error: TryAgain) -> None:
    """Wait before the attempt after number `attempt`; SourceError when there is none."""
    if attempt + 1 == ATTEMPTS:
        raise SourceError(f"{error}, {ATTEMPTS} times") from error
    time.sleep(FIRST_PAUSE * 2**attempt)


def _matches(path: Path, file: ModelFile) -> bool:
    return path.stat().st_size == file.size and file_digest(path) == file.sha256


def _refuse_full_disk(file: ModelFile, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < file.size:
        raise HdbenchError(
            f"{folder} has {free / 1e6:.0f} MB left and {file.path} needs {file.size / 1e6:.0f} MB; "
            "set HDBENCH_STORE to a folder on a larger disk."
        )


def _transfer(opener: Opener, file: ModelFile, part: Path, progress: Progress) -> bool:
    """Fill `part`, in several attempts if need be; whether it started with what lay there."""
    held = part.stat().st_size if part.exists() else 0
    if held > file.size:
        part.unlink()
        held = 0
    total = -(-file.size // _KILO)
    with progress.task(f"Downloading {file.path} (kB)", total, done=held // _KILO) as task:
        for attempt in range(ATTEMPTS):
            try:
                _attempt(opener, file, part, task)
                return held > 0
            except TryAgain as error:
                _pause(attempt, error)
    raise AssertionError("every attempt returns or raises")


def _attempt(opener: Opener, file: ModelFile, part: Path, task: Task) -> None:
    held = part.stat().st_size if part.exists() else 0
    if held == file.size:
        return
    with opener(held) as (stream, start), part.open("r+b" if held else "wb") as out:
        out.seek(start)
        out.truncate()
        _copy(stream, out, file, start, task)


def _copy(stream: Stream, out: BinaryIO, file: ModelFile, start: int, task: Task) -> None:
    done = start
    while done < file.size:
        try:
            block = stream.read(min(BLOCK, file.size - done))
        except (OSError, http.client.HTTPException) as error:
            raise TryAgain(f"connection lost ({_words(error)})") from error
        if not block:
            raise TryAgain(f"ended after {done} of {file.size} bytes")
        out.write(block)
        task.advance((done + len(block)) // _KILO - done // _KILO)
        done += len(block)


def _opener(source: str, path: str, size: int | None) -> Opener:
    """Opens the file `path` of the folder `source`, and refuses it if it is of another size than `size`."""
    scheme = urlsplit(source).scheme
    if scheme == "hf":
        return lambda start: _open_hub(source, path, size, start)
    if scheme in ("http", "https"):
        return lambda start: _open_url(f"{source}/{quote(path)}", size, start, {})
    return lambda start: _open_fsspec(f"{source}/{path}", size, start)


def _refuse_other_size(found: int | None, size: int | None) -> None:
    if found is not None and size is not None and found != size:
        raise SourceError(f"has {found} bytes, expected {size}")


@contextmanager
def _open_url(url: str, size: int | None, start: int, secret: Mapping[str, str]) -> Iterator[tuple[Stream, int]]:
    """`secret` are headers for this host alone: they are not sent where it redirects to."""
    request = urllib.request.Request(url, headers={"User-Agent": "hdbench", "Accept-Encoding": "identity"})
    for name, value in secret.items():
        request.add_unredirected_header(name, value)
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            raise SourceError(f"has no more than {start} bytes, expected {size}") from error
        raise _complaint(error.code) from error
    except (OSError, http.client.HTTPException) as error:
        raise TryAgain(f"no connection ({_words(error)})") from error
    with response:
        start = start if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        _refuse_other_size(None if length is None else start + int(length), size)
        yield response, start


@contextmanager
def _open_hub(source: str, path: str, size: int | None, start: int) -> Iterator[tuple[Stream, int]]:
    """The file's real place is asked of the hub each time: addresses of large files expire."""
    from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_url

    repository = HubFolder.of(source)
    url = hf_hub_url(repository.name, repository.path_of(path), revision=repository.revision)
    with hub_errors():
        metadata = get_hf_file_metadata(url, timeout=TIMEOUT)
    _refuse_other_size(metadata.size, size)
    same_host = urlsplit(metadata.location).netloc == urlsplit(url).netloc
    token = get_token() if same_host else None  # a place elsewhere has a signature in its address
    secret = {"Authorization": f"Bearer {token}"} if token else {}
    with _open_url(metadata.location, size, start, secret) as opened:
        yield opened


@dataclass(frozen=True)
class HubFolder:
    """`hf://OWNER/NAME[@REVISION][/FOLDER]`."""

    name: str
    revision: str | None
    folder: str

    @classmethod
    def of(cls, source: str) -> "HubFolder":
        """The parts of a source that the schema of model.toml let pass."""
        owner, rest, *below = source.removeprefix("hf://").split("/")
        name, _, revision = rest.partition("@")
        return cls(f"{owner}/{name}", revision or None, "/".join(below))

    def path_of(self, path: str) -> str:
        """Where the file `path` of the folder lies in the repository."""
        return f"{self.folder}/{path}" if self.folder else path


@contextmanager
def hub_errors() -> Iterator[None]:
    """Turn what the hub's client raises into a few words."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        raise SourceError(
            f"gated ({error.response.status_code}): ask for access on its page and set HF_TOKEN, or run hf auth login"
        ) from error
    except RevisionNotFoundError as error:
        raise SourceError("no such revision (404)") from error
    except EntryNotFoundError as error:
        raise SourceError("no such file (404)") from error
    except RepositoryNotFoundError as error:
        raise SourceError(
            f"no such repository, or a private one ({error.response.status_code}): set HF_TOKEN if it is yours"
        ) from error
    except OfflineModeIsEnabled as error:
        raise SourceError("offline (HF_HUB_OFFLINE is set)") from error
    except HfHubHTTPError as error:
        raise _complaint(error.response.status_code) from error
    except Exception as error:  # of its HTTP library, which differs from version to version
        if "timeout" in type(error).__name__.lower() or "connect" in type(error).__name__.lower():
            raise TryAgain(f"no connection ({_words(error)})") from error
        raise


@contextmanager
def _open_fsspec(url: str, size: int | None, start: int) -> Iterator[tuple[Stream, int]]:
    import fsspec

    try:
        system, path = fsspec.url_to_fs(url)
        _refuse_other_size(system.info(path)["size"], size)
        stream = system.open(path, "rb")
        stream.seek(start)
    except ImportError as error:
        raise SourceError(f"{urlsplit(url).scheme}:// needs another package: pip install s3fs") from error
    except FileNotFoundError as error:
        raise SourceError("no such file") from error
    except (PermissionError, IsADirectoryError) as error:
        raise SourceError(f"cannot be read ({_words(error)})") from error
    except OSError as error:
        raise TryAgain(f"no connection ({_words(error)})") from error
    with stream:
        yield stream, start


def _complaint(status: int) -> SourceError:
    """What an HTTP status means to the user."""
    if status in _TRANSIENT:
        return TryAgain(f"the server is in trouble ({status})")
    reasons = {401: "not allowed without a token (401)", 403: "not allowed (403)", 404: "no such file (404)"}
    return SourceError(reasons.get(status, f"refused ({status})"))


def _words(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return " ".join(str(reason).split())[:100] or type(error).__name__
