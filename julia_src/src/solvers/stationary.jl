# Models whose states all store nothing: 0 = f(u) in every interval of every column, each a problem of its own. Such problems, called rows,
# are solved side by side as `lanes.jl` does it with columns: Newton's method with steps that are shortened until the equations come nearer
# to zero; and, for rows where that fails, along the flow du/dt = f(u) with growing implicit steps, of which the solution that is wanted is a
# point of rest that attracts; `stationary_search.jl` has these searches. A row does not depend on its neighbours. The gradient is that of the implicit function theorem.

"Whether a model stores nothing at all, so that no interval depends on the one before."
stationary(m::Model) = false
stationary(m::SmallModel) = all(s -> s.algebraic, spec(m).states)

"A solve between its forward and its backward pass. The memory that `inputs` points to belongs to the caller."
struct StationaryRun{T,M<:SmallModel}
    model::M
    inputs::Inputs{T}
    options::Options{T}
    roots::Vector{Float64}  # of each row, one after another, also where T is Float32; NaN where none was found
    threads::Int
end
Base.eltype(::StationaryRun{T}) where {T} = T
bytes(run::StationaryRun) = sizeof(run.roots)
steps(run::StationaryRun) = [run.inputs.lengths for _ in 1:run.inputs.columns]
release(::StationaryRun) = nothing

const AT_ONCE = 256     # rows of a block, or the intervals of one column; whatever the number of threads

"Blocks of rows: whole columns, or parts of one, so that a column is the same alone and in a batch."
blocks(x::Inputs) = (K=intervals(x); K < AT_ONCE ? cld(x.columns, AT_ONCE ÷ K) : x.columns * cld(K, AT_ONCE))
"Rows of block b; row (c - 1) K + k is interval k of column c."
function block_rows(x::Inputs, b)
    K = intervals(x)
    if K < AT_ONCE
        size = AT_ONCE ÷ K * K
        return ((b-1)*size+1):min(b*size, x.columns*K)
    end
    c, part = fldmod(b - 1, cld(K, AT_ONCE))
    return (c*K+part*AT_ONCE+1):(c*K+min((part+1)*AT_ONCE, K))
end

"W rows side by side; those beyond `count` repeat the last. `along` says whether time (1), column (2) or neither (0) alone changes among them."
struct Rows{W}
    columns::NTuple{W,Int}
    times::NTuple{W,Int}
    count::Int
    along::Int
end

"Rows from `first` on, at most W and no more than `last`."
function Rows{W}(first::Int, last::Int, K::Int) where {W}
    count = min(W, last - first + 1)
    c, k = fldmod1(first, K)
    place = ntuple(lane -> min(lane, count) - 1, Val(W))
    k + count - 1 <= K && return Rows{W}(ntuple(_ -> c, Val(W)), map(i -> k + i, place), count, 1)
    K == 1 && return Rows{W}(map(i -> c + i, place), ntuple(_ -> 1, Val(W)), count, 2)
    each = map(i -> fldmod1(first + i, K), place)
    return Rows{W}(map(Base.first, each), map(Base.last, each), count, 0)
end
"Any rows."
function Rows{W}(rows::AbstractVector{Int}, K::Int) where {W}
    each = ntuple(lane -> fldmod1(rows[min(lane, end)], K), Val(W))
    return Rows{W}(map(Base.first, each), map(Base.last, each), length(rows), 0)
end

@inline stride_of(g::Rows, f::Field) = g.along == 1 ? f.time : g.along == 2 ? f.column : -1
@noinline function gather(::Type{L}, g::Rows, f::Field{T}, l=1) where {L<:Lanes,T}
    stride, at_first = stride_of(g, f), at(f, g.columns[1], g.times[1], l)
    stride == 0 && return L(Float64(unsafe_load(f.pointer, at_first)))
    T === Float64 && stride == 1 && g.count == LANES &&
        return Lanes(SIMD.vload(Vec{LANES,T}, f.pointer + (at_first - 1) * sizeof(T)))
    return lanes(lane -> (@inline; Float64(load(f, g.columns[lane], g.times[lane], l))))
