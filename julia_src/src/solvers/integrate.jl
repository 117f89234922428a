# The forward solve of one column.
#
# Storage is carried, not recomputed from the state: it changes by exactly the step times the weighted rates of the stages, so
# that storage and fluxes balance to rounding whatever Newton leaves unresolved.

const ROUND = 1e-9      # parts of an interval that count as rounding of its end
const STILL = 1.0f-3      # parts of a state and its typical magnitude: smaller changes from step to step say nothing in Float32
const UNSEEN = 1e30     # contraction, or step before, of a column that has none yet
const SAFETY = 0.9
const SHRINK = 0.2      # a step is never cut to less than this fraction for its error,
const GROW = 5.0        # nor lengthened by more than this factor
const NEWTON_CUT = 0.25 # cut where Newton did not converge
const PATIENCE = 4000   # iterations of Newton, at most, after which a column is asked how far it came since it was asked before
const ASKS = 3          # answers of no progress in a row that make a failure: steps after a jump are short for one or two, then grow
const SHARE = 0.5       # part of max_steps that the rest of one interval may take at that pace,
const LEAST = 50_000    # but no fewer attempts than this: a small max_steps ends the solve soon by itself

@enum Outcome::Int64 ARRIVED = 0 TOO_SHORT = 1 TOO_MANY = 2 INTERRUPTED = 3 UNSTABLE = 4 UNSOLVED = 5 STALLED = 6 NO_ROOT = 7

"""
Results of a solve, in memory that somebody else owns: states (size, interval, column), storage (size, interval + 1, column), which
begins with that of the initial state, and fluxes (flux, interval, column).

Where bits of `only` are set, those of fluxes, these alone have a place, and nothing else is written.
"""
struct Results{T}
    states::Ptr{T}
    storage::Ptr{T}
    fluxes::Ptr{T}
    only::Int64
end
Results{T}(states, storage, fluxes) where {T} = Results{T}(states, storage, fluxes, 0)

"How many of q fluxes are written, and the place of flux i among them, 0 for none."
@inline flux_count(r::Results, q) = r.only == 0 ? q : count_ones(r.only)
@inline flux_place(r::Results, i) = r.only == 0 ? i : ((r.only >> (i - 1)) & 1) * count_ones(r.only & ((1 << i) - 1))

"State of column `c` at the first time."
function start!(w::Work{T}, m::Model, inputs::Inputs{T}, c, o::Options{T}) where {T}
    y = w.carry
    release!(w.column)
    for i in eachindex(y.psi)
        y.psi[i] = load(inputs.initial, c, 1, i)
    end
    bind!(w.column, m, inputs, c, 1)
    copyto!(y.storage, linearise!(w, m, y.psi, false, o).storage)
    y.psi_before .= y.psi
    y.psi_between .= y.psi
    y.rates .= 0
    y.fluxes .= 0
    y.total .= 0
    y.interval, y.elapsed, y.starts, y.attempts, y.taken, y.asked, y.slow, y.reached = 1, 0, true, 0, 0, 1, 0, 0
    y.step = o.step > 0 ? o.step : o.initial_step > 0 ? o.initial_step : T(1e-5) * inputs.lengths[1]
    y.step_before, y.error_before, y.contraction = UNSEEN, 1, UNSEEN
    return y
end

"""
    integrate!(w, m, inputs, c, until, o, results, counts, tape, replay, stop) -> Outcome

Take column `c` from its carry to the end of interval `until`. Results are written at the ends of intervals where `results` is
given; accepted and rejected steps and Newton iterations are added to `counts`; the tape records states where `record`.
"""
function integrate!(w::Work{T}, m::Model, inputs::Inputs{T}, c, until, o::Options{T}, results, counts, tape::Tape{T},
    record::Bool,
    replay, stop) where {T}
    y = w.carry
    shortest = T(1e-12) * minimum(inputs.lengths)
    record && isempty(tape.begins) && append!(tape.begins, y.psi)
    while y.interval <= until
        if y.starts
            bind!(w.column, m, inputs, c, y.interval)
            begin_interval!(w, m, o)
        end
        attempt!(w, m, inputs, c, o, results, counts, tape, record, replay)
        y.interval > until && break
        y.step < shortest && return TOO_SHORT
        y.attempts >= o.max_steps && return TOO_MANY
        replay === nothing && stalled!(y, inputs.lengths[y.interval], o) && return STALLED
        stop() && return INTERRUPTED
    end
    return ARRIVED
