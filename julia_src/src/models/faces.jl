# A column of cells of which the flow between two neighbours is written down: several faces are computed at once.

"""
    FaceModel(spec, size, flux; inflow, outflow, source, storage)

A model with one state in each of `size` cells that exchange a conserved quantity with their neighbours. The functions take numbers of
any kind, forcing and parameters are NamedTuples of them:

- `flux(above, below, f, p)`: flow from a cell into the next one, from their states;
- `inflow(u, f, p)` into the first cell, and `outflow(u, f, p)` out of the last; nothing flows by default;
- `source(u, f, p)`: what a cell gains besides;
- `storage(u, p)`: what a cell holds; the state itself by default.

What the flow on both sides of a cell needs, such as its conductivity, is computed once where `storage` returns it too, as
`(storage, number)`; the functions above then take it: `flux(above, below, number_above, number_below, f, p)`, `inflow(u, number, f, p)`,
`outflow(u, number, f, p)`.

Fluxes of the specification are those of the names inflow, outflow and source (its sum). Without branches the functions work on as many
cells at once as the registers hold.
"""
struct FaceModel{C,F,I,O,G,S} <: Model
    spec::ModelSpec
    size::Int
    flux::F
    inflow::I
    outflow::O
    source::G
    storage::S
    places::NTuple{3,Int}  # of inflow, outflow and source among the fluxes of the specification
end

function FaceModel(spec, size, flux; inflow=nothing, outflow=nothing, source=nothing, storage=own_storage)
    isempty(spec.in_cells) || throw(
        Refused(
            "a model with flux(above, below, f, p) has no $(first(spec.in_cells)) in each cell: define rates!(out, u, f, p)"
        )
    )
    known = (:inflow, :outflow, :source)
    for k in spec.fluxes
        k in known || throw(Refused("the fluxes of a model with flux(above, below, f, p) are $(join(known, ", ")), not $k"))
    end
    places = map(k -> something(findfirst(==(k), spec.fluxes), 0), known)
    with_number = Base.invokelatest(hasmethod, flux, NTuple{6,Any})
    return FaceModel{with_number,typeof(flux),typeof(inflow),typeof(outflow),typeof(source),typeof(storage)}(
        spec, size, flux, inflow, outflow, source, storage, places)
end

function check_shapes(m::FaceModel{C}, inputs::Inputs{T}) where {C,T}
    p, f = named(bind!(NamedInputs(m, T), inputs, 1, 1))
    u = load(inputs.initial, 1, 1, 1)
    stored = m.storage(u, p)
    C && !(stored isa Tuple{Any,Any}) &&
        throw(Refused("flux takes a number of each cell: storage must return (storage, number), got $(typeof(stored))"))
    s, c = held(m, u, p)
    values = ["storage" => s, "flux" => through(m, u, u, c, c, f, p)]
    m.inflow === nothing || push!(values, "inflow" => flow_at_end(m, m.inflow, u, c, f, p))
    m.outflow === nothing || push!(values, "outflow" => flow_at_end(m, m.outflow, u, c, f, p))
    m.source === nothing || push!(values, "source" => m.source(u, f, p))
    for (name, value) in values
        value isa Number || throw(Refused("$name returns $(typeof(value)); it must return a number"))
    end
    return
end

statesize(m::FaceModel) = m.size
spec(m::FaceModel) = m.spec
jacobian(m::FaceModel, ::Type{T}) where {T} = Tridiagonal(T, m.size)

@inline through(m::FaceModel{true}, u, v, c, d, f, p) = m.flux(u, v, c, d, f, p)
@inline through(m::FaceModel{false}, u, v, c, d, f, p) = m.flux(u, v, f, p)
@inline at_end(m::FaceModel, g, u, c, f, p) = g === nothing ? zero(u) : flow_at_end(m, g, u, c, f, p)
@inline flow_at_end(::FaceModel{true}, g, u, c, f, p) = g(u, c, f, p)
@inline flow_at_end(::FaceModel{false}, g, u, c, f, p) = g(u, f, p)
"Storage of a cell, and the number that goes with it."
@inline held(m::FaceModel{true}, u, p) = m.storage(u, p)
@inline held(m::FaceModel{false}, u, p) = m.storage(u, p), zero(u)

"Work space: of cells the number, its slope and its cotangent, of faces the flow and its slopes, and the numbers computed at once."
struct FaceColumn{L,T,I}
    inputs::I
    cell::Vector{T}
    cell_slope::Vector{T}
    on_cell::Vector{T}
    flow::Vector{T}
    by_above::Vector{T}
    by_below::Vector{T}
    source_slope::Vector{T}