end
@inline gather(::Type{Float64}, g::Rows, f::Field, l=1) = Float64(load(f, g.columns[1], g.times[1], l))
@inline values_of(::Type{L}, g::Rows, fields, ::Val{M}) where {L,M} =
    SVector{M,L}(ntuple(i -> (@inline; gather(L, g, fields[i])), Val(M)))

@inline lane(x::Lanes, i) = x.x[i]
@inline lane(x::Float64, i) = x
@inline lane(x::Mask, i) = x.x[i]
@inline lane(x::Bool, i) = x
@inline valid(::Type{L}, g::Rows) where {L<:Lanes} = lanes(Float64) <= L(g.count)
@inline valid(::Type{Float64}, g::Rows) = true

"Numbers of rows in a table of N for each; those beyond the last row repeat it where `repeated`, and are zero otherwise."
@inline from_rows(::Type{L}, g::Rows, table::Ptr, ::Val{N}, K, repeated=false) where {L,N} = SVector{N,L}(
    ntuple(Val(N)) do i
        @inline
        number(j) =
            j > g.count && !repeated ? 0.0 : Float64(unsafe_load(table, ((g.columns[j] - 1) * K + g.times[j] - 1) * N + i))
        L <: Lanes ? lanes(number) : number(1)
    end
)

@inline function to_rows!(table::Ptr{T}, g::Rows, values::SVector{N}, wanted, K) where {T,N}
    for j in 1:g.count
        lane(wanted, j) || continue
        row = ((g.columns[j] - 1) * K + g.times[j] - 1) * N
        for i in 1:N
            unsafe_store!(table, T(lane(values[i], j)), row + i)
        end
    end
end

# ---- forward ---------------------------------------------------------------------------------------------------------------------

"Names of inputs, and networks, that one thread works with; `L` is the kind of number of its rows."
row_names(m::SmallModel, ::Type{L}) where {L} = NamedInputs(m, Float64, Networks(networks(m), L, L))
row_number(m::SmallModel) = branchless(m) ? LaneNumber{Float64} : Float64
row_width(::Type{L}) where {L<:Lanes} = LANES
row_width(::Type{Float64}) = 1

"As `work_pool`, of what a thread needs for rows."
row_pool(m::Model, ::Type{L}) where {L} =
    lock(() -> get!(() -> Pool([row_names(m, L)], ReentrantLock()), WORK_POOLS, (objectid(m), L, "rows")), POOL_LOCK)
take_names!(pool::Pool{W}, m, ::Type{L}) where {W,L} =
    lock(() -> isempty(pool.free) ? (row_names(m, L)::W) : pop!(pool.free), pool.lock)

"Call f(names, block, stop) for all blocks of a run."
function with_rows(f, pool::Pool{W}, run::StationaryRun, ::Type{L}, stop) where {W,L}
    works = W[take_names!(pool, run.model, L) for _ in 1:run.threads]
    try
        foreach(x -> (clear!(x); bind_weights!(x.networks, run.inputs.weights)), works)
        each_column((number, b, stopping) -> f(works[number], b, stopping), blocks(run.inputs), run.threads, stop)
    finally
        foreach(x -> give!(pool, x), works)
    end
    return
end

"""
    stationary_forward(m, inputs, o, results, counts, failures, record, threads, stop) -> StationaryRun

As `forward`; the method of `o` plays no part, since nothing changes but what is given.
"""
function stationary_forward(
    m::SmallModel{N},
    inputs::Inputs{T},
    o::Options{T},
    results,
    counts,
    failures,
    record,
    threads,
    stop
) where {N,T}
    K = intervals(inputs)
    roots = Vector{Float64}(undef, record ? N * K * inputs.columns : 0)
    run = StationaryRun(m, inputs, o, roots, worker_count(threads, blocks(inputs)))
    iterations = Vector{Int32}(undef, K * inputs.columns)
    L = row_number(m)
    dynamic(stationary_forward!)(row_pool(m, L), run, L, results, iterations, stop, Val(length(spec(m).fluxes)))
    stop.flag[] || conclude!(run, results, iterations, counts, failures)
    return run
