# Steps that are taken again: those of a solution, and one that cannot be taken, which ends the solve.

m, forcing, parameters, psi = small(; top="flux")
drying = merge(forcing, (; top_flux=[0.0, -50.0, 0.0]))  # the soil cannot give so much water
@testset "step $step" for step in (nothing, 0.1)
    options = step === nothing ? (; method="sdirk2") : (; method="implicit_euler", step)
    s = solve(m, merge(forcing, (; top_flux=zeros(3))), parameters, psi, TIMES; options...)
    @test isempty(s.failed)
    again = solve(m, merge(forcing, (; top_flux=zeros(3))), parameters, psi, TIMES; options..., replay=s.steps)
    @test again.states ≈ s.states rtol = 1e-9
    failed = solve(m, drying, parameters, psi, TIMES; options..., replay=s.steps)
    @test failed.failed[1][1] == DiffGeo.TOO_SHORT
    @test failed.counts[2, 1] <= 2  # with the trend of the steps before, and without
end
