# Several columns side by side in the registers of a CPU, as one number.

"""
    Lanes(x::Vec)

The same number of W columns. Arithmetic, exponentials and logarithms work on all at once; a comparison gives a `Mask`, on which
`ifelse`, `max`, `min` and `abs` work, but not `if`: code with branches is refused by Julia (TypeError), and runs column by column.
"""
struct Lanes{W,T} <: Real
    x::Vec{W,T}
    Lanes{W,T}(x::Vec{W,T}) where {W,T} = new{W,T}(x)
end
Lanes(x::Vec{W,T}) where {W,T} = Lanes{W,T}(x)

const LANES = 8  # numbers in the widest vectors of today's processors
const LaneNumber{T} = Lanes{LANES,T}
@inline lanes(f::F) where {F} = Lanes(Vec(ntuple(f, Val(LANES))))

"The answers of a comparison."
struct Mask{W}
    x::Vec{W,Bool}
end

Lanes{W,T}(x::Real) where {W,T} = Lanes(Vec{W,T}(T(x)))
Lanes{W,T}(x::Lanes{W,T}) where {W,T} = x
Base.promote_rule(::Type{Lanes{W,T}}, ::Type{<:Union{AbstractFloat,Integer,AbstractIrrational,Rational}}) where {W,T} =
    Lanes{W,T}
Base.zero(::Type{L}) where {L<:Lanes} = L(0)
Base.one(::Type{L}) where {L<:Lanes} = L(1)
Base.zero(::L) where {L<:Lanes} = L(0)
Base.one(::L) where {L<:Lanes} = L(1)
Base.float(x::Lanes) = x

# a product and the sum it enters may become one instruction, as by `muladd`
const JOINED = SIMD.Intrinsics.FastMathFlags(SIMD.Intrinsics.FastMath.contract)
for (f, instruction) in (:+ => :fadd, :- => :fsub, :* => :fmul, :/ => :fdiv)
    @eval @inline Base.$f(a::L, b::L) where {L<:Lanes} = Lanes(Vec(SIMD.Intrinsics.$instruction(a.x.data, b.x.data, JOINED)))
    for R in (:Float64, :Float32, :Int)
        @eval @inline Base.$f(a::Lanes, b::$R) = $f(a, oftype(a, b))
        @eval @inline Base.$f(a::$R, b::Lanes) = $f(oftype(b, a), b)
    end
end
@inline Base.:-(a::Lanes) = Lanes(-a.x)
@inline Base.:+(a::Lanes) = a
@inline Base.inv(a::L) where {L<:Lanes} = one(L) / a
@inline Base.muladd(a::L, b::L, c::L) where {L<:Lanes} = Lanes(muladd(a.x, b.x, c.x))
@inline Base.sqrt(a::Lanes) = Lanes(sqrt(a.x))
@inline vsqrt(a::Lanes) = sqrt(a)
@inline Base.cbrt(a::Lanes) = lane_by_lane(cbrt, a)
@inline Base.abs(a::Lanes) = Lanes(abs(a.x))
@inline Base.abs2(a::Lanes) = a * a

# ---- comparisons -------------------------------------------------------------------------------------------------------------

for f in (:<, :<=, :(==))
    @eval @inline Base.$f(a::Lanes{W,T}, b::Lanes{W,T}) where {W,T} = Mask($f(a.x, b.x))
end
@inline Base.isnan(a::Lanes) = Mask(isnan(a.x))
@inline Base.isfinite(a::Lanes) = Mask(isfinite(a.x))
@inline Base.iszero(a::Lanes) = a == zero(a)
@inline Base.:!(m::Mask) = Mask(!m.x)
@inline Base.:&(a::Mask, b::Mask) = Mask(a.x & b.x)
@inline Base.:|(a::Mask, b::Mask) = Mask(a.x | b.x)
# eight bytes of 0 or 1, looked at as one number
@inline Base.any(m::Mask{8}) = reinterpret(UInt64, m.x) != 0
@inline Base.all(m::Mask) = !any(!m)

@inline Base.ifelse(m::Mask, a::Lanes{W,T}, b::Lanes{W,T}) where {W,T} = Lanes(vifelse(m.x, a.x, b.x))
@inline Base.ifelse(m::Mask{W}, a::Real, b::Real) where {W} = ifelse(m, promote(a, b, zero(Lanes{W,Float64}))[1:2]...)
@inline function Base.ifelse(m::Mask, a::D, b::D) where {K,D<:Dual{Nothing,<:Lanes,K}}
    tangents = ForwardDiff.Partials(ntuple(k -> ifelse(m, partials(a, k), partials(b, k)), Val(K)))
    return Dual{Nothing}(ifelse(m, value(a), value(b)), tangents)
