# Rates, Jacobians and vector-Jacobian products of one column, from the kernels of the model.

"Work space of the model for numbers of type T, bound to one parameter vector."
mutable struct Kernel{T,M<:Model,L,C}
    const model::M
    const linearisation::L
    const column::C
    const p::Vector{T}
    const grad::Vector{T}
    const inputs::Inputs{T}
    const grads::NTuple{2,Vector{Field{T}}}
    const state::Vector{T}
    const on_storage::Vector{T}
    const on_rates::Vector{T}
    const on_fluxes::Vector{T}
    const out::Vector{T}
    bound::Bool
end

"Fields of the parameters and of the forcing in a vector that holds one after another."
function packed(x::Vector{T}, m::Model) where {T}
    width, next, fields = widths(m), 0, Field{T}[]
    for w in width
        push!(fields, Field{T}(pointer(x, next + 1), 0, 0, w > 1 ? 1 : 0))
        next += w
    end
    count = length(spec(m).parameters)
    return fields[1:count], fields[(count+1):end]
end

function Kernel(m::Model, ::Type{T}) where {T}
    n, q, P = statesize(m), length(spec(m).fluxes), sum(widths(m))
    p, grad = zeros(T, P), zeros(T, P)
    inputs = Inputs{T}(1, ones(T, 1), Field{T}(Ptr{T}(0), 0, 0, 0), packed(p, m)...)
    return Kernel(m, Linearisation(m, T), column(m, T), p, grad, inputs, packed(grad, m), zeros(T, n), zeros(T, n), zeros(T, n),
        zeros(T, q),
        zeros(T, n), false)
end

"Bind to the parameters `p`, where they are others than before."
function bind_parameters!(k::Kernel{T}, p) where {T}
    # bit by bit, since dual numbers compare as their values
    k.bound && all(i -> k.p[i] === convert(T, p[i]), eachindex(k.p)) && return
    copyto!(k.p, p)
    release!(k.column)
    bind!(k.column, k.model, k.inputs, 1, 1)
    k.bound = true
    return
end

function evaluate!(k::Kernel, u, p, keep=false)
    bind_parameters!(k, p)
    copyto!(k.state, 1, u, 1, length(k.state))
    return linearise!(k.linearisation, k.column, k.model, k.state, keep)
end

slope(x::Dual{ByState}) = partials(x, 1)
along(x::T, dx::T) where {T} = Dual{ByState}(x, dx)

"Storage, rates and all their slopes at a state: those of the capacity come from the direction in which all states grow."
function evaluate_slopes!(k::Kernel{D}, u::AbstractVector{T}, p) where {T,D<:Dual{ByState}}
    bind_parameters!(k, p)
    for i in eachindex(k.state)
        k.state[i] = along(u[i], one(T))
    end
    return linearise!(k.linearisation, k.column, k.model, k.state, false)
end

"Leaves SciML's code, whatever it is doing, when the solve is to stop."
struct Interrupted <: Exception end

"""
The kernels of one column, each made when it is first needed; one task at a time may use them. Whether to stop is asked whenever one is
used: SciML has no such question of its own in an adjoint's integrals.
"""
mutable struct Equations
    const model::Model
    const kernels::Dict{DataType,Any}
    stopping::Function
end
Equations(m::Model, stopping) = Equations(m, Dict{DataType,Any}(), stopping)

function kernel(e::Equations, ::Type{T}) where {T}
    e.stopping()::Bool && throw(Interrupted())
    return get!(() -> Kernel(e.model, T), e.kernels, T)
end

"Call f(), which may be interrupted."
function interruptible(f)
    try
        f()
    catch error
        error isa Interrupted || rethrow()
    end
    return
end

sloped(::Type{T}) where {T} = Dual{ByState,T,1}

# What SciML calls does not know the model's type: it is compiled once for all models, and the kernels behind the call once for each.

(e::Equations)(du, u, p, t) = (rates!(kernel(e, eltype(du)), du, u, p); nothing)
jac(e::Equations) = (J, u, p, t) -> (jacobian!(kernel(e, sloped(promote_type(eltype(u), eltype(p)))), J, u, p); nothing)
vjp(e::Equations) =
    (out, v, u, p, t) -> (state_product!(kernel(e, sloped(promote_type(eltype(u), eltype(v)))), out, v, u, p); nothing)
vjp_p(e::Equations) =
    (out, v, u, p, t) ->
        (parameter_product!(kernel(e, eltype(u)), kernel(e, sloped(eltype(u))), out, v, u, p); nothing)
paramjac(e::Equations) = (pJ, u, p, t) -> (parameter_jacobian!(kernel(e, Duals), pJ, u, p); nothing)
no_time(dT, u, p, t) = (fill!(dT, 0); nothing)

"The equations with everything that SciML takes; `T` is the kind of its numbers."
problem_function(e::Equations, ::Type{T}) where {T} =
    ODEFunction{true,FullSpecialize}(e; jac=jac(e), tgrad=no_time, vjp=vjp(e),
        vjp_p=vjp_p(e), paramjac=paramjac(e), jac_prototype=pattern(e.model, T))

