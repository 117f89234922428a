# Small models with a fixed step, several columns side by side: the algorithm of `integrate.jl` and `adjoint.jl` on numbers that stand in
# registers. Each column has its own step, which is halved where Newton fails, and is zero while it waits for others: a column does not
# depend on its neighbours. A group in which a column fails altogether is solved again one by one.

"Whether columns can be solved side by side with these options."
side_by_side(m::Model, o::Options, replay) = replay === nothing && !o.checkpoints && together(m, o)
together(m::Model, o::Options) = false
together(m::SmallModel, o::Options{Float64}) = o.step > 0 && !o.tableau.explicit && branchless(m)

const BRANCHLESS = Dict{UInt,Bool}()

"Whether the functions of a model work for several columns at once: they are tried."
branchless(m::Model) = lock(() -> get!(() -> dynamic(tried)(m)::Bool, BRANCHLESS, objectid(m)), POOL_LOCK)

function tried(m::SmallModel{N}) where {N}
    L = LaneNumber{Float64}
    u, f = ones(SVector{N,L}), ones_of(spec(m).forcings, L)
    p = merge(ones_of(spec(m).parameters, L), map(with_weights, m.networks))
    return works() do
        w = prepared(m, f, p)
        changes, _ = both(m, seed(u), w, p)
        m.jacobian === nothing || m.jacobian(u, w, p)
        m.linearise === nothing || linearise(m, u, w, p)
        m.guess === nothing || m.guess(w, p)
        m.ahead === nothing || m.ahead(u, w, p, terms_at(m, u, w, p), one(L))
        all(x -> x isa Union{L,DualLanes{L}}, changes) && m.storage(seed(u), p) isa SVector
    end
end

function works(f)
    try
        return f()
    catch error
        error isa Union{TypeError,MethodError,ArgumentError,InexactError} || rethrow()
        return false
    end
end

ones_of(names, ::Type{L}) where {L} = NamedTuple{Tuple(names)}(ntuple(_ -> one(L), length(names)))

"Inputs of a group of `count` columns; those beyond the last one repeat it. `varying` where parameters change from interval to interval."
struct Group{T,P,F,NP,NF,N}
    columns::NTuple{LANES,Int}
    count::Int
    varying::Bool
    names::NamedInputs{T,P,F,NP,NF,N}
end

Group(m::Model, inputs::Inputs{T}, columns, net::Networks) where {T} = Group(NamedInputs(m, T, net), inputs, columns)

function Group(names::NamedInputs{T}, inputs::Inputs{T}, columns) where {T}
    clear!(names.networks)
    bind_weights!(names.networks, inputs.weights)
    return Group(ntuple(lane -> columns[min(lane, end)], Val(LANES)), length(columns), varying(inputs), names)
end

@inline column_of(g::Group, lane) = g.columns[lane]
@inline gather(g::Group, field::Field, k, l=1) = lanes(lane -> load(field, column_of(g, lane), k, l))

@inline forcing_at(g::Group{T,P,F,NP,NF}, inputs::Inputs, k) where {T,P,F,NP,NF} =
    SVector(ntuple(i -> (@inline; gather(g, inputs.forcing[i], k)), Val(NF)))
# not inlined: it is read once, but where it changes from day to day
parameters_at(g::Group{T,P,F,NP}, inputs::Inputs, k) where {T,P,F,NP} =
    SVector(ntuple(i -> gather(g, inputs.parameters[i], k), Val(NP)))
@inline values_at(g::Group, inputs::Inputs, k) = parameters_at(g, inputs, k), forcing_at(g, inputs, k)

"The same from those of another interval: only what changes is read."
@inline function values_at(g::Group{T,P,F,NP,NF}, inputs::Inputs, k, parameters, forcing) where {T,P,F,NP,NF}
    p = g.varying ? parameters_at(g, inputs, k) : parameters
    return p,
    SVector(ntuple(i -> (@inline; inputs.forcing[i].time == 0 ? forcing[i] : gather(g, inputs.forcing[i], k)), Val(NF)))
end

"Parameters, and what the equations read of the forcing."
@inline function inputs_of(m::SmallModel, g::Group, parameters, forcing)
    p, f = named(g.names, parameters, forcing)
    return p, prepared(m, f, p)
end

