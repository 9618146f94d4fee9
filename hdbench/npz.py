"""NumPy's .npz archives, read as if a stranger had packed them: nothing is unpickled, and no more is unpacked or
allocated than the archive's own table and each array's header agree upon."""

import math
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hdbench.errors import HdbenchError

PLAIN_COMPRESSIONS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""Those that are undone piece by piece; with any other, one piece of an archive may become gigabytes at once."""
BROKEN_ARCHIVE = (
    OSError, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error
)  # fmt: skip
"""What zipfile raises on archives that are cut off, forged, locked or packed in unknown ways."""
BOMB_BYTES, BOMB_RATIO = 1 << 28, 100
"""An array is a bomb when it unpacks to more than this, and to more than so many times its packed size."""
_LONGEST_HEADER = 1 << 16
_NPY, _ZIP = b"\x93NUMPY", b"PK"


class Header(NamedTuple):
    """What an array declares of itself."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Npz:
    """The arrays in the .npz file `path`, each read when it is asked for. Opened on first use, in each process anew.

    Every method raises HdbenchError, which names the file, for what cannot be read or holds anything but numbers and
    text.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[type["Npz"], tuple[Path]]:
        return type(self), (self.path,)

    @cached_property
    def members(self) -> dict[str, zipfile.ZipInfo]:
        """What stands in the archive's table under the key of each array, in their order."""
        found = {info.filename: info for info in self._zip.infolist()}
        return {name.removesuffix(".npy"): info for name, info in found.items() if name and not name.endswith("/")}

    def header(self, key: str) -> Header:
        """Shape and type of the array called `key`, as it declares them; whether that is true, reading it will show."""
        with self._member(key) as info, self._zip.open(info) as stream:
            return _declared(stream)

    def __getitem__(self, key: str) -> npt.NDArray[Any]:
        """The array called `key`."""
        with self._member(key) as info:
            with self._zip.open(info) as stream:
                _refuse_forged(stream, info.file_size)
            with self._zip.open(info) as stream:
                array = np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
            _refuse_codes_of_no_character(array)
            return array

    @contextmanager
    def _member(self, key: str) -> Iterator[zipfile.ZipInfo]:
        """What stands in the archive's table under `key`; whatever goes wrong with it is said in one way."""
        info = self.members.get(key)
        try:
            if info is None:
                raise ValueError("there is no such array")
            if info.compress_type not in PLAIN_COMPRESSIONS:
                raise ValueError("it is packed in an unusual way")
            if info.file_size > BOMB_BYTES and info.file_size > BOMB_RATIO * max(1, info.compress_size):
                raise ValueError(f"{info.compress_size} bytes that unpack to {info.file_size}")
            yield info
        except Exception as error:  # each forged header and each cut makes another place stumble
            raise HdbenchError(
                f"{self.path}, {key!r}, cannot be read ({one_line(error)}); save the archive again with numpy.savez."
            ) from error

    @cached_property
    def _zip(self) -> zipfile.ZipFile:
        try:
            with self.path.open("rb") as stream:
                start = stream.read(len(_NPY))
            if start == _NPY:
                raise HdbenchError(f"{self.path} is a single NumPy array; rename it to .npy.")
            if not start.startswith(_ZIP):
                raise ValueError("it does not begin like one")
            return zipfile.ZipFile(self.path)
        except HdbenchError:
            raise
        except Exception as error:  # a forged table of contents raises all sorts of things
            raise HdbenchError(
                f"{self.path} is not a NumPy archive ({one_line(error)}); save it again with numpy.savez."
            ) from error


def one_line(error: Exception | str) -> str:
    """What `error` says, or a text, fit to stand within a message of one line."""
    return " ".join(str(error).split())[:120] or type(error).__name__


def _declared(stream: IO[bytes]) -> Header:
    """The .npy header at the start of `stream`."""
    version = np.lib.format.read_magic(stream)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read_header:
        raise ValueError(f"version {version[0]}.{version[1]} of the format")
    shape, _, dtype = read_header[version](stream, max_header_size=_LONGEST_HEADER)
    return Header(shape, dtype)


def _refuse_forged(stream: IO[bytes], size: int) -> None:
    """Raise ValueError unless the .npy header at the start of `stream` declares what its `size` bytes can hold."""
    shape, dtype = _declared(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never loaded")
    count = math.prod(shape)
    nothings = count > 0 and dtype.itemsize == 0
    if nothings or min(shape, default=0) < 0 or count * dtype.itemsize != size - stream.tell():
        raise ValueError(f"an array of shape {shape} and type {dtype} in {size} bytes")


def _refuse_codes_of_no_character(array: npt.NDArray[Any]) -> None:
    """Raise ValueError for text that Python would die of."""
    if array.dtype.kind == "U" and array.size:
        codes = np.frombuffer(array.tobytes(), np.dtype("u4").newbyteorder(array.dtype.byteorder))
        if codes.max(initial=0) > sys.maxunicode:
            raise ValueError("it holds text that is none")
