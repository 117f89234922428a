# Streams: saturation by the table, heat that balances, versions of air2stream inside each other.

using DiffGeo: SVector

@testset "saturation" begin
    for (t, told) in ((0.0, 14.621), (10.0, 11.288), (20.0, 9.092), (30.0, 7.559))
        @test DiffGeo.oxygen_saturation(t, 1013.25) ≈ told atol = 1e-3
    end
end

"Rates and fluxes of a model at a state, by the names of its specification."
function at(m, u, forcing, parameters)
    s = DiffGeo.spec(m)
    f = NamedTuple{Tuple(s.forcings)}(Tuple(forcing[k] for k in s.forcings))
    p = NamedTuple{Tuple(s.parameters)}(Tuple(parameters[k] for k in s.parameters))
    return DiffGeo.both(m, SVector((u,)), DiffGeo.prepared(m, f, p), p)
end

of_day = (temperature=7.0, relative_discharge=2.5, year_fraction=0.3)
whole = (a1=1.0, a2=0.5, a3=0.6, a4=0.2, a5=2.0, a6=1.5, a7=0.6, a8=0.3, shift=0.5)

@testset "air2stream, $version parameters, at $u" for version in (3, 4, 5, 7, 8), u in (-0.2, 6.0)
    changes, fluxes = at(DiffGeo.air2stream(; version), u, of_day, whole)
    @test changes[1] ≈ sum(fluxes[1:3]) && fluxes[4] == max(u, 0.0)
    @test fluxes[3] ≈ 10 * max(-u, 0.0)
    version == 5 && continue
    none = NamedTuple(k => 0.0 for k in DiffGeo.AIR2STREAM_VERSIONS[version])
    @test at(DiffGeo.air2stream(), u, of_day, merge(whole, none))[1] ≈ changes
end

@testset "oxygen balances" begin
    forcing = (light=500.0, water_temperature=14.0, water_depth=0.4, pressure=980.0)
    p = (GPP=3.0, ER=-4.0, K600=9.0, theta_GPP=1.036, theta_ER=1.045, mean_light=400.0)
    changes, fluxes = at(DiffGeo.stream_oxygen(), 9.0, forcing, p)
    @test changes[1] ≈ fluxes[1] - fluxes[2] + fluxes[3] && fluxes[4] == 9.0
    @test at(DiffGeo.stream_oxygen(), 0.0, forcing, p)[2][2] == 0.0
end
