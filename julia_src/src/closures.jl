# Networks inside the equations of a model.

"What the equations call like a function, with weights that are learned: a `Network`, or a `FunctionNetwork`."
abstract type AbstractNetwork end

"""
    Network(widths, activation; low = NaN, high = NaN)

Dense layers with an activation between them, of one output: `widths` is (inputs, hidden..., 1). Where `low` and `high` are given the
output lies between them, by a logistic function. Its weights are one vector: of each layer the matrix (output, input), column by
column, then the bias, which is how ComponentArrays lays out the parameters of a Lux chain (`lux_chain` gives that chain).
"""
struct Network{W,A} <: AbstractNetwork
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
weight_count(::Network{W}) where {W} = sum(W[l+1] * (W[l] + 1) for l in 1:(length(W)-1))

const MOST_LANES = 8  # columns side by side that the work space has room for

"A network with its weights: what the equations call. Its `work` space, and its `table` where it has one input, make it one for one thread."
struct Closure{W,A,T}
    network::Network{W,A}
    weights::Vector{Float64}
    work::Vector{Float64}
    table::T
end
Closure(n::Network{W}) where {W} =
    Closure(n, zeros(weight_count(n)), zeros(MOST_LANES * blocks(W)[end]), W[1] == 1 ? Table() : nothing)

"""
    FunctionNetwork{I}(f, initial)

A function f(x, weights) of a vector of I numbers and one of weights that gives a number, such as a model of Lux ([`as_network`](@ref));
`initial` are the weights at the start. It must work for numbers of any kind: its derivatives come from ForwardDiff. Columns are solved side by
side where it has no branches.
"""
struct FunctionNetwork{I,F} <: AbstractNetwork
    f::F
    initial::Vector{Float64}
end
FunctionNetwork{I}(f::F, initial) where {I,F} = FunctionNetwork{I,F}(f, initial)
weight_count(n::FunctionNetwork) = length(n.initial)

"The same with its weights."
struct FunctionClosure{I,F}
    network::FunctionNetwork{I,F}
    weights::Vector{Float64}
end

table_of(c::Closure) = c.table
table_of(::FunctionClosure) = nothing

with_weights(n::Network) = Closure(n)
with_weights(n::FunctionNetwork) = FunctionClosure(n, copy(n.initial))

"""
    as_network(model, inputs; seed = 0)

What the equations can call: a network as it is; a model of Lux, once Lux is loaded, with the weights that Lux gives it at the start.
"""
as_network(n::AbstractNetwork, inputs; seed=0) = n
as_network(x, inputs; seed=0) =
    throw(
        Refused(
            "a $(typeof(x)) is no network: give a model of Lux, and write `using Lux` in the file, or DiffGeo.FunctionNetwork"
        )
    )

"The chain of Lux that a network is; once Lux is loaded."
function lux_chain end

"Parameters of that chain from a vector of weights, and back."
function lux_parameters end
function flat_weights end

# ---- activations: value and slope --------------------------------------------------------------------------------------------

@inline either(m::Bool, a, b) = ifelse(m, a, b)
@inline either(m::Vec, a, b) = vifelse(m, a, b)
@inline either(m::Mask, a, b) = ifelse(m, a, b)

"An activation is a function of its argument x, t = e^(-c |x|) and 1 / (1 + t): value and slope. This is c in parts of log(2)."
decay(::Val{:tanh}) = -2 * LOG2_E
decay(::Val) = -LOG2_E

@inline decayed(a, x) = falling_exp2(decay(a) * abs(x))

@inline function activate(::Val{:tanh}, x, t, inverse)
    y = (1 - t) * inverse
    y = either(x < zero(x), -y, y)
    return y, 1 - y * y
end
@inline function activate(::Val{:sigmoid}, x, t, inverse)
    y = either(x < zero(x), t, one(t)) * inverse
    return y, t * inverse * inverse
end
@inline function activate(::Val{:softplus}, x, t, inverse)
    y, _ = activate(Val(:sigmoid), x, t, inverse)
    return max(x, zero(x)) + positive_log(1 + t), y
end
@inline function activate(::Val{:swish}, x, t, inverse)
    y, slope = activate(Val(:sigmoid), x, t, inverse)
    return x * y, y + x * slope
end
@inline function activate(a::Val, x)
    t = decayed(a, x)
    return activate(a, x, t, 1 / (1 + t))
end

# ---- one column: the units of a layer are one Vec -----------------------------------------------------------------------------

@inline units(w, at, ::Val{O}) where {O} = SIMD.vload(Vec{O,Float64}, pointer(w, at))

"Weights times inputs; `at` is the place of the first weight of the layer."
@inline function product_of(w, at, x, ::Val{I}, out::Val{O}) where {I,O}
    a = units(w, at, out) * x[1]
    for i in 2:I
        a = a + units(w, at + (i - 1) * O, out) * x[i]
    end
    return a
end

