"""A method's hyperparameters, typed, from TOML.

Each method names a `Recipe` subclass and keeps its presets (`smoke`, `default`, `paper`) as `recipes/<preset>.toml`
beside its module. Unknown and ill-typed fields are refused by name.

What only some data call for stands in tables of its own: `[for.sequence.fields]` is merged into `[fields]` where the
shapes are sequences, `[for.car.denoiser]` into `[denoiser]` where the category is car; the category has the last word.
"""

import importlib.resources
import tomllib
from collections.abc import Iterable
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from hdbench.errors import HdbenchError, unknown_name


class Recipe(BaseModel):
    """Base of all recipes: frozen, and strict about what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


SomeRecipe = TypeVar("SomeRecipe", bound=Recipe)


def load_recipe(
    recipe_type: type[SomeRecipe], package: str, source: str, *, circumstances: Iterable[str] = ()
) -> SomeRecipe:
    """The recipe named by `source`: a preset of `package`, or the path of a TOML file of the user's.

    `circumstances` name the tables `[for.<name>]` that apply, the last one strongest.
    """
    presets = _presets(package)
    if source.endswith(".toml"):
        file: Traversable | Path = Path(source)
        if not file.is_file():
            raise HdbenchError(f"There is no recipe file {source}; presets are {', '.join(presets) or 'none'}.")
    elif source in presets:
        file = presets[source]
    elif not presets:  # a method without hyperparameters
        return recipe_type()
    else:
        raise unknown_name("preset", source, presets)
    try:
        return parse_recipe(recipe_type, file.read_text(encoding="utf-8"), source, circumstances=circumstances)
    except (OSError, UnicodeDecodeError) as error:
        raise HdbenchError(f"Recipe {source} cannot be read ({error}); save it as TOML in UTF-8.") from error


def _presets(package: str) -> dict[str, Traversable]:
    """The recipes that come with `package` by name; none for "", where a method is a module of its own."""
    if not package:
        return {}
    folder = importlib.resources.files(package) / "recipes"
    files = sorted(folder.iterdir(), key=lambda file: file.name) if folder.is_dir() else []
    return {file.name.removesuffix(".toml"): file for file in files if file.name.endswith(".toml")}


def parse_recipe(
    recipe_type: type[SomeRecipe], text: str, where: str, *, circumstances: Iterable[str] = ()
) -> SomeRecipe:
    """Validate TOML `text`; HdbenchError names the first wrong field, in tables that do not apply as well."""
    try:
        common = tomllib.loads(text)
        special = common.pop("for", {})
        if not isinstance(special, dict) or not all(isinstance(table, dict) for table in special.values()):
            raise HdbenchError(f"Recipe {where}: `for` holds tables such as [for.sequence.training], nothing else.")
        for table in special.values():
            recipe_type.model_validate(_merged(common, table))
        for name in circumstances:
            common = _merged(common, special.get(name, {}))
        return recipe_type.model_validate(common)
    except tomllib.TOMLDecodeError as error:
        raise HdbenchError(f"Recipe {where} is not TOML: {error}.") from error
    except ValidationError as error:
        raise HdbenchError(f"Recipe {where}: {first_complaint(error)}.") from error


def _merged(table: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`table` with what stands in `over`; tables within are merged, everything else is replaced."""
    merged = dict(table)
    for key, value in over.items():
        before = merged.get(key)
        merged[key] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def first_complaint(error: ValidationError) -> str:
    """The first of pydantic's complaints as `field: message (got value)`."""
    first: Any = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "top level"
    return f"{place}: {first['msg']} (got {str(first['input'])[:60]!r})"
