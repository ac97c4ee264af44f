# SPDX-License-Identifier: Apache-2.0
"""Explicit SIMD for the innermost steps of the kernels.

Numba leaves LLVM's SLP vectoriser off, so four channels (or eight paths) written side by side stay scalar
operations, and a traced path waits for the latency of every lookup. These intrinsics emit the vector
instructions themselves, as portable LLVM vectors that compile to AVX, SSE or NEON.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

HALF_MAX = 65504.0  # the largest finite IEEE half

_F = ir.FloatType()
_V2 = ir.VectorType(_F, 2)
_V4 = ir.VectorType(_F, 4)
_V8 = ir.VectorType(_F, 8)
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_INT4 = ir.VectorType(_I32, 4)
# Paths traced together by `trace_step`; their vectors interleave x and y.
LANES = 8
_PATHS = ir.VectorType(_F, 2 * LANES)
_CELLS = ir.VectorType(_I32, 2 * LANES)
# A product and a sum become one fused instruction where the machine has it.
_FLAGS = ("contract",)


def _pointer(context, builder, array_type, array, index, vector):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def _load(builder, pointer):
    return builder.load(pointer, align=4)


def _shuffle(builder, a, b, lanes):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, len(lanes)), lanes))


def _fill(builder, vector, scalars):
    out = ir.Constant(vector, ir.Undefined)
    for lane, scalar in enumerate(scalars):
        out = builder.insert_element(out, scalar, ir.Constant(_I32, lane))
    return out


def _broadcast(builder, vector, scalars):
    """A vector whose lanes are split evenly among the scalars."""
    each = vector.count // len(scalars)
    return _fill(builder, vector, [scalars[lane // each] for lane in range(vector.count)])


def _interleave(builder, vector, x, y):
    return _fill(builder, vector, [x, y] * (vector.count // 2))


def _pick(builder, comparison, a, b):
    return builder.select(builder.fcmp_ordered(comparison, a, b), a, b)


def _concatenate(builder, parts):
    while len(parts) > 1:
        lanes = list(range(2 * parts[0].type.count))
        parts = [_shuffle(builder, a, b, lanes) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _halves(builder, v):
    return _shuffle(builder, v, v, [0, 1, 2, 3]), _shuffle(builder, v, v, [4, 5, 6, 7])


def _keys_weights(builder, t):
    """Keys 1981, a = -1/2: weights of the samples at -1, 0, 1, 2 for t in [0, 1), a scalar or a vector."""

    def constant(value):
        many = isinstance(t.type, ir.VectorType)
        return ir.Constant(t.type, [value] * t.type.count if many else value)

    def times(a, b):
        return builder.fmul(a, b, flags=_FLAGS)

    def near(u):  # 1 + u^2 (1.5 u - 2.5)
        slope = builder.fadd(times(constant(1.5), u), constant(-2.5), flags=_FLAGS)
        return builder.fadd(constant(1.0), times(times(u, u), slope), flags=_FLAGS)

    s = builder.fsub(constant(1.0), t)
    lobe = times(constant(-0.5), times(s, t))
    return [times(lobe, s), near(t), near(s), times(lobe, t)]


def _cubic_sum(builder, load_row, wx, wy):
    """The 4 x 4 weighted sum of 4-channel pixels, clamped per channel to the pixels' own range."""
    wx_left, wx_right = _broadcast(builder, _V8, wx[:2]), _broadcast(builder, _V8, wx[2:])
    total = low = high = None
    for row in range(4):
        left, right = load_row(row)
        line = builder.fadd(
            builder.fmul(left, wx_left, flags=_FLAGS), builder.fmul(right, wx_right, flags=_FLAGS), flags=_FLAGS
        )
        line = builder.fmul(line, _broadcast(builder, _V8, [wy[row]]), flags=_FLAGS)
        row_low, row_high = _pick(builder, "<", left, right), _pick(builder, ">", left, right)
        total = line if total is None else builder.fadd(total, line, flags=_FLAGS)
        low = row_low if low is None else _pick(builder, "<", low, row_low)
        high = row_high if high is None else _pick(builder, ">", high, row_high)
    result = builder.fadd(*_halves(builder, total))
    result = _pick(builder, ">", result, _pick(builder, "<", *_halves(builder, low)))
    return _pick(builder, "<", result, _pick(builder, ">", *_halves(builder, high)))


