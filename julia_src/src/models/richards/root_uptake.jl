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

"Share of the roots per unit of length in each cell, given."
struct GivenRoots <: RootProfile
    density::Vector{Float64}
end

"""
    RootUptake(profile; demand_dependent = false, compensated = false)

Root water uptake with a profile of root density, which is the name of one or a vector of shares per unit of length. `demand_dependent`:
whether the threshold of drought depends on the demand. `compensated`: whether roots that find water make up for others (Jarvis 1989,
doi:10.1016/0022-1694(89)90050-4): the uptake of every cell is divided by the larger of omega, the mean stress of the roots, and `omega_c`.
"""
struct RootUptake
    profile::Union{UniformRoots,LinearRoots,ExponentialRoots,GivenRoots}
    demand_dependent::Bool
    compensated::Bool
end
RootUptake(name::String; options...) = RootUptake(lookup(ROOT_PROFILES, name, "root profile"); options...)
RootUptake(density::Vector{Float64}; options...) = RootUptake(GivenRoots(density); options...)
RootUptake(profile::RootProfile; demand_dependent=false, compensated=false) = RootUptake(profile, demand_dependent, compensated)

has_depth(r::RootUptake) = !(r.profile isa GivenRoots)

function parameters(r::RootUptake)
    names = has_depth(r) ? [:root_depth] : Symbol[]
    dry = r.demand_dependent ? [:feddes_3_high, :feddes_3_low, :demand_high, :demand_low] : [:feddes_3]
    return [names; :feddes_1; :feddes_2; dry; :feddes_4; r.compensated ? [:omega_c] : Symbol[]]
end

"feddes_3 from its values at high and low demand, these demands, and the demand."
@inline drought(high, low, demand_high, demand_low, demand) =
    low + (high - low) * min(max((demand - demand_low) / (demand_high - demand_low), zero(demand)), one(demand))

"Share of the roots per cm in each cell, and its derivative in the root depth."
function root_density!(density::AbstractVector{T}, slope::AbstractVector{T}, profile::GivenRoots, faces, depth::T) where {T}
    density .= profile.density
    slope .= zero(T)
end
function root_density!(density::AbstractVector{T}, slope::AbstractVector{T}, profile::RootProfile, faces, depth::T) where {T}
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
    by =
        wet < dry ? ((1 - wet) * per_wet, wet * per_wet, zero(T), zero(T)) :
        (zero(T), zero(T), -dry * per_dry, (dry - 1) * per_dry)
    return stress, slope, by
end