"Output of the layers and, where asked for, its slopes in the inputs."
@generated function layers(c::Closure{W,A}, x::SVector{I,Float64}, ::Val{tangents}) where {W,A,I,tangents}
    code, at = Expr[], 1
    append!(code, [:($(Symbol(:d, i)) = $(ntuple(j -> Float64(i == j), I))) for i in 1:I if tangents])
    for l in 1:(length(W)-1)
        layer(h) = :(product_of(c.weights, $at, $h, Val($(W[l])), Val($(W[l+1]))))
        append!(code, [:($(Symbol(:d, i)) = $(layer(Symbol(:d, i)))) for i in 1:I if tangents])
        push!(code, :(x = $(layer(:x)) + units(c.weights, $(at + W[l] * W[l+1]), Val($(W[l+1])))))
        if l < length(W) - 1
            push!(code, :((x, s) = activate(Val(A), x)))
            append!(code, [:($(Symbol(:d, i)) = s * $(Symbol(:d, i))) for i in 1:I if tangents])
        end
        at += W[l+1] * (W[l] + 1)
    end
    slopes = Expr(:call, :SVector, (:($(Symbol(:d, i))[1]) for i in 1:I if tangents)...)
    return quote
        Base.@_inline_meta
        $(code...)
        return x[1], $(tangents ? slopes : nothing)
    end
end

# ---- several columns side by side: the units of a layer lie in the work space -------------------------------------------------

"Where the numbers of each layer's inputs begin, less one: values, slopes of their activation, tangents; and where the last ends."
@inline blocks(W) = cumsum((0, ntuple(l -> W[l] * (2 + W[1]), length(W) - 1)...))
"Place of the first weight of layer l."
@inline place_of(W, l) = 1 + sum(ntuple(i -> i < l ? W[i+1] * (W[i] + 1) : 0, length(W)))

@inline kept(c::Closure, at, ::Type{Lanes{W,Float64}}) where {W} =
    Lanes(SIMD.vload(Vec{W,Float64}, pointer(c.work, W * (at - 1) + 1)))
@inline keep_at!(c::Closure, at, x::Lanes{W,Float64}) where {W} = SIMD.vstore(x.x, pointer(c.work, W * (at - 1) + 1))

"Sum of n weights, `step` apart, times numbers kept after `block`: four sums, which need not wait for one another."
@inline function weighted_sum(c::Closure, at, step, block, n, ::Type{L}) where {L}
    term(k, a) = muladd(L(@inbounds c.weights[at+(k-1)*step]), kept(c, block + k, L), a)
    w = x = y = z = zero(L)
    for k in 1:4:(n-3)
        w, x, y, z = term(k, w), term(k + 1, x), term(k + 2, y), term(k + 3, z)
    end
    for k in (n-n%4+1):n
        w = term(k, w)
    end
    return n < 4 ? w : (w + x) + (y + z)
end

"Units `js` of the layer after layer l, together."
@inline function some_units!(c::Closure{W,A}, ::Val{l}, ::Val{tangents}, js, ::Type{L}) where {W,A,l,tangents,L}
    I, O, at, block, next = W[l], W[l+1], place_of(W, l), blocks(W)[l], blocks(W)[l+1]
    a = map(j -> (@inline; weighted_sum(c, at + j - 1, O, block, I, L) + (@inbounds c.weights[at+I*O+j-1])), js)
    t = map(z -> (@inline; decayed(Val(A), z)), a)
    y = map((z, e, i) -> (@inline; activate(Val(A), z, e, i)), a, t, inverses(map(z -> 1 + z, t)...))
    map(js, y) do j, (value, slope)
        @inline
        keep_at!(c, next + j, value)
        keep_at!(c, next + O + j, slope)
        for k in (tangents ? (1:W[1]) : (1:0))
            keep_at!(c, next + (k + 1) * O + j, slope * weighted_sum(c, at + j - 1, O, block + (k + 1) * I, I, L))
        end
    end
    return
end

@inline function next_layers!(c::Closure{W}, ::Val{l}, tangents::Val{with}, ::Type{L}) where {W,l,with,L}
    I, O, at, block = W[l], W[l+1], place_of(W, l), blocks(W)[l]
    if l == length(W) - 1
        y = weighted_sum(c, at, 1, block, I, L) + (@inbounds c.weights[at+I])
        return y, with ? SVector(ntuple(k -> (@inline; weighted_sum(c, at, 1, block + (k + 1) * I, I, L)), Val(W[1]))) : nothing
    end
    for j in 1:4:(O-3)
        some_units!(c, Val(l), tangents, (j, j + 1, j + 2, j + 3), L)
    end
    for j in (O-O%4+1):O
        some_units!(c, Val(l), tangents, (j,), L)
    end
    return next_layers!(c, Val(l + 1), tangents, L)
end

