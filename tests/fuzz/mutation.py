"""Damage to files, from a seed: bytes, numbers as text or binary, lines, and what lies inside archives and GLB.

`mutated(content, kind, rng)` keeps a file's frame intact half of the time where it has one (zip directory and
checksums, GLB chunk lengths, .npy header), so that the damage reaches the parser behind it.
"""

import io
import json
import re
import struct
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

Mutation = Callable[[bytes, Random], bytes]

NUMBERS = (b"0", b"-1", b"1", b"nan", b"inf", b"-inf", b"1e999", b"2147483648", b"4294967296", b"99999999999999999999")
WORDS = (
    b"",
    b"\x00",
    b"\xff\xfe",
    b"../../../../etc/passwd",
    b"http://127.0.0.1:9/x",
    b"true",
    b"null",
    b'"',
    b"{",
    b"[",
)
INTEGERS = (0, 1, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1)
LONGEST = 1 << 20
"""No mutated input grows beyond this."""


def mutated(content: bytes, kind: str, rng: Random) -> bytes:
    """`content`, a file of `kind` (its suffix without the dot), with one to four pieces of damage."""
    inside = _INSIDE.get(kind)
    mutations = _TEXT if kind in _TEXTUAL else _BINARY
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        try:
            content = inside(content, rng) if inside and rng.random() < 0.6 else rng.choice(mutations)(content, rng)
        except Exception:  # too damaged by now to have an inside
            content = rng.choice(mutations)(content, rng)
    return content[:LONGEST]


def _place(content: bytes, rng: Random) -> int:
    """Anywhere, and often near the start, where the headers are."""
    return rng.randrange(min(len(content), rng.choice((64, 512, LONGEST))) or 1)