@intrinsic
def cubic_fetch4(typingctx, values, height, width, x, y, out, position):
    """out[position:position+4] = the 4-channel picture at (x, y), where its 4 x 4 footprint lies inside it.

    `values` and `out` are flat float32 arrays, x and y float32. The sum is clamped per channel to the
    16 pixels' own range, so the filter's negative lobes never overshoot. Returns False, and writes
    nothing, where the footprint crosses the border or a coordinate is NaN.
    """
    i, f = types.intp, types.float32
    signature = types.boolean(values, i, i, f, f, out, i)

    def codegen(context, builder, sig, args):
        values, height, width, x, y, out, position = args
        # Four lanes where two would do: LLVM converts a pair one by one, four in one instruction.
        place = _interleave(builder, _V4, x, y)
        last = [builder.sitofp(builder.sub(n, ir.Constant(n.type, 2)), _F) for n in (width, height)]
        one = ir.Constant(_F, 1.0)
        inside = [
            test
            for at, end in zip((x, y), last, strict=True)
            for test in (builder.fcmp_ordered(">=", at, one), builder.fcmp_ordered("<", at, end))
        ]
        inside = builder.and_(builder.and_(inside[0], inside[1]), builder.and_(inside[2], inside[3]))
        with builder.if_then(inside, likely=True):
            cell = builder.fptosi(place, _INT4)
            weights = _keys_weights(builder, builder.fsub(place, builder.sitofp(cell, _V4)))
            lanes = ir.Constant(_I32, 0), ir.Constant(_I32, 1)
            wx, wy = ([builder.extract_element(w, axis) for w in weights] for axis in lanes)
            corner = builder.sub(cell, ir.Constant(_INT4, [1] * 4))
            column, row = (builder.sext(builder.extract_element(corner, axis), _I64) for axis in lanes)
            four, eight = ir.Constant(_I64, 4), ir.Constant(_I64, 8)
            stride = builder.mul(width, four)
            start = builder.add(builder.mul(row, stride), builder.mul(column, four))

            def load_row(k):
                index = builder.add(start, builder.mul(stride, ir.Constant(_I64, k)))
                left = _pointer(context, builder, sig.args[0], values, index, _V8)
                right = _pointer(context, builder, sig.args[0], values, builder.add(index, eight), _V8)
                return _load(builder, left), _load(builder, right)

            target = _pointer(context, builder, sig.args[5], out, position, _V4)
            builder.store(_cubic_sum(builder, load_row, wx, wy), target, align=4)
        return inside

    return signature, codegen


