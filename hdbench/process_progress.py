"""Progress of units in other processes of this machine: they write to a socket, this process reads and shows it."""

import json
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from socketserver import StreamRequestHandler, ThreadingTCPServer

from hdbench.progress import Progress
from hdbench.relayed_progress import RelayedProgress, Replay

HERE = "127.0.0.1"
PATIENCE_S = 10.0
"""How long a process waits for what it wrote to be read."""
LONGEST_PASSWORD = 256


@dataclass(frozen=True)
class SocketPost:
    """See `hdbench.relayed_progress.Post`."""

    port: int
    password: str
    """By which those who were handed this are told from strangers on the same machine."""

    def __call__(self, *letter: str | int) -> None:
        """See `Post`."""
        with suppress(OSError):
            _connection(self).sendall(json.dumps(letter).encode() + b"\n")

    def flush(self) -> None:
        """See `Post.flush`: an empty letter is answered."""
        with suppress(OSError):
            self()
            _connection(self).recv(1)


@cache
def _connection(post: SocketPost) -> socket.socket:
    """The one of this process; it ends with it."""
    connection = socket.create_connection((HERE, post.port), timeout=PATIENCE_S)
    connection.sendall(post.password.encode() + b"\n")
    return connection


@contextmanager
def relayed(progress: Progress) -> Iterator[Progress]:
    """A progress for units in other processes of this machine; what they report is shown on `progress` meanwhile."""
    replay, showing, ended = Replay(progress.screen), threading.Lock(), threading.Event()
    password = secrets.token_hex()

    class Reader(StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError, ValueError):  # a process that was killed leaves half a line
                if not secrets.compare_digest(self.rfile.readline(LONGEST_PASSWORD).strip(), password.encode()):
                    return
                for line in self.rfile:
                    if letter := json.loads(line):
                        with showing:
                            if not ended.is_set():
                                replay.show([letter])
                    else:
                        self.wfile.write(b".")

    with ThreadingTCPServer((HERE, 0), Reader) as server:
        server.daemon_threads, server.block_on_close = True, False
        listening = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        listening.start()
        try:
            yield progress.over(RelayedProgress(SocketPost(server.server_address[1], password)))
        finally:
            server.shutdown()
            listening.join()
            with showing:
                ended.set()
                replay.close()
