# HBV and EXP-HYDRO: side by side as one by one, stores that stay positive, the balance.

function bucket_inputs(m, days, basins)
    season = sin.(2pi .* (1:days) ./ 365)
    f = (precipitation=max.(0.0, 2 .+ 8 .* randn(Xoshiro(3), days, basins)), temperature=8 .+ 12 .* season .+ 3 .* randn(Xoshiro(4), days),
        potential_evapotranspiration=2 .+ 1.5 .* season)
    bounds = DiffGeo.read_spec(DiffGeo.spec(m).name)[1]["parameters"]
    rng = Xoshiro(5)
    p = (; (k => (b = bounds[String(k)]; b["lower"] .+ (b["upper"] - b["lower"]) .* rand(rng, basins)) for k in DiffGeo.spec(m).parameters)...)
    return f, p
end

@testset "$(DiffGeo.spec(m).name), $method" for (m, start) in ((hbv(), [1.0, 1.0, 120.0, 10.0, 30.0]), (exp_hydro(), [1.0, 300.0])),
    method in ("implicit_euler", "sdirk2")

    days, basins = 300, 11
    f, p = bucket_inputs(m, days, basins)
    options = (; method, step=1.0, newton_tolerance=1e-6, max_newton=40)
    @test DiffGeo.branchless(m)
    side = solve(m, f, p, start, 0:days; options...)
    DiffGeo.BRANCHLESS[objectid(m)] = false
    alone = solve(m, f, p, start, 0:days; options...)
    DiffGeo.BRANCHLESS[objectid(m)] = true
    @test isempty(side.failed) && sum(side.counts[2, :]) == 0
    @test side.counts == alone.counts
    @test side.states ≈ alone.states rtol = 1e-11
    method == "implicit_euler" && @test minimum(side.states) > -1e-12
    net = side.fluxes.inflow .- side.fluxes.evapotranspiration .- side.fluxes.discharge
    @test dropdims(sum(diff(side.storage; dims=2); dims=1); dims=1) ≈ net atol = 1e-9
    w = (; states=randn(Xoshiro(6), size(side.states)))
    a, b = pullback(side; w...), pullback(alone; w...)
    @test all(a.parameters[k] ≈ b.parameters[k] for k in keys(a.parameters))
    @test all(a.forcing[k] ≈ b.forcing[k] for k in keys(a.forcing))
end
