# Models of which only the rates are written down: small ones with a full Jacobian, columns of cells with a tridiagonal one.
# Derivatives that are not given come from ForwardDiff.

"""
    SmallModel{N}(spec, rates; fluxes, storage, prepare, jacobian, linearise, terms, guess, ahead, other, networks)

A model with a few states. The functions take the state as an SVector and forcing and parameters as NamedTuples, and must work
for numbers of any kind:

- `rates(u, f, p)`: rates of change of the storage, an SVector; or `(rates, fluxes)`, which saves the time to compute twice what both
  share;
- `fluxes(u, f, p)`: the fluxes of the specification, an SVector, where `rates` does not return them and there are any;
- `storage(u, p)`: the conserved storage, elementwise in u; the state itself by default;
- `prepare(f, p)`: what does not depend on the state, computed once per interval; the other functions get it in place of f;
- `jacobian(u, f, p)`: derivative of the rates in the state, an SMatrix or a [`Sparse`](@ref);
- `linearise(u, f, p)`: all derivatives by hand, for a model whose storage is the state: `(rates, fluxes, jacobian, pull)`, where
  `pull(on_rates, on_fluxes)` returns the derivatives of the sum of these cotangents times rates and fluxes in the state, the forcing
  and the parameters, as an SVector and two NamedTuples; and, of a model with networks, a NamedTuple that has for each of them its input
  and the cotangent of its output;
- `terms(u, f, p)`: what `linearise` computes of states and parameters alone, whatever the forcing; it gets them as a fourth argument, and
  they serve for the next interval too;
- `guess(f, p)`: where the search for the states begins, in a model whose states all store nothing; the initial state by default;
- `ahead(u, f, p, terms, h)`: where it begins in an implicit step of length h from the state u, in columns side by side; by default on the line
  or parabola through the states before, or at u;
- `other`: of a model whose states all store nothing, `(; doubtful, preferred)`: `doubtful(fluxes, f)` says beside which roots there may be
  another that is meant, and `preferred(u, f)` near which state that is, NaN where there is none.

`networks`, a NamedTuple of [`Network`](@ref), are called like functions that stand among the parameters: `p.recharge(x)`, each at most
once in an evaluation.
"""
struct SmallModel{N,R,Q,S,W,J,D,V,G,H,O,C<:NamedTuple} <: Model
    spec::ModelSpec
    rates::R
    fluxes::Q
    storage::S
    prepare::W
    jacobian::J
    linearise::D
    terms::V
    guess::G
    ahead::H
    other::O
    networks::C
end

function SmallModel{N}(spec, rates; fluxes=nothing, storage=own_storage, prepare=nothing, jacobian=nothing, linearise=nothing,
    terms=nothing,
    guess=nothing, ahead=nothing, other=nothing, networks=(;)) where {N}
    isempty(spec.in_cells) ||
        throw(Refused("$(first(spec.in_cells)) has a value in each cell, but a model with a few states has no cells"))
    fluxes === nothing && isempty(spec.fluxes) && (fluxes = no_fluxes)
    if linearise !== nothing && !(jacobian === nothing && storage === own_storage)
        throw(Refused("linearise is for models without jacobian or storage of their own"))
    end
    terms === nothing || linearise !== nothing || throw(Refused("terms are for models with linearise"))
    guess === nothing || all(s -> s.algebraic, spec.states) ||
        throw(Refused("a guess is for models whose states all store nothing"))
    return SmallModel(Val(N), spec, rates, fluxes, storage, prepare, jacobian, linearise, terms, guess, ahead, other, networks)
end
SmallModel(
    ::Val{N},
    spec,
    rates::R,
    fluxes::Q,
    storage::S,
    prepare::W,
    jacobian::J,
    linearise::D,
    terms::V,
    guess::G,
    ahead::H,
    other::O,
    networks::C
) where {N,R,Q,S,W,J,D,V,G,H,O,C} =
    SmallModel{N,R,Q,S,W,J,D,V,G,H,O,C}(
        spec,
        rates,
        fluxes,
        storage,
        prepare,
        jacobian,
        linearise,
        terms,
        guess,
        ahead,
        other,
        networks
    )
