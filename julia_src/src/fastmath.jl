# Exponential and logarithm without branches or tables, so that loops over the cells of a column vectorise.

const LOG2_E = 1.4426950408889634
const LOG_2_HIGH = 0.6931471805599453
const LOG_2_LOW = 2.3190468138462996e-17
const SHIFT = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to an integer that stands in the lowest bits

"One number, or one of each of several columns."
const Doubles = Union{Float64,Vec{W,Float64} where W}

@inline choice(m::Bool, a, b) = ifelse(m, a, b)
@inline choice(m::Vec{W,Bool}, a, b) where {W} = vifelse(m, Vec{W,Float64}(a), Vec{W,Float64}(b))
@inline same_bits(::Type{T}, x::Union{Float64,Int64,UInt64}) where {T} = reinterpret(T, x)
@inline same_bits(::Type{T}, x::Vec{W}) where {T,W} = reinterpret(Vec{W,T}, x)

# Neighbours are joined in pairs, so that few operations wait for one another. Base.evalpoly is not inlined for as many coefficients,
# and a call would stop vectorisation
@inline polynomial(x, a) = a
@inline polynomial(x, a...) = polynomial(x * x, pairs_of(x, a...)...)
@inline pairs_of(x) = ()
@inline pairs_of(x, a) = (a,)
@inline pairs_of(x, a, b, c...) = (muladd(x, b, a), pairs_of(x, c...)...)

"(exp(r) - 1 - r) / r^2 for |r| <= log(2) / 2."
@inline exp_rest(r) = polynomial(r, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720, 1 / 5040, 1 / 40320, 1 / 362880, 1 / 3628800,
    1 / 39916800, 1 / 479001600, 1 / 6227020800)

"""
    vexp(x)

Exponential, within 1.2 units in the last place; 0 below -708 and Inf above 709.7.
"""
@inline function vexp(x::Doubles)
    y = choice(x < -708.0, -708.0, choice(x > 709.7, 709.7, x))
    t = muladd(y, LOG2_E, SHIFT)
    k = t - SHIFT
    r = muladd(k, -LOG_2_LOW, muladd(k, -LOG_2_HIGH, y))
    p = 1.0 + muladd(r * r, exp_rest(r), r)
    # 2^k in two factors, since 2^1024 is no number
    half = same_bits(Float64, (same_bits(Int64, t) + 1022) << 52)
    e = 2.0 * (p * half)
    return choice(x < -708.0, 0.0, choice(x > 709.7, Inf, e))
end

"The same for numbers that are not positive, and not below e^-700, which is as good as zero beside one."
@inline function falling_exp(x::Doubles)
    y = choice(x < -700.0, -700.0, x)
    t = muladd(y, LOG2_E, SHIFT)
    k = t - SHIFT
    r = muladd(k, -LOG_2_LOW, muladd(k, -LOG_2_HIGH, y))
    p = 1.0 + muladd(r * r, exp_rest(r), r)
    return p * same_bits(Float64, (same_bits(Int64, t) + 1023) << 52)
end

"""
2 to the power x for x <= 0, within 3 units in the last place; 2^-1000 below that. The polynomial meets (2^f - 1) / f at the
Chebyshev points of |f| <= 1/2.
"""
@inline function falling_exp2(x::Doubles)
    y = choice(x < -1000.0, -1000.0, x)
    t = y + SHIFT
    f = y - (t - SHIFT)
    p = muladd(f,
        polynomial(f, 0.6931471805599462, 0.24022650695910075, 0.05550410866465167, 0.009618129107618665,
            0.0013333558200794592,
            0.00015403530424776529, 1.5252672924850737e-05, 1.3215451633221434e-06, 1.0205905413765595e-07,
            7.070977866508138e-09), 1.0)
    # p lies between 0.7 and 1.5: the power of two is added to its exponent
    return same_bits(Float64, same_bits(Int64, p) + (same_bits(Int64, t) << 52))
end

"""
    vlog(x)

Natural logarithm of a positive number, within one unit in the last place; NaN for others. Coefficients of FreeBSD's msun
(`e_log.c`).
"""
@inline function vlog(x::Doubles)
    return choice(x >= floatmin(Float64), choice(x <= floatmax(Float64), positive_log(x), x), NaN)
end

