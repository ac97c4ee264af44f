# SPDX-License-Identifier: Apache-2.0
"""Backward warping: every target pixel samples the source at its displacement."""

from loopcore.transport.dispatch import Array, dispatch, require_shape


def warp(values: Array, displacement: Array, *, backend: str | None = None) -> Array:
    """Sample `values` at each pixel plus its displacement, with one bicubic resampling.

    The filter is Keys' cubic convolution with a = -1/2 (IEEE Trans. ASSP 29, 1981, eq. 15). Each result is clamped to
    the range of its 4 x 4 pixels, which prevents halos; NaN and Inf among them propagate. The reference and the Triton
    kernel are differentiable in both arguments.

    Args:
        values: (H, W, C), any C; numpy array or torch tensor.
        displacement: (H, W, 2) in pixels.
        backend: "reference", "cpu" or "triton"; by default "triton" for CUDA tensors where triton is installed,
            "reference" for other devices and where a gradient is needed, else "cpu".

    Returns:
        (H, W, C), the same kind of array.

    Raises:
        PlateError: an array has a wrong shape.
        EngineError: the backend is unknown or not available, or arrays of different kinds or devices.

    Convention:
        result[p] = values at p + displacement[p]. (x, y), x right, y down, pixel centres at integers. Beyond the frame
        the picture is mirrored about its border pixels.
    """
    kind = dispatch(backend, values, displacement)
    require_shape("values", values, (None, None, None))
    require_shape("displacement", displacement, (*values.shape[:2], 2))
    return kind.returned(kind.kernels().warp(kind.given(values), kind.given(displacement)))
