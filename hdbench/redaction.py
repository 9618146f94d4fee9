"""Takes secrets out of text before it is written or printed: results, logs, reports, errors.

Three kinds are known: the values of environment variables whose names say that they are secret, the credentials within
addresses (`https://user:password@host`, `?token=…`, a bucket's signature), and tokens by their form.
"""

import os
import re

HIDDEN = "***"
SHORTEST = 8
"""Values of fewer characters are no secrets, and would hide parts of innocent words."""
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|COOKIE", re.IGNORECASE)
_IN_TEXT = (
    (re.compile(r"(?<=://)[^\s/@'\"]+(?=@)"), HIDDEN),
    (
        re.compile(
            r"(?i)([?&;][a-z0-9_.-]*(?:token|secret|passw|signature|credential|api_?key|access_?key|sig)[a-z0-9_.-]*=)"
            r"[^\s&;#'\"]+"
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(?i)(--[a-z-]*(?:token|secret|password|api-?key)[a-z-]*[ =])[^\s'\"]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)(\b(?:bearer|basic) )[a-z0-9._~+/=-]{8,}"), rf"\1{HIDDEN}"),
    (
        re.compile(r"\b(?:hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[A-Z0-9]{16}|sk-[A-Za-z0-9_-]{20,})"),
        HIDDEN,
    ),
)


def redacted(text: str) -> str:
    """`text` with every secret in it replaced by `***`."""
    for value in _secret_values():
        text = text.replace(value, HIDDEN)
    for pattern, replacement in _IN_TEXT:
        text = pattern.sub(replacement, text)
    return text


def _secret_values() -> list[str]:
    """Values of the environment that must not be shown, the longest first, as one may hold another."""
    named = (value.strip() for name, value in os.environ.items() if _SECRET_NAME.search(name))
    return sorted({value for value in named if len(value) >= SHORTEST}, key=len, reverse=True)
