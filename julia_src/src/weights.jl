# The networks of a model while it is solved: weights that all columns share, and the gradient in these.

"What a closure was called with, and how often, in one evaluation of a model."
mutable struct Note{X}
    inputs::X
    calls::Int
end

"Stands for a closure while a gradient is taken: it notes its inputs, and its output has the tangent number k of its own."
struct Probe{k,D,C,X}
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
type V and of the tables, and notes of calls in numbers of type T.
"""
struct Networks{names,C<:Tuple,V,O<:Tuple,X<:Tuple}
    closures::C
    on_weights::Vector{Vector{V}}
    on_tables::O
    notes::X
end

function Networks(networks::NamedTuple{names}, ::Type{V}, ::Type{T}) where {names,V,T}
    closures = map(with_weights, Tuple(networks))
    on_tables = map(c -> V <: Lanes ? cotangents_of(table_of(c)) : nothing, closures)
    notes = map(n -> Note(zero(SVector{inputs_of(n),T}), 0), Tuple(networks))
    return Networks{names,typeof(closures),V,typeof(on_tables),typeof(notes)}(
        closures,
        [zeros(V, weight_count(n)) for n in networks],
        on_tables,
        notes
    )
end

inputs_of(::Network{W}) where {W} = first(W)
inputs_of(::FunctionNetwork{I}) where {I} = I
@inline Base.length(::Networks{names}) where {names} = length(names)
@inline place_of_network(::Networks{names}, name) where {names} = findfirst(==(name), names)::Int
@inline callable(n::Networks{names}) where {names} = NamedTuple{names}(n.closures)
# the place of a tangent belongs to the type of a probe, so that it must be a constant of the code
@generated function probes(n::Networks{names}, ::Type{D}, ::Val{K}) where {names,D,K}
    made = [:(Probe{$(K + j),D}(n.closures[$j], n.notes[$j])) for j in eachindex(names)]
    return :(NamedTuple{names}(($(made...),)))
end

"Read the weights, which all columns share."
function bind_weights!(n::Networks, fields)
    for (c, field) in zip(n.closures, fields)
        read(l) = Float64(load(field, 1, 1, l))
        all(l -> c.weights[l] === read(l), eachindex(c.weights)) && continue
        map!(read, c.weights, eachindex(c.weights))
        begin_anew!(c)
    end
end

"Add the gradient in the weights, given that of the outputs: what comes after the first K of `slopes`."
@inline function add_network_slopes!(n::Networks, slopes, ::Val{K}) where {K}
    ntuple(Val(length(n))) do j
        note = n.notes[j]
        note.calls > 1 &&
            throw(Refused("a network may be called once in the equations of a model; compute what it gives once, and keep it"))
        note.calls == 1 && add_weight_slopes!(n, j, note.inputs, slopes[K+j])
        note.calls = 0
        nothing
    end
    return
end

"The same from the input of each network and the cotangent of its output, or such a pair of each time that it was called."
@inline add_weight_slopes!(n::Networks{names}, on::NamedTuple) where {names} =
    ntuple(Val(length(n))) do j
        @inline
        add_calls!(n, j, on[names[j]]...)
    end
@inline add_calls!(n::Networks, j, x, on_output) = add_weight_slopes!(n, j, inputs_vector(x), on_output)
@inline add_calls!(n::Networks, j, calls::Tuple...) = foreach(call -> add_calls!(n, j, call...), calls)
"The same of network j: at once, or when `flush_weights!` hands on what its table has gathered."
@inline function add_weight_slopes!(n::Networks, j, x::SVector, on_output)
    c, on_table = n.closures[j], n.on_tables[j]
    on_table === nothing || !made_for!(c, x[1]) ? add_weight_slopes!(n.on_weights[j], c, x, on_output) :
    add_coefficient_slopes!(on_table, c.table, x[1], on_output)
    return
end
@inline inputs_vector(x) = SVector(x)
@inline inputs_vector(x::SVector) = x

"Add the cotangents of the weights to those of column c."
function flush_weights!(fields, n::Networks, c)
    foreach(hand_on!, n.on_weights, n.on_tables, n.closures)
    for (field, on_weights) in zip(fields, n.on_weights), l in eachindex(on_weights)
        add!(field, total_of(on_weights[l]), c, 1, l)
    end
end
function clear!(n::Networks)
    foreach(w -> fill!(w, zero(eltype(w))), n.on_weights)
    foreach((on_table, c) -> on_table === nothing || (on_table[:, c.table.made] .= 0), n.on_tables, n.closures)
end

hand_on!(on_weights, ::Nothing, c) = nothing
function hand_on!(on_weights, on_table::Matrix{Float64}, c::Closure)
    for k in c.table.made
        on_piece = view(on_table, :, k)
        all(iszero, on_piece) && continue
        for eight in 0:1
            add_weight_slopes!(on_weights, c, SVector(points_of(c.table, k, eight)), on_points(on_piece, eight))
        end
        fill!(on_piece, 0)
    end
end

"Add the gradient in the weights of `on_output` times the output to `out`, whose numbers are those of a column or of several."
@noinline function add_weight_slopes!(out::Vector{L}, c::Closure{W}, x::SVector{N,L}, on_output::L) where {W,N,L<:Lanes}
    y, _ = layers(c, x, Val(false))
    _, scale = ranged(c.network, y)
    GC.@preserve c backwards!(out, c, Val(length(W) - 1), (on_output * scale,))
    return
end

"From the cotangents of the units that layer l gives, or of those that are kept in place of the slopes of their activation."
@inline function backwards!(out::Vector{L}, c::Closure{W}, ::Val{l}, on_output) where {L<:Lanes,W,l}
    I, O, at, block, next = W[l], W[l+1], place_of(W, l), blocks(W)[l], blocks(W)[l+1]
    on_unit(j) = l == length(W) - 1 ? on_output[j] : kept(c, next + O + j, L)
    for j in 1:O
        @inbounds out[at+I*O+j-1] += on_unit(j)
    end
    for k in 1:I
        value, total = kept(c, block + k, L), zero(L)
        for j in 1:O
            place = at + (k - 1) * O + j - 1
            @inbounds out[place] = muladd(on_unit(j), value, out[place])
            l == 1 || (total = muladd(L(@inbounds c.weights[place]), on_unit(j), total))
        end
        l == 1 || keep_at!(c, block + I + k, total * kept(c, block + I + k, L))
    end
    return l == 1 ? nothing : backwards!(out, c, Val(l - 1), ())
end
add_weight_slopes!(out::Vector{Float64}, c::Closure, x::SVector{I,Float32}, on_output) where {I} =
    add_weight_slopes!(out, c, map(Float64, x), Float64(on_output))
function add_weight_slopes!(out::Vector{Float64}, c::Closure{W,A}, x::SVector{I,Float64}, on_output::Float64) where {W,A,I}
    backwards!(out, c, Val(1), 1, x, on_output)
    return
end

"Go to the output and come back with the cotangent of the inputs of layer l."
@inline function backwards!(out, c::Closure{W,A}, ::Val{l}, at, x, on_output) where {W,A,l}
    I, O = Val(W[l]), Val(W[l+1])
    a = product_of(c.weights, at, x, I, O) + units(c.weights, at + W[l] * W[l+1], O)
    if l == length(W) - 1
        _, scale = ranged(c.network, a[1])
        on_a = same(on_output * scale, O)
    else
        h, s = activate(Val(A), a)
        on_a = s * backwards!(out, c, Val(l + 1), at + W[l+1] * (W[l] + 1), h, on_output)
    end
    for i in 1:W[l]
        add_units!(out, at + (i - 1) * W[l+1], on_a * x[i])
    end
    add_units!(out, at + W[l] * W[l+1], on_a)
    return transposed_product(c.weights, at, on_a, I, O)
end
@inline transposed_product(w, at, y, ::Val{I}, out::Val{O}) where {I,O} =
    Vec(ntuple(i -> sum(units(w, at + (i - 1) * O, out) * y), Val(I)))

@inline same(y, ::Val{O}) where {O} = Vec{O,Float64}(y)
@inline add_units!(out::Vector{Float64}, at, y::Vec{O}) where {O} =
    SIMD.vstore(SIMD.vload(Vec{O,Float64}, pointer(out, at)) + y, pointer(out, at))
