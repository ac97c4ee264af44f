# SPDX-License-Identifier: Apache-2.0
"""Explicit SIMD for what is done to the pixels that `simd` fetches: adding, blending, shifting tone, compositing."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from loopcore.transport.simd import _F, _FLAGS, _I32, _I64, _V4, _V8, _broadcast, _load, _pick, _pointer, _shuffle


def _constant(value):
    return ir.Constant(_V4, [value] * 4)


def _root(builder, vector):
    known, name = builder.module.globals, "llvm.sqrt.v4f32"
    root = known[name] if name in known else ir.Function(builder.module, ir.FunctionType(_V4, [_V4]), name)
    return builder.call(root, [vector])


@intrinsic
def add4(typingctx, pixel, weight, out, position):
    """out[position:position+4] += `weight` times pixel[0:4], each product and sum rounded."""
    signature = types.void(pixel, types.float32, out, types.intp)

    def codegen(context, builder, sig, args):
        pixel, weight, out, position = args
        value = _load(builder, _pointer(context, builder, sig.args[0], pixel, ir.Constant(_I64, 0), _V4))
        target = _pointer(context, builder, sig.args[2], out, position, _V4)
        more = builder.fmul(_broadcast(builder, _V4, [weight]), value)
        builder.store(builder.fadd(_load(builder, target), more), target, align=4)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def ramp8(typingctx, out, position, start, slope, first):
    """out[position+k] = `start` + (`first` + k) times `slope`, for k of 0 to 7; `first` + k must be exact."""
    f = types.float32
    signature = types.void(out, types.intp, f, f, f)

    def codegen(context, builder, sig, args):
        out, position, start, slope, first = args
        start, slope, first = (_broadcast(builder, _V8, [value]) for value in (start, slope, first))
        steps = builder.fadd(first, ir.Constant(_V8, [float(k) for k in range(8)]))
        target = _pointer(context, builder, sig.args[0], out, position, _V8)
        builder.store(builder.fadd(start, builder.fmul(steps, slope)), target, align=4)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def shift_dark4(typingctx, picture, position, line, near, far, part, colour, white, least):
    """Shift the tone of the pixel picture[position:position+4], where that and the result are at most the white's.

    The tone is the square root of a channel over `white`. It is shifted by what lies `part` of the way from
    line[near:near+4] to line[far:far+4], but never below `least` times itself. Channels that are 0 or less, or whose
    colour[c] is, stay. Returns False, and changes nothing, where a channel or its result is brighter than the white.
    """
    i, f = types.intp, types.float32
    signature = types.boolean(picture, i, line, i, i, f, colour, f, f)

    def codegen(context, builder, sig, args):
        picture, position, line, near, far, part, colour, white, least = args
        zero = _constant(0.0)
        target = _pointer(context, builder, sig.args[0], picture, position, _V4)
        value = _load(builder, target)
        first, second = (_load(builder, _pointer(context, builder, sig.args[2], line, k, _V4)) for k in (near, far))
        shift = builder.fadd(first, builder.fmul(_broadcast(builder, _V4, [part]), builder.fsub(second, first)))
        shown = _load(builder, _pointer(context, builder, sig.args[6], colour, ir.Constant(_I64, 0), _V4))
        stays = builder.or_(builder.fcmp_unordered("==", shift, zero), builder.fcmp_unordered("<=", value, zero))
        stays = builder.or_(stays, builder.fcmp_unordered("<=", shown, zero))
        whites = _broadcast(builder, _V4, [white])
        share = builder.fdiv(value, whites)
        tone = _root(builder, share)
        new = builder.fadd(tone, shift)
        new = _pick(builder, ">", new, builder.fmul(_broadcast(builder, _V4, [least]), tone))
        dark = builder.and_(*(builder.fcmp_ordered("<=", v, _constant(1.0)) for v in (share, new)))
        all_dark = builder.bitcast(builder.or_(stays, dark), ir.IntType(4))
        done = builder.icmp_unsigned("==", all_dark, ir.Constant(ir.IntType(4), 15))
        with builder.if_then(done, likely=True):
            shifted = builder.fmul(whites, builder.fmul(new, new))
            builder.store(builder.select(stays, value, shifted), target, align=4)
        return done

    return signature, codegen


@intrinsic
def mix4(typingctx, pair, weight, luma, out, position, tones, place, size):
    """Blend pair[0:4] with `weight` and pair[4:8] with 1 - `weight` into out[position:position+4].

    Also stores the tone, the square root of the luminance (`luma` weighs the channels) where that is positive, of
    the blend at tones[place], of the first pixel at tones[place + size], of the second at tones[place + 2 * size].
    """
    i, f = types.intp, types.float32
    signature = types.void(pair, f, luma, out, i, tones, i, i)

    def codegen(context, builder, sig, args):
        pair, weight, channel_weights, out, position, tones, place, size = args
        zero, four = ir.Constant(_I64, 0), ir.Constant(_I64, 4)
        first = _load(builder, _pointer(context, builder, sig.args[0], pair, zero, _V4))
        second = _load(builder, _pointer(context, builder, sig.args[0], pair, four, _V4))
        luma = _load(builder, _pointer(context, builder, sig.args[2], channel_weights, zero, _V4))
        # Not second + share (first - second): at weight 1 the blend must equal the first, bit for bit.
        rest = builder.fsub(ir.Constant(_F, 1.0), weight)
        blend = builder.fadd(
            builder.fmul(first, _broadcast(builder, _V4, [weight]), flags=_FLAGS),
            builder.fmul(second, _broadcast(builder, _V4, [rest]), flags=_FLAGS),
            flags=_FLAGS,
        )
        builder.store(blend, _pointer(context, builder, sig.args[3], out, position, _V4), align=4)
        vector = _sums4(builder, [builder.fmul(v, luma, flags=_FLAGS) for v in (blend, first, second, second)])
        vector = _pick(builder, ">", vector, _constant(0.0))
        vector = _root(builder, vector)
        data = context.make_array(sig.args[5])(context, builder, tones).data
        for lane in range(3):
            value = builder.extract_element(vector, ir.Constant(_I32, lane))
            builder.store(value, builder.gep(data, [place]))
            place = builder.add(place, size)
        return context.get_dummy_value()

    return signature, codegen


def _sums4(builder, vectors):
    """The sums over each of four vectors' four lanes, as one vector."""
    while len(vectors) > 1:
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [
            builder.fadd(_shuffle(builder, a, b, [0, 2, 4, 6]), _shuffle(builder, a, b, [1, 3, 5, 7]), flags=_FLAGS)
            for a, b in pairs
        ]
    return vectors[0]


