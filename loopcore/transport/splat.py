# SPDX-License-Identifier: Apache-2.0
"""Forward warping: every source pixel deposits its value where it lands."""

from loopcore.errors import PlateError
from loopcore.transport.dispatch import (
    Array,
    dispatch,
    from_gpu,
    from_numpy,
    from_tensor,
    require_shape,
    to_gpu,
    to_numpy,
    to_tensor,
)

# The kernel that adds floats atomically, in whatever order they come: its last bits differ from run to run.
ATOMIC = "triton-atomic"


def splat(
    values: Array, displacement: Array, weight: Array | None = None, *, backend: str | None = None
) -> tuple[Array, Array]:
    """Deposit `values` where `displacement` carries them: weighted sums, and the weights to divide by.

    Args:
        values: (H, W, C), any C; numpy array or torch tensor.
        displacement: (H, W, 2) in pixels.
        weight: (H, W), importance of each source pixel (e^Z of softmax splatting), finite and at least 0; default 1.
        backend: "reference", "cpu", "triton" or "triton-atomic"; default: chosen by the kind of array.

    Returns:
        Sums (H, W, C) and weights (H, W) of the same kind of array; the picture is sums / weights where weights > 0,
        and the rest are holes.

    Each sample is shared bilinearly among the four pixels around where it lands. Where the field stretches a pixel
    beyond 1.5, the pixel is deposited in as many pieces, at most 8 a side, interpolated from its neighbours, so that a
    stretched field has no pinholes; the pieces share the pixel's weight, so that the total is kept. Beyond 8 the
    field is torn, and what opens is a hole. What lands outside the frame is lost.

    CUDA tensors run the Triton kernels where triton is installed; they and the reference have gradients by values,
    displacement and weight. All backends give the same bits on every run but "triton-atomic", which adds up on the GPU
    in whatever order deposits come.

    Convention: content at p lands at p + displacement[p]; (x, y), x right, y down, pixel centres at integers.

    Raises:
        PlateError: a wrong shape, or a weight that is negative, NaN or infinite.
        EngineError: an unknown backend.
    """
    kind = dispatch(backend, values, displacement, weight, extra=(ATOMIC,))
    require_shape("values", values, (None, None, None))
    require_shape("displacement", displacement, (values.shape[0], values.shape[1], 2))
    if weight is not None:
        require_shape("weight", weight, (values.shape[0], values.shape[1]))
        _require_weights(weight)
    if kind.backend == "reference":
        from loopcore.transport import reference

        given = None if weight is None else to_tensor(weight)
        sums, weights = reference.splat(to_tensor(values), to_tensor(displacement), given)
        return from_tensor(sums, kind), from_tensor(weights, kind)
    if kind.backend in ("triton", ATOMIC):
        from loopcore.transport import gpu

        given = None if weight is None else to_gpu(weight)
        sums, weights = gpu.splat(to_gpu(values), to_gpu(displacement), given, atomic=kind.backend == ATOMIC)
        return from_gpu(sums, kind), from_gpu(weights, kind)
    from loopcore.transport import cpu

    given = None if weight is None else to_numpy(weight)
    sums, weights = cpu.splat(to_numpy(values), to_numpy(displacement), given)
    return from_numpy(sums, kind), from_numpy(weights, kind)


def _require_weights(weight: Array) -> None:
    """Raise PlateError unless all weights are finite and at least 0, naming the first that is not."""
    good = (weight >= 0) & (weight < float("inf"))  # NaN is neither
    if bool(good.all()):
        return
    y, x = divmod(int((~good).reshape(-1).tolist().index(True)), weight.shape[1])
    raise PlateError(f"weight is {float(weight[y, x])} at x={x}, y={y}: weights have to be finite and at least 0")
