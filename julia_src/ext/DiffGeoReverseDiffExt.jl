module DiffGeoReverseDiffExt

using DiffGeo: DiffGeo, ArrayFunction, product
using PrecompileTools: @compile_workload
using ReverseDiff: ReverseDiff

DiffGeo.pullback(g::ArrayFunction{F,:ReverseDiff}, x::AbstractVector, w::AbstractVector) where {F} =
    ReverseDiff.gradient(z -> product(w, g.f(z)), x)

@compile_workload begin
    DiffGeo.pullback(ArrayFunction(x -> [sum(abs2, x), prod(x)], :ReverseDiff), [1.0, 2.0], [1.0, 1.0])
end

end
