# Parameters, forcing and fluxes with a value in each cell of a column: linear reservoirs in a row.

using LinearAlgebra: I, diagm

const FIVE_CELLS = load_model(joinpath(@__DIR__, "reservoirs.jl"); cells=5)

@testset "reservoirs in a row" begin
    n, days, columns, rng = 5, 4, 3, Xoshiro(7)
    f = (head=5 .* rand(rng, days, columns), lateral=3 .* rand(rng, n, days, columns))
    p = (k=0.2 .+ rand(rng, n, columns), e=0.1 .* rand(rng, columns))
    start = 10 .* rand(rng, n, columns)
    options = (; method="implicit_euler", step=1.0, newton_tolerance=1e-9, max_newton=40)
    s = solve(FIVE_CELLS, f, p, start, 0:days; options...)
    for c in 1:columns
        A, u = diagm(-(p.k[:, c] .+ p.e[c])) + diagm(-1 => p.k[1:(n-1), c]), start[:, c]
        for day in 1:days
            u = (I - A) \ (u + f.lateral[:, day, c] + [f.head[day, c]; zeros(n - 1)])
            @test s.states[:, day, c] ≈ u rtol = 1e-11
            @test s.fluxes.outflow[:, day, c] ≈ p.k[:, c] .* u rtol = 1e-11
            @test s.fluxes.discharge[day, c] ≈ p.k[n, c] * u[n] rtol = 1e-11
        end
    end
    w = (; states=randn(rng, n, days, columns), fluxes=randn(rng, 2 + 2n, days, columns))
    for more in (options, (; method="kvaerno3", rtol=1e-4, newton_tolerance=1e-8, max_newton=30))
        base = solve(FIVE_CELLS, f, p, start, 0:days; more...)
        g = pullback(base; w...)
        function loss(f, p, u)
            x = solve(FIVE_CELLS, f, p, u, 0:days; more..., replay=base.steps)
            q = vcat(
                reshape(x.fluxes.inflow, 1, days, columns),
                x.fluxes.outflow,
                x.fluxes.seepage,
                reshape(x.fluxes.discharge, 1, days, columns)
            )
            return sum(w.states .* x.states) + sum(w.fluxes .* q)
        end
        near(g, x, moved) = (d=1e-5 .* randn(rng, size(x)); @test sum(g .* d) ≈ (moved(x + d) - moved(x - d)) / 2 rtol = 1e-5)
        near(reshape(g.parameters.k, n, columns), p.k, k -> loss(f, merge(p, (; k)), start))
        near(vec(g.parameters.e), p.e, e -> loss(f, merge(p, (; e)), start))
        near(g.forcing.lateral, f.lateral, lateral -> loss(merge(f, (; lateral)), p, start))
        near(reshape(g.forcing.head, days, columns), f.head, head -> loss(merge(f, (; head)), p, start))
        near(g.initial, start, u -> loss(f, p, u))
    end
    # one value for all cells
    shared = solve(FIVE_CELLS, f, merge(p, (; k=0.5)), start, 0:days; options...)
    @test shared.states ≈ solve(FIVE_CELLS, f, merge(p, (; k=fill(0.5, n, columns))), start, 0:days; options...).states rtol =
        1e-13
    g = pullback(shared; w...)
    @test size(g.parameters.k) == (1, 1, columns)
    @test_throws Refused solve(FIVE_CELLS, f, merge(p, (; k=ones(4, columns))), start, 0:days; options...)
end

@testset "models without cells of their own" begin
    spec = DiffGeo.ModelSpec("two", [DiffGeo.StateSpec(:a, 1.0, 1.0, -Inf)], [:k], Symbol[], Symbol[], "", Set([:k]))
    @test_throws Refused SmallModel{1}(spec, (u, f, p) -> u)
    @test_throws Refused FaceModel(spec, 5, (a, b, f, p) -> a - b)
end
