# What follows from forcing and parameters by functions of few of them, and the gradient of that by dual numbers with a tangent for each
# argument: a leaf has some 40 inputs, of which none of its rates reads more than nine.

"A function of inputs by name."
struct Driver{names,F}
    f::F
end
Driver(f::F, names::Symbol...) where {F} = Driver{names,F}(f)

names_of(::Driver{names}) where {names} = names
names_of(::Type{<:Driver{names}}) where {names} = names
@generated arguments(::Driver{names}, x::NamedTuple) where {names} = :(Base.@_inline_meta; ($([:(x.$k) for k in names]...),))
@inline (d::Driver)(x::NamedTuple) = d.f(arguments(d, x)...)

"What drivers give. Written out, since `map` calls a function for each of more than ten."
@generated driven(drivers::NamedTuple{given}, x::NamedTuple) where {given} =
    :(Base.@_inline_meta; NamedTuple{given}(($([:(drivers.$d(x)) for d in given]...),)))

"Slopes of a driver in its arguments."
@inline driver_slopes(d::Driver, x::NamedTuple) = slopes_at(d.f, arguments(d, x)...)
@inline slopes_at(::typeof(identity), x) = (one(x),)
@inline slopes_at(f::F, first::L, others::L...) where {F,L} =
    (y=f(seed(SVector(first, others...))...); ntuple(i -> slope_of(y, i, L), Val(1 + length(others))))

"Cotangents of inputs by name, from those `on` what the drivers give; zero for inputs that none reads."
@generated function through_drivers(drivers::NamedTuple{given}, x::NamedTuple, on::NamedTuple, ::Val{names}) where {given,names}
    slopes = [Symbol(:slopes_, d) for d in given]
    code = [:($s = driver_slopes(drivers.$d, x)) for (s, d) in zip(slopes, given)]
    total(name) = [
        :(on.$d * $s[$i]) for (j, (s, d)) in enumerate(zip(slopes, given)) for
        (i, k) in enumerate(names_of(fieldtype(drivers, j))) if k === name
    ]
    sum_of(terms) = isempty(terms) ? :(zero(first(on))) : length(terms) == 1 ? only(terms) : Expr(:call, :+, terms...)
    return quote
        Base.@_inline_meta
        $(code...)
        return NamedTuple{names}(($([sum_of(total(name)) for name in names]...),))
    end
end
