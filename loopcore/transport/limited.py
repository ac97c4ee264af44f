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
# Limits fall to 0 where l is 1 - 1 / STEEP.
STEEP = 8
_BYTES = ir.VectorType(ir.IntType(8), 4)


def _weights(builder, x, y):
    """The corner of the footprint, and its weights along x and y: cubic, then bilinear."""
    place = _interleave(builder, _V4, x, y)
    cell = builder.fptosi(place, _INT4)
    part = builder.fsub(place, builder.sitofp(cell, _V4))
    cubic = _keys_weights(builder, part)
    linear = [builder.fsub(ir.Constant(_V4, [1.0] * 4), part), part]
    corner = builder.sub(cell, ir.Constant(_INT4, [1] * 4))
    lanes = ir.Constant(_I32, 0), ir.Constant(_I32, 1)
    column, row = (builder.sext(builder.extract_element(corner, axis), _I64) for axis in lanes)
    return (
        *(column, row),
        *([[builder.extract_element(w, axis) for w in weights] for weights in (cubic, linear)] for axis in lanes),
    )


def _inside(builder, x, y, height, width):
    """Whether the footprint of (x, y) lies inside the picture."""
    inside = ir.Constant(ir.IntType(1), 1)
    for at, size in ((x, width), (y, height)):
        last = builder.sitofp(builder.sub(size, ir.Constant(size.type, 2)), at.type)
        inside = builder.and_(inside, builder.fcmp_ordered(">=", at, ir.Constant(at.type, 1.0)))
        inside = builder.and_(inside, builder.fcmp_ordered("<", at, last))
    return inside


def _row_loader(context, builder, array_type, array, width, column, row):
    stride = builder.mul(width, ir.Constant(_I64, 4))
    start = builder.add(builder.mul(row, stride), builder.mul(column, ir.Constant(_I64, 4)))

    def load_row(k):
        index = builder.add(start, builder.mul(stride, ir.Constant(_I64, k)))
        right = builder.add(index, ir.Constant(_I64, 8))
        return tuple(_load(builder, _pointer(context, builder, array_type, array, at, _V8)) for at in (index, right))

    return load_row


def _cubic(builder, load_row, wx, wy):
    """The cubic sum of 4 x 4 pixels of four channels."""
    wx_left, wx_right = _broadcast(builder, _V8, wx[:2]), _broadcast(builder, _V8, wx[2:])
    total = None
    for row in range(4):
        left, right = load_row(row)
        line = builder.fmul(left, wx_left, flags=_FLAGS)
        line = builder.fadd(line, builder.fmul(right, wx_right, flags=_FLAGS), flags=_FLAGS)
        line = builder.fmul(line, _broadcast(builder, _V8, [wy[row]]), flags=_FLAGS)
        total = line if total is None else builder.fadd(total, line, flags=_FLAGS)
    return builder.fadd(*_halves(builder, total))


def _bilinear(builder, load_row, wx, wy):
    """The bilinear sum of the inner 2 x 2 of 4 x 4 pixels."""
    across, total = _broadcast(builder, _V8, wx), None
    for row in (1, 2):
        inner = builder.fmul(_shuffle(builder, *load_row(row), list(range(4, 12))), across, flags=_FLAGS)
        inner = builder.fmul(inner, _broadcast(builder, _V8, [wy[row - 1]]), flags=_FLAGS)
        total = inner if total is None else builder.fadd(total, inner, flags=_FLAGS)
    return builder.fadd(*_halves(builder, total))


def _limited(builder, cubic, linear, codes):
    """The cubic value as far as its limits let it differ from the bilinear one; where they are 255, to the bit."""
    limit = builder.uitofp(builder.zext(codes, _INT4), _V4)
    limit = builder.fmul(limit, ir.Constant(_V4, [1 / 255] * 4))
    less = builder.fmul(limit, builder.fsub(cubic, linear), flags=_FLAGS)
    kept = builder.icmp_unsigned("==", codes, ir.Constant(_BYTES, [255] * 4))
    return builder.select(kept, cubic, builder.fadd(linear, less, flags=_FLAGS))


def _add(builder, target, weight, value):
    more = builder.fmul(value, _broadcast(builder, _V4, [weight]), flags=_FLAGS)
    builder.store(builder.fadd(_load(builder, target), more, flags=_FLAGS), target, align=4)


def _range(builder, load_row):
    """The least and the greatest of 4 x 4 pixels."""
    low = high = None
    for row in range(4):
        left, right = load_row(row)
        least, most = _pick(builder, "<", left, right), _pick(builder, ">", left, right)
        low = least if low is None else _pick(builder, "<", low, least)
        high = most if high is None else _pick(builder, ">", high, most)
    return _pick(builder, "<", *_halves(builder, low)), _pick(builder, ">", *_halves(builder, high))