end

function stationary_forward!(
    pool::Pool,
    run::StationaryRun{T,<:SmallModel{N}},
    ::Type{L},
    results,
    iterations,
    stop,
    q::Val
) where {T,N,L}
    K, x = intervals(run.inputs), Magnitudes(run.model)
    with_rows(pool, run, L, stop) do names, b, stopping
        rows, left, doubtful = block_rows(run.inputs, b), Int[], Int[]
        for first in Base.first(rows):row_width(L):last(rows)
            stopping() && return
            g = Rows{row_width(L)}(first, last(rows), K)
            solve_rows!(newton_rows, run, names, L, g, x, results, iterations, left, doubtful, q)
        end
        for method in later_ways(run.model)
            again = Int[]
            for few in Iterators.partition(left, row_width(L))
                stopping() && return
                solve_rows!(method, run, names, L, Rows{row_width(L)}(few, K), x, results, iterations, again, doubtful, q)
            end
            left = again
        end
        for few in Iterators.partition(doubtful, row_width(L))
            stopping() && return
            prefer_rows!(run, names, L, Rows{row_width(L)}(few, K), x, results, iterations, q)
        end
        return
    end
end

"Parameters, forcing, and what the equations read of both."
@inline function row_inputs(run::StationaryRun, names::NamedInputs{T,P,F,NP,NF}, ::Type{L}, g::Rows) where {T,P,F,NP,NF,L}
    parameters, forcing = values_of(L, g, run.inputs.parameters, Val(NP)), values_of(L, g, run.inputs.forcing, Val(NF))
    p, f = named(names, parameters, forcing)
    return parameters, forcing, p, prepared(run.model, f, p)
end

"Solve rows, write what is found, and note which rows are left."
function solve_rows!(
    method::F,
    run::StationaryRun{T,<:SmallModel{N}},
    names,
    ::Type{L},
    g::Rows,
    x,
    results,
    iterations,
    left,
    doubtful,
    q::Val
) where {F,T,N,L}
    m, K = run.model, intervals(run.inputs)
    _, _, p, w = row_inputs(run, names, L, g)
    start = SVector{N,L}(ntuple(i -> (@inline; gather(L, g, run.inputs.initial, i)), Val(N)))
    u, fluxes, found, count = @inline method(m, guessed(m, start, w, p), w, p, x, q)
    to_rows!(results.states, g, u, found, K)
    to_rows!(results.fluxes, g, fluxes, found, K)
    isempty(run.roots) || to_rows!(pointer(run.roots), g, pick(found, u, SVector{N,L}(ntuple(_ -> L(NaN), Val(N)))), true, K)
    doubt = m.other === nothing ? !found & found : found & m.other.doubtful(fluxes, w)
    for j in 1:g.count
        row = (g.columns[j] - 1) * K + g.times[j]
        solved = lane(found, j)
        iterations[row] = solved ? unsafe_trunc(Int32, lane(count, j)) : Int32(-1)
        solved || push!(left, row)
        lane(doubt, j) && push!(doubtful, row)
    end
    return
end

"Of rows beside whose root there may be another that is meant, find it, and write it where it is there."
function prefer_rows!(
    run::StationaryRun{T,<:SmallModel{N}},
    names,
    ::Type{L},
    g::Rows,
    x,
    results,
    iterations,
    q::Val
) where {T,N,L}
    m, K = run.model, intervals(run.inputs)
    m.other === nothing && return
    _, _, p, w = row_inputs(run, names, L, g)
    begin_ = m.other.preferred(from_rows(L, g, results.states, Val(N), K, true), w)
    any(map(isfinite, begin_)[1]) || return
    u, fluxes, found, count = newton_rows(m, begin_, w, p, x, q)
    to_rows!(results.states, g, u, found, K)
    to_rows!(results.fluxes, g, fluxes, found, K)
    isempty(run.roots) || to_rows!(pointer(run.roots), g, u, found, K)
    for j in 1:g.count
        lane(found, j) && (iterations[(g.columns[j]-1)*K+g.times[j]] += unsafe_trunc(Int32, lane(count, j)))
    end
    return
