module DiffGeoZygoteExt

using DiffGeo: DiffGeo, ArrayFunction, product
using Zygote: Zygote

# nothing is what Zygote calls the gradient of a constant
DiffGeo.pullback(g::ArrayFunction{F,:Zygote}, x::AbstractVector, w::AbstractVector) where {F} =
    something(only(Zygote.gradient(z -> product(w, g.f(z)), x)), zero(x))

end
