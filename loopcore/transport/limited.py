# SPDX-License-Identifier: Apache-2.0
"""Cubic lookups that are linear in what they look up, limited where another picture would overshoot.

The clamp of `simd.cubic_fetch4` keeps a result within the range of its 16 pixels, but clamped parts of a picture no
longer add up to the clamped whole. With c the cubic and b the bilinear value of the picture that guides, its clamped
value is b + l (c - b) for one l in 0 .. 1 (a flux limiter, as in Sweby, SIAM J. Numer. Anal. 21, 1984). Taken with the
same l, any other picture's lookup is linear in its pixels.

A lookup of the guide (`guide4`) leaves its weights in `taps`, 12 numbers: cubic along x and y, four each, then bilinear
along x and y, two each; and in `found`, 12 numbers: the cubic and the bilinear value, and l as a whole number of 0 to
255, each for four channels. Others (`add_limited4`, `add_limited8`) are taken with both.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from loopcore.transport.cpu import gather_patch, reflect, split
from loopcore.transport.halves import load_vector
from loopcore.transport.jit import kernel
from loopcore.transport.simd import (
    _FLAGS,
    _I32,
    _I64,
    _INT4,
    _V4,
    _V8,
    _broadcast,
    _concatenate,
    _fill,
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
TAPS, FOUND = 12, 12


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


def _range(builder, load_row):
    """The least and the greatest of 4 x 4 pixels."""
    low = high = None
    for row in range(4):
        left, right = load_row(row)
        least, most = _pick(builder, "<", left, right), _pick(builder, ">", left, right)
        low = least if low is None else _pick(builder, "<", low, least)
        high = most if high is None else _pick(builder, ">", high, most)
    return _pick(builder, "<", *_halves(builder, low)), _pick(builder, ">", *_halves(builder, high))


def _limits(builder, cubic, linear, low, high):
    """l times 255, whole: 255 where the cubic value lies in the range, falling to 0 where it leaves it."""
    clamped = _pick(builder, "<", _pick(builder, ">", cubic, low), high)
    limit = builder.fdiv(builder.fsub(clamped, linear), builder.fsub(cubic, linear))
    # Where there is no difference this is NaN, and becomes 0 below.
    limit = builder.fmul(builder.fsub(limit, ir.Constant(_V4, [1.0] * 4)), ir.Constant(_V4, [255.0 * STEEP] * 4))
    limit = builder.fadd(limit, ir.Constant(_V4, [255.0] * 4))
    limit = _pick(builder, ">", limit, ir.Constant(_V4, [0.0] * 4))
    limit = _pick(builder, "<", limit, ir.Constant(_V4, [255.0] * 4))
    within = builder.fcmp_unordered("==", clamped, cubic)
    limit = builder.select(within, ir.Constant(_V4, [255.0] * 4), limit)
    return builder.sitofp(builder.fptosi(limit, _INT4), _V4)


def _limited(builder, cubic, linear, limits):
    """The cubic value as far as its limits let it differ from the bilinear one; where they are 255, to the bit."""
    all_of_it, scale = (ir.Constant(limits.type, [value] * limits.type.count) for value in (255.0, 1 / 255))
    less = builder.fmul(builder.fmul(limits, scale), builder.fsub(cubic, linear), flags=_FLAGS)
    kept = builder.fcmp_ordered("==", limits, all_of_it)
    return builder.select(kept, cubic, builder.fadd(linear, less, flags=_FLAGS))


def _add(builder, target, fresh, weight, value):
    more = builder.fmul(value, _broadcast(builder, value.type, [weight]), flags=_FLAGS)
    zero = ir.Constant(value.type, [0.0] * value.type.count)
    before = builder.select(fresh, zero, _load(builder, target))
    builder.store(builder.fadd(before, more, flags=_FLAGS), target, align=4)


@intrinsic
def guide4(typingctx, guide, height, width, x, y, taps, found):
    """Look up the picture that guides, flat (height, width, 4), at (x, y), and fill `taps` and `found`.

    Returns the index of the first pixel of the footprint, or -1, and writes nothing, where the footprint crosses the
    border or a coordinate is NaN.
    """
    i, f = types.intp, types.float32
    signature = types.int64(guide, i, i, f, f, taps, found)

    def codegen(context, builder, sig, args):
        guide, height, width, x, y, taps, found = args
        corner = builder.alloca(_I64)
        builder.store(ir.Constant(_I64, -1), corner)
        with builder.if_then(_inside(builder, x, y, height, width), likely=True):
            column, row, wx, wy = _weights(builder, x, y)
            place = builder.add(builder.mul(row, width), column)
            builder.store(place, corner)

            def load_row(k):
                index = builder.add(place, builder.mul(width, ir.Constant(_I64, k)))
                left = builder.mul(index, ir.Constant(_I64, 4))
                right = builder.add(left, ir.Constant(_I64, 8))
                return tuple(
                    _load(builder, _pointer(context, builder, sig.args[0], guide, at, _V8)) for at in (left, right)
                )

            cubic, linear = _cubic(builder, load_row, wx[0], wy[0]), _bilinear(builder, load_row, wx[1], wy[1])
            limits = _limits(builder, cubic, linear, *_range(builder, load_row))
            weights = [_fill(builder, _V4, w) for w in (wx[0], wy[0], [*wx[1], *wy[1]])]
            for k, array, vectors in ((5, taps, weights), (6, found, (cubic, linear, limits))):
                for part, vector in enumerate(vectors):
                    at = _pointer(context, builder, sig.args[k], array, ir.Constant(_I64, 4 * part), _V4)
                    builder.store(vector, at, align=4)
        return builder.load(corner)

    return signature, codegen


@intrinsic
def add_found4(typingctx, found, weight, fresh, out, position):
    """out[position:position+4] += `weight` times the guide's own value, with its limits; with `fresh`, to 0."""
    i, f = types.intp, types.float32
    signature = types.void(found, f, types.boolean, out, i)

    def codegen(context, builder, sig, args):
        found, weight, fresh, out, position = args
        places = [ir.Constant(_I64, 4 * part) for part in range(3)]
        parts = [_load(builder, _pointer(context, builder, sig.args[0], found, place, _V4)) for place in places]
        target = _pointer(context, builder, sig.args[3], out, position, _V4)
        _add(builder, target, fresh, weight, _limited(builder, *parts))
        return context.get_dummy_value()

    return signature, codegen