end
@inline guessed(m::SmallModel, start::SVector{N,L}, w, p) where {N,L} = m.guess === nothing ? start : map(L, m.guess(w, p))

"Storage, which is zero, counts and failures: the first interval of a column that has no solution, which is NaN there."
function conclude!(run::StationaryRun{T,<:SmallModel{N}}, results::Results{T}, iterations, counts, failures) where {T,N}
    K, Q = intervals(run.inputs), length(spec(run.model).fluxes)
    fill!(unsafe_wrap(Array, results.storage, N * (K + 1) * run.inputs.columns), zero(T))
    for c in 1:run.inputs.columns
        total, first_bad = 0, K + 1
        for k in 1:K
            row = (c - 1) * K + k
            if iterations[row] >= 0
                total += iterations[row]
            else
                first_bad = min(first_bad, k)
                foreach(i -> unsafe_store!(results.states, T(NaN), (row - 1) * N + i), 1:N)
                foreach(i -> unsafe_store!(results.fluxes, T(NaN), (row - 1) * Q + i), 1:Q)
            end
        end
        counts[1, c], counts[2, c], counts[3, c] = K, 0, total
        failures[1, c], failures[2, c] = Int(first_bad > K ? ARRIVED : NO_ROOT), first_bad
    end
    return
end

# ---- gradient --------------------------------------------------------------------------------------------------------------------

"Cotangents of every input from those of the results; the fields of `seeds` are added to. False where it was stopped."
function backward(run::StationaryRun{T}, seeds::Cotangents{T}; replay=nothing, stop=Stop()) where {T}
    L = row_number(run.model)
    dynamic(stationary_backward!)(row_pool(run.model, L), run, L, seeds, stop, Val(length(spec(run.model).fluxes)))
    return !stop.flag[]
end

function stationary_backward!(pool::Pool, run::StationaryRun{T}, ::Type{L}, seeds, stop, q::Val) where {T,L}
    K = intervals(run.inputs)
    # blocks that are parts of one column each add to a place of their own what they share, and to the column in their order
    apart = K < AT_ONCE ? nothing : Apart(seeds, blocks(run.inputs))
    with_rows(pool, run, L, stop) do names, b, stopping
        rows, own = block_rows(run.inputs, b), apart === nothing ? seeds : of_block(apart, seeds, b)
        for first in Base.first(rows):row_width(L):last(rows)
            stopping() && return
            pull_rows!(run, names, L, Rows{row_width(L)}(first, last(rows), K), own, q)
        end
        flush_weights!(own.weights, names.networks, cld(Base.first(rows), K))
        clear!(names.networks)
        return
    end
    apart === nothing || stop.flag[] || gather!(seeds, apart, b -> cld(Base.first(block_rows(run.inputs, b)), K))
    return
end

"Gradients in what the intervals of a column share, of each block: numbers of all fields, one after another."
struct Apart{T}
    sums::Matrix{T}
    begins::Vector{Int}
end
shared_fields(x::Cotangents) = [x.parameters; x.forcing; x.weights]
function Apart(seeds::Cotangents{T}, count) where {T}
    widths = [wanted(f) && f.time == 0 ? 1 : 0 for f in [seeds.parameters; seeds.forcing]]
    widths = [widths; [wanted(f) ? f.column : 0 for f in seeds.weights]]
    ends = cumsum(widths)
    return Apart(zeros(T, isempty(ends) ? 0 : last(ends), count), ends .- widths)
