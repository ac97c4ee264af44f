# SPDX-License-Identifier: Apache-2.0
"""Backward warping: every target pixel fetches the value from where it came."""

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


def warp(values: Array, displacement: Array, *, backend: str | None = None) -> Array:
    """Fetch `values` at each pixel plus its displacement, with one bicubic resampling.

    Args:
        values: (H, W, C), any C; numpy array or torch tensor.
        displacement: (H, W, 2) in pixels.
        backend: "reference", "cpu" or "triton"; default: chosen by the kind of array.

    Returns:
        (H, W, C) of the same kind of array.

    The filter is Keys' cubic convolution with a = -1/2 (IEEE Trans. ASSP 29, 1981, eq. 15), and every
    result is kept within the range of the 4 x 4 pixels it is made of, so that no halo appears.

    Convention: out[p] = values at p + displacement[p]; (x, y), x right, y down, pixel centres
    at integers. Beyond the frame the picture is mirrored about its border pixels.

    CUDA tensors run the Triton kernel where triton is installed; it and the reference have gradients by both.

    NaN and Inf reach the pixels whose 4 x 4 footprint holds them.

    Raises:
        PlateError: a wrong shape.
        EngineError: an unknown backend.
    """
    kind = dispatch(backend, values, displacement)
    require_shape("values", values, (None, None, None))
    require_shape("displacement", displacement, (values.shape[0], values.shape[1], 2))
    if kind.backend == "reference":
        from loopcore.transport import reference

        return from_tensor(reference.warp(to_tensor(values), to_tensor(displacement)), kind)
    if kind.backend == "triton":
        from loopcore.transport import gpu

        return from_gpu(gpu.warp(to_gpu(values), to_gpu(displacement)), kind)
    from loopcore.transport import cpu

    return from_numpy(cpu.warp(to_numpy(values), to_numpy(displacement)), kind)
