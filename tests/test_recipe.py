import pytest
from pydantic import Field

from hdbench.errors import HdbenchError
from hdbench.recipe import Recipe, load_recipe, parse_changes, parse_recipe


class Inner(Recipe):
    rate: float = Field(0.1, gt=0)


class Outer(Recipe):
    steps: int
    inner: Inner = Inner()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with the presets paper and smoke, and other files beside them."""
    recipes = tmp_path / "some_method" / "recipes"
    recipes.mkdir(parents=True)
    (tmp_path / "some_method" / "__init__.py").touch()
    (recipes / "smoke.toml").write_text("steps = 3\n[inner]\nrate = 0.5\n")
    (recipes / "paper.toml").write_text("steps = 30000\n")
    (recipes / "README.md").write_text("not a recipe")
    monkeypatch.syspath_prepend(tmp_path)
    return "some_method"


def test_presets_by_name(package):
    assert load_recipe(Outer, package, "smoke") == Outer(steps=3, inner=Inner(rate=0.5))
    assert load_recipe(Outer, package, "paper").inner.rate == 0.1


def test_files_by_path(package, tmp_path):
    (tmp_path / "mine.toml").write_text("steps = 7")
    assert load_recipe(Outer, package, str(tmp_path / "mine.toml")).steps == 7


SPECIAL = """
steps = 1
[inner]
rate = 0.5
[for.sequence]
steps = 2
[for.sequence.inner]
rate = 0.25
[for.car]
steps = 3
"""


@pytest.mark.parametrize(
    ("circumstances", "steps", "rate"),
    [((), 1, 0.5), (("mesh", "airplane"), 1, 0.5), (("sequence", "animal"), 2, 0.25), (("sequence", "car"), 3, 0.25)],
)
def test_tables_for_some_data_only(circumstances, steps, rate):
    recipe = parse_recipe(Outer, SPECIAL, "mine", circumstances=circumstances)
    assert recipe == Outer(steps=steps, inner=Inner(rate=rate))


@pytest.mark.parametrize("text", ["steps = 1\nfor = 3", "steps = 1\n[for]\ncar = 3", "steps = 1\n[for.car]\nstep = 3"])
def test_tables_for_other_data_are_checked_too(text):
    with pytest.raises(HdbenchError, match="mine"):
        parse_recipe(Outer, text, "mine")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("smok", "Unknown preset 'smok'. Did you mean 'smoke'? Available: paper, smoke."),
        ("README", "Available: paper, smoke."),
        ("missing.toml", "There is no recipe file missing.toml; presets are paper, smoke."),
    ],
)
def test_unknown_sources(package, source, message):
    with pytest.raises(HdbenchError) as caught:
        load_recipe(Outer, package, source)
    assert message in str(caught.value)


def test_methods_without_hyperparameters_take_any_preset():
    assert load_recipe(Inner, "json", "default") == Inner()
    assert load_recipe(Inner, "", "default") == Inner()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("steps = ", "is not TOML"),
        ("steps = 'many'", "steps: Input should be a valid integer"),
        ("steps = 2.5", "steps: Input should be a valid integer"),
        ("steps = 1\nstep = 2", "step: Extra inputs are not permitted (got '2')"),
        ("steps = 1\n[inner]\nrate = 0", "inner.rate: Input should be greater than 0 (got '0')"),
        ("", "steps: Field required"),
    ],
)
def test_wrong_fields_are_named(text, words):
    with pytest.raises(HdbenchError) as caught:
        parse_recipe(Outer, text, "mine")
    assert str(caught.value).startswith("Recipe mine")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text(package, tmp_path):
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(HdbenchError, match="UTF-8"):
        load_recipe(Outer, package, str(tmp_path / "mine.toml"))


def test_recipes_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Outer(steps=1).steps = 2


class TestChanges:
    def test_values_are_toml_or_plain_words(self):
        changes = parse_changes(
            [
                "fields.octaves=0",
                "fields.initialization = independent",
                "a.rate=1e-3",
                "a.on=false",
                "a.list=[1, 2]",
                'b="x"',
            ]
        )
        assert changes == {
            "fields": {"octaves": 0, "initialization": "independent"},
            "a": {"rate": 1e-3, "on": False, "list": [1, 2]},
            "b": "x",
        }

    @pytest.mark.parametrize("text", ["steps", "=3", "a..b=3", ".a=1"])
    def test_what_is_no_assignment_is_refused(self, text):
        with pytest.raises(HdbenchError, match="FIELD=VALUE"):
            parse_changes([text])

    def test_a_field_is_set_once(self):
        with pytest.raises(HdbenchError, match="set already"):
            parse_changes(["steps=1", "steps=2"])
        with pytest.raises(HdbenchError, match="'inner' is set to a value already"):
            parse_changes(["inner=1", "inner.rate=2"])

    def test_a_value_is_no_way_to_set_other_fields(self):
        assert parse_changes(["steps=1\nrate=2"]) == {"steps": "1\nrate=2"}

    def test_they_have_the_last_word(self, package):
        changes = parse_changes(["inner.rate=0.25"])
        assert load_recipe(Outer, package, "smoke", changes=changes) == Outer(steps=3, inner=Inner(rate=0.25))

    def test_tables_for_the_data_come_before(self):
        text = "steps = 1\n[for.car]\nsteps = 2"
        assert parse_recipe(Outer, text, "mine", circumstances=("car",), changes={"steps": 5}).steps == 5

    def test_methods_without_presets_take_them(self):
        assert load_recipe(Inner, "", "default", changes={"rate": 0.75}).rate == 0.75

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("stepps=1", "--set: Unknown field 'stepps'. Did you mean 'steps'? Available: inner.…, steps."),
            ("inner.rat=1", "--set: Unknown field 'inner.rat'. Did you mean 'inner.rate'? Available: inner.rate."),
            ("inner.rate=fast", "--set inner.rate: Input should be a valid number"),
            ("inner=1", "--set inner: "),
            ("inner.rate=inf", "Recipe smoke: inner.rate is not finite"),
        ],
    )
    def test_wrong_ones_are_named(self, package, text, words):
        with pytest.raises(HdbenchError) as caught:
            load_recipe(Outer, package, "smoke", changes=parse_changes([text]))
        assert str(caught.value).startswith(words)
        assert "\n" not in str(caught.value)
