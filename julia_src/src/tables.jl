# Networks of one input while several columns or cells are solved side by side: polynomials in pieces of the input, each made where
# an input first falls and used where it gives the network to rounding. To make one takes two evaluations of the network; to read it
# a fifth of one.

const DEGREE = 13
const TERMS = DEGREE + 1
const ROWS = 16       # of a piece, so that it begins where a cache line does
const PIECES = 1024   # half of them below zero
const EXACT = 3e-14   # of the range or the largest output of a network: how far a polynomial may be from it
const ROUNDED = 1e-15 # of the largest output in a piece: smaller coefficients are rounding, of which slopes would make more
@enum PieceState::UInt8 UNKNOWN MADE STEEP

"Coefficients of each piece in the powers of its coordinate, which runs from -1 to 1; NaN where none are made, or a polynomial will not do."
mutable struct Table
    per_unit::Float64  # pieces in one unit of the input
    const coefficients::Matrix{Float64}
    const states::Vector{PieceState}
    const made::Vector{Int}
end
# what lies beyond the pieces, or is no number, falls in a last one that has no polynomial
Table() = Table(16.0, fill(NaN, ROWS, PIECES + 1), [fill(UNKNOWN, PIECES); STEEP], Int[])

cotangents_of(::Table) = zeros(ROWS, PIECES)
cotangents_of(::Nothing) = nothing

"Forget the pieces of a network that had other weights. No unit of the new one has a slope above `steepest` before its activation."
function begin_anew!(t::Table, steepest)
    for k in t.made
        t.coefficients[:, k] .= NaN
    end
    empty!(t.made)
    # a hyperbolic tangent whose width is three pieces is met to rounding; one that fits between two points of a piece would not be seen
    t.per_unit = exp2(ceil(log2(clamp(3 * steepest, 16.0, 128.0))))
    fill!(view(t.states, 1:PIECES), steepest > 400 ? STEEP : UNKNOWN)
    return t
end

"How many pieces lie before that of each input, and its coordinate there."
@inline function piece_of(t::Table, x::LaneNumber{Float64})
    place = muladd(x, t.per_unit, PIECES / 2)
    place = ifelse((zero(x) <= place) & (place < oftype(x, PIECES)), place, oftype(x, PIECES))
    before = convert(Vec{LANES,Int}, place.x)
    return before, 2 * (place - Lanes(convert(Vec{LANES,Float64}, before))) - 1
end

"Value and slope of a table; NaN where a piece is not made."
@inline function look(t::Table, x::LaneNumber{Float64})
    before, z = piece_of(t, x)
    row(lane, from) = SIMD.vload(Vec{LANES,Float64}, pointer(t.coefficients, ROWS * before[lane] + from))
    low, high = transposed(ntuple(lane -> (@inline; row(lane, 1)), Val(LANES))),
    transposed(ntuple(lane -> (@inline; row(lane, 9)), Val(LANES)))
    c = map(Lanes, (low..., high[1:(TERMS-8)]...))
    rises = ntuple(k -> (@inline; k * c[k+1]), Val(DEGREE))
    return polynomial(z, c...), (2 * t.per_unit) * polynomial(z, rises...)
end

"Rows as columns: of eight vectors of eight numbers."
@inline transposed(rows) = exchanged(exchanged(exchanged(rows, Val(4)), Val(2)), Val(1))
"One of its three steps: of two rows, `d` apart, the first gives the second those of its numbers whose place has d, and takes the others."
@generated function exchanged(rows::NTuple{8,Vec{8,Float64}}, ::Val{d}) where {d}
    has(i) = (i - 1) & d != 0
    first = ntuple(i -> has(i) ? 7 + i - d : i - 1, 8)
    second = ntuple(i -> has(i) ? 7 + i : i - 1 + d, 8)
    made = [
        has(i) ? :(SIMD.shufflevector(rows[$(i-d)], rows[$i], Val($second))) :
        :(SIMD.shufflevector(rows[$i], rows[$(i+d)], Val($first))) for i in 1:8
    ]
    return :(Base.@_inline_meta; ($(made...),))
end

# ---- making a piece ----------------------------------------------------------------------------------------------------------

