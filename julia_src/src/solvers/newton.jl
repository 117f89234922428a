# Newton's method for one stage: m(u) - a f(u) = target.

const TURN_AFTER = 10  # iterations: Newton may go to and fro across a threshold of a small model; from then on,
const TURN = 0.6       # a state turns back by no more than this part of its last update

"""
    solve_stage!(w, m, u, a, exact, fresh, contraction, o) -> converged, contraction, iterations

Start from `u` and leave the solution there, its evaluation in `w`. `fresh` says that the linearisation at `u` is there
already. Newton converges quadratically: after an update of size s, in units of the error tolerance, the next one is about
contraction s^2; the factor hardly changes from stage to stage, so that the last one seen serves for the first iteration.

What Newton leaves unresolved stays in the carried storage. It must remain small against the capacity, or the next step starts
from a storage that no state near by has; with `exact`, where the state is an output, nothing is left.
"""
function solve_stage!(
    w::Work{T},
    m::Model,
    u::Vector{T},
    a::T,
    exact::Bool,
    fresh::Bool,
    contraction::T,
    o::Options{T}
) where {T}
    iterations = 0
    for trial in 1:4
        converged, contraction, count = newton!(w, m, u, a, fresh, contraction, o)
        iterations += count
        converged || return false, contraction, iterations
        # what is left after three attempts may be the rounding of large rates
        rough(w, a, exact, trial == 4 ? T(10) : one(T), o.algebraic ? zero(T) : rounding_of(m, w.linearisation, a), o) ||
            return true, contraction, iterations
        fresh = leaves_jacobian(m)
    end
    return false, contraction, iterations
end

function newton!(w::Work{T}, m::Model, u::Vector{T}, a::T, fresh::Bool, contraction::T, o::Options{T}) where {T}
    lin, d, before = w.linearisation, w.update, T(NaN)
    for iteration in 1:o.max_newton
        fresh || linearise!(w, m, u, false, o)
        fresh = false
        iteration == 1 && contraction >= UNSEEN && raise_capacity!(lin, w.column, m)
        residual!(w.right, w.target, lin.storage, lin.rates, a)
        settled = T === Float32 && all_within(w.right, o.rounding)
        solve!(d, lin.jacobian, lin.capacity, a, w.right)
        size = take_update!(w, m, u, iteration, o)
        isfinite(size) || return false, contraction, iteration
        if !isnan(before)
            contraction = size / (before * before)
        end
        # no less than the update itself is expected of a column that does not contract; where no more than the rounding of a Float32
        # was left, no iteration gets nearer
        if settled || (min(contraction * size, one(T)) * size < o.newton_tolerance && size < 1)
            evaluate!(w, m, u, o)
            return true, contraction, iteration
        end
        before = size
    end
    return false, contraction, o.max_newton
end

@inline function residual!(right::Vector{T}, target::Vector{T}, storage::Vector{T}, rates::Vector{T}, a::T) where {T}
    @inbounds @simd ivdep for i in eachindex(right)
        right[i] = muladd(a, rates[i], target[i] - storage[i])
    end
end

all_within(x, bound) = all(i -> abs(x[i]) <= bound[i], eachindex(x))

"The state after a limited update: x + d / (1 + |d| reach)."
@inline shortened(x, d, reach) = x + d / (1 + abs(d * reach))

"The same for a store: it falls by at most nine tenths of what is in it, and so does not pass its bound where there is a solution above."
@inline lowered(x, d, lower, typical) = max(x + d, x - (0.9 * abs(x - lower) + 1e-3 * typical))

"Take the limited update; the norm of d in units of the tolerance."
@inline take_update!(w::Work, m::Model, u, iteration, o) = take_update!(u, w.update, w.scale, w.reach, o)
@inline function take_update!(w::Work, m::SmallModel, u, iteration, o)
    iteration < TURN_AFTER && return take_update!(u, w.update, w.scale, w.reach, o)
    whole = sqrt(sum(i -> abs2(w.update[i] * w.scale[i]), eachindex(u)) / length(u))
    iteration > TURN_AFTER && turn!(w.update, w.moved)
    copyto!(w.moved, u)
    take_update!(u, w.update, w.scale, w.reach, o)
    w.moved .= u .- w.moved
    return whole
end

@inline function take_update!(w::Work{T}, m::Richards, u, iteration, o) where {T}
    bends(m.hydraulics) || return take_update!(u, w.update, w.scale, w.reach, o)
    copyto!(w.moved, u)
    size = take_update!(u, w.update, w.scale, w.reach, o)
    bend = T(OF_RICHARDS.JUST_DRY)
    for i in (ponds(m)+1):length(u)
        (w.moved[i] - bend) * (u[i] - bend) < 0 && (u[i] = bend)
    end
    return size
end

"Let no state turn back by more than a part of its last update."
function turn!(d::Vector, moved::Vector)
    for i in eachindex(d)
        d[i] * moved[i] < -TURN * moved[i]^2 && (d[i] = -TURN * moved[i])
    end
end

