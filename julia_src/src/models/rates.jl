# Models of which only the rates are written down: small ones with a full Jacobian, columns of cells with a tridiagonal one.
# Derivatives that are not given come from ForwardDiff.

"""
    SmallModel(spec, rates; fluxes, storage, jacobian)

A model with a few states. The functions take the state as an SVector and forcing and parameters as NamedTuples, and must work
for numbers of any kind:

- `rates(u, f, p)`: rates of change of the storage, an SVector;
- `fluxes(u, f, p)`: the fluxes of the specification, an SVector; without them the specification may name none;
- `storage(u, p)`: the conserved storage, elementwise in u; the state itself by default;
- `jacobian(u, f, p)`: derivative of the rates in the state, an SMatrix.
"""
struct SmallModel{N,R,Q,S,J} <: Model
    spec::ModelSpec
    rates::R
    fluxes::Q
    storage::S
    jacobian::J
end

SmallModel{N}(spec, rates; fluxes=no_fluxes, storage=own_storage, jacobian=nothing) where {N} =
    SmallModel{N,typeof(rates),typeof(fluxes),typeof(storage),typeof(jacobian)}(spec, rates, fluxes, storage, jacobian)

no_fluxes(u, f, p) = SVector{0,eltype(u)}()
own_storage(u, p) = u

statesize(::SmallModel{N}) where {N} = N
spec(m::SmallModel) = m.spec
jacobian(::SmallModel{N}, ::Type{T}) where {N,T} = Dense(T, Val(N))

"Parameters and forcing of an interval, by name, and their cotangents."
mutable struct NamedInputs{T,P,F,NP,NF}
    parameters::SVector{NP,T}
    forcing::SVector{NF,T}
    on_parameters::SVector{NP,T}
    on_forcing::SVector{NF,T}
end

function NamedInputs(m::Model, ::Type{T}) where {T}
    P, F = Tuple(spec(m).parameters), Tuple(spec(m).forcings)
    zeros_(n) = zero(SVector{n,T})
    return NamedInputs{T,P,F,length(P),length(F)}(zeros_(length(P)), zeros_(length(F)), zeros_(length(P)), zeros_(length(F)))
end

@inline named(::NamedInputs{T,P,F}, p, f) where {T,P,F} = NamedTuple{P}(Tuple(p)), NamedTuple{F}(Tuple(f))
@inline named(x::NamedInputs) = named(x, x.parameters, x.forcing)

function bind!(x::NamedInputs{T,P,F,NP,NF}, inputs::Inputs{T}, c, k) where {T,P,F,NP,NF}
    x.parameters = SVector(ntuple(i -> load(inputs.parameters[i], c, k), Val(NP)))
    x.forcing = SVector(ntuple(i -> load(inputs.forcing[i], c, k), Val(NF)))
    return x
end

function flush!(parameter_fields, forcing_fields, x::NamedInputs, c, k)
    for i in eachindex(x.on_parameters)
        add!(parameter_fields[i], x.on_parameters[i], c, k)
    end
    for i in eachindex(x.on_forcing)
        add!(forcing_fields[i], x.on_forcing[i], c, k)
    end
    return clear!(x)
end

function clear!(x::NamedInputs)
    x.on_parameters, x.on_forcing = zero(x.on_parameters), zero(x.on_forcing)
    return x
end

"Add the gradient of `total(parameters, forcing)`, a function of NamedTuples of dual numbers, to the cotangents."
@inline function add_gradient!(total::G, x::NamedInputs{T,P,F,NP,NF}) where {G,T,P,F,NP,NF}
    both = seed(vcat(x.parameters, x.forcing))
    p, f = named(x, SVector(ntuple(i -> both[i], Val(NP))), SVector(ntuple(i -> both[NP+i], Val(NF))))
    g = gradient_of(total(p, f), Val(NP + NF))
    x.on_parameters += SVector(ntuple(i -> g[i], Val(NP)))
    x.on_forcing += SVector(ntuple(i -> g[NP+i], Val(NF)))
    return
end

struct SmallColumn{I}
    inputs::I
end

column(m::SmallModel, ::Type{T}) where {T} = SmallColumn(NamedInputs(m, T))
bind!(col::SmallColumn, ::SmallModel, inputs, c, k) = bind!(col.inputs, inputs, c, k)
flush!(parameter_fields, forcing_fields, col::SmallColumn, ::SmallModel, c, k) = flush!(parameter_fields, forcing_fields, col.inputs, c, k)
release!(col::SmallColumn) = clear!(col.inputs)

function linearise!(lin::Linearisation{T}, col::SmallColumn, m::SmallModel{N}, u::Vector{T}, keep::Bool) where {T,N}
    p, f = named(col.inputs)
    x = static(u, Val(N))
    d = seed(x)
    stored = m.storage(d, p)
    J = lin.jacobian.values
    if m.jacobian === nothing
        rates = m.rates(d, f, p)
        for i in 1:N
            lin.rates[i] = value(rates[i])
            slopes = gradient_of(rates[i], Val(N))
            for j in 1:N
                J[i, j] = slopes[j]
            end
        end
    else
        lin.rates .= m.rates(x, f, p)
        J .= m.jacobian(x, f, p)
    end
    for i in 1:N
        lin.storage[i] = value(stored[i])
        lin.capacity[i] = gradient_of(stored[i], Val(N))[i]
    end
    return lin
end

function fluxes!(lin::Linearisation, col::SmallColumn, m::SmallModel{N}, u::Vector) where {N}
    p, f = named(col.inputs)
    lin.fluxes .= m.fluxes(static(u, Val(N)), f, p)
    return lin
end

function add_flux_slopes!(out::Vector{T}, col::SmallColumn, m::SmallModel{N}, u::Vector{T}, w) where {T,N}
    p, f = named(col.inputs)
    fluxes = m.fluxes(seed(static(u, Val(N))), f, p)
    out .+= gradient_of(weighted(w, fluxes), Val(N))
    return out
end

function pull!(col::SmallColumn, m::SmallModel{N}, u::Vector{T}, on_storage, on_rates, w) where {T,N}
    x = static(u, Val(N))
    add_gradient!(col.inputs) do p, f
        weighted(on_storage, m.storage(x, p)) + weighted(on_rates, m.rates(x, f, p)) + weighted(w, m.fluxes(x, f, p))
    end
    return col
end

"Sum of weights times values; zero where there are none."
@inline function weighted(w::Vector{T}, values) where {T}
    total = zero(T)
    for i in eachindex(values)
        total += w[i] * values[i]
    end
    return total
end