# the network is evaluated at the Chebyshev points and at both ends, where the error of a polynomial through these points is largest
const CHEBYSHEV_POINTS = [cospi((2i - 1) / 2TERMS) for i in 1:TERMS]
const PIECE_POINTS = SVector{16}([CHEBYSHEV_POINTS; -1.0; 1.0])
"Coefficients of the polynomials of Chebyshev from the values at their points, and of the powers from these."
const CHEBYSHEV = SMatrix{TERMS,TERMS}((k == 0 ? 1 : 2) / TERMS * cospi(k * (2i - 1) / 2TERMS) for k in 0:DEGREE, i in 1:TERMS)
const AS_POWERS = SMatrix{TERMS,TERMS}(foldl(3:TERMS; init=Float64[i == j <= 2 for i in 1:TERMS, j in 1:TERMS]) do powers, k
    powers[:, k] = [0; 2 * powers[1:(end-1), k-1]] - powers[:, k-2]
    powers
end)

"Inputs of a network at eight of the points of piece k."
points_of(t::Table, k, eight) = lanes(lane -> (k - 1 - PIECES / 2 + (PIECE_POINTS[8eight+lane] + 1) / 2) / t.per_unit)

"Find the polynomial of piece k of f, whose output has a range of this width, unless it is too steep for one."
function make_piece!(f::F, t::Table, k, width) where {F}
    halves = f(points_of(t, k, 0)), f(points_of(t, k, 1))
    at(i) = halves[i > LANES ? 2 : 1].x[(i-1)%LANES+1]
    largest = maximum(i -> abs(at(i)), 1:TERMS)
    chebyshev = MVector{TERMS,Float64}(undef)
    for j in 1:TERMS
        c = sum(i -> CHEBYSHEV[j, i] * at(i), 1:TERMS)
        chebyshev[j] = abs(c) > ROUNDED * largest ? c : 0.0
    end
    low, high = sum(j -> isodd(j) ? chebyshev[j] : -chebyshev[j], 1:TERMS), sum(chebyshev)
    close = max(abs(low - at(TERMS + 1)), abs(high - at(TERMS + 2))) <= EXACT * max(largest, width)
    t.states[k] = close ? MADE : STEEP
    close || return false
    for j in 1:TERMS
        t.coefficients[j, k] = sum(i -> AS_POWERS[j, i] * chebyshev[i], j:TERMS)
    end
    push!(t.made, k)
    return true
end

"Make the pieces of these inputs; false where some have none."
@inline function made_for!(f::F, t::Table, x::LaneNumber{Float64}, width) where {F}
    before, _ = piece_of(t, x)
    ready = true
    for lane in 1:LANES
        ready &= @inbounds t.states[before[lane]+1] == MADE
    end
    return ready || make_pieces!(f, t, before, width)
end
@noinline make_pieces!(f::F, t::Table, before, width) where {F} =
    mapreduce(&, 1:LANES) do lane
        k = before[lane] + 1
        t.states[k] == MADE || (t.states[k] == UNKNOWN && make_piece!(f, t, k, width))
    end

# ---- gradients ---------------------------------------------------------------------------------------------------------------

"Add the cotangents of the coefficients, of pieces that are made; the last two rows are of no use."
@inline function add_coefficient_slopes!(out::Matrix{Float64}, t::Table, x::LaneNumber{Float64}, on_output::LaneNumber{Float64})
    before, z = piece_of(t, x)
    z_2 = z * z
    z_3, z_4 = z_2 * z, z_2 * z_2
    z_8, place = z_4 * z_4, ROWS * before
    z_12 = z_8 * z_4
    for lane in 1:LANES
        low = on_output.x[lane] * Vec(1.0, z.x[lane], z_2.x[lane], z_3.x[lane])
        for (skip, powers) in ((1, low), (5, low * z_4.x[lane]), (9, low * z_8.x[lane]), (13, low * z_12.x[lane]))
            at = pointer(out, place[lane] + skip)
            SIMD.vstore(SIMD.vload(Vec{4,Float64}, at) + powers, at)
        end
    end
    return
end

const POWERS_BY_POINT = SMatrix{TERMS,16}([AS_POWERS * CHEBYSHEV zeros(TERMS, 2)])

"Cotangents of the network at eight of the points of a piece, from those of its coefficients."
on_points(on_piece, eight) = lanes(lane -> sum(on_piece[j] * POWERS_BY_POINT[j, 8eight+lane] for j in 1:TERMS))
