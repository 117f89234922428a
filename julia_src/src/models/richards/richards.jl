# Richards equation on a finite-volume grid, mixed form: water content is conserved, pressure head is the unknown.

"""
    Richards(faces; layers = [0.0], hydraulics = VanGenuchten(), top = "atmospheric", bottom = "free_drainage",
             roots = nothing, face_mean = "arithmetic")

d(theta + S_s max(psi, 0))/dt = d/dz [K (d psi/dz - 1)] - uptake, depth z (cm) positive downward, time in hours. `faces` are
the depths of the cell faces, `layers` those at which soil layers begin, `roots` the name of a root profile or a [`RootUptake`](@ref). At a face between
two layers each soil's conductivity is averaged over both heads and the two halves act in series. Where the surface stores water its depth
is the first state, as of a cell above the others; `layers` in the struct are ranges of states.
Celia et al. (1990), doi:10.1029/WR026i007p01483.
"""
struct Richards{H<:SoilHydraulics,M<:FaceMean} <: Model
    faces::Vector{Float64}
    layers::Vector{UnitRange{Int}}
    hydraulics::H
    mean::M
    top::TopBoundary
    bottom::BottomBoundary
    roots::Union{Nothing,RootUptake}
    spec::ModelSpec
end

function Richards(faces::AbstractVector; layers=[0.0], hydraulics=VanGenuchten(), top="atmospheric", bottom="free_drainage",
    roots=nothing, face_mean="arithmetic")
    middle = (faces[1:(end-1)] .+ faces[2:end]) ./ 2
    number = [searchsortedlast(layers, z) for z in middle]
    ranges = [searchsorted(number, l) for l in eachindex(layers)]
    all(!isempty, ranges) || throw(Refused("a layer that begins at one of $layers cm has no cell; give each at least one"))
    upper = lookup(TOP_BOUNDARIES, top, "boundary condition at the top")
    ranges = [r .+ Int(stores(upper)) for r in ranges]
    lower = lookup(BOTTOM_BOUNDARIES, bottom, "boundary condition at the bottom")
    uptake = roots isa String ? RootUptake(roots) : roots
    mean = lookup(FACE_MEANS, face_mean, "face mean")
    # the types of the parts are known only now; code for guesses about them would be compiled anew at every start
    return dynamic(assemble)(collect(Float64, faces), ranges, hydraulics, mean, upper, lower, uptake)
end

function assemble(faces, ranges, hydraulics, mean, upper, lower, roots)
    names = [parameters(hydraulics)..., :specific_storage, parameters(upper)..., parameters(lower)...,
        (roots === nothing ? () : parameters(roots))...]
    drivers = [forcings(upper)..., forcings(lower)..., (roots === nothing ? () : (:potential_transpiration,))...]
    return Richards(
        faces,
        ranges,
        hydraulics,
        mean,
        upper,
        lower,
        roots,
        select("richards", names, drivers, stores(upper) ? () : (:pond, :ponding))
    )
end

"Number of states above those of the cells: of a pond."
@inline ponds(m::Richards) = Int(stores(m.top))
statesize(m::Richards) = length(m.faces) - 1 + ponds(m)
spec(m::Richards) = m.spec
jacobian(m::Richards, ::Type{T}) where {T} = Tridiagonal(T, statesize(m); rank_one=compensated(m))
compensated(m::Richards) = m.roots !== nothing && m.roots.compensated
networks(m::Richards) = networks(m.hydraulics)

"One side of a column: constants of an interval, and cotangents."
mutable struct Edge{T}
    conductance::T
    forcing::NTuple{2,T}
    parameter::NTuple{3,T}
    heads::NTuple{2,T}
    K_heads::NTuple{2,T}
    dK_heads::NTuple{2,T}
    on_forcing::NTuple{2,T}
    on_parameter::NTuple{3,T}
    on_heads::NTuple{2,T}
    on_K_heads::NTuple{2,T}
end

function Edge{T}(conductance) where {T}
    pair, three = (zero(T), zero(T)), (zero(T), zero(T), zero(T))
    return Edge{T}(conductance, pair, three, pair, pair, pair, pair, three, pair, pair)
end

