"""Publishing a board: its site into a folder, or with all entries into a dataset repository on a model hub."""

import re
import tempfile
from pathlib import Path

from hdbench.errors import HdbenchError
from hdbench.leaderboard.entry import BOARD_FILE, ENTRIES, open_entries, open_settings
from hdbench.leaderboard.lint import Finding
from hdbench.leaderboard.site import build
from hdbench.progress import Progress
from hdbench.store import copy_tree
from hdbench.transfer import is_offline
from hdbench.zoo.uploads import writing_to_hub

HUB = "hf://datasets/"
_REPOSITORY = re.compile(r"hf://datasets/([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)/?")

_CARD = """---
pretty_name: {title}
tags: [leaderboard, 3d, hdbench]
---

# {title}

{count} sets of samples with their scores, made by hdbench. `index.html` is the site, `leaderboard.csv` has every
value, `entries/` the samples that they were computed from: `hdbench leaderboard lint FOLDER` checks them, and
`hdbench leaderboard build FOLDER SITE` makes the site again.
"""


def publish(board: Path, target: str, *, progress: Progress) -> list[Finding]:
    """Build the site of a board and publish it to `target`: a folder, or `hf://datasets/OWNER/NAME`.

    On the hub the entries go with the site, so that anyone can check or extend the board. Returns the findings; where
    one is an error, nothing is published. Raises HdbenchError when `target` cannot be written.
    """
    if not target.startswith("hf://"):
        if "://" in target:
            raise HdbenchError(f"{target} is nothing that can be published to; give a folder, or {HUB}OWNER/NAME.")
        return build(board, Path(target), progress=progress)
    if is_offline():
        raise HdbenchError(f"{target}: nothing is published offline; unset HDBENCH_OFFLINE and HF_HUB_OFFLINE.")
    match = _REPOSITORY.fullmatch(target)
    if match is None:
        raise HdbenchError(f"{target} names no dataset repository; write {HUB}OWNER/NAME.")
    with tempfile.TemporaryDirectory(prefix="hdbench-publish-") as folder:
        findings = build(board, Path(folder) / "site", progress=progress)
        if not any(finding.level == "error" for finding in findings):
            _complete(board, Path(folder) / "site")
            _upload(Path(folder) / "site", match[1])
    return findings


def _complete(board: Path, site: Path) -> None:
    """Put the entries beside the site, and a card that says what it all is."""
    title = " ".join(re.sub(r"[^\w .,()-]", " ", open_settings(board).title).split()) or "Leaderboard"
    (site / "README.md").write_text(_CARD.format(title=title, count=len(open_entries(board))), encoding="utf-8")
    (site / BOARD_FILE).write_bytes((board / BOARD_FILE).read_bytes())
    copy_tree(board / ENTRIES, site / ENTRIES)


def _upload(folder: Path, repository: str) -> None:
    """Make the newest commit of a dataset repository, which is made if need be, this folder."""
    stale = [f"{below}/*" for below in ("models", "pictures", ENTRIES)]
    with writing_to_hub(f"{HUB}{repository}", form=f"{HUB}OWNER/NAME") as hub:
        hub.create_repo(repository, repo_type="dataset", exist_ok=True)
        hub.upload_folder(
            repo_id=repository,
            repo_type="dataset",
            folder_path=folder,
            commit_message="Publish the leaderboard",
            delete_patterns=stale,
        )
