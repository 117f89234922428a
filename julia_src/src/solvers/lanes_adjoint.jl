# The gradient of columns side by side, as `adjoint.jl` has it for one.

"Number `i` of those that a step has written: its length, then the states of its stages."
@inline read_lanes(tape::Tape{T}, step, width, i) where {T} =
    Lanes(SIMD.vload(Vec{LANES,T}, pointer(tape.states, ((step - 1) * width + i - 1) * LANES + 1)))

@inline read_state(tape, step, width, i, ::Val{N}) where {N} =
    SVector(ntuple(j -> read_lanes(tape, step, width, 1 + (i - 1) * N + j), Val(N)))

"The gradient of a group, as `sweep!` and `finish!` do it for one column."
backward_group!(run::Run, columns, net, seeds, stopping) =
    backward_lanes!(run.model, run, Group(run.model, run.inputs, columns, net), seeds, stopping,
        Val(stages(run.options.tableau)),
        Val(length(spec(run.model).fluxes)), Val(run.options.algebraic))

function backward_lanes!(
    m::SmallModel{N},
    run::Run{T},
    g::Group{T,PN,FN,NP,NF},
    seeds::Cotangents{T},
    stopping,
    ::Val{S},
    ::Val{Q},
    algebraic::Val
) where {N,T,PN,FN,NP,NF,S,Q}
    inputs, o, K, L = run.inputs, run.options, intervals(run.inputs), LaneNumber{T}
    A, tape = SMatrix{S + 1,S + 1,T}(o.tableau.A), run.tapes[first(g.columns)]
    with_states, with_storage = seeds.states != C_NULL, seeds.storage != C_NULL
    on_state, on_storage = zero(SVector{N,L}), zero(SVector{N,L})
    on_inputs, step, small = zero(SVector{NP + NF,L}), length(tape.interval), Small(o, Val(N), algebraic)
    parameters, forcing = values_at(g, inputs, K)
    for k in K:-1:1
        stopping() && return
        parameters, forcing = values_at(g, inputs, k, parameters, forcing)
        p, w = inputs_of(m, g, parameters, forcing)
        on_fluxes =
            SVector(ntuple(i -> (@inline; wanted(seeds.fluxes[i]) ? cotangents_at(g, seeds.fluxes[i], k) : zero(L)), Val(Q)))
        with_states && (on_state += rows_of(g, seeds.states, N * K, (k - 1) * N, Val(N)))
        with_storage && (on_storage += only_stored(rows_of(g, seeds.storage, N * (K + 1), k * N, Val(N)), small))
        step, on_state, on_storage, on_inputs =
            back_through(tape, step, m, g.names, k, inputs.lengths[k], w, p, parameters, forcing, on_fluxes, on_state,
                on_storage,
                on_inputs, A, small)
        on_inputs = flush_group!(seeds, g, on_inputs, k, Val(NP), k == 1)
    end
    with_storage && (on_storage += only_stored(rows_of(g, seeds.storage, N * (K + 1), 0, Val(N)), small))
    finish_group!(m, inputs, g, seeds, on_state, on_storage, Val(Q))
    return
end

"Take the steps of interval k, of length `len`, backwards: the number of the step before, and the cotangents of state, storage and inputs."
@inline function back_through(tape::Tape, step, m::SmallModel{N}, names, k, len, w, p, parameters, forcing, on_fluxes,
    on_state::SVector{N,L}, on_storage, on_inputs,
    A::SMatrix{S1}, small) where {N,L,S1}
    S, width = S1 - 1, N * (S1 - 1) + 1
    while step > 0 && tape.interval[step] == k
        h, multipliers = read_lanes(tape, step, width, 1), zero(SVector{S,SVector{N,L}})
        for i in S:-1:1
            u = read_state(tape, step, width, i, Val(N))
            capacity = only_stored(storage_slopes(m, u, p)[2], small)
            right = i == S ? on_state + map(*, capacity, on_storage) : zero(on_state)
            weight = zero(on_state)
            for j in (i+1):S
                weight += (h * A[j+1, i+1]) * multipliers[j]
            end
            weight = only_stored(weight, small)
            weight_fluxes = (h * A[S+1, i+1] / len) * on_fluxes
            J, pull = pulled(m, u, w, p)
            by_outputs = pull(weight, weight_fluxes)[1]
            multiplier = solve_transposed(J, capacity, h * A[S+1, S+1], right + by_outputs)
            multipliers = Base.setindex(multipliers, multiplier, i)
            weight += (h * A[S+1, S+1]) * multiplier
            weight_storage = only_stored((i == S ? on_storage : zero(on_storage)) - multiplier, small)
            on_inputs += input_slopes(m, names, u, pull, parameters, forcing, weight_storage, weight, weight_fluxes)
        end
        on_storage, on_state, step = only_stored(sum(multipliers), small), zero(on_state), step - 1
    end
    return step, on_state, on_storage, on_inputs