end

const DualLanes{L<:Lanes,K} = Dual{Nothing,L,K}

for f in (:<, :<=, :(==))
    @eval @inline Base.$f(a::D, b::D) where {D<:DualLanes} = $f(value(a), value(b))
    for R in (:Float64, :Int, :Lanes)
        @eval @inline Base.$f(a::DualLanes, b::$R) = $f(value(a), oftype(value(a), b))
        @eval @inline Base.$f(a::$R, b::DualLanes) = $f(oftype(value(b), a), value(b))
    end
end

# where two values are equal the slope is that of the second, as for dual numbers of one column
@inline Base.max(a::L, b::L) where {L<:Lanes} = ifelse(b < a, a, b)
@inline Base.min(a::L, b::L) where {L<:Lanes} = ifelse(b < a, b, a)
@inline Base.max(a::D, b::D) where {D<:DualLanes} = ifelse(value(b) < value(a), a, b)
@inline Base.min(a::D, b::D) where {D<:DualLanes} = ifelse(value(b) < value(a), b, a)
for f in (:max, :min), R in (:Float64, :Int, :Lanes)
    @eval @inline Base.$f(a::DualLanes, b::$R) = $f(a, oftype(a, b))
    @eval @inline Base.$f(a::$R, b::DualLanes) = $f(oftype(b, a), b)
end
@inline Base.abs(a::DualLanes) = ifelse(value(a) < zero(value(a)), -a, a)

# ---- functions ---------------------------------------------------------------------------------------------------------------

@inline Base.exp(a::Lanes) = Lanes(vexp(a.x))
@inline Base.log(a::Lanes) = ifelse(a == zero(a), oftype(a, -Inf), Lanes(vlog(a.x)))
@inline vlog(a::Lanes) = Lanes(vlog(a.x))
@inline vexp(a::Lanes) = Lanes(vexp(a.x))
@inline per_cube_root(a::Lanes) = Lanes(per_cube_root(a.x))
@inline positive_log(a::Lanes) = Lanes(positive_log(a.x))
@inline falling_exp(a::Lanes) = Lanes(falling_exp(a.x))
@inline falling_exp2(a::Lanes) = Lanes(falling_exp2(a.x))
@inline function Base.log1p(a::Lanes)
    u = 1 + a
    # what rounding takes from a is given back; Kahan's formula
    return ifelse(u == one(u), a, log(u) * (a / (u - 1)))
end
@inline function Base.tanh(a::Lanes)
    t = exp(-2 * abs(a))
    y = (1 - t) / (1 + t)
    return ifelse(a < zero(a), -y, y)
end

lane_by_lane(f::F, a::Lanes{W,T}) where {F,W,T} = Lanes(Vec{W,T}(ntuple(i -> f(a.x[i]), Val(W))))
for f in (:sin, :cos, :tan, :asin, :acos, :atan, :sinh, :cosh, :expm1, :exp2, :log2, :log10)
    @eval Base.$f(a::Lanes) = lane_by_lane($f, a)
end

# powers that stand in the code as numbers, without a loop
@inline integer_power(a, ::Val{1}) = a
@inline integer_power(a, ::Val{N}) where {N} =
    iseven(N) ? (half=integer_power(a, Val(N ÷ 2)); half * half) : a * integer_power(a, Val(N - 1))
@inline Base.literal_pow(::typeof(^), a::Lanes, ::Val{N}) where {N} = N > 0 ? integer_power(a, Val(N)) : a^N
for X in (:Lanes, :DualLanes)
    @eval @inline Base.:^(a::$X, n::Integer) = n < 0 ? Base.power_by_squaring(inv(a), -n) : Base.power_by_squaring(a, n)
end
@inline Base.:^(a::L, b::L) where {L<:Lanes} = power(a, b)
@inline Base.:^(a::Lanes, b::Float64) = power(a, oftype(a, b))
@inline Base.:^(a::D, b::D) where {D<:DualLanes} = power(a, b)
for R in (:Float64, :Lanes)
    @eval @inline Base.:^(a::DualLanes, b::$R) = power(a, oftype(value(a), b))
    @eval @inline Base.:^(a::$R, b::DualLanes) = power(oftype(value(b), a), b)
end