mutable struct RichardsColumn{T,N,S,H}
    hydraulics::H
    # geometry
    dz::Vector{T}
    inverse_dz::Vector{T}
    conductance::Vector{T}
    # parameters of the interval
    raw::Vector{SVector{N,T}}
    soil::Vector{S}
    specific_storage::Vector{T}
    top::Edge{T}
    bottom::Edge{T}
    density::Vector{T}
    density_slope::Vector{T}
    feddes::NTuple{4,T}
    drought::NTuple{4,T}
    transpiration::T
    omega_c::T
    divisor::T    # of the uptake where roots compensate: the larger of omega and omega_c
    over::Bool    # it is omega
    # curves, faces
    curves::Curves{T}
    gradient::Vector{T}
    flux::Vector{T}
    by_up::Vector{T}
    by_low::Vector{T}
    # cotangents
    on_theta::Vector{T}
    on_K::Vector{T}
    on_face::Vector{T}
    on_raw::Vector{SVector{N,T}}
    on_specific_storage::Vector{T}
    on_feddes::NTuple{4,T}
    on_root_depth::T
    on_omega_c::T
    on_transpiration::T
    static_bound::Bool
end

column(m::Richards, ::Type{T}) where {T} = column(m, T, Val(length(parameters(m.hydraulics))))

function column(m::Richards, ::Type{T}, ::Val{N}) where {T,N}
    # a pond is a cell one unit thick
    n, count, dz = statesize(m), length(m.layers), T[ones(ponds(m)); diff(m.faces)]
    raw = fill(ones(SVector{N,T}), count)
    centre = (m.faces[1:(end-1)] .+ m.faces[2:end]) ./ 2
    vector(k) = zeros(T, k)
    none = ntuple(_ -> zero(T), Val(4))
    hydraulics = for_column(m.hydraulics, n, T)
    return RichardsColumn(hydraulics, dz, T[ones(ponds(m)); 1 ./ diff(m.faces)], T[zeros(1 + ponds(m)); 1 ./ diff(centre); 0],
        raw, fill(derive(hydraulics, raw[1]), count),
        vector(count), Edge{T}(2 / dz[1+ponds(m)]), Edge{T}(2 / dz[end]), vector(n), vector(n), none, none, zero(T), one(T),
        one(T), false, Curves{T}(n),
        vector(n + 1), vector(n + 1), vector(n + 1), vector(n + 1), vector(n), vector(n), vector(n + 1),
        zero(raw), vector(count), none, zero(T), zero(T), zero(T), false)
end

# ---- inputs of an interval ---------------------------------------------------------------------------------------------

function bind!(col::RichardsColumn{T,N}, m::Richards, inputs::Inputs{T}, c, k) where {T,N}
    p, f = inputs.parameters, inputs.forcing
    col.static_bound || bind_weights!(col.hydraulics, inputs.weights)
    if !col.static_bound || varying(inputs)
        for l in eachindex(m.layers)
            col.raw[l] = SVector(ntuple(i -> load(p[i], c, k, l), Val(N)))
            col.soil[l] = derive(col.hydraulics, col.raw[l])
            col.specific_storage[l] = load(p[N+1], c, k, l)
        end
        # no boundary at the bottom has parameters
        soil, top = N + 1, length(parameters(m.top))
        col.top.parameter = ntuple(i -> i <= top ? load(p[soil+i], c, k) : zero(T), Val(3))
        if m.roots !== nothing
            bind_roots!(col, m, m.roots, i -> load(p[soil+top+i], c, k))
        end
        col.static_bound = true
    end
    next = bind_edge!(col.top, m.top, col.hydraulics, col.soil[1], f, 0, c, k)
    next = bind_edge!(col.bottom, m.bottom, col.hydraulics, col.soil[end], f, next, c, k)
    m.roots !== nothing && bind_demand!(col, m.roots, load(f[next+1], c, k))
    return col
end

"Density and thresholds of the roots, whose parameter number i is `parameter(i)`."
function bind_roots!(col::RichardsColumn{T}, m::Richards, roots::RootUptake, parameter::F) where {T,F}
    next, cells = has_depth(roots) ? 1 : 0, (1+ponds(m)):statesize(m)
    root_density!(
        view(col.density, cells),
        view(col.density_slope, cells),
        roots.profile,
        m.faces,
        next == 1 ? parameter(1) : zero(T)
    )
    if roots.demand_dependent
        col.drought = ntuple(i -> parameter(next + 2 + i), Val(4))
        col.feddes = (parameter(next + 1), parameter(next + 2), zero(T), parameter(next + 7))
    else
        col.feddes = ntuple(i -> parameter(next + i), Val(4))
    end
    roots.compensated && (col.omega_c = parameter(length(parameters(roots))))
end

function bind_demand!(col::RichardsColumn{T}, roots::RootUptake, demand::T) where {T}
    col.transpiration = demand
    if roots.demand_dependent
        f1, f2, _, f4 = col.feddes
        col.feddes = (f1, f2, drought(col.drought..., demand), f4)
    end