@intrinsic
def mirrored_fetch4(typingctx, values, width, columns, rows, tx, ty, out, position):
    """out[position:position+4] = what `cubic_fetch4` gives for these columns and rows of pixels.

    `columns` and `rows` are tuples of four; tx and ty, in [0, 1), are the place past the second column and row.
    """
    i, f = types.intp, types.float32
    signature = types.void(values, i, types.UniTuple(i, 4), types.UniTuple(i, 4), f, f, out, i)

    def codegen(context, builder, sig, args):
        values, width, columns, rows, tx, ty, out, position = args
        weights = _keys_weights(builder, _interleave(builder, _V4, tx, ty))
        lanes = ir.Constant(_I32, 0), ir.Constant(_I32, 1)
        wx, wy = ([builder.extract_element(w, axis) for w in weights] for axis in lanes)

        def load_row(k):
            start, pixels = builder.mul(builder.extract_value(rows, k), width), []
            for column in range(4):
                place = builder.add(start, builder.extract_value(columns, column))
                index = builder.mul(place, ir.Constant(_I64, 4))
                pixels.append(_load(builder, _pointer(context, builder, sig.args[0], values, index, _V4)))
            return _concatenate(builder, pixels[:2]), _concatenate(builder, pixels[2:])

        target = _pointer(context, builder, sig.args[6], out, position, _V4)
        builder.store(_cubic_sum(builder, load_row, wx, wy), target, align=4)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def splat_pair4(typingctx, sums, weights, place, values, source, w_left, w_right):
    """Deposit one 4-channel pixel, values[source:source+4], on two pixels side by side, with these weights.

    `place` is the left pixel's index; `sums` is flat (height, width, 4), `weights` flat (height, width).
    """
    i, f = types.intp, types.float32
    signature = types.void(sums, weights, i, values, i, f, f)

    def codegen(context, builder, sig, args):
        sums, weights, place, values, source, *pair = args
        pixel = _load(builder, _pointer(context, builder, sig.args[3], values, source, _V4))
        both = _shuffle(builder, pixel, pixel, [0, 1, 2, 3, 0, 1, 2, 3])
        index = builder.mul(place, ir.Constant(_I64, 4))
        target = _pointer(context, builder, sig.args[0], sums, index, _V8)
        more = builder.fmul(both, _broadcast(builder, _V8, pair), flags=_FLAGS)
        builder.store(builder.fadd(_load(builder, target), more, flags=_FLAGS), target, align=4)
        target = _pointer(context, builder, sig.args[1], weights, place, _V2)
        builder.store(builder.fadd(_load(builder, target), _fill(builder, _V2, pair)), target, align=4)
        return context.get_dummy_value()

    return signature, codegen


class _Lookup:
    """Emits the bilinear lookup of LANES velocities at once, clamped to the frame."""

    def __init__(self, builder, data, height, width):
        self.builder, self.data = builder, data
        one, two = ir.Constant(_I32, 1), ir.Constant(_I32, 2)
        rows, columns = builder.trunc(height, _I32), builder.trunc(width, _I32)
        limits = [builder.sitofp(builder.sub(n, one), _F) for n in (columns, rows)]
        self.limit = _interleave(builder, _PATHS, *limits)
        self.last_cell = _interleave(builder, _CELLS, builder.sub(columns, two), builder.sub(rows, two))
        row = builder.mul(columns, two)
        self.scale = _interleave(builder, _CELLS, two, row)
        self.row = builder.sext(row, _I64)

    def __call__(self, position):
        b = self.builder
        position = _pick(b, ">", position, ir.Constant(_PATHS, [0.0] * (2 * LANES)))
        position = _pick(b, "<", position, self.limit)
        cell = b.fptosi(position, _CELLS)
        cell = b.select(b.icmp_signed("<", cell, self.last_cell), cell, self.last_cell)
        part = b.fsub(position, b.sitofp(cell, _PATHS))
        offset = b.mul(cell, self.scale)
        xs, ys = list(range(0, 2 * LANES, 2)), list(range(1, 2 * LANES, 2))
        offset = b.add(_shuffle(b, offset, offset, xs), _shuffle(b, offset, offset, ys))
        return _concatenate(b, [self._pair(offset, part, lane) for lane in range(0, LANES, 2)])

    def _pair(self, offset, part, lane):
        """Two lookups: each row of a cell is one load of (u, v) left and (u, v) right."""
        b, cell_row = self.builder, _V4.as_pointer()
        tops, lows = [], []
        for k in (lane, lane + 1):
            start = b.gep(self.data, [b.sext(b.extract_element(offset, ir.Constant(_I32, k)), _I64)])
            tops.append(_load(b, b.bitcast(start, cell_row)))
            lows.append(_load(b, b.bitcast(b.gep(start, [self.row]), cell_row)))
        top, low = _concatenate(b, tops), _concatenate(b, lows)
        x, y = 2 * lane, 2 * lane + 1
        middle = _lerp(b, top, low, _shuffle(b, part, part, [y] * 4 + [y + 2] * 4))
        left, right = _shuffle(b, middle, middle, [0, 1, 4, 5]), _shuffle(b, middle, middle, [2, 3, 6, 7])
        return _lerp(b, left, right, _shuffle(b, part, part, [x, x, x + 2, x + 2]))


