# HBV and EXP-HYDRO: side by side as one by one, stores that stay positive, the balance.

using DiffGeo: SMatrix, SVector
using LinearAlgebra: I

function bucket_inputs(m, days, basins)
    season = sin.(2pi .* (1:days) ./ 365)
    f = (precipitation=max.(0.0, 2 .+ 8 .* randn(Xoshiro(3), days, basins)),
        temperature=8 .+ 12 .* season .+ 3 .* randn(Xoshiro(4), days),
        potential_evapotranspiration=2 .+ 1.5 .* season)
    bounds = DiffGeo.read_spec(DiffGeo.spec(m).name)[1]["parameters"]
    rng = Xoshiro(5)
    p = (;
        (
            k => (b=bounds[String(k)]; b["lower"] .+ (b["upper"] - b["lower"]) .* rand(rng, basins)) for
            k in DiffGeo.spec(m).parameters
        )...
    )
    return f, p
end

@testset "derivatives of $(DiffGeo.spec(m).name) by hand" for (m, most) in ((hbv(), SVector(100.0, 20.0, 900.0, 100.0, 100.0)),
    (hbv(; melt_threshold=true), SVector(100.0, 20.0, 900.0, 100.0, 100.0)), (exp_hydro(), SVector(100.0, 1500.0)))
    f, p = bucket_inputs(m, 1, 200)
    rng, sp = Xoshiro(8), DiffGeo.spec(m)
    inputs = [SVector(c == 1 ? 0.0 : 20rand(rng), 6randn(rng), 5rand(rng)) for c in 1:200]
    for c in 1:200
        # small stores and overdrawn ones too
        u = (c % 10 == 0 ? -0.01 : 1.0) .* most .* rand(rng, length(most)) .^ 3
        x = SVector{length(sp.parameters)}(p[k][c] for k in sp.parameters)
        found = by_hand_and_duals(m, u, inputs[c], x, rng)
        @test ==(found.rates...)
        @test isapprox(found.jacobian...; rtol=1e-10)
        @test isapprox(found.state...; rtol=1e-9)
        @test isapprox(found.forcing...; rtol=1e-9)
        @test isapprox(found.parameters...; rtol=1e-9)
        J = found.J
        r = SVector{length(u)}(randn(rng, length(u)))
        @test DiffGeo.solve_system(J, ones(length(u)), 0.7, r) ≈ (I - 0.7 * SMatrix(J)) \ r rtol = 1e-9
        @test DiffGeo.solve_transposed(J, ones(length(u)), 0.7, r) ≈ (I - 0.7 * SMatrix(J))' \ r rtol = 1e-9
    end
end

@testset "an own `linearise` does not go with what it would leave out" begin
    sp = DiffGeo.spec(exp_hydro())
    @test_throws Refused SmallModel{2}(sp, identity; linearise=identity, storage=(u, p) -> u)
    @test_throws Refused SmallModel{2}(sp, identity; linearise=identity, jacobian=identity)
    @test_throws Refused SmallModel{2}(sp, identity; terms=identity)
end

@testset "$(DiffGeo.spec(m).name), $method" for (m, start) in
                                                ((hbv(), [1.0, 1.0, 120.0, 10.0, 30.0]), (exp_hydro(), [1.0, 300.0])),
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
    daily = solve(m, f, map(x -> repeat(reshape(x, 1, 1, :), 1, days), p), start, 0:days; options...)
    # what ends a day is computed anew for the next
    @test daily.counts == side.counts
    @test daily.states ≈ side.states rtol = 1e-13
    net = side.fluxes.inflow .- side.fluxes.evapotranspiration .- side.fluxes.discharge
    @test dropdims(sum(diff(side.storage; dims=2); dims=1); dims=1) ≈ net atol = 1e-9
    w = (; states=randn(Xoshiro(6), size(side.states)))
    a, b = pullback(side; w...), pullback(alone; w...)
    @test all(a.parameters[k] ≈ b.parameters[k] for k in keys(a.parameters))
    @test all(a.forcing[k] ≈ b.forcing[k] for k in keys(a.forcing))
end
