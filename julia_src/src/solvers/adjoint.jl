# The gradient of the discrete solution, step by step backwards.
#
# Every stage of an accepted step solves m(U_i) - m(u_n) - h sum_j a_ij f(U_j) = 0. The implicit function theorem turns each
# into one transposed linear solve for a multiplier; nothing of the Newton iterations is needed.

"""
Cotangents of the results, and where those of the inputs go; layout as in `Results` and `Inputs`, but those of the fluxes are
one by one. Null pointers stand for zeros.
"""
struct Cotangents{T}
    states::Ptr{T}
    storage::Ptr{T}
    fluxes::Vector{Field{T}}
    initial::Ptr{T}
    parameters::Vector{Field{T}}
    forcing::Vector{Field{T}}
    weights::Vector{Field{T}}
end

"The last interval of a column whose results have a cotangent; 0 where none has."
function last_wanted(seeds::Cotangents, c, T_, n)
    for k in T_:-1:1
        any_nonzero(seeds.states, ((c - 1) * T_ + k - 1) * n, n) && return k
        any_nonzero(seeds.storage, ((c - 1) * (T_ + 1) + k) * n, n) && return k
        any(flux -> given(flux, c, k) != 0, seeds.fluxes) && return k
    end
    return 0
end

"Whether the storage at the start of a column has a cotangent."
wants_start(seeds::Cotangents, c, T_, n) = any_nonzero(seeds.storage, (c - 1) * (T_ + 1) * n, n)

any_nonzero(values, before, n) = values != C_NULL && any(i -> unsafe_load(values, before + i) != 0, 1:n)

"""
    sweep!(w, m, inputs, c, o, tape, seeds, last, stopping)

Move the cotangents in `w` backwards over one tape of column `c`; where `stopping()` tells it to stop they are left as they are. Steps after
interval `last` take no part: zero times a derivative that overflows is no number.
"""
function sweep!(
    w::Work{T},
    m::Model,
    inputs::Inputs{T},
    c,
    o::Options{T},
    tape::Tape{T},
    seeds::Cotangents{T},
    last,
    stopping
) where {T}
    t, n = o.tableau, statesize(m)
    s, A = stages(t), t.A
    u, bound, starts = w.states[1], 0, length(tape.starts)
    on_flux = zero(T)  # weight of the fluxes at the end of a step, from a step after it in the same interval
    for k in length(tape.steps):-1:1
        stopping() && return
        h, interval = tape.steps[k], Int(tape.interval[k])
        begins = tape.first[k] && t.explicit
        begins && (starts -= n)
        interval > last && continue
        if interval != bound
            bound == 0 || flush!(seeds.parameters, seeds.forcing, w.column, m, c, bound)
            bind!(w.column, m, inputs, c, interval)
            bound = interval
        end
        tape.landed[k] && add_seeds!(w, seeds, c, intervals(inputs), interval)
        only_stored!(w.on_storage, o)
        share = h / inputs.lengths[interval]
        for i in s:-1:1
            copyto!(u, 1, tape.states, ((k - 1) * s + i - 1) * n + 1, n)
            lin = linearise!(w, m, u, true, o)
            if i == s
                copyto!(w.weight_rates, w.on_rates)
                begin_last!(w.right, w.on_state, lin.capacity, w.on_storage)
            else
                w.right .= 0
                w.weight_rates .= 0
                for j in (i+1):s
                    A[j+1, i+1] == 0 || axpy!(w.weight_rates, h * T(A[j+1, i+1]), w.multipliers[j])
                end
            end
            only_stored!(w.weight_rates, o)
            add_transposed!(w.right, lin.jacobian, w.weight_rates)
            if any(wanted, seeds.fluxes)
                weight = T(A[end, i+1]) * share + (i == s ? on_flux : zero(T))
                weigh_fluxes!(w, seeds, c, interval, weight)
                add_flux_slopes!(w.right, w.column, m, u, w.weight_fluxes)
            end
            multiplier = w.multipliers[i]
            solve_transposed!(multiplier, lin.jacobian, lin.capacity, h * T(gamma(t)), w.right)
            axpy!(w.weight_rates, h * T(gamma(t)), multiplier)
            if i == s
                w.weight_storage .= w.on_storage .- multiplier
            else
                w.weight_storage .= .-multiplier
            end
            only_stored!(w.weight_storage, o)
            pull!(w.column, m, u, w.weight_storage, w.weight_rates, w.weight_fluxes)
        end
        w.on_storage .= 0
        w.on_rates .= 0
        w.on_state .= 0
        for i in 1:s
            axpy!(w.on_storage, one(T), w.multipliers[i])
            A[i+1, 1] == 0 || axpy!(w.on_rates, h * T(A[i+1, 1]), w.multipliers[i])
        end
        only_stored!(w.on_storage, o)
        only_stored!(w.on_rates, o)
        on_flux = T(A[end, 1]) * share
        if begins
            o.algebraic ? copyto!(u, 1, tape.starts, starts + 1, n) :
            k == 1 ? copyto!(u, tape.begins) : copyto!(u, 1, tape.states, ((k - 1) * s - 1) * n + 1, n)
            sweep_start!(w, m, u, c, interval, seeds, on_flux, o)
            on_flux = zero(T)
        end
    end
    bound == 0 || flush!(seeds.parameters, seeds.forcing, w.column, m, c, bound)
    flush_weights!(seeds.weights, w.column, c)
    return
