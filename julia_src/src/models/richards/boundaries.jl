# Boundary conditions of a soil column: flux through the outer face, positive downward, and the fluxes it reports.
#
# A boundary has
#   forcings(b), parameters(b)    names of what it reads
#   heads(b, forcing, parameter)  heads at its face, from the outside inwards; the innermost drives a Darcy flux
#   flow(b, x)                    the flux and the reported parts; x is a `Side`, with numbers of any kind
# Parts are (infiltration, runoff, evaporation) at the top and (drainage,) at the bottom. A boundary that stores water has `pond_flow`.

const SMOOTH = OF_RICHARDS.SMOOTH
const SUPPLY_WIDTH = OF_RICHARDS.SUPPLY_WIDTH
const POND_RELEASE = OF_RICHARDS.POND_RELEASE
const TINY_FLUX = OF_RICHARDS.TINY_FLUX

abstract type Boundary end

"Given pressure head at the face, half a cell from the centre of the outermost cell."
struct HeadBoundary <: Boundary
    top::Bool
end
"Given flux through the face, positive downward."
struct FluxBoundary <: Boundary
    top::Bool
end
"Unit gradient of total head at the bottom: the flux is the conductivity of the lowest cell."
struct FreeDrainage <: Boundary end
"Water leaves at zero head, and none enters: the smooth positive part (q + sqrt(q^2 + (1e-3 K_s)^2)) / 2 of the Darcy flux."
struct SeepageFace <: Boundary end
"""
Rain and potential evaporation, each limited by what the soil can take or give: smooth minima of the demand and the Darcy flux
from a surface at `ponding_height`, or to one at `minimum_surface_head`.
"""
struct Atmospheric <: Boundary end

"""
Rain and potential evaporation on a surface that stores water up to `ponding_height`; its depth is the first state. Where there is a pond,
the surface has its depth as head, else zero; over a depth of `pond_film` both are blended, and a full pond begins to overflow likewise.
What is above `ponding_height` runs off at the rate of 60 per hour, whether it rains or not.
"""
struct SurfaceLayer <: Boundary end

# few enough for the compiler to tell them apart without a dispatch at run time
const TopBoundary = Union{HeadBoundary,FluxBoundary,Atmospheric,SurfaceLayer}
const BottomBoundary = Union{HeadBoundary,FluxBoundary,FreeDrainage,SeepageFace}

const TOP_BOUNDARIES = Dict("head" => HeadBoundary(true), "flux" => FluxBoundary(true), "atmospheric" => Atmospheric(),
    "surface_layer" => SurfaceLayer())
const BOTTOM_BOUNDARIES = Dict("head" => HeadBoundary(false), "flux" => FluxBoundary(false), "free_drainage" => FreeDrainage(),
    "seepage_face" => SeepageFace())

"What a boundary sees: head and conductivity of the outermost cell, its heads and their conductivities, its forcing."
struct Side{X,T,M<:FaceMean}
    psi::X
    K::X
    heads::NTuple{2,X}
    K_heads::NTuple{2,X}
    forcing::NTuple{2,X}
    conductance::T
    mean::M
end

forcings(b::HeadBoundary) = b.top ? (:top_head,) : (:bottom_head,)
forcings(b::FluxBoundary) = b.top ? (:top_flux,) : (:bottom_flux,)
forcings(::Union{FreeDrainage,SeepageFace}) = ()
forcings(::Union{Atmospheric,SurfaceLayer}) = (:rain, :potential_evaporation)
parameters(::Boundary) = ()
parameters(::Atmospheric) = (:ponding_height, :minimum_surface_head)
parameters(::SurfaceLayer) = (:ponding_height, :minimum_surface_head, :pond_film)
"Whether the state begins with the depth of a pond."
stores(::Boundary) = false
stores(::SurfaceLayer) = true

