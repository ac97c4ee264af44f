# SPDX-License-Identifier: Apache-2.0
"""Reading and writing pixels as they are stored, halves as their bits (uint16) or float32, inside of kernels."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from loopcore.transport.simd import _F, HALF_MAX, _pointer

_HALF, _BITS = ir.HalfType(), ir.IntType(16)


def flat_bits(values: np.ndarray) -> np.ndarray:
    """An array without its shape, in the type that kernels take: halves as their bits."""
    return values.reshape(-1).view(np.uint16) if values.dtype == np.float16 else values.reshape(-1)


def load_vector(context, builder, array_type, array, index, lanes):
    """So many values of a flat array, float32 or the bits of halves, as a vector of float32."""
    stored = _BITS if array_type.dtype == types.uint16 else _F
    vector = ir.VectorType(stored, lanes)
    value = builder.load(
        _pointer(context, builder, array_type, array, index, vector), align=2 if stored is _BITS else 4
    )
    if stored is _F:
        return value
    return builder.fpext(builder.bitcast(value, ir.VectorType(_HALF, lanes)), ir.VectorType(_F, lanes))


@intrinsic
def value_at(typingctx, values, index):
    """values[index] as float32; `values` is flat float32, or uint16 the bits of halves."""
    signature = types.float32(values, types.intp)

    def codegen(context, builder, sig, args):
        pointer = _pointer(context, builder, sig.args[0], *args, _BITS if sig.args[0].dtype == types.uint16 else _F)
        value = builder.load(pointer)
        return value if value.type == _F else builder.fpext(builder.bitcast(value, _HALF), _F)

    return signature, codegen


@intrinsic
def store_at(typingctx, out, index, value):
    """out[index] = a float32 as `exr.as_stored` stores it; `out` is flat float32, or uint16 the bits of halves."""
    signature = types.void(out, types.intp, types.float32)

    def codegen(context, builder, sig, args):
        out, index, value = args
        if sig.args[0].dtype == types.uint16:
            clamped = value
            # NaN, which compares as neither, passes; and so does Inf.
            for comparison, end, inf in ((">", HALF_MAX, "inf"), ("<", -HALF_MAX, "-inf")):
                over = builder.fcmp_ordered(comparison, value, ir.Constant(_F, end))
                finite = builder.fcmp_ordered("!=", value, ir.Constant(_F, float(inf)))
                clamped = builder.select(builder.and_(over, finite), ir.Constant(_F, end), clamped)
            value = builder.bitcast(builder.fptrunc(clamped, _HALF), _BITS)
        builder.store(value, _pointer(context, builder, sig.args[0], out, index, value.type))
        return context.get_dummy_value()

    return signature, codegen
