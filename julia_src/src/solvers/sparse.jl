# Systems (C - a J) x = r with a J of few entries, for models with few states.

"""
    Sparse{N,Positions}(values...)

Jacobian of N states by its entries: `Positions` is a tuple of (row, column), in the order of the values. For stores that pass water
on: the system is eliminated in the order of the states, without pivoting, which is stable where what leaves a store goes to others or
out of the system (I - a J is then diagonally dominant by columns).
"""
struct Sparse{N,Positions,M,T}
    values::NTuple{M,T}
end
function Sparse{N,Positions}(values...) where {N,Positions}
    entries = promote(values...)
    return Sparse{N,Positions,length(entries),eltype(entries)}(entries)
end

@generated function StaticArrays.SMatrix(J::Sparse{N,Positions,M,T}) where {N,Positions,M,T}
    entry(i, j) = (k=findfirst(==((i, j)), Positions); k === nothing ? :(zero(T)) : :(J.values[$k]))
    return :(SMatrix{N,N,T}($([entry(i, j) for j in 1:N for i in 1:N]...)))
end

"Code without loops, in which zeros of the pattern are nowhere."
function elimination(N, positions)
    a(i, j) = Symbol(:a, i, :_, j)
    x(i) = Symbol(:x, i)
    per(i) = Symbol(:per, i)
    code = Expr[:($(a(i, i)) = C[$i]) for i in 1:N]
    for (k, (i, j)) in enumerate(positions)
        push!(code, i == j ? :($(a(i, i)) -= a * J.values[$k]) : :($(a(i, j)) = -a * J.values[$k]))
    end
    append!(code, [:($(x(i)) = r[$i]) for i in 1:N])
    there = union(Set(positions), [(i, i) for i in 1:N])
    for k in 1:N
        push!(code, :($(per(k)) = 1 / $(a(k, k))))
        for i in (k+1):N
            (i, k) in there || continue
            push!(code, :(factor = $(a(i, k)) * $(per(k))))
            for j in (k+1):N
                (k, j) in there || continue
                push!(
                    code,
                    :($(a(i, j)) = $((i, j) in there ? :(muladd(-factor, $(a(k, j)), $(a(i, j)))) : :(-factor * $(a(k, j)))))
                )
                push!(there, (i, j))
            end
            push!(code, :($(x(i)) = muladd(-factor, $(x(k)), $(x(i)))))
        end
    end
    for k in N:-1:1
        append!(code, [:($(x(k)) = muladd(-$(a(k, j)), $(x(j)), $(x(k)))) for j in (k+1):N if (k, j) in there])
        push!(code, :($(x(k)) *= $(per(k))))
    end
    return quote
        Base.@_inline_meta
        $(code...)
        return SVector($([x(i) for i in 1:N]...))
    end
end

"x from (C - a J) x = r, and from its transpose."
@inline solve_system(J::SMatrix, C, a, r) = eliminate(system(J, C, a), r)
@inline solve_transposed(J::SMatrix, C, a, r) = eliminate(transpose(system(J, C, a)), r)
@generated solve_system(J::Sparse{N,Positions}, C, a, r) where {N,Positions} = elimination(N, Positions)
@generated solve_transposed(J::Sparse{N,Positions}, C, a, r) where {N,Positions} = elimination(N, map(reverse, Positions))
