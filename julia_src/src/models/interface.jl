# The contract between a process model and the solvers.
#
# A model declares names and equations; it knows no solver. For a model type M the solvers call
#
#   statesize(m), spec(m)               number of states; names and typical magnitudes
#   column(m, T)                        work space of one column, with its parameters and forcing of one interval
#   jacobian(m, T)                      an empty Jacobian of the model's structure
#   bind!(col, m, inputs, c, k)         read the parameters and forcing of column c in interval k
#   linearise!(lin, col, m, u, keep)    storage, capacity, rates and Jacobian at the state u; `keep` what `pull!` needs
#   evaluate!(lin, col, m, u)           storage, capacity, rates and fluxes there; the Jacobian too if `leaves_jacobian(m)`
#   raise_capacity!(lin, col, m)        raise the capacity to a least one, with which Newton leaves a state that stores nothing
#   add_flux_slopes!(out, col, m, u, w) out += derivative of w . fluxes in the state, after `linearise!` with `keep`
#   pull!(col, m, u, on_storage, on_rates, on_fluxes)  add cotangents of parameters and forcing to those of the column
#   flush!(parameter_fields, forcing_fields, col, m, c, k)  write them out, and begin anew
#   flush_weights!(fields, col, c)      the same for the weights of the model's `networks(m)`, if it has any
#   release!(col)                       before another column: forget parameters, and cotangents that were not written

abstract type Model end

"Storage, capacity (its slope), rates, Jacobian and fluxes at a state."
struct Linearisation{T,J}
    storage::Vector{T}
    capacity::Vector{T}
    rates::Vector{T}
    fluxes::Vector{T}
    jacobian::J
end

Linearisation(m::Model, ::Type{T}) where {T} = Linearisation(
    ntuple(_ -> zeros(T, statesize(m)), 3)..., zeros(T, flux_count(m)), jacobian(m, T))

"Values of all fluxes of a column, of which some may have one in each cell."
flux_count(m::Model) = sum(flux_widths(spec(m), statesize(m)); init=0)

"""
    check_shapes(m, inputs)

Refuse a model whose functions return other numbers of values than its specification declares, at the start of the first column; called
once for each model.
"""
check_shapes(m::Model, inputs) = nothing

"What a function of a user's file returns must have as many values as the specification declares."
function expect(name, value, count, what)
    value isa Union{AbstractVector,Tuple} ||
        throw(Refused("$name returns $(typeof(value)); it must return an SVector of $count values, $what"))
    length(value) == count || throw(Refused("$name returns $(length(value)) values; it must return $count, $what"))
    return
end

evaluate!(lin, col, m::Model, u) = linearise!(lin, col, m, u, false)
leaves_jacobian(::Model) = true
raise_capacity!(lin, col, m::Model) = nothing
networks(::Model) = (;)
flush_weights!(fields, col, c) = nothing

"""
    Field(pointer, column, time, layer)

Numbers in memory that somebody else owns, by their strides; a stride is zero where all columns, intervals or layers share
one value. A null pointer stands for a gradient that nobody wants, or a cotangent that is zero.
"""
struct Field{T}
    pointer::Ptr{T}
    column::Int
    time::Int
    layer::Int
end

@inline at(f::Field, c, k, l) = 1 + (c - 1) * f.column + (k - 1) * f.time + (l - 1) * f.layer
@inline load(f::Field, c, k, l=1) = unsafe_load(f.pointer, at(f, c, k, l))
@inline given(f::Field{T}, c, k) where {T} = wanted(f) ? load(f, c, k) : zero(T)
@inline wanted(f::Field{T}) where {T} = f.pointer != Ptr{T}(0)
@inline function add!(f::Field, value, c, k, l=1)
    if wanted(f)
        i = at(f, c, k, l)
        unsafe_store!(f.pointer, unsafe_load(f.pointer, i) + value, i)
    end
end

"Everything that a solve reads: fields of the parameters and of the forcing in the order of the model's specification,
and of the weights of its networks."
struct Inputs{T}
    columns::Int
    lengths::Vector{T}
    initial::Field{T}
    parameters::Vector{Field{T}}
    forcing::Vector{Field{T}}
    weights::Vector{Field{T}}
end

Inputs{T}(columns, lengths, initial, parameters, forcing) where {T} =
    Inputs{T}(columns, lengths, initial, parameters, forcing, Field{T}[])

intervals(x::Inputs) = length(x.lengths)

"Whether anything but the forcing changes from interval to interval."
varying(x::Inputs) = any(f -> f.time != 0, x.parameters)