@intrinsic
def limits4(typingctx, guide, height, width, x, y, limits, position, weight, out):
    """limits[position:position+4] = by how much the clamp would limit the picture `guide` at (x, y), as bytes.

    Adds `weight` times the value so limited to out[0:4].
    `guide` is flat (height, width, 4), `limits` flat uint8. A limit that was there before stays if it is less. Returns
    False, and writes nothing, where the footprint crosses the border or a coordinate is NaN.
    """
    i, f = types.intp, types.float32
    signature = types.boolean(guide, i, i, f, f, limits, i, f, out)

    def codegen(context, builder, sig, args):
        guide, height, width, x, y, limits, position, weight, out = args
        inside = _inside(builder, x, y, height, width)
        with builder.if_then(inside, likely=True):
            column, row, wx, wy = _weights(builder, x, y)
            load_row = _row_loader(context, builder, sig.args[0], guide, width, column, row)
            cubic, linear = _cubic(builder, load_row, wx[0], wy[0]), _bilinear(builder, load_row, wx[1], wy[1])
            low, high = _range(builder, load_row)
            clamped = _pick(builder, "<", _pick(builder, ">", cubic, low), high)
            limit = builder.fdiv(builder.fsub(clamped, linear), builder.fsub(cubic, linear))
            # Where there is no difference this is NaN, and becomes 0 below.
            limit = builder.fmul(
                builder.fsub(limit, ir.Constant(_V4, [1.0] * 4)), ir.Constant(_V4, [255.0 * STEEP] * 4)
            )
            limit = builder.fadd(limit, ir.Constant(_V4, [255.0] * 4))
            limit = _pick(builder, ">", limit, ir.Constant(_V4, [0.0] * 4))
            limit = _pick(builder, "<", limit, ir.Constant(_V4, [255.0] * 4))
            within = builder.fcmp_unordered("==", clamped, cubic)
            limit = builder.select(within, ir.Constant(_V4, [255.0] * 4), limit)
            codes = builder.trunc(builder.fptosi(limit, _INT4), _BYTES)
            target = _pointer(context, builder, sig.args[5], limits, position, _BYTES)
            before = builder.load(target, align=1)
            codes = builder.select(builder.icmp_unsigned("<", codes, before), codes, before)
            builder.store(codes, target, align=1)
            target = _pointer(context, builder, sig.args[8], out, ir.Constant(_I64, 0), _V4)
            _add(builder, target, weight, _limited(builder, cubic, linear, codes))
        return inside

    return signature, codegen


@intrinsic
def limited_fetch4(typingctx, values, height, width, x, y, limits, place, weight, out):
    """out[0:4] += `weight` times `values`, flat (height, width, 4), at (x, y), limited by limits[place:place+4].

    Returns False, and writes nothing, where the footprint crosses the border or a coordinate is NaN.
    """
    i, f = types.intp, types.float32
    signature = types.boolean(values, i, i, f, f, limits, i, f, out)

    def codegen(context, builder, sig, args):
        values, height, width, x, y, limits, place, weight, out = args
        inside = _inside(builder, x, y, height, width)
        with builder.if_then(inside, likely=True):
            column, row, wx, wy = _weights(builder, x, y)
            load_row = _row_loader(context, builder, sig.args[0], values, width, column, row)
            cubic = _cubic(builder, load_row, wx[0], wy[0])
            codes = builder.load(_pointer(context, builder, sig.args[5], limits, place, _BYTES), align=1)
            free = builder.icmp_unsigned("==", builder.bitcast(codes, _I32), ir.Constant(_I32, 0xFFFFFFFF))
            target = _pointer(context, builder, sig.args[8], out, ir.Constant(_I64, 0), _V4)
            with builder.if_else(free) as (unlimited, otherwise):
                with unlimited:
                    _add(builder, target, weight, cubic)
                with otherwise:
                    linear = _bilinear(builder, load_row, wx[1], wy[1])
                    _add(builder, target, weight, _limited(builder, cubic, linear, codes))
        return inside

    return signature, codegen


@kernel
def _mirrored(values, height, width, x, y, patch):
    """Fills `patch`, flat (4, 4, 4), with the footprint of (x, y), mirrored at the border; returns the place in it."""
    ix, tx = split(x)
    iy, ty = split(y)
    gather_patch(values, height, width, 4, ix, iy, patch)
    below_two = _F(1.9999999)
    return min(_F(1) + tx, below_two), min(_F(1) + ty, below_two)


@kernel
def limits4_at_border(guide, height, width, x, y, limits, position, weight, out):
    """Do what `limits4` does where the footprint crosses the border; the picture is mirrored there."""
    patch = np.empty(64, np.float32)
    x, y = _mirrored(guide, height, width, x, y, patch)
    limits4(patch, 4, 4, x, y, limits, position, weight, out)


@kernel
def limited_fetch4_at_border(values, height, width, x, y, limits, place, weight, out):
    """Do what `limited_fetch4` does where the footprint crosses the border; the picture is mirrored there."""
    patch = np.empty(64, np.float32)
    x, y = _mirrored(values, height, width, x, y, patch)
    limited_fetch4(patch, 4, 4, x, y, limits, place, weight, out)