"The same for numbers that are known to be positive, normal and finite."
@inline function positive_log(x::Doubles)
    bits = same_bits(UInt64, x)
    # x = 2^k m with sqrt(1/2) <= m < sqrt(2); `biased` is k + 1024
    biased = (bits - 0x3fe6a09e00000000 + 0x4000000000000000) >>> 52
    m = same_bits(Float64, bits - (biased << 52) + 0x4000000000000000)
    k = same_bits(Float64, biased | 0x4330000000000000) - 4503599627371520.0
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    R =
        z * polynomial(z, 6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01,
            2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01)
    half_square = 0.5 * f * f
    return muladd(k, 6.93147180369123816490e-01, f - (half_square - muladd(s, half_square + R, k * 1.90821492927058770002e-10)))
end

"Reciprocals of several numbers with one division, which costs as much as ten products; their product must be a normal number."
@inline inverses(a) = (1 / a,)
@inline function inverses(a, b, c, d)
    of_both = inverses(a * b, c * d)
    return b * of_both[1], a * of_both[1], d * of_both[2], c * of_both[2]
end
@inline function inverses(a, b, c...)
    of_product, others... = inverses(a * b, c...)
    return (b * of_product, a * of_product, others...)
end

"Square root without the check of its domain, which would stop vectorisation; NaN for negative numbers."
@inline vsqrt(x::Union{Float64,Float32}) = Base.sqrt_llvm(x)

@inline vexp(x::Float32) = Float32(vexp(Float64(x)))
@inline falling_exp(x::Float32) = Float32(falling_exp(Float64(x)))
@inline vlog(x::Float32) = Float32(vlog(Float64(x)))
@inline positive_log(x::Float32) = Float32(positive_log(Float64(x)))

for f in (:vexp, :falling_exp)
    @eval @inline function $f(x::Dual{G}) where {G}
        e = $f(value(x))
        return Dual{G}(e, e * partials(x))
    end
end
@inline positive_log(x::Dual{G}) where {G} = Dual{G}(positive_log(value(x)), partials(x) / value(x))
@inline vlog(x::Dual{G}) where {G} = Dual{G}(vlog(value(x)), partials(x) / value(x))
@inline function vsqrt(x::Dual{G}) where {G}
    root = vsqrt(value(x))
    # what underflowed to zero stays there
    return Dual{G}(root, ifelse(root > zero(root), inv(2root), zero(root)) * partials(x))
end

"""
    power(x, y)

x to the power y for x >= 0, without branches: 0 to any power is 0, and so are its slopes; NaN for negative x.
"""
@inline power(x::T, y::T) where {T} = power_and_log(x, y)[1]

@inline function power_and_log(x::T, y::T) where {T}
    log_x = log(ifelse(x > zero(x), x, one(x)))
    z = exp(y * log_x)
    return ifelse(x > zero(x), z, ifelse(x == zero(x), zero(z), oftype(z, NaN))), log_x
end

@inline function power(x::Dual{G,T}, y::T) where {G,T}
    z, _ = power_and_log(value(x), y)
    return Dual{G}(z, slope_in_x(value(x), y, z) * partials(x))
end
@inline function power(x::T, y::Dual{G,T}) where {G,T}
    z, log_x = power_and_log(x, value(y))
    return Dual{G}(z, z * log_x * partials(y))
end
@inline function power(x::Dual{G,T,K}, y::Dual{G,T,K}) where {G,T,K}
    z, log_x = power_and_log(value(x), value(y))
    return Dual{G}(z, slope_in_x(value(x), value(y), z) * partials(x) + z * log_x * partials(y))
end
@inline power(x, y) = power(promote(x, y)...)
@inline slope_in_x(x, y, z) = ifelse(x == zero(x), zero(z), y * z / x)

"""
    per_cube_root(x)

One over the cube root of a positive, normal number, within 3 units in the last place, without division: a third of its exponent and mantissa,
within 3.5 %, and two steps of the series of (1 - r)^(-1/3), r = 1 - x y^3.
"""
@inline function per_cube_root(x::Doubles)
    third = ((same_bits(UInt64, x) >>> 32) * 0x0000000055555556) >>> 32
    y = same_bits(Float64, (0x00000000553ee8b4 - third) << 32)
    r = muladd(-x, y * y * y, 1.0)
    y = muladd(y * r, muladd(r * r, muladd(r, 35 / 243, 14 / 81), muladd(r, 2 / 9, 1 / 3)), y)
    r = muladd(-x, y * y * y, 1.0)
    return muladd(y * r, muladd(r, 2 / 9, 1 / 3), y)
end
@inline per_cube_root(x::Float32) = Float32(per_cube_root(Float64(x)))
@inline function per_cube_root(x::Dual{G}) where {G}
    y = per_cube_root(value(x))
    return Dual{G}(y, (y * y) * (y * y) * (-1 / 3) * partials(x))
end
