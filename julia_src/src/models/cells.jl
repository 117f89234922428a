# A column of cells of which only the rates are written down.

"""
    CellModel(spec, size, rates!; fluxes!, storage)

A model with one state in each of `size` cells, whose rates depend on the cell and its two neighbours. The functions must work for
vectors of numbers of any kind, forcing and parameters are NamedTuples of numbers:

- `rates!(out, u, f, p)`: rates of change of the storage of all cells;
- `fluxes!(out, u, f, p)`: the fluxes of the specification;
- `storage(u, p)`: the conserved storage of one cell; the state itself by default.

The Jacobian is tridiagonal and comes from three tangents.
"""
struct CellModel{R,Q,S} <: Model
    spec::ModelSpec
    size::Int
    rates!::R
    fluxes!::Q
    storage::S
end

CellModel(spec, size, rates!; fluxes! =no_fluxes!, storage=own_storage) = CellModel(spec, size, rates!, fluxes!, storage)

no_fluxes!(out, u, f, p) = out

statesize(m::CellModel) = m.size
spec(m::CellModel) = m.spec
jacobian(m::CellModel, ::Type{T}) where {T} = Tridiagonal(T, m.size)

"Work space: tangents of three colours, and of the parameters and the forcing."
struct CellColumn{T,I,D,G}
    inputs::I
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
    D, G, n, q = Dual{Nothing,T,3}, Dual{Nothing,T,K}, m.size, length(spec(m).fluxes)
    return CellColumn(inputs, zeros(D, n), zeros(D, n), zeros(D, q), zeros(G, n), zeros(G, q), zeros(T, n))
end

bind!(col::CellColumn, ::CellModel, inputs, c, k) = bind!(col.inputs, inputs, c, k)
flush!(parameter_fields, forcing_fields, col::CellColumn, ::CellModel, c, k) = flush!(parameter_fields, forcing_fields, col.inputs, c, k)
release!(col::CellColumn) = clear!(col.inputs)

"Give each cell the tangent of its colour; cells of one colour have no common neighbour."
@inline function colour!(tangents::Vector{Dual{Nothing,T,3}}, u::Vector{T}) where {T}
    units = ntuple(k -> ForwardDiff.Partials(ntuple(j -> T(j == k), Val(3))), Val(3))
    for i in eachindex(u)
        tangents[i] = Dual{Nothing}(u[i], units[(i-1)%3+1])
    end
end

function linearise!(lin::Linearisation{T}, col::CellColumn{T}, m::CellModel, u::Vector{T}, keep::Bool) where {T}
    p, f = named(col.inputs)
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
        s = m.storage(Dual{Nothing}(u[i], one(T)), p)
        storage[i], capacity[i] = value(s), partials(s, 1)
    end
end

function check_shapes(m::CellModel, inputs::Inputs{T}) where {T}
    p, f = named(bind!(NamedInputs(m, T), inputs, 1, 1))
    u = [load(inputs.initial, 1, 1, i) for i in 1:m.size]
    for (name, call!, count, what) in (("rates!", m.rates!, m.size, "cell"), ("fluxes!", m.fluxes!, length(spec(m).fluxes), "flux"))
        one, other = fill(T(1), count), fill(T(2), count)
        call!(one, u, f, p)
        call!(other, u, f, p)
        unset = findfirst(i -> one[i] == 1 && other[i] == 2, 1:count)
        unset === nothing || throw(Refused("$name leaves $what $unset of $count unset: fill the whole of `out`"))
    end
    stored = m.storage(first(u), p)
    stored isa Number || throw(Refused("storage returns $(typeof(stored)); it must return the storage of one cell, a number"))
    return
end

leaves_jacobian(::CellModel) = false

function evaluate!(lin::Linearisation{T}, col::CellColumn{T}, m::CellModel, u::Vector{T}) where {T}
    p, f = named(col.inputs)
    m.rates!(lin.rates, u, f, p)
    m.fluxes!(lin.fluxes, u, f, p)
    store!(lin, m, u, p)
    return lin
end

"Any cell may enter a flux: one sweep for each colour would not tell them apart, so that each cell has its own tangent in turn."
function add_flux_slopes!(out::Vector{T}, col::CellColumn{T}, m::CellModel, u::Vector{T}, w) where {T}
    p, f = named(col.inputs)
    for first in 1:3:length(u)
        for i in eachindex(u)
            k = i - first + 1
            col.tangents[i] = Dual{Nothing}(u[i], ForwardDiff.Partials((T(k == 1), T(k == 2), T(k == 3))))
        end
        m.fluxes!(col.fluxes, col.tangents, f, p)
        total = weighted(w, col.fluxes)
        for k in 1:min(3, length(u) - first + 1)
            out[first+k-1] += partials(total, k)
        end
    end
    return out
end

function pull!(col::CellColumn{T}, m::CellModel, u::Vector{T}, on_storage, on_rates, w) where {T}
    add_gradient!(col.inputs) do p, f
        m.rates!(col.parameter_rates, u, f, p)
        m.fluxes!(col.parameter_fluxes, u, f, p)
        total = weighted(on_rates, col.parameter_rates) + weighted(w, col.parameter_fluxes)
        for i in eachindex(u)
            total += on_storage[i] * m.storage(u[i], p)
        end
        return total
    end
    return col
end
