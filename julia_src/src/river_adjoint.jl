# Backward pass of `river.jl`: from the outlets up to the headwaters, level by level.

"As for a batch; the gradient of the delay is added to its field too."
function backward(run::RiverRun{T}, seeds::Cotangents{T}; replay=nothing, stop=Stop()) where {T}
    r, counts =
        run.river, (length(spec(run.model).parameters) + length(spec(run.model).forcings), length(spec(run.model).fluxes))
    dynamic(river_backward!)(
        work_pool(run.model, T, run.options.tableau),
        run,
        Joint{r.outflow,r.inflow,r.delayed}(),
        seeds,
        stop,
        map(Val, counts)...
    )
    return !stop.flag[]
end

function river_backward!(pool::Pool, run::RiverRun{T,<:SmallModel{N}}, joint, seeds, stop, ::Val{M}, q::Val) where {T,N,M}
    L, S = LaneNumber{T}, Val(stages(run.options.tableau))
    none = zero(SVector{N,L}), zero(SVector{N,L}), zero(SVector{M,L})
    carried, on_inflow, fine = [none for _ in run.groups], take_flows(T, length(run.flows.states)), Threads.Atomic{Bool}(true)
    with_works(pool, run) do works
        for n in length(run.ends):-1:1
            ks = (n==1 ? 1 : run.ends[n-1]+1):run.ends[n]
            if run.options.checkpoints
                n > 1 && copyto!(run.carries, run.starts[n-1])
                stretch!(works, run, joint, ks, nothing, true, stop, fine)
            end
            stop.flag[] && break
            each_group(names_of(works, run), run, run.after, true, stop) do names, ditch, i, stopping
                g = Group(names, run.inputs, run.groups[i])
                carried[i] =
                    backward_reaches!(run.model, run, g, i, ditch, joint, ks, on_inflow, seeds, carried[i], stopping, S, q)
            end
        end
    end
    give_tape(on_inflow)
end

"A group backwards through the intervals `ks`: the cotangents of state, storage, and what does not change in time."
function backward_reaches!(m::SmallModel{N}, run::RiverRun{T}, g::Group{T,PN,FN,NP,NF}, i, ditch, joint::Joint{O,I,D}, ks,
    on_inflow, seeds, carried, stopping,
    ::Val{S}, ::Val{Q}) where {N,T,PN,FN,NP,NF,O,I,D,S,Q}
    inputs, o, L, K, parts = run.inputs, run.options, LaneNumber{T}, intervals(run.inputs), run.river.parts
    A, tape, small = SMatrix{S + 1,S + 1,T}(o.tableau.A), run.tapes[i], Small(o, Val(N), Val(false))
    steps, begun, step = length(ks) * parts, (first(ks) - 1) * parts, length(tape.interval)
    fill_inflow!(ditch.inflow, run, g, ks, inputs.forcing[I])
    D > 0 && fill_delayed!(ditch.delayed, run, g, begun, steps, inputs.forcing[D])
    # of what flows into the columns below
    fill!(ditch.on_outflow, zero(T))
    @inbounds for lane in 1:g.count
        below = run.river.below[g.columns[lane]]
        below > 0 && for t in 1:steps
            ditch.on_outflow[(t-1)*LANES+lane] = on_inflow.states[offset(run, below)+t]
        end
    end
    on_state, on_storage, on_inputs = carried
    parameters, forcing = values_at(g, inputs, last(ks))
    t = steps
    for k in reverse(ks)
        stopping() && return carried
        parameters, forcing = values_at(g, inputs, k, parameters, forcing)
        len = inputs.lengths[k] / parts
        on_means = SVector(
            ntuple(
                j -> (@inline; wanted(seeds.fluxes[j]) ? cotangents_at(g, seeds.fluxes[j], k) * T(1 / parts) : zero(L)),
                Val(Q)
            )
        )
        seeds.states != C_NULL && (on_state += rows_of(g, seeds.states, N * K, (k - 1) * N, Val(N)))
        seeds.storage != C_NULL && (on_storage += rows_of(g, seeds.storage, N * (K + 1), k * N, Val(N)))
        on_given = on_inputs[NP+I] # of what flows in from elsewhere
        on_inputs = Base.setindex(on_inputs, zero(L), NP + I)
        for _ in 1:parts
            of_step = forcing_of_step(forcing, ditch, t, L, joint)
            p, w = inputs_of(m, g, parameters, of_step)
            on_fluxes = Base.setindex(on_means, on_means[O] + fetch(L, ditch.on_outflow, (t - 1) * LANES + 1), O)
            step, on_state, on_storage, on_inputs =
                back_through(tape, step, m, g.names, begun + t, len, w, p, parameters, of_step, on_fluxes, on_state,
                    on_storage, on_inputs, A, small)
            spread!(run, on_inflow, g, t, on_inputs[NP+I])
            on_given += on_inputs[NP+I]
            on_inputs = Base.setindex(on_inputs, zero(L), NP + I)
            if D > 0
                put!(ditch.delayed, on_inputs[NP+D], (t - 1) * LANES + 1)
                on_inputs = Base.setindex(on_inputs, zero(L), NP + D)
            end
            t -= 1
        end
        on_inputs = flush_group!(seeds, g, Base.setindex(on_inputs, on_given, NP + I), k, Val(NP), k == 1)
    end
    D > 0 && pull_delayed!(ditch.delayed, run, g, begun, steps, inputs.forcing[D], seeds.forcing[D])
    if first(ks) == 1
        seeds.storage != C_NULL && (on_storage += rows_of(g, seeds.storage, N * (K + 1), 0, Val(N)))
        finish_group!(m, inputs, g, seeds, on_state, on_storage, Val(Q))
    end
    return on_state, on_storage, on_inputs
end
