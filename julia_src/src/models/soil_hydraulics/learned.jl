# Retention and conductivity of which networks give one or both.

const ENTRY = 1.0          # cm: suction at which the factor that leaves a saturated soil saturated is one half
const DECADE = log(10.0)
const FAINTEST = 1e-30     # of K / K_s: what has underflowed is beyond the range of every network
const CELLS = Lanes{LANES,Float64}  # networks are called for as many cells at once as the registers hold

"""
    Learned(formula; networks, residual = ())

Curves of a soil, of which networks of the dryness log10(1 + suction / cm) give one or both:
theta = theta_r + (theta_s - theta_r) (1 - r) and K = K_s 10^-k, with r and k of the networks `retention` and `conductivity` times
a factor that vanishes at saturation. `formula` gives the other curve, and what the networks named in `residual` stand beside. The
curves fall with the suction only if the networks rise; the weights that Python hands over do.
"""
struct Learned{H<:SoilHydraulics,S<:Slots,P} <: SoilHydraulics
    formula::H
    slots::S
end

function Learned(formula::SoilHydraulics; networks::NamedTuple, residual=())
    s = Slots("richards", networks, residual)
    needed = [p for k in (:retention, :conductivity) if needs_formula(s, Val(k)) for p in reads(formula, Val(k))]
    names = Tuple(p for p in parameters(formula) if p in (:theta_r, :theta_s, :K_s) || p in needed)
    return Learned{typeof(formula),typeof(s),names}(formula, s)
end

parameters(::Learned{H,S,P}) where {H,S,P} = P
networks(::SoilHydraulics) = (;)
networks(h::Learned) = h.slots.called

@inline needs_formula(s::Slots, ::Val{k}) where {k} = !haskey(s.called, k) || haskey(s.beside, k)

"Curves of one column: with the weights, and cotangents of these from several cells side by side."
struct LearnedColumn{H<:Learned,N<:Networks} <: SoilHydraulics
    declared::H
    networks::N
end

"Hydraulics with what belongs to one column."
for_column(h::SoilHydraulics) = h
for_column(h::Learned) = LearnedColumn(h, Networks(networks(h), CELLS, CELLS))
bind_weights!(::SoilHydraulics, fields) = nothing
bind_weights!(h::LearnedColumn, fields) = bind_weights!(h.networks, fields)
flush_weights!(fields, ::SoilHydraulics, c) = nothing
function flush_weights!(fields, h::LearnedColumn, c)
    flush_weights!(fields, h.networks, c)
    clear!(h.networks)
    return
end
clear!(::SoilHydraulics) = nothing
clear!(h::LearnedColumn) = clear!(h.networks)

@inline derive(h::LearnedColumn, p::SVector) = derive(h, p, callable(h.networks))
@inline derive(h::LearnedColumn, p::SVector{N,Float32}, called) where {N} = derive(h, map(Float64, p), called)
@inline function derive(h::LearnedColumn{<:Learned{H,S,P}}, p::SVector{N,T}, called) where {H,S,P,N,T}
    x, f, s = NamedTuple{P}(Tuple(p)), h.declared.formula, h.declared.slots
    own = (; x.theta_r, span=x.theta_s - x.theta_r, x.K_s, called)
    needs_formula(s, Val(:retention)) || needs_formula(s, Val(:conductivity)) || return own
    # numbers that only the other formula reads are one
    return (; own..., formula=derive(f, SVector(map(k -> get(x, k, one(T)), parameters(f)))))
end

@inline function curves(h::LearnedColumn, s, psi)
    slots = h.declared.slots
    suction = max(-psi, zero(psi))
    dryness, entered = vlog(1 + suction) / DECADE, suction / (suction + ENTRY)
    theta, K = haskey(s, :formula) ? curves(h.declared.formula, s.formula, psi) : (zero(psi), zero(psi))
    drained() = 1 - (theta - s.theta_r) / s.span
    decades() = -vlog(max(K / s.K_s, FAINTEST)) / DECADE
    if haskey(slots.called, :retention)
        theta = s.theta_r + s.span * (1 - in_slot(slots, Val(:retention), s.called, dryness, drained, () -> entered).value)
    end
    if haskey(slots.called, :conductivity)
        K = s.K_s * vexp(-DECADE * in_slot(slots, Val(:conductivity), s.called, dryness, decades, () -> entered).value)
    end
    return theta, K
end

# ---- several cells at once; the last group repeats its last cell --------------------------------------------------------------

@inline cells(x::Vector, i, stop) = lanes(lane -> Float64(@inbounds x[min(i + lane - 1, stop)]))
@inline weights_of_cells(w::Vector, i, stop) = lanes(lane -> i + lane - 1 > stop ? 0.0 : Float64(@inbounds w[i+lane-1]))
@inline function put_cells!(x::Vector{T}, y::CELLS, i, stop) where {T}
    if T === Float64 && i + LANES - 1 <= stop
        SIMD.vstore(y.x, pointer(x, i))
    else
        for lane in 1:min(LANES, stop - i + 1)
            @inbounds x[i+lane-1] = T(y.x[lane])
        end
    end
end

function slopes!(out::Curves{T}, h::LearnedColumn, soil, psi::Vector{T}, range, keep::Bool) where {T}
    for i in first(range):LANES:last(range)
        theta, K = curves(h, soil, Dual{Nothing}(cells(psi, i, last(range)), one(CELLS)))
        put_cells!(out.theta, value(theta), i, last(range))
        put_cells!(out.capacity, partials(theta, 1), i, last(range))
        put_cells!(out.K, value(K), i, last(range))
        put_cells!(out.dK, partials(K, 1), i, last(range))
    end
    return out
end

function conductivity(h::LearnedColumn, soil, psi::T) where {T}
    K = curves(h, soil, Dual{Nothing}(Float64(psi), 1.0))[2]
    return T(value(K)), T(partials(K, 1))
end

function pull(h::LearnedColumn, p::SVector{N,T}, soil, out::Curves{T}, psi, w_theta, w_K, range) where {N,T}
    total = zero(SVector{N,CELLS})
    for i in first(range):LANES:last(range)
        stop = last(range)
        total += pull_cells!(h, p, cells(psi, i, stop), weights_of_cells(w_theta, i, stop), weights_of_cells(w_K, i, stop))
    end
    return SVector{N,T}(map(total_of, total))
end

function pull_conductivity(h::LearnedColumn, p::SVector{N,T}, psi::T, weight::T) where {N,T}
    total = pull_cells!(h, p, CELLS(psi), zero(CELLS), lanes(lane -> lane == 1 ? Float64(weight) : 0.0))
    return SVector{N,T}(map(total_of, total))
end

"Gradient in the parameters; that in the weights is added to the cotangents of the column."
@inline function pull_cells!(h::LearnedColumn, p::SVector{N}, psi::CELLS, w_theta::CELLS, w_K::CELLS) where {N}
    count = Val(N + length(h.networks))
    seeds = seed(map(CELLS, p), count)
    D = eltype(seeds)
    soil = derive(h, SVector(ntuple(i -> seeds[i], Val(N))), probes(h.networks, D, Val(N)))
    theta, K = curves(h, soil, D(psi))
    g = gradient_of(w_theta * theta + w_K * K, count)
    add_network_slopes!(h.networks, g, Val(N))
    return SVector(ntuple(i -> g[i], Val(N)))
end
