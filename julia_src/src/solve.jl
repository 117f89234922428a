# Solving from Julia.

"""
    Solution

`states` (size, interval, column) at the interval ends, `storage` (size, interval + 1, column) from the start on, `fluxes` a
NamedTuple of (interval, column), means over the intervals; `failed` lists columns with their outcome and interval, whose values
are NaN from there on; `steps` the accepted steps of each column.
"""
struct Solution{T,R,F<:NamedTuple}
    run::R
    inputs::Vector{Array{T}}  # kept alive for `pullback`
    states::Array{T,3}
    storage::Array{T,3}
    fluxes::F
    failed::Dict{Int,Tuple{Outcome,Int}}
    counts::Matrix{Int64}
    steps::Vector{Vector{T}}
    replay::Union{Nothing,Matrix{T}}
end

"""
    solve(m, forcing, parameters, initial, times; weights = (;), method = "kvaerno3", sensitivity = "discrete", replay = nothing, threads = 0,
          T = Float64, options...)

Solve a model for a batch of columns.

`forcing` is a NamedTuple of numbers, vectors (interval) or matrices (interval, column), one of cells also of arrays (cell, interval, column); `parameters` one of numbers, vectors
(column), matrices (layer, column) or arrays (layer, interval, column), where a dimension of 1 is shared by all; `initial` a
number, a vector (size) or a matrix (size, column); `times` the start and the interval ends. `weights` has a vector for each network of the model. `replay` takes the `steps` of an
earlier solution instead of choosing them. Other options as in [`Options`](@ref), or [`SciMLOptions`](@ref) for a method of SciML,
which needs a `sensitivity` other than "discrete".
"""
function solve(m::Model, forcing::NamedTuple, parameters::NamedTuple, initial, times; weights=(;), method="kvaerno3",
    sensitivity="discrete",
    replay=nothing, threads=0, T=Float64, options...)
    o = choose(T, m, method, sensitivity; options...)
    s, count = spec(m), length(times) - 1
    all(>(0), diff(times)) || throw(Refused("times must increase, with a start and at least one interval end"))
    for (what, given, known) in (("forcing", forcing, s.forcings), ("parameter", parameters, s.parameters))
        for k in known
            haskey(given, k) || throw(Refused("missing $what $k of the model $(s.name)"))
        end
        for k in keys(given)
            k in known || throw(UnknownName("unknown $what $k. The model $(s.name) has: $(join(known, ", "))."))
        end
    end
    keys(weights) == keys(networks(m)) ||
        throw(Refused("the networks of the model $(s.name) are $(keys(networks(m))), weights were given for $(keys(weights))"))
    for (k, n) in pairs(networks(m))
        length(weights[k]) == weight_count(n) ||
            throw(Refused("the network $k has $(weight_count(n)) weights, not $(length(weights[k]))"))
    end
    p, f = [parameter_array(T, parameters[k]) for k in s.parameters], [forcing_array(T, forcing[k], count) for k in s.forcings]
    for (k, x) in zip([s.parameters; s.forcings], [p; f])
        wide = k in s.in_cells ? cell_count(s, statesize(m)) : m isa Richards ? size(x, 1) : 1
        size(x, 1) in (1, wide) || throw(Refused("$k has $(size(x, 1)) values for each column, not 1 or $wide"))
    end
    net = Array{T,3}[reshape(Vector{T}(weights[k]), :, 1, 1) for k in keys(networks(m))]
    start = initial isa Number ? fill(T(initial), statesize(m), 1) : T.(reshape(initial, statesize(m), :))
    columns = maximum(x -> size(x, 3), [p; f; [reshape(start, size(start, 1), 1, :)]])
    inputs = Inputs{T}(columns, T.(diff(times)), Field{T}(pointer(start), size(start, 2) > 1 ? size(start, 1) : 0, 0, 1),
        map(array_field, p), map(array_field, f), map(w -> array_field(w), net))
    states, storage = zeros(T, statesize(m), count, columns), zeros(T, statesize(m), count + 1, columns)
    fluxes, counts, outcome = zeros(T, flux_count(m), count, columns), zeros(Int64, 3, columns), zeros(Int64, 2, columns)
    table = replay === nothing ? nothing : step_table(replay, T)
    kept = Array{T}[start, p..., f..., net...]
    GC.@preserve kept states storage fluxes table begin
        run = forward(m, inputs, o, Results{T}(pointer(states), pointer(storage), pointer(fluxes)),
            counts, outcome; record=true, replay=table_field(table), threads)
    end
    failed = Dict(c => (Outcome(outcome[1, c]), outcome[2, c]) for c in 1:columns if outcome[1, c] != 0)
    ends = cumsum(flux_widths(s, statesize(m)))
    named = NamedTuple{Tuple(s.fluxes)}(
        Tuple(
            k in s.in_cells ? fluxes[(ends[i]-cell_count(s, statesize(m))+1):ends[i], :, :] : fluxes[ends[i], :, :]
            for (i, k) in enumerate(s.fluxes)
        )
    )
    return Solution(run, kept, states, storage, named, failed, counts, copy.(steps(run)), table)
