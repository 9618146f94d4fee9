"""What is known of a published model: `model.toml`, checked field by field.

Nothing in it is trusted further than this: files are named by plain relative paths that stay in the model's folder,
are of formats that hold no code, and are used only with the size and sha256 stated.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, model_validator

from hdbench.errors import HdbenchError
from hdbench.recipe import first_complaint
from hdbench.results import Record, Target

MANIFEST = "model.toml"
CARD = "README.md"
EMBEDDED = "embedded"
"""The source that means: beside model.toml."""
SCHEMES = ("hf", "https", "http", "s3", "file")
SUFFIXES = (".safetensors", ".json")
"""What a model may consist of: formats whose reading runs no code."""
LARGEST = 1 << 20
"""Bytes a model.toml may have."""

Status = Literal["reproduces", "does not", "unverified"]


def _plain_path(text: str) -> str:
    path = PurePosixPath(text)
    parts = text.split("/")
    if "\\" in text or ":" in text or path.is_absolute() or any(not part or part.startswith(".") for part in parts):
        raise ValueError("expected a plain relative path, such as model.safetensors")
    if path.suffix not in SUFFIXES:
        raise ValueError(f"a model consists of {' and '.join(SUFFIXES)} files, which hold no code")
    return text


def check_source(text: str) -> str:
    """`text` if it is a source; ValueError if not."""
    if text == EMBEDDED:
        return text
    if ".." in text.split("/"):
        raise ValueError("'..' has no place in a source")
    parts = urlsplit(text)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"expected {EMBEDDED!r} or a URL that starts with {', '.join(f'{s}://' for s in SCHEMES)}")
    if parts.scheme == "hf":
        if not re.fullmatch(r"hf://[\w.-]+/[\w.-]+(@[\w.-]+)?(/[\w./-]+)?", text):
            raise ValueError("expected hf://OWNER/NAME, hf://OWNER/NAME@REVISION or a folder below")
    elif parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("a source is a plain URL of a folder, without user, query and fragment")
    return text.rstrip("/")


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]
Text = Annotated[str, Field(min_length=1)]


class ModelFile(Record):
    """One file of a model."""

    path: Annotated[str, AfterValidator(_plain_path)]
    sha256: Sha256
    size: Annotated[int, Field(gt=0)]
    """Bytes."""


class TrainedOn(Record):
    """The data a model has learned from."""

    name: Text
    version: Sha256
    """sha256 of the dataset's fingerprint: another size, seed or version of the data is another."""
    limit: Annotated[int, Field(gt=1)] | None = None
    """At most so many shapes of each split, where it was a quick try."""


class Expected(Record):
    """A score this model reaches, and where another drawing of as many samples is expected to lie."""

    protocol: str
    metric: str
    value: float
    interval: tuple[float, float]
    """95 %."""
    target: Target
    count: Annotated[int, Field(gt=0)]
    """Samples scored."""
    seed: Annotated[int, Field(ge=0)]
    """The seed they were drawn with."""
    signature: str

    @model_validator(mode="after")
    def _ordered(self) -> "Expected":
        low, high = self.interval
        if not low <= self.value <= high:
            raise ValueError(f"interval {low} to {high} does not hold the value {self.value}")
        return self


class Manifest(Record):
    """`model.toml`."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)

    schema_: Literal["hdbench/zoo/1"] = Field(default="hdbench/zoo/1", alias="schema")
    title: Text
    method: Name
    method_version: int
    """The version of the method that trained it."""
    preset: Text
    recipe: Sha256
    """sha256 of the preset's recipe as resolved for the data, less what only sampling reads: `recipe_hash`."""
    category: Name
    status: Status
    """Whether it reproduces what its paper or its training run reported."""
    licence: Text
    """An SPDX identifier, such as MIT."""
    origin: Text
    """The original commit or paper."""
    selection: Text
    """How the checkpoint was selected."""
    sources: Annotated[list[Annotated[str, AfterValidator(check_source)]], Field(min_length=1)]
    """Folders the files lie in, in order of preference; "embedded" is the one of this file."""
    precision: Literal["float32", "float16"] = "float32"
    """How matrices are stored; read back, they are float32."""
    sample_seconds_per_shape: Annotated[float, Field(ge=0)] | None = None
    """As measured on two CPU cores."""
    fit_seconds: Annotated[float, Field(ge=0)] | None = None
    """What training took, where it was trained."""
    dataset: TrainedOn
    files: Annotated[list[ModelFile], Field(min_length=1)]
    expected: list[Expected] = Field(default_factory=list)

    @model_validator(mode="after")
    def _distinct(self) -> "Manifest":
        paths = [file.path for file in self.files]
        if len({path.casefold() for path in paths}) < len(paths):
            raise ValueError("a file is listed twice")
        return self

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def read_manifest(path: Path) -> Manifest:
    """The manifest at `path`; HdbenchError naming the first wrong field."""
    try:
        if path.stat().st_size > LARGEST:
            raise HdbenchError(f"{path} is larger than {LARGEST} bytes: no model.toml.")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HdbenchError(f"{path} cannot be read ({error}).") from error
    return parse_manifest(text, str(path))


def parse_manifest(text: str, where: str) -> Manifest:
    """The manifest that `text` holds; HdbenchError naming the first wrong field."""
    try:
        return Manifest.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise HdbenchError(f"{where} is not TOML: {error}.") from error
    except ValidationError as error:
        raise HdbenchError(f"{where}: {first_complaint(error)}.") from error


def to_toml(manifest: Manifest) -> str:
    """The manifest as TOML, fields in the schema's order."""
    document = manifest.model_dump(mode="json", by_alias=True, exclude_none=True)
    tables = {name: value for name, value in document.items() if _is_table(value)}
    lines = _assignments({name: value for name, value in document.items() if name not in tables})
    for name, value in tables.items():
        for table in [value] if isinstance(value, dict) else value:
            lines += ["", f"[{name}]" if isinstance(value, dict) else f"[[{name}]]", *_assignments(table)]
    return "\n".join(lines) + "\n"


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _assignments(table: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {_value(value)}" for name, value in table.items()]


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    # JSON's strings, booleans and numbers are TOML's, but for the one character that TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def total_size(files: Iterable[ModelFile]) -> str:
    """How large `files` are together, in words."""
    size = sum(file.size for file in files)
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
