# All reaches of a river in one call: what leaves a column in a step enters the column below in the same step. Columns are solved side by
# side, in groups whose inflow is known; a group goes through all steps before those below it begin.

"""
A river: the column below each (0 for none); the steps into which each interval is cut; which flux flows into which forcing; and a forcing
(0 for none) that arrives later, by `delay` steps, with the place for the gradient of that.
"""
struct River{T}
    below::Vector{Int}
    parts::Int
    outflow::Int
    inflow::Int
    delayed::Int
    delay::Field{T}
    on_delay::Field{T}
end

"Numbers of outflow, inflow and delayed forcing, as a type."
struct Joint{O,I,D} end

"A solve of a river between its forward and its backward pass. The memory that `inputs` and `river` point to belongs to the caller."
struct RiverRun{T,M<:Model,C}
    model::M
    inputs::Inputs{T}
    options::Options{T}
    river::River{T}
    above::Vector{Int}           # columns that flow into each, one after another, in the order in which they are added; and where
    first_above::Vector{Int}     # those of each begin
    groups::Vector{Vector{Int}}  # columns of each group
    before::Vector{Vector{Int}}  # groups whose columns flow into those of each,
    after::Vector{Vector{Int}}   # and into which they flow
    ends::Vector{Int}            # last interval of each stretch; all groups finish one before the next begins
    tapes::Vector{Tape{T}}
    carries::Vector{C}           # of each group, where it is
    starts::Vector{Vector{C}}    # with checkpoints: at the start of each stretch
    flows::Tape{T}               # memory for what flows out of each column in each step of a stretch
    steps::Int                   # in the longest stretch
    threads::Int
end
Base.eltype(::RiverRun{T}) where {T} = T

bytes(run::RiverRun) = sum(bytes, run.tapes) + bytes(run.flows) + sum(sizeof, run.starts; init=0)
release(run::RiverRun) = foreach(give_tape, Iterators.reverse([run.flows; run.tapes]))

"Memory for a number of each column in each step of a stretch, the steps of a column one after another; where those of a column begin."
take_flows(::Type{T}, count) where {T} = (tape=take_tape(T); resize!(tape.states, count); tape)
@inline offset(run::RiverRun, c) = (c - 1) * run.steps

const STEPS_AT_ONCE = 1024  # of a solve without gradient: what flows from column to column fits the cache

const SPINS = 10_000 # passes of a thread that waits for another, some tenths of a millisecond, before it sleeps for less than one

"Last intervals of the stretches between which a river is left."
function river_stretches(o::Options, K, parts, record)
    length = record ? (o.checkpoints ? ceil(Int, sqrt(K)) : K) : max(1, STEPS_AT_ONCE ÷ parts)
    return [min(first + length - 1, K) for first in 1:length:K]
end

"Columns from the headwaters down, level by level, and the level of each; a level has those whose columns above are all done."
function river_levels(below)
    level, waits = ones(Int, length(below)), zeros(Int, length(below))
    foreach(c -> c > 0 && (waits[c] += 1), below)
    order = findall(==(0), waits)
    for c in order # which grows
        d = below[c]
        d == 0 && continue
        level[d] = max(level[d], level[c] + 1)
        (waits[d] -= 1) == 0 && push!(order, d)
    end
    length(order) == length(below) || throw(Refused("the river runs in a loop"))
    return order, level
end

"""
Groups of at most LANES columns, none below another, in an order in which all that flows into a group comes before it. Columns with the
longest way to the outlet are taken first, which needs the fewest groups of all orders (Hu 1961, doi:10.1287/opre.9.6.841). `together` groups
that follow each other do not wait for each other, as far as there are as many.
"""
function river_groups(below, order, together)
    way, waits = ones(Int, length(below)), zeros(Int, length(below))
    for c in Iterators.reverse(order)
        below[c] > 0 && (way[c]=way[below[c]] + 1; waits[below[c]] += 1)
    end
    ready = [Int[] for _ in 1:maximum(way; init=1)]
    foreach(c -> waits[c] == 0 && push!(ready[way[c]], c), Iterators.reverse(order))
    groups, longest, left = Vector{Int}[], length(ready), length(below)
    while left > 0
        taken = Int[]
        while isempty(ready[longest])
            longest -= 1
        end
        for k in longest:-1:1, _ in 1:min(length(ready[k]), LANES*together-length(taken))
            push!(taken, pop!(ready[k]))
        end
        for c in taken
            d = below[c]
            d > 0 && (waits[d] -= 1) == 0 && push!(ready[way[d]], d)
        end
        left -= length(taken)
        append!(groups, collect.(Iterators.partition(taken, LANES)))
    end
    return groups
