# Gradients of the Richards model in parameters and forcing, and slopes of its fluxes in the state.

"out += derivative of w . fluxes in the state where `linearise!` was called last."
function add_flux_slopes!(out::Vector{T}, col::RichardsColumn{T}, m::Richards, psi::Vector{T}, w) where {T}
    n, K, dK, top = length(psi), col.curves.K, col.curves.dK, m.top
    if top isa SurfaceLayer
        a, b, c, d = pond_slope(col, m, psi)[3]
        for i in 1:2
            out[i] += w[1] * partials(a, i) + w[2] * partials(b, i) + w[3] * partials(c, i) + w[6] * partials(d, i)
        end
    else
        slopes = flow_slope(top, side(m, col.top, psi[1], K[1]), dK[1])[4]
        out[1] += w[1] * slopes[1] + w[2] * slopes[2] + w[3] * slopes[3]
    end
    out[n] += w[5] * flow_slope(m.bottom, side(m, col.bottom, psi[n], K[n]), dK[n])[4][1]
    # where the divisor is omega, the sum of the uptake is the demand
    if m.roots !== nothing && w[4] != 0 && !(m.roots.compensated && col.over)
        weight = m.roots.compensated ? w[4] / col.divisor : w[4]
        for i in eachindex(psi)
            out[i] += weight * col.transpiration * col.density[i] * col.dz[i] * feddes(psi[i], col.feddes...)[2]
        end
    end
    return out
end

"""
Add the cotangents of parameters and forcing from those of storage, rates and fluxes at the state where
`linearise!(..., keep = true)` was called last.
"""
function pull!(col::RichardsColumn{T}, m::Richards, psi::Vector{T}, on_storage::Vector{T}, on_rates::Vector{T}, w) where {T}
    n, curves, first, top = length(psi), col.curves, 1 + ponds(m), m.top
    K, dK, on_K, on_face, idz, g = curves.K, curves.dK, col.on_K, col.on_face, col.inverse_dz, col.gradient
    @inbounds begin
        on_face[1], on_face[n+1] = on_rates[1] * idz[1], -on_rates[n] * idz[n]
        @simd ivdep for i in 2:n
            on_face[i] = on_rates[i] * idz[i] - on_rates[i-1] * idz[i-1]
        end
    end
    share_faces!(on_K, on_face, m.mean, K, g, first)
    for l in 1:(length(m.layers)-1)
        pull_interface!(col, m, psi, l)
    end
    if top isa SurfaceLayer
        pull_pond!(col, m, psi, w)
    else
        by = flow_pull(top, side(m, col.top, psi[1], K[1]), on_face[1], (T(w[1]), T(w[2]), T(w[3])))
        on_K[1] += by[2]
        keep_edge!(col.top, by)
    end
    by = flow_pull(m.bottom, side(m, col.bottom, psi[n], K[n]), on_face[n+1], (T(w[5]), zero(T), zero(T)))
    on_K[n] += by[2]
    keep_edge!(col.bottom, by)
    m.roots === nothing ||
        (m.roots.compensated ? pull_compensated!(col, psi, on_rates, T(w[4])) : pull_uptake!(col, psi, on_rates, T(w[4])))
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

function pull_pond!(col::RichardsColumn{T}, m::Richards, psi, w) where {T}
    edge = col.top
    by = pond_pull(side(m, edge, psi[2], col.curves.K[2]), psi[1], edge.parameter[1], edge.parameter[3], col.on_face[1],
        col.on_face[2],
        (T(w[1]), T(w[2]), T(w[3]), T(w[6])))
    col.on_K[2] += by[2]
    keep_edge!(edge, by)
    # the head of the surface is a state: its conductivity is another at each
    col.on_raw[1] += pull_conductivity(col.hydraulics, col.raw[1], edge.heads[2], by[6])
    edge.on_parameter = edge.on_parameter .+ (by[9], zero(T), by[10])
end

@inline function share_faces!(on_K::Vector{T}, on_face, mean::FaceMean, K, g, first) where {T}
    n, i = length(K), first + 1
    @inbounds begin
        on_K[first] = -g[i] * on_face[i] * face_slopes(mean, K[first], K[i], g[i])[2]
        on_K[n] = -g[n] * on_face[n] * face_slopes(mean, K[n-1], K[n], g[n])[3]
        @simd ivdep for i in (first+1):(n-1)
            on_K[i] =
                -g[i] * on_face[i] * face_slopes(mean, K[i-1], K[i], g[i])[3] -
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

function pull_compensated!(col::RichardsColumn{T}, psi, on_rates, w::T) where {T}
    demand, taken = col.transpiration, zero(T)
    for i in eachindex(psi)
        taken += (w * col.dz[i] - on_rates[i]) * col.density[i] * feddes(psi[i], col.feddes...)[1]
    end
    taken /= col.divisor
    on_depth, on_feddes = zero(T), ntuple(_ -> zero(T), 4)
    for i in eachindex(psi)
        stress, _, by = feddes(psi[i], col.feddes...)
        # of the stress of this cell in its own uptake and, through omega, in that of all
        weight = (w * col.dz[i] - on_rates[i] - (col.over ? taken * col.dz[i] : zero(T))) * demand / col.divisor
        on_depth += weight * stress * col.density_slope[i]
        on_feddes = on_feddes .+ (weight * col.density[i]) .* by
    end
    col.on_transpiration += taken
    col.on_root_depth += on_depth
    col.on_feddes = col.on_feddes .+ on_feddes
    col.over || (col.on_omega_c -= demand * taken / col.divisor)
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
    roots.compensated && write(length(parameters(roots)), col.on_omega_c)
end

"Hand the cotangents of a boundary's heads on to soil, forcing and parameters, and write those of its forcing."
function flush_edge!(fields, next, edge::Edge, b::Boundary, col, layer, c, k)
    for i in 1:n_heads(b)
        col.on_raw[layer] += pull_conductivity(col.hydraulics, col.raw[layer], edge.heads[i], edge.on_K_heads[i])
    end
    on_forcing, on_parameter = head_cotangents(b, edge.on_heads .+ edge.on_K_heads .* edge.dK_heads)
    edge.on_parameter = edge.on_parameter .+ on_parameter
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
        edge.on_parameter = (zero(T), zero(T), zero(T))
    end
    col.on_feddes = ntuple(_ -> zero(T), 4)
    col.on_root_depth = col.on_transpiration = col.on_omega_c = zero(T)
    return col
end

flush_weights!(fields, col::RichardsColumn, c) = flush_weights!(fields, col.hydraulics, c)

function release!(col::RichardsColumn)
    col.static_bound = false
    clear!(col.hydraulics)
    return clear!(col)
end
