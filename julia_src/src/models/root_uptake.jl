# Root water uptake after Feddes et al. (1978), with a profile of root density.

abstract type RootProfile end
struct UniformRoots <: RootProfile end
struct LinearRoots <: RootProfile end
struct ExponentialRoots <: RootProfile end

const ROOT_PROFILES = Dict("uniform" => UniformRoots(), "linear" => LinearRoots(), "exponential" => ExponentialRoots())

"Share of the roots above the depth z."
share(::UniformRoots, z, depth) = min(z / depth, one(z / depth))
function share(::LinearRoots, z, depth)
    s = min(z / depth, one(z / depth))
    return s * (2 - s)
end
share(::ExponentialRoots, z, depth) = 1 - exp(-3 * z / depth)

const ROOT_PARAMETERS = (:root_depth, :feddes_1, :feddes_2, :feddes_3, :feddes_4)

"Share of the roots per cm in each cell, and its derivative in the root depth."
function root_density!(density::Vector{T}, slope::Vector{T}, profile::RootProfile, faces, depth::T) where {T}
    d = Dual{Nothing}(depth, one(T))
    above = share(profile, T(faces[1]), d)
    total = share(profile, T(faces[end]), d) - above
    for i in eachindex(density)
        below = share(profile, T(faces[i+1]), d)
        x = (below - above) / (total * T(faces[i+1] - faces[i]))
        density[i], slope[i] = value(x), partials(x, 1)
        above = below
    end
end

"Stress factor between 0 (no uptake) and 1, its slope in psi, and its derivatives in the four heads of Feddes."
@inline function feddes(psi::T, f1::T, f2::T, f3::T, f4::T) where {T}
    per_wet, per_dry = 1 / (f1 - f2), 1 / (f3 - f4)
    wet, dry = (f1 - psi) * per_wet, (psi - f4) * per_dry
    stress, slope = wet < dry ? (wet, -per_wet) : (dry, per_dry)
    stress <= 0 && return zero(T), zero(T), (zero(T), zero(T), zero(T), zero(T))
    stress >= 1 && return one(T), zero(T), (zero(T), zero(T), zero(T), zero(T))
    by = wet < dry ? ((1 - wet) * per_wet, wet * per_wet, zero(T), zero(T)) : (zero(T), zero(T), -dry * per_dry, (dry - 1) * per_dry)
    return stress, slope, by
end