end

"Forcing, heads and their conductivities of a boundary, whose forcing begins after number `next`; the number of its last."
function bind_edge!(edge::Edge{T}, b::Boundary, h, soil, forcing, next, c, k) where {T}
    count = length(forcings(b))
    edge.forcing = two(i -> load(forcing[next+i], c, k), count, T)
    edge.heads = heads(b, edge.forcing, edge.parameter)
    if n_heads(b) > 0
        K1, K2 = conductivity(h, soil, edge.heads[1]), conductivity(h, soil, edge.heads[2])
        edge.K_heads, edge.dK_heads = (K1[1], K2[1]), (K1[2], K2[2])
    end
    return next + count
end

@inline two(f, count, ::Type{T}) where {T} = (count >= 1 ? f(1) : zero(T), count >= 2 ? f(2) : zero(T))

# ---- equations ---------------------------------------------------------------------------------------------------------

@inline side(m::Richards, edge::Edge, psi, K) = Side(psi, K, edge.heads, edge.K_heads, edge.forcing, edge.conductance, m.mean)

function linearise!(lin::Linearisation{T}, col::RichardsColumn{T}, m::Richards, psi::Vector{T}, keep::Bool) where {T}
    n = length(psi)
    curves = col.curves
    for l in eachindex(m.layers)
        slopes!(curves, col.hydraulics, col.soil[l], psi, m.layers[l], keep)
    end
    K, dK, q, by_up, by_low = curves.K, curves.dK, col.flux, col.by_up, col.by_low
    first, top = 1 + ponds(m), m.top
    inner_faces!(col, m.mean, psi, first)
    for l in 1:(length(m.layers)-1)
        interface!(col, m, psi, l)
    end
    lin.fluxes .= zero(T)
    out_of_pond = zero(T)  # slope of the flux into the pond in the head of the first cell
    if top isa SurfaceLayer
        bind_pond!(col, psi[1])
        into, out, parts = pond_slope(col, m, psi)
        q[1], by_low[1], out_of_pond = value(into), partials(into, 1), partials(into, 2)
        q[2], by_up[2], by_low[2] = value(out), partials(out, 1), partials(out, 2)
        lin.fluxes[1], lin.fluxes[2], lin.fluxes[3], lin.fluxes[6] = map(value, parts)
        lin.storage[1], lin.capacity[1] = psi[1], one(T)
    else
        flux, slope, parts, _ = flow_slope(top, side(m, col.top, psi[1], K[1]), dK[1])
        q[1], by_low[1] = flux, slope
        lin.fluxes[1], lin.fluxes[2], lin.fluxes[3] = parts
    end
    flux, slope, parts, _ = flow_slope(m.bottom, side(m, col.bottom, psi[n], K[n]), dK[n])
    q[n+1], by_up[n+1] = flux, slope
    lin.fluxes[5] = parts[1]
    J, inverse_dz, rates = lin.jacobian, col.inverse_dz, lin.rates
    @inbounds begin
        lower, main, upper = J.lower, J.main, J.upper
        @simd ivdep for i in 1:n
            rates[i] = (q[i] - q[i+1]) * inverse_dz[i]
            main[i] = (by_low[i] - by_up[i+1]) * inverse_dz[i]
            lower[i] = by_up[i] * inverse_dz[i]
            upper[i] = -by_low[i+1] * inverse_dz[i]
        end
        lower[1], upper[n] = zero(T), zero(T)
        upper[1] += out_of_pond
    end
    m.roots === nothing ||
        (lin.fluxes[4] = m.roots.compensated ? compensated_uptake!(rates, J, col, psi) : uptake!(rates, J.main, col, psi))
    for l in eachindex(m.layers)
        add_specific_storage!(lin, curves, col.specific_storage[l], psi, m.layers[l])
    end
    return lin
end

"Head of the surface under a pond of this depth, and its conductivity."
function bind_pond!(col::RichardsColumn{T}, pond::T) where {T}
    edge, head = col.top, max(pond, zero(T))
    K, dK = conductivity(col.hydraulics, col.soil[1], head)
    edge.heads, edge.K_heads, edge.dK_heads = (edge.heads[1], head), (edge.K_heads[1], K), (edge.dK_heads[1], dK)
    return
end

pond_slope(col::RichardsColumn, m::Richards, psi) =
    pond_slope(
        side(m, col.top, psi[2], col.curves.K[2]),
        col.curves.dK[2],
        col.top.dK_heads[2],
        psi[1],
        col.top.parameter[1],
        col.top.parameter[3]
    )

