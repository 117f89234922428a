# Photosynthesis: residuals of random leaves, and gradients against differences.

const WEATHER_OF_LEAVES =
    (par=(0, 2000), leaf_temperature=(-5, 50), vapour_pressure_deficit=(0.01, 8), co2=(20, 2000), pressure=(6e4, 1.02e5),
        boundary_layer_conductance=(0.1, 3), soil_water_stress=(0.05, 1), air_temperature=(-5, 45), vapour_pressure=(200, 3000),
        shortwave=(0, 600),
        longwave=(200, 450))

function drawn(m, leaves, rng=Xoshiro(4))
    known, sp = DiffGeo.read_spec("photosynthesis")[1]["parameters"], DiffGeo.spec(m)
    between((low, high), size...) = low .+ (high - low) .* rand(rng, size...)
    value(k) = (
        x=known[String(k)];
        k === :c4 ? rand(rng, 0.0:1.0, leaves) :
        endswith(String(k), r"activation|entropy") ? fill(x["default"], leaves) :
        between((x["lower"], x["upper"]), leaves)
    )
    return NamedTuple(k => between(WEATHER_OF_LEAVES[k], 1, leaves) for k in sp.forcings),
    NamedTuple(k => value(k) for k in sp.parameters)
end

@testset "100,000 leaves" begin
    m = photosynthesis()
    f, p = drawn(m, 100_000)
    s = solve(m, f, p, 300.0, 0:1)
    @test isempty(s.failed) && all(>(0), s.states)
    e = map((k, x) -> k => vec(x), keys(s.fluxes), values(s.fluxes)) |> NamedTuple
    surface = vec(f.co2) .- 1.4 .* e.assimilation ./ vec(f.boundary_layer_conductance)
    ci = surface .- 1.6 .* e.assimilation ./ e.stomatal_conductance
    @test maximum(abs.(ci .- vec(s.states)) ./ max.(surface, vec(s.states))) < 1e-10
    # the root is the physical one: above the compensation point no limit is passed
    least = min.(e.rubisco_limited, e.light_limited)
    @test all((e.assimilation .<= least .- e.day_respiration .+ 1e-9) .| (least .< 0))
end

@testset "100,000 leaves with an energy balance, C4 at the threshold of their stomata among them" begin
    m = photosynthesis(; pathway="both", stomata="ball_berry", energy_balance=true, mesophyll=true, product_limit=true)
    f, p = drawn(m, 100_000)
    s = solve(m, f, p, 20.0, 0:1)
    @test isempty(s.failed) && all(>(0), s.states[1, :, :])
    # the flow ends where an update is 1e-11 of a state: below 1e-9 K, of some 50 W m-2 K-1
    left = s.fluxes.net_radiation .- s.fluxes.latent_heat .- s.fluxes.sensible_heat
    @test maximum(abs.(left) ./ (100 .+ abs.(s.fluxes.latent_heat) .+ abs.(s.fluxes.sensible_heat))) < 1e-9
end

@testset "energy balance and gradients, $(join(values(form), " "))" for form in (
    (; energy_balance=true),
    (; pathway="both", stomata="ball_berry")
)
    m = photosynthesis(; form...)
    f, p = drawn(m, 9)
    N = length(DiffGeo.spec(m).states)
    s = solve(m, f, p, 20.0, 0:1)
    @test isempty(s.failed)
    haskey(form, :energy_balance) && @test s.fluxes.net_radiation ≈ s.fluxes.latent_heat + s.fluxes.sensible_heat rtol = 1e-10
    w = (states=randn(Xoshiro(1), N, 1, 9), fluxes=randn(Xoshiro(2), length(s.fluxes), 1, 9))
    g = pullback(s; w...)
    loss(f, p) = (
        x=solve(m, f, p, 20.0, 0:1);
        sum(w.states .* x.states) + sum(sum(w.fluxes[i, :, :] .* x.fluxes[i]) for i in eachindex(s.fluxes |> Tuple))
    )
    for (kind, given) in ((:forcing, f), (:parameters, p)), k in keys(given)
        k === :c4 && continue
        part = 1e-6
        moved(d) = kind === :forcing ? loss(merge(f, (; k => f[k] .* (1 + d))), p) : loss(f, merge(p, (; k => p[k] .* (1 + d))))
        @test sum(vec(g[kind][k]) .* vec(given[k])) ≈ (moved(part) - moved(-part)) / 2part rtol = 1e-5 atol = 1e-4
    end
end