end

"Whether attempts bring a column so little further, again and again, that the rest of its interval would take most of `max_steps`."
function stalled!(y::Carry{T}, len::T, o::Options{T}) where {T}
    patience = max(100, PATIENCE ÷ o.max_newton)
    y.attempts % patience == 0 || return false
    slow = y.asked == y.interval && (y.elapsed - y.reached) * T(max(SHARE * o.max_steps, LEAST)) < patience * (len - y.reached)
    y.slow = slow ? y.slow + 1 : 0
    y.asked, y.reached = y.interval, y.elapsed
    return y.slow >= ASKS
end

"Rates and fluxes at the first state of an interval, where the solution or the error of its first step needs them."
function begin_interval!(w::Work, m::Model, o::Options)
    y = w.carry
    o.tableau.explicit || o.step == 0 || return
    found = !o.algebraic || settle!(w, m, o)
    lin = evaluate!(w, m, y.psi, o)
    copyto!(y.rates, lin.rates)
    only_stored!(y.rates, o)
    found || !o.tableau.explicit || (y.rates .= NaN)  # without a state at the start no step can be taken
    copyto!(y.fluxes, lin.fluxes)
    return
end

"One step, kept where its error allows."
function attempt!(w::Work{T}, m::Model, inputs, c, o::Options{T}, results, counts, tape, record, replay) where {T}
    y, s = w.carry, stages(o.tableau)
    len = inputs.lengths[y.interval]
    rest = len - y.elapsed
    if replay !== nothing
        h = load(replay, c, 1, y.taken + 1)
    elseif y.step >= rest * T(1 - ROUND)
        h = rest
    else
        # two equal steps to the end of the interval rather than a long and a tiny one
        h = o.step > 0 ? y.step : min(y.step, rest / 2)
    end
    landed = h >= rest * T(1 - ROUND)
    converged, contraction = solve_stages!(w, m, h, landed, o, counts)
    if !converged
        error, accepted = T(2), false
    elseif o.step > 0 || replay !== nothing
        error, accepted = one(T), true
    else
        error = embedded_error!(w, h, o)
        converged = isfinite(error)
        accepted = converged && error <= 1
    end
    y.contraction = converged ? contraction : T(UNSEEN)
    y.attempts += 1
    counts[accepted ? 1 : 2] += 1
    if replay !== nothing
        # a step that fails without the trend of those before it, too, would fail for ever
        y.step = accepted || y.step_before < T(UNSEEN) ? h : zero(T)
    elseif o.step > 0
        y.step = accepted ? o.step : h / 2
    else
        y.step = next_step(y, h, error, accepted, converged, o.tableau.error_order)
    end
    if !accepted
        y.psi_before .= y.psi
        y.psi_between .= y.psi
        y.step_before = UNSEEN
        return
    end
    if record
        foreach(u -> append!(tape.states, u), w.states)
        o.algebraic && o.tableau.explicit && y.starts && append!(tape.starts, y.psi)
    end
    push!(tape.steps, h)
    push!(tape.interval, y.interval)
    push!(tape.first, y.starts)
    push!(tape.landed, landed)
    advance!(w, h, error, o)
    y.starts = landed
    landed || return
    write!(results, y, c, intervals(inputs), len)
    y.total .= 0
    y.elapsed = 0
    y.interval += 1
    return
end