"Number of heads that forcing and parameters give, and the heads themselves as a pair; unused ones are zero."
n_heads(::Union{HeadBoundary,SeepageFace,SurfaceLayer}) = 1
n_heads(::Union{FluxBoundary,FreeDrainage}) = 0
n_heads(::Atmospheric) = 2
heads(::HeadBoundary, forcing, parameter) = (forcing[1], zero(forcing[1]))
heads(::Atmospheric, forcing, parameter) = (parameter[2], parameter[1])
heads(::SurfaceLayer, forcing, parameter) = (parameter[2], zero(parameter[2]))
heads(::Boundary, forcing, parameter) = (zero(forcing[1]), zero(forcing[1]))

"Cotangents of the heads handed on to the forcing and the parameters of the boundary."
head_cotangents(b::Boundary, on_heads) = head_cotangents(b, on_heads[1], on_heads[2], zero(on_heads[1]))
head_cotangents(::HeadBoundary, first, second, none) = ((first, none), (none, none, none))
head_cotangents(::Atmospheric, first, second, none) = ((none, none), (second, first, none))
head_cotangents(::SurfaceLayer, first, second, none) = ((none, none), (none, first, none))
head_cotangents(::Boundary, first, second, none) = ((none, none), (none, none, none))

"Darcy flux between head number `k` at the face and the outermost cell, positive downward."
@inline function darcy(x::Side, top::Bool, k::Int)
    if top
        gradient = (x.psi - x.heads[k]) * x.conductance - 1
        return -face_mean(x.mean, x.K_heads[k], x.K, gradient) * gradient
    end
    gradient = (x.heads[k] - x.psi) * x.conductance - 1
    return -face_mean(x.mean, x.K, x.K_heads[k], gradient) * gradient
end

@inline outflow(flux) = (flux, (flux, zero(flux), zero(flux)))

@inline flow(b::HeadBoundary, x::Side) = outflow(darcy(x, b.top, 1))
@inline flow(b::FluxBoundary, x::Side) = outflow(x.forcing[1] + zero(x.psi))
@inline flow(::FreeDrainage, x::Side) = outflow(x.K)
@inline function flow(::SeepageFace, x::Side)
    q = darcy(x, false, 1)
    return outflow((q + sqrt(q * q + (oftype(x.conductance, 1e-3) * x.K_heads[1])^2)) / 2)
end
@inline function flow(::Atmospheric, x::Side)
    rain, demand = x.forcing
    infiltration = smooth_min(rain, darcy(x, true, 2), x.conductance)
    evaporation = from_soil(x, demand)
    return infiltration - evaporation, (infiltration, rain - infiltration, evaporation)
end
flow(::SurfaceLayer, x::Side) = throw(ArgumentError("a surface layer has pond_flow"))  # the compiler asks for it

"Evaporation that the soil yields."
@inline function from_soil(x::Side, demand)
    supply = -darcy(x, true, 1)  # upward
    upward =
        (supply + sqrt(supply * supply + (oftype(x.conductance, SUPPLY_WIDTH) * demand)^2 + oftype(x.conductance, TINY_FLUX))) /
        2
    return smooth_min(demand, upward, x.conductance)
end

"""
Flux into the pond of depth `pond` from above, flux out of it into the soil, less what evaporates from the soil in both, and the parts, with
ponding after the others. The head number 2 of the side is the depth of the pond, or zero.
"""
@inline function pond_flow(x::Side, pond, ponding_height, film)
    rain, demand = x.forcing
    capacity = darcy(x, true, 2)
    dry = smooth_min(rain, capacity, x.conductance)
    wet, room = share_of_film(pond / film), share_of_film((ponding_height - pond) / film)
    infiltration = dry + (capacity - dry) * wet
    of_pond, of_soil = demand * wet, from_soil(x, demand) * (1 - wet)
    surplus = rain - infiltration - of_pond - of_soil
    runoff =
        max(surplus, zero(surplus)) * (1 - room) + oftype(x.conductance, POND_RELEASE) * excess(pond - ponding_height, film)
    evaporation = of_pond + of_soil
    return rain - runoff - evaporation,
    infiltration - of_soil,
    (infiltration, runoff, evaporation, rain - runoff - infiltration)
