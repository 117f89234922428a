# Retention and conductivity curves. A type of hydraulics has
#   parameters(h)          names of its parameters, as in the specification of the Richards model
#   reads(h, Val(k))       those that the formula k, retention or conductivity, reads
#   derive(h, p)           what the curves need of the parameters p (an SVector in that order), once per interval
#   curves(h, soil, psi)   water content and conductivity at one head, for numbers of any kind
# The functions below follow from these; a type may have faster ones.

const OF_RICHARDS = constants("richards")

abstract type SoilHydraulics end

"Whether the retention curve bends sharply at zero head, where an update of Newton's method stops before it crosses."
bends(::SoilHydraulics) = false

"Curves at all cells: water content, its slope, conductivity, its slope; `kept` is for the gradient in the parameters."
struct Curves{T}
    theta::Vector{T}
    capacity::Vector{T}
    K::Vector{T}
    dK::Vector{T}
    kept::NTuple{5,Vector{T}}
end

Curves{T}(n::Integer) where {T} = Curves{T}(ntuple(_ -> zeros(T, n), 4)..., ntuple(_ -> zeros(T, n), 5))

"Curves and slopes at the heads `psi` of the cells in `range`, which have one soil; `keep` what `pull` needs."
function slopes!(out::Curves{T}, h::SoilHydraulics, soil, psi::Vector{T}, range, keep::Bool) where {T}
    @inbounds @simd ivdep for i in range
        theta, K = curves(h, soil, Dual{Nothing}(psi[i], one(T)))
        out.theta[i], out.capacity[i] = value(theta), partials(theta, 1)
        out.K[i], out.dK[i] = value(K), partials(K, 1)
    end
    return out
end

"Conductivity and its slope at one head."
function conductivity(h::SoilHydraulics, soil, psi::T) where {T}
    K = curves(h, soil, Dual{Nothing}(psi, one(T)))[2]
    return value(K), partials(K, 1)
end

"Gradient in the parameters `p` of the sum over `range` of w_theta theta + w_K K."
function pull(h::SoilHydraulics, p::SVector{N,T}, soil, out::Curves{T}, psi, w_theta, w_K, range) where {N,T}
    dual_soil = derive(h, seed(p))
    total = zero(SVector{N,T})
    @inbounds for i in range
        theta, K = curves(h, dual_soil, psi[i])
        total += w_theta[i] * gradient_of(theta, Val(N)) + w_K[i] * gradient_of(K, Val(N))
    end
    return total
end

"The same for the conductivity at one head."
function pull_conductivity(h::SoilHydraulics, p::SVector{N,T}, psi::T, weight::T) where {N,T}
    K = curves(h, derive(h, seed(p)), psi)[2]
    return weight * gradient_of(K, Val(N))
end

"`p` as dual numbers of width K, of which the first have unit tangents."
@inline seed(p::SVector{N,T}, (::Val{K})=Val(N)) where {N,T,K} =
    SVector(ntuple(i -> Dual{Nothing}(p[i], ForwardDiff.Partials(ntuple(j -> T(i == j), Val(K)))), Val(N)))

@inline gradient_of(x::Dual{Nothing,T}, ::Val{N}) where {T,N} = SVector(ntuple(i -> partials(x, i), Val(N)))
@inline gradient_of(x::T, ::Val{N}) where {T<:AbstractFloat,N} = zero(SVector{N,T})