networks(m::SmallModel) = m.networks

no_fluxes(u, f, p) = SVector{0,eltype(u)}()
own_storage(u, p) = u

"What the equations read of an interval besides the parameters."
@inline prepared(m::SmallModel, f, p) = m.prepare === nothing ? f : m.prepare(f, p)

"All derivatives by hand, at a state whose terms are known, or not."
@inline linearise(m::SmallModel, u, f, p, terms=terms_at(m, u, f, p)) =
    terms === nothing ? m.linearise(u, f, p) : m.linearise(u, f, p, terms)
@inline terms_at(m::SmallModel, u, f, p) = m.terms === nothing ? nothing : m.terms(u, f, p)

"Rates and fluxes, and the rates alone; `f` is `prepared`."
@inline both(m::SmallModel, u, f, p) = m.rates(u, f, p), m.fluxes(u, f, p)
@inline both(m::SmallModel{N,R,Nothing}, u, f, p) where {N,R} = pair(m.rates(u, f, p))
@inline rates(m::SmallModel, u, f, p) = m.rates(u, f, p)
@inline rates(m::SmallModel{N,R,Nothing}, u, f, p) where {N,R} = first(pair(m.rates(u, f, p)))

@inline pair(x::Tuple{Any,Any}) = x
pair(x) = throw(Refused("the specification names fluxes: define fluxes(u, f, p), or let rates(u, f, p) return (rates, fluxes)"))

statesize(::SmallModel{N}) where {N} = N
spec(m::SmallModel) = m.spec
jacobian(::SmallModel{N}, ::Type{T}) where {N,T} = Dense(T, Val(N))

"Parameters and forcing of an interval, by name, and their cotangents."
mutable struct NamedInputs{T,P,F,NP,NF,N<:Networks}
    parameters::SVector{NP,T}
    forcing::SVector{NF,T}
    on_parameters::SVector{NP,T}
    on_forcing::SVector{NF,T}
    const networks::N
    bound::Bool
end

function NamedInputs(m::Model, ::Type{T}, net::Networks=Networks(networks(m), Float64, T)) where {T}
    P, F = map(names -> Tuple(filter(!in(spec(m).in_cells), names)), (spec(m).parameters, spec(m).forcings))
    zeros_(n) = zero(SVector{n,T})
    return NamedInputs{T,P,F,length(P),length(F),typeof(net)}(
        zeros_(length(P)),
        zeros_(length(F)),
        zeros_(length(P)),
        zeros_(length(F)),
        net,
        false
    )
end

@inline named(x::NamedInputs{T,P,F}, p, f) where {T,P,F} =
    merge(NamedTuple{P}(Tuple(p)), callable(x.networks)), NamedTuple{F}(Tuple(f))

"The same with dual numbers, whose tangents are those of parameters, forcing and the outputs of networks."
@inline function probed(x::NamedInputs{T,P,F,NP,NF}, parameters::SVector{NP,V}, forcing) where {T,P,F,NP,NF,V}
    seeds = seed(vcat(parameters, forcing), Val(NP + NF + length(x.networks)))
    p = NamedTuple{P}(ntuple(i -> seeds[i], Val(NP)))
    return merge(p, probes(x.networks, eltype(seeds), Val(NP + NF))), NamedTuple{F}(ntuple(i -> seeds[NP+i], Val(NF)))
end
@inline named(x::NamedInputs) = named(x, x.parameters, x.forcing)

function bind!(x::NamedInputs{T,P,F,NP,NF}, inputs::Inputs{T}, c, k) where {T,P,F,NP,NF}
    x.parameters = SVector(ntuple(i -> load(inputs.parameters[i], c, k), Val(NP)))
    x.forcing = SVector(ntuple(i -> load(inputs.forcing[i], c, k), Val(NF)))
    x.bound || bind_weights!(x.networks, inputs.weights)
    x.bound = true
    return x
end

