# Systems (C - a J) x = r with a full J, for models with few states.

"""
    Dense(T, Val(N))

Full Jacobian of N states; `values[i, j]` is the derivative of rate i in state j.
"""
struct Dense{T,N,L}
    values::MMatrix{N,N,T,L}
end

Dense(::Type{T}, ::Val{N}) where {T,N} = Dense(zero(MMatrix{N,N,T}))

Base.copyto!(to::Dense, from::Dense) = (to.values.=from.values; to)

@inline static(x::Vector, ::Val{N}) where {N} = SVector(ntuple(i -> (@inbounds x[i]), Val(N)))

@inline system(J::Dense, C, a) = system(SMatrix(J.values), C, a)
@inline function system(J::SMatrix{N,N}, C, a) where {N}
    A = -a * J
    return SMatrix{N,N}(ntuple(k -> (i=(k - 1) % N + 1; i == (k - 1) ÷ N + 1 ? A[k] + C[i] : A[k]), Val(N * N)))
end

"x from (C - a J) x = r; NaN where the system is singular, which Newton takes for a failure."
solve!(x, J::Dense{T,N}, C, a, r) where {T,N} = copyto!(x, eliminate(system(J, C, a), static(r, Val(N))))

"x from (C - a J)' x = r."
solve_transposed!(x, J::Dense{T,N}, C, a, r) where {T,N} = copyto!(x, eliminate(transpose(system(J, C, a)), static(r, Val(N))))

"A \\ r by Gaussian elimination with row pivoting."
eliminate(A, r::SVector{N}) where {N} = N <= MOST_UNROLLED ? unrolled(SMatrix(A), r) : SVector(looped!(MVector(r), MMatrix(A)))

const MOST_UNROLLED = 8

# A singular system has an infinite reciprocal pivot, and the rest becomes NaN.
"Every index is a constant of the code, so that all numbers stay in registers."
@generated function unrolled(A::SMatrix{N,N}, r::SVector{N}) where {N}
    a(i, j) = Symbol(:a, i, :_, j)
    x(i) = Symbol(:x, i)
    per(i) = Symbol(:per, i)
    code = Expr[:($(a(i, j)) = A[$i, $j]) for i in 1:N for j in 1:N]
    append!(code, [:($(x(i)) = r[$i]) for i in 1:N])
    for k in 1:N
        for i in (k+1):N
            push!(code, :(swap = abs($(a(k, k))) < abs($(a(i, k)))))
            append!(code, [:(($(a(k, j)), $(a(i, j))) = exchange(swap, $(a(k, j)), $(a(i, j)))) for j in k:N])
            push!(code, :(($(x(k)), $(x(i))) = exchange(swap, $(x(k)), $(x(i)))))
        end
        push!(code, :($(per(k)) = 1 / $(a(k, k))))
        for i in (k+1):N
            push!(code, :(factor = $(a(i, k)) * $(per(k))))
            append!(code, [:($(a(i, j)) = muladd(-factor, $(a(k, j)), $(a(i, j)))) for j in (k+1):N])
            push!(code, :($(x(i)) = muladd(-factor, $(x(k)), $(x(i)))))
        end
    end
    for k in N:-1:1
        append!(code, [:($(x(k)) = muladd(-$(a(k, j)), $(x(j)), $(x(k)))) for j in (k+1):N])
        push!(code, :($(x(k)) *= $(per(k))))
    end
    return quote
        @inbounds begin
            $(code...)
        end
        return SVector($([x(i) for i in 1:N]...))
    end
end

@inline exchange(swap, a, b) = (ifelse(swap, b, a), ifelse(swap, a, b))

function looped!(x::MVector{N}, A::MMatrix{N,N}) where {N}
    @inbounds for k in 1:N
        p = k
        for i in (k+1):N
            p = abs(A[i, k]) > abs(A[p, k]) ? i : p
        end
        if p != k
            for j in k:N
                A[k, j], A[p, j] = A[p, j], A[k, j]
            end
            x[k], x[p] = x[p], x[k]
        end
        pivot = 1 / A[k, k]
        for i in (k+1):N
            factor = A[i, k] * pivot
            for j in (k+1):N
                A[i, j] -= factor * A[k, j]
            end
            x[i] -= factor * x[k]
        end
    end
    @inbounds for k in N:-1:1
        for j in (k+1):N
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
