# Small models with a fixed step, several columns side by side: the algorithm of `integrate.jl` and `adjoint.jl` on numbers that stand in
# registers. Each column has its own step, which is halved where Newton fails, and is zero while it waits for others: a column does not
# depend on its neighbours. A group in which a column fails altogether is solved again one by one.

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
    write_storage!(g, results, K, 0, y.carried)
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
        write_interval!(g, results, K, k, y.u, y.carried, per(total, len))
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
