# A column of cells of which only the rates are written down.

"""
    CellModel(spec, size, rates!; fluxes!, storage)

A model with one state in each of `size` cells, whose rates depend on the cell and its two neighbours. The functions must work for
vectors of numbers of any kind, forcing and parameters are NamedTuples of numbers:

- `rates!(out, u, f, p)`: rates of change of the storage of all cells;
- `fluxes!(out, u, f, p)`: the fluxes of the specification;
- `storage(u, p)`: the conserved storage of one cell; the state itself by default.

Parameters and forcings with `per = "cell"` in the specification are vectors, one number for each cell (numbers of this cell in `storage`);
a flux with it takes as many places of `out` as there are cells.

The Jacobian is tridiagonal and comes from three tangents.
"""
struct CellModel{R,Q,S} <: Model
    spec::ModelSpec
    size::Int
    rates!::R
    fluxes!::Q
    storage::S
end

CellModel(spec, size, rates!; (fluxes!)=(no_fluxes!), storage=own_storage) = CellModel(spec, size, rates!, fluxes!, storage)

no_fluxes!(out, u, f, p) = out

statesize(m::CellModel) = m.size
spec(m::CellModel) = m.spec
jacobian(m::CellModel, ::Type{T}) where {T} = Tridiagonal(T, m.size)

const WIDE = 8  # cells whose values of one input have tangents at once

"""
Work space: tangents of three colours, and of the parameters and the forcing. `wide` are the parameters and then the forcings with a
value in each cell, named in the type, `places` where the others and these stand among those of the specification.
"""
struct CellColumn{T,I,D,G,WP,WF}
    inputs::I
    places::NTuple{4,Vector{Int}}
    wide::Vector{Vector{T}}
    on_wide::Vector{Vector{T}}
    chunk::NTuple{3,Vector{Dual{Nothing,T,WIDE}}}  # of values of one input, rates and fluxes
    tangents::Vector{D}
    rates::Vector{D}
    fluxes::Vector{D}
    parameter_rates::Vector{G}
    parameter_fluxes::Vector{G}
    slopes::Vector{T}
end

function column(m::CellModel, ::Type{T}) where {T}
    inputs = NamedInputs(m, T)
    return cell_column(m, T, inputs, Val(length(inputs.parameters) + length(inputs.forcing)))
end

function cell_column(m::CellModel, ::Type{T}, inputs, ::Val{K}) where {T,K}
    D, G, n, q, s = Dual{Nothing,T,3}, Dual{Nothing,T,K}, m.size, flux_count(m), spec(m)
    W = Dual{Nothing,T,WIDE}
    wide(k) = k in s.in_cells
    places = (findall(!wide, s.parameters), findall(!wide, s.forcings), findall(wide, s.parameters), findall(wide, s.forcings))
    WP, WF = Tuple(s.parameters[places[3]]), Tuple(s.forcings[places[4]])
    several() = [zeros(T, n) for _ in 1:(length(WP)+length(WF))]
    return CellColumn{T,typeof(inputs),D,G,WP,WF}(inputs, places, several(), several(), (zeros(W, n), zeros(W, n), zeros(W, q)),
        zeros(D, n), zeros(D, n), zeros(D, q), zeros(G, n), zeros(G, q), zeros(T, n))
end

"Parameters and forcing by name, given those that have one value, and those with a value in each cell."
@inline with_wide(::CellColumn{T,I,D,G,WP,WF}, p, f, wide) where {T,I,D,G,WP,WF} =
    merge(p, NamedTuple{WP}(ntuple(i -> wide[i], Val(length(WP))))),
    merge(f, NamedTuple{WF}(ntuple(i -> wide[length(WP)+i], Val(length(WF)))))
@inline named(col::CellColumn) = with_wide(col, named(col.inputs)..., col.wide)

"Parameters of cell i."
@inline in_cell(p, i) = map(x -> x isa AbstractVector ? (@inbounds x[i]) : x, p)

function bind!(col::CellColumn{T,<:NamedInputs{T,P,F,NP,NF}}, ::CellModel, inputs, c, k) where {T,P,F,NP,NF}
    x, (parameters, forcing, wide_parameters, wide_forcing) = col.inputs, col.places
    x.parameters = SVector(ntuple(i -> load(inputs.parameters[parameters[i]], c, k), Val(NP)))
    x.forcing = SVector(ntuple(i -> load(inputs.forcing[forcing[i]], c, k), Val(NF)))
    for (j, i) in enumerate(wide_parameters), l in eachindex(col.wide[j])
        col.wide[j][l] = load(inputs.parameters[i], c, k, l)
    end
    for (j, i) in enumerate(wide_forcing), l in eachindex(col.wide[end])
        col.wide[length(wide_parameters)+j][l] = load(inputs.forcing[i], c, k, l)
    end
    return col
end

function flush!(parameter_fields, forcing_fields, col::CellColumn, ::CellModel, c, k)
    x, (parameters, forcing, wide_parameters, wide_forcing) = col.inputs, col.places
    foreach(j -> add!(parameter_fields[parameters[j]], x.on_parameters[j], c, k), eachindex(x.on_parameters))
    foreach(j -> add!(forcing_fields[forcing[j]], x.on_forcing[j], c, k), eachindex(x.on_forcing))
    fields = (parameter_fields[i] for i in wide_parameters), (forcing_fields[i] for i in wide_forcing)
    for (field, on) in zip(Iterators.flatten(fields), col.on_wide)
        foreach(l -> add!(field, on[l], c, k, l), eachindex(on))
        on .= 0
    end
    x.on_parameters, x.on_forcing = zero(x.on_parameters), zero(x.on_forcing)
    return col