end

function RiverRun(m::SmallModel{N}, inputs::Inputs{T}, o::Options{T}, river::River{T}, record, threads) where {N,T}
    below, columns, L = river.below, inputs.columns, LaneNumber{T}
    order, level = river_levels(below)
    workers = worker_count(threads, cld(columns, LANES))
    groups = river_groups(below, order, workers)
    group_of = zeros(Int, columns)
    foreach(((i, columns),) -> group_of[columns] .= i, enumerate(groups))
    above = sort!(filter(c -> below[c] > 0, 1:columns); by=c -> (below[c], level[c], c))
    counts = zeros(Int, columns)
    foreach(a -> counts[below[a]] += 1, above)
    first_above = cumsum([1; counts])
    before = [unique!([group_of[a] for c in g for a in view(above, first_above[c]:(first_above[c+1]-1))]) for g in groups]
    after = [unique!([group_of[below[c]] for c in g if below[c] > 0]) for g in groups]
    ends = river_stretches(o, intervals(inputs), river.parts, record)
    longest = maximum(diff([0; ends])) * river.parts
    C = LaneCarry{N,L}
    flows = take_flows(T, longest * columns)
    return RiverRun{T,typeof(m),C}(m, inputs, o, river, above, first_above, groups, before, after, ends,
        [take_tape(T) for _ in groups],
        Vector{C}(undef, length(groups)), Vector{C}[], flows, longest, workers)
end

"Steps of a group as lanes, one after another: what flows in, what arrives later, and cotangents; and a tape that nobody keeps."
struct Ditch{T}
    inflow::Vector{T}
    delayed::Vector{T}
    on_outflow::Vector{T}
    tape::Tape{T}
end
Ditch{T}(steps) where {T} = Ditch{T}(ntuple(_ -> zeros(T, LANES * steps), 3)..., Tape{T}())

"""
Call f(names of inputs, ditch, group) for all groups, each after those that `needs` names; in the order of the numbers, or from the last to the
first. A group is begun when all before it are, so that somebody works at what another waits for.
"""
function each_group(f, names, run::RiverRun{T}, needs, backwards, stop) where {T}
    n = length(run.groups)
    done, ditches = [Threads.Atomic{Bool}(false) for _ in 1:n], [Ditch{T}(run.steps) for _ in names]
    each_column(n, run.threads, stop) do number, k, stopping
        i = backwards ? n + 1 - k : k
        for j in needs[i]
            passes = 0
            while !done[j][]
                stopping() && return
                # a moment, then asleep: the thread waited for may want this core
                (passes += 1) < SPINS ? ccall(:jl_cpu_pause, Cvoid, ()) : Libc.systemsleep(2e-5)
                GC.safepoint()
            end
        end
        f(names[number], ditches[number], i, stopping)
        done[i][] = true
    end
end

"""
    river_forward(m, inputs, o, river, results, counts; record, threads, stop) -> RiverRun or nothing

Solve every column of a river. Results are means of fluxes over the intervals, and states at their ends. Nothing where the columns cannot be
solved side by side, or one of them failed: they are to be solved level by level.
"""
function river_forward(
    m::Model,
    inputs::Inputs{T},
    o::Options{T},
    river::River{T},
    results,
    counts;
    record::Bool,
    threads=0,
    stop=Stop()
) where {T}
    check_once(m, inputs)
    together(m, o) && !o.algebraic || return nothing
    run = RiverRun(m, inputs, o, river, record, threads)
    joint = Joint{river.outflow,river.inflow,river.delayed}()
    dynamic(river_forward!)(work_pool(m, T, o.tableau), run, joint, results, counts, record, stop) && return run
    release(run)
    return nothing
end

