# Two layers of soil: the balance at a state, columns side by side as one by one, balanced years.

using DiffGeo: SVector

m = two_layer_bucket()
bounds = DiffGeo.read_spec("two_layer_bucket")[1]["parameters"]
drawn(rng, columns) = (;
    (
        k => (b=bounds[String(k)]; b["lower"] .+ (b["upper"] - b["lower"]) .* rand(rng, columns)) for
        k in DiffGeo.spec(m).parameters
    )...
)

@testset "rates are what the fluxes leave" begin
    rng = Xoshiro(1)
    p, s = drawn(rng, 100), DiffGeo.spec(m)
    for c in 1:100
        forcing = NamedTuple{Tuple(s.forcings)}((20rand(rng), 10randn(rng), 5rand(rng), 5rand(rng)))
        own = map(x -> x[c], p)
        u = SVector(50rand(rng), 40rand(rng), 300rand(rng))
        changes, fluxes = DiffGeo.both(m, u, DiffGeo.prepared(m, forcing, own), own)
        @test sum(changes) ≈ fluxes[1] - sum(fluxes[2:5]) atol = 1e-12 * max(1, maximum(abs, fluxes))
        @test fluxes[8] ≈ own.theta_r + u[2] / own.surface_depth
    end
end

@testset "a year, side by side and alone" begin
    days, columns = 365, 11
    rng = Xoshiro(2)
    season = sin.(2pi .* (1:days) ./ 365)
    f = (precipitation=max.(0.0, 2 .+ 8 .* randn(rng, days, columns)), temperature=8 .+ 12 .* season,
        potential_evaporation=2 .+ 1.5 .* season, potential_transpiration=2 .+ 1.5 .* season)
    p = drawn(rng, columns)
    options = (; method="implicit_euler", step=1.0, newton_tolerance=1e-8, max_newton=60)
    @test DiffGeo.branchless(m)
    side = solve(m, f, p, [1.0, 5.0, 50.0], 0:days; options...)
    DiffGeo.BRANCHLESS[objectid(m)] = false
    alone = solve(m, f, p, [1.0, 5.0, 50.0], 0:days; options...)
    DiffGeo.BRANCHLESS[objectid(m)] = true
    @test isempty(side.failed)
    @test side.states ≈ alone.states rtol = 1e-9
    @test minimum(side.states) > -1e-9
    out = sum(getfield(side.fluxes, k) for k in (:evaporation, :transpiration, :runoff, :drainage))
    change = dropdims(sum(diff(side.storage; dims=2); dims=1); dims=1)
    @test change ≈ side.fluxes.inflow .- out atol = 1e-9
end
