import importlib
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest
from hdbench_baselines.controls.method import HeldOut, Noise, NoiseRecipe, TrainCopy

from hdbench import method as method_module
from hdbench.errors import HdbenchError
from hdbench.method import ENTRY_POINTS, Method, broken_methods, get_method, method_names, methods
from hdbench.recipe import Recipe


@pytest.fixture
def install(monkeypatch):
    """Pretend that exactly these entry points are installed."""

    def install(**references: str):
        points = EntryPoints(
            EntryPoint(name.rstrip("_").replace("_", "-"), value, ENTRY_POINTS) for name, value in references.items()
        )
        monkeypatch.setattr(method_module, "entry_points", lambda **wanted: points.select(**wanted))

    return install


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """Write the module `theirs`, of a third party."""

    def write(text: str) -> None:
        (tmp_path / "theirs.py").write_text(f"from hdbench.method import Method\n{text}")

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    yield write
    sys.modules.pop("theirs", None)


CONTROLS = "hdbench_baselines.controls.method"


def test_ours_are_installed():
    assert {"hyperdiffusion", "train-copy", "held-out", "noise"} <= set(method_names())
    assert get_method("noise") is Noise


def test_controls_come_last(install, theirs):
    theirs("class Theirs(Method):\n    name, title, output = 'theirs', 'T', 'mesh'\n")
    install(noise=f"{CONTROLS}:Noise", theirs="theirs:Theirs", held_out=f"{CONTROLS}:HeldOut")
    assert list(methods()) == ["theirs", "held-out", "noise"]
    assert broken_methods() == {}


def test_a_method_of_a_third_party_is_found(install, theirs):
    theirs("class Theirs(Method):\n    name, title, output = 'theirs', 'T', 'mesh'\n")
    install(theirs="theirs:Theirs")
    assert get_method("theirs").title == "T"


def test_an_unknown_method_is_told_the_nearest(install):
    install(noise=f"{CONTROLS}:Noise", train_copy=f"{CONTROLS}:TrainCopy")
    with pytest.raises(HdbenchError, match="Did you mean 'noise'"):
        get_method("nose")


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("no.such.module:Class", "cannot be imported (ModuleNotFoundError: No module named 'no')"),
        (f"{CONTROLS}:Missing", "cannot be imported"),
        ("json:dumps", "is no subclass"),
        ("pathlib:Path", "is no subclass"),
        (f"{CONTROLS}:Noise", "calls itself 'noise'; set `name = 'broken'` in its class"),
        ("hdbench.method:Method", "calls itself None"),
    ],
)
def test_a_broken_plug_in_is_named(install, reference, words):
    install(broken=reference)
    with pytest.raises(HdbenchError, match="'broken'") as caught:
        get_method("broken")
    assert words in str(caught.value)


@pytest.mark.parametrize("fault", ["1 / 0", "raise RuntimeError('two\\nlines')", "class ("])
def test_a_plug_in_whose_import_fails_is_named_in_one_line(install, theirs, fault):
    theirs(fault)
    install(theirs="theirs:Theirs")
    with pytest.raises(HdbenchError, match=r"'theirs' \(theirs:Theirs\) cannot be imported") as caught:
        get_method("theirs")
    assert "\n" not in str(caught.value)


def test_an_inherited_name_is_refused(install, theirs):
    theirs("from hdbench_baselines.controls.method import Noise\nclass Louder(Noise):\n    title = 'Louder'\n")
    install(louder="theirs:Louder", noise=f"{CONTROLS}:Noise")
    with pytest.raises(HdbenchError, match="calls itself 'noise'; set `name = 'louder'`"):
        get_method("louder")
    assert get_method("noise") is Noise


def test_a_broken_plug_in_leaves_the_others(install):
    install(noise=f"{CONTROLS}:Noise", broken="no.such.module:Class")
    assert methods() == {"noise": Noise}
    ((name, complaint),) = broken_methods().items()
    assert name == "broken"
    with pytest.raises(HdbenchError) as caught:
        get_method("broken")
    assert str(caught.value) == complaint


def test_a_name_taken_twice_is_refused(install):
    install(noise=f"{CONTROLS}:Noise", noise_=f"{CONTROLS}:HeldOut")
    with pytest.raises(HdbenchError, match="registered more than once"):
        get_method("noise")
    assert list(broken_methods()) == ["noise"]


def test_recipes_lie_beside_the_module(theirs, tmp_path, monkeypatch):
    (tmp_path / "some_package" / "recipes").mkdir(parents=True)
    (tmp_path / "some_package" / "__init__.py").touch()
    (tmp_path / "some_package" / "recipes" / "smoke.toml").write_text("count = 3\n")
    (tmp_path / "mine.toml").write_text("count = 4\n")
    monkeypatch.setattr(Noise, "__module__", "some_package.method")
    assert Noise.load_recipe("smoke") == NoiseRecipe(count=3)
    assert Noise.load_recipe(str(tmp_path / "mine.toml")) == NoiseRecipe(count=4)
    with pytest.raises(HdbenchError, match="Available: smoke"):
        Noise.load_recipe("paper")


def test_a_method_in_a_module_of_its_own_has_no_presets(theirs):
    theirs("class Theirs(Method):\n    name, title, output = 'theirs', 'T', 'mesh'\n")
    assert importlib.import_module("theirs").Theirs.load_recipe("default") == Recipe()


def test_names_are_listed_without_importing_methods():
    code = (
        "import sys; from hdbench.method import method_names;"
        "print(len(method_names()) > 3, 'hdbench_baselines' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True False\n"


def test_what_a_method_need_not_say():
    class Plain(Method):
        name, title, output = "plain", "Plain", "points"

        def fit(self, dataset, recipe, context): ...
        def sample(self, indices, seed, context): ...
        def save(self, folder): ...
        @classmethod
        def load(cls, folder, context): ...

    plain = Plain()
    assert plain.sample_kind == "points"
    assert plain.sample_limit is None
    assert plain.reference_ids is None
    assert plain.loss_curve() == []
    assert not plain.is_control
    assert all(control.is_control for control in (TrainCopy, HeldOut, Noise))
