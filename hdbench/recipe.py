"""A method's hyperparameters, typed, from TOML.

Each method names a `Recipe` subclass and keeps its presets (`smoke`, `default`, `paper`) as `recipes/<preset>.toml`
beside its module. Unknown and ill-typed fields are refused by name.

What only some data call for stands in tables of its own: `[for.sequence.fields]` is merged into `[fields]` where the
shapes are sequences, `[for.car.denoiser]` into `[denoiser]` where the category is car; the category has the last word.
Single fields are changed on the command line by `--set fields.octaves=0`, after all tables.
"""

import importlib.resources
import math
import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from hdbench.errors import HdbenchError, unknown_name


class Recipe(BaseModel):
    """Base of all recipes: frozen, and strict about what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sampling_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields that no fit reads, sampling alone: a model that is fitted may be given others."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse `sampling_fields` that are no fields: nothing else would notice."""
        if unknown := cls.sampling_fields - cls.model_fields.keys():
            raise TypeError(f"{cls.__name__}.sampling_fields: there is no field {min(unknown)!r}")

    def of_fit(self) -> dict[str, Any]:
        """What a fit hangs on, as JSON has it: all fields but the `sampling_fields`."""
        return self.model_dump(mode="json", exclude=set(self.sampling_fields))

    def of_sampling(self) -> dict[str, Any]:
        """The `sampling_fields`, as JSON has them."""
        return self.model_dump(mode="json", include=set(self.sampling_fields))


SomeRecipe = TypeVar("SomeRecipe", bound=Recipe)


Changes = Mapping[str, Any]
"""Fields to set otherwise than a recipe does, as nested tables."""


def parse_changes(assignments: Iterable[str]) -> dict[str, Any]:
    """`field.of.a.table=value` each, as nested tables; values are TOML, or plain words that need no quotes.

    Raises HdbenchError for what is no assignment, or sets a field twice.
    """
    changes: dict[str, Any] = {}
    for text in assignments:
        path, equals, value = text.partition("=")
        names = [name.strip() for name in path.split(".")]
        if not equals or not all(names):
            raise HdbenchError(f"--set {text}: expected FIELD=VALUE, such as --set fields.octaves=0.")
        table = changes
        for name in names[:-1]:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise HdbenchError(f"--set {text}: {name!r} is set to a value already.")
        if names[-1] in table:
            raise HdbenchError(f"--set {text}: {path.strip()} is set already; give each field once.")
        table[names[-1]] = _toml_value(value.strip())
    return changes


def _toml_value(text: str) -> Any:
    try:
        document = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return document["value"] if document.keys() == {"value"} else text


def load_recipe(
    recipe_type: type[SomeRecipe],
    package: str,
    source: str,
    *,
    circumstances: Iterable[str] = (),
    changes: Changes = MappingProxyType({}),
) -> SomeRecipe:
    """The recipe named by `source`: a preset of `package`, or the path of a TOML file of the user's.

    `circumstances` name the tables `[for.<name>]` that apply, the last one strongest; `changes` are set after all.
    """
    presets = _presets(package)
    if source.endswith(".toml"):
        file: Traversable | Path = Path(source)
        if not file.is_file():
            raise HdbenchError(f"There is no recipe file {source}; presets are {', '.join(presets) or 'none'}.")
    elif source in presets:
        file = presets[source]
    elif not presets:  # a method without hyperparameters
        return parse_recipe(recipe_type, "", source, changes=changes)
    else:
        raise unknown_name("preset", source, presets)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HdbenchError(f"Recipe {source} cannot be read ({error}); save it as TOML in UTF-8.") from error
    return parse_recipe(recipe_type, text, source, circumstances=circumstances, changes=changes)


def _presets(package: str) -> dict[str, Traversable]:
    """The recipes that come with `package` by name; none for "", where a method is a module of its own."""
    if not package:
        return {}
    folder = importlib.resources.files(package) / "recipes"
    files = sorted(folder.iterdir(), key=lambda file: file.name) if folder.is_dir() else []
    return {file.name.removesuffix(".toml"): file for file in files if file.name.endswith(".toml")}


def parse_recipe(
    recipe_type: type[SomeRecipe],
    text: str,
    where: str,
    *,
    circumstances: Iterable[str] = (),
    changes: Changes = MappingProxyType({}),
) -> SomeRecipe:
    """Validate TOML `text`; HdbenchError names the first wrong field, in tables that do not apply as well."""
    try:
        common = tomllib.loads(text)
        special = common.pop("for", {})
        if not isinstance(special, dict) or not all(isinstance(table, dict) for table in special.values()):
            raise HdbenchError(f"Recipe {where}: `for` holds tables such as [for.sequence.training], nothing else.")
        for table in special.values():
            recipe_type.model_validate(merged(common, table))
        for name in circumstances:
            common = merged(common, special.get(name, {}))
        unchanged = recipe_type.model_validate(common)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise HdbenchError(f"Recipe {where} is not TOML: {error}.") from error
    except ValidationError as error:
        raise HdbenchError(f"Recipe {where}: {first_complaint(error)}.") from error
    try:
        recipe = recipe_type.model_validate(merged(common, changes))
    except ValidationError as error:
        raise _complaint_about_change(error, unchanged) from error
    if not_finite := _not_finite(recipe.model_dump(), ""):
        raise HdbenchError(f"Recipe {where}: {not_finite} is not finite; give it a number.")
    return recipe


def _complaint_about_change(error: ValidationError, unchanged: Recipe) -> HdbenchError:
    """What to say of a change that does not fit; of a field that is not there, which ones are in its place."""
    first = error.errors(include_url=False)[0]
    if first["type"] != "extra_forbidden":
        return HdbenchError(f"--set {first_complaint(error)}.")
    *tables, name = map(str, first["loc"])
    table: BaseModel = unchanged
    for inner in tables:
        table = getattr(table, inner)
    place = "".join(f"{inner}." for inner in tables)
    known = (f"{place}{field}{'.…' if isinstance(value, BaseModel) else ''}" for field, value in table)
    return HdbenchError(f"--set: {unknown_name('field', place + name, known)}")


def _not_finite(value: Any, place: str) -> str:
    """Where in a recipe the first infinity or NaN stands, "" where there is none: no key can be made of them."""
    if isinstance(value, float):
        return "" if math.isfinite(value) else place
    if isinstance(value, dict):
        parts = [(f"{place}.{name}".lstrip("."), part) for name, part in value.items()]
    else:
        parts = [(place, part) for part in value] if isinstance(value, list | tuple) else []
    return next(filter(None, (_not_finite(part, where) for where, part in parts)), "")


def merged(table: Changes, over: Changes) -> dict[str, Any]:
    """`table` with what stands in `over`; tables within are merged, everything else is replaced."""
    result = dict(table)
    for key, value in over.items():
        before = result.get(key)
        result[key] = merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return result


def first_complaint(error: ValidationError) -> str:
    """The first of pydantic's complaints as `field: message (got value)`."""
    first: Any = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "top level"
    return f"{place}: {first['msg']} (got {str(first['input'])[:60]!r})"
