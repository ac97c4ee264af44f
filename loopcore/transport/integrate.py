# SPDX-License-Identifier: Apache-2.0
"""Motion field to displacement: where each pixel's content is after some frames."""

import math

from loopcore.errors import MotionError
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

_NOT_FINITE = "the velocity holds NaN or Inf: repair it, or set such pixels to 0"


def integrate(velocity: Array, steps: float, *, backend: str | None = None) -> Array:
    """Displacement of every pixel after `steps` frames of a velocity field that does not change in time.

    Args:
        velocity: (H, W, 2) numpy array or torch tensor, pixels per frame.
        steps: frames, fractions allowed; negative traces backward, along minus the velocity.
        backend: "reference", "cpu" or "triton"; default: chosen by the kind of array.

    Returns:
        (H, W, 2) of the same kind of array, in pixels; 0 steps give zeros.

    Convention: (x, y), x right, y down, pixel centres at integers; content at p is found at
    p + result[p] after `steps` frames. Between pixels the velocity is interpolated bilinearly, beyond the frame the
    border's velocity goes on.

    The kernels trace each path with Bogacki & Shampine's embedded Runge-Kutta 3(2) pair ("A 3(2) pair of
    Runge-Kutta formulas", Appl. Math. Lett. 2, 1989), whose step adapts to 0.003 px of error a step. CUDA tensors run
    the Triton one where triton is installed. Gradients come from the reference alone.

    Raises:
        MotionError: vectors that are not finite.
        PlateError: a wrong shape.
        EngineError: an unknown backend.
    """
    kind = dispatch(backend, velocity, gradient=False)
    require_shape("velocity", velocity, (None, None, 2))
    if not math.isfinite(steps):
        raise MotionError(f"cannot integrate over {steps} frames: give a finite number")
    if kind.backend == "reference":
        from loopcore.transport import reference

        tensor = to_tensor(velocity)
        if not tensor.isfinite().all():
            raise MotionError(_NOT_FINITE)
        return from_tensor(reference.integrate(tensor, float(steps)), kind)
    if kind.backend == "triton":
        from loopcore.transport import gpu

        tensor = to_gpu(velocity)
        if not tensor.isfinite().all():
            raise MotionError(_NOT_FINITE)
        return from_gpu(gpu.integrate(tensor, float(steps)), kind)
    from loopcore.transport import cpu

    field = to_numpy(velocity)
    if not cpu.all_finite(field):
        raise MotionError(_NOT_FINITE)
    return from_numpy(cpu.integrate(field, float(steps)), kind)
