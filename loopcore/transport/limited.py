# SPDX-License-Identifier: Apache-2.0
"""Cubic lookups that are linear in what they look up, limited where another picture would overshoot.

The clamp of `simd.cubic_fetch4` keeps a result within the range of its 16 pixels, but clamped parts of a picture no
longer add up to the clamped whole. With c the cubic and b the bilinear value of the picture that guides, its clamped
value is b + l (c - b) for one l in 0 .. 1 (a flux limiter, as in Sweby, SIAM J. Numer. Anal. 21, 1984). Taken with the
same l, any other picture's lookup is linear in its pixels.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from loopcore.transport.cpu import gather_patch, split
from loopcore.transport.jit import kernel
from loopcore.transport.simd import (
    _FLAGS,
    _I32,
    _I64,
    _INT4,
    _V4,
    _V8,
    _broadcast,
    _halves,
    _interleave,
    _keys_weights,
    _load,
    _pick,
    _pointer,
    _shuffle,
)

_F = np.float32


def _sums(builder, load_row, wx, wy, limits):
    """The cubic and the bilinear sum of 4 x 4 pixels of four channels, and their range if wanted."""
    wx_left, wx_right = _broadcast(builder, _V8, wx[0][:2]), _broadcast(builder, _V8, wx[0][2:])
    inner = _broadcast(builder, _V8, wx[1])
    cubic = linear = low = high = None
    for row in range(4):
        left, right = load_row(row)
        line = builder.fmul(left, wx_left, flags=_FLAGS)
        line = builder.fadd(line, builder.fmul(right, wx_right, flags=_FLAGS), flags=_FLAGS)
        line = builder.fmul(line, _broadcast(builder, _V8, [wy[0][row]]), flags=_FLAGS)
        cubic = line if cubic is None else builder.fadd(cubic, line, flags=_FLAGS)
        if row in (1, 2):
            middle = builder.fmul(_shuffle(builder, left, right, list(range(4, 12))), inner, flags=_FLAGS)
            middle = builder.fmul(middle, _broadcast(builder, _V8, [wy[1][row - 1]]), flags=_FLAGS)
            linear = middle if linear is None else builder.fadd(linear, middle, flags=_FLAGS)
        if limits:
            row_low, row_high = _pick(builder, "<", left, right), _pick(builder, ">", left, right)
            low = row_low if low is None else _pick(builder, "<", low, row_low)
            high = row_high if high is None else _pick(builder, ">", high, row_high)
    cubic, linear = builder.fadd(*_halves(builder, cubic)), builder.fadd(*_halves(builder, linear))
    if not limits:
        return cubic, linear
    return cubic, linear, _pick(builder, "<", *_halves(builder, low)), _pick(builder, ">", *_halves(builder, high))


@intrinsic
def limited_fetch4(typingctx, guide, values, height, width, x, y, out, position):
    """out[position:position+4] = `values` at (x, y), limited as `guide` would be; both are flat (height, width, 4).

    Returns False, and writes nothing, where the footprint crosses the border or a coordinate is NaN.
    """
    i, f = types.intp, types.float32
    signature = types.boolean(guide, values, i, i, f, f, out, i)

    def codegen(context, builder, sig, args):
        guide, values, height, width, x, y, out, position = args
        place = _interleave(builder, _V4, x, y)
        last = [builder.sitofp(builder.sub(n, ir.Constant(n.type, 2)), ir.FloatType()) for n in (width, height)]
        one = ir.Constant(ir.FloatType(), 1.0)
        inside = ir.Constant(ir.IntType(1), 1)
        for at, end in zip((x, y), last, strict=True):
            inside = builder.and_(inside, builder.fcmp_ordered(">=", at, one))
            inside = builder.and_(inside, builder.fcmp_ordered("<", at, end))
        with builder.if_then(inside, likely=True):
            cell = builder.fptosi(place, _INT4)
            part = builder.fsub(place, builder.sitofp(cell, _V4))
            weights = _keys_weights(builder, part)
            rest = builder.fsub(ir.Constant(_V4, [1.0] * 4), part)
            lanes = ir.Constant(_I32, 0), ir.Constant(_I32, 1)
            wx, wy = (
                (
                    [builder.extract_element(w, axis) for w in weights],
                    [builder.extract_element(rest, axis), builder.extract_element(part, axis)],
                )
                for axis in lanes
            )
            corner = builder.sub(cell, ir.Constant(_INT4, [1] * 4))
            column, row = (builder.sext(builder.extract_element(corner, axis), _I64) for axis in lanes)
            four, eight = ir.Constant(_I64, 4), ir.Constant(_I64, 8)
            stride = builder.mul(width, four)
            start = builder.add(builder.mul(row, stride), builder.mul(column, four))

            def rows_of(k, array):
                def load_row(row):
                    index = builder.add(start, builder.mul(stride, ir.Constant(_I64, row)))
                    left = _pointer(context, builder, sig.args[k], array, index, _V8)
                    right = _pointer(context, builder, sig.args[k], array, builder.add(index, eight), _V8)
                    return _load(builder, left), _load(builder, right)

                return load_row

            cubic, linear, low, high = _sums(builder, rows_of(0, guide), wx, wy, True)
            clamped = _pick(builder, "<", _pick(builder, ">", cubic, low), high)
            over = builder.fsub(cubic, linear)
            limit = builder.fdiv(builder.fsub(clamped, linear), over)
            ones = ir.Constant(_V4, [1.0] * 4)
            limit = _pick(builder, "<", _pick(builder, ">", limit, ir.Constant(_V4, [0.0] * 4)), ones)
            within = builder.fcmp_unordered("==", clamped, cubic)
            cubic, linear = _sums(builder, rows_of(1, values), wx, wy, False)
            less = builder.fmul(limit, builder.fsub(cubic, linear), flags=_FLAGS)
            result = builder.select(within, cubic, builder.fadd(linear, less, flags=_FLAGS))
            builder.store(result, _pointer(context, builder, sig.args[6], out, position, _V4), align=4)
        return inside

    return signature, codegen


@kernel
def limited_fetch4_at_border(guide, values, height, width, x, y, out, position):
    """Do what `limited_fetch4` does where the footprint crosses the border; the pictures are mirrored there."""
    first, second = np.empty(64, np.float32), np.empty(64, np.float32)
    ix, tx = split(x)
    iy, ty = split(y)
    gather_patch(guide, height, width, 4, ix, iy, first)
    gather_patch(values, height, width, 4, ix, iy, second)
    below_two = _F(1.9999999)
    limited_fetch4(first, second, 4, 4, min(_F(1) + tx, below_two), min(_F(1) + ty, below_two), out, position)