end

step_table(steps::AbstractVector, ::Type{T}) where {T} =
    reduce(hcat, [[T.(s); zeros(T, maximum(length, steps) - length(s))] for s in steps])
table_field(::Nothing) = nothing
table_field(x::Matrix) = Field{eltype(x)}(pointer(x), size(x, 1), 0, 1)

parameter_array(::Type{T}, x::Number) where {T} = fill(T(x), 1, 1, 1)
parameter_array(::Type{T}, x::AbstractVector) where {T} = Array(reshape(T.(x), 1, 1, :))
parameter_array(::Type{T}, x::AbstractMatrix) where {T} = Array(reshape(T.(x), size(x, 1), 1, :))
parameter_array(::Type{T}, x::AbstractArray{<:Any,3}) where {T} = Array(T.(x))
forcing_array(::Type{T}, x::Number, count) where {T} = fill(T(x), 1, count, 1)
function forcing_array(::Type{T}, x::AbstractArray{<:Any,3}, count) where {T}
    size(x, 2) == count || throw(Refused("a forcing has $(size(x, 2)) values for $count intervals"))
    return Array(T.(x))
end
function forcing_array(::Type{T}, x::AbstractVecOrMat, count) where {T}
    size(x, 1) == count || throw(Refused("a forcing has $(size(x, 1)) values for $count intervals"))
    return Array(reshape(T.(x), 1, count, :))
end

"Strides of (layer, interval, column), zero along dimensions that all share."
function array_field(x::Array{T,3}) where {T}
    stride(k, step) = size(x, k) > 1 ? step : 0
    return Field{T}(pointer(x), stride(3, size(x, 1) * size(x, 2)), stride(2, size(x, 1)), stride(1, 1))
end

"""
    pullback(solution; states = nothing, storage = nothing, fluxes = nothing, threads = 0) -> (; initial, parameters, forcing, weights)

Gradient of the sum of results times the given cotangents, which have the shapes of the results (fluxes: flux, interval,
column), in every input: initial (size, column), NamedTuples of parameters (layer, interval, column) and forcing (1, interval,
column) whose dimensions are 1 where the input's were, but for the columns; and weights (weight), which all columns share.
"""
function pullback(solution::Solution{T}; states=nothing, storage=nothing, fluxes=nothing) where {T}
    run = solution.run
    s, columns = spec(run.model), run.inputs.columns
    q, inputs = flux_count(run.model), solution.inputs
    grads = [zeros(T, size(x, 1), size(x, 2), columns) for x in inputs[2:end]]
    initial = zeros(T, statesize(run.model), columns)
    count, last = length(s.parameters), length(s.parameters) + length(s.forcings)
    seeds = map(x -> x === nothing ? nothing : Array{T}(x), (states, storage, fluxes))
    GC.@preserve inputs grads initial seeds solution begin
        on_states, on_storage = map(x -> x === nothing ? Ptr{T}(0) : pointer(x), seeds[1:2])
        on_fluxes =
            [Field{T}(fluxes === nothing ? Ptr{T}(0) : pointer(seeds[3], i), q * intervals(run.inputs), q, 0) for i in 1:q]
        fields = map(array_field, grads)
        backward(run,
            Cotangents{T}(
                on_states,
                on_storage,
                on_fluxes,
                pointer(initial),
                fields[1:count],
                fields[(count+1):last],
                fields[(last+1):end]
            );
            replay=table_field(solution.replay))
    end
    return (; initial, parameters=NamedTuple{Tuple(s.parameters)}(Tuple(grads[1:count])),
        forcing=NamedTuple{Tuple(s.forcings)}(Tuple(grads[(count+1):last])),
        weights=map(g -> vec(sum(g; dims=3)), NamedTuple{keys(networks(run.model))}(Tuple(grads[(last+1):end]))))
end