end

"Jacobian of the rates, and the function that gives the cotangent of the state, and of the inputs where the model knows it."
@inline function pulled(m::SmallModel{N}, u::SVector{N,L}, w, p) where {N,L}
    if m.linearise !== nothing
        linear = linearise(m, u, w, p)
        return linear[3], linear[4]
    end
    changes, fluxes = both(m, seed(u), w, p)
    J = m.jacobian === nothing ? slopes_of(changes, Val(N), L) : m.jacobian(u, w, p)
    by_fluxes = transpose(slopes_of(fluxes, Val(N), L))
    return J, (on_rates, on_fluxes) -> (transpose(SMatrix(J)) * on_rates + by_fluxes * on_fluxes,)
end

"Cotangents of parameters and forcing, by the model or from dual numbers."
@inline function input_slopes(
    m::SmallModel,
    names::NamedInputs{T,P,F,NP,NF},
    u,
    pull,
    parameters,
    forcing,
    on_storage,
    on_rates,
    on_fluxes
) where {T,P,F,NP,NF}
    m.linearise === nothing || return in_order(names, pull(on_rates, on_fluxes))
    p, f = probed(names, parameters, forcing)
    changes, fluxes = both(m, u, prepared(m, f, p), p)
    total = dot_(on_storage, m.storage(u, p)) + dot_(on_rates, changes) + dot_(on_fluxes, fluxes)
    slopes = all_slopes(total, eltype(u), Val(NP + NF + length(names.networks)))
    add_network_slopes!(names.networks, slopes, Val(NP + NF))
    return SVector(ntuple(i -> slopes[i], Val(NP + NF)))
end

@inline dot_(w::SVector{0,L}, x) where {L} = zero(L)
@inline dot_(w, x) = sum(map(*, w, x))

"Add the cotangents of what changes from interval to interval to its field, and at the last of all the others too."
@inline function flush_group!(seeds::Cotangents, g::Group, on_inputs::SVector{M,L}, k, ::Val{NP}, last) where {M,L,NP}
    for i in 1:M
        field = i <= NP ? seeds.parameters[i] : seeds.forcing[i-NP]
        (last || field.time != 0) && add_lanes!(field, on_inputs[i], g, k)
    end
    return SVector(
        ntuple(i -> (i <= NP ? seeds.parameters[i] : seeds.forcing[i-NP]).time != 0 ? zero(L) : on_inputs[i], Val(M))
    )
end

@inline function add_lanes!(field::Field, values::Lanes, g::Group, k)
    wanted(field) || return
    for lane in 1:g.count
        add!(field, values.x[lane], column_of(g, lane), k)
    end
end

"As `finish!`."
function finish_group!(
    m::SmallModel{N},
    inputs,
    g::Group{T,PN,FN,NP,NF},
    seeds,
    on_state,
    on_storage,
    ::Val{Q}
) where {N,T,PN,FN,NP,NF,Q}
    L = eltype(on_state)
    u = SVector(ntuple(i -> gather(g, inputs.initial, 1, i), Val(N)))
    parameters, forcing = values_at(g, inputs, 1)
    p, w = inputs_of(m, g, parameters, forcing)
    on_inputs = input_slopes(
        m,
        g.names,
        u,
        pulled(m, u, w, p)[2],
        parameters,
        forcing,
        on_storage,
        zero(on_storage),
        zero(SVector{Q,L})
    )
    for i in 1:NP
        add_lanes!(seeds.parameters[i], on_inputs[i], g, 1)
    end
    flush_weights!(seeds.weights, g.names.networks, first(g.columns))
    _, capacity = storage_slopes(m, u, p)
    seeds.initial == C_NULL || write_rows!(g, seeds.initial, N, 0, on_state + capacity .* on_storage)
    return
end