# not inlined: one piece of code serves all slots with networks of a shape
@noinline function layers(c::Closure{W,A}, x::SVector{N,L}, tangents::Val{with}) where {W,A,N,L<:Lanes,with}
    GC.@preserve c begin
        for i in 1:N
            keep_at!(c, i, x[i])
            for k in (with ? (1:N) : (1:0))
                keep_at!(c, (k + 1) * N + i, L(i == k))
            end
        end
        return next_layers!(c, Val(1), tangents, L)
    end
end

"The output in its range, and its slope in what the layers give."
@inline function ranged(n::Network, y)
    isnan(n.low) && return y, one(y)
    s, slope = activate(Val(:sigmoid), y)
    return n.low + (n.high - n.low) * s, (n.high - n.low) * slope
end

@inline (c::Closure)(x...) = called(c, SVector(promote(x...)))
@inline (c::Closure)(x) = called(c, SVector(x))

@inline called(c::Closure, x::SVector{I,V}) where {I,V<:Union{Float64,Lanes}} =
    first(ranged(c.network, first(layers(c, x, Val(false)))))
@inline called(c::Closure{W,A,Table}, x::SVector{1,LaneNumber{Float64}}) where {W,A} = first(value_and_slopes(c, x))
@inline called(c::Closure, x::SVector{I,Float32}) where {I} = Float32(called(c, map(Float64, x)))
@inline function called(c::Closure, x::SVector{I,D}) where {I,V,K,D<:Dual{Nothing,V,K}}
    y, slopes = value_and_slopes(c, map(value, x))
    return Dual{Nothing}(y, sum(ntuple(i -> slopes[i] * partials(x[i]), Val(I))))
end

@inline function value_and_slopes(c::Closure, x::SVector{I,Float32}) where {I}
    y, slopes = value_and_slopes(c, map(Float64, x))
    return Float32(y), map(Float32, slopes)
end
@inline value_and_slopes(c::Closure, x::SVector) = evaluated(c, x)
@inline function evaluated(c::Closure, x::SVector)
    y, slopes = layers(c, x, Val(true))
    y, scale = ranged(c.network, y)
    return y, scale * slopes
end
@inline function value_and_slopes(c::Closure{W,A,Table}, x::SVector{1,LaneNumber{Float64}}) where {W,A}
    y, slope = look(c.table, x[1])
    return any(isnan(y)) ? first_look(c, x) : (within(c.network, y), SVector(slope))
end
@noinline function first_look(c::Closure{W,A,Table}, x) where {W,A}
    made_for!(c, x[1]) || return evaluated(c, x)
    y, slope = look(c.table, x[1])
    return within(c.network, y), SVector(slope)
end
# rounding must not leave the range
@inline within(n::Network, y) = isnan(n.low) ? y : max(min(y, oftype(y, n.high)), oftype(y, n.low))
"Whether a table gives a network of one input at x, now that its pieces there are made."
@inline made_for!(c::Closure{W,A,Table}, x) where {W,A} =
    made_for!(x -> first(evaluated(c, SVector(x))), c.table, x, isnan(c.network.low) ? 0.0 : c.network.high - c.network.low)
"Forget what was made of other weights."
function begin_anew!(c::Closure{W,A,Table}) where {W,A}
    matrix(l) = reshape(view(c.weights, place_of(W, l):(place_of(W, l)+W[l]*W[l+1]-1)), W[l+1], W[l])
    # a layer makes its inputs steeper by the largest sum of a row
    return begin_anew!(c.table, prod(l -> maximum(sum(abs, matrix(l); dims=2)), 1:max(1, length(W)-2)))
end
begin_anew!(c) = nothing

@inline (c::FunctionClosure)(x...) = called(c, SVector(promote(x...)))
@inline (c::FunctionClosure)(x) = called(c, SVector(x))
called(c::FunctionClosure, x::SVector{I,V}) where {I,V<:Union{AbstractFloat,Lanes}} = V(c.network.f(x, c.weights))
function called(c::FunctionClosure, x::SVector{I,D}) where {I,V,K,D<:Dual{Nothing,V,K}}
    y = c.network.f(seed(map(value, x)), c.weights)
    return Dual{Nothing}(V(value(y)), sum(ntuple(i -> V(partials(y, i)) * partials(x[i]), Val(I))))
end
function add_weight_slopes!(out::Vector{Float64}, c::FunctionClosure, x::SVector, on_output)
    out .+= on_output .* ForwardDiff.gradient(w -> c.network.f(x, w), c.weights)
    return
end
function add_weight_slopes!(out::Vector{L}, c::FunctionClosure, x::SVector, on_output::L) where {W,L<:Lanes{W,Float64}}
    for lane in 1:W
        by_weight = ForwardDiff.gradient(w -> c.network.f(map(z -> z.x[lane], x), w), c.weights)
        for l in eachindex(out)
            y = Base.setindex(out[l].x, out[l].x[lane] + on_output.x[lane] * by_weight[l], lane)
            out[l] = L(y)
        end
    end
    return
end
