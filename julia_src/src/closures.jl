# Networks inside the equations of a model.

"""
    Network(widths, activation; low = NaN, high = NaN)

Dense layers with an activation between them, of one output: `widths` is (inputs, hidden..., 1). Where `low` and `high` are given the
output lies between them, by a logistic function. Its weights are one vector: of each layer the matrix (output, input), column by
column, then the bias, which is how ComponentArrays lays out the parameters of a Lux chain (`lux_chain` gives that chain).
"""
struct Network{W,A}
    low::Float64
    high::Float64
end

const ACTIVATIONS = Dict("tanh" => :tanh, "sigmoid" => :sigmoid, "softplus" => :softplus, "swish" => :swish)

function Network(widths, activation::AbstractString; low=NaN, high=NaN)
    (length(widths) >= 2 && all(>(0), widths) && last(widths) == 1) ||
        throw(Refused("a network needs the widths (inputs, hidden..., 1), got ($(join(widths, ", ")))"))
    isnan(low) == isnan(high) && !(low >= high) || throw(Refused("the range of a network needs low < high, got $low and $high"))
    return Network{Tuple(Int.(widths)),lookup(ACTIVATIONS, activation, "activation")}(low, high)
end

"Number of weights."
weight_count(::Network{W}) where {W} = sum(W[l+1] * (W[l] + 1) for l in 1:length(W)-1)

"A network with its weights: what the equations call."
struct Closure{W,A}
    network::Network{W,A}
    weights::Vector{Float64}
end
Closure(n::Network) = Closure(n, zeros(weight_count(n)))

"The chain of Lux that a network is; once Lux is loaded."
function lux_chain end

"Parameters of that chain from a vector of weights, and back."
function lux_parameters end
function flat_weights end

# ---- activations: value and slope --------------------------------------------------------------------------------------------

@inline exponential(x::Doubles) = vexp(x)
@inline exponential(x::Lanes) = exp(x)
@inline logarithm(x::Doubles) = vlog(x)
@inline logarithm(x::Lanes) = log(x)
@inline either(m::Bool, a, b) = ifelse(m, a, b)
@inline either(m::Vec, a, b) = vifelse(m, a, b)
@inline either(m::Mask, a, b) = ifelse(m, a, b)

@inline function activate(::Val{:tanh}, x)
    t = exponential(-2 * abs(x))
    y = (1 - t) / (1 + t)
    y = either(x < zero(x), -y, y)
    return y, 1 - y * y
end
@inline function activate(::Val{:sigmoid}, x)
    t = exponential(-abs(x))
    y = either(x < zero(x), t, one(t)) / (1 + t)
    return y, t / ((1 + t) * (1 + t))
end
@inline function activate(::Val{:softplus}, x)
    y, _ = activate(Val(:sigmoid), x)
    return max(x, zero(x)) + logarithm(1 + exponential(-abs(x))), y
end
@inline function activate(::Val{:swish}, x)
    y, slope = activate(Val(:sigmoid), x)
    return x * y, y + x * slope
end

# ---- layers: the units of one are a Vec for one column, and an SVector of Lanes for several -----------------------------------

@inline units(w, at, ::Val{O}, ::Type{Float64}) where {O} = SIMD.vload(Vec{O,Float64}, pointer(w, at))
@inline units(w, at, ::Val{O}, ::Type{L}) where {O,L<:Lanes} = SVector(ntuple(j -> L(@inbounds w[at+j-1]), Val(O)))
@inline unit(h, i) = @inbounds h[i]

"Weights times inputs; `at` is the place of the first weight of the layer."
@inline function product_of(w, at, x, ::Val{I}, out::Val{O}, ::Type{V}) where {I,O,V}
    a = units(w, at, out, V) * unit(x, 1)
    for i in 2:I
        a = a + units(w, at + (i - 1) * O, out, V) * unit(x, i)
    end
    return a
end

@inline each(f::F, x::Vec) where {F} = f(x)
@inline each(f::F, x::SVector) where {F} = (y = map(f, x); (map(first, y), map(last, y)))
@inline by_unit(a::Vec, b::Vec) = a * b
@inline by_unit(a::SVector, b::SVector) = map(*, a, b)

"""
    layers(c, x, tangents) -> output before the range, its slopes in the inputs

`x` and each of the tangents, of which there may be none, are vectors of the inputs.
"""
@inline layers(c::Closure{W,A}, x::SVector{I,V}, tangents) where {W,A,I,V} = next_layer(c, Val(1), 1, x, tangents, V)