"The stages of a step; whether Newton converged in all of them, and its last contraction."
function solve_stages!(w::Work{T}, m::Model, h::T, landed::Bool, o::Options{T}, counts) where {T}
    y, A, times, s = w.carry, o.tableau.A, o.tableau.times, stages(o.tableau)
    scales!(w.tolerance, w.scale, w.reach, y.psi, o.rtol, o.atol, o.typical)
    copyto!(w.rates[1], y.rates)
    copyto!(w.fluxes[1], y.fluxes)
    contraction = y.contraction
    for i in 1:s
        copyto!(w.target, y.storage)
        for j in 1:i
            A[i+1, j] == 0 || axpy!(w.target, h * T(A[i+1, j]), w.rates[j])
        end
        same = i > 1 && times[i+1] == times[i]
        if same
            copyto!(w.states[i], w.states[i-1])
        elseif i == 1 && stays(o)
            copyto!(w.states[1], y.psi)
        else
            guess!(w, i, times, h)
            # what stores nothing jumps with the forcing
            o.algebraic && (w.states[i] .= ifelse.(o.stored, w.states[i], i == 1 ? y.psi : w.states[i-1]))
        end
        fresh = same && leaves_jacobian(m)
        if i == s && o.step == 0
            fresh || linearise!(w, m, w.states[i], false, o)
            fresh = true
            contraction >= UNSEEN && raise_capacity!(w.linearisation, w.column, m)
            copyto!(w.filter[1], w.linearisation.jacobian)
            copyto!(w.filter[2], w.linearisation.capacity)
        end
        converged, contraction, count =
            solve_stage!(w, m, w.states[i], h * T(gamma(o.tableau)), landed && i == s, fresh, contraction, o)
        counts[3] += count
        converged || return false, contraction
        copyto!(w.rates[i+1], w.linearisation.rates)
        only_stored!(w.rates[i+1], o)
        copyto!(w.fluxes[i+1], w.linearisation.fluxes)
    end
    return true, contraction
end

@inline function scales!(
    tolerance::Vector{T},
    scale::Vector{T},
    reach::Vector{T},
    psi::Vector{T},
    rtol::T,
    atol::Vector{T},
    typical::Vector{T}
) where {T}
    @inbounds @simd ivdep for i in eachindex(psi)
        size = abs(psi[i])
        tolerance[i] = muladd(rtol, size, atol[i])
        scale[i] = 1 / tolerance[i]
        reach[i] = 1 / (typical[i] + size)
    end
end

@inline function axpy!(out::Vector{T}, a::T, x::Vector{T}) where {T}
    @inbounds @simd ivdep for i in eachindex(out)
        out[i] = muladd(a, x[i], out[i])
    end
end

"Whether a step begins at the state before it, for models of stores alone: where a store goes depends on the weather of the day, not on where it came from."
stays(o::Options) = o.step > 0 && o.bounded[2]

"""
First guess of a stage: along the parabola through the three latest known states, or the line through two where the stage is far
from them, since there a parabola overshoots.
"""
function guess!(w::Work{T}, i, times, h::T) where {T}
    y, before = w.carry, w.carry.step_before
    if i == 1
        ahead = h * T(times[2])
        if length(times) == 2
            extrapolate!(w.states[1], y.psi, y.psi_before, -before, y.psi_before, -before, ahead, true, w)
        else
            late = before * T(1 - times[2])
            extrapolate!(w.states[1], y.psi, y.psi_between, -late, y.psi_before, -before, ahead, false, w)
        end
    else
        at = h * T(times[i])
        line = times[i+1] > 1.5 * times[i]
        extrapolate!(w.states[i], w.states[i-1], y.psi, -at, y.psi_before, -at - before, h * T(times[i+1]) - at, line, w)
    end
    return
end

"From `base`, at time 0, to time t along the line through state a, or the parabola through a and b as well."
@inline function extrapolate!(out::Vector{T}, base, a, ta::T, b, tb::T, t::T, line::Bool, w::Work{T}) where {T}
    reach, now, past = w.reach, w.carry.psi, w.carry.psi_before
    by_a = line ? t / ta : t * (t - tb) / (ta * (ta - tb))
    by_b = line ? zero(T) : t * (t - ta) / (tb * (tb - ta))
    @inbounds @simd ivdep for i in eachindex(out)
        d = muladd(by_a, a[i] - base[i], by_b * (b[i] - base[i]))
        T === Float32 && (d = ifelse(abs(now[i] - past[i]) * reach[i] < STILL, zero(T), d))  # rounding, and no trend
        out[i] = base[i] + d / (1 + abs(d * reach[i]))
    end
end

