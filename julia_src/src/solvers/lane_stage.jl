# Newton's method for one stage in several columns side by side, as `newton.jl` for one.

"What counts as small in each state, as in `Options`; `A` says whether any state stores nothing."
struct Small{N,T,A}
    rtol::T
    atol::SVector{N,T}
    typical::SVector{N,T}
    lower::SVector{N,T}
    rounding::SVector{N,T}
    bounded::Tuple{Bool,Bool}
    stored::SVector{N,Bool}
end
Small(o::Options{T}, ::Val{N}, ::Val{A}) where {N,T,A} =
    Small{N,T,A}(o.rtol, SVector{N,T}(o.atol), SVector{N,T}(o.typical), SVector{N,T}(o.lower), SVector{N,T}(o.rounding),
        o.bounded,
        SVector{N,Bool}(o.stored))

"Values of the states that store something, zero for the others."
@inline only_stored(x::SVector, small::Small{N,T,true}) where {N,T} = map((y, stored) -> stored ? y : zero(y), x, small.stored)
@inline only_stored(x::SVector, ::Small{N,T,false}) where {N,T} = x
"Values of the states that store something, those of the second for the others."
@inline stored_or(x::SVector, y::SVector, small::Small{N,T,true}) where {N,T} =
    map((a, b, stored) -> stored ? a : b, x, y, small.stored)
@inline stored_or(x::SVector, y, ::Small{N,T,false}) where {N,T} = x

"The states after a limited update."
@inline function limited(u::SVector{N,L}, d, magnitude, small::Small) where {N,L}
    any_, all_ = small.bounded
    any_ || return map(shortened_by, u, d, magnitude)
    all_ &&
        return map((x, y, lower, typical) -> (@inline; lowered(x, y, L(lower), L(typical))), u, d, small.lower, small.typical)
    return map(
        (x, y, z, lower, typical) -> (@inline; lower > -Inf ? lowered(x, y, L(lower), L(typical)) : shortened_by(x, y, z)), u,
        d, magnitude,
        small.lower, small.typical)
end

"As `shortened`, by the reciprocal of its reach."
@inline shortened_by(x, d, magnitude) = x + d * magnitude / (magnitude + abs(d))

"As `turn!`."
@inline turned(d::SVector, moved, late::Mask) =
    any(late) ? map((x, y) -> ifelse(late & (x * y < -TURN * y * y), -TURN * y, x), d, moved) : d

@inline function storage_slopes(m::SmallModel{N}, u::SVector{N,L}, p) where {N,L}
    m.storage === own_storage && return u, ones(SVector{N,L})
    stored = m.storage(seed(u), p)
    return map(value_of, stored), SVector(ntuple(i -> slope_of(stored[i], i, L), Val(N)))
end

"Where the storage is farther from the one to reach than some roundings, beyond what is allowed; also where this is no number."
@inline function rough(residual::SVector{N}, allowed, capacity, tolerance, roundings::L, rounding, moved) where {N,L}
    near = abs(residual[1]) - allowed * capacity[1] * tolerance[1] <= roundings * max(L(rounding[1]), moved)
    for i in 2:N
        near = near & (abs(residual[i]) - allowed * capacity[i] * tolerance[i] <= roundings * max(L(rounding[i]), moved))
    end
    return !near
end

"As for one column."
@inline rounding_of(stored, fluxes, a, ::Small{N,T,true}) where {N,T} = zero(a)
@inline rounding_of(stored, fluxes, a, ::Small{N,T,false}) where {N,T} =
    64 * eps(T) * (sum(map(abs, stored)) + a * sum(map(abs, fluxes); init=zero(a)))

"""
One stage as in `solve_stage!`, in the columns of `here`, from a state with its terms: its state, terms, rates, fluxes, contraction,
iterations, and the columns in which it failed. A column that is solved keeps its state while others go on; what is left of it is seen
in the evaluation with which the next iteration would begin.
"""
@inline function solve_stage(m::SmallModel{N}, u::SVector{N,L}, terms, target, a::L, exact::Mask, w, p,
    (tolerance, scale, magnitude), contraction, here::Mask,
    o::Options{T}, small::Small) where {N,L,T}
    none = here & !here
    failed, converged, before = none, none, L(NaN)
    iterations, count, trial, moved = zero(L), zero(L), one(L), zero(u)
    allowed = ifelse(exact, zero(L), L(o.newton_tolerance * sqrt(N)))
    changes, fluxes, J = linearised(m, u, w, p, terms)
    while true
        stored, capacity = storage_slopes(m, u, p)
        stored, capacity = only_stored(stored, small), only_stored(capacity, small)
        residual = target - stored + a * changes
        # an equation holds, or does not, however short the step is
        left = stored_or(residual, changes, small)
        last = L(3) < trial
        again =
            converged & rough(
                left,
                allowed,
                capacity,
                tolerance,
                ifelse(last, L(10), one(L)),
                small.rounding,
                rounding_of(stored, fluxes, a, small)
            )
        failed = failed | (again & last)
        here = here & (!converged | again) & !failed
        trial, count, before = ifelse(again, trial + 1, trial), ifelse(again, zero(L), count), ifelse(again, L(NaN), before)
        any(here) || break
        d = solve_system(J, capacity, a, residual)
        # nothing that the next evaluation needs waits for the size
        after = pick(here, limited(u, turned(d, moved, L(TURN_AFTER) <= count), magnitude, small), u)
        u, moved = after, after - u
        size = sqrt(sum(abs2, d .* scale) * inv(T(N)))
        iterations, count = ifelse(here, iterations + 1, iterations), count + 1
        failed = failed | (here & !isfinite(size))
        here = here & isfinite(size)
        contraction = ifelse(here & !isnan(before), size / (before * before), contraction)
        converged = here & (min(contraction * size, one(L)) * size < L(o.newton_tolerance)) & (size < one(L))
        stuck = here & !converged & (L(o.max_newton) <= count)
        failed, here, before = failed | stuck, here & !stuck, size
        any(here) || break
        terms = terms_at(m, u, w, p)
        changes, fluxes, J = linearised(m, u, w, p, terms)
    end
    return u, terms, changes, fluxes, contraction, iterations, failed
end