function flush!(parameter_fields, forcing_fields, x::NamedInputs, c, k)
    for i in eachindex(x.on_parameters)
        add!(parameter_fields[i], x.on_parameters[i], c, k)
    end
    for i in eachindex(x.on_forcing)
        add!(forcing_fields[i], x.on_forcing[i], c, k)
    end
    x.on_parameters, x.on_forcing = zero(x.on_parameters), zero(x.on_forcing)
    return x
end

function flush_weights!(fields, x::NamedInputs, c)
    flush_weights!(fields, x.networks, c)
    clear!(x.networks)
    return
end

function clear!(x::NamedInputs)
    x.on_parameters, x.on_forcing, x.bound = zero(x.on_parameters), zero(x.on_forcing), false
    clear!(x.networks)
    return x
end

"Add the gradient of `total(parameters, forcing)`, a function of NamedTuples of dual numbers, to the cotangents."
@inline function add_gradient!(total::G, x::NamedInputs{T,P,F,NP,NF}) where {G,T,P,F,NP,NF}
    p, f = probed(x, x.parameters, x.forcing)
    g = gradient_of(total(p, f), Val(NP + NF + length(x.networks)))
    add_inputs!(x, g)
    return add_network_slopes!(x.networks, g, Val(NP + NF))
end

"Add cotangents of the parameters, then of the forcing."
@inline function add_inputs!(x::NamedInputs{T,P,F,NP,NF}, g::SVector) where {T,P,F,NP,NF}
    x.on_parameters += SVector(ntuple(i -> g[i], Val(NP)))
    x.on_forcing += SVector(ntuple(i -> g[NP+i], Val(NF)))
    return
end

"Parameters and forcing of an interval, and the slopes of the fluxes where they were last asked for."
struct SmallColumn{I,S}
    inputs::I
    slopes::S
end

column(m::SmallModel{N}, ::Type{T}) where {N,T} = SmallColumn(NamedInputs(m, T), zero(MMatrix{N,length(spec(m).fluxes),T}))
bind!(col::SmallColumn, ::SmallModel, inputs, c, k) = bind!(col.inputs, inputs, c, k)
flush!(parameter_fields, forcing_fields, col::SmallColumn, ::SmallModel, c, k) =
    flush!(parameter_fields, forcing_fields, col.inputs, c, k)
flush_weights!(fields, col::SmallColumn, c) = flush_weights!(fields, col.inputs, c)
release!(col::SmallColumn) = clear!(col.inputs)

@inline function read_inputs(m::SmallModel, x::NamedInputs)
    p, f = named(x)
    return p, prepared(m, f, p)
end

function linearise!(lin::Linearisation{T}, col::SmallColumn, m::SmallModel{N}, u::Vector{T}, keep::Bool) where {T,N}
    p, f = read_inputs(m, col.inputs)
    x = static(u, Val(N))
    if keep
        changes, fluxes = both(m, seed(x), f, p)
        for j in eachindex(fluxes)
            lin.fluxes[j] = value(fluxes[j])
            col.slopes[:, j] = gradient_of(fluxes[j], Val(N))
        end
        slopes!(lin, m, x, changes, f, p)
    else
        slopes!(lin, m, x, m.jacobian === m.linearise === nothing ? rates(m, seed(x), f, p) : x, f, p)
    end
    store!(lin, m, x, p)
    return lin
end

"Rates and Jacobian, from dual numbers unless the model knows better."
@inline function slopes!(lin, m::SmallModel{N}, x, changes, f, p) where {N}
    J = lin.jacobian.values
    if m.linearise !== nothing
        values, _, slopes, _ = linearise(m, x, f, p)
        lin.rates .= values
        J .= SMatrix(slopes)
    elseif m.jacobian !== nothing
        lin.rates .= rates(m, x, f, p)
        J .= SMatrix(m.jacobian(x, f, p))
    else
        for i in 1:N
            lin.rates[i] = value(changes[i])
            slopes = gradient_of(changes[i], Val(N))
            for j in 1:N
                J[i, j] = slopes[j]
            end
        end
    end
end

