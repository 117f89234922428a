# Retention and conductivity of which networks give one or both.

const ENTRY = OF_RICHARDS.ENTRY
const DECADE = log(10.0)
const FAINTEST = OF_RICHARDS.FAINTEST
const CELLS = LaneNumber{Float64}  # networks are called for as many cells at once as the registers hold

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
bends(h::Learned) = bends(h.formula)
networks(::SoilHydraulics) = (;)
networks(h::Learned) = h.slots.called

@inline needs_formula(s::Slots, ::Val{k}) where {k} = !haskey(s.called, k) || haskey(s.beside, k)

"""
Curves of one column: with the weights, cotangents of these from several cells side by side, and for each cell the outputs of the networks, the
curves of the formula and their cotangents.
"""
struct LearnedColumn{H<:Learned,N<:Networks,T} <: SoilHydraulics
    declared::H
    networks::N
    outputs::Vector{Vector{T}}
    formula::Curves{T}
    on_theta::Vector{T}
    on_K::Vector{T}
end

"Hydraulics with what belongs to one column of n cells."
for_column(h::SoilHydraulics, n, ::Type{T}) where {T} = h
function for_column(h::Learned, n, ::Type{T}) where {T}
    outputs = [zeros(T, n) for _ in networks(h)]
    return LearnedColumn(h, Networks(networks(h), CELLS, CELLS), outputs, Curves{T}(n), zeros(T, n), zeros(T, n))
end
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
    own = (; x.theta_r, span=(x.theta_s - x.theta_r), x.K_s, called)
    needs_formula(s, Val(:retention)) || needs_formula(s, Val(:conductivity)) || return own
    # numbers that only the other formula reads are one
    return (; own..., formula=derive(f, SVector(map(k -> get(x, k, one(T)), parameters(f)))))
end

@inline function curves(h::LearnedColumn, s, psi)
    slots = h.declared.slots
    suction = max(-psi, zero(psi))
    dryness, entered = vlog(1 + suction) / DECADE, suction / (suction + ENTRY)
    by_formula = haskey(s, :formula) ? curves(h.declared.formula, s.formula, psi) : (zero(psi), zero(psi))
    drained() = drained_by(by_formula[1], s)
    decades() = decades_by(by_formula[2], s)
    theta, K = by_formula
    if haskey(slots.called, :retention)
        theta = s.theta_r + s.span * (1 - in_slot(slots, Val(:retention), s.called, dryness, drained, () -> entered).value)
    end
    if haskey(slots.called, :conductivity)
        K = s.K_s * vexp(-DECADE * in_slot(slots, Val(:conductivity), s.called, dryness, decades, () -> entered).value)
    end
    return theta, K
end

# ---- several cells at once; the last group repeats its last cell --------------------------------------------------------------

@inline function cells(x::Vector{T}, i, stop) where {T}
    T === Float64 && i + LANES - 1 <= stop && return Lanes(SIMD.vload(Vec{LANES,Float64}, pointer(x, i)))
    return lanes(lane -> Float64(@inbounds x[min(i + lane - 1, stop)]))
end
@inline weights_of_cells(w::Vector, i, stop) = lanes(lane -> i + lane - 1 > stop ? 0.0 : Float64(@inbounds w[i+lane-1]))
@inline function put_cells!(x::Vector{T}, y::CELLS, i, stop) where {T}
    if T === Float64 && i + LANES - 1 <= stop
        SIMD.vstore(y.x, pointer(x, i))
    else
        for lane in 1:min(LANES, stop-i+1)
            @inbounds x[i+lane-1] = T(y.x[lane])
        end
    end
end

"Dryness and its slope in psi, the factor that vanishes at saturation and its slope."
@inline function dryness_slopes(psi::CELLS)
    suction = max(-psi, zero(psi))
    per, per_entry = inverses(1 + suction, suction + ENTRY)
    falling = ifelse(psi < zero(psi), -one(psi), zero(psi))
    return vlog(1 + suction) / DECADE, falling * per / DECADE, suction * per_entry, falling * ENTRY * per_entry * per_entry
end

"What a formula gives in a slot, from its curves."
@inline drained_by(theta, s) = 1 - (theta - s.theta_r) / s.span
@inline decades_by(K, s) = -vlog(max(K / s.K_s, FAINTEST)) / DECADE

"What is in a slot at several cells: its value, its slope in psi, and, of the first network's output, itself."
@inline function slot_slopes(h::LearnedColumn, ::Val{name}, s, (x, dx, entered, d_entered), formula, d_formula) where {name}
    y, rise = value_and_slope(getfield(s.called, name), x)
    slots = h.declared.slots
    if haskey(slots.beside, name)
        b = beside(formula, y, rise, getfield(slots.beside, name)...)
        return b.value, b.by_formula * d_formula + b.by_output * rise * dx, y
    end
    return y * entered, rise * dx * entered + y * d_entered, y
end

@inline place_of_network(h::LearnedColumn, name) = place_of_network(h.networks, name)

