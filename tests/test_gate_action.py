"""The steps of action.yml, run by bash as GitHub's runner runs them: inputs arrive in the environment."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from hdbench import evaluate

ROOT = Path(__file__).resolve().parents[1]
EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not there")


@pytest.fixture(scope="module")
def action():
    return yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))


def steps_named(action):
    return {step["name"]: step for step in action["runs"]["steps"]}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """A folder with a reference, two draws of one model and a bad one."""
    folder = tmp_path_factory.mktemp("shapes")
    rng = np.random.default_rng(0)
    for name in ("reference", "old", "new", "bad"):
        extents = np.exp(0.3 * rng.normal(size=(40, 1, 3))) + 3 * (name == "bad") * np.array([0, 0, 1])
        np.savez(folder / f"{name}.npz", points=(extents * rng.normal(size=(40, 32, 3))).astype(np.float32))
    return folder


class Runner:
    """Runs shell steps in one folder, with the files and variables that a step finds on a runner."""

    def __init__(self, action, folder, programs):
        self.action, self.folder = action, folder
        self.output, self.summary = folder / "output", folder / "summary"
        self.files = {"GITHUB_OUTPUT": self.output, "GITHUB_STEP_SUMMARY": self.summary, "RUNNER_TEMP": folder}
        self.path = f"{programs}{os.pathsep}{os.environ['PATH']}"

    def run(self, name, *, context=None, **inputs):
        step = steps_named(self.action)[name]
        known = {key: value.get("default", "") for key, value in self.action["inputs"].items()}
        assert inputs.keys() <= {key.replace("-", "_") for key in known}
        known |= {key.replace("_", "-"): str(value) for key, value in inputs.items()}
        values = {f"inputs.{key}": value for key, value in known.items()} | (context or {})
        environment = {
            key: EXPRESSION.sub(lambda match: values[match[1]], value) for key, value in step.get("env", {}).items()
        }
        files = {key: str(path) for key, path in self.files.items()}
        fixed = {"PATH": self.path, "GITHUB_REPOSITORY": "us/shapes", "OMP_NUM_THREADS": "1"}
        script = self.folder / "step.sh"
        script.write_text(step["run"], encoding="utf-8")
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
        surroundings = os.environ | fixed | files | environment
        return subprocess.run(command, cwd=self.folder, env=surroundings, capture_output=True, text=True, timeout=300)


@pytest.fixture
def runner(action, tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "hdbench").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hdbench "$@"\n')
    (programs / "python").write_text('#!/bin/sh\nprintf "%s\\n" "$@" >> python-was-asked\n')
    # `gh` keeps what it is asked in one file, and answers with what stands in another.
    (programs / "gh").write_text(
        '#!/bin/sh\nprintf "%s\\n" "$@" >> gh-was-asked\n[ ! -f gh-answers ] || cat gh-answers\n'
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    return Runner(action, tmp_path, programs)


def test_no_input_is_written_into_a_script(action):
    """An expression inside a script would be pasted by the runner before the shell reads it."""
    shells = [step for step in action["runs"]["steps"] if "run" in step]
    assert len(shells) == 4
    for step in shells:
        assert not EXPRESSION.search(step["run"]), step["name"]
        assert step["shell"] == "bash"
        used = set(re.findall(r"\$\{?([A-Z_]{2,})", step["run"]))
        given = {"GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_REPOSITORY", "RUNNER_TEMP", "RANDOM"}
        assert used <= step["env"].keys() | given, step["name"]


def test_every_input_is_described_and_used(action):
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    for name, entry in action["inputs"].items():
        assert entry["description"], name
        assert f"inputs.{name} " in text or f"inputs.{name}\n" in text, name
    assert set(re.findall(r"inputs\.([a-z-]+)", text)) == set(action["inputs"])
    assert steps_named(action)["Judge"]["id"] == "gate"


def test_another_draw_of_one_model_is_unsure_and_a_bad_one_fails(runner, shapes):
    reference = shapes / "reference.npz"
    for name in ("old", "bad"):
        scores = evaluate(shapes / f"{name}.npz", reference, protocol="lion", metrics=["cd"], workers=1)
        scores.write(runner.folder / f"{name}.json")
    options = {"samples": shapes / "new.npz", "reference": reference, "protocol": "lion", "metrics": "cd"}
    done = runner.run("Score", scores="new.json", **options)
    assert done.returncode == 0, done.stderr
    strict = runner.run("Judge", scores="new.json", against="old.json", strict="true")
    assert strict.returncode == 3, strict.stderr  # nothing regressed, and 40 samples show little
    assert "exit-code=3" in runner.output.read_text()
    assert "### hdbench gate" in runner.summary.read_text()
    assert ElementTree.parse(runner.folder / "hdbench-gate.xml").getroot().get("failures") == "0"

    failed = runner.run("Judge", new="bad.json", against="old.json", junit="j.xml", markdown="m.md")
    assert failed.returncode == 1
    assert "exit-code=1" in runner.output.read_text()
    assert "regressed" in (runner.folder / "m.md").read_text()
    assert int(ElementTree.parse(runner.folder / "j.xml").getroot().get("failures")) > 0

    floors = "nna_cd=0.9\ncov_cd=0.9\n\nmmd_cd=99\n"
    forgiven = runner.run("Judge", new="bad.json", against="old.json", floor=floors)
    assert forgiven.returncode == 0, forgiven.stdout


def test_wrong_input_fails_with_its_line_and_leaves_no_verdict_behind(runner):
    (runner.folder / "hdbench-gate.md").write_text("of an earlier run")
    done = runner.run("Judge", new="nowhere.json", against="old.json")
    assert done.returncode == 2
    assert "nowhere.json cannot be read" in done.stderr
    assert "exit-code=2" in runner.output.read_text()
    assert not (runner.folder / "hdbench-gate.md").exists()
    assert not runner.summary.exists()


HOSTILE = ['"; touch pwned; echo "', "$(touch pwned)", "`touch pwned`", "--help", "a\n::error::b"]


@pytest.mark.parametrize("text", HOSTILE)
def test_inputs_are_data(runner, text):
    assert runner.run("Judge", new=text, against=text, junit="j.xml").returncode == 2
    assert runner.run("Score", samples=text, reference=text, scores="s.json").returncode == 2
    runner.run("Install hdbench", package=text, context={"github.action_path": "here"})
    assert not (runner.folder / "pwned").exists()
    assert (runner.folder / "python-was-asked").read_text().endswith(f"--\n{text}\n")


def test_what_is_printed_gives_the_runner_no_commands(runner):
    """Between the two marks the runner listens to nothing; they are there also when the gate fails."""
    done = runner.run("Judge", new="nowhere.json", against="old.json")
    first, *_, last = done.stdout.splitlines()
    token = first.removeprefix("::stop-commands::")
    assert len(token) > 10
    assert last == f"::{token}::"


def test_what_is_installed(runner):
    def asked(package):
        done = runner.run("Install hdbench", package=package, context={"github.action_path": "/action"})
        assert done.returncode == 0, done.stderr
        return (runner.folder / "python-was-asked").read_text().splitlines()[-1]

    assert asked("") == "/action"
    assert asked("hdbench==0.1.0") == "hdbench==0.1.0"


def test_one_comment_is_kept_on_a_pull_request(runner):
    context = {"github.event.pull_request.number": "7"}
    arguments = {"github_token": "secret", "artifact": 'any "name"'}
    assert runner.run("Comment", context=context, **arguments).returncode == 0
    assert not (runner.folder / "gh-was-asked").exists()  # the gate left nothing to say

    (runner.folder / "hdbench-gate.md").write_text("### hdbench gate: fine\n" + "x" * 70_000)
    first = runner.run("Comment", context=context, **arguments)
    assert first.returncode == 0, first.stderr
    asked = (runner.folder / "gh-was-asked").read_text()
    assert "--method\nPOST\nrepos/us/shapes/issues/7/comments\n" in asked
    body = (runner.folder / "hdbench-comment.md").read_text()
    assert re.match(r"<!-- hdbench gate [0-9a-f]{12} -->\n### hdbench gate: fine\n", body)
    assert len(body) < 65_536

    (runner.folder / "gh-answers").write_text("12\n34\n")
    assert runner.run("Comment", context=context, **arguments).returncode == 0
    assert "--method\nPATCH\nrepos/us/shapes/issues/comments/12\n" in (runner.folder / "gh-was-asked").read_text()


def workflows():
    """Every workflow that uses the action: the repository's own, and those shown in docs/gate.md."""
    ours = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / ".github" / "workflows").glob("*.yml")}
    shown = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "gate.md").read_text(encoding="utf-8"), re.DOTALL)
    texts = ours | {f"docs-{index}": text for index, text in enumerate(shown)}
    return [pytest.param(text, id=name) for name, text in texts.items()]


@pytest.mark.parametrize("text", workflows())
def test_workflows_use_the_action_as_it_is(action, text):
    workflow = yaml.safe_load(text)
    assert workflow[True]  # YAML 1.1 reads `on` as true
    assert "permissions" in workflow
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    gates = [step for step in steps if re.fullmatch(r"\./|OWNER/hdbench@.+", step.get("uses", ""))]
    assert gates
    for step in gates:
        assert step["with"].keys() <= action["inputs"].keys()
    for step in steps:
        assert "github.event" not in step.get("run", "")
