# How the roots of a group of rows are found: by Newton's method; where that fails, along the flow; and last, for two states, one between
# bounds inside the other.

const NEWTONS = 25      # evaluations of Newton's method, of which
const SHORTENINGS = 8   # so many in a row may shorten a step
const FOLLOWED = 400    # evaluations along the flow
const ENCLOSED = 2000   # evaluations of one state between bounds inside the other, which end at
const CLOSE = 1e-11     # update, in parts of a state, that is not worth another evaluation where the equations hold
const NEAR = 1e-6       # this change, in parts of a state

"What counts as small: magnitudes of states and equations, what rounding may leave of the latter, and bounds."
struct Magnitudes{N}
    typical::SVector{N,Float64}
    equation::SVector{N,Float64}
    small::Small{N,Float64,true}
end
Magnitudes(m::SmallModel{N}) where {N} =
    Magnitudes(
        SVector{N}(s.scale for s in spec(m).states),
        SVector{N}(s.storage_scale for s in spec(m).states),
        Small(Options{Float64}(m, "implicit_euler"), Val(N), Val(true))
    )

"The larger of the equations in units of their magnitude; NaN where one is none."
@inline distance(f::SVector, x::Magnitudes) = sqrt(sum(map((y, scale) -> abs2(y * (1 / scale)), f, x.equation)))
@inline holds(f::SVector{N}, x::Magnitudes) where {N} = reduce(&, map((y, rounding) -> abs(y) <= rounding, f, x.small.rounding))
"Whether an update is the rounding of the state."
@inline tiny(d::SVector, u, x::Magnitudes, part) =
    reduce(&, map((y, z, typical) -> abs(y) <= part * (abs(z) + typical), d, u, x.typical))

"Whether a root attracts under du/dt = f(u), as far as this is seen from a small Jacobian."
@inline attracts(J::SMatrix{1,1}) = J[1] < zero(J[1])
@inline attracts(J::SMatrix{2,2}) = (J[1, 1] + J[2, 2] < zero(J[1])) & (zero(J[1]) < J[1, 1] * J[2, 2] - J[1, 2] * J[2, 1])
@inline attracts(J::SMatrix{3,3}) = StaticArrays.det(J) < zero(J[1])
@inline attracts(J::SMatrix) = J[1] == J[1]
@inline attracts(J::Sparse) = attracts(SMatrix(J))

@inline reach_of(u, x::Magnitudes) = map((z, typical) -> abs(z) + typical, u, x.typical)

"""
    newton_rows(m, u, w, p, x, Val(Q), Val(any_root)) -> u, fluxes, found, iterations

Newton's method from the guess u, whose steps are shortened until the equations come nearer to zero; to a root that attracts, or to any.
"""
@inline function newton_rows(
    m::SmallModel{N},
    u::SVector{N,L},
    w,
    p,
    x::Magnitudes,
    ::Val{Q},
    (::Val{any_root})=Val(false)
) where {N,L,Q,any_root}
    none, fluxes, never = zero(u), zero(SVector{Q,L}), u[1] < u[1]
    trial, moved, share, rejections, iterations, before = u, none, one(L), zero(L), zero(L), L(Inf)
    found, waiting = never, never
    for _ in 1:NEWTONS
        changes, fluxes, J = linearised(m, trial, w, p, terms_at(m, trial, w, p))
        now, held = distance(changes, x), holds(changes, x)
        nearer = now < before
        taken = !waiting & (nearer | held)
        u, before = pick(taken, trial, u), ifelse(taken, now, before)
        iterations = ifelse(waiting, iterations, iterations + 1)
        d = solve_system(J, none, one(L), changes)
        # where the equations hold and no step brings them nearer to zero, rounding is what is left
        at_root = taken & ((held & (!nearer | tiny(d, u, x, CLOSE))) | tiny(d, u, x, 64 * eps()))
        found = found | (any_root ? at_root : at_root & attracts(J))
        share, rejections = ifelse(taken, one(L), share / 4), ifelse(taken, zero(L), rejections + 1)
        moved = pick(taken, d, moved)
        # at a root that does not attract, or where shorter steps do not help, Newton is of no use
        waiting = waiting | at_root | (L(SHORTENINGS) <= rejections)
        # a row that is done stays where it is, and so do its fluxes
        all(waiting) && break
        trial = pick(waiting, u, limited(u, times_(moved, share), reach_of(u, x), x.small))
    end
    return u, fluxes, found, iterations
end