def _lerp(builder, a, b, t):
    return builder.fadd(a, builder.fmul(t, builder.fsub(b, a), flags=_FLAGS), flags=_FLAGS)


def _weighted(builder, terms):
    """Sum of constant times vector."""
    total = None
    for factor, vector in terms:
        term = builder.fmul(ir.Constant(_PATHS, [factor] * (2 * LANES)), vector, flags=_FLAGS)
        total = term if total is None else builder.fadd(total, term, flags=_FLAGS)
    return total


def _largest(builder, vector):
    vector = _pick(builder, ">", vector, builder.fneg(vector))
    while vector.type.count > 1:
        n = vector.type.count // 2
        low, high = list(range(n)), list(range(n, 2 * n))
        halves = _shuffle(builder, vector, vector, low), _shuffle(builder, vector, vector, high)
        if n == 1:
            a, b = (builder.extract_element(v, ir.Constant(_I32, 0)) for v in halves)
            return _pick(builder, ">", a, b)
        vector = _pick(builder, ">", *halves)
    return vector


@intrinsic
def trace_step(typingctx, velocity, height, width, place, slope, step, move, next_slope):
    """One step of Bogacki & Shampine 1989, RK3(2) with first same as last, for LANES paths at once.

    `velocity` is flat (height, width, 2) with both sizes at least 2; `place`, `slope` (the velocity there), `move`
    (out: the step taken) and `next_slope` (out: the velocity after it) are float32 arrays of 2 * LANES,
    (x, y) interleaved. Returns the largest error estimate in pixels, the third-order result less the second-order.
    """
    i, f = types.intp, types.float32
    signature = types.float32(velocity, i, i, place, slope, f, move, next_slope)

    def codegen(context, builder, sig, args):
        velocity, height, width, _, _, step, _, _ = args

        def paths(k):
            return _pointer(context, builder, sig.args[k], args[k], ir.Constant(_I64, 0), _PATHS)

        lookup = _Lookup(builder, context.make_array(sig.args[0])(context, builder, velocity).data, height, width)
        start, k1 = _load(builder, paths(3)), _load(builder, paths(4))
        h = _broadcast(builder, _PATHS, [step])

        def ahead(*terms):
            return builder.fadd(start, builder.fmul(h, _weighted(builder, terms), flags=_FLAGS), flags=_FLAGS)

        k2 = lookup(ahead((1 / 2, k1)))
        k3 = lookup(ahead((3 / 4, k2)))
        moved = builder.fmul(h, _weighted(builder, [(2 / 9, k1), (1 / 3, k2), (4 / 9, k3)]))
        k4 = lookup(builder.fadd(start, moved))
        error = _weighted(builder, [(-5 / 72, k1), (1 / 12, k2), (1 / 9, k3), (-1 / 8, k4)])
        builder.store(moved, paths(6), align=4)
        builder.store(k4, paths(7), align=4)
        length = _pick(builder, ">", step, builder.fneg(step))
        return builder.fmul(_largest(builder, error), length)

    return signature, codegen


@intrinsic
def store_half4(typingctx, values, source, out, position):
    """out[position:position+4] = four float32 of `values` as IEEE half bits (uint16), rounded to nearest even.

    Clamps values, infinite ones too, to the range of half; NaN stays.
    """
    i = types.intp
    signature = types.void(values, i, out, i)

    def codegen(context, builder, sig, args):
        values, source, out, position = args
        vector = _load(builder, _pointer(context, builder, sig.args[0], values, source, _V4))
        # In this order of operands a NaN, which compares as neither, passes.
        for comparison, end in ((">", HALF_MAX), ("<", -HALF_MAX)):
            limit = ir.Constant(_V4, [end] * 4)
            vector = builder.select(builder.fcmp_ordered(comparison, vector, limit), limit, vector)
        half = builder.fptrunc(vector, ir.VectorType(ir.HalfType(), 4))
        bits = builder.bitcast(half, ir.VectorType(ir.IntType(16), 4))
        builder.store(bits, _pointer(context, builder, sig.args[2], out, position, bits.type), align=2)
        return context.get_dummy_value()

    return signature, codegen
