# Dual numbers of the extension.

# Tags of dual numbers: derivatives in inputs, and in one direction of the state. The kernels take theirs, of tag Nothing, outside of both.
struct ByInput end
struct ByState end
ForwardDiff.:≺(::Type{ByInput}, ::Type{ByState}) = true
ForwardDiff.:≺(::Type{ByState}, ::Type{ByInput}) = false
ForwardDiff.:≺(::Type{<:Union{ByInput,ByState}}, ::Type{Nothing}) = true
ForwardDiff.:≺(::Type{Nothing}, ::Type{<:Union{ByInput,ByState}}) = false

const CHUNK = 12  # derivatives in inputs that one dual number carries
unit(i) = ForwardDiff.Partials(ntuple(j -> Float64(i == j), CHUNK))
