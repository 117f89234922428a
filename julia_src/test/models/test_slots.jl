# Networks in all slots of HBV and EXP-HYDRO: what is written by hand against central differences.

using DiffGeo: Closure, Network, SMatrix, SVector, both, prepared

rng = Xoshiro(3)
const SMALL_NET = Network((1, 5, 1), "tanh"; low=0.0, high=1.0)

@testset "networks $(beside ? "beside" : "in place of") the formulas of $name" for (name, build, most) in (
        ("exp_hydro", exp_hydro, SVector(100.0, 1500.0)), ("hbv", hbv, SVector(100.0, 20.0, 400.0, 100.0, 100.0))),
    beside in (false, true)

    slots = NamedTuple(k => SMALL_NET for k in DiffGeo.slot_names(name))
    m = build(; networks=slots, residual=beside ? keys(slots) : ())
    closures = map(Closure, DiffGeo.networks(m))
    foreach(c -> randn!(rng, c.weights), closures)
    sp, known = DiffGeo.spec(m), DiffGeo.read_spec(name)[1]["parameters"]
    names = Tuple(sp.parameters)
    near(a, b) = maximum(abs.(a .- b) ./ (1e-3 .+ abs.(b))) < 2e-5
    for _ in 1:20
        u = most .* rand(rng, length(most)) .^ 2
        f = (precipitation=20rand(rng), temperature=3randn(rng), potential_evapotranspiration=5rand(rng))
        x = [
            known[String(k)]["lower"] + (0.2 + 0.6rand(rng)) * (known[String(k)]["upper"] - known[String(k)]["lower"]) for
            k in names
        ]
        on_rates, on_fluxes = randn(rng, length(u)), randn(rng, length(sp.fluxes))
        P(x) = merge(NamedTuple{names}(Tuple(x)), closures)
        F(v) = NamedTuple{Tuple(sp.forcings)}(Tuple(v))
        rates(u, f, x) = both(m, u, prepared(m, f, P(x)), P(x))
        total(u, f, x) = ((c, q)=rates(u, f, x); sum(on_rates .* c) + sum(on_fluxes .* q))
        moved(y, j, h) = (z=copy(y); z[j] += h; z)
        changes, fluxes, J, pull = m.linearise(u, prepared(m, f, P(x)), P(x))
        on_state, on_forcing, on_parameters, on_networks =
            pull(SVector{length(u)}(on_rates), SVector{length(on_fluxes)}(on_fluxes))
        @test all(rates(u, f, x) .≈ (changes, fluxes))
        for j in eachindex(u)
            h = 1e-5 * max(1, abs(u[j]))
            e(d) = SVector(ntuple(i -> u[i] + (i == j) * d, length(u)))
            @test near(SMatrix(J)[:, j], (rates(e(h), f, x)[1] - rates(e(-h), f, x)[1]) / 2h)
            @test near(on_state[j], (total(e(h), f, x) - total(e(-h), f, x)) / 2h)
        end
        v = collect(values(f))
        for j in eachindex(v)
            @test near(
                on_forcing[sp.forcings[j]],
                (total(u, F(moved(v, j, 1e-5)), x) - total(u, F(moved(v, j, -1e-5)), x)) / 2e-5
            )
        end
        for j in eachindex(x)
            h = 1e-5 * max(1e-1, abs(x[j]))
            @test near(on_parameters[names[j]], (total(u, f, moved(x, j, h)) - total(u, f, moved(x, j, -h))) / 2h)
        end
        for (k, c) in pairs(closures)
            g, d, w = zeros(16), randn(rng, 16), copy(c.weights)
            DiffGeo.add_weight_slopes!(g, c, SVector(on_networks[k][1]), on_networks[k][2])
            along(h) = (c.weights.=w .+ h .* d; y=total(u, f, x); c.weights.=w; y)
            @test near(sum(g .* d), (along(1e-5) - along(-1e-5)) / 2e-5)
        end
    end
end
