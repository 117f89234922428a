using DiffGeo: Tridiagonal, solve!, solve_transposed!, add_transposed!
using LinearAlgebra: LinearAlgebra, diagm

rng = Xoshiro(2)
for n in (2, 3, 4, 5, 100, 101), T in (Float64, Float32), rank_one in (false, true)
    J = Tridiagonal(T, n; rank_one)
    for d in (J.lower, J.upper)
        d .= rand(rng, T, n)
    end
    J.main .= -3 .- rand(rng, T, n)
    J.lower[1] = J.upper[n] = 0
    full = diagm(0 => J.main, -1 => J.lower[2:end], 1 => J.upper[1:(end-1)])
    if rank_one
        J.column .= rand(rng, T, n) ./ n
        J.row .= rand(rng, T, n)
        full += J.column * J.row'
    end
    C, a, r = rand(rng, T, n), T(0.7), rand(rng, T, n)
    A = diagm(C) - a * full
    @test solve!(zero(r), J, C, a, r) ≈ A \ r rtol = 50 * eps(T)
    @test solve_transposed!(zero(r), J, C, a, r) ≈ A' \ r rtol = 50 * eps(T)
    @test add_transposed!(copy(C), J, r) ≈ C + full' * r rtol = 50 * eps(T)
end