end

function column(m::FaceModel, ::Type{T}) where {T}
    L = T === Float64 && m.size > LANES && branchless(m) ? LaneNumber{T} : T
    inputs = NamedInputs(m, T)
    return FaceColumn{L,T,typeof(inputs)}(inputs, ntuple(_ -> zeros(T, m.size), 7)...)
end

function tried(m::FaceModel)
    L = LaneNumber{Float64}
    p, f = ones_of(spec(m).parameters, L), ones_of(spec(m).forcings, L)
    return works() do
        u = Dual{Nothing}(one(L), one(L))
        stored, c = held(m, u, p)
        source = m.source === nothing ? u : m.source(u, f, p)
        all(x -> x isa Union{L,DualLanes{L}}, (c, through(m, u, u, c, c, f, p), stored, source))
    end
end

bind!(col::FaceColumn, ::FaceModel, inputs, c, k) = bind!(col.inputs, inputs, c, k)
flush!(parameter_fields, forcing_fields, col::FaceColumn, ::FaceModel, c, k) =
    flush!(parameter_fields, forcing_fields, col.inputs, c, k)
release!(col::FaceColumn) = clear!(col.inputs)

# ---- several places at once --------------------------------------------------------------------------------------------------

@inline wide(::Type{<:Lanes}) = LANES
@inline wide(::Type) = 1
@inline fetch(::Type{L}, x::Vector{T}, i) where {T,L<:Lanes} = Lanes(SIMD.vload(Vec{LANES,T}, pointer(x, i)))
@inline fetch(::Type{T}, x::Vector{T}, i) where {T<:AbstractFloat} = @inbounds x[i]
@inline put!(x::Vector, y::Lanes, i) = SIMD.vstore(y.x, pointer(x, i))
@inline put!(x::Vector{T}, y::T, i) where {T<:AbstractFloat} = @inbounds x[i] = y

"""
Call f(i, new) for the first of each of the places that are computed at once, 1 to n; the last ones overlap with those before where n
is no multiple: `new` is the first of them that has not been there.
"""
@inline function each_place(f::F, ::Type{L}, n) where {F,L}
    new = 1
    while new <= n
        f(min(new, n + 1 - wide(L)), new)
        new += wide(L)
    end
end

"Weights from place i on, zero before place `new`."
@inline function weights(::Type{L}, w::Vector, i, new) where {L<:Lanes}
    x = fetch(L, w, i)
    return i == new ? x : lanes(lane -> i + lane - 1 < new ? zero(x.x[lane]) : x.x[lane])
end
@inline weights(::Type{T}, w::Vector{T}, i, new) where {T} = fetch(T, w, i)

"Inputs by name, each repeated as often as numbers are computed at once."
@inline repeated(::Type{L}, x::NamedInputs) where {L} = named(x, map(L, x.parameters), map(L, x.forcing))

# ---- equations ---------------------------------------------------------------------------------------------------------------

"Storage, capacity, and the numbers of the cells with their slopes."
@inline function fill_cells!(lin, col::FaceColumn{L}, m::FaceModel, u, p) where {L}
    each_place(L, length(u)) do i, new
        x = Dual{Nothing}(fetch(L, u, i), one(L))
        s, c = held(m, x, p)
        put!(lin.storage, value(s), i)
        put!(lin.capacity, slope_of(s, 1, L), i)
        put!(col.cell, value_of(c), i)
        put!(col.cell_slope, slope_of(c, 1, L), i)
    end
end

