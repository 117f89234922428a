"Networks as chains of Lux, with the same weights, and models of Lux as networks."
module DiffGeoLuxExt

using DiffGeo: DiffGeo, FunctionNetwork, Network, Refused, weight_count
using Lux: Lux, AbstractLuxLayer, Chain, Dense, WrappedFunction, sigmoid, softplus, swish
using PrecompileTools: @compile_workload

const ACTIVATIONS = Dict(:tanh => tanh, :sigmoid => sigmoid, :softplus => softplus, :swish => swish)

function DiffGeo.lux_chain(n::Network{W,A}) where {W,A}
    last = length(W) - 1
    layers = Any[Dense(W[l] => W[l+1], l < last ? ACTIVATIONS[A] : identity) for l in 1:last]
    isnan(n.low) || push!(layers, WrappedFunction(y -> n.low .+ (n.high - n.low) .* sigmoid.(y)))
    return Chain(layers...)
end

function DiffGeo.lux_parameters(n::Network{W}, weights::AbstractVector) where {W}
    length(weights) == weight_count(n) || throw(Refused("the network has $(weight_count(n)) weights, not $(length(weights))"))
    at = 0
    take(count) = (at += count; weights[(at-count+1):at])
    layers = [(weight=reshape(take(W[l] * W[l+1]), W[l+1], W[l]), bias=take(W[l+1])) for l in 1:(length(W)-1)]
    isnan(n.low) || (layers = [layers; (;)])
    return NamedTuple(Symbol(:layer_, l) => p for (l, p) in enumerate(layers))
end

function DiffGeo.flat_weights(n::Network, parameters::NamedTuple)
    weights = reduce(vcat, [[vec(p.weight); vec(p.bias)] for p in parameters if haskey(p, :weight)])
    length(weights) == weight_count(n) ||
        throw(Refused("the network has $(weight_count(n)) weights, these are $(length(weights))"))
    return weights
end

function DiffGeo.as_network(model::AbstractLuxLayer, inputs; seed=0)
    parameters, state = Lux.setup(Lux.Random.Xoshiro(seed), model)
    f(x, w) = only(first(Lux.apply(model, Vector(x), rebuilt(parameters, w, Ref(0)), Lux.testmode(state))))
    weights = flat(parameters)
    y = try
        f(zeros(inputs), weights)
    catch error
        throw(Refused("the model of Lux does not turn $inputs numbers into one: $(sprint(showerror, error))"))
    end
    y isa Real || throw(Refused("the model of Lux gives a $(typeof(y)), not a number"))
    return FunctionNetwork{inputs}(f, weights)
end

"Parameters of a model one after another, and back."
flat(p::AbstractArray) = vec(Float64.(p))
flat(p) = reduce(vcat, map(flat, values(p)); init=Float64[])
rebuilt(p::AbstractArray, w, at) = reshape(w[(at[]+1):(at[]+=length(p))], size(p))
rebuilt(p, w, at) = map(x -> rebuilt(x, w, at), p)

@compile_workload begin
    n = Network((2, 4, 1), "tanh"; low=0.0, high=1.0)
    DiffGeo.lux_chain(n)
    DiffGeo.flat_weights(n, DiffGeo.lux_parameters(n, zeros(weight_count(n))))
end

end
