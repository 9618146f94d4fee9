"""A hub on this machine, for tests: what the real `huggingface_hub` client asks of one, and faults on request.

Model and dataset repositories, public or gated; files resolved with ETag, X-Repo-Commit and X-Linked-* headers, large
ones redirected to a second host name as to a CDN, all with Range; uploads by preupload, LFS batch and commit.

    with HubServer() as hub:
        hub.add("owner/name", {"model.json": b"{}"})
        hub.fail("model.json", status=500)      # the next request for it
        ...                                     # the client with HF_ENDPOINT=hub.url
"""

import base64
import hashlib
import json
import re
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_may_read_and_write"
OTHER_TOKEN = "hf_has_no_access"
LARGE = (".safetensors", ".npz")
"""Suffixes of files kept as LFS objects."""


@dataclass
class Repository:
    """Its commits, oldest first, each the files of that moment by path."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: bool = False

    @property
    def head(self) -> str:
        """The newest commit."""
        return next(reversed(self.commits))

    def commit(self, files: Mapping[str, bytes]) -> str:
        """Make `files` the newest commit; returns its id."""
        text = f"{len(self.commits)}" + "".join(f"{path}{_sha256(data)}" for path, data in sorted(files.items()))
        name = hashlib.sha1(text.encode()).hexdigest()
        self.commits[name] = dict(files)
        return name

    def resolve(self, revision: str) -> str | None:
        """The commit that `revision` (main, or a commit) names."""
        if revision in self.commits:
            return revision
        return self.head if revision in ("main", "refs/heads/main") else None


@dataclass
class Fault:
    """What happens instead of the next `times` requests of a path that ends with `suffix`."""

    suffix: str
    times: int
    status: int | None = None
    cut: int | None = None
    """Bytes after which the connection is closed."""
    body: bytes | None = None
    """Sent in place of the file."""
    pause: threading.Event | None = None
    """Waited for before the answer."""


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]


class _Listener(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no fault to write on the screen that a test captures."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class HubServer:
    """The server; a context manager that serves while it is open."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.guard = threading.Lock()

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = _Listener(("127.0.0.1", 0), handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def url(self) -> str:
        """Where it answers, for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def cdn(self) -> str:
        """The same server under another name, where large files lie."""
        return f"http://localhost:{self.server.server_port}"

    def add(self, name: str, files: Mapping[str, bytes], *, kind: str = "model", gated: bool = False) -> str:
        """A repository with one commit; returns the commit."""
        repository = self.repositories.setdefault((kind, name), Repository(gated=gated))
        self.objects.update({_sha256(data): data for data in files.values()})
        return repository.commit(files)

    def files(self, name: str, *, kind: str = "model") -> dict[str, bytes]:
        """What the newest commit of a repository holds."""
        repository = self.repositories[kind, name]
        return repository.commits[repository.head]

    def fail(self, suffix: str, *, status: int, times: int = 1) -> None:
        """Answer the next requests for paths ending in `suffix` with `status`."""
        self.faults.append(Fault(suffix, times, status=status))

    def cut(self, suffix: str, *, after: int, times: int = 1) -> None:
        """Close the connection after so many bytes of the body."""
        self.faults.append(Fault(suffix, times, cut=after))

    def swap(self, suffix: str, body: bytes, *, times: int = 1) -> None:
        """Send `body`, which is not what is listed."""
        self.faults.append(Fault(suffix, times, body=body))

    def hold(self, suffix: str) -> threading.Event:
        """Let the next request for `suffix` wait until the event returned is set."""
        event = threading.Event()
        self.faults.append(Fault(suffix, 1, pause=event))
        return event

    def fault(self, path: str) -> Fault | None:
        """The fault that this request is to meet."""
        with self.guard:
            for fault in self.faults:
                if fault.times > 0 and path.endswith(fault.suffix):
                    fault.times -= 1
                    return fault
        return None

    def downloads(self, suffix: str) -> list[Asked]:
        """The GET requests for paths that end with `suffix`."""
        return [asked for asked in self.asked if asked.method == "GET" and asked.path.endswith(suffix)]


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        path, self.query = unquote(parts.path), parse_qs(parts.query)
        self.content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.hub.guard:
            self.hub.asked.append(Asked(self.command, path, dict(self.headers)))
        # Faults meet what carries a file's bytes, and whatever answers nothing else.
        fault = None if self.command == "HEAD" else self.hub.fault(path)
        if fault and fault.pause:
            fault.pause.wait(timeout=30)
        if fault and fault.status:
            self._send(fault.status, {"error": "as asked for"})
            return
        self.current = fault
        for method, pattern, action in _ROUTES:
            if self.command in method and (match := re.fullmatch(pattern, path)):
                action(self, **match.groupdict())
                return
        self._send(404, {"error": f"no such page: {path}"})

    # What the routes lead to.

    def resolve(self, kind: str | None, name: str, revision: str, path: str) -> None:
        repository = self._repository(kind, name)
        if repository is None:
            return
        commit = repository.resolve(revision)
        if commit is None:
            self._refuse(404, "RevisionNotFound")
            return
        data = repository.commits[commit].get(path)
        if data is None:
            self._refuse(404, "EntryNotFound", {"X-Repo-Commit": commit})
            return
        headers = {"X-Repo-Commit": commit}
        if path.endswith(LARGE):
            digest = _sha256(data)
            headers |= {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(data))}
            self._send(302, b"", {**headers, "Location": f"{self.hub.cdn}/cdn/{digest}/{path}?signature=1"})
        else:
            self._file(data, {**headers, "ETag": f'"{_blob(data)}"'})

    def cdn(self, digest: str, path: str) -> None:
        data = self.hub.objects.get(digest)
        self._send(404, b"") if data is None else self._file(data, {"ETag": f'"{digest}"'})

    def information(self, kind: str, name: str, revision: str | None = None) -> None:
        repository = self._repository(kind, name)
        if repository is None:
            return
        commit = repository.resolve(revision or "main")
        if commit is None:
            self._refuse(404, "RevisionNotFound")
            return
        siblings = [{"rfilename": path} for path in repository.commits[commit]]
        facts = {"id": name, "sha": commit, "private": False, "gated": repository.gated, "tags": [], "downloads": 0}
        self._send(200, {**facts, "siblings": siblings, "likes": 0, "author": name.split("/")[0]})

    def tree(self, kind: str, name: str, revision: str, below: str | None = None) -> None:
        repository = self._repository(kind, name)
        if repository is None:
            return
        commit = repository.resolve(revision)
        files = repository.commits.get(commit or "", {})
        chosen = {path: data for path, data in files.items() if path.startswith(f"{below}/" if below else "")}
        self._send(200, [_listed(path, data) for path, data in chosen.items()])

    def paths(self, kind: str, name: str, revision: str) -> None:
        repository = self._repository(kind, name)
        if repository is None:
            return
        text = self.content.decode()
        wanted = json.loads(text)["paths"] if text.startswith("{") else parse_qs(text)["paths"]
        files = repository.commits.get(repository.resolve(revision) or "", {})
        self._send(200, [_listed(path, files[path]) for path in wanted if path in files])

    def who(self) -> None:
        if self._token() in (TOKEN, OTHER_TOKEN):
            self._send(200, {"type": "user", "name": "tester", "orgs": [], "auth": {"accessToken": {"role": "write"}}})
        else:
            self._send(401, {"error": "Invalid username or password."})

    def create(self) -> None:
        if not self._may_write():
            return
        asked = json.loads(self.content)
        name = "/".join(filter(None, (asked.get("organization") or "tester", asked["name"])))
        if (asked.get("type") or "model", name) in self.hub.repositories:
            self._send(409, {"error": "You already created this repo", "url": f"{self.hub.url}/{name}"})
            return
        self.hub.add(name, {".gitattributes": b""}, kind=asked.get("type") or "model")
        self._send(200, {"url": f"{self.hub.url}/{name}", "name": name})

    def yaml(self) -> None:
        self._send(200, {"errors": [], "warnings": []})

    def preupload(self, kind: str, name: str, revision: str) -> None:
        if self._repository(kind, name) is None or not self._may_write():
            return
        files = [
            {"path": file["path"], "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular"}
            for file in json.loads(self.content)["files"]
        ]
        self._send(200, {"files": [{**file, "shouldIgnore": False, "oid": None} for file in files]})

    def batch(self, kind: str | None, name: str) -> None:
        if self._repository(kind, name) is None or not self._may_write():
            return
        objects = [
            {
                "oid": entry["oid"],
                "size": entry["size"],
                "actions": {"upload": {"href": f"{self.hub.url}/lfs/{entry['oid']}"}},
            }
            for entry in json.loads(self.content)["objects"]
        ]
        self._send(200, {"transfer": "basic", "objects": objects})

    def upload(self, digest: str) -> None:
        if _sha256(self.content) != digest:
            self._send(400, {"error": "hash"})
            return
        self.hub.objects[digest] = self.content
        self._send(200, b"")

    def commit(self, kind: str, name: str, revision: str) -> None:
        repository = self._repository(kind, name)
        if repository is None or not self._may_write():
            return
        files = dict(repository.commits[repository.head])
        for line in self.content.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
                self.hub.objects[_sha256(files[value["path"]])] = files[value["path"]]
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif entry["key"] == "deletedFile":
                files.pop(value["path"], None)
        commit = repository.commit(files)
        answer = {"success": True, "commitOid": commit, "commitUrl": f"{self.hub.url}/{name}/commit/{commit}"}
        if "create_pr" in self.query:
            answer["pullRequestUrl"] = f"{self.hub.url}/{name}/discussions/1"
        self._send(200, answer)

    # How answers are sent.

    def _token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _may_write(self) -> bool:
        if self._token() == TOKEN:
            return True
        known = self._token() == OTHER_TOKEN
        self._send(403 if known else 401, {"error": "Forbidden" if known else "Invalid username or password."})
        return False

    def _repository(self, kind: str | None, name: str) -> Repository | None:
        """The repository, or None when its absence or its gate was answered."""
        repository = self.hub.repositories.get(((kind or "models").strip("/").removesuffix("s"), name))
        if repository is None:  # the hub tells strangers and the uninvited the same of what is missing
            self._refuse(404 if self._token() else 401, "RepoNotFound")
        elif repository.gated and self._token() != TOKEN:
            self._refuse(403 if self._token() else 401, "GatedRepo")
        else:
            return repository
        return None

    def _refuse(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        self._send(status, {"error": code}, {**(headers or {}), "X-Error-Code": code, "X-Error-Message": code})

    def _file(self, data: bytes, headers: Mapping[str, str]) -> None:
        """A file's bytes or the range asked for, or what the fault at hand makes of them."""
        fault = self.current
        data = fault.body if fault and fault.body is not None else data
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        headers = {"Accept-Ranges": "bytes", **headers}
        if wanted is None:
            self._send(200, data, headers)
            return
        first, last = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
        if first >= len(data):
            self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return
        self._send(206, data[first : last + 1], {**headers, "Content-Range": f"bytes {first}-{last}/{len(data)}"})

    def _send(self, status: int, content: Any, headers: Mapping[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        fault = getattr(self, "current", None)
        if fault and fault.cut is not None and status in (200, 206):
            self.wfile.write(body[: fault.cut])
            self.close_connection = True
        else:
            self.wfile.write(body)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _listed(path: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": _blob(data)}
    if path.endswith(LARGE):
        entry["lfs"] = {"oid": _sha256(data), "size": len(data), "pointerSize": 134}
    return entry


_NAME = r"(?P<name>[^/]+/[^/]+)"
_API = rf"/api/(?P<kind>models|datasets)/{_NAME}"
_ROUTES: list[tuple[tuple[str, ...], str, Callable[..., None]]] = [
    (("GET",), r"/api/whoami-v2", _Handler.who),
    (("POST",), r"/api/repos/create", _Handler.create),
    (("POST",), r"/api/validate-yaml", _Handler.yaml),
    (("GET", "HEAD"), r"/cdn/(?P<digest>\w{64})/(?P<path>.+)", _Handler.cdn),
    (("PUT",), r"/lfs/(?P<digest>\w{64})", _Handler.upload),
    (("POST",), rf"/(?P<kind>datasets/)?{_NAME}\.git/info/lfs/objects/batch", _Handler.batch),
    (("GET",), _API, _Handler.information),
    (("GET",), rf"{_API}/revision/(?P<revision>[^/]+)", _Handler.information),
    (("GET",), rf"{_API}/tree/(?P<revision>[^/]+)(?:/(?P<below>.+))?", _Handler.tree),
    (("POST",), rf"{_API}/paths-info/(?P<revision>[^/]+)", _Handler.paths),
    (("POST",), rf"{_API}/preupload/(?P<revision>[^/]+)", _Handler.preupload),
    (("POST",), rf"{_API}/commit/(?P<revision>[^/]+)", _Handler.commit),
    (("GET", "HEAD"), rf"/(?P<kind>datasets/)?{_NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _Handler.resolve),
]