"Cotangents of a result; columns that repeat the last one have none."
@inline cotangents_at(g::Group, field::Field, k) =
    lanes(lane -> lane > g.count ? 0.0 : Float64(load(field, column_of(g, lane), k)))

"The same in the wanted rows of a table of columns."
@inline rows_of(g::Group, pointer, stride, offset, ::Val{N}) where {N} =
    SVector(
        ntuple(
            i -> lanes(
                lane ->
                    lane > g.count ? 0.0 : Float64(unsafe_load(pointer, (column_of(g, lane) - 1) * stride + offset + i))
            ),
            Val(N)
        )
    )

@inline function write_rows!(g::Group, pointer, stride, offset, values)
    for lane in 1:g.count, i in eachindex(values)
        unsafe_store!(pointer, values[i].x[lane], (column_of(g, lane) - 1) * stride + offset + i)
    end
end

"Rates, fluxes and Jacobian."
@inline function linearised(m::SmallModel{N}, u::SVector{N,L}, w, p, terms) where {N,L}
    if m.linearise !== nothing
        changes, fluxes, J, _ = linearise(m, u, w, p, terms)
        return changes, fluxes, J
    end
    m.jacobian === nothing || return both(m, u, w, p)..., m.jacobian(u, w, p)
    changes, fluxes = both(m, seed(u), w, p)
    return map(value_of, changes), map(value_of, fluxes), slopes_of(changes, Val(N), L)
end

@inline value_of(x::Dual) = value(x)
@inline value_of(x) = x
@inline slope_of(x::Dual, j, ::Type{L}) where {L} = partials(x, j)
@inline slope_of(x, j, ::Type{L}) where {L} = zero(L)
@inline slopes_of(x::SVector{M}, ::Val{N}, ::Type{L}) where {M,N,L} =
    SMatrix{M,N,L}(ntuple(k -> slope_of(x[(k-1)%M+1], (k - 1) ÷ M + 1, L), Val(M * N)))

# functions of their own, since a variable that changes would cost an allocation in a closure
@inline pick(m::Union{Mask,Bool}, a::SVector, b::SVector) = map((x, y) -> ifelse(m, x, y), a, b)
@inline pick(m::Mask, a::L, b::L) where {L<:Lanes} = ifelse(m, a, b)
@inline per(x, y) = map(z -> z / y, x)
@inline times_(x, y) = map(z -> z * y, x)

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

"""
    forward_group!(run, columns, net, results, counts, failures, record, stopping) -> done

Solve these columns side by side, with the networks `net`; false where they must be solved one by one.
"""
function forward_group!(run::Run, columns, net, results, counts, failures, record, stopping)
    o, q = run.options, length(spec(run.model).fluxes)
    done =
        forward_lanes!(run.model, run, Group(run.model, run.inputs, columns, net), results, counts, failures, record, stopping,
            Val(stages(o.tableau)), Val(q),
            Val(o.algebraic))
    done || foreach(c -> empty!(run.tapes[c]), columns)
    return done
end

"What a group takes from one step to the next; `failed` where a column found no step that works."
struct LaneCarry{N,L}
    u::SVector{N,L}
    carried::SVector{N,L}
    before::SVector{N,L}
    between::SVector{N,L}
    last_step::L
    contraction::L
    step::L
    accepted::L
    rejected::L
    iterations::L
    failed::Bool
end

function begin_lanes(m::SmallModel, u::SVector{N,L}, p, o::Options, small) where {N,L}
    none = zero(L)
    return LaneCarry{N,L}(
        u,
        only_stored(map(value_of, m.storage(u, p)), small),
        u,
        u,
        L(UNSEEN),
        L(UNSEEN),
        L(o.step),
        none,
        none,
        none,
        false
    )
end

"What is the same for all steps: the method, the least step, what counts as small."
struct LaneOptions{S1,N,T,X,A}
    A::SMatrix{S1,S1,T,X}
    times::SVector{S1,T}
    shortest::T
    small::Small{N,T,A}
end
LaneOptions(o::Options{T}, least, ::Val{S}, n::Val, algebraic::Val) where {T,S} =
    LaneOptions(
        SMatrix{S + 1,S + 1,T}(o.tableau.A),
        SVector{S + 1,T}(o.tableau.times),
        T(1e-12) * least,
        Small(o, n, algebraic)
    )

