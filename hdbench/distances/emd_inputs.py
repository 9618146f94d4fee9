"""What every earth mover's distance asks of its input: as many points on one side as on the other."""

import numpy as np
import numpy.typing as npt

from hdbench.distances.chamfer import frames_as_clouds
from hdbench.errors import HdbenchError

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]


def paired_frames(a: Float32, b: Float32) -> tuple[Float32, Float32, int]:
    """Sets of clouds (N, P, 3) or sequences (N, T, P, 3) as clouds (N T, P, 3) and (M T, P, 3), and T.

    Raises HdbenchError for unequal point or frame counts, empty clouds and coordinates that are not finite.
    """
    first, frames = frames_as_clouds(a)
    second, other_frames = frames_as_clouds(b)
    if frames != other_frames:
        raise HdbenchError(f"Sequences of {frames} and {other_frames} frames cannot be compared frame by frame.")
    if first.shape[1] != second.shape[1]:
        raise HdbenchError(
            f"EMD matches points one to one and needs equally many: got clouds of {first.shape[1]} and "
            f"{second.shape[1]} points; sample both with the same count."
        )
    return first, second, frames
