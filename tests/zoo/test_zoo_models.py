"""A model's way: trained, made an entry, listed, pulled, pushed, verified."""

import json
import shutil
from dataclasses import replace

import pytest
from hub_server import OTHER_TOKEN
from limited_runs import LIMITED
from safetensors.numpy import load_file, save_file

from hdbench.benchmark import Plan, Run
from hdbench.method import get_method
from hdbench.metrics.protocols import get_protocol
from hdbench.metrics.scoring import unscored
from hdbench.progress import Progress
from hdbench.results import load_results
from hdbench.store import Store, file_digest
from hdbench.zoo import add
from hdbench.zoo.catalogue import Entry, open_entry, recipe_hash
from hdbench.zoo.exchange import pull, push
from hdbench.zoo.fetch import fetch
from hdbench.zoo.manifest import parse_manifest, to_toml
from hdbench.zoo.verification import Scored

pytestmark = pytest.mark.usefixtures("plugin")


@pytest.fixture
def zoo(made, tmp_path, monkeypatch):
    """A copy of the zoo with the one model, known to all commands; returns its entry."""
    folder = tmp_path / "zoo" / made.name
    shutil.copytree(made.folder, folder)
    monkeypatch.setenv("HDBENCH_ZOO", str(tmp_path / "zoo"))
    return open_entry(folder)


def rewrite(entry, **changes):
    """Change fields of an entry's model.toml; returns the new entry."""
    new = Entry(entry.folder, entry.manifest.model_copy(update=changes))
    (entry.folder / "model.toml").write_text(to_toml(new.manifest), encoding="utf-8")
    return new


def test_an_entry_says_what_its_run_found(made, trained):
    run, store = trained
    (row,) = load_results(run).rows
    manifest = made.manifest
    recipe = get_method("ellipsoids").recipe_type.model_validate(row.recipe)
    assert (manifest.method, manifest.category, manifest.recipe) == ("ellipsoids", "chair", recipe_hash(recipe))
    assert manifest.dataset.version == load_results(run).dataset.fingerprint
    stated = {(score.metric, score.value, score.interval) for score in manifest.expected}
    known = {(score.metric, score.value, score.interval) for score in row.scores if score.interval}
    assert stated == known
    assert {score.count for score in manifest.expected} == {8}
    saved = store / "artefacts" / "model" / row.model / "model"
    for file in manifest.files:
        assert (made.folder / file.path).read_bytes() == (saved / file.path).read_bytes()
    assert {path.name for path in made.folder.iterdir()} == {file.path for file in manifest.files} | {
        "model.toml",
        "README.md",
    }


def test_a_run_uses_it(command, zoo, tmp_path, trained):
    code, _, err = command("run", *LIMITED[:-1], "--out", "run")
    assert code == 0, err
    assert "From the zoo, not trained: ellipsoids-chair." in " ".join(err.split())
    (row,), (before,) = load_results(tmp_path / "run").rows, load_results(trained[0]).rows
    assert (row.source, before.source) == ("zoo", "trained")
    assert row.samples.sha256 == before.samples.sha256
    assert row.scores == before.scores
    assert not (tmp_path / "store" / "artefacts" / "model").exists()


def test_a_run_may_sample_it_otherwise(command, zoo, tmp_path):
    rows = {}
    for changes in ((), ("--set", "spread=2"), ("--preset", "smoke")):
        for where in ("zoo", "trained"):
            train = ("--train",) if where == "trained" else ()
            assert command("run", *LIMITED, *changes, *train, "--out", f"{where} {len(rows)}")[0] == 0
            (rows[where, changes],) = load_results(tmp_path / f"{where} {len(rows)}").rows
            assert rows[where, changes].source == where
        assert rows["zoo", changes].samples.sha256 == rows["trained", changes].samples.sha256
    assert len({row.samples.sha256 for row in rows.values()}) == 3
    assert len({row.model for row in rows.values()}) == 2
    wider = rows["zoo", ("--set", "spread=2")]
    assert (wider.title, wider.recipe["spread"]) == ("Ellipsoids (spread=2)", 2)


