"""Models out of the zoo, into a folder or onto a hub."""

import tempfile
from pathlib import Path, PurePosixPath

from hdbench.errors import HdbenchError
from hdbench.method import get_method
from hdbench.models import LABEL, MODEL, label, refuse_occupied
from hdbench.progress import Progress
from hdbench.stages import Workshop
from hdbench.store import Store, copy_tree
from hdbench.transfer import SourceError, is_offline
from hdbench.zoo.card import card_text, written_prose
from hdbench.zoo.catalogue import Entry, get_entry
from hdbench.zoo.fetch import fetch, write_model
from hdbench.zoo.manifest import CARD, EMBEDDED, LARGEST, MANIFEST, Manifest, check_source, parse_manifest, to_toml
from hdbench.zoo.sources import read_text
from hdbench.zoo.uploads import writing_to_hub


def find(name: str) -> Entry:
    """The model called `name` in the zoo, in the folder `name`, or published at the URL `name`, such as hf://me/it.

    Raises HdbenchError where there is none.
    """
    if "://" not in name:
        return get_entry(name)
    source = name.rstrip("/")
    try:
        text = read_text(check_source(source), MANIFEST, limit=LARGEST)
    except (SourceError, ValueError) as error:
        raise HdbenchError(f"{source}: {error}.") from error
    manifest = parse_manifest(text, f"{source}/{MANIFEST}")
    others = [other for other in manifest.sources if other not in (EMBEDDED, source)]
    return Entry(Path(PurePosixPath(source).name), manifest.model_copy(update={"sources": [source, *others]}))


def pull(entry: Entry, out: Path, workshop: Workshop) -> None:
    """Write the model into the folder `out`, as `hdbench sample` reads it."""
    method = get_method(entry.manifest.method)
    refuse_occupied(out, MODEL, source=entry.folder)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        write_model(entry, folder, store=workshop.store, progress=workshop.progress)
        method.load(folder, workshop.context(Path(scratch), seed=0))  # a model that cannot be read is not handed out
        copy_tree(folder, out, added={LABEL: label(method)})


def push(entry: Entry, repository: str, *, store: Store, progress: Progress, private: bool = False) -> str:
    """Write model.toml, card and files of the model to a hub repository, made if need be; returns the new source.

    The token is the one of `hf auth login`, or HF_TOKEN. Raises HdbenchError where the hub refuses.
    """
    if is_offline():
        raise HdbenchError(f"{repository}: nothing is pushed offline; unset HDBENCH_OFFLINE and HF_HUB_OFFLINE.")
    from huggingface_hub import CommitOperationAdd

    folder = fetch(entry, store=store, progress=progress)
    manifest = _beside_its_files(entry.manifest)
    texts = {MANIFEST: to_toml(manifest), CARD: card_text(entry.name, manifest, prose=written_prose(entry.folder))}
    operations = [CommitOperationAdd(name, text.encode()) for name, text in texts.items()]
    operations += [CommitOperationAdd(file.path, folder / file.path) for file in manifest.files]
    with writing_to_hub(repository, form="OWNER/NAME") as hub:
        hub.create_repo(repository, private=private, exist_ok=True)
        commit = hub.create_commit(repository, operations, commit_message=f"Publish {entry.name}")
    return f"hf://{repository}@{commit.oid}"


def _beside_its_files(manifest: Manifest) -> Manifest:
    """The manifest as it stands in a folder that holds the files."""
    others = [source for source in manifest.sources if source != EMBEDDED]
    return manifest.model_copy(update={"sources": [EMBEDDED, *others]})
