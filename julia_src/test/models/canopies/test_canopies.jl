# Two big leaves: what a canopy closes, a known answer without leaves, and gradients against differences.

const NOON =
    (shortwave_down=850.0, par=1750.0, diffuse_share=0.2, sun_elevation=65.0, longwave_down=340.0, air_temperature=24.0,
        vapour_pressure=1500.0,
        co2=410.0, pressure=101000.0, wind_speed=3.0, friction_velocity=0.35, vegetation_height=1.0, leaf_area_index=3.0,
        soil_temperature=19.0,
        soil_moisture=0.25, soil_water_stress=0.8)

"The noon over some meadows, each a little different."
function meadows(m, columns, rng=Xoshiro(4))
    known(k) = (
        x=get(DiffGeo.read_spec("two_big_leaf")[1]["parameters"], String(k), nothing);
        x === nothing ? DiffGeo.read_spec("photosynthesis")[1]["parameters"][String(k)] : x
    )
    near(x, share) = x .* (1 .+ share .* (rand(rng, columns) .- 0.5))
    value(k) = endswith(String(k), r"activation|entropy") ? fill(known(k)["default"], columns) : near(known(k)["default"], 0.2)
    return NamedTuple(k => reshape(near(NOON[k], 0.3), 1, :) for k in DiffGeo.spec(m).forcings),
    NamedTuple(k => value(k) for k in DiffGeo.spec(m).parameters)
end

@testset "10,000 meadows close energy, water and CO2" begin
    m = two_big_leaf()
    f, p = meadows(m, 10_000)
    s = solve(m, f, p, [280.0, 280.0, 20.0, 20.0, 20.0, 1000.0], 0:1)
    q = s.fluxes
    @test isempty(s.failed) && all(>(0), s.states)
    @test q.net_radiation ≈ q.latent_heat + q.sensible_heat + q.ground_heat_flux rtol = 1e-10
    @test q.latent_heat ≈ q.transpiration_sun + q.transpiration_shade + q.soil_evaporation rtol = 1e-10
    @test q.net_ecosystem_exchange ≈ q.ecosystem_respiration - q.gross_primary_production rtol = 1e-10
    @test all(0 .< q.leaf_area_sun .< f.leaf_area_index)
end

@testset "what absorbs and what is reflected make up what came" begin
    a = DiffGeo.absorbed(300.0, 200.0, 2.5, 0.6, 0.78, 0.85, 0.1)
    @test a.sun + a.shade + a.soil + a.reflected ≈ 500 rtol = 1e-12
    @test DiffGeo.mean_exp(0.99e-4) ≈ DiffGeo.mean_exp(1.01e-4) rtol = 2e-6
    @test DiffGeo.mean_exp(0.0) == 1
end

@testset "gradients, $(join(values(form), " "))" for form in (
    (; stomata="medlyn"),
    (; friction="log_law", light="shortwave", pathway="c4", stomata="leuning")
)
    m = two_big_leaf(; form...)
    f, p = meadows(m, 9)
    begin_ = [280.0, 280.0, 20.0, 20.0, 20.0, 1000.0]
    s = solve(m, f, p, begin_, 0:1)
    @test isempty(s.failed)
    w = (states=randn(Xoshiro(1), 6, 1, 9), fluxes=randn(Xoshiro(2), length(s.fluxes), 1, 9))
    g = pullback(s; w...)
    loss(f, p) = (
        x=solve(m, f, p, begin_, 0:1);
        sum(w.states .* x.states) + sum(sum(w.fluxes[i, :, :] .* x.fluxes[i]) for i in eachindex(s.fluxes |> Tuple))
    )
    for (kind, given) in ((:forcing, f), (:parameters, p)), k in keys(given)
        part = 1e-6
        moved(d) = kind === :forcing ? loss(merge(f, (; k => f[k] .* (1 + d))), p) : loss(f, merge(p, (; k => p[k] .* (1 + d))))
        @test sum(vec(g[kind][k]) .* vec(given[k])) ≈ (moved(part) - moved(-part)) / 2part rtol = 1e-5 atol = 1e-3
    end
end

@testset "a canopy has no leaf that is measured" begin
    @test_throws Refused two_big_leaf(; stomata="measured")
    @test_throws Refused two_big_leaf(; energy_balance=true)
    @test_throws UnknownName two_big_leaf(; friction="loglaw")
end
