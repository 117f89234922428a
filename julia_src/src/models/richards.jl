# Richards equation on a finite-volume grid, mixed form: water content is conserved, pressure head is the unknown.

"""
    Richards(faces; layers = [0.0], hydraulics = VanGenuchten(), top = "atmospheric", bottom = "free_drainage",
             roots = nothing, face_mean = "arithmetic")

d(theta + S_s max(psi, 0))/dt = d/dz [K (d psi/dz - 1)] - uptake, depth z (cm) positive downward, time in hours. `faces` are
the depths of the cell faces, `layers` those at which soil layers begin, `roots` the name of a root profile or a [`RootUptake`](@ref). At a face between
two layers each soil's conductivity is averaged over both heads and the two halves act in series.
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
    middle = (faces[1:end-1] .+ faces[2:end]) ./ 2
    number = [searchsortedlast(layers, z) for z in middle]
    ranges = [searchsorted(number, l) for l in eachindex(layers)]
    all(!isempty, ranges) || throw(Refused("a layer that begins at one of $layers cm has no cell; give each at least one"))
    upper = lookup(TOP_BOUNDARIES, top, "boundary condition at the top")
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
    return Richards(faces, ranges, hydraulics, mean, upper, lower, roots, select("richards", names, drivers))
end

statesize(m::Richards) = length(m.faces) - 1
spec(m::Richards) = m.spec
jacobian(m::Richards, ::Type{T}) where {T} = Tridiagonal(T, statesize(m))
networks(m::Richards) = networks(m.hydraulics)

"One side of a column: constants of an interval, and cotangents."
mutable struct Edge{T}
    conductance::T
    forcing::NTuple{2,T}
    parameter::NTuple{2,T}
    heads::NTuple{2,T}
    K_heads::NTuple{2,T}
    dK_heads::NTuple{2,T}
    on_forcing::NTuple{2,T}
    on_parameter::NTuple{2,T}
    on_heads::NTuple{2,T}
    on_K_heads::NTuple{2,T}
end

function Edge{T}(conductance) where {T}
    pair = (zero(T), zero(T))
    return Edge{T}(conductance, ntuple(_ -> pair, 9)...)
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
    on_transpiration::T
    static_bound::Bool
end

column(m::Richards, ::Type{T}) where {T} = column(m, T, Val(length(parameters(m.hydraulics))))

function column(m::Richards, ::Type{T}, ::Val{N}) where {T,N}
    n, count, dz = statesize(m), length(m.layers), Vector{T}(diff(m.faces))
    raw = fill(ones(SVector{N,T}), count)
    centre = (m.faces[1:end-1] .+ m.faces[2:end]) ./ 2
    vector(k) = zeros(T, k)
    none = ntuple(_ -> zero(T), Val(4))
    hydraulics = for_column(m.hydraulics, n, T)
    return RichardsColumn(hydraulics, dz, Vector{T}(1 ./ diff(m.faces)), T[0; 1 ./ diff(centre); 0], raw, fill(derive(hydraulics, raw[1]), count),
        vector(count), Edge{T}(2 / dz[1]), Edge{T}(2 / dz[end]), vector(n), vector(n), none, none, zero(T), Curves{T}(n),
        vector(n + 1), vector(n + 1), vector(n + 1), vector(n + 1), vector(n), vector(n), vector(n + 1),
        zero(raw), vector(count), none, zero(T), zero(T), false)
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
        col.top.parameter = two(i -> load(p[soil+i], c, k), top, T)
        if m.roots !== nothing
            bind_roots!(col, m.roots, m.faces, i -> load(p[soil+top+i], c, k))
        end
        col.static_bound = true
    end
    next = bind_edge!(col.top, m.top, col.hydraulics, col.soil[1], f, 0, c, k)
    next = bind_edge!(col.bottom, m.bottom, col.hydraulics, col.soil[end], f, next, c, k)
    m.roots !== nothing && bind_demand!(col, m.roots, load(f[next+1], c, k))
    return col
end

"Density and thresholds of the roots, whose parameter number i is `parameter(i)`."
function bind_roots!(col::RichardsColumn{T}, roots::RootUptake, faces, parameter::F) where {T,F}
    next = has_depth(roots) ? 1 : 0
    root_density!(col.density, col.density_slope, roots.profile, faces, next == 1 ? parameter(1) : zero(T))
    if roots.demand_dependent
        col.drought = ntuple(i -> parameter(next + 2 + i), Val(4))
        col.feddes = (parameter(next + 1), parameter(next + 2), zero(T), parameter(next + 7))
    else
        col.feddes = ntuple(i -> parameter(next + i), Val(4))
    end
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
    inner_faces!(col, m.mean, psi)
    for l in 1:length(m.layers)-1
        interface!(col, m, psi, l)
    end
    lin.fluxes .= zero(T)
    flux, slope, parts, _ = flow_slope(m.top, side(m, col.top, psi[1], K[1]), dK[1])
    q[1], by_low[1] = flux, slope
    lin.fluxes[1], lin.fluxes[2], lin.fluxes[3] = parts
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
    end
    m.roots === nothing || (lin.fluxes[4] = uptake!(rates, J.main, col, psi))
    for l in eachindex(m.layers)
        add_specific_storage!(lin, curves, col.specific_storage[l], psi, m.layers[l])
    end
    return lin
end

@inline function inner_faces!(col::RichardsColumn{T}, mean::FaceMean, psi::Vector{T}) where {T}
    K, dK, q, g, by_up, by_low, conductance = col.curves.K, col.curves.dK, col.flux, col.gradient, col.by_up, col.by_low, col.conductance
    @inbounds @simd ivdep for i in 2:length(psi)
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

@inline function add_specific_storage!(lin::Linearisation{T}, curves, specific::T, psi, range) where {T}
    storage, capacity, theta, slope = lin.storage, lin.capacity, curves.theta, curves.capacity
    @inbounds @simd ivdep for i in range
        storage[i] = muladd(specific, max(psi[i], zero(T)), theta[i])
        capacity[i] = slope[i] + ifelse(psi[i] > 0, specific, zero(T))
    end
end

# ---- gradients ---------------------------------------------------------------------------------------------------------

"out += derivative of w . fluxes in the state where `linearise!` was called last."
function add_flux_slopes!(out::Vector{T}, col::RichardsColumn{T}, m::Richards, psi::Vector{T}, w) where {T}
    n, K, dK = length(psi), col.curves.K, col.curves.dK
    slopes = flow_slope(m.top, side(m, col.top, psi[1], K[1]), dK[1])[4]
    out[1] += w[1] * slopes[1] + w[2] * slopes[2] + w[3] * slopes[3]
    out[n] += w[5] * flow_slope(m.bottom, side(m, col.bottom, psi[n], K[n]), dK[n])[4][1]
    if m.roots !== nothing && w[4] != 0
        for i in eachindex(psi)
            out[i] += w[4] * col.transpiration * col.density[i] * col.dz[i] * feddes(psi[i], col.feddes...)[2]
        end
    end
    return out
end

"""
Add the cotangents of parameters and forcing from those of storage, rates and fluxes at the state where
`linearise!(..., keep = true)` was called last.
"""
function pull!(col::RichardsColumn{T}, m::Richards, psi::Vector{T}, on_storage::Vector{T}, on_rates::Vector{T}, w) where {T}
    n, curves = length(psi), col.curves
    K, dK, on_K, on_face, idz, g = curves.K, curves.dK, col.on_K, col.on_face, col.inverse_dz, col.gradient
    @inbounds begin
        on_face[1], on_face[n+1] = on_rates[1] * idz[1], -on_rates[n] * idz[n]
        @simd ivdep for i in 2:n
            on_face[i] = on_rates[i] * idz[i] - on_rates[i-1] * idz[i-1]
        end
    end
    share_faces!(on_K, on_face, m.mean, K, g)
    for l in 1:length(m.layers)-1
        pull_interface!(col, m, psi, l)
    end
    by = flow_pull(m.top, side(m, col.top, psi[1], K[1]), on_face[1], (T(w[1]), T(w[2]), T(w[3])))
    on_K[1] += by[2]
    keep_edge!(col.top, by)
    by = flow_pull(m.bottom, side(m, col.bottom, psi[n], K[n]), on_face[n+1], (T(w[5]), zero(T), zero(T)))
    on_K[n] += by[2]
    keep_edge!(col.bottom, by)
    m.roots === nothing || pull_uptake!(col, psi, on_rates, T(w[4]))
    for l in eachindex(m.layers)
        range = m.layers[l]
        col.on_raw[l] += pull(col.hydraulics, col.raw[l], col.soil[l], curves, psi, on_storage, on_K, range)
        total = zero(T)
        @inbounds @simd for i in range
            total += on_storage[i] * max(psi[i], zero(T))
        end
        col.on_specific_storage[l] += total
    end
    return col
end

@inline function share_faces!(on_K::Vector{T}, on_face, mean::FaceMean, K, g) where {T}
    n = length(K)
    @inbounds begin
        on_K[1] = -g[2] * on_face[2] * face_slopes(mean, K[1], K[2], g[2])[2]
        on_K[n] = -g[n] * on_face[n] * face_slopes(mean, K[n-1], K[n], g[n])[3]
        @simd ivdep for i in 2:n-1
            on_K[i] = -g[i] * on_face[i] * face_slopes(mean, K[i-1], K[i], g[i])[3] -
                      g[i+1] * on_face[i+1] * face_slopes(mean, K[i], K[i+1], g[i+1])[2]
        end
    end
end

function pull_interface!(col::RichardsColumn{T}, m::Richards, psi, l) where {T}
    i, face, _ = crossing(col, m, psi, l)
    K, weight = col.curves.K, -col.gradient[i+1] * col.on_face[i+1]
    # take back what the mean of one soil was given for this face
    _, upper, lower = face_slopes(m.mean, K[i], K[i+1], col.gradient[i+1])
    by = weight * gradient_of(face, Val(4))
    col.on_K[i] += by[1] - weight * upper
    col.on_K[i+1] += by[4] - weight * lower
    col.on_raw[l] += pull_conductivity(col.hydraulics, col.raw[l], psi[i+1], by[2])
    col.on_raw[l+1] += pull_conductivity(col.hydraulics, col.raw[l+1], psi[i], by[3])
end

@inline function keep_edge!(edge::Edge, by)
    edge.on_heads = edge.on_heads .+ (by[3], by[4])
    edge.on_K_heads = edge.on_K_heads .+ (by[5], by[6])
    edge.on_forcing = edge.on_forcing .+ (by[7], by[8])
end

function pull_uptake!(col::RichardsColumn{T}, psi, on_rates, w::T) where {T}
    demand, on_demand, on_depth = col.transpiration, zero(T), zero(T)
    on_feddes = ntuple(_ -> zero(T), 4)
    for i in eachindex(psi)
        stress, _, by = feddes(psi[i], col.feddes...)
        weight = w * col.dz[i] - on_rates[i]
        on_demand += weight * col.density[i] * stress
        on_depth += weight * demand * stress * col.density_slope[i]
        on_feddes = on_feddes .+ (weight * demand * col.density[i]) .* by
    end
    col.on_transpiration += on_demand
    col.on_root_depth += on_depth
    col.on_feddes = col.on_feddes .+ on_feddes
end

function flush!(parameter_fields, forcing_fields, col::RichardsColumn{T,N}, m::Richards, c, k) where {T,N}
    next = flush_edge!(forcing_fields, 0, col.top, m.top, col, 1, c, k)
    next = flush_edge!(forcing_fields, next, col.bottom, m.bottom, col, length(m.layers), c, k)
    on_drought = m.roots === nothing ? zero(SVector{5,T}) : pull_drought(col, m.roots)
    m.roots === nothing || add!(forcing_fields[next+1], col.on_transpiration + on_drought[5], c, k)
    for l in eachindex(m.layers)
        for i in 1:N
            add!(parameter_fields[i], col.on_raw[l][i], c, k, l)
        end
        add!(parameter_fields[N+1], col.on_specific_storage[l], c, k, l)
    end
    next = N + 1
    for i in eachindex(parameters(m.top))
        add!(parameter_fields[next+i], col.top.on_parameter[i], c, k)
    end
    before_roots = N + 1 + length(parameters(m.top))
    m.roots === nothing || flush_roots!((i, g) -> add!(parameter_fields[before_roots+i], g, c, k), col, m.roots, on_drought)
    return clear!(col)
end

"Cotangents of the four numbers of the threshold of drought, and of the demand by that way."
function pull_drought(col::RichardsColumn{T}, roots::RootUptake) where {T}
    roots.demand_dependent || return zero(SVector{5,T})
    return col.on_feddes[3] * gradient_of(drought(seed(SVector(col.drought..., col.transpiration))...), Val(5))
end

"Call write(i, cotangent) for each parameter of the roots."
function flush_roots!(write::F, col::RichardsColumn, roots::RootUptake, on_drought) where {F}
    on, next = col.on_feddes, has_depth(roots) ? 1 : 0
    next == 1 && write(1, col.on_root_depth)
    if roots.demand_dependent
        write(next + 1, on[1])
        write(next + 2, on[2])
        for i in 1:4
            write(next + 2 + i, on_drought[i])
        end
        write(next + 7, on[4])
    else
        for i in 1:4
            write(next + i, on[i])
        end
    end
end

"Hand the cotangents of a boundary's heads on to soil, forcing and parameters, and write those of its forcing."
function flush_edge!(fields, next, edge::Edge, b::Boundary, col, layer, c, k)
    for i in 1:n_heads(b)
        col.on_raw[layer] += pull_conductivity(col.hydraulics, col.raw[layer], edge.heads[i], edge.on_K_heads[i])
    end
    on_forcing, edge.on_parameter = head_cotangents(b, edge.on_heads .+ edge.on_K_heads .* edge.dK_heads)
    for i in eachindex(forcings(b))
        add!(fields[next+i], on_forcing[i] + edge.on_forcing[i], c, k)
    end
    return next + length(forcings(b))
end

function clear!(col::RichardsColumn{T}) where {T}
    col.on_raw .= zero(col.on_raw)
    col.on_specific_storage .= zero(T)
    for edge in (col.top, col.bottom)
        edge.on_forcing = edge.on_heads = edge.on_K_heads = (zero(T), zero(T))
    end
    col.on_feddes = ntuple(_ -> zero(T), 4)
    col.on_root_depth = col.on_transpiration = zero(T)
    return col
end

flush_weights!(fields, col::RichardsColumn, c) = flush_weights!(fields, col.hydraulics, c)

function release!(col::RichardsColumn)
    col.static_bound = false
    clear!(col.hydraulics)
    return clear!(col)
end