function river_forward!(pool::Pool, run::RiverRun, joint, results, counts, record, stop)
    o, fine = run.options, Threads.Atomic{Bool}(true)
    keep = record && o.checkpoints
    with_works(pool, run) do works
        for (n, until) in enumerate(run.ends)
            first_interval = n == 1 ? 1 : run.ends[n-1] + 1
            keep && n > 1 && push!(run.starts, copy(run.carries))
            stretch!(works, run, joint, first_interval:until, results, record && !keep, stop, fine)
            fine[] && !stop.flag[] || break
        end
    end
    if fine[] && !stop.flag[]
        for (i, columns) in enumerate(run.groups), (lane, c) in enumerate(columns)
            y = run.carries[i]
            counts[1, c], counts[2, c], counts[3, c] =
                Int(y.accepted.x[lane]), Int(y.rejected.x[lane]), Int(y.iterations.x[lane])
        end
    end
    return fine[] || stop.flag[]
end

function with_works(f, pool::Pool{W}, run) where {W}
    works = W[take!(pool, run) for _ in 1:run.threads]
    try
        f(works)
    finally
        foreach(w -> give!(pool, w), works)
    end
end

names_of(works, run::RiverRun{T}) where {T} = [NamedInputs(run.model, T, w.networks) for w in works]

"All groups through some intervals; `fine` becomes false where a column failed."
function stretch!(works, run::RiverRun, joint, ks, results, record, stop, fine)
    o, q = run.options, length(spec(run.model).fluxes)
    each_group(names_of(works, run), run, run.before, false, stop) do names, ditch, i, stopping
        fine[] || return
        g = Group(names, run.inputs, run.groups[i])
        forward_reaches!(run.model, run, g, i, ditch, joint, ks, results, record, stopping, Val(stages(o.tableau)), Val(q)) ||
            (fine[] = false)
    end
end

columns_above(run::RiverRun, c) = view(run.above, run.first_above[c]:(run.first_above[c+1]-1))

"What flows into each lane: from elsewhere, as the forcing says, and from the columns above."
function fill_inflow!(x, run::RiverRun, g::Group, ks, field)
    parts, flows, steps = run.river.parts, run.flows.states, length(ks) * run.river.parts
    @inbounds if field.column == 0
        for (i, k) in enumerate(ks)
            fill!(view(x, ((i-1)*parts*LANES+1):(i*parts*LANES)), load(field, 1, k))
        end
    else
        for lane in 1:LANES, (i, k) in enumerate(ks)
            y = load(field, column_of(g, lane), k)
            for t in ((i-1)*parts+1):(i*parts)
                x[(t-1)*LANES+lane] = y
            end
        end
    end
    @inbounds for lane in 1:LANES, a in columns_above(run, column_of(g, lane))
        begins = offset(run, a)
        for t in 1:steps
            x[(t-1)*LANES+lane] += flows[begins+t]
        end
    end
end

"Call f(step, part, interval now, interval of a step before) for the steps from number `first` on, counted from 0, of a column with a delay."
@inline function each_delayed(f::F, run::RiverRun, c, first, steps) where {F}
    delay, parts = load(run.river.delay, c, 1), run.river.parts
    whole = floor(Int, delay)
    last = intervals(run.inputs) * parts - 1
    at = clamp(first - whole - 1, 0, last)
    early = late = at ÷ parts + 1
    within = at % parts
    for t in 1:steps
        late, now = early, clamp(first + t - 1 - whole, 0, last)
        if now > at
            at, within = now, within + 1
            within == parts && (within=0; early += 1)
        end
        f(t, delay - whole, early, late)
    end
end

function fill_delayed!(x, run::RiverRun, g::Group, first, steps, field)
    for lane in 1:LANES
        c = column_of(g, lane)
        each_delayed(run, c, first, steps) do t, part, early, late
            @inbounds x[(t-1)*LANES+lane] = (1 - part) * load(field, c, early) + part * load(field, c, late)
        end
    end
end

"Add the cotangents of what arrived later to those of the forcing and of the delay."
function pull_delayed!(x, run::RiverRun, g::Group, first, steps, field, on_field)
    for lane in 1:g.count
        c, on_delay = column_of(g, lane), Ref(zero(eltype(x)))
        each_delayed(run, c, first, steps) do t, part, early, late
            y = @inbounds x[(t-1)*LANES+lane]
            add!(on_field, (1 - part) * y, c, early)
            add!(on_field, part * y, c, late)
            on_delay[] += y * (load(field, c, late) - load(field, c, early))
        end
        add!(run.river.on_delay, on_delay[], c, 1)
    end
