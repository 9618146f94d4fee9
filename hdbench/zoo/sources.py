"""One file from one source: resumed where an earlier attempt stopped, tried again with back-off, never trusted.

`hf://` goes through huggingface_hub (its endpoint, its token, its errors), `s3://` and `file://` through fsspec.
What is downloaded is whole only once its size and sha256 are those that model.toml states.
"""

import http.client
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from hdbench.errors import HdbenchError
from hdbench.progress import Progress
from hdbench.store import file_digest
from hdbench.transfer import (
    Opener,
    SourceError,
    Stream,
    TryAgain,
    filesystem,
    fill,
    is_of_network,
    open_fsspec,
    read_all,
    refuse_offline,
    refuse_other_size,
    words,
)
from hdbench.zoo.manifest import ModelFile

TIMEOUT = 30.0
"""Seconds without a byte after which an attempt is given up."""
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_KILO = 1000


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
    try:
        return read_all(_opener(source, path, None), limit).decode()
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is no text") from error


def _refuse_offline(source: str) -> None:
    if not source.startswith("file://"):
        refuse_offline()


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
    done = held
    with progress.task(f"Downloading {file.path} (kB)", -(-file.size // _KILO), done=held // _KILO) as task:

        def advance(count: int) -> None:
            nonlocal done
            task.advance((done + count) // _KILO - done // _KILO)
            done += count

        fill(opener, part, file.size, advance=advance)
    return held > 0


def _opener(source: str, path: str, size: int | None) -> Opener:
    """Opens the file `path` of the folder `source`, and refuses it if it is of another size than `size`."""
    scheme = urlsplit(source).scheme
    if scheme == "hf":
        return lambda start: _open_hub(source, path, size, start)
    if scheme in ("http", "https"):
        return lambda start: _open_url(f"{source}/{quote(path)}", size, start, {})
    return lambda start: _open_file(f"{source}/{path}", size, start)


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
        raise TryAgain(f"no connection ({words(error)})") from error
    with response:
        start = start if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        refuse_other_size(None if length is None else start + int(length), size)
        yield response, start


@contextmanager
def _open_hub(source: str, path: str, size: int | None, start: int) -> Iterator[tuple[Stream, int]]:
    """The file's real place is asked of the hub each time: addresses of large files expire."""
    from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_url

    repository = HubFolder.of(source)
    url = hf_hub_url(repository.name, repository.path_of(path), revision=repository.revision)
    with hub_errors():
        metadata = get_hf_file_metadata(url, timeout=TIMEOUT)
    refuse_other_size(metadata.size, size)
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
        if is_of_network(error):
            raise TryAgain(f"no connection ({words(error)})") from error
        raise


@contextmanager
def _open_file(url: str, size: int | None, start: int) -> Iterator[tuple[Stream, int]]:
    system, path = filesystem(url)
    with open_fsspec(system, path, size, start) as opened:
        yield opened


def _complaint(status: int) -> SourceError:
    """What an HTTP status means to the user."""
    if status in _TRANSIENT:
        return TryAgain(f"the server is in trouble ({status})")
    reasons = {401: "not allowed without a token (401)", 403: "not allowed (403)", 404: "no such file (404)"}
    return SourceError(reasons.get(status, f"refused ({status})"))