end

"x (2 - x), one above a film, and 2 x below zero, where Newton may pass."
@inline share_of_film(x) = x < 0 ? 2x : x < 1 ? x * (2 - x) : one(x)

"max(depth, 0), smooth within one film above zero, where it is depth^2 / (2 film)."
@inline excess(depth, film) = depth < 0 ? zero(depth) : depth < film ? depth * (depth / film) / 2 : depth - film / 2

@inline function smooth_min(demand, capacity, like)
    gap = demand - capacity
    width = oftype(like, SMOOTH) * demand
    return (demand + capacity - sqrt(gap * gap + width * width + oftype(like, TINY_FLUX))) / 2
end

"Flux, parts, and their derivatives in the head of the outermost cell, whose conductivity has the slope dK."
@inline function flow_slope(b::Boundary, x::Side{T}, dK::T) where {T}
    constant(y) = Dual{Nothing}(y, zero(T))
    y = Side(Dual{Nothing}(x.psi, one(T)), Dual{Nothing}(x.K, dK), map(constant, x.heads), map(constant, x.K_heads),
        map(constant, x.forcing), x.conductance, x.mean)
    flux, parts = flow(b, y)
    return value(flux), partials(flux, 1), map(value, parts), map(p -> partials(p, 1), parts)
end

"The fluxes and parts of a pond, as dual numbers in its depth and the head of the outermost cell."
@inline function pond_slope(x::Side{T}, dK::T, dK_pond::T, pond::T, ponding_height::T, film::T) where {T}
    pair(y, by_pond, by_psi) = Dual{Nothing}(y, by_pond, by_psi)
    constant(y) = pair(y, zero(T), zero(T))
    wet = T(pond >= 0)  # the head of the surface is not below zero
    y = Side(pair(x.psi, zero(T), one(T)), pair(x.K, zero(T), dK), (constant(x.heads[1]), pair(x.heads[2], wet, zero(T))),
        (constant(x.K_heads[1]), pair(x.K_heads[2], wet * dK_pond, zero(T))), map(constant, x.forcing), x.conductance,
        x.mean)
    return pond_flow(y, pair(pond, one(T), zero(T)), constant(ponding_height), constant(film))
end

"Gradient of w_in (flux into the pond) + w_out (flux into the soil) + weights . parts as `flow_pull`, and in ponding height and film."
@inline function pond_pull(x::Side{T}, pond::T, ponding_height::T, film::T, w_in::T, w_out::T, weights::NTuple{4,T}) where {T}
    y = seed(SVector(x.psi, x.K, x.heads..., x.K_heads..., x.forcing..., ponding_height, film))
    into, out, parts =
        pond_flow(Side(y[1], y[2], (y[3], y[4]), (y[5], y[6]), (y[7], y[8]), x.conductance, x.mean), pond, y[9], y[10])
    total =
        w_in * into + w_out * out + weights[1] * parts[1] + weights[2] * parts[2] + weights[3] * parts[3] +
        weights[4] * parts[4]
    return gradient_of(total, Val(10))
end

"Gradient of w flux + weights . parts in psi, K, heads, their conductivities and forcing, as an SVector of 8."
@inline function flow_pull(b::Boundary, x::Side{T}, w::T, weights::NTuple{3,T}) where {T}
    y = seed(SVector(x.psi, x.K, x.heads..., x.K_heads..., x.forcing...))
    flux, parts = flow(b, Side(y[1], y[2], (y[3], y[4]), (y[5], y[6]), (y[7], y[8]), x.conductance, x.mean))
    total = w * flux + weights[1] * parts[1] + weights[2] * parts[2] + weights[3] * parts[3]
    return gradient_of(total, Val(8))
end
