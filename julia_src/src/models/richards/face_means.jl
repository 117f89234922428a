# Conductivity at a face from those on its two sides, with its derivatives in both; for numbers of any kind.

abstract type FaceMean end

"(K1 + K2) / 2: second order in space, and lets a wetting front enter dry soil."
struct Arithmetic <: FaceMean end
"sqrt(K1 K2)."
struct Geometric <: FaceMean end
"2 K1 K2 / (K1 + K2): the exact mean of two resistances in series."
struct Harmonic <: FaceMean end
"Conductivity of the side the water comes from: first order in space, monotone."
struct Upstream <: FaceMean end

const FACE_MEANS =
    Dict("arithmetic" => Arithmetic(), "geometric" => Geometric(), "harmonic" => Harmonic(), "upstream" => Upstream())

@inline face_mean(::Arithmetic, upper, lower, gradient) = (upper + lower) / 2
@inline face_mean(::Geometric, upper, lower, gradient) = vsqrt(upper * lower)
@inline face_mean(::Harmonic, upper, lower, gradient) = 2 * upper * lower / (upper + lower)
@inline face_mean(::Upstream, upper, lower, gradient) = ifelse(gradient < 0, upper, lower)  # the flux is -K gradient

"Mean, and its derivatives in the upper and in the lower conductivity."
@inline face_slopes(::Arithmetic, upper::T, lower::T, gradient) where {T} = ((upper + lower) / 2, T(0.5), T(0.5))
@inline function face_slopes(::Geometric, upper, lower, gradient)
    mean = vsqrt(upper * lower)
    return mean, mean / (2upper), mean / (2lower)
end
@inline function face_slopes(::Harmonic, upper, lower, gradient)
    r = 2 / (upper + lower)
    return upper * lower * r, (lower * r)^2 / 2, (upper * r)^2 / 2
end
@inline function face_slopes(::Upstream, upper::T, lower::T, gradient) where {T}
    down = T(gradient < 0)
    return ifelse(gradient < 0, upper, lower), down, 1 - down
end