end

"Rates and fluxes at the start of an interval, which its first step reads."
function sweep_start!(w::Work{T}, m, u, c, interval, seeds, on_flux, o) where {T}
    lin = linearise!(w, m, u, true, o)
    add_transposed!(w.on_state, lin.jacobian, w.on_rates)
    if any(wanted, seeds.fluxes)
        weigh_fluxes!(w, seeds, c, interval, on_flux)
        add_flux_slopes!(w.on_state, w.column, m, u, w.weight_fluxes)
    end
    if o.algebraic  # what stores nothing follows from the others there
        copyto!(w.right, w.on_state)
        hold!(lin, o)
        solve_transposed!(w.on_state, lin.jacobian, lin.capacity, one(T), w.right)
        w.on_rates .= ifelse.(o.stored, w.on_rates, w.on_state)
        only_stored!(w.on_state, o)
    end
    w.weight_storage .= 0
    pull!(w.column, m, u, w.weight_storage, w.on_rates, w.weight_fluxes)
    w.on_rates .= 0
    return
end

"The start: storage at the initial state depends on it and on the parameters of the first interval."
function finish!(w::Work{T}, m::Model, inputs::Inputs{T}, c, seeds::Cotangents{T}, o::Options{T}) where {T}
    n, u = statesize(m), w.states[1]
    for i in 1:n
        u[i] = load(inputs.initial, c, 1, i)
    end
    bind!(w.column, m, inputs, c, 1)
    lin = linearise!(w, m, u, true, o)
    w.weight_rates .= 0
    w.weight_fluxes .= 0
    add_storage_seeds!(w, seeds, c, intervals(inputs), 0)
    only_stored!(w.on_storage, o)
    pull!(w.column, m, u, w.on_storage, w.weight_rates, w.weight_fluxes)
    flush!(seeds.parameters, seeds.forcing, w.column, m, c, 1)
    flush_weights!(seeds.weights, w.column, c)
    if seeds.initial != C_NULL
        for i in 1:n
            unsafe_store!(seeds.initial, w.on_state[i] + lin.capacity[i] * w.on_storage[i], (c - 1) * n + i)
        end
    end
    return
end

@inline function begin_last!(right::Vector{T}, on_state, capacity, on_storage) where {T}
    @inbounds @simd ivdep for i in eachindex(right)
        right[i] = muladd(capacity[i], on_storage[i], on_state[i])
    end
end

@inline function add_seeds!(w::Work{T}, seeds::Cotangents{T}, c, T_, interval) where {T}
    if seeds.states != C_NULL
        row = ((c - 1) * T_ + interval - 1) * length(w.on_state)
        for i in eachindex(w.on_state)
            w.on_state[i] += unsafe_load(seeds.states, row + i)
        end
    end
    add_storage_seeds!(w, seeds, c, T_, interval)
end

@inline function add_storage_seeds!(w::Work, seeds::Cotangents, c, T_, k)
    seeds.storage == C_NULL && return
    row = ((c - 1) * (T_ + 1) + k) * length(w.on_storage)
    for i in eachindex(w.on_storage)
        w.on_storage[i] += unsafe_load(seeds.storage, row + i)
    end
end

@inline function weigh_fluxes!(w::Work{T}, seeds::Cotangents{T}, c, interval, weight::T) where {T}
    for i in eachindex(w.weight_fluxes)
        w.weight_fluxes[i] = weight * given(seeds.fluxes[i], c, interval)
    end
end
