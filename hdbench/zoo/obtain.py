"""Published models in the place of trained ones, for a run."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from hdbench import stages
from hdbench.datasets.base import Dataset
from hdbench.errors import HdbenchError
from hdbench.method import Method
from hdbench.stages import Entrant, Workshop
from hdbench.store import Artefact
from hdbench.zoo.catalogue import Entry, entries, find_model
from hdbench.zoo.fetch import file_digests, write_model
from hdbench.zoo.manifest import EMBEDDED, total_size


def published_models(dataset: Dataset, entrants: Iterable[Entrant]) -> dict[str, Entry]:
    """The published model of each of the `entrants` that has one of its very recipe and data, by method."""
    try:
        zoo = entries()
    except HdbenchError as error:
        raise HdbenchError(f"{str(error).rstrip('.')}; mend or remove it, or train with --train.") from error
    found = ((entrant.name, find_model(entrant.name, dataset, entrant.recipe, among=zoo)) for entrant in entrants)
    return {name: entry for name, entry in found if entry}


def obtain_published(workshop: Workshop, method: type[Method], entry: Entry) -> Artefact:
    """The published model as an artefact that `stages.draw` takes, keyed by the sha256 of its files.

    Raises HdbenchError where they cannot be had, or hold no model of the method.
    """

    def write(folder: Path) -> None:
        write_model(entry, folder, store=workshop.store, progress=workshop.progress)

    return stages.adopt_files(workshop, method, file_digests(entry), write)


def outline(models: Mapping[str, Entry]) -> str:
    """What a run says of the published models it uses; "" without any."""
    if not models:
        return ""
    remote = [
        file for entry in models.values() if EMBEDDED not in entry.manifest.sources for file in entry.manifest.files
    ]
    fetched = f", {total_size(remote)} to download" if remote else ""
    return f" From the zoo, not trained: {', '.join(entry.name for entry in models.values())}{fetched}."
