# Exponential and logarithm without branches or tables, so that loops over the cells of a column vectorise.

const LOG2_E = 1.4426950408889634
const LOG_2_HIGH = 0.6931471805599453
const LOG_2_LOW = 2.3190468138462996e-17
const SHIFT = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to an integer that stands in the lowest bits

# Base.evalpoly is not inlined for as many coefficients, and a call would stop vectorisation
@inline horner(x, a) = a
@inline horner(x, a, b...) = muladd(x, horner(x, b...), a)

"""
    vexp(x)

Exponential, within 1.2 units in the last place; 0 below -708 and Inf above 709.7.
"""
@inline function vexp(x::Float64)
    y = ifelse(x < -708.0, -708.0, ifelse(x > 709.7, 709.7, x))
    t = muladd(y, LOG2_E, SHIFT)
    k = t - SHIFT
    r = muladd(k, -LOG_2_LOW, muladd(k, -LOG_2_HIGH, y))
    p = horner(r, 1.0, 1.0, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720, 1 / 5040, 1 / 40320, 1 / 362880, 1 / 3628800,
        1 / 39916800, 1 / 479001600, 1 / 6227020800)
    # 2^k in two factors, since 2^1024 is no number
    half = reinterpret(Float64, (reinterpret(Int64, t) + 1022) << 52)
    e = 2.0 * (p * half)
    return ifelse(x < -708.0, 0.0, ifelse(x > 709.7, Inf, e))
end

"""
    vlog(x)

Natural logarithm of a positive number, within one unit in the last place; NaN for others. Coefficients of FreeBSD's msun
(`e_log.c`).
"""
@inline function vlog(x::Float64)
    return ifelse(x >= floatmin(Float64), ifelse(x <= floatmax(Float64), positive_log(x), x), NaN)
end

"The same for numbers that are known to be positive, normal and finite."
@inline function positive_log(x::Float64)
    bits = reinterpret(UInt64, x)
    # x = 2^k m with sqrt(1/2) <= m < sqrt(2); `biased` is k + 1024
    biased = (bits - 0x3fe6a09e00000000 + 0x4000000000000000) >>> 52
    m = reinterpret(Float64, bits - (biased << 52) + 0x4000000000000000)
    k = reinterpret(Float64, biased | 0x4330000000000000) - 4503599627371520.0
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    R = z * horner(z, 6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01,
        2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01)
    half_square = 0.5 * f * f
    return muladd(k, 6.93147180369123816490e-01, f - (half_square - muladd(s, half_square + R, k * 1.90821492927058770002e-10)))
end

"Square root without the check of its domain, which would stop vectorisation; NaN for negative numbers."
@inline vsqrt(x::Union{Float64,Float32}) = Base.sqrt_llvm(x)

@inline vexp(x::Float32) = Float32(vexp(Float64(x)))
@inline vlog(x::Float32) = Float32(vlog(Float64(x)))
@inline positive_log(x::Float32) = Float32(positive_log(Float64(x)))

@inline function vexp(x::Dual{G}) where {G}
    e = vexp(value(x))
    return Dual{G}(e, e * partials(x))
end
@inline positive_log(x::Dual{G}) where {G} = Dual{G}(positive_log(value(x)), partials(x) / value(x))
@inline vlog(x::Dual{G}) where {G} = Dual{G}(vlog(value(x)), partials(x) / value(x))
@inline function vsqrt(x::Dual{G}) where {G}
    root = vsqrt(value(x))
    # what underflowed to zero stays there
    return Dual{G}(root, root > 0 ? partials(x) / (2root) : zero(partials(x)))
end