@inline function inner_faces!(col::RichardsColumn{T}, mean::FaceMean, psi::Vector{T}, first) where {T}
    K, dK, q, g, by_up, by_low, conductance =
        col.curves.K, col.curves.dK, col.flux, col.gradient, col.by_up, col.by_low, col.conductance
    @inbounds @simd ivdep for i in (first+1):length(psi)
        slope = muladd(psi[i] - psi[i-1], conductance[i], -one(T))
        K_face, upper, lower = face_slopes(mean, K[i-1], K[i], slope)
        part = K_face * conductance[i]
        g[i] = slope
        q[i] = -K_face * slope
        by_up[i] = muladd(-dK[i-1] * upper, slope, part)
        by_low[i] = -muladd(dK[i] * lower, slope, part)
    end
end

"Conductivity of the face below layer `l` from those of both soils at both heads."
@inline function across(mean, half_up, half_low, K, gradient)
    # the upper soil at the upper and the lower head, the lower soil at the upper and the lower head
    upper, lower = face_mean(mean, K[1], K[2], gradient), face_mean(mean, K[3], K[4], gradient)
    return (half_up + half_low) / (half_up / upper + half_low / lower)
end

function crossing(col::RichardsColumn{T}, m::Richards, psi, l) where {T}
    i = m.layers[l].stop
    K, dK = col.curves.K, col.curves.dK
    below = conductivity(col.hydraulics, col.soil[l], psi[i+1])
    above = conductivity(col.hydraulics, col.soil[l+1], psi[i])
    Ks = seed(SVector(K[i], below[1], above[1], K[i+1]))
    face = across(m.mean, col.dz[i] / 2, col.dz[i+1] / 2, Ks, col.gradient[i+1])
    return i, face, SVector(dK[i], below[2], above[2], dK[i+1])
end

function interface!(col::RichardsColumn{T}, m::Richards, psi, l) where {T}
    i, face, dKs = crossing(col, m, psi, l)
    by, slope, part = gradient_of(face, Val(4)), col.gradient[i+1], value(face) * col.conductance[i+1]
    col.flux[i+1] = -value(face) * slope
    col.by_up[i+1] = part - (by[1] * dKs[1] + by[3] * dKs[3]) * slope
    col.by_low[i+1] = -(part + (by[2] * dKs[2] + by[4] * dKs[4]) * slope)
end

function uptake!(rates, main, col::RichardsColumn{T}, psi) where {T}
    total = zero(T)
    f1, f2, f3, f4 = col.feddes
    @inbounds for i in eachindex(psi)
        stress, slope, _ = feddes(psi[i], f1, f2, f3, f4)
        demand = col.transpiration * col.density[i]
        rates[i] -= demand * stress
        main[i] -= demand * slope
        total += demand * stress * col.dz[i]
    end
    return total
end

"Uptake that is divided by the larger of the mean stress of the roots and omega_c: it depends on the heads of all cells."
function compensated_uptake!(rates, J, col::RichardsColumn{T}, psi) where {T}
    omega = zero(T)
    for i in eachindex(psi)
        omega += col.density[i] * col.dz[i] * feddes(psi[i], col.feddes...)[1]
    end
    col.over = omega > col.omega_c
    col.divisor = col.over ? omega : col.omega_c
    for i in eachindex(psi)
        stress, slope, _ = feddes(psi[i], col.feddes...)
        factor = col.transpiration * col.density[i] / col.divisor
        rates[i] -= factor * stress
        J.main[i] -= factor * slope
        J.column[i] = col.over ? factor * stress / col.divisor : zero(T)
        J.row[i] = col.density[i] * col.dz[i] * slope
    end
    return col.transpiration * omega / col.divisor
end

@inline function add_specific_storage!(lin::Linearisation{T}, curves, specific::T, psi, range) where {T}
    storage, capacity, theta, slope = lin.storage, lin.capacity, curves.theta, curves.capacity
    @inbounds @simd ivdep for i in range
        storage[i] = muladd(specific, max(psi[i], zero(T)), theta[i])
        # at zero head the slope is that of the wet side
        capacity[i] = slope[i] + ifelse(psi[i] >= 0, specific, zero(T))
    end
end

"Next to saturation a soil without air entry stores nothing: the specific storage is the least capacity."
function raise_capacity!(lin::Linearisation, col::RichardsColumn, m::Richards)
    for l in eachindex(m.layers), i in m.layers[l]
        # as far as the soil conducts as if saturated: in dry soil the capacity may be smaller, and is true
        lin.capacity[i] = max(lin.capacity[i], col.specific_storage[l] * col.curves.K[i] / col.soil[l].K_s)
    end
end