@inline function next_layer(c::Closure{W,A}, ::Val{l}, at, x, tangents, ::Type{V}) where {W,A,l,V}
    out = Val(W[l+1])
    a = product_of(c.weights, at, x, Val(W[l]), out, V) + units(c.weights, at + W[l] * W[l+1], out, V)
    slopes = map(t -> product_of(c.weights, at, t, Val(W[l]), out, V), tangents)
    l == length(W) - 1 && return unit(a, 1), map(s -> unit(s, 1), slopes)
    h, s = each(z -> activate(Val(A), z), a)
    return next_layer(c, Val(l + 1), at + W[l+1] * (W[l] + 1), h, map(z -> by_unit(s, z), slopes), V)
end

"The output in its range, and its slope in what the layers give."
@inline function ranged(n::Network, y)
    isnan(n.low) && return y, one(y)
    s, slope = activate(Val(:sigmoid), y)
    return n.low + (n.high - n.low) * s, (n.high - n.low) * slope
end

@inline (c::Closure)(x...) = called(c, SVector(promote(x...)))
@inline (c::Closure)(x) = called(c, SVector(x))

@inline called(c::Closure, x::SVector{I,V}) where {I,V<:Union{Float64,Lanes}} = first(ranged(c.network, first(layers(c, x, ()))))
@inline called(c::Closure, x::SVector{I,Float32}) where {I} = Float32(called(c, map(Float64, x)))
@inline function called(c::Closure, x::SVector{I,D}) where {I,V,K,D<:Dual{Nothing,V,K}}
    y, slopes = value_and_slopes(c, map(value, x))
    return Dual{Nothing}(y, sum(ntuple(i -> slopes[i] * partials(x[i]), Val(I))))
end

@inline function value_and_slopes(c::Closure, x::SVector{I,Float32}) where {I}
    y, slopes = value_and_slopes(c, map(Float64, x))
    return Float32(y), map(Float32, slopes)
end
@inline function value_and_slopes(c::Closure, x::SVector{I,V}) where {I,V}
    y, slopes = layers(c, x, ntuple(i -> SVector(ntuple(j -> V(i == j), Val(I))), Val(I)))
    y, scale = ranged(c.network, y)
    return y, map(s -> scale * s, slopes)
end

# ---- the gradient in the weights ---------------------------------------------------------------------------------------------

"What a closure was called with, and how often, in one evaluation of a model."
mutable struct Note{X}
    inputs::X
    calls::Int
end

"Stands for a closure while a gradient is taken: it notes its inputs, and its output has the tangent number k of its own."
struct Probe{k,D,C<:Closure,X}
    closure::C
    note::Note{X}
end
Probe{k,D}(c::C, note::Note{X}) where {k,D,C,X} = Probe{k,D,C,X}(c, note)

@inline (p::Probe)(x...) = probe(p, SVector(promote(x...)))
@inline (p::Probe)(x) = probe(p, SVector(x))
@inline function probe(p::Probe{k,D}, x::SVector{I}) where {k,V,K,D<:Dual{Nothing,V,K},I}
    p.note.inputs = map(z -> V(value_of(z)), x)
    p.note.calls += 1
    own = ForwardDiff.Partials(ntuple(j -> V(j == k), Val(K)))
    y = called(p.closure, map(D, x))
    return Dual{Nothing}(value(y), partials(y) + own)
end

"""
    Networks(networks, V, T)

The closures of a model while a column, or several side by side, is solved: with their weights, the cotangents of these in numbers of
type V, and notes of calls in numbers of type T.
"""
struct Networks{names,C<:Tuple,V,X<:Tuple}
    closures::C
    on_weights::Vector{Vector{V}}
    notes::X
end

function Networks(networks::NamedTuple{names}, ::Type{V}, ::Type{T}) where {names,V,T}
    closures = map(Closure, Tuple(networks))
    notes = map(n -> Note(zero(SVector{inputs_of(n),T}), 0), Tuple(networks))
    return Networks{names,typeof(closures),V,typeof(notes)}(closures, [zeros(V, weight_count(n)) for n in networks], notes)
end

