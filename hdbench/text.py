"""Text that comes from file names, which may hold any bytes, made fit for results, logs and hashes, which are UTF-8."""

import re


def as_utf8(text: str) -> str:
    """`text` with each byte of a file name that is not UTF-8 as `%XX`; what is UTF-8 stays as it is."""
    return re.sub("[\ud800-\udfff]", lambda match: f"%{ord(match[0]) & 0xFF:02X}", text)