@inline function take_update!(u::Vector{T}, d::Vector{T}, scale::Vector{T}, reach::Vector{T}, o::Options{T}) where {T}
    o.bounded[1] || return take_update!(u, d, scale, reach)
    total = zero(T)
    for i in eachindex(u)
        total += abs2(d[i] * scale[i])
        u[i] = o.lower[i] > -Inf ? lowered(u[i], d[i], o.lower[i], o.typical[i]) : shortened(u[i], d[i], reach[i])
    end
    return sqrt(total / length(u))
end

@inline function take_update!(u::Vector{T}, d::Vector{T}, scale::Vector{T}, reach::Vector{T}) where {T}
    total = zero(T)
    @inbounds @simd for i in eachindex(u)
        x = d[i] * scale[i]
        total = muladd(x, x, total)
        u[i] = shortened(u[i], d[i], reach[i])
    end
    return sqrt(total / length(u))
end

"Whether the storage differs from the one to reach by more than the Newton tolerance, and some roundings, in any state."
@inline function rough(w::Work{T}, a::T, exact::Bool, roundings::T, moved::T, o::Options{T}) where {T}
    lin, target, tolerance = w.linearisation, w.target, w.tolerance
    # an error norm that is just met may come from one state alone
    allowed = exact ? zero(T) : o.newton_tolerance * sqrt(T(length(target)))
    storage, rates, capacity, rounding, worst = lin.storage, lin.rates, lin.capacity, o.rounding, typemin(T)
    @inbounds @simd for i in eachindex(target)
        left = abs(muladd(a, rates[i], target[i] - storage[i]))
        worst = max(worst, muladd(-allowed * capacity[i], tolerance[i], left) - roundings * max(rounding[i], moved))
    end
    return worst > 0 || (o.algebraic && any(i -> !o.stored[i] && !(abs(rates[i]) <= roundings * rounding[i]), eachindex(rates)))
end

"""
What rounding leaves of the storage of a model with a few states, of what is stored and of what passes in a step: a river may carry in a step
many times what a reach holds.
"""
rounding_of(m::Model, lin::Linearisation{T}, a) where {T} = zero(T)
rounding_of(m::SmallModel, lin::Linearisation{T}, a) where {T} =
    T(64 * eps(T)) * (sum(abs, lin.storage) + a * sum(abs, lin.fluxes; init=zero(T)))

# ---- states that store nothing: 0 = f(u) in place of d m(u) / dt = f(u) ------------------------------------------------------
#
# They have no capacity, no storage to reach, and no part in the error of a step. What such a state is at the start of an interval does not
# follow from the interval before, whose forcing was another: methods that read rates there solve the equations first.

"Linearisation and evaluation in which what stores nothing has no storage and no capacity."
@inline linearise!(w::Work, m::Model, u, keep::Bool, o::Options) =
    without_storage!(linearise!(w.linearisation, w.column, m, u, keep), o)
@inline evaluate!(w::Work, m::Model, u::AbstractVector, o::Options) =
    without_storage!(evaluate!(w.linearisation, w.column, m, u), o)
@inline without_storage!(lin::Linearisation, o::Options) = (only_stored!(lin.storage, o); only_stored!(lin.capacity, o); lin)

"Set to zero what belongs to states that store nothing."
@inline function only_stored!(x, o::Options)
    o.algebraic || return x
    for i in eachindex(x)
        o.stored[i] || (x[i] = 0)
    end
    return x
end

const MOST_SEARCHES = 100  # iterations of Newton for the algebraic states at the start of an interval

"Let the algebraic states at the start of an interval solve their equations, while the others stay; whether they do."
function settle!(w::Work{T}, m::Model, o::Options{T}) where {T}
    u, lin, contraction, before = w.carry.psi, w.linearisation, T(UNSEEN), T(NaN)
    tolerance = T === Float64 ? T(1e-9) : o.newton_tolerance
    scales!(w.tolerance, w.scale, w.reach, u, o.rtol, o.atol, o.typical)
    for _ in 1:MOST_SEARCHES
        linearise!(w, m, u, false, o)
        w.right .= ifelse.(o.stored, zero(T), lin.rates)
        settled = T === Float32 && all_within(w.right, o.rounding)
        hold!(lin, o)
        solve!(w.update, lin.jacobian, lin.capacity, one(T), w.right)
        size = take_update!(u, w.update, w.scale, w.reach, o)
        isfinite(size) || return false
        isnan(before) || (contraction = size / (before * before))
        # an update that is the rounding of the state is the last one, however small the tolerance
        settled |= size * o.rtol <= 64 * eps(T)
        (settled || (min(contraction * size, one(T)) * size < tolerance && size < 1)) && return true
        before = size
    end
    return false
end

"Make a linearisation that of the algebraic equations alone: what is stored stays as it is."
function hold!(lin::Linearisation, o::Options)
    clear_rows!(lin.jacobian, o.stored)
    lin.capacity .= o.stored
    return lin
end
clear_rows!(J::Dense, rows) = (J.values[rows, :].=0; J)
function clear_rows!(J::Tridiagonal, rows)
    foreach(x -> isempty(x) || (x[rows] .= 0), (J.lower, J.main, J.upper, J.column))
    return J
end
