# Columns side by side: the same numbers as one by one.

using DiffGeo: Lanes, SVector, branchless, gradient_of, seed
using DiffGeo.ForwardDiff: ForwardDiff, Dual, partials, value

rng = Xoshiro(11)

const X = [-3.0, -0.5, -1e-9, 0.0, 1e-12, 0.7, 1.0, 40.0]
const LANES_OF_X = Lanes(DiffGeo.Vec(Tuple(X)))
values_of(y) = [y.x[i] for i in 1:8]

@testset "function $name" for (name, f) in (
    "exp" => exp, "tanh" => tanh, "log1p" => x -> log1p(abs(x)), "log" => x -> log(abs(x) + 0.1), "abs" => abs,
    "max" => x -> max(x, 0.3),
    "min" => x -> min(x, zero(x)), "power" => x -> DiffGeo.power(abs(x), 2.5), "^4" => x -> x^4, "^-1" => x -> (x + 5)^-1,
    "sqrt" => x -> sqrt(abs(x)),
    "sin" => sin, "ifelse" => x -> ifelse(x > 0.5, 2x, x * x))
    @test values_of(f(LANES_OF_X)) ≈ f.(X) rtol = 1e-14 atol = 1e-15
    side = f(Dual{Nothing}(LANES_OF_X, one(LANES_OF_X)))
    alone = [f(Dual{Nothing}(x, 1.0)) for x in X]
    @test values_of(value(side)) ≈ value.(alone) rtol = 1e-14 atol = 1e-15
    @test isequal(isfinite.(values_of(partials(side, 1))), isfinite.(partials.(alone, 1)))
    known = isfinite.(partials.(alone, 1))
    @test values_of(partials(side, 1))[known] ≈ partials.(alone, 1)[known] rtol = 1e-13 atol = 1e-15
end

@testset "power of zero" begin
    y = DiffGeo.power(Dual{Nothing}(0.0, 1.0), Dual{Nothing}(2.2, 0.0))
    @test value(y) == 0 && partials(y, 1) == 0
    @test isnan(DiffGeo.power(-1.0, 2.0))
end

function batch(m, days, basins; options...)
    season = sin.(2pi .* (1:days) ./ 365)
    f = (precipitation=max.(0.0, 2 .+ 6 .* randn(Xoshiro(3), days, basins)),
        temperature=8 .+ 12 .* season .+ 3 .* randn(Xoshiro(4), days),
        potential_evapotranspiration=2 .+ 1.5 .* season)
    p = merge(HBV, (; K2=collect(range(0.01, 0.03; length=basins)), BETA=1 .+ 5 .* rand(Xoshiro(5), 1, days, basins)))
    return solve(m, f, p, [1.0, 1.0, 120.0, 10.0, 30.0], 0:days; options...)
end

@testset "$method with steps of $step" for (method, step) in
                                           (("implicit_euler", 1.0), ("implicit_euler", 0.25), ("sdirk2", 0.5))
    days, basins = 300, 11
    m = load_model(FIVE)
    @test branchless(m)
    options = (; method, step, newton_tolerance=1e-6)
    side = batch(m, days, basins; options...)
    DiffGeo.BRANCHLESS[objectid(m)] = false
    alone = batch(m, days, basins; options...)
    DiffGeo.BRANCHLESS[objectid(m)] = true
    @test [t.group for t in side.run.tapes] == [8; zeros(Int, 7); 3; 0; 0]
    @test isempty(side.failed)
    @test sum(side.counts[2, :]) > 0  # some columns had to halve their step
    @test side.counts == alone.counts && side.steps == alone.steps
    @test side.states ≈ alone.states rtol = 1e-11
    @test side.storage ≈ alone.storage rtol = 1e-11
    @test all(side.fluxes[k] ≈ alone.fluxes[k] for k in keys(alone.fluxes))
    w = (; states=randn(rng, 5, days, basins), storage=randn(rng, 5, days + 1, basins), fluxes=randn(rng, 3, days, basins))
    @test same_gradient(pullback(side; w...), pullback(alone; w...); rtol=1e-11)
end

@testset "a model with a branch runs column by column" begin
    names = DiffGeo.load_model(FIVE).spec
    drain(u, f, p) = u[1] > 1 ? SVector(-p.K1 * u[1], 0u[2], 0u[3], 0u[4], 0u[5]) : 0 .* u
    m = SmallModel{5}(names, drain; fluxes=(u, f, p) -> SVector(0u[1], 0u[1], 0u[1]))
    @test !branchless(m)
    s = solve(m, (precipitation=0.0, temperature=0.0, potential_evapotranspiration=0.0), merge(HBV, (; K1=[0.1, 0.2])),
        fill(10.0, 5), 0:3;
        method="implicit_euler", step=1.0)
    @test s.states[1, :, :] ≈ 10 .* [1.1 1.2] .^ -(1:3)
end

@testset "fluxes alone are written" begin
    days, basins = 20, 11
    m = load_model(FIVE)
    whole = batch(m, days, basins; method="implicit_euler", step=1.0, newton_tolerance=1e-6)
    @test isempty(whole.failed)
    inputs, o = whole.run.inputs, whole.run.options
    states, storage, fluxes = fill(NaN, 5, days, basins), fill(NaN, 5, days + 1, basins), fill(NaN, 2, days, basins)
    counts, outcome = zeros(Int64, 3, basins), zeros(Int64, 2, basins)
    results = DiffGeo.Results{Float64}(pointer(states), pointer(storage), pointer(fluxes), 0b110)
    GC.@preserve whole states storage fluxes DiffGeo.forward(m, inputs, o, results, counts, outcome; record=false, threads=1)
    @test fluxes[1, :, :] == whole.fluxes[2] && fluxes[2, :, :] == whole.fluxes[3]
    @test all(isnan, states) && all(isnan, storage)  # of columns side by side, and of the rest
end