def test_an_entry_made_of_a_run_samples_as_the_run_did(command, tmp_path):
    assert command("run", *LIMITED, "--train", "--out", "plain")[0] == 0
    assert command("run", *LIMITED, "--train", "--set", "spread=2", "--out", "wider")[0] == 0
    code, _, err = command("zoo", "add", "wider", "--zoo", "zoo", "--quiet")
    assert code == 0, err
    assert json.loads((tmp_path / "zoo" / "ellipsoids-chair" / "recipe.json").read_text())["spread"] == 2
    code, _, err = command("zoo", "verify", "zoo/ellipsoids-chair", "--quiet")
    assert code == 0, err


@pytest.mark.parametrize(
    "changes",
    [{"train": True}, {"changes": ("smallest=0.1",)}, {"limit": 11}, {"limit": None}],
    ids=str,
)
def test_a_run_trains_what_the_zoo_does_not_have(zoo, workshop, tmp_path, changes):
    plan = Plan("chair", methods=("ellipsoids",), limit=10)
    for asked, uses in ((plan, {"ellipsoids": zoo}), (replace(plan, **changes), {})):
        run = Run(asked, store=workshop.store, folder=tmp_path / "run", progress=Progress())
        assert run.published == uses
        assert ("From the zoo" in run.outline()) == bool(uses)


def test_other_weights_are_other_samples(command, zoo, tmp_path):
    assert command("run", *LIMITED, "--out", "one")[0] == 0
    weights = load_file(zoo.folder / "model.safetensors")
    save_file({**weights, "mean": weights["mean"] + 1}, zoo.folder / "model.safetensors")
    code, _, err = command("run", *LIMITED, "--out", "two")
    assert code == 0, err  # the store still has the weights that model.toml states
    files = [file.model_copy(update={"sha256": file_digest(zoo.folder / file.path)}) for file in zoo.manifest.files]
    rewrite(zoo, files=files)
    assert command("run", *LIMITED, "--out", "three")[0] == 0
    one, two, three = (load_results(tmp_path / name).rows[0] for name in ("one", "two", "three"))
    assert one.samples.sha256 == two.samples.sha256 != three.samples.sha256
    assert one.model == two.model != three.model


@pytest.mark.parametrize("name", ["model.safetensors", "recipe.json"])
def test_a_run_with_a_damaged_zoo_ends_with_one_line(command, zoo, name):
    (zoo.folder / name).write_bytes(b"{")
    code, _, err = command("run", *LIMITED, "--out", "run")
    assert code == 2
    assert name in err
    assert "--train" in err
    assert len(err.strip().splitlines()) == 1


def test_a_run_with_a_damaged_manifest_ends_with_one_line(command, zoo):
    (zoo.folder / "model.toml").write_text("schema = 3")
    code, _, err = command("run", *LIMITED, "--out", "run")
    assert code == 2
    assert "model.toml" in err
    assert "--train" in err
    assert len(err.strip().splitlines()) == 1
    assert command("run", *LIMITED, "--train", "--out", "run")[0] == 0


def test_files_that_are_right_and_no_model_end_with_one_line(command, zoo):
    (zoo.folder / "recipe.json").write_text('{"subdivisions": 99}\n')
    files = [
        file.model_copy(
            update={
                "sha256": file_digest(zoo.folder / file.path),
                "size": (zoo.folder / file.path).stat().st_size,
            }
        )
        for file in zoo.manifest.files
    ]
    rewrite(zoo, files=files)
    code, _, err = command("run", *LIMITED, "--out", "run")
    assert code == 2
    assert "no ellipsoids that can be read" in err
    assert len(err.strip().splitlines()) == 1


def test_list_and_show(command, zoo):
    code, out, _ = command("zoo", "list", "--json")
    assert code == 0
    assert "ellipsoids-chair" in {row["name"] for row in json.loads(out)}
    code, out, _ = command("zoo", "show", "ellipsoids-chair")
    assert code == 0
    assert out == (zoo.folder / "README.md").read_text(encoding="utf-8")
    code, out, _ = command("zoo", "show", zoo.folder, "--json")
    assert json.loads(out)["method"] == "ellipsoids"
    code, _, err = command("zoo", "show", "ellipsoid-chair")
    assert code == 2
    assert "Did you mean 'ellipsoids-chair'?" in err