end

"Forcing of a step from that of its interval."
@inline function forcing_of_step(forcing, ditch::Ditch, t, ::Type{L}, ::Joint{O,I,D}) where {L,O,I,D}
    forcing = Base.setindex(forcing, fetch(L, ditch.inflow, (t - 1) * LANES + 1), I)
    return D == 0 ? forcing : Base.setindex(forcing, fetch(L, ditch.delayed, (t - 1) * LANES + 1), D)
end

"Write a number of each column of a group in step t."
@inline function spread!(run::RiverRun, flows::Tape, g::Group, t, values)
    @inbounds for lane in 1:g.count
        flows.states[offset(run, g.columns[lane])+t] = values.x[lane]
    end
end

"""
What a group takes into the next interval: its states and nothing of the steps before, so that a run that begins with these states is the same to
the last bit. What Newton's method left of the storage of a model of one store leaves it with the outflow, and is returned.
"""
@inline function settled(m::SmallModel{N}, y::LaneCarry{N,L}, p, o::Options, small) where {N,L}
    z = begin_lanes(m, y.u, p, o, small)
    left = N == 1 ? y.carried[1] - z.carried[1] : zero(L)
    return LaneCarry{N,L}(
        z.u, z.carried, z.before, z.between, z.last_step, z.contraction, z.step, y.accepted, y.rejected, y.iterations, false
    ),
    left
end

"A group through the intervals `ks`; false where one of its columns failed."
function forward_reaches!(
    m::SmallModel{N},
    run::RiverRun{T},
    g::Group,
    i,
    ditch,
    joint::Joint{O,I,D},
    ks,
    results,
    record,
    stopping,
    ::Val{S},
    ::Val{Q}
) where {N,T,O,I,D,S,Q}
    inputs, o, L, K, parts = run.inputs, run.options, LaneNumber{T}, intervals(run.inputs), run.river.parts
    tape = empty!(record ? run.tapes[i] : ditch.tape)
    x = LaneOptions(o, minimum(inputs.lengths) / parts, Val(S), Val(N), Val(false))
    kept, steps, begun = record ? S : 0, length(ks) * parts, (first(ks) - 1) * parts
    record && sizehint!(
        tape.states,
        LANES * (N * kept + 1) * ceil(Int, sum(k -> inputs.lengths[k], ks) / o.step + steps);
        shrink=false
    )
    fill_inflow!(ditch.inflow, run, g, ks, inputs.forcing[I])
    D > 0 && fill_delayed!(ditch.delayed, run, g, begun, steps, inputs.forcing[D])
    parameters, forcing = values_at(g, inputs, first(ks))
    p, w = inputs_of(m, g, parameters, forcing_of_step(forcing, ditch, 1, L, joint))
    u = SVector(ntuple(j -> gather(g, inputs.initial, 1, j), Val(N)))
    y = first(ks) == 1 ? begin_lanes(m, u, p, o, x.small) : run.carries[i]
    first(ks) == 1 && results !== nothing && write_storage!(g, results, K, 0, y.carried)
    terms, known, t = terms_at(m, y.u, w, p), true, 0
    for k in ks
        parameters, forcing = values_at(g, inputs, k, parameters, forcing)
        known, len, sums = known && !g.varying, L(inputs.lengths[k] / parts), zero(SVector{Q,L})
        for part in 1:parts
            t += 1
            p, w = inputs_of(m, g, parameters, forcing_of_step(forcing, ditch, t, L, joint))
            y, terms, known, total =
                through_interval!(tape, m, y, terms, known, w, p, begun + t, len, o, x, kept, stopping, Val(Q))
            y.failed && return false
            if part == parts
                y, left = settled(m, y, p, o, x.small)
                total = Base.setindex(total, total[O] + left, O)
            end
            means = per(total, len)
            sums += means
            spread!(run, run.flows, g, t, means[O])
        end
        stopping() && return true
        results === nothing || write_interval!(g, results, K, k, y.u, y.carried, per(sums, T(parts)))
    end
    run.carries[i] = y
    return true
end