function linearise!(lin::Linearisation{T}, col::FaceColumn{L,T}, m::FaceModel, u::Vector{T}, keep::Bool) where {L,T}
    n, p, f = length(u), repeated(L, col.inputs)...
    total = zero(T)
    fill_cells!(lin, col, m, u, p)
    each_place(L, n - 1) do i, new
        pair(x, y) = Dual{Nothing}(x, ForwardDiff.Partials(y))
        above, below = pair(fetch(L, u, i), (one(L), zero(L))), pair(fetch(L, u, i + 1), (zero(L), one(L)))
        c = pair(fetch(L, col.cell, i), (fetch(L, col.cell_slope, i), zero(L)))
        d = pair(fetch(L, col.cell, i + 1), (zero(L), fetch(L, col.cell_slope, i + 1)))
        flow = through(m, above, below, c, d, f, p)
        put!(col.flow, value_of(flow), i)
        put!(col.by_above, slope_of(flow, 1, L), i)
        put!(col.by_below, slope_of(flow, 2, L), i)
    end
    entering, leaving = ends(m, col, u, true)
    J, q = lin.jacobian, col.flow
    @inbounds begin
        @simd ivdep for i in 2:(n-1)
            lin.rates[i] = q[i-1] - q[i]
            J.lower[i], J.main[i], J.upper[i] = col.by_above[i-1], col.by_below[i-1] - col.by_above[i], -col.by_below[i]
        end
        lin.rates[1], lin.rates[n] = value_of(entering) - q[1], q[n-1] - value_of(leaving)
        J.lower[1], J.main[1], J.upper[1] = zero(T), slope_of(entering, 1, T) - col.by_above[1], -col.by_below[1]
        J.lower[n], J.main[n], J.upper[n] = col.by_above[n-1], col.by_below[n-1] - slope_of(leaving, 1, T), zero(T)
    end
    m.source === nothing || (total = add_sources!(lin, col, m, u, J.main))
    named_fluxes!(lin, m, value_of(entering), value_of(leaving), total)
    return lin
end

"What flows in and out at the ends, with slopes in the outermost states."
@inline function ends(m::FaceModel, col::FaceColumn{L,T}, u, slopes) where {L,T}
    n, (p, f) = length(u), named(col.inputs)
    number(x, dx) = slopes ? Dual{Nothing}(x, dx) : x
    first = at_end(m, m.inflow, number(u[1], one(T)), number(col.cell[1], col.cell_slope[1]), f, p)
    last = at_end(m, m.outflow, number(u[n], one(T)), number(col.cell[n], col.cell_slope[n]), f, p)
    return first, last
end

function add_sources!(lin, col::FaceColumn{L,T}, m::FaceModel, u::Vector{T}, main) where {L,T}
    p, f = repeated(L, col.inputs)
    each_place(L, length(u)) do i, new
        g = m.source(Dual{Nothing}(fetch(L, u, i), one(L)), f, p)
        put!(col.on_cell, value_of(g), i)
        put!(col.source_slope, slope_of(g, 1, L), i)
    end
    main === nothing || (main .+= col.source_slope)
    lin.rates .+= col.on_cell
    return sum(col.on_cell)
end

@inline function named_fluxes!(lin, m::FaceModel, values...)
    for (place, x) in zip(m.places, values)
        place > 0 && (lin.fluxes[place] = x)
    end
end

leaves_jacobian(::FaceModel) = false

function evaluate!(lin::Linearisation{T}, col::FaceColumn{L,T}, m::FaceModel, u::Vector{T}) where {L,T}
    n, p, f = length(u), repeated(L, col.inputs)...
    total = zero(T)
    fill_cells!(lin, col, m, u, p)
    each_place(L, n - 1) do i, new
        put!(
            col.flow,
            through(m, fetch(L, u, i), fetch(L, u, i + 1), fetch(L, col.cell, i), fetch(L, col.cell, i + 1), f, p),
            i
        )
    end
    entering, leaving = ends(m, col, u, false)
    lin.rates[1], lin.rates[n] = entering - col.flow[1], col.flow[n-1] - leaving
    @inbounds @simd ivdep for i in 2:(n-1)
        lin.rates[i] = col.flow[i-1] - col.flow[i]
    end
    m.source === nothing || (total = add_sources!(lin, col, m, u, nothing))
    named_fluxes!(lin, m, entering, leaving, total)
    return lin
end

function add_flux_slopes!(out::Vector{T}, col::FaceColumn{L,T}, m::FaceModel, u::Vector{T}, w) where {L,T}
    entering, leaving = ends(m, col, u, true)
    weight(k) = m.places[k] > 0 ? w[m.places[k]] : zero(T)
    out[1] += weight(1) * slope_of(entering, 1, T)
    out[end] += weight(2) * slope_of(leaving, 1, T)
    m.source === nothing || (out .+= weight(3) .* col.source_slope)
    return out
end

function pull!(
    col::FaceColumn{L,T,<:NamedInputs{T,P,F,NP,NF}},
    m::FaceModel,
    u::Vector{T},
    on_storage,
    on_rates,
    w
) where {L,T,P,F,NP,NF}
    n, x = length(u), col.inputs
    weight(k) = m.places[k] > 0 ? w[m.places[k]] : zero(T)
    col.on_cell .= 0
    @inbounds @simd ivdep for i in 1:(n-1)
        col.flow[i] = on_rates[i+1] - on_rates[i]
    end
    count = Val(NP + NF)
    on_inputs =
        face_slopes(L, col, m, u, count) + cell_slopes(L, col, m, u, on_storage, count) +
        end_slopes(col, m, u, on_rates[1] + weight(1), weight(2) - on_rates[n], count)
    m.source === nothing || (on_inputs += source_slopes(L, col, m, u, on_rates, weight(3), count))
    add_inputs!(x, on_inputs)
    return col
