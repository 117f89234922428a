# Systems (C - a J) x = r with a full J, for models with few states.

"""
    Dense(T, Val(N))

Full Jacobian of N states; `values[i, j]` is the derivative of rate i in state j.
"""
struct Dense{T,N,L}
    values::MMatrix{N,N,T,L}
end

Dense(::Type{T}, ::Val{N}) where {T,N} = Dense(zero(MMatrix{N,N,T}))

Base.copyto!(to::Dense, from::Dense) = (to.values .= from.values; to)

@inline static(x::Vector, ::Val{N}) where {N} = SVector(ntuple(i -> (@inbounds x[i]), Val(N)))

@inline function system(J::Dense{T,N}, C, a) where {T,N}
    A = -a * J.values
    @inbounds for i in 1:N
        A[i, i] += C[i]
    end
    return A
end

"x from (C - a J) x = r; NaN where the system is singular, which Newton takes for a failure."
function solve!(x, J::Dense{T,N}, C, a, r) where {T,N}
    x .= r
    return eliminate!(x, system(J, C, a))
end

"x from (C - a J)' x = r."
function solve_transposed!(x, J::Dense{T,N}, C, a, r) where {T,N}
    x .= r
    return eliminate!(x, MMatrix(transpose(system(J, C, a))))
end

"Gaussian elimination with row pivoting; x becomes A \\ x."
@inline function eliminate!(x, A::MMatrix{N,N}) where {N}
    @inbounds for k in 1:N
        p = k
        for i in k+1:N
            p = abs(A[i, k]) > abs(A[p, k]) ? i : p
        end
        if p != k
            for j in k:N
                A[k, j], A[p, j] = A[p, j], A[k, j]
            end
            x[k], x[p] = x[p], x[k]
        end
        pivot = 1 / A[k, k]  # infinite where singular: the rest becomes NaN
        for i in k+1:N
            factor = A[i, k] * pivot
            for j in k+1:N
                A[i, j] -= factor * A[k, j]
            end
            x[i] -= factor * x[k]
        end
    end
    @inbounds for k in N:-1:1
        for j in k+1:N
            x[k] -= A[k, j] * x[j]
        end
        x[k] /= A[k, k]
    end
    return x
end

"out += J' v"
@inline function add_transposed!(out::Vector{T}, J::Dense{T,N}, v::Vector{T}) where {T,N}
    @inbounds for j in 1:N, i in 1:N
        out[j] = muladd(J.values[i, j], v[i], out[j])
    end
    return out
end