function rates!(k::Kernel, du, u, p)
    lin, n = evaluate!(k, u, p), length(k.state)
    for i in 1:n
        du[i] = lin.rates[i] / lin.capacity[i]
    end
    copyto!(du, n + 1, lin.fluxes, 1, length(lin.fluxes))
    return
end

"Where the Jacobian may differ from zero; the diagonal of the integrals is there for the matrices of the methods."
function pattern(m::Model, ::Type{T}) where {T}
    n, q = statesize(m), length(spec(m).fluxes)
    at = [(i, j) for j in 1:n for i in max(j-1, 1):min(j+1, n)]
    append!(at, [(n + j, i) for j in 1:q for i in flux_states(m, j)], [(n + j, n + j) for j in 1:q])
    return sparse(first.(at), last.(at), ones(T, length(at)), n + q, n + q)
end

function jacobian!(k::Kernel{D}, J, u, p) where {D<:Dual{ByState}}
    lin, n = evaluate_slopes!(k, u, p), length(k.state)
    lower, main, upper = lin.jacobian.lower, lin.jacobian.main, lin.jacobian.upper
    fill!(J isa SparseMatrixCSC ? nonzeros(J) : J, 0)
    for i in 1:n
        C = value(lin.capacity[i])
        i > 1 && (J[i, i-1] = value(lower[i]) / C)
        i < n && (J[i, i+1] = value(upper[i]) / C)
        J[i, i] = (value(main[i]) - value(lin.rates[i]) * slope(lin.capacity[i]) / C) / C
    end
    for j in eachindex(k.on_fluxes)
        isempty(flux_states(k.model, j)) && continue
        fill!(k.on_fluxes, 0)
        fill!(k.out, 0)
        k.on_fluxes[j] = 1
        add_flux_slopes!(k.out, k.column, k.model, k.state, k.on_fluxes)
        for i in flux_states(k.model, j)
            J[n+j, i] = value(k.out[i])
        end
    end
    return
end

"out = v' df/du"
function state_product!(k::Kernel{D}, out, v, u, p) where {D<:Dual{ByState}}
    lin, n = evaluate_slopes!(k, u, p), length(k.state)
    for i in 1:n
        k.on_rates[i] = v[i] / lin.capacity[i]
        k.out[i] = 0
    end
    for j in eachindex(k.on_fluxes)
        k.on_fluxes[j] = v[n+j]
    end
    add_transposed!(k.out, lin.jacobian, k.on_rates)
    add_flux_slopes!(k.out, k.column, k.model, k.state, k.on_fluxes)
    for i in 1:n
        C = value(lin.capacity[i])
        out[i] = value(k.out[i]) - v[i] * value(lin.rates[i]) * slope(lin.capacity[i]) / (C * C)
    end
    fill!(view(out, (n+1):length(out)), 0)
    return
end

"""
out = v' df/dp. The rates and fluxes are pulled back as they are. The capacity is the slope of the storage: its derivative in p along a is
that of the storage's derivative in p, in the direction a of the state.
"""
function parameter_product!(k::Kernel{T}, d::Kernel{D}, out, v, u, p) where {T,D<:Dual{ByState}}
    lin, n = evaluate!(k, u, p, true), length(k.state)
    bind_parameters!(d, p)
    for i in 1:n
        k.on_rates[i] = v[i] / lin.capacity[i]
        k.on_storage[i] = 0
        d.on_rates[i] = 0
        d.on_storage[i] = 1
        d.state[i] = along(k.state[i], -k.on_rates[i] * lin.rates[i] / lin.capacity[i])
    end
    copyto!(k.on_fluxes, 1, v, n + 1, length(k.on_fluxes))
    fill!(d.on_fluxes, 0)
    fill!(k.grad, 0)
    fill!(d.grad, 0)
    pull!(k.column, k.model, k.state, k.on_storage, k.on_rates, k.on_fluxes)
    flush!(k.grads..., k.column, k.model, 1, 1)
    linearise!(d.linearisation, d.column, d.model, d.state, true)
    pull!(d.column, d.model, d.state, d.on_storage, d.on_rates, d.on_fluxes)
    flush!(d.grads..., d.column, d.model, 1, 1)
    for i in eachindex(out)
        out[i] = k.grad[i] + slope(d.grad[i])
    end
    return
end

"pJ = df/dp, by dual numbers."
function parameter_jacobian!(k::Kernel{D}, pJ, u, p) where {D<:Dual{ByInput}}
    x, y, du = D.(p), D.(u), zeros(D, length(u))
    for chunk in Iterators.partition(eachindex(p), CHUNK)
        x .= p
        for (i, at) in enumerate(chunk)
            x[at] = D(p[at], unit(i))
        end
        rates!(k, du, y, x)
        for (i, at) in enumerate(chunk), row in eachindex(du)
            pJ[row, at] = partials(du[row], i)
        end
    end
    return
end
