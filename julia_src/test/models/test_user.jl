# Models of which only the rates are written down.

using DiffGeo: Dense, add_transposed!, solve!, solve_transposed!
using LinearAlgebra: diagm

rng = Xoshiro(6)
a ⋅ b = sum(a .* b)

@testset "dense systems of $n" for n in (1, 2, 3, 4, 5, 8)
    J = Dense(Float64, Val(n))
    J.values .= randn(rng, n, n)
    C, r = 2 .+ rand(rng, n), randn(rng, n)
    A = diagm(C) - 0.3 * J.values
    @test solve!(zero(r), J, C, 0.3, r) ≈ A \ r rtol = 1e-12
    @test solve_transposed!(zero(r), J, C, 0.3, r) ≈ A' \ r rtol = 1e-12
    @test add_transposed!(copy(C), J, r) ≈ C + J.values' * r rtol = 1e-13
    J.values .= 0
    @test !any(isfinite, solve!(zero(r), J, zeros(n), 1.0, r))
end

@testset "five stores: balance and gradients by $method" for method in ("implicit_euler", "kvaerno3")
    days = 20
    m, f = load_model(FIVE), weather(days, rng)
    start = [30.0, 1.0, 120.0, 10.0, 30.0]
    options = (; method, rtol=1e-3, newton_tolerance=1e-10, max_newton=30)
    s = solve(m, f, HBV, start, 0:days; options...)
    @test isempty(s.failed)
    q = s.fluxes
    change = [sum(s.storage[:, end, 1]) - sum(s.storage[:, 1, 1])]
    @test sum(q.inflow - q.evapotranspiration - q.discharge) ≈ only(change) rtol = 1e-10
    @test vec(q.inflow) ≈ f.precipitation
    w = (; states=randn(rng, 5, days, 1), fluxes=randn(rng, 3, days, 1))
    g = pullback(s; w...)
    loss(f, p, u) = begin
        x = solve(m, f, p, u, 0:days; options..., replay=s.steps)
        w.states ⋅ x.states + sum(w.fluxes[i, :, :] ⋅ x.fluxes[i] for i in 1:3)
    end
    for k in keys(HBV)
        h = 1e-6 * max(abs(HBV[k]), 0.1)
        moved(d) = loss(f, merge(HBV, (; k => HBV[k] + d)), start)
        @test only(g.parameters[k]) ≈ (moved(h) - moved(-h)) / 2h rtol = 1e-5 atol = 1e-5
    end
    for k in keys(f), day in (1, 7, days)
        moved(d) = loss(merge(f, (; k => (y=copy(f[k]); y[day] += d; y))), HBV, start)
        @test g.forcing[k][day] ≈ (moved(1e-5) - moved(-1e-5)) / 2e-5 rtol = 1e-5 atol = 1e-6
    end
    for i in 1:5
        moved(d) = loss(f, HBV, (y=copy(start); y[i] += d; y))
        @test g.initial[i] ≈ (moved(1e-5) - moved(-1e-5)) / 2e-5 rtol = 1e-5 atol = 1e-6
    end
end

@testset "heat in a rod" begin
    n = 50
    m = load_model(joinpath(@__DIR__, "heat.jl"); cells=n)
    x = (collect(1:n) .- 0.5) ./ n
    p = (diffusivity=0.3, capacity=2.0)
    s = solve(m, (ends=1.0,), p, 1 .+ sin.(pi .* x), [0.0, 0.5]; rtol=1e-7)
    # the discrete sine decays with the eigenvalue of the differences
    decay = exp(-0.5 * (p.diffusivity / p.capacity) * 4 * n^2 * sin(pi / 2n)^2)
    @test s.states[:, 1, 1] ≈ 1 .+ decay .* sin.(pi .* x) rtol = 1e-5
    @test only(s.fluxes.inflow) * 0.5 ≈ sum(s.storage[:, 2, 1] - s.storage[:, 1, 1]) rtol = 1e-9
    w = (; states=randn(rng, n, 1, 1), fluxes=ones(1, 1, 1))
    g = pullback(s; w...)
    loss(ends, p) = begin
        y = solve(m, (; ends), p, 1 .+ sin.(pi .* x), [0.0, 0.5]; rtol=1e-7, replay=s.steps)
        w.states ⋅ y.states + only(y.fluxes.inflow)
    end
    for k in keys(p)
        moved(d) = loss(1.0, merge(p, (; k => p[k] + d)))
        @test only(g.parameters[k]) ≈ (moved(1e-5) - moved(-1e-5)) / 2e-5 rtol = 1e-4
    end
    @test only(g.forcing.ends) ≈ (loss(1 + 1e-5, p) - loss(1 - 1e-5, p)) / 2e-5 rtol = 1e-5
end

@testset "files that are no models" begin
    @test_throws UnknownName load_model("nowhere.jl")
    @test_throws Refused load_model(joinpath(@__DIR__, "heat.jl"))
end

@testset "derivatives by hand from a file are those of dual numbers, $basins basins" for basins in (1, 11)
    file = joinpath(@__DIR__, "two_stores.jl")
    byhand = load_model(file)
    @test byhand.linearise !== nothing && DiffGeo.branchless(byhand)
    bydual = SmallModel{2}(byhand.spec, byhand.rates; byhand.prepare)
    days = 60
    f = (rain=max.(0.0, 10 .* randn(Xoshiro(1), days, basins)), temperature=5 .* randn(Xoshiro(2), days))
    p = (k=0.002 .+ 0.01 .* rand(Xoshiro(3), basins), b=0.05)
    solved(m) = solve(m, f, p, [10.0, 20.0], 0:days; method="sdirk2", step=1.0, newton_tolerance=1e-8, max_newton=30)
    a, b = solved(byhand), solved(bydual)
    @test a.states ≈ b.states rtol = 1e-12
    w = (; states=randn(Xoshiro(4), size(a.states)), fluxes=randn(Xoshiro(5), 1, days, basins))
    @test same_gradient(pullback(a; w...), pullback(b; w...); rtol=1e-11)
end
