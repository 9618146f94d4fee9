"""A model's card: README.md, generated from model.toml, with whatever prose follows kept.

The front matter is what a hub shows and searches by.
"""

from collections.abc import Sequence
from pathlib import Path

from hdbench.datasets.registry import MADE, dataset_names
from hdbench.store import write_atomic
from hdbench.zoo.catalogue import Entry
from hdbench.zoo.manifest import CARD, Expected, Manifest, total_size

END = "<!-- What stands above is generated from model.toml; what follows is kept. -->"

_STATUS = {
    "reproduces": "reproduces what is reported of it",
    "does not": "does not reproduce what is reported of it",
    "unverified": "not verified against what is reported of it",
}


def write_card(entry: Entry) -> None:
    """Write README.md anew; prose below the generated part stays."""
    text = card_text(entry.name, entry.manifest, prose=written_prose(entry.folder))
    write_atomic(entry.folder / CARD, text)


def written_prose(folder: Path) -> str:
    """What people have written into the card in `folder`, below the generated part; "" where there is none."""
    path = folder / CARD
    _, _, prose = (path.read_text(encoding="utf-8") if path.is_file() else "").partition(END)
    return prose.strip()


def card_text(name: str, manifest: Manifest, *, prose: str = "") -> str:
    """The card as Markdown."""
    facts = [
        ("Method", f"{manifest.method}, version {manifest.method_version}"),
        ("Recipe", f"{manifest.preset} (`{manifest.recipe[:12]}`)"),
        ("Category", manifest.category),
        ("Dataset", f"{manifest.dataset.name} (`{manifest.dataset.version[:12]}`)"),
        ("Status", _STATUS[manifest.status]),
        ("Origin", manifest.origin),
        ("Checkpoint", manifest.selection),
        ("Licence", manifest.licence),
        ("Weights", f"{total_size(manifest.files)}, {manifest.precision}"),
        ("Sources", ", ".join(manifest.sources)),
        *_costs(manifest),
    ]
    parts = [
        _front_matter(manifest),
        f"# {manifest.title}",
        _table(("", ""), facts),
        *_scores(manifest.expected),
        f"Use it with `hdbench run {_options(manifest)}`, draw from it after "
        f"`hdbench zoo pull {name} --out {name}` with `hdbench sample {name}`, and check the scores with "
        f"`hdbench zoo verify {name}`.",
        END,
    ]
    return "\n\n".join([*parts, prose] if prose else parts) + "\n"


def _front_matter(manifest: Manifest) -> str:
    tags = [manifest.method, manifest.category, "3d", "shape-generation"]
    return "\n".join(
        ("---", f"license: {manifest.licence.lower()}", "library_name: hdbench", f"tags: [{', '.join(tags)}]", "---")
    )


def _options(manifest: Manifest) -> str:
    """With which `hdbench run` finds the model."""
    given = {
        "category": manifest.category,
        "dataset": _dataset(manifest.dataset.name),
        "methods": manifest.method,
        "preset": "" if manifest.preset == "default" else manifest.preset,
        "limit": manifest.dataset.limit,
    }
    return " ".join(f"--{name} {value}" for name, value in given.items() if value)


def _dataset(name: str) -> str:
    """How `--dataset` is given for the dataset called `name`: of one's own, the path is all there is."""
    if name == MADE:
        return ""
    return f"{name}:PATH" if name in dataset_names() else "PATH"


def _costs(manifest: Manifest) -> list[tuple[str, str]]:
    costs = [("Training", manifest.fit_seconds, "s"), ("Sampling", manifest.sample_seconds_per_shape, "s a shape")]
    return [(name, f"{seconds:.3g} {unit}") for name, seconds, unit in costs if seconds is not None]


def _scores(expected: Sequence[Expected]) -> list[str]:
    if not expected:
        return ["No scores are known."]
    rows = [
        (
            score.protocol,
            score.metric,
            f"{score.value:.4g}",
            f"{score.interval[0]:.4g} to {score.interval[1]:.4g}",
            f"{score.count}, seed {score.seed}",
        )
        for score in expected
    ]
    return ["## Expected scores", _table(("protocol", "metric", "value", "95 % interval", "samples"), rows)]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