def test_pull_then_sample(command, zoo, tmp_path):
    code, out, err = command("zoo", "pull", "ellipsoids-chair", "--quiet")
    assert code == 0, err
    assert out == "Model: models/ellipsoids-chair\n"
    code, _, err = command("sample", "models/ellipsoids-chair", "--count", "3", "--out", "mine", "--quiet")
    assert code == 0, err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    code, _, err = command("zoo", "pull", "ellipsoids-chair", "--out", "other")
    assert code == 2
    assert "not empty" in err


def test_verify(command, zoo):
    code, out, err = command("zoo", "verify", "ellipsoids-chair", "--quiet")
    assert code == 0, out + err
    assert len(out.splitlines()) == len(zoo.manifest.expected)
    score = next(score for score in zoo.manifest.expected if score.metric == "mmd_cd")
    better = score.model_copy(update={"value": score.value / 9, "interval": (score.value / 10, score.value / 8)})
    others = [other.model_copy(update={"signature": "made otherwise"}) for other in zoo.manifest.expected[1:2]]
    rewrite(zoo, expected=[better, *others])
    code, out, _ = command("zoo", "verify", "--quiet", "ellipsoids-chair")
    assert code == 1
    assert "mmd_cd" in out.splitlines()[0]
    assert "outside" in out.splitlines()[0]
    assert "signature" in out.splitlines()[1]
    rewrite(zoo, dataset=zoo.manifest.dataset.model_copy(update={"limit": 11}))
    code, out, _ = command("zoo", "verify", "--quiet", "ellipsoids-chair")
    assert code == 1
    assert "another version" in out


def test_verify_links(command, zoo, tmp_path):
    assert command("zoo", "verify", "ellipsoids-chair", "--links", "--quiet")[0] == 0
    rewrite(zoo, sources=["embedded", f"file://{tmp_path}/mirror"])
    code, out, _ = command("zoo", "verify", "ellipsoids-chair", "--links", "--quiet")
    assert code == 1
    assert [line.split()[0] for line in out.splitlines()] == ["ok", "FAILED"]


def test_add_halved(command, trained, made, tmp_path, monkeypatch):
    run, store = trained
    monkeypatch.setenv("HDBENCH_STORE", str(store))
    code, _, err = command("zoo", "add", run, "--zoo", "zoo", "--half", "--status", "reproduces", "--quiet")
    assert code == 0, err
    entry = open_entry(tmp_path / "zoo" / "ellipsoids-chair")
    assert entry.manifest.precision == "float16"
    assert entry.manifest.status == "reproduces"
    assert load_file(entry.folder / "model.safetensors")["root"].dtype == "float16"
    whole = {score.metric: score.interval for score in made.manifest.expected}
    for score in entry.manifest.expected:  # half precision is lost in the sampling noise of eight samples
        low, high = whole[score.metric]
        assert low <= score.value <= high
    assert command("zoo", "verify", entry.folder, "--quiet")[0] == 0


def test_halving_that_costs_something_is_refused(command, trained, tmp_path, monkeypatch):
    from hdbench.zoo import add, precision

    def clumsily(source, target):
        from safetensors.torch import load_file, save_file

        save_file({name: tensor * 0 for name, tensor in load_file(source).items()}, target)

    monkeypatch.setattr(add, "halve", clumsily)
    assert precision.halve is not clumsily
    monkeypatch.setenv("HDBENCH_STORE", str(trained[1]))
    code, _, err = command("zoo", "add", trained[0], "--zoo", "zoo", "--half", "--quiet")
    assert code == 2
    assert "Halving the weights of ellipsoids costs something" in err
    assert not list((tmp_path / "zoo").glob("*"))


