# SPDX-License-Identifier: Apache-2.0
"""Motion field to displacement: where each pixel's content is after some frames."""

import math

from loopcore.errors import MotionError
from loopcore.transport.dispatch import Array, dispatch, is_tensor, require_shape


def integrate(velocity: Array, steps: float, *, backend: str | None = None) -> Array:
    """Integrate a velocity field that does not change in time into displacements.

    The kernels trace each path with Bogacki & Shampine's embedded Runge-Kutta 3(2) pair ("A 3(2) pair of
    Runge-Kutta formulas", Appl. Math. Lett. 2, 1989), with steps whose error estimate is at most 0.003 px; the
    reference takes fixed steps of the classic fourth-order method, and alone has gradients. Velocities are
    interpolated bilinearly, and continue beyond the frame with the border's value.

    Args:
        velocity: (H, W, 2) numpy array or torch tensor, pixels per frame.
        steps: frames, fractions allowed; negative integrates minus the velocity.
        backend: "reference", "cpu" or "triton"; by default "triton" for CUDA tensors where triton is installed,
            "reference" for other devices and where a gradient is needed, else "cpu".

    Returns:
        (H, W, 2) displacements in pixels, the same kind of array; 0 steps give zeros.

    Raises:
        MotionError: the velocity or the number of steps is not finite.
        PlateError: the velocity has a wrong shape.
        EngineError: the backend is unknown or not available.

    Convention:
        Content at p is at p + result[p] after `steps` frames. (x, y), x right, y down, pixel centres at integers.
    """
    kind = dispatch(backend, velocity, gradient=False)
    require_shape("velocity", velocity, (None, None, 2))
    if not math.isfinite(steps):
        raise MotionError(f"cannot integrate over {steps} frames: give a finite number")
    field = kind.given(velocity)
    if not _all_finite(field):
        raise MotionError("the velocity holds NaN or Inf: repair it, or set such pixels to 0")
    return kind.returned(kind.kernels().integrate(field, float(steps)))


def _all_finite(field: Array) -> bool:
    if is_tensor(field):
        return bool(field.isfinite().all())
    from loopcore.transport import cpu

    return bool(cpu.all_finite(field))
