# Models that store nothing: every interval of every column is solved by itself.

using DiffGeo: SVector, StateSpec, ModelSpec, NO_ROOT, branchless, stationary

const STEADY = load_model(joinpath(@__DIR__, "../models/steady_leaf.jl"))
between(rng, low, high, size...) = low .+ (high - low) .* rand(rng, size...)
function leaves(columns, intervals; rng=Xoshiro(2))
    sky = (
        co2=between(rng, 200, 800, intervals, columns),
        light=between(rng, 0, 1800, intervals, columns),
        dryness=between(rng, 0.1, 3, intervals, columns)
    )
    return sky, (V=between(rng, 20, 120, columns), g1=between(rng, 2, 6, 1, intervals, columns), yield=0.2)
end
solved(f, p, K; options...) = solve(STEADY, f, p, [300.0, 0.0], 0:K; options...)
seeds(s) = (states=randn(Xoshiro(5), size(s.states)), fluxes=randn(Xoshiro(6), length(s.fluxes), size(first(s.fluxes))...))
a ⋅ b = sum(a .* b)

@testset "equations hold and gradients are right" begin
    f, p = leaves(11, 3)
    @test stationary(STEADY) && branchless(STEADY)
    s = solved(f, p, 3)
    @test isempty(s.failed) && all(iszero, s.storage) && s.steps == fill(ones(3), 11)
    at(x, k, c) = map(y -> y isa Number ? y : ndims(y) == 1 ? y[c] : ndims(y) == 2 ? y[k, c] : y[1, k, c], x)
    left(k, c) = STEADY.rates(SVector(s.states[:, k, c]...), at(f, k, c), at(p, k, c))[1] ./ (10.0, 100.0)
    @test maximum(maximum(abs, left(k, c)) for k in 1:3, c in 1:11) < 1e-11
    w = seeds(s)
    g = pullback(s; w...)
    loss(f, p) = (x=solved(f, p, 3); w.states ⋅ x.states + sum(w.fluxes[i, :, :] ⋅ x.fluxes[i] for i in 1:2))
    near(found, moved, h) = @test found ≈ (moved(h) - moved(-h)) / 2h rtol = 1e-6
    for k in keys(p)
        near(sum(g.parameters[k]), d -> loss(f, merge(p, (; k => p[k] .+ d))), 1e-5)
    end
    for k in keys(f)
        near(sum(g.forcing[k]), d -> loss(merge(f, (; k => f[k] .+ d)), p), 1e-5)
    end
    @test all(iszero, g.initial)
    # the path of models that store something, with a store beside
    names = DiffGeo.spec(STEADY)
    beside = ModelSpec(
        "beside",
        [names.states; StateSpec(:store, 1.0, 1.0, -Inf)],
        names.parameters,
        names.forcings,
        names.fluxes,
        ""
    )
    old = SmallModel{3}(beside, (u, f, p) -> ((changes, fluxes)=STEADY.rates(u, f, p); (SVector(changes..., -u[3]), fluxes)))
    x = solve(old, f, p, [300.0, 0.0, 1.0], 0:3; method="implicit_euler", step=1.0, newton_tolerance=1e-10, max_newton=60)
    @test isempty(x.failed)
    @test x.states[1:2, :, :] ≈ s.states rtol = 1e-10
    h = pullback(x; states=cat(w.states, zeros(1, 3, 11); dims=1), w.fluxes)
    @test all(h.parameters[k] ≈ g.parameters[k] for k in keys(p)) && all(h.forcing[k] ≈ g.forcing[k] for k in keys(f))
end

@testset "a row is the same in any company, $K intervals" for K in (1, 5, 300)
    f, p = leaves(13, K)
    s = solved(f, p, K)
    w = seeds(s)
    g = pullback(s; w...)
    one = solved(f, p, K; threads=1)
    @test one.states == s.states && pullback(one; w...).parameters == g.parameters
    c = 7
    alone = solved(map(x -> x[:, c:c], f), (V=p.V[c:c], g1=p.g1[:, :, c:c], yield=0.2), K)
    h = pullback(alone; states=w.states[:, :, c:c], fluxes=w.fluxes[:, :, c:c])
    @test alone.states[:, :, 1] == s.states[:, :, c]
    @test h.parameters.V[1, 1, 1] == g.parameters.V[1, 1, c] && h.forcing.co2[1, :, 1] == g.forcing.co2[1, :, c]
    DiffGeo.BRANCHLESS[objectid(STEADY)] = false
    single = solved(f, p, K)
    i = pullback(single; w...)
    DiffGeo.BRANCHLESS[objectid(STEADY)] = true
    @test single.counts == s.counts
    @test single.states ≈ s.states rtol = 1e-11
    @test all(i.parameters[k] ≈ g.parameters[k] for k in keys(p)) && all(i.forcing[k] ≈ g.forcing[k] for k in keys(f))
    single_precision = solved(f, p, K; T=Float32)
    @test eltype(single_precision.states) == Float32
    @test single_precision.states ≈ s.states rtol = 1e-6