def _add_limited(lanes):
    """The intrinsic for so many channels, 4 or 8, side by side."""
    vector = ir.VectorType(ir.FloatType(), lanes)

    def columns(builder, load, wx, wy, rows):
        """The sum of the pixels of `rows` times these weights, in the order of `_cubic` and `_bilinear`."""
        totals = [None, None]
        for row, across in zip(rows, wy, strict=True):
            for side in range(2):
                line = None
                for column in range(side, len(wx), 2):
                    part = builder.fmul(load(row, column), wx[column], flags=_FLAGS)
                    line = part if line is None else builder.fadd(line, part, flags=_FLAGS)
                line = builder.fmul(line, across, flags=_FLAGS)
                totals[side] = line if totals[side] is None else builder.fadd(totals[side], line, flags=_FLAGS)
        return builder.fadd(*totals)

    @intrinsic
    def add(typingctx, values, start, pixel, row, taps, found, weight, fresh, out, position):
        i, f = types.intp, types.float32
        signature = types.void(values, i, i, i, taps, found, f, types.boolean, out, i)

        def codegen(context, builder, sig, args):
            values, start, pixel, row, taps, found, weight, fresh, out, position = args

            def loader(first):
                def load(j, k):
                    at = builder.add(start, builder.mul(row, ir.Constant(_I64, j)))
                    at = builder.add(at, builder.mul(pixel, ir.Constant(_I64, k + first)))
                    return load_vector(context, builder, sig.args[0], values, at, lanes)

                return load

            def tap(k):
                at = _pointer(context, builder, sig.args[4], taps, ir.Constant(_I64, k), ir.FloatType())
                return _broadcast(builder, vector, [_load(builder, at)])

            wx, wy = [tap(k) for k in range(4)], [tap(k) for k in range(4, 8)]
            cubic = columns(builder, loader(0), wx, wy, range(4))
            at = _pointer(context, builder, sig.args[5], found, ir.Constant(_I64, 8), _V4)
            limits = _load(builder, at)
            free = builder.fcmp_ordered("==", limits, ir.Constant(_V4, [255.0] * 4))
            free = builder.icmp_unsigned("==", builder.bitcast(free, ir.IntType(4)), ir.Constant(ir.IntType(4), 15))
            target = _pointer(context, builder, sig.args[8], out, position, vector)
            with builder.if_else(free) as (unlimited, otherwise):
                with unlimited:
                    _add(builder, target, fresh, weight, cubic)
                with otherwise:
                    wx, wy = [tap(k) for k in (8, 9)], [tap(k) for k in (10, 11)]
                    linear = columns(builder, loader(1), wx, wy, (1, 2))
                    limits = limits if lanes == 4 else _concatenate(builder, [limits, limits])
                    _add(builder, target, fresh, weight, _limited(builder, cubic, linear, limits))
            return context.get_dummy_value()

        return signature, codegen

    add.__doc__ = f"""out[position:position+{lanes}] += `weight` times what a lookup of other pictures gives.

    Args:
        values: flat float32, or uint16 the bits of halves. start: index of the first of the {lanes} channels in the
            first pixel of the footprint. pixel, row: from one pixel, and row of pixels, to the next. taps, found: of
            the guide at this place; four channels, or twice four, have its limits. fresh: whether to add to 0.
    """
    return add


add_limited4, add_limited8 = _add_limited(4), _add_limited(8)


@kernel
def guide4_at_border(guide, height, width, x, y, patch, taps, found):
    """Do what `guide4` does where the footprint crosses the border; the picture is mirrored there.

    `patch` is scratch, flat (4, 4, 4).
    """
    ix, tx = split(x)
    iy, ty = split(y)
    gather_patch(guide, height, width, 4, ix, iy, patch)
    below_two = _F(1.9999999)
    guide4(patch, 4, 4, min(_F(1) + tx, below_two), min(_F(1) + ty, below_two), taps, found)


@kernel(inline="always")
def _straight(i, size):
    """Where a row of four pixels from i - 1 on begins in the mirrored picture, and whether it goes on or back.

    0 where it does neither: the border lies within.
    """
    first, last = reflect(i - 1, size), reflect(i + 2, size)
    inner = reflect(i, size)
    way = inner - first
    return first, way if abs(way) == 1 and last == first + 3 * way else 0


@kernel
def footprint(height, width, x, y):
    """The footprint of (x, y) in the mirrored picture: its first pixel, and how far it is to the next, and next row.

    Both are 0 where the footprint is not straight.
    """
    ix, _ = split(x)
    iy, _ = split(y)
    left, across = _straight(ix, width)
    top, down = _straight(iy, height)
    if across == 0 or down == 0:
        return 0, 0, 0
    return top * width + left, across, down * width