@intrinsic
def composite4(typingctx, still, moved, position, mask, ratio, colour, value):
    """value[0:4] = `mask` of the pixel moved[position:position+4] over still's, after its channels with colour[c] > 0
    are scaled by `ratio`.

    Where the mask is at least 1, the result is the moved pixel, bit for bit.
    """
    i, f = types.intp, types.float32
    signature = types.void(still, moved, i, f, f, colour, value)

    def codegen(context, builder, sig, args):
        still, moved, position, mask, ratio, colour, value = args

        def pixel(k, array, index):
            return _pointer(context, builder, sig.args[k], array, index, _V4)

        zero, one = ir.Constant(_I64, 0), _constant(1.0)
        scaled = builder.fcmp_ordered(">", _load(builder, pixel(5, colour, zero)), _constant(0.0))
        factor = builder.select(scaled, _broadcast(builder, _V4, [ratio]), one)
        top = builder.fmul(_load(builder, pixel(1, moved, position)), factor)
        target = pixel(6, value, zero)
        # Where all is covered, the still is not read.
        with builder.if_else(builder.fcmp_ordered(">=", mask, ir.Constant(_F, 1.0))) as (whole, in_part):
            with whole:
                builder.store(top, target, align=4)
            with in_part:
                base, part = _load(builder, pixel(0, still, position)), _broadcast(builder, _V4, [mask])
                mixed = builder.fadd(base, builder.fmul(part, builder.fsub(top, base), flags=_FLAGS), flags=_FLAGS)
                builder.store(mixed, target, align=4)
        return context.get_dummy_value()

    return signature, codegen