"""
Take the steps of interval k, of length `len`. `terms` are those of the state before, if they are `known`. Returns what is carried, the terms and
whether they are known, and the integrals of the fluxes.
"""
@inline function through_interval!(tape::Tape, m::SmallModel{N}, y::LaneCarry{N,L}, terms, known, w, p, k, len::L,
    o::Options{T}, x::LaneOptions{S1}, kept, stopping,
    ::Val{Q}) where {N,L,T,S1,Q}
    S, A, stay, small = S1 - 1, x.A, stays(o), x.small
    (; u, carried, before, between, last_step, contraction, step, accepted, rejected, iterations) = y
    elapsed, total, given_up = zero(L), zero(SVector{Q,L}), false
    waiting = len < len
    while !all(waiting)
        stopping() && break
        rest = len - elapsed
        to_end = rest * T(1 - ROUND) <= step
        h = ifelse(waiting, zero(L), ifelse(to_end, rest, step))
        sizes = scales(u, small)
        stages_, rates_, fluxes_ = zero(SVector{S,SVector{N,L}}), zero(SVector{S,SVector{N,L}}), zero(SVector{S,SVector{Q,L}})
        going, state = !waiting, u
        for i in 1:S
            target = carried
            for j in 1:(i-1)
                target += (h * A[i+1, j+1]) * rates_[j]
            end
            if i > 1 || !stay
                by_model = i == 1 && m.ahead !== nothing
                by_model && !known && (terms = terms_at(m, u, w, p))
                ahead =
                    by_model ? m.ahead(u, w, p, terms, h * A[S+1, S+1]) :
                    first_guess(i, x.times, h, u, state, before, between, last_step, sizes[3])
                # what stores nothing jumps with the forcing
                state = pick(going, stored_or(ahead, i == 1 ? u : state, small), u)
                known = false
            end
            terms = known ? terms : terms_at(m, state, w, p)
            state, terms, changes, fluxes, contraction, n, failed =
                solve_stage(m, state, terms, target, h * A[S+1, S+1], i == S ? to_end : len < len, w, p,
                    sizes, contraction, going, o, small)
            iterations += n
            going = going & !failed
            stages_, rates_, fluxes_ = Base.setindex(stages_, state, i),
            Base.setindex(rates_, only_stored(changes, small), i),
            Base.setindex(fluxes_, fluxes, i)
        end
        # where a column waits or has failed nothing moves, with a step of zero
        taken = ifelse(going, h, zero(L))
        for i in 1:S
            stages_ = Base.setindex(stages_, pick(going, stages_[i], u), i)
        end
        failed, known = !going & !waiting, all(going)
        for i in 1:S
            carried += pick(going, times_(rates_[i], h * A[S+1, i+1]), zero(carried))
            total += pick(going, times_(fluxes_[i], h * A[S+1, i+1]), zero(total))
        end
        append_step!(tape, k, taken, stages_, kept)
        start = u
        before = pick(waiting, before, start)
        between = pick(waiting, between, pick(going, stages_[1], start))
        last_step = ifelse(going, h, ifelse(waiting, last_step, L(UNSEEN)))
        contraction = ifelse(failed, L(UNSEEN), contraction)
        u = stages_[S]
        step = ifelse(going, L(o.step), ifelse(failed, h / 2, step))
        accepted, rejected = ifelse(going, accepted + 1, accepted), ifelse(failed, rejected + 1, rejected)
        given_up = any(failed & (step < L(x.shortest))) || any(L(o.max_steps) <= accepted + rejected)
        given_up && break
        elapsed = ifelse(going, elapsed + h, elapsed)
        waiting = waiting | (going & to_end)
    end
    return LaneCarry{N,L}(u, carried, before, between, last_step, contraction, step, accepted, rejected, iterations, given_up),
    terms,
    known,
    total
end