end

function release!(col::CellColumn)
    foreach(on -> on .= 0, col.on_wide)
    return clear!(col.inputs)
end

"Give each cell the tangent of its colour; cells of one colour have no common neighbour."
@inline function colour!(tangents::Vector{Dual{Nothing,T,3}}, u::Vector{T}) where {T}
    units = ntuple(k -> ForwardDiff.Partials(ntuple(j -> T(j == k), Val(3))), Val(3))
    for i in eachindex(u)
        tangents[i] = Dual{Nothing}(u[i], units[(i-1)%3+1])
    end
end

function linearise!(lin::Linearisation{T}, col::CellColumn{T}, m::CellModel, u::Vector{T}, keep::Bool) where {T}
    p, f = named(col)
    colour!(col.tangents, u)
    m.rates!(col.rates, col.tangents, f, p)
    J, n = lin.jacobian, length(u)
    for i in 1:n
        r = col.rates[i]
        lin.rates[i] = value(r)
        J.main[i] = partials(r, (i - 1) % 3 + 1)
        J.lower[i] = i > 1 ? partials(r, (i + 1) % 3 + 1) : zero(T)
        J.upper[i] = i < n ? partials(r, i % 3 + 1) : zero(T)
    end
    store!(lin, m, u, p)
    return lin
end

@inline function store!(lin::Linearisation{T}, m::CellModel, u::Vector{T}, p) where {T}
    storage, capacity = lin.storage, lin.capacity
    @inbounds @simd ivdep for i in eachindex(u)
        s = m.storage(Dual{Nothing}(u[i], one(T)), in_cell(p, i))
        storage[i], capacity[i] = value(s), partials(s, 1)
    end
end

function check_shapes(m::CellModel, inputs::Inputs{T}) where {T}
    p, f = named(bind!(column(m, T), m, inputs, 1, 1))
    u = [load(inputs.initial, 1, 1, i) for i in 1:m.size]
    for (name, call!, count, what) in (("rates!", m.rates!, m.size, "cell"), ("fluxes!", m.fluxes!, flux_count(m), "flux"))
        one, other = fill(T(1), count), fill(T(2), count)
        call!(one, u, f, p)
        call!(other, u, f, p)
        unset = findfirst(i -> one[i] == 1 && other[i] == 2, 1:count)
        unset === nothing || throw(Refused("$name leaves $what $unset of $count unset: fill the whole of `out`"))
    end
    stored = m.storage(first(u), in_cell(p, 1))
    stored isa Number || throw(Refused("storage returns $(typeof(stored)); it must return the storage of one cell, a number"))
    return
end

leaves_jacobian(::CellModel) = false

function evaluate!(lin::Linearisation{T}, col::CellColumn{T}, m::CellModel, u::Vector{T}) where {T}
    p, f = named(col)
    m.rates!(lin.rates, u, f, p)
    m.fluxes!(lin.fluxes, u, f, p)
    store!(lin, m, u, p)
    return lin
end

"Any cell may enter a flux: one sweep for each colour would not tell them apart, so that each cell has its own tangent in turn."
function add_flux_slopes!(out::Vector{T}, col::CellColumn{T}, m::CellModel, u::Vector{T}, w) where {T}
    p, f = named(col)
    for first in 1:3:length(u)
        for i in eachindex(u)
            k = i - first + 1
            col.tangents[i] = Dual{Nothing}(u[i], ForwardDiff.Partials((T(k == 1), T(k == 2), T(k == 3))))
        end
        m.fluxes!(col.fluxes, col.tangents, f, p)
        total = weighted(w, col.fluxes)
        for k in 1:min(3, length(u)-first+1)
            out[first+k-1] += partials(total, k)
        end
    end
    return out
end

function pull!(col::CellColumn{T}, m::CellModel, u::Vector{T}, on_storage, on_rates, w) where {T}
    add_gradient!(col.inputs) do parameters, forcing
        p, f = with_wide(col, parameters, forcing, col.wide)
        m.rates!(col.parameter_rates, u, f, p)
        m.fluxes!(col.parameter_fluxes, u, f, p)
        total = weighted(on_rates, col.parameter_rates) + weighted(w, col.parameter_fluxes)
        for i in eachindex(u)
            total += on_storage[i] * m.storage(u[i], in_cell(p, i))
        end
        return total
    end
    foreach(j -> pull_wide!(col, m, u, on_storage, on_rates, w, Val(j)), eachindex(col.wide))
    return col
end

"The same for input j of those with a value in each cell: some cells at once have tangents."
function pull_wide!(col::CellColumn{T}, m::CellModel, u::Vector{T}, on_storage, on_rates, w, ::Val{j}) where {T,j}
    values, rates, fluxes = col.chunk
    count = length(col.wide)
    p, f = with_wide(col, named(col.inputs)..., ntuple(k -> k == j ? values : col.wide[k], count))
    for first in 1:WIDE:length(u)
        for i in eachindex(u)
            values[i] = Dual{Nothing}(col.wide[j][i], ForwardDiff.Partials(ntuple(k -> T(k == i - first + 1), Val(WIDE))))
        end
        m.rates!(rates, u, f, p)
        m.fluxes!(fluxes, u, f, p)
        total = weighted(on_rates, rates) + weighted(w, fluxes)
        for i in eachindex(u)
            total += on_storage[i] * m.storage(u[i], in_cell(p, i))
        end
        for k in 1:min(WIDE, length(u)-first+1)
            col.on_wide[j][first+k-1] += slope_of(total, k, T)
        end
    end
    return
end
