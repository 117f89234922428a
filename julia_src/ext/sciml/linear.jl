# Linear systems of the methods: tridiagonal in the states, diagonal in the integrals of fluxes, coupled one way.

"""
    Bordered(states, before, blocks)

Solves systems of `states` unknowns that are coupled as a tridiagonal matrix and of others that are not coupled among each other: the
first `before` of these are solved ahead of the states and enter their equations, the rest after them. There are `blocks` such systems
with the same matrix, one behind the other. For numbers of any kind, and without pivoting: the tridiagonal part is that of one minus the
step times a diffusion.
"""
struct Bordered <: LinearSolve.SciMLLinearSolveAlgorithm
    states::Int
    before::Int
    blocks::Int
end
LinearSolve.needs_concrete_A(::Bordered) = true

# LinearSolve would split dual numbers into values and derivatives, at the price of many small arrays for every system
const Duals = Dual{ByInput,Float64,CHUNK}
SciMLBase.init(problem::LinearSolve.LinearProblem{U,I,SparseMatrixCSC{Duals,Int},Vector{Duals},P}, alg::Bordered, arguments...;
    options...) where {U<:Union{Nothing,Vector{Duals}},I,P} = LinearSolve.__init(problem, alg, arguments...; options...)

struct BorderedFactors{X}
    ratio::Vector{X}    # of the elimination from the top
    pivot::Vector{X}    # one over each
    lower::Vector{X}
    last::Vector{X}     # one over the diagonal D
end

function LinearSolve.init_cacheval(alg::Bordered, A, b, u, Pl, Pr, maxiters::Int, abstol, reltol, verbose,
    assumptions::LinearSolve.OperatorAssumptions)
    X, n = eltype(A), alg.states
    return BorderedFactors(zeros(X, n), zeros(X, n), zeros(X, n), zeros(X, size(A, 1) ÷ alg.blocks - n))
end

function factorise!(f::BorderedFactors{X}, A::SparseMatrixCSC, n) where {X}
    rows, values = rowvals(A), nonzeros(A)
    f.lower .= zero(X)
    f.ratio .= zero(X)
    f.pivot .= zero(X)
    for j in 1:n, k in nzrange(A, j)
        i = rows[k]
        i == j && (f.pivot[j] = values[k])
        i == j + 1 && i <= n && (f.lower[i] = values[k])
        i == j - 1 && (f.ratio[i] = values[k])
    end
    for j in (n+1):(n+length(f.last)), k in nzrange(A, j)
        rows[k] == j && (f.last[j-n] = inv(values[k]))
    end
    f.pivot[1] = inv(f.pivot[1])
    @inbounds for i in 2:n
        f.ratio[i-1] *= f.pivot[i-1]
        f.pivot[i] = inv(f.pivot[i] - f.lower[i] * f.ratio[i-1])
    end
    return f
end

function SciMLBase.solve!(cache::LinearSolve.LinearCache, alg::Bordered; options...)
    A, x, b, f, n = cache.A, cache.u, cache.b, cache.cacheval, alg.states
    if cache.isfresh
        factorise!(f, A, n)
        cache.isfresh = false
    end
    x === b || copyto!(x, b)
    total = size(A, 2) ÷ alg.blocks
    for block in 1:alg.blocks
        solve_block!(view(x, ((block-1)*total+1):(block*total)), f, A, n, n + alg.before)
    end
    return SciMLBase.build_linear_solution(alg, x, nothing, cache; retcode=ReturnCode.Success)
end

"Solve one system in place; unknowns `n + 1` to `middle` come ahead of the `n` states, those behind after them."
function solve_block!(x, f::BorderedFactors, A::SparseMatrixCSC, n, middle)
    rows, values, total = rowvals(A), nonzeros(A), length(x)
    @inbounds begin
        for j in (n+1):middle
            x[j] *= f.last[j-n]
            for k in nzrange(A, j)
                rows[k] == j || (x[rows[k]] -= values[k] * x[j])
            end
        end
        x[1] *= f.pivot[1]
        for i in 2:n
            x[i] = (x[i] - f.lower[i] * x[i-1]) * f.pivot[i]
        end
        for i in (n-1):-1:1
            x[i] -= f.ratio[i] * x[i+1]
        end
        for j in 1:n, k in nzrange(A, j)
            rows[k] > middle && (x[rows[k]] -= values[k] * x[j])
        end
        for j in (middle+1):total
            x[j] *= f.last[j-n]
        end
    end
    return
end