function forward_lanes!(
    m::SmallModel{N},
    run::Run{T},
    g::Group,
    results,
    counts,
    failures,
    record,
    stopping,
    ::Val{S},
    ::Val{Q},
    algebraic::Val
) where {N,T,S,Q}
    inputs, o, L, K = run.inputs, run.options, LaneNumber{T}, intervals(run.inputs)
    tape, x = run.tapes[first(g.columns)], LaneOptions(o, minimum(inputs.lengths), Val(S), Val(N), algebraic)
    u = SVector(ntuple(i -> gather(g, inputs.initial, 1, i), Val(N)))
    parameters, forcing = values_at(g, inputs, 1)
    p, w = inputs_of(m, g, parameters, forcing)
    # terms of a state serve for the step that begins there, unless the parameters change
    terms, known, y = terms_at(m, u, w, p), true, begin_lanes(m, u, p, o, x.small)
    write_rows!(g, results.storage, N * (K + 1), 0, y.carried)
    kept = record ? S : 0
    sizehint!(tape.states, LANES * (N * kept + 1) * ceil(Int, sum(inputs.lengths) / o.step + K); shrink=false)
    for k in 1:K
        parameters, forcing = values_at(g, inputs, k, parameters, forcing)
        p, w = inputs_of(m, g, parameters, forcing)
        len = L(inputs.lengths[k])
        y, terms, known, total =
            through_interval!(tape, m, y, terms, known && !g.varying, w, p, k, len, o, x, kept, stopping, Val(Q))
        y.failed && return false
        stopping() && return true
        write_rows!(g, results.states, N * K, (k - 1) * N, y.u)
        write_rows!(g, results.storage, N * (K + 1), k * N, y.carried)
        write_rows!(g, results.fluxes, Q * K, (k - 1) * Q, per(total, len))
    end
    for lane in 1:g.count
        c = column_of(g, lane)
        counts[1, c], counts[2, c], counts[3, c] = Int(y.accepted.x[lane]), Int(y.rejected.x[lane]), Int(y.iterations.x[lane])
        failures[1, c], failures[2, c] = Int(ARRIVED), K + 1
    end
    hand_steps!(run.tapes, g, N * kept + 1, y.accepted)
    record ? (tape.group = g.count) : empty!(tape.states)
    return true
end

"Tolerances of the states, their reciprocals, and magnitudes, as `scales!`."
@inline function scales(u::SVector{N,L}, small::Small) where {N,L}
    tolerance = map((x, atol) -> muladd(L(small.rtol), abs(x), L(atol)), u, small.atol)
    return tolerance, map(inv, tolerance), map((x, typical) -> L(typical) + abs(x), u, small.typical)
end

"As `guess!`."
@inline function first_guess(i, times::SVector{M,T}, h::L, u, state, before, between, last_step::L, magnitude) where {M,T,L}
    if i == 1
        ahead = h * times[2]
        M == 2 && return ahead_of(u, before, -last_step, before, -last_step, ahead, true, magnitude)
        return ahead_of(u, between, last_step * (times[2] - 1), before, -last_step, ahead, false, magnitude)
    end
    at = h * times[i]
    return ahead_of(state, u, -at, before, -at - last_step, h * times[i+1] - at, times[i+1] > T(1.5) * times[i], magnitude)
end

@inline function ahead_of(base, a, ta::L, b, tb::L, t::L, line::Bool, magnitude) where {L}
    by_a = line ? t / ta : t * (t - tb) / (ta * (ta - tb))
    by_b = line ? zero(L) : t * (t - ta) / (tb * (tb - ta))
    return map((x, y, z, r) -> shortened_by(x, muladd(by_a, y - x, by_b * (z - x)), r), base, a, b, magnitude)
end

"Write down the length of a step and the states of the stages that are kept."
@inline function append_step!(tape::Tape, k, taken::Lanes, stages_::SVector{S,SVector{N,L}}, kept) where {S,N,L}
    at = length(tape.states)
    resize!(tape.states, at + LANES * (N * kept + 1))
    SIMD.vstore(taken.x, pointer(tape.states, at + 1))
    for i in 1:kept, j in 1:N
        SIMD.vstore(stages_[i][j].x, pointer(tape.states, at + 1 + LANES * ((i - 1) * N + j)))
    end
    push!(tape.interval, k)
end

"Hand each column the lengths of its steps, which stand `width` lanes apart."
function hand_steps!(tapes, g::Group, width, accepted)
    together = tapes[first(g.columns)]
    for lane in 1:g.count
        steps, n = tapes[column_of(g, lane)].steps, 0
        resize!(steps, Int(accepted.x[lane]))
        for at in lane:(LANES*width):length(together.states)
            together.states[at] > 0 && (steps[n+=1] = together.states[at])
        end
    end
end