"""
    follow_rows(m, u, w, p, x, Val(Q)) -> u, fluxes, found, iterations

Pseudo-transient continuation from the guess u: implicit steps along du/dt = f(u), in units of the magnitudes of states and equations, which
grow as the equations come nearer to zero (Kelley & Keyes 1998, doi:10.1137/S0036142996304796).
"""
@inline function follow_rows(m::SmallModel{N}, u::SVector{N,L}, w, p, x::Magnitudes, ::Val{Q}) where {N,L,Q}
    rate, fluxes, never = map(L, x.equation ./ x.typical), zero(SVector{Q,L}), u[1] < u[1]
    trial, moved, len, iterations, before = u, zero(u), L(0.05), zero(L), L(Inf)
    found, waiting = never, never
    for _ in 1:FOLLOWED
        changes, fluxes, J = linearised(m, trial, w, p, terms_at(m, trial, w, p))
        now = distance(changes, x)
        taken = !waiting & (now < 2 * before)
        len = ifelse(taken, len * max(L(0.5), min(L(8), 2 * before / now)), len / 4)
        u, before = pick(taken, trial, u), ifelse(taken, now, before)
        iterations = ifelse(waiting, iterations, iterations + 1)
        at_root = taken & (holds(changes, x) | tiny(solve_system(J, zero(u), one(L), changes), u, x, 1e-11)) & attracts(J)
        found, waiting = found | at_root, waiting | at_root | (len < L(1e-12))
        all(waiting) && break
        moved = pick(taken, solve_system(J, times_(rate, inv(len)), one(L), changes), times_(moved, L(0.25)))
        trial = pick(waiting, u, limited(u, moved, reach_of(u, x), x.small))
    end
    any(found) || return u, fluxes, found, iterations
    u, fluxes, closer, more = newton_rows(m, u, w, p, x, Val(Q))
    return u, fluxes, found & closer, iterations + more
end

"A root that du/dt = f(u) runs away from is better than none."
@inline any_root_rows(m, u, w, p, x, q) = newton_rows(m, u, w, p, x, q, Val(true))

"The lower and upper bound of a root, the state before, and how far to look for a bound that is not known yet."
struct Between{L}
    low::L
    high::L
    before::L
    far::L
end
Between(u::L, lower, scale) where {L} = Between{L}(L(lower), L(Inf), u, L(scale))
@inline pick(m, a::B, b::B) where {B<:Between} =
    B(ifelse(m, a.low, b.low), ifelse(m, a.high, b.high), ifelse(m, a.before, b.before), ifelse(m, a.far, b.far))

"New bounds and state, by Newton's method; by the middle where that leaves the bounds. f > 0 says that the root is above u."
@inline function between(b::Between{L}, u::L, f::L, slope::L) where {L}
    known = isfinite(f)
    below = (known & (zero(L) < f)) | (!known & (u < b.before))
    low, high = ifelse(below, max(b.low, u), b.low), ifelse(below, b.high, min(b.high, u))
    update = -f / slope
    inside = (low <= u + update) & (u + update <= high) & (abs(update) < 0.7 * (high - low))
    middle = ifelse(isfinite(high), ifelse(isfinite(low), 0.5 * (low + high), u - b.far), u + b.far)
    return Between(low, high, u, ifelse(inside, b.far, 2 * b.far)), ifelse(inside, u + update, middle)
end

"""
    enclosed_rows(m, u, w, p, x, Val(Q)) -> u, fluxes, found, iterations

Two states: the first between bounds for each value of the second, which closes in on its own; then Newton's method. The flow may go to
and fro between two sides of a threshold, such as that at which stomata open.
"""
@inline function enclosed_rows(m::SmallModel{2}, u::SVector{2,L}, w, p, x::Magnitudes, q::Val) where {L}
    lower, typical = x.small.lower, x.typical
    of_first, of_second = Between(u[1], lower[1], typical[1]), Between(u[2], lower[2], typical[2])
    settled, waiting, evaluations = u[1] < u[1], u[1] < u[1], zero(L)
    for evaluation in 1:ENCLOSED
        f, _, J = linearised(m, u, w, p, terms_at(m, u, w, p))
        waiting = evaluation == 1 ? !isfinite(distance(f, x)) : waiting
        a = SMatrix(J)
        closer_first, first = between(of_first, u[1], f[1], a[1, 1])
        closer_second, second = between(of_second, u[2], f[2], a[2, 2] - a[2, 1] * a[1, 2] / a[1, 1])
        # where the first has settled the second moves, and the first is looked for anew
        to = SVector(ifelse(settled, u[1], first), ifelse(settled, second, u[2]))
        of_first, of_second =
            pick(settled, Between(u[1], lower[1], typical[1]), closer_first), pick(settled, closer_second, of_second)
        u, d, evaluations = pick(waiting, u, to), to - u, ifelse(waiting, evaluations, evaluations + 1)
        waiting = waiting | (settled & (abs(d[2]) <= NEAR * (abs(to[2]) + typical[2])))
        settled = !settled & (abs(d[1]) <= NEAR * (abs(to[1]) + NEAR * typical[1]))
        all(waiting) && break
    end
    u, fluxes, found, iterations = newton_rows(m, u, w, p, x, q)
    return u, fluxes, found, iterations + evaluations
end

"What is tried where Newton's method fails, in this order."
later_ways(m::SmallModel) = (follow_rows, any_root_rows)
later_ways(m::SmallModel{2}) = (follow_rows, enclosed_rows, any_root_rows)