"Embedded error filtered by the matrix at the guess of the last stage: the larger of its norms in state and in storage."
function embedded_error!(w::Work{T}, h::T, o::Options{T}) where {T}
    t = o.tableau
    w.right .= 0
    for (j, rates) in enumerate(w.rates)
        weight = t.A[end, j] - t.b_hat[j]
        weight == 0 || axpy!(w.right, h * T(weight), rates)
    end
    solve!(w.update, w.filter[1], w.filter[2], h * T(gamma(t)), w.right)
    only_stored!(w.update, o)
    count = o.algebraic ? max(1, sum(o.stored)) : length(w.update)
    return max(
        error_norm(w.update, count, w.linearisation.capacity, w.carry.storage, w.scale, o.rtol, o.storage_atol),
        T(1e-10)
    )
end

@inline function error_norm(e::Vector{T}, count, capacity, storage, scale, rtol::T, storage_atol::Vector{T}) where {T}
    by_state, by_storage = zero(T), zero(T)
    @inbounds @simd for i in eachindex(e)
        x = e[i] * scale[i]
        z = e[i] * capacity[i] / muladd(rtol, abs(storage[i]), storage_atol[i])
        by_state = muladd(x, x, by_state)
        by_storage = muladd(z, z, by_storage)
    end
    return sqrt(ifelse(by_storage >= by_state, by_storage, by_state) / count)
end

"Proportional-integral control (Hairer & Wanner 1996, eq. IV.8.2)."
function next_step(y::Carry{T}, h::T, error::T, accepted::Bool, converged::Bool, order::Int) where {T}
    if accepted
        grown = h * clamp(T(SAFETY) * error^T(-0.7 / order) * y.error_before^T(0.4 / order), T(SHRINK), T(GROW))
        # a step cut short by the end of its interval says nothing against the longer one wished before
        return h < y.step ? max(grown, y.step) : grown
    end
    return h * (converged ? clamp(T(SAFETY) * error^T(-1 / order), T(SHRINK), T(SAFETY)) : T(NEWTON_CUT))
end

"Carry an accepted step on."
function advance!(w::Work{T}, h::T, error::T, o::Options{T}) where {T}
    y, A = w.carry, o.tableau.A
    for (j, (rates, fluxes)) in enumerate(zip(w.rates, w.fluxes))
        if A[end, j] != 0
            axpy!(y.storage, h * T(A[end, j]), rates)
            axpy!(y.total, h * T(A[end, j]), fluxes)
        end
    end
    copyto!(y.psi_before, y.psi)
    copyto!(y.psi_between, w.states[1])
    copyto!(y.psi, w.states[end])
    copyto!(y.rates, w.rates[end])
    copyto!(y.fluxes, w.fluxes[end])
    y.elapsed += h
    y.step_before = h
    y.error_before = max(error, T(1e-4))
    y.taken += 1
    return
end

write!(::Nothing, y, c, T, len) = nothing
function write!(r::Results{X}, y::Carry{X}, c, T, len) where {X}
    n, q, row = length(y.psi), flux_count(r, length(y.total)), (c - 1) * T + y.interval - 1
    r.only == 0 && unsafe_copyto!(r.states + row * n * sizeof(X), pointer(y.psi), n)
    write_storage!(r, y, c, T, y.interval)
    for (i, total) in enumerate(y.total)
        place = flux_place(r, i)
        place == 0 || unsafe_store!(r.fluxes, total / len, row * q + place)
    end
    return
end

"Storage at the end of interval k, or at the start for k = 0."
function write_storage!(r::Results{X}, y::Carry{X}, c, T, k) where {X}
    r.only == 0 || return
    n = length(y.psi)
    unsafe_copyto!(r.storage + ((c - 1) * (T + 1) + k) * n * sizeof(X), pointer(y.storage), n)
    return
end

"Not a number from the interval on that was not finished."
function missing!(r::Results{X}, y::Carry{X}, c, T) where {X}
    n, q = length(y.psi), flux_count(r, length(y.total))
    for k in y.interval:T
        row = (c - 1) * T + k - 1
        foreach(i -> unsafe_store!(r.fluxes, X(NaN), row * q + i), 1:q)
        r.only == 0 || continue
        foreach(i -> unsafe_store!(r.states, X(NaN), row * n + i), 1:n)
        foreach(i -> unsafe_store!(r.storage, X(NaN), ((c - 1) * (T + 1) + k) * n + i), 1:n)
    end
end
