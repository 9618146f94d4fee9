import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest
from hdbench_baselines.controls.method import HeldOut, Noise, TrainCopy

from hdbench import method as method_module
from hdbench.errors import HdbenchError
from hdbench.method import ENTRY_POINTS, Method, get_method, method_names, methods


@pytest.fixture
def install(monkeypatch):
    """Pretend that exactly these entry points are installed."""

    def install(**references: str):
        points = EntryPoints(
            EntryPoint(name.rstrip("_").replace("_", "-"), value, ENTRY_POINTS) for name, value in references.items()
        )
        monkeypatch.setattr(method_module, "entry_points", lambda **wanted: points.select(**wanted))

    return install


CONTROLS = "hdbench_baselines.controls.method"


def test_ours_are_installed():
    assert {"hyperdiffusion", "train-copy", "held-out", "noise"} <= set(method_names())
    assert get_method("noise") is Noise


def test_controls_come_last(install):
    install(a=f"{CONTROLS}:Noise", z="hdbench_baselines.hyperdiffusion.method:HyperDiffusion", b=f"{CONTROLS}:HeldOut")
    assert list(methods()) == ["z", "a", "b"]


def test_a_method_of_a_third_party_is_found(install, tmp_path, monkeypatch):
    (tmp_path / "theirs.py").write_text(
        "from hdbench.method import Method\nclass Theirs(Method):\n    name, title, output = 'theirs', 'T', 'mesh'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    install(theirs="theirs:Theirs")
    assert get_method("theirs").title == "T"


def test_an_unknown_method_is_told_the_nearest(install):
    install(noise=f"{CONTROLS}:Noise", train_copy=f"{CONTROLS}:TrainCopy")
    with pytest.raises(HdbenchError, match="Did you mean 'noise'"):
        get_method("nose")


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("no.such.module:Class", "cannot be imported: No module named 'no'"),
        (f"{CONTROLS}:Missing", "cannot be imported"),
        ("json:dumps", "is no subclass"),
        ("pathlib:Path", "is no subclass"),
    ],
)
def test_a_broken_plug_in_is_named(install, reference, words):
    install(broken=reference)
    with pytest.raises(HdbenchError, match="'broken'") as caught:
        get_method("broken")
    assert words in str(caught.value)
    with pytest.raises(HdbenchError, match="'broken'"):
        methods()


def test_a_name_taken_twice_is_refused(install):
    install(noise=f"{CONTROLS}:Noise", noise_=f"{CONTROLS}:HeldOut")
    with pytest.raises(HdbenchError, match="registered more than once"):
        get_method("noise")


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
