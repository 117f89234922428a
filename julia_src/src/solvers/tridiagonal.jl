# Systems (C - a J) x = r with tridiagonal J, solved without pivoting from both ends towards the middle: two independent
# recurrences take half the time of one.

"""
    Tridiagonal(T, n; rank_one = false)

Jacobian by its diagonals, aligned by row; `lower[1]` and `upper[n]` are zero. `ratio` is work space of the solver. With `rank_one` the product
of `column` and `row`, which are empty otherwise, is added, and solved for by the formula of Sherman and Morrison; `aside` is work space.
"""
struct Tridiagonal{T}
    lower::Vector{T}
    main::Vector{T}
    upper::Vector{T}
    ratio::Vector{T}
    column::Vector{T}
    row::Vector{T}
    aside::Vector{T}
end

Tridiagonal(::Type{T}, n::Integer; rank_one=false) where {T} =
    Tridiagonal{T}(ntuple(_ -> zeros(T, n), 4)..., ntuple(_ -> zeros(T, rank_one ? n : 0), 3)...)

function Base.copyto!(to::Tridiagonal, from::Tridiagonal)
    copyto!(to.lower, from.lower)
    copyto!(to.main, from.main)
    copyto!(to.upper, from.upper)
    copyto!(to.column, from.column)
    copyto!(to.row, from.row)
    return to
end

"x from (C - a J) x = r, with the capacity C on the diagonal."
function solve!(x, J::Tridiagonal, C, a, r)
    two_ended!(x, J.ratio, C, a, Row(J.lower), J.main, Row(J.upper), r)
    isempty(J.column) && return x
    two_ended!(J.aside, J.ratio, C, a, Row(J.lower), J.main, Row(J.upper), J.column)
    return correct!(x, J.aside, a, J.row)
end

"x from (C - a J)' x = r."
function solve_transposed!(x, J::Tridiagonal, C, a, r)
    two_ended!(x, J.ratio, C, a, Above(J.upper), J.main, Below(J.lower), r)
    isempty(J.column) && return x
    two_ended!(J.aside, J.ratio, C, a, Above(J.upper), J.main, Below(J.lower), J.row)
    return correct!(x, J.aside, a, J.column)
end

"x of a matrix T made that of T - a u v', from z = T \\ u."
function correct!(x, z, a, v)
    x .+= z .* (a * product(v, x) / (1 - a * product(v, z)))
    return x
end

@inline function product(a::Vector{T}, b::Vector{T}) where {T}
    total = zero(T)
    @inbounds @simd for i in eachindex(a, b)
        total = muladd(a[i], b[i], total)
    end
    return total
end

# The transpose has upper[i - 1] left of the diagonal of row i, and lower[i + 1] right of it
struct Row{T}
    values::Vector{T}
end
struct Above{T}
    values::Vector{T}
end
struct Below{T}
    values::Vector{T}
end
Base.@propagate_inbounds Base.getindex(x::Row, i::Int) = x.values[i]
Base.@propagate_inbounds Base.getindex(x::Above, i::Int) = x.values[i-1]
Base.@propagate_inbounds Base.getindex(x::Below, i::Int) = x.values[i+1]

@inline function two_ended!(
    x::Vector{T},
    ratio::Vector{T},
    C::Vector{T},
    a::T,
    lower,
    main::Vector{T},
    upper,
    r::Vector{T}
) where {T}
    n = length(C)
    half = n >> 1
    b = a * a
    @inbounds begin
        # pivots from the top and from the bottom; each waits for one division only
        top, low = muladd(-a, main[1], C[1]), muladd(-a, main[n], C[n])
        x_top, x_low = r[1], r[n]
        for i in 2:half
            j = n + 1 - i
            per_top, per_low = 1 / top, 1 / low
            c_top, c_low = -a * upper[i-1] * per_top, -a * lower[j+1] * per_low
            ratio[i-1], ratio[j+1] = c_top, c_low
            x_top, x_low = x_top * per_top, x_low * per_low
            x[i-1], x[j+1] = x_top, x_low
            x_top, x_low = muladd(a * lower[i], x_top, r[i]), muladd(a * upper[j], x_low, r[j])
            top = muladd(-a, main[i], C[i]) - (b * lower[i] * upper[i-1]) / top
            low = muladd(-a, main[j], C[j]) - (b * upper[j] * lower[j+1]) / low
        end
        c_top, c_low = -a * upper[half] / top, -a * lower[n+1-half] / low
        x_top, x_low = x_top / top, x_low / low
        if isodd(n)
            i = half + 1
            left, right = -a * lower[i], -a * upper[i]
            middle = (r[i] - left * x_top - right * x_low) / (C[i] - a * main[i] - left * c_top - right * c_low)
            x[i] = middle
            x_top = muladd(-c_top, middle, x_top)
            x_low = muladd(-c_low, middle, x_low)
            x[half], x[i+1] = x_top, x_low
            next = i + 1
        else
            x_top = (x_top - c_top * x_low) / (1 - c_top * c_low)
            x_low = muladd(-c_low, x_top, x_low)
            x[half], x[half+1] = x_top, x_low
            next = half + 1
        end
        for k in 1:(half-1)
            i, j = half - k, next + k
            x_top = muladd(-ratio[i], x_top, x[i])
            x_low = muladd(-ratio[j], x_low, x[j])
            x[i], x[j] = x_top, x_low
        end
    end
    return x
end

"out += J' v"
@inline function add_transposed!(out::Vector{T}, J::Tridiagonal{T}, v::Vector{T}) where {T}
    n = length(v)
    lower, main, upper = J.lower, J.main, J.upper
    @inbounds begin
        out[1] += main[1] * v[1] + lower[2] * v[2]
        out[n] += main[n] * v[n] + upper[n-1] * v[n-1]
        @simd ivdep for i in 2:(n-1)
            out[i] += muladd(main[i], v[i], muladd(upper[i-1], v[i-1], lower[i+1] * v[i+1]))
        end
    end
    isempty(J.column) || (out .+= J.row .* product(J.column, v))
    return out
end