@inline function store!(lin, m::SmallModel{N}, x, p) where {N}
    stored = m.storage(seed(x), p)
    for i in 1:N
        lin.storage[i] = value(stored[i])
        lin.capacity[i] = gradient_of(stored[i], Val(N))[i]
    end
end

function check_shapes(m::SmallModel{N}, inputs::Inputs{T}) where {N,T}
    x = bind!(NamedInputs(m, T), inputs, 1, 1)
    p, f = read_inputs(m, x)
    u = SVector(ntuple(i -> load(inputs.initial, 1, 1, i), Val(N)))
    states, fluxes = "one for each of the states " * listed(s.name for s in spec(m).states),
    "one for each of the fluxes " * listed(spec(m).fluxes)
    changes, found = both(m, u, f, p)
    expect("rates", changes, N, states)
    expect("fluxes", found, length(spec(m).fluxes), fluxes)
    expect("storage", m.storage(u, p), N, states)
    m.guess === nothing || expect("guess", m.guess(f, p), N, states)
    m.jacobian === nothing || expect_matrix("jacobian", m.jacobian(u, f, p), Val(N))
    m.linearise === nothing && return
    changes, found, J, _ = linearise(m, u, f, p)
    expect("linearise, first,", changes, N, states)
    expect("linearise, second,", found, length(spec(m).fluxes), fluxes)
    expect_matrix("linearise, third,", J, Val(N))
    return
end

expect_matrix(name, J, ::Val{N}) where {N} =
    J isa Union{SMatrix{N,N},Sparse{N}} ||
    throw(Refused("$name returns $(typeof(J)); it must return an SMatrix or a Sparse of $N by $N"))

listed(names) = isempty(names) ? "(none)" : join(names, ", ")

leaves_jacobian(::SmallModel) = false

function evaluate!(lin::Linearisation{T}, col::SmallColumn, m::SmallModel{N}, u::Vector{T}) where {T,N}
    p, f = read_inputs(m, col.inputs)
    x = static(u, Val(N))
    changes, fluxes = both(m, x, f, p)
    for i in 1:N
        lin.rates[i] = changes[i]
    end
    for j in eachindex(fluxes)
        lin.fluxes[j] = fluxes[j]
    end
    store!(lin, m, x, p)
    return lin
end

function add_flux_slopes!(out::Vector{T}, col::SmallColumn, m::SmallModel{N}, u::Vector{T}, w) where {T,N}
    for j in eachindex(w), i in 1:N
        out[i] = muladd(w[j], col.slopes[i, j], out[i])
    end
    return out
end

function pull!(col::SmallColumn, m::SmallModel{N}, u::Vector{T}, on_storage, on_rates, w) where {T,N}
    x = static(u, Val(N))
    if m.linearise !== nothing
        p, f = read_inputs(m, col.inputs)
        pull = linearise(m, x, f, p)[4]
        add_inputs!(col.inputs, in_order(col.inputs, pull(static(on_rates, Val(N)), SVector{length(spec(m).fluxes)}(w))))
        return col
    end
    add_gradient!(col.inputs) do p, f
        changes, fluxes = both(m, x, prepared(m, f, p), p)
        weighted(on_storage, m.storage(x, p)) + weighted(on_rates, changes) + weighted(w, fluxes)
    end
    return col
end

"""
Cotangents that a model's `pull` returns, of parameters and forcing in the order of the specification; those of the weights of networks
are added to where they are kept.
"""
@inline function in_order(x::NamedInputs{T,P,F}, (_, on_f, on_p, on_networks...)) where {T,P,F}
    if length(x.networks) > 0
        isempty(on_networks) &&
            throw(Refused("the model has networks: the pull of its linearise returns their inputs and cotangents too"))
        add_weight_slopes!(x.networks, on_networks[1])
    end
    return vcat(SVector(Tuple(NamedTuple{P}(on_p))), SVector(Tuple(NamedTuple{F}(on_f))))
end

"Sum of weights times values; zero where there are none."
@inline function weighted(w::Vector{T}, values) where {T}
    total = zero(T)
    for i in eachindex(values)
        total += w[i] * values[i]
    end
    return total
end