function slopes!(out::Curves{T}, h::LearnedColumn, soil, psi::Vector{T}, range, keep::Bool) where {T}
    slots, f, stop = h.declared.slots, h.formula, last(range)
    if haskey(soil, :formula)
        slopes!(f, h.declared.formula, soil.formula, psi, range, keep)
    end
    for (name, from, to) in
        ((:retention, (f.theta, f.capacity), (out.theta, out.capacity)), (:conductivity, (f.K, f.dK), (out.K, out.dK)))
        haskey(slots.called, name) && continue
        copyto!(to[1], first(range), from[1], first(range), length(range))
        copyto!(to[2], first(range), from[2], first(range), length(range))
    end
    for i in first(range):LANES:stop
        at = dryness_slopes(cells(psi, i, stop))
        if haskey(slots.called, :retention)
            theta, capacity = cells(f.theta, i, stop), cells(f.capacity, i, stop)
            r, dr, y = slot_slopes(h, Val(:retention), soil, at, drained_by(theta, soil), -capacity / soil.span)
            put_cells!(out.theta, soil.theta_r + soil.span * (1 - r), i, stop)
            put_cells!(out.capacity, -soil.span * dr, i, stop)
            put_cells!(h.outputs[place_of_network(h, :retention)], y, i, stop)
        end
        if haskey(slots.called, :conductivity)
            K = cells(f.K, i, stop)
            k, dk, y = slot_slopes(
                h,
                Val(:conductivity),
                soil,
                at,
                decades_by(K, soil),
                -faint(K, soil) * cells(f.dK, i, stop) / (DECADE * K)
            )
            K = soil.K_s * vexp(-DECADE * k)
            put_cells!(out.K, K, i, stop)
            put_cells!(out.dK, -DECADE * K * dk, i, stop)
            put_cells!(h.outputs[place_of_network(h, :conductivity)], y, i, stop)
        end
    end
    return out
end

"Zero where the conductivity of the formula has underflowed, else one."
@inline faint(K, s) = ifelse(K < FAINTEST * s.K_s, zero(K), one(K))

function conductivity(h::LearnedColumn, soil, psi::T) where {T}
    K = curves(h, soil, Dual{Nothing}(Float64(psi), 1.0))[2]
    return T(value(K)), T(partials(K, 1))
end

function pull(
    h::LearnedColumn{<:Learned{H,S,P}},
    p::SVector{N,T},
    soil,
    out::Curves{T},
    psi,
    w_theta,
    w_K,
    range
) where {H,S,P,N,T}
    slots, stop = h.declared.slots, last(range)
    by_r, by_s, by_K = zero(CELLS), zero(CELLS), zero(CELLS)  # of theta_r, theta_s and K_s, the formula apart
    for i in first(range):LANES:stop
        x, _, entered, _ = dryness_slopes(cells(psi, i, stop))
        on_theta, on_K = weights_of_cells(w_theta, i, stop), weights_of_cells(w_K, i, stop)
        if haskey(slots.called, :retention)
            r = drained_by(cells(out.theta, i, stop), soil)
            by_r += on_theta * r
            by_s += on_theta * (1 - r)
            of_formula = drained_by(cells(h.formula.theta, i, stop), soil)
            on_formula = pull_slot!(h, Val(:retention), x, entered, of_formula, -on_theta * soil.span, i, stop)
            on_theta = -on_formula / soil.span
            by_s += on_formula * (1 - of_formula) / soil.span
            by_r += on_formula * of_formula / soil.span
        end
        if haskey(slots.called, :conductivity)
            K, K_formula = cells(out.K, i, stop), cells(h.formula.K, i, stop)
            by_K += on_K * K / soil.K_s
            on_formula =
                pull_slot!(h, Val(:conductivity), x, entered, decades_by(K_formula, soil), -DECADE * on_K * K, i, stop) *
                faint(K_formula, soil)
            on_K = haskey(slots.beside, :conductivity) ? -on_formula / (DECADE * K_formula) : zero(on_K)
            by_K += on_formula / (DECADE * soil.K_s)
        end
        put_cells!(h.on_theta, on_theta, i, stop)
        put_cells!(h.on_K, on_K, i, stop)
    end
    own = (; theta_r=T(total_of(by_r)), theta_s=T(total_of(by_s)), K_s=T(total_of(by_K)))
    haskey(soil, :formula) || return SVector{N,T}(map(k -> get(own, k, zero(T)), P))
    given, f = NamedTuple{P}(Tuple(p)), h.declared.formula
    whole = SVector(map(k -> T(get(given, k, one(T))), parameters(f)))
    others = NamedTuple{parameters(f)}(Tuple(pull(f, whole, soil.formula, h.formula, psi, h.on_theta, h.on_K, range)))
    return SVector{N,T}(map(k -> get(own, k, zero(T)) + getfield(others, k), P))
end

"Cotangent of what the formula gives in a slot; that of the weights is added to those of the column."
@inline function pull_slot!(h::LearnedColumn, ::Val{name}, x, entered, formula, on_slot, i, stop) where {name}
    j, slots = place_of_network(h, name), h.declared.slots
    if haskey(slots.beside, name)
        b = beside(formula, cells(h.outputs[j], i, stop), nothing, getfield(slots.beside, name)...)
        add_weight_slopes!(h.networks, j, SVector(x), on_slot * b.by_output)
        return on_slot * b.by_formula
    end
    add_weight_slopes!(h.networks, j, SVector(x), on_slot * entered)
    return zero(on_slot)
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
