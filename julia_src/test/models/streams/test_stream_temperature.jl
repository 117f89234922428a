# Streams: derivatives by hand are those of dual numbers, with networks and without, frozen and dry.

using DiffGeo: SMatrix, SVector
using LinearAlgebra: I

@testset "derivatives of stream_temperature by hand, $exchange" for exchange in ("wind", "evaporation")
    m, rng = DiffGeo.stream_temperature(; exchange), Xoshiro(3)
    sp = DiffGeo.spec(m)
    between(low, high) = low + (high - low) * rand(rng)
    for c in 1:300
        given = (shade=between(0, 0.9), bare_shade=between(0, 0.9), width=between(1, 50), widening=between(0, 0.6),
            still_wind=between(0, 0.2), moving_wind=between(0, 0.1),
            bed_exchange=between(0, 50), ground_share=between(0, 1), ground_warming=between(-3, 3),
            slope=10^between(-4, -1), length=10^between(2, 4))
        weather = (heat_inflow=between(-5, 50), total_inflow=between(0, 5), lateral_inflow=between(0, 1),
            discharge=c % 7 == 0 ? -1e-4 : between(0, 5), loss=between(0, 0.1),
            temperature=between(-20, 30), shortwave_down=between(0, 400),
            vapour_pressure=c % 11 == 0 ? 0.0 : between(100, 2500), cloud_cover=between(0, 1),
            wind_speed=between(0, 10), evaporation=between(0, 1e-7), groundwater_temperature=between(-5, 15),
            soil_water_temperature=between(-5, 20), season=between(-1, 1))
        f, x = SVector{length(sp.forcings)}(weather[k] for k in sp.forcings),
        SVector{length(sp.parameters)}(given[k] for k in sp.parameters)
        # dry, frozen, in part and as a whole, and warm
        volume = c % 5 == 0 ? 0.3 : 10^between(1, 5)
        u = SVector(volume, volume * (c % 3 == 0 ? between(-60, 0) : c % 4 == 0 ? between(-0.05, 0.05) : between(-100, 30)))
        found = by_hand_and_duals(m, u, f, x, rng)
        @test ==(found.rates...)
        @test isapprox(found.jacobian...; rtol=1e-9)
        @test isapprox(found.state...; rtol=1e-9)
        for (own, slopes) in (found.forcing, found.parameters), (one, slope) in zip(own, slopes)
            @test one ≈ slope rtol = 1e-9 atol = 1e-11
        end
    end
end

@testset "where Newton begins solves the day to a thousandth of a degree, $exchange" for exchange in ("wind", "evaporation")
    m, rng = DiffGeo.stream_temperature(; exchange), Xoshiro(5)
    sp, h = DiffGeo.spec(m), 86400.0
    between(low, high) = low + (high - low) * rand(rng)
    liquid = 0
    for c in 1:200
        given =
            (shade=between(0, 0.9), bare_shade=between(0, 0.9), width=between(1, 20), widening=0.2, still_wind=between(0, 0.1),
                moving_wind=between(0, 0.05), bed_exchange=between(0, 20),
                ground_share=between(0, 1), ground_warming=0.0, slope=1e-3, length=2e3)
        weather =
            (heat_inflow=between(10, 50), total_inflow=between(2, 4), lateral_inflow=between(0, 1), discharge=between(1.8, 2),
                loss=0.0, temperature=between(5, 25),
                shortwave_down=between(50, 300), vapour_pressure=between(600, 1500), cloud_cover=between(0, 1),
                wind_speed=between(0, 5), evaporation=between(0, 5e-8),
                groundwater_temperature=between(5, 15), soil_water_temperature=between(5, 20), season=between(-1, 1))
        f, p = NamedTuple{Tuple(sp.forcings)}(Tuple(weather[k] for k in sp.forcings)),
        NamedTuple{Tuple(sp.parameters)}(Tuple(given[k] for k in sp.parameters))
        w, volume = DiffGeo.prepared(m, f, p), 3e4
        # every tenth is ice, whose temperature is left as it is
        u = SVector(volume, volume * (c % 10 == 0 ? -5.0 : between(5, 25)))
        after = m.ahead(u, w, p, m.terms(u, w, p), h)
        changes, _, J, _ = m.linearise(after, w, p)
        error = (SMatrix{2,2}(1.0I) - h * SMatrix(J)) \ (u + h * changes - after)
        @test abs(error[1]) < 1e-9 * volume
        u[2] < 0 && (@test after[2] / after[1] ≈ -5; continue)
        abs(after[2] / after[1] - u[2] / u[1]) < 8 || continue
        liquid += 1
        @test abs(error[2]) / after[1] < 1e-3
    end
    @test liquid > 100
end