inputs_of(::Network{W}) where {W} = first(W)
@inline Base.length(::Networks{names}) where {names} = length(names)
@inline callable(n::Networks{names}) where {names} = NamedTuple{names}(n.closures)
# the place of a tangent belongs to the type of a probe, so that it must be a constant of the code
@generated function probes(n::Networks{names}, ::Type{D}, ::Val{K}) where {names,D,K}
    made = [:(Probe{$(K + j),D}(n.closures[$j], n.notes[$j])) for j in eachindex(names)]
    return :(NamedTuple{names}(($(made...),)))
end

"Read the weights, which all columns share."
function bind_weights!(n::Networks, fields)
    for (c, field) in zip(n.closures, fields), l in eachindex(c.weights)
        c.weights[l] = load(field, 1, 1, l)
    end
end

"Add the gradient in the weights, given that of the outputs: what comes after the first K of `slopes`."
@inline function add_network_slopes!(n::Networks, slopes, ::Val{K}) where {K}
    ntuple(Val(length(n))) do j
        note = n.notes[j]
        note.calls > 1 && throw(Refused("a network may be called once in the equations of a model; compute what it gives once, and keep it"))
        note.calls == 1 && add_weight_slopes!(n.on_weights[j], n.closures[j], note.inputs, slopes[K+j])
        note.calls = 0
        nothing
    end
    return
end

"Write the cotangents of the weights out for column c, and begin anew."
function flush_weights!(fields, n::Networks, c, lane=0)
    for (field, on_weights) in zip(fields, n.on_weights), l in eachindex(on_weights)
        add!(field, lane == 0 ? total_of(on_weights[l]) : on_weights[l].x[lane], c, 1, l)
    end
end
clear!(n::Networks) = foreach(w -> fill!(w, zero(eltype(w))), n.on_weights)

"Add the gradient in the weights of `on_output` times the output to `out`, whose numbers are those of a column or of several."
function add_weight_slopes!(out::Vector{V}, c::Closure{W,A}, x::SVector{I,V}, on_output::V) where {W,A,I,V}
    backwards!(out, c, Val(1), 1, x, on_output, V)
    return
end
add_weight_slopes!(out::Vector{Float64}, c::Closure, x::SVector{I,Float32}, on_output) where {I} =
    add_weight_slopes!(out, c, map(Float64, x), Float64(on_output))

"Go to the output and come back with the cotangent of the inputs of layer l."
@inline function backwards!(out, c::Closure{W,A}, ::Val{l}, at, x, on_output, ::Type{V}) where {W,A,l,V}
    I, O = Val(W[l]), Val(W[l+1])
    a = product_of(c.weights, at, x, I, O, V) + units(c.weights, at + W[l] * W[l+1], O, V)
    if l == length(W) - 1
        _, scale = ranged(c.network, unit(a, 1))
        on_a = every(on_output * scale, O, V)
    else
        h, s = each(z -> activate(Val(A), z), a)
        on_a = by_unit(s, backwards!(out, c, Val(l + 1), at + W[l+1] * (W[l] + 1), h, on_output, V))
    end
    for i in 1:W[l]
        add_units!(out, at + (i - 1) * W[l+1], on_a * unit(x, i))
    end
    add_units!(out, at + W[l] * W[l+1], on_a)
    return transposed_product(c.weights, at, on_a, I, O, V)
end

@inline every(y, ::Val{O}, ::Type{Float64}) where {O} = Vec{O,Float64}(y)
@inline every(y, ::Val{O}, ::Type{L}) where {O,L<:Lanes} = SVector(ntuple(_ -> y, Val(O)))
@inline add_units!(out::Vector{Float64}, at, y::Vec{O}) where {O} =
    SIMD.vstore(SIMD.vload(Vec{O,Float64}, pointer(out, at)) + y, pointer(out, at))
@inline function add_units!(out::Vector{<:Lanes}, at, y::SVector{O}) where {O}
    for j in 1:O
        @inbounds out[at+j-1] += y[j]
    end
end

@inline transposed_product(w, at, y::Vec{O}, ::Val{I}, out, ::Type{V}) where {I,O,V} =
    Vec(ntuple(i -> sum(units(w, at + (i - 1) * O, out, V) * y), Val(I)))
@inline transposed_product(w, at, y::SVector{O}, ::Val{I}, out, ::Type{V}) where {I,O,V} =
    SVector(ntuple(i -> sum(map(*, units(w, at + (i - 1) * O, out, V), y)), Val(I)))