def test_add_a_fitted_model(command, tmp_path):
    options = ["--preset", "smoke", "--limit", "10", "--quiet"]
    assert command("fit", "ellipsoids", "--category", "chair", "--out", "mine", *options)[0] == 0
    add = ["zoo", "add", "mine", "--zoo", "zoo", *options]
    code, _, err = command(*add)
    assert code == 2
    assert "--category" in err
    code, _, err = command(*add, "--category", "chair", "--selection", "by hand", "--sources", "embedded,hf://me/it")
    assert code == 0, err
    entry = open_entry(tmp_path / "zoo" / "ellipsoids-chair")
    assert entry.manifest.selection == "by hand"
    assert entry.manifest.sources == ["embedded", "hf://me/it"]
    assert entry.manifest.expected[0].count == 10
    assert "hdbench run --category chair --methods ellipsoids --preset smoke --limit 10`" in (
        tmp_path / "zoo" / "ellipsoids-chair" / "README.md"
    ).read_text(encoding="utf-8")
    code, _, err = command("zoo", "add", "mine", "--zoo", "zoo", "--category", "chair", "--preset", "smoke", "--quiet")
    assert code == 2
    assert "mine has learnt from other data (dataset procedural, category chair, version" in err
    (tmp_path / "mine" / "model.json").write_text('{"recipe": {"subdivisions": 3}}')
    code, _, err = command(*add, "--category", "chair")
    assert code == 2
    assert "not fitted with this recipe" in err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--status", "perhaps"], "status"),
        (["--sources", "ftp://a"], "sources"),
        (["--methods", "pvd"], "no model of 'pvd'"),
    ],
)
def test_add_refuses_nonsense(command, trained, tmp_path, monkeypatch, arguments, complaint):
    monkeypatch.setenv("HDBENCH_STORE", str(trained[1]))
    code, _, err = command("zoo", "add", trained[0], "--zoo", "zoo", "--quiet", *arguments)
    assert code == 2
    assert complaint in err
    assert not (tmp_path / "zoo").exists()


def test_scores_of_a_run_on_another_device_are_found_anew(command, trained, made, tmp_path, monkeypatch):
    run, store = trained
    monkeypatch.setenv("HDBENCH_STORE", str(store))
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    results["rows"][0]["cost"] |= {"device": "cuda", "sample_s_per_shape": 1e-9}
    results["rows"][0]["scores"][0] |= {"value": 0.0, "interval": [0.0, 0.0]}
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "results.json").write_text(json.dumps(results), encoding="utf-8")
    code, _, err = command("zoo", "add", "elsewhere", "--zoo", "zoo", "--quiet")
    assert code == 0, err
    here = open_entry(tmp_path / "zoo" / "ellipsoids-chair").manifest
    assert here.expected == made.manifest.expected
    assert here.sample_seconds_per_shape > 1e-6


def test_a_folder_without_a_manifest_is_no_published_model(command, tmp_path):
    (tmp_path / "voxel").mkdir()
    code, out, err = command("zoo", "pull", "voxel")
    assert (code, out) == (2, "")
    assert "The folder voxel holds no model.toml" in err
    assert len(err.strip().splitlines()) == 1


def test_add_refuses_a_model_that_draws_nothing(command, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("HDBENCH_STORE", str(trained[1]))
    nothing = Scored(unscored(get_protocol("hdbench"), "", reference=8, samples=8), 1.0)
    monkeypatch.setattr(add, "draw_and_score", lambda *_, **__: nothing)
    results = json.loads((trained[0] / "results.json").read_text(encoding="utf-8"))
    results["rows"][0]["cost"] |= {"device": "cuda"}
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "results.json").write_text(json.dumps(results), encoding="utf-8")
    code, _, err = command("zoo", "add", "elsewhere", "--zoo", "zoo", "--quiet")
    assert code == 2
    assert "draws nothing that can be scored" in err
    assert not (tmp_path / "zoo").exists()


