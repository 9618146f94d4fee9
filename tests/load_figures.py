"""What large work takes: time and peak memory of each command, run in a process of its own.

    python tests/load_figures.py                      # all, which takes a while and 3 GB of disk
    python tests/load_figures.py clouds mesh          # some of them
    python tests/load_figures.py --share 0.01         # a hundredth of each size, to see that it works

prints the tables of docs/reliability.md. Ends with exit code 1 where a figure is beyond its limit.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.append(str(Path(__file__).parent / "leaderboard"))

Float32 = npt.NDArray[np.float32]

GIB = 1 << 30
POINTS = 2048
CLOUDS = (500, 1_000, 2_000)
CLOUDS_LIMIT = 4 * GIB
ENTRIES = (100, 300, 1_000)
FOLDER = (5_000, 20_000, 50_000)
SMALL_REFERENCE = 405
FACES = (1_000_000, 3_000_000, 10_000_000)
FLAT = 1.5
"""A cost per item is called flat when it grows by no more than this from the smallest size to the largest."""


@dataclass(frozen=True)
class Usage:
    """What a process and those it waited for took."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    """Resident, of the largest of them."""


LAUNCHER = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(code, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)
"""
"""Starts a command from a small process: Linux counts what a process had before it became another into its peak."""


def measured(command: Sequence[str]) -> Usage:
    """Run `command`, which must succeed."""
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", LAUNCHER, *command], capture_output=True, text=True)
    code, cpu_s, peak_bytes = map(float, done.stdout.split())
    if code:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")
    return Usage(time.monotonic() - start, cpu_s, int(peak_bytes))


def hdbench(*arguments: object) -> list[str]:
    """The command line of `hdbench` with these arguments."""
    return [sys.executable, "-m", "hdbench", *map(str, arguments)]


@dataclass(frozen=True)
class Row:
    """One size of one kind of work."""

    size: int
    items: int
    """What its cost is shared by."""
    usage: Usage
    start: Usage
    """What the same command takes on next to nothing: importing, compiled kernels."""

    @property
    def cpu_ms_per_item(self) -> float:
        """CPU time beyond starting, in milliseconds."""
        return 1000 * (self.usage.cpu_s - self.start.cpu_s) / self.items

    @property
    def kib_per_item(self) -> float:
        """Peak memory beyond starting."""
        return (self.usage.peak_bytes - self.start.peak_bytes) / 1024 / self.items


def table(rows: Sequence[Row], size: str, item: str, scale: int = 1, scaled: str = "") -> Iterator[str]:
    """The rows as Markdown; costs are per `scale` items."""
    per = scaled or item
    yield f"| {size} | wall | CPU | peak memory | CPU per {per} | memory per {per} |"
    yield "| ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in rows:
        used = row.usage
        yield (
            f"| {row.size:,} | {used.wall_s:,.0f} s | {used.cpu_s:,.0f} s | {used.peak_bytes / GIB:.2f} GiB "
            f"| {row.cpu_ms_per_item * scale:,.3g} ms | {row.kib_per_item * scale:,.3g} KiB |"
        )


def is_flat(rows: Sequence[Row]) -> bool:
    """Whether an item of the largest size costs hardly more than one of the smallest."""
    small, large = rows[0], rows[-1]
    return large.cpu_ms_per_item <= FLAT * small.cpu_ms_per_item and large.kib_per_item <= FLAT * small.kib_per_item


def airplanes(count: int, *, seed: int) -> Float32:
    """Procedural airplanes as clouds, with a little noise."""
    from hdbench.datasets.procedural.dataset import Procedural
    from hdbench.geometry.sampling import shape_points

    rng = np.random.default_rng(seed)
    shapes = Procedural("airplane").fresh(count, seed=seed)
    points = np.stack([shape_points(shape, POINTS, seed=0, name=name) for name, shape in shapes])
    return points + rng.normal(0, 0.002, points.shape).astype(np.float32)


def clouds(folder: Path, share: float) -> Iterator[str]:
    """As many samples as references, Chamfer metrics with intervals, and JSD."""
    sizes = _scaled(CLOUDS, share)
    sets = {role: airplanes(max(sizes), seed=seed) for seed, role in enumerate(("samples", "reference"))}
    rows, start = [], None
    for size in (4, *sizes):
        paths = []
        for role, points in sets.items():
            paths.append(folder / f"{role}.npy")
            np.save(paths[-1], points[:size])
        command = hdbench("evaluate", paths[0], "--reference", paths[1], "--metrics", "cd,jsd", "--quiet")
        used = measured([*command, "--json", str(folder / "scores.json")])
        if start is None:
            measured(command)  # kernels are compiled by now
            start = measured(command)
        else:
            rows.append(Row(size, size * size, used, start))
    yield from table(rows, "samples, and as many references", "pair")
    if rows[-1].usage.peak_bytes > CLOUDS_LIMIT or not is_flat(rows):
        yield "BEYOND ITS LIMIT"