end
function of_block(x::Apart{T}, seeds::Cotangents{T}, b) where {T}
    at(f, i) = wanted(f) && f.time == 0 ? Field{T}(pointer(x.sums, size(x.sums, 1) * (b - 1) + x.begins[i] + 1), 0, 0, 1) : f
    n, all_ = (length(seeds.parameters), length(seeds.forcing)), map(at, shared_fields(seeds), eachindex(x.begins))
    return Cotangents{T}(
        seeds.states,
        seeds.storage,
        seeds.fluxes,
        seeds.initial,
        all_[1:n[1]],
        all_[(n[1]+1):sum(n)],
        all_[(sum(n)+1):end]
    )
end
function gather!(seeds::Cotangents, x::Apart, column_of)
    ends = [x.begins[2:end]; size(x.sums, 1)]
    for b in axes(x.sums, 2), (i, f) in enumerate(shared_fields(seeds)), j in (x.begins[i]+1):ends[i]
        add!(f, x.sums[j, b], column_of(b), 1, j - x.begins[i])
    end
end

"The first of what a pull returns; a model that can give it alone has a method of this."
@inline on_state(pull, on_rates, on_fluxes) = pull(on_rates, on_fluxes)[1]

"Cotangents of what a group of rows reads, added to their fields."
function pull_rows!(
    run::StationaryRun{T,<:SmallModel{N}},
    names::NamedInputs{X,P,F,NP,NF},
    ::Type{L},
    g::Rows,
    seeds,
    ::Val{Q}
) where {T,N,X,P,F,NP,NF,L,Q}
    m, K = run.model, intervals(run.inputs)
    on_u = seeds.states == C_NULL ? zero(SVector{N,L}) : from_rows(L, g, seeds.states, Val(N), K)
    on_fluxes = SVector{Q,L}(ntuple(i -> (@inline; wanted(seeds.fluxes[i]) ? gather(L, g, seeds.fluxes[i]) : zero(L)), Val(Q)))
    on_fluxes = pick(valid(L, g), on_fluxes, zero(on_fluxes))
    any(reduce(|, map(x -> !(x == zero(x)), vcat(on_u, on_fluxes)))) || return
    u = from_rows(L, g, pointer(run.roots), Val(N), K, true)
    known = reduce(&, map(x -> x == x, u))
    if !all(known)  # the others again, without those that have no root
        rows = [(g.columns[j] - 1) * K + g.times[j] for j in 1:g.count if lane(known, j)]
        isempty(rows) || pull_rows!(run, names, L, Rows{row_width(L)}(rows, K), seeds, Val(Q))
        return
    end
    parameters, forcing, p, w = row_inputs(run, names, L, g)
    J, pull = pulled(m, u, w, p)
    none = zero(u)
    multiplier = solve_transposed(J, none, one(L), on_u + on_state(pull, none, on_fluxes))
    on_inputs = input_slopes(m, names, u, pull, parameters, forcing, none, multiplier, on_fluxes)
    for i in 1:(NP+NF)
        field = i <= NP ? seeds.parameters[i] : seeds.forcing[i-NP]
        wanted(field) && add_rows!(field, on_inputs[i], g)
    end
    return
end

"Add numbers of rows to a field, in the order of the rows."
@noinline function add_rows!(field::Field{T}, values, g::Rows) where {T}
    stride, at_first = stride_of(g, field), at(field, g.columns[1], g.times[1], 1)
    if stride == 0
        total = unsafe_load(field.pointer, at_first)
        for j in 1:g.count
            total += T(lane(values, j))
        end
        unsafe_store!(field.pointer, total, at_first)
    elseif stride == 1 && g.count == LANES && T === Float64
        place = field.pointer + (at_first - 1) * sizeof(T)
        SIMD.vstore(SIMD.vload(Vec{LANES,T}, place) + values.x, place)
    else
        foreach(j -> add!(field, T(lane(values, j)), g.columns[j], g.times[j]), 1:g.count)
    end
    return
end
