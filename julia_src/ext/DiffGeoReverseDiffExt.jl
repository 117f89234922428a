module DiffGeoReverseDiffExt

using DiffGeo: DiffGeo, ArrayFunction, product
using ReverseDiff: ReverseDiff

DiffGeo.pullback(g::ArrayFunction{F,:ReverseDiff}, x::AbstractVector, w::AbstractVector) where {F} =
    ReverseDiff.gradient(z -> product(w, g.f(z)), x)

end
