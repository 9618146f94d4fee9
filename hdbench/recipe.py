"""A method's hyperparameters, typed, from TOML.

Each method names a `Recipe` subclass and keeps its presets (`smoke`, `default`, `paper`) as `recipes/<preset>.toml`
beside its module. Unknown and ill-typed fields are refused by name.
"""

import importlib.resources
import tomllib
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from hdbench.errors import HdbenchError, unknown_name


class Recipe(BaseModel):
    """Base of all recipes: frozen, and strict about what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


SomeRecipe = TypeVar("SomeRecipe", bound=Recipe)


def load_recipe(recipe_type: type[SomeRecipe], package: str, source: str) -> SomeRecipe:
    """The recipe named by `source`: a preset of `package`, or the path of a TOML file of the user's."""
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
        return parse_recipe(recipe_type, file.read_text(encoding="utf-8"), source)
    except (OSError, UnicodeDecodeError) as error:
        raise HdbenchError(f"Recipe {source} cannot be read ({error}); save it as TOML in UTF-8.") from error


def _presets(package: str) -> dict[str, Traversable]:
    """The recipes that come with `package` by name; none for "", where a method is a module of its own."""
    if not package:
        return {}
    folder = importlib.resources.files(package) / "recipes"
    files = sorted(folder.iterdir(), key=lambda file: file.name) if folder.is_dir() else []
    return {file.name.removesuffix(".toml"): file for file in files if file.name.endswith(".toml")}


def parse_recipe(recipe_type: type[SomeRecipe], text: str, where: str) -> SomeRecipe:
    """Validate TOML `text`; HdbenchError names the first wrong field."""
    try:
        return recipe_type.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise HdbenchError(f"Recipe {where} is not TOML: {error}.") from error
    except ValidationError as error:
        raise HdbenchError(f"Recipe {where}: {first_complaint(error)}.") from error


def first_complaint(error: ValidationError) -> str:
    """The first of pydantic's complaints as `field: message (got value)`."""
    first: Any = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "top level"
    return f"{place}: {first['msg']} (got {str(first['input'])[:60]!r})"
