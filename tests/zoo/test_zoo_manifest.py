"""model.toml: what it may say, and what is refused."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdbench.errors import HdbenchError
from hdbench.zoo.card import card_text, write_card, written_prose
from hdbench.zoo.catalogue import Entry
from hdbench.zoo.manifest import Manifest, parse_manifest, read_manifest, to_toml

HASH = "0123456789abcdef" * 4
VALID = {
    "title": "PVD: chairs",
    "method": "pvd",
    "method_version": 1,
    "preset": "default",
    "recipe": HASH,
    "category": "chair",
    "status": "reproduces",
    "licence": "MIT",
    "origin": 'a commit with "quotes", a \\ and an é',
    "selection": "lowest validation loss",
    "sources": ["embedded", "hf://owner/name@main/pvd", "https://example.org/zoo/pvd-chair"],
    "dataset": {"name": "procedural", "version": HASH},
    "files": [{"path": "model.safetensors", "sha256": HASH, "size": 12}],
    "expected": [
        {
            "protocol": "pvd",
            "metric": "nna_cd",
            "value": 0.5,
            "interval": (0.4, 0.6),
            "target": 0.5,
            "count": 64,
            "seed": 0,
            "signature": "nna_cd|protocol:pvd",
        }
    ],
}


def text_of(**changes):
    """A valid manifest as TOML, with some fields as they should not be."""
    return to_toml(Manifest.model_construct(**{**Manifest.model_validate(VALID).__dict__, **changes}))


def with_file(path="model.safetensors", sha256=HASH, size=12):
    text = text_of()
    return (
        text.replace('"model.safetensors"', f"'{path}'")
        .replace(f'sha256 = "{HASH}"', f'sha256 = "{sha256}"')
        .replace("size = 12", f"size = {size}")
    )


def test_a_manifest_survives_its_file():
    manifest = Manifest.model_validate(VALID)
    assert parse_manifest(to_toml(manifest), "model.toml") == manifest


@settings(max_examples=100)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_text_survives_its_file(text):
    manifest = Manifest.model_validate({**VALID, "origin": text})
    assert parse_manifest(to_toml(manifest), "model.toml").origin == text


@pytest.mark.parametrize(
    "path",
    ["../model.safetensors", "/etc/model.json", "a/../../b.json", "C:/model.json", "..\\model.json", "a//b.json",
     "./model.json", ".hidden/model.json", ".json", "", "model.json/"],
)  # fmt: skip
def test_files_cannot_leave_the_folder(path):
    with pytest.raises(HdbenchError, match=r"here: files.0.path"):
        parse_manifest(with_file(path=path), "here")


@pytest.mark.parametrize("path", ["model.pt", "model.ckpt", "model.pkl", "model.npz", "run.py", "model"])
def test_formats_that_may_hold_code_are_refused(path):
    with pytest.raises(HdbenchError, match="hold no code"):
        parse_manifest(with_file(path=path), "here")


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("ftp://example.org/a", "embedded"),
        ("/home/user/models", "embedded"),
        ("hf://owner/name with spaces", "hf://OWNER/NAME"),
        ("hf://owner", "hf://OWNER/NAME"),
        ("hf://owner/name/../../other", "'..'"),
        ("https://user:secret@example.org/a", "plain URL"),
        ("https://example.org/a?token=secret", "plain URL"),
        ("file:///zoo/../../etc", "'..'"),
    ],
)
def test_sources_are_plain(source, complaint):
    with pytest.raises(HdbenchError, match=r"here: sources.0") as error:
        parse_manifest(text_of(sources=[source]), "here")
    assert complaint in str(error.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "Field required"),
        ("title = ", "not TOML"),
        (text_of(status="perhaps"), "status"),
        (text_of(recipe="abc"), "recipe"),
        (text_of(sources=[]), "sources"),
        (text_of() + "\n[more]\nfield = 1\n", "more: Extra inputs"),
        (with_file(sha256="0" * 63), "files.0.sha256"),
        (with_file(size=0), "files.0.size"),
        (text_of().replace("[0.4, 0.6]", "[0.6, 0.7]"), "does not hold the value"),
        (text_of().replace("[0.4, 0.6]", "[0.4, inf]"), "finite"),
        (text_of().replace("[[expected]]", '[[files]]\npath = "Model.safetensors"\nsize = 1\n'
                           f'sha256 = "{HASH}"\n[[expected]]'), "listed twice"),
    ],
)  # fmt: skip
def test_wrong_manifests_are_one_line(text, complaint):
    with pytest.raises(HdbenchError, match=complaint) as error:
        parse_manifest(text, "here")
    assert "\n" not in str(error.value)


def test_files_that_are_no_manifest(tmp_path):
    for content in (b"\xff\xfe\x00", b"a" * (1 << 20) + b"a"):
        (tmp_path / "model.toml").write_bytes(content)
        with pytest.raises(HdbenchError, match=r"model\.toml"):
            read_manifest(tmp_path / "model.toml")
    with pytest.raises(HdbenchError, match=r"nowhere\.toml"):
        read_manifest(tmp_path / "nowhere.toml")


@settings(max_examples=200)
@given(st.data())
def test_damaged_manifests_are_an_error_or_a_manifest(data):
    text = text_of()
    place = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:place] + data.draw(st.text(max_size=4)) + text[place + data.draw(st.integers(0, 40)) :]
    with suppress(HdbenchError):
        assert isinstance(parse_manifest(damaged, "here"), Manifest)


def test_a_card_says_what_the_manifest_does():
    card = card_text("pvd-chair", Manifest.model_validate(VALID))
    assert card.startswith("---\nlicense: mit\n")
    for fact in ("PVD: chairs", "lowest validation loss", "hf://owner/name@main/pvd", "0.4 to 0.6", "64, seed 0"):
        assert fact in card


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("procedural", ""),
        ("pointflow15k", "--dataset pointflow15k:PATH "),
        ("my-chairs", "--dataset PATH "),
    ],
)
def test_a_card_tells_how_to_use_the_model(name, option):
    manifest = Manifest.model_validate(VALID | {"dataset": VALID["dataset"] | {"name": name, "limit": 9}})
    assert f"hdbench run --category chair {option}--methods pvd --limit 9`" in card_text("pvd-chair", manifest)


def test_prose_in_a_card_is_kept(tmp_path):
    entry = Entry(tmp_path, Manifest.model_validate(VALID))
    write_card(entry)
    assert written_prose(tmp_path) == ""
    with (tmp_path / "README.md").open("a", encoding="utf-8") as card:
        card.write("\n## More\n\nTrained in a storm.\n")
    write_card(entry)
    before = (tmp_path / "README.md").read_bytes()
    write_card(entry)
    assert (tmp_path / "README.md").read_bytes() == before
    assert written_prose(tmp_path) == "## More\n\nTrained in a storm."