def _flip(content: bytes, rng: Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + bytes([(content[at] if content else 0) ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def _overwrite(content: bytes, rng: Random) -> bytes:
    at, size = _place(content, rng), rng.choice((1, 2, 4, 8, 16))
    return content[:at] + rng.randbytes(size) + content[at + size :]


def _integer(content: bytes, rng: Random) -> bytes:
    at, value = _place(content, rng) // 4 * 4, rng.choice((rng.choice(INTEGERS), rng.randrange(2**16)))
    packed = struct.pack(rng.choice("<>") + "Q", value)[: rng.choice((2, 4, 8))]
    return content[:at] + packed + content[at + len(packed) :]


def _real(content: bytes, rng: Random) -> bytes:
    at, value = _place(content, rng) // 4 * 4, rng.choice((float("nan"), float("inf"), -1e38, 1e-40, 0.0))
    return content[:at] + struct.pack(rng.choice("<>") + "f", value) + content[at + 4 :]


def _truncate(content: bytes, rng: Random) -> bytes:
    return content[: _place(content, rng)]


def _remove(content: bytes, rng: Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + content[at + rng.choice((1, 3, 4, 12, 100)) :]


def _repeat(content: bytes, rng: Random) -> bytes:
    at, size = _place(content, rng), rng.choice((1, 4, 12, 200))
    return content[:at] + content[at : at + size] * rng.choice((2, 3, 50)) + content[at + size :]


def _insert(content: bytes, rng: Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + rng.choice((rng.choice(WORDS), rng.choice(NUMBERS), rng.randbytes(8))) + content[at:]


def _number_in_text(content: bytes, rng: Random) -> bytes:
    found = list(re.finditer(rb"-?[0-9]+(\.[0-9]+)?", content[:LONGEST]))
    if not found:
        return _insert(content, rng)
    match = rng.choice(found[: rng.choice((8, len(found)))])
    return content[: match.start()] + rng.choice(NUMBERS) + content[match.end() :]


def _word_in_text(content: bytes, rng: Random) -> bytes:
    found = list(re.finditer(rb"[A-Za-z_]+", content[:LONGEST]))
    if not found:
        return _insert(content, rng)
    match = rng.choice(found)
    word = rng.choice((rng.choice(WORDS), rng.choice(found).group(), match.group() * 2))
    return content[: match.start()] + word + content[match.end() :]


def _lines(content: bytes, rng: Random) -> bytes:
    lines = content.split(b"\n")
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    change = rng.randrange(4)
    if change == 0:
        lines[first], lines[second] = lines[second], lines[first]
    elif change == 1:
        del lines[first]
    elif change == 2:
        lines[first:first] = [lines[second]] * rng.choice((1, 3, 100))
    else:
        lines[first] = lines[first] + b" " + lines[second]
    return b"\n".join(lines)


def _nest(content: bytes, rng: Random) -> bytes:
    """Brackets in brackets, a hundred thousand deep: what recursive parsers die of."""
    at, depth = _place(content, rng), rng.choice((30, 2_000, 100_000))
    opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"[", b""), (b"{a=", b"}")))
    return content[:at] + opening * depth + closing * depth + content[at:]


_BINARY: tuple[Mutation, ...] = (
    _flip, _overwrite, _integer, _integer, _real, _truncate, _remove, _repeat, _insert, _number_in_text, _lines,
)  # fmt: skip
_TEXT: tuple[Mutation, ...] = (
    _flip, _overwrite, _truncate, _remove, _repeat, _insert, _number_in_text, _number_in_text, _word_in_text, _lines,
    _nest,
)  # fmt: skip
_TEXTUAL = {"obj", "off", "xyz", "json", "toml", "gltf"}


def _in_zip(content: bytes, rng: Random) -> bytes:
    """Damage one member and pack the archive again; or name, repeat or drop a member."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    at = rng.randrange(len(members))
    name, data = members[at]
    change = rng.randrange(8)
    if change == 0:
        members[at] = (
            rng.choice(("../" * 9 + "escaped.npy", "/escaped.npy", "points", " ", "a/b/v.npy", name * 40)),
            data,
        )
    elif change == 1:
        members.append((rng.choice(members)[0] if rng.random() < 0.5 else name.replace("v", "f"), data))
    elif change == 2:
        del members[at]
    else:
        members[at] = (name, _in_npy(data, rng) if data.startswith(b"\x93NUMPY") else rng.choice(_BINARY)(data, rng))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return packed.getvalue()


def _in_npy(content: bytes, rng: Random) -> bytes:
    """Declare another shape or type, or damage the values."""
    size = struct.unpack_from("<H", content, 8)[0]
    header, body = content[10 : 10 + size], content[10 + size :]
    change = rng.randrange(4)
    if change == 0:
        body = rng.choice(_BINARY)(body, rng)
    elif change == 1:
        header = re.sub(rb"\([^)]*\)", rng.choice(_SHAPES), header)
    elif change == 2:
        header = re.sub(rb"'descr': '[^']*'", b"'descr': " + rng.choice(_TYPES), header)
    else:
        header = rng.choice(_TEXT[:-1])(header, rng)
    return content[:8] + struct.pack("<H", len(header) % 2**16) + header + body


_SHAPES = (
    b"()", b"(0, 3)", b"(3,)", b"(-1, 3)", b"(99999999999, 3)", b"(1000000000000, 1000000000000, 3)", b"(1,)", b"(0,)",
    b"(4, 4, 4, 3)", b"(1000000, 0, 3)", b"(2, 3)", b"(" + b"1, " * 70 + b"3)",
)  # fmt: skip
_TYPES = (
    b"'|O'", b"'<f2'", b"'<f8'", b"'>f4'", b"'<c8'", b"'|b1'", b"'<U9'", b"'<M8[s]'", b"'|V12'", b"'<i4'", b"'<u8'",
    b"'|S0'", b"[('x', '<f4'), ('y', '<f4')]", b"[('o', '|O')]", b"'<f4', (1000000000,)", b"'<f16'",
)  # fmt: skip


def _in_glb(content: bytes, rng: Random) -> bytes:
    """Damage the scene or the buffer of a GLB, and write both with the lengths they then have."""
    length = struct.unpack_from("<I", content, 12)[0]
    text, binary = content[20 : 20 + length], content[20 + length + 8 :]
    if rng.random() < 0.15:
        binary = rng.choice(_BINARY)(binary, rng)
    elif rng.random() < 0.7:
        text = _in_gltf(text, rng)
    else:
        text = rng.choice(_TEXT)(text, rng)
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


def _in_gltf(text: bytes, rng: Random) -> bytes:
    return json.dumps(altered(json.loads(text), rng)).encode()


def altered(document: Any, rng: Random) -> Any:
    """A JSON document with one value, anywhere in it, changed, dropped, or replaced by another of its values."""
    places: list[tuple[Any, Any]] = []
    stack = [document]
    while stack:
        node = stack.pop()
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        places += [(node, key) for key in keys]
        stack += [node[key] for key in keys if isinstance(node[key], dict | list)]
    if not places:
        return document
    (node, key), (other, other_key) = rng.choice(places), rng.choice(places)
    change = rng.randrange(6)
    if change == 0:
        del node[key]
    elif change == 1:
        node[key] = json.loads(json.dumps(other[other_key]))
    elif change == 2 and isinstance(node[key], list):
        node[key] = node[key] * rng.choice((0, 2, 1000))
    else:
        node[key] = rng.choice(
            (None, True, -1, 0, 1, 2, 7, 5126, 2**31, 2**53, 1e308, 0.5, "", "x", "../x", [], [0], {}, [[]])
        )
    return document


def _in_json(content: bytes, rng: Random) -> bytes:
    return json.dumps(altered(json.loads(content), rng)).encode()


_INSIDE: dict[str, Mutation] = {
    "npz": _in_zip,
    "zip": _in_zip,
    "npy": _in_npy,
    "glb": _in_glb,
    "gltf": _in_gltf,
    "json": _in_json,
}