end

"Inputs as dual numbers of width K: tangents of all of them come first."
@inline function dual_inputs(::Type{L}, x::NamedInputs{T,P,F,NP,NF}, ::Val{K}) where {L,T,P,F,NP,NF,K}
    seeds = seed(map(L, vcat(x.parameters, x.forcing)), Val(K))
    return named(x, SVector(ntuple(i -> seeds[i], Val(NP))), SVector(ntuple(i -> seeds[NP+i], Val(NF))))
end

@inline all_slopes(x, ::Type{L}, ::Val{K}) where {L,K} = SVector(ntuple(k -> slope_of(x, k, L), Val(K)))
@inline total_of(x::Lanes) = sum(x.x)
@inline total_of(x) = x

"Of the flow between cells, whose cotangents stand in `flow`; adds those of the numbers of the cells."
function face_slopes(::Type{L}, col::FaceColumn{L,T}, m::FaceModel, u, ::Val{K}) where {L,T,K}
    p, f = dual_inputs(L, col.inputs, Val(K + 2))
    total = zero(SVector{K,L})
    new = 1
    while new < length(u)
        i = min(new, length(u) - wide(L))
        tangent(k) = ForwardDiff.Partials(ntuple(j -> L(j == k), Val(K + 2)))
        c, d = Dual{Nothing}(fetch(L, col.cell, i), tangent(K + 1)), Dual{Nothing}(fetch(L, col.cell, i + 1), tangent(K + 2))
        q, weight = through(m, fetch(L, u, i), fetch(L, u, i + 1), c, d, f, p), weights(L, col.flow, i, new)
        total += weight * all_slopes(q, L, Val(K))
        put!(col.on_cell, fetch(L, col.on_cell, i) + weight * slope_of(q, K + 1, L), i)
        put!(col.on_cell, fetch(L, col.on_cell, i + 1) + weight * slope_of(q, K + 2, L), i + 1)
        new += wide(L)
    end
    return map(total_of, total)
end

"Of the flow at both ends."
function end_slopes(col::FaceColumn{L,T}, m::FaceModel, u, on_inflow, on_outflow, ::Val{K}) where {L,T,K}
    p, f = dual_inputs(T, col.inputs, Val(K))
    dual_cell(i) = held(m, u[i], p)[2]
    q =
        on_inflow * at_end(m, m.inflow, u[1], dual_cell(1), f, p) +
        on_outflow * at_end(m, m.outflow, u[end], dual_cell(length(u)), f, p)
    return all_slopes(q, T, Val(K))
end

"Of storage and the numbers of the cells, which know nothing of the forcing."
function cell_slopes(
    ::Type{L},
    col::FaceColumn{L,T,<:NamedInputs{T,P,F,NP}},
    m::FaceModel,
    u,
    on_storage,
    ::Val{K}
) where {L,T,P,F,NP,K}
    seeds = seed(map(L, col.inputs.parameters))
    p, total, new = NamedTuple{P}(Tuple(seeds)), zero(SVector{NP,L}), 1
    while new <= length(u)
        i = min(new, length(u) + 1 - wide(L))
        x = fetch(L, u, i)
        s, c = held(m, x, p)
        value = weights(L, on_storage, i, new) * s + weights(L, col.on_cell, i, new) * c
        total += all_slopes(value, L, Val(NP))
        new += wide(L)
    end
    return vcat(map(total_of, total), zero(SVector{K - NP,T}))
end

"Of sources."
function source_slopes(::Type{L}, col::FaceColumn{L,T}, m::FaceModel, u, on_rates, on_source, ::Val{K}) where {L,T,K}
    p, f = dual_inputs(L, col.inputs, Val(K))
    total, new = zero(SVector{K,L}), 1
    col.flow .= on_rates .+ on_source
    while new <= length(u)
        i = min(new, length(u) + 1 - wide(L))
        total += weights(L, col.flow, i, new) * all_slopes(m.source(fetch(L, u, i), f, p), L, Val(K))
        new += wide(L)
    end
    return map(total_of, total)
end
