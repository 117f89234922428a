module DiffGeoZygoteExt

using DiffGeo: DiffGeo, ArrayFunction, product
using PrecompileTools: @compile_workload
using Zygote: Zygote

# nothing is what Zygote calls the gradient of a constant
DiffGeo.pullback(g::ArrayFunction{F,:Zygote}, x::AbstractVector, w::AbstractVector) where {F} =
    something(only(Zygote.gradient(z -> product(w, g.f(z)), x)), zero(x))

@compile_workload begin
    DiffGeo.pullback(ArrayFunction(x -> [sum(abs2, x), prod(x)], :Zygote), [1.0, 2.0], [1.0, 1.0])
end

end