def board(folder: Path, share: float) -> Iterator[str]:
    """Leaderboards of toy entries, their sites built from nothing."""
    from board_examples import add_entry, new_board

    rows, start = [], None
    for size in (1, *_scaled(ENTRIES, share)):
        here = new_board(folder / f"board-{size}")
        for seed in range(size):
            add_entry(here, seed, shift=seed % 7 / 10, kind="control" if seed < 3 else "model")
        used = measured(hdbench("leaderboard", "build", here, folder / f"site-{size}"))
        if start is None:
            start = used
        else:
            rows.append(Row(size, size, used, start))
    yield from table(rows, "entries", "entry")


def folder_of_shapes(folder: Path, share: float) -> Iterator[str]:
    """A folder of clouds against itself (JSD, which is linear), and against a small reference (Chamfer)."""
    sizes = _scaled(FOLDER, share)
    rng = np.random.default_rng(0)
    for index in range(max(sizes)):
        cloud = rng.normal(size=(POINTS, 3)).astype(np.float32)
        cloud *= np.exp(0.3 * rng.normal(size=3)).astype(np.float32) / np.linalg.norm(cloud, axis=1, keepdims=True)
        for size in (4, *sizes):
            place = folder / f"shapes-{size}" / f"{index:05d}.npy"
            place.parent.mkdir(exist_ok=True)
            if index < size and size != max(sizes):
                place.symlink_to(folder / f"shapes-{max(sizes)}" / place.name)
        np.save(folder / f"shapes-{max(sizes)}" / f"{index:05d}.npy", cloud)
    reference = folder / "reference"
    reference.mkdir()
    for path in sorted((folder / f"shapes-{max(sizes)}").iterdir())[: min(SMALL_REFERENCE, *sizes)]:
        (reference / path.name).symlink_to(path)
    for title, other, metrics in (
        ("JSD, against as many", None, "jsd"),
        (f"Chamfer, against {min(SMALL_REFERENCE, *sizes)}", reference, "cd"),
    ):
        rows, start = [], None
        for size in (4, *sizes):
            shapes = folder / f"shapes-{size}"
            command = hdbench("evaluate", shapes, "--reference", other or shapes, "--metrics", metrics)
            used = measured([*command, "--quiet", "--json", str(folder / "scores.json")])
            if start is None:
                start = measured([*command, "--quiet", "--json", str(folder / "scores.json")])
            else:
                rows.append(Row(size, size, used, start))
        yield from (f"{title}:", "", *table(rows, "shapes in the folder", "shape"), "")


def mesh(folder: Path, share: float) -> Iterator[str]:
    """One mesh, read, sampled and compared with itself."""
    rows, start = [], None
    for size in (2_000, *_scaled(FACES, share)):
        path = folder / "torus.ply"
        faces = write_torus(path, size)
        command = hdbench("evaluate", path, "--reference", path, "--metrics", "cd", "--quiet")
        command += ["--json", str(folder / "scores.json")]
        used = measured(command)
        if start is None:
            start = measured(command)
        else:
            rows.append(Row(faces, 2 * faces, used, start))
    yield from table(rows, "faces, read twice", "face", 1_000_000, "million faces")
    if not is_flat(rows):
        yield "BEYOND ITS LIMIT"


def write_torus(path: Path, faces: int) -> int:
    """Write a torus of about so many faces as binary PLY; returns how many."""
    across = max(3, round((faces / 2 / 1.25) ** 0.5))
    along = max(3, round(faces / 2 / across))
    u, v = np.meshgrid(np.arange(along), np.arange(across), indexing="ij")
    a, b = u.ravel() * (2 * np.pi / along), v.ravel() * (2 * np.pi / across)
    ring = 1 + 0.3 * np.cos(b)
    vertices = np.stack([ring * np.cos(a), 0.3 * np.sin(b), ring * np.sin(a)], axis=1).astype("<f4")
    here, right, up, both = (
        ((u + i) % along * across + (v + j) % across).ravel() for i, j in ((0, 0), (1, 0), (0, 1), (1, 1))
    )
    corners = np.concatenate([np.stack([here, up, right], axis=1), np.stack([right, up, both], axis=1)])
    packed = np.empty(len(corners), [("count", "u1"), ("corners", "<i4", 3)])
    packed["count"], packed["corners"] = 3, corners
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(vertices)}\nproperty float x\nproperty float y\n"
        f"property float z\nelement face {len(corners)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    with path.open("wb") as stream:
        stream.write(header.encode())
        stream.write(vertices.tobytes())
        stream.write(packed.tobytes())
    return len(corners)


WORK: dict[str, Callable[[Path, float], Iterator[str]]] = {
    "clouds": clouds,
    "board": board,
    "folder": folder_of_shapes,
    "mesh": mesh,
}


def _scaled(sizes: Sequence[int], share: float) -> list[int]:
    return [max(8, round(size * share)) for size in sizes]


def main() -> int:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("work", nargs="*", choices=[*WORK, []], help="which; all if not given")
    parser.add_argument("--share", type=float, default=1.0, help="of each size")
    options = parser.parse_args()
    lines = []
    for name in options.work or WORK:
        with tempfile.TemporaryDirectory() as folder:
            print(f"\n{name}: {WORK[name].__doc__}\n", flush=True)
            for line in WORK[name](Path(folder), options.share):
                print(line, flush=True)
                lines.append(line)
    return int("BEYOND ITS LIMIT" in lines)


if __name__ == "__main__":
    sys.exit(main())
