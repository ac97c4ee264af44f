# SPDX-License-Identifier: Apache-2.0
"""Forward warping: every source pixel adds its value where it lands."""

from loopcore.errors import PlateError
from loopcore.transport.dispatch import Array, dispatch, require_shape

# Adds floats atomically, in no fixed order: the last bits differ from run to run.
ATOMIC = "triton-atomic"


def splat(
    values: Array, displacement: Array, weight: Array | None = None, *, backend: str | None = None
) -> tuple[Array, Array]:
    """Add `values` up where `displacement` moves them, weighted, and the weights to divide by.

    Each sample is shared bilinearly among the four pixels around its target. A pixel that the field stretches to more
    than 1.5 is deposited in several pieces, at most 8 a side, interpolated from its neighbours and sharing its weight,
    so that stretching leaves no pinholes. Beyond 8 the field is considered torn, and the hole stays. What lands
    outside the frame is lost.

    The reference and the Triton kernels are differentiable in values, displacement and weight. All backends but
    "triton-atomic" give the same bits on every run.

    Args:
        values: (H, W, C), any C; numpy array or torch tensor.
        displacement: (H, W, 2) in pixels.
        weight: (H, W), importance of each source pixel (e^Z of softmax splatting), finite and at least 0; default 1.
        backend: "reference", "cpu", "triton" or "triton-atomic"; by default "triton" for CUDA tensors where triton is
            installed, "reference" for other devices and where a gradient is needed, else "cpu".

    Returns:
        Sums (H, W, C) and weights (H, W), the same kind of array. The picture is sums / weights; pixels of weight 0
        are holes.

    Raises:
        PlateError: an array has a wrong shape, or a weight is negative, NaN or infinite.
        EngineError: the backend is unknown or not available, or arrays of different kinds or devices.

    Convention:
        Content at p lands at p + displacement[p]. (x, y), x right, y down, pixel centres at integers.
    """
    kind = dispatch(backend, values, displacement, weight, extra=(ATOMIC,))
    require_shape("values", values, (None, None, None))
    require_shape("displacement", displacement, (*values.shape[:2], 2))
    if weight is not None:
        require_shape("weight", weight, tuple(values.shape[:2]))
        _require_weights(weight)
    options = {"atomic": True} if kind.backend == ATOMIC else {}
    given = [kind.given(x) for x in (values, displacement, weight)]
    sums, weights = kind.kernels().splat(*given, **options)
    return kind.returned(sums), kind.returned(weights)


def _require_weights(weight: Array) -> None:
    """Raise PlateError unless all weights are finite and at least 0, naming the first that is not."""
    good = (weight >= 0) & (weight < float("inf"))  # NaN is neither
    if bool(good.all()):
        return
    y, x = divmod(int((~good).reshape(-1).tolist().index(True)), weight.shape[1])
    raise PlateError(f"weight is {float(weight[y, x])} at x={x}, y={y}: weights must be finite and at least 0")