def test_add_replaces_only_entries(command, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("HDBENCH_STORE", str(trained[1]))
    (tmp_path / "zoo" / "ellipsoids-chair").mkdir(parents=True)
    (tmp_path / "zoo" / "ellipsoids-chair" / "thesis.tex").touch()
    code, _, err = command("zoo", "add", trained[0], "--zoo", "zoo", "--quiet")
    assert code == 2
    assert "no model of the zoo" in err
    code, _, err = command("zoo", "add", tmp_path, "--zoo", "zoo", "--category", "chair")
    assert code == 2
    assert "no model's folder" in err


def test_add_without_the_store_that_trained(command, trained):
    code, _, err = command("zoo", "add", trained[0], "--zoo", "zoo", "--quiet")
    assert code == 2
    assert "no longer holds the model" in err


def test_push_then_pull(hub, zoo, workshop, tmp_path):
    zoo = rewrite(zoo, sources=[f"file://{zoo.folder}"])
    source = push(zoo, "tester/ellipsoids", store=workshop.store, progress=Progress())
    pushed = hub.files("tester/ellipsoids")
    commit = hub.repositories["model", "tester/ellipsoids"].head
    assert source == f"hf://tester/ellipsoids@{commit}"
    for file in zoo.manifest.files:
        assert pushed[file.path] == (zoo.folder / file.path).read_bytes()
    assert b"library_name: hdbench" in pushed["README.md"]
    there = parse_manifest(pushed["model.toml"].decode(), "pushed")
    assert there == zoo.manifest.model_copy(update={"sources": ["embedded", *zoo.manifest.sources]})
    elsewhere = Entry(tmp_path / "empty", zoo.manifest.model_copy(update={"sources": [source]}))
    folder = fetch(elsewhere, store=Store(tmp_path / "elsewhere"), progress=Progress())
    assert folder != zoo.folder
    pull(elsewhere, tmp_path / "pulled", workshop)
    assert (tmp_path / "pulled" / "hdbench.json").is_file()
    again = push(zoo, "tester/ellipsoids", store=workshop.store, progress=Progress())  # to what is there already
    assert again.startswith("hf://tester/ellipsoids@")


@pytest.mark.parametrize(("token", "complaint"), [("", "401"), (OTHER_TOKEN, "403")], ids=["no token", "no access"])
def test_a_push_refused_is_one_line(hub, command, zoo, monkeypatch, token, complaint):
    monkeypatch.setenv("HF_TOKEN", token)
    code, _, err = command("zoo", "push", "ellipsoids-chair", "tester/ellipsoids", "--quiet")
    assert code == 2
    assert complaint in err
    assert len(err.strip().splitlines()) == 1
    assert not hub.repositories


def test_a_push_that_cannot_be(command, hub, zoo, monkeypatch):
    code, _, err = command("zoo", "push", "ellipsoids-chair", "no such name", "--quiet")
    assert code == 2
    assert "OWNER/NAME" in err
    monkeypatch.setenv("HDBENCH_OFFLINE", "1")
    code, _, err = command("zoo", "push", "ellipsoids-chair", "tester/ellipsoids", "--quiet")
    assert code == 2
    assert "offline" in err
    assert not hub.repositories


def test_push_from_the_command_line(command, hub, zoo):
    code, out, err = command("zoo", "push", "ellipsoids-chair", "tester/ellipsoids", "--quiet")
    assert code == 0, err
    assert f"hf://tester/ellipsoids@{hub.repositories['model', 'tester/ellipsoids'].head}" in out


@pytest.mark.parametrize("name", ["list", "show", "pull", "push", "verify", "add", "import"])
def test_each_command_shows_an_example(command, name):
    code, out, _ = command("zoo", name, "--help")
    assert code == 0
    assert f"Example: hdbench zoo {name}" in " ".join(out.split())


def test_a_model_on_a_hub_is_shown_pulled_and_verified(hub, command, zoo):
    assert command("zoo", "push", "ellipsoids-chair", "tester/ellipsoids", "--quiet")[0] == 0
    code, out, err = command("zoo", "show", "hf://tester/ellipsoids", "--json")
    assert code == 0, err
    assert json.loads(out)["sources"] == ["hf://tester/ellipsoids"]
    code, _, err = command("zoo", "pull", "hf://tester/ellipsoids", "--out", "mine", "--quiet")
    assert code == 0, err
    assert command("zoo", "verify", f"{hub.url}/tester/ellipsoids/resolve/main", "--links", "--quiet")[0] == 0


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("hf://tester/nothing", "no such repository"),
        ("hf://tester/other", "no such file (404)"),
        ("hf://tester/wrong", "hf://tester/wrong/model.toml: title: Field required"),
        ("hf://tester/binary", "is no text"),
        ("hf://tester/huge", "larger than"),
        ("gopher://tester", "expected 'embedded' or a URL"),
    ],
)
def test_a_url_without_a_model_is_one_line(hub, command, url, complaint):
    hub.add("tester/other", {"README.md": b""})
    hub.add("tester/wrong", {"model.toml": b""})
    hub.add("tester/binary", {"model.toml": b"\xff\xfe"})
    hub.add("tester/huge", {"model.toml": b"#" * 2_000_000})
    code, _, err = command("zoo", "pull", url, "--quiet")
    assert code == 2
    assert complaint in err
    assert len(err.strip().splitlines()) == 1