end

@testset "an interval without a solution is reported, and the others have theirs" begin
    f, p = leaves(9, 4)
    whole = solved(f, p, 4)
    broken = merge(f, (; co2=copy(f.co2)))
    broken.co2[2, 3] = NaN
    s = solved(broken, p, 4)
    @test s.failed == Dict(3 => (NO_ROOT, 2)) && all(isnan, s.states[:, 2, 3])
    others = [(k, c) for k in 1:4, c in 1:9 if (k, c) != (2, 3)]
    @test all(s.states[:, k, c] == whole.states[:, k, c] for (k, c) in others)
    w = seeds(whole)
    w.states[:, 2, 3] .= w.fluxes[:, 2, 3] .= NaN
    g = pullback(s; w...)
    @test all(isfinite, g.parameters.V) && all(isfinite, g.forcing.co2) && g.forcing.co2[1, 2, 3] == 0
end

one_state(rates; guess) =
    SmallModel{1}(ModelSpec("one", [StateSpec(:x, 1.0, 1.0, -Inf, false, true)], [:a], [:f], Symbol[], ""), rates; guess)
root(m; a=1.0) = (s=solve(m, (f=0.0,), (a=a,), 0.0, 0:1); (isempty(s.failed) ? s.states[1] : NaN))

@testset "roots that Newton's method does not find, or should not" begin
    # overshoots farther and farther from a guess beyond 1.39
    @test root(one_state((u, f, p) -> SVector(-atan(u[1] - p.a)); guess=(f, p) -> SVector(p.a + 30))) ≈ 1 atol = 1e-11
    # a kink between guess and root
    @test root(
        one_state((u, f, p) -> SVector(ifelse(u[1] > 0, -0.01 * u[1], -5 * u[1]) - p.a); guess=(f, p) -> SVector(p.a + 1))
    ) ≈ -0.2 atol = 1e-11
    # 0 is near, but du/dt = f(u) leads away from it
    @test root(one_state((u, f, p) -> SVector(p.a * u[1] - u[1]^3); guess=(f, p) -> SVector(0.05 * p.a))) ≈ 1 atol = 1e-11
    # no root attracts: one that does not is better than none
    @test root(one_state((u, f, p) -> SVector(u[1] - p.a); guess=(f, p) -> SVector(3 * p.a))) ≈ 1 atol = 1e-11
    @test isnan(root(one_state((u, f, p) -> SVector(p.a + u[1]^2); guess=(f, p) -> SVector(p.a))))
    @test_throws Refused SmallModel{1}(
        ModelSpec("one", [StateSpec(:x, 1.0, 1.0, -Inf)], [:a], [:f], Symbol[], ""),
        identity;
        guess=identity
    )
end

@testset "two states, the first between bounds inside the second, which closes in on its own" begin
    two(rates) = SmallModel{2}(
        ModelSpec("two", [StateSpec(x, 1.0, 1.0, -Inf, false, true) for x in (:x, :y)], [:a], [:f], Symbol[], ""),
        rates
    )
    search(m, u, a) =
        DiffGeo.enclosed_rows(m, u, DiffGeo.prepared(m, (f=zero(a),), (a=a,)), (a=a,), DiffGeo.Magnitudes(m), Val(0))
    # the equations have a kink at their root, x = y = a / 2, where one slope changes by a factor of 2500
    kink = two((u, f, p) -> SVector(ifelse(u[1] > u[2], 50.0, 0.02) * (u[2] - u[1]), p.a - u[1] - u[2]))
    alone = map(((a, x, y),) -> search(kink, SVector(x, y), a), ((2.0, 0.0, 30.0), (-3.0, 500.0, -1.0), (1e-3, 0.1, 0.1)))
    @test all(s[3] for s in alone)
    @test all(isapprox(s[1], SVector(a, a) / 2; rtol=1e-11) for (s, a) in zip(alone, (2.0, -3.0, 1e-3)))
    # side by side each is what it is alone; a NaN is none, and holds nobody up
    L = DiffGeo.LaneNumber{Float64}
    of(values) = DiffGeo.lanes(i -> values[min(i, 4)])
    beside = search(kink, SVector(of((0.0, 500.0, 0.1, 1.0)), of((30.0, -1.0, 0.1, 1.0))), of((2.0, -3.0, 1e-3, NaN)))
    @test [DiffGeo.lane(beside[3], i) for i in 1:8] == [trues(3); falses(5)]
    @test all(DiffGeo.lane(beside[1][k], i) ≈ alone[i][1][k] for k in 1:2, i in 1:3)
    # no root at all
    @test !search(two((u, f, p) -> SVector(p.a + u[1]^2, -u[2])), SVector(1.0, 1.0), 1.0)[3]
end

@testset "rows cost no memory of their own" begin
    count(C) = (x=leaves(C, 1); solved(x..., 1; threads=1); @allocated solved(x..., 1; threads=1))
    @test count(4000) - count(2000) < 2000 * 8 * 60
end
