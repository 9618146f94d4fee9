import re
from html.parser import HTMLParser

import pytest
from report_examples import box, cloud, example_results, example_run, results, row, score

from hdbench.results import DatasetInfo, Neighbours, Provenance, SetInfo

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}"
VOID = {"meta", "link", "img", "br", "input", "hr"}


class Page(HTMLParser):
    """Elements, texts and whether every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(run) -> tuple[str, Page]:
    text = run.write().report()[0].read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return page_of(example_run(tmp_path_factory.mktemp("page") / "run"))


def test_every_row_and_score_is_there(page):
    text = " ".join(" ".join(page[1].texts).split())
    for words in ("Alpha", "Beta", "Train-copy", "Held-out", "Noise", "MMD-CD", "COV-CD", "1-NNA-CD"):
        assert words in text
    for value in ("3.4 ± 0.2", "30 ± 5", "60 ± 4", "3.5 ± 0.2", "50 ± 5", "90 ± 4", "40.0 ± 1.0", "100 ± 0"):
        assert value in text, value
    for fact in ("hdbench run --category airplane", "c0ffee", "cd" * 32, "numpy 2.4", "Example CPU", "12 s", "2.0 GB"):
        assert fact in text, fact


def test_signatures_are_on_hover_and_reachable_by_keyboard(page):
    values = [attributes for attributes in page[1].all("span") if attributes.get("class") == "value"]
    assert len(values) == 15
    for attributes in values:
        assert attributes["tabindex"] == "0"
        assert "protocol:hyperdiffusion" in attributes["title"]


def test_ties_and_best_are_marked(page):
    cells = re.findall(r"<td class=\"best\">.*?</td>", page[0], flags=re.DOTALL)
    assert [("tie" in re.findall(r"pill[^<]*<", cell)[0]) for cell in cells] == [True, False, True, False]
    assert "tie of 2" in page[0]
    assert "short of real shapes" in page[0]


def test_invalid_samples_are_counted_and_shown(page):
    assert "3 of 4 valid" in page[0]
    assert page[0].count("invalid<br>no faces") == 1
    assert "1 of 4 invalid" in page[0]


def test_copies_are_flagged_by_the_train_copy_control(page):
    assert page[0].count("as near as a copy") == 1
    assert "1 of 2 as near as copies" in page[0]


def test_training_shapes_come_from_the_neighbours_folder(page):
    pictured = [attributes["alt"] for attributes in page[1].all("img")]
    for name in ("train-0", "train-1", "train-2", "train-3"):
        assert f"training shape {name}" in pictured


def test_each_method_can_be_turned(page):
    titles = {
        str(attributes["data-title"]).split(" · ")[0]
        for attributes in page[1].all("button")
        if "data-glb" in attributes
    }
    assert titles >= {"Alpha", "Beta", "Train-copy", "Held-out", "Noise"}


def test_nothing_loads_from_elsewhere(page):
    for tag, attributes in page[1].elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            value = attributes.get(name) or ""
            assert value.startswith(("data:", "#")) or not value, (tag, name, value[:80])
        assert not any(name.startswith("on") for name in attributes)
    assert not re.findall(r"url\((?!#)|@import", page[0])
    policy = next(a["content"] for a in page[1].all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy.split("style-src")[0]


def test_pictures_have_words_and_tables_have_heads(page):
    for attributes in page[1].all("img"):
        assert "alt" in attributes
    for attributes in page[1].all("th"):
        assert attributes["scope"] in ("col", "row", "rowgroup")
    for attributes in page[1].all("button"):
        assert attributes.get("aria-label") or "data-glb" not in attributes
    ids = [attributes["id"] for _, attributes in page[1].elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_hostile_results_stay_text(small_run):
    hostile = row(
        "alpha",
        [
            score("mmd_cd", 0.1, 0.01, signature=HOSTILE, unit=HOSTILE),
            score("fpd", None, reason=HOSTILE, target="lower"),
        ],
        title=HOSTILE,
        model=HOSTILE,
        samples=SetInfo(path=HOSTILE, sha256=HOSTILE, count=1, invalid=1, invalid_ids={HOSTILE: HOSTILE}),
        neighbours=[Neighbours(sample=HOSTILE, training=[HOSTILE], distances=[0.1])],
        recipe={HOSTILE: HOSTILE},
        loss_curve=[(1, 0.1)],
    )
    clean = example_results()
    small_run.results = results(
        [hostile, *clean.rows[1:]],
        run={HOSTILE: HOSTILE},
        dataset=DatasetInfo(
            name=HOSTILE,
            category=HOSTILE,
            fingerprint=HOSTILE,
            counts={HOSTILE: 1},
            skipped={HOSTILE: HOSTILE},
            reference=SetInfo(path=HOSTILE, sha256=HOSTILE, count=1),
            reference_ids=[HOSTILE],
        ),
        provenance=Provenance(
            hdbench=HOSTILE,
            git={"commit": HOSTILE, "dirty": True},
            packages={HOSTILE: HOSTILE},
            machine={HOSTILE: HOSTILE, "processor": HOSTILE},
            seeds=[0],
            command=HOSTILE,
        ),
    )
    text, parsed = page_of(small_run)
    assert len(parsed.all("script")) == 2
    assert not any(attributes.get("src") == "x" or "onerror" in attributes for _, attributes in parsed.elements)
    assert "49" not in re.findall(r"onerror=alert\(2\)&gt;(.{0,6})", text)[0]
    markdown = (small_run.folder / "report.md").read_text(encoding="utf-8").splitlines()
    assert not [line for line in markdown if "<script" in line and not line.startswith("    ")]  # code blocks may


def test_a_methods_name_leads_nowhere_else(small_run):
    small_run.shapes = {"../../outside": [box(1)], "a/b": [box(2)]}
    names = ["../../outside", str(small_run.folder.parent / "outside"), "..", ".", "", "a/b"]
    small_run.results = results([row(name, [score("mmd_cd", 0.1, 0.01)], title="Outsider") for name in names])
    small_run.write()
    assert (small_run.folder.parent / "outside" / "points.npz").exists()
    assert 'data-title="Outsider' not in page_of(small_run)[0]


def test_a_run_without_scores_or_rivals(small_run):
    small_run.results = results([row("alpha", [])])
    assert "Alpha" in page_of(small_run)[0]
    small_run.results = results([row("alpha", [score("mmd_cd", 0.1, 0.01)])])
    text = page_of(small_run)[0]
    assert 'class="best"' not in text  # one model has no rival


def test_size_of_a_default_run_stays_in_bounds():
    """As many models as are shown, three controls, reference and neighbours, each shape at its largest."""

    from hdbench.geometry.rendering import encode_webp, render
    from hdbench.reporting import pictures
    from hdbench.reporting.viewer import FACES, to_glb
    from hdbench.shapes import Mesh

    sheet = [[(a, b, 0) for a in range(46)] for b in range(46)]  # 46 x 46 vertices give just over FACES faces
    corners = [(45 * b + b + a) for b in range(45) for a in range(45)]
    faces = [t for c in corners for t in ((c, c + 1, c + 46), (c + 1, c + 47, c + 46))]
    assert len(faces) > FACES
    largest_model = len(to_glb(Mesh([p for line in sheet for p in line], faces), color=(1, 2, 3))) * 4 / 3
    largest_picture = len(encode_webp(render(cloud(0), size=pictures.SIZE))) * 4 / 3
    models = (pictures.SHOWN + 1) * pictures.MODELS + 3 * pictures.CONTROL_MODELS
    tiles = (pictures.SHOWN + 1) * pictures.TILES + 3 * pictures.CONTROL_TILES + 2 * pictures.SHOWN * pictures.EXTREMES
    tiles += 4 * (pictures.SHOWN * pictures.NEAR + 3 * pictures.CONTROL_NEAR)
    assert models * largest_model + tiles * largest_picture + 1_000_000 < 10_000_000


def test_size_of_a_run_on_sequences_stays_in_bounds():
    """Four methods, three controls and the reference, each clip of 16 frames at its largest."""
    from hdbench.geometry.rendering import encode_webp, render
    from hdbench.reporting import pictures
    from hdbench.reporting.viewer import FRAME_FACES

    model = 16 * (8 * FRAME_FACES / 2 + 6 * FRAME_FACES) * 1.1 * 4 / 3  # closed: half as many vertices as faces
    still, frame = (
        len(encode_webp(render(cloud(0), size=size))) * 4 / 3 for size in (pictures.SIZE, pictures.STRIP_SIZE)
    )
    models = 5 * pictures.CLIP_MODELS + 3 * pictures.CONTROL_CLIP_MODELS
    frames = pictures.STRIP * (5 * pictures.CLIPS + 3 * pictures.CONTROL_CLIPS)
    stills = 4 * (4 * pictures.NEAR + 3 * pictures.CONTROL_NEAR)
    assert models * model + frames * frame + stills * still + 1_000_000 < 10_000_000
