# Reaches: derivatives by hand are those of dual numbers.

using DiffGeo: Lanes, SVector, Vec, per_cube_root
using DiffGeo.ForwardDiff: ForwardDiff

@testset "one over a cube root" begin
    x = exp10.(range(-290, 290; length=20_001))
    @test maximum(abs.(per_cube_root.(x) .* cbrt.(x) .- 1)) < 3eps()
    several = per_cube_root(Lanes(Vec(Tuple(x[1:8]))))
    @test [several.x[i] for i in 1:8] == per_cube_root.(x[1:8])
    @test ForwardDiff.derivative(per_cube_root, 8.0) ≈ -1 / 48
end

@testset "derivatives of $name by hand, $options" for (name, make, options) in (
    ("muskingum", DiffGeo.muskingum, (;)), ("muskingum", DiffGeo.muskingum, (; positive=false)),
    ("kinematic_wave", DiffGeo.kinematic_wave, (;)), ("kinematic_wave", DiffGeo.kinematic_wave, (; section="power_law")),
    ("muskingum_cunge", DiffGeo.muskingum_cunge, (;)), ("muskingum_cunge", DiffGeo.muskingum_cunge, (; section="power_law")),
    ("level_pool", DiffGeo.level_pool, (;)))
    m, rng = make(; options...), Xoshiro(5)
    sp = DiffGeo.spec(m)
    between(low, high) = low + (high - low) * rand(rng)
    for c in 1:300
        given = (n=between(0.02, 0.1), slope=10^between(-5, -1), length=10^between(2, 4.5), width=between(1, 200),
            side_slope=between(0.01, 4),
            p=between(1, 100), q=between(0.01, 1.5), K=10^between(3, 5), X=between(0, 0.5), step=10^between(2, 4),
            leakance=between(0, 1e-4), lake_area=10^between(2, 6), shape=between(0.01, 3), crest=between(0.01, 9),
            weir_width=between(1, 100), weir_coefficient=between(0.3, 0.8), orifice_area=between(0.1, 9),
            orifice_height=between(0, 1), orifice_coefficient=between(0.3, 1))
        x = SVector{length(sp.parameters)}(given[k] for k in sp.parameters)
        # a wave in front and behind, and states below zero, where Newton's method may pass
        u, f = SVector((c % 10 == 0 ? -1e-3 : 1.0) * 10^between(-3, 7)), SVector(10^between(-2, 3), between(0, 5))
        found = by_hand_and_duals(m, u, f, x, rng)
        @test ==(found.rates...)
        @test isapprox(found.jacobian...; rtol=1e-8)
        @test isapprox(found.state...; rtol=1e-8)
        @test isapprox(found.forcing...; rtol=1e-8)
        own, slopes = found.parameters
        for (k, one, slope) in zip(sp.parameters, own, slopes)
            @test one ≈ slope rtol = 1e-5 atol = 1e-13 * maximum(abs, slopes .* x) / given[k]
        end
    end
end
