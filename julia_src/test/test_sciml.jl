# Methods and sensitivities of SciML: trajectories against kvaerno3, gradients against its discrete adjoint.

const DAYS = (
    rain=[0.0, 0.15, 0.02, 0.0],
    potential_evaporation=[0.01, 0.002, 0.004, 0.01],
    potential_transpiration=[0.01, 0.004, 0.006, 0.012]
)
const DAY_ENDS = [0.0, 24.0, 48.0, 72.0, 96.0]

"Two soils with roots, unsaturated throughout."
function weather_case()
    m, _, soils, psi = small(; roots="exponential")
    return m, DAYS, soils, psi .- 100
end
weigh(s) = (; states=(s.states ./ 1e4), storage=one.(s.storage), fluxes=ones(5, 4, 1))

m, forcing, soils, psi = weather_case()
run(; options...) = solve(m, forcing, soils, psi, DAY_ENDS; options...)
exact = run(; rtol=1e-9)
exact_gradient = pullback(exact; weigh(exact)...)
flat(g) = reduce(
    vcat,
    [[vec(g.parameters[k] .* soils[k]) for k in keys(soils)]; [vec(g.forcing[k]) .* forcing[k] for k in keys(forcing)]]
)
apart(a, b) = sqrt(sum(abs2, a .- b) / sum(abs2, b))

@testset "$method" for method in filter(x -> !isempty(DiffGeo.allowed(x)), DiffGeo.SCIML_METHODS)
    tight = run(; method, sensitivity=first(DiffGeo.allowed(method)), rtol=1e-9)
    @test isempty(tight.failed)
    @test maximum(abs.(tight.states ./ exact.states .- 1)) < 1e-6
    for k in keys(exact.fluxes)
        @test tight.fluxes[k] ≈ exact.fluxes[k] rtol = 1e-6 atol = 1e-6 * maximum(DAYS.rain)
    end
    @testset "$sensitivity" for sensitivity in DiffGeo.allowed(method)
        # with the gradient of the parameters among its unknowns, at the default
        rtol = sensitivity == "InterpolatingAdjoint" ? 1e-6 : 1e-7
        s = run(; method, sensitivity, rtol)
        g = pullback(s; weigh(s)...)
        @test apart(flat(g), flat(exact_gradient)) < 1e-3
        @test apart(g.initial, exact_gradient.initial) < 1e-3
        again = run(; method, sensitivity, rtol, checkpoints=true)
        @test flat(pullback(again; weigh(again)...)) ≈ flat(g) rtol = 1e-12
    end
end

@testset "refused" begin
    for ((method, sensitivity), reason) in DiffGeo.REFUSED
        @test_throws reason run(; method, sensitivity)
    end
    @test_throws Refused run(; method="FBDF")
    @test_throws Refused run(; method="kvaerno3", sensitivity="GaussAdjoint")
    @test_throws Refused run(; method="FBDF", sensitivity="GaussAdjoint", rtol=1e-3)
    @test_throws Refused run(; method="FBDF", sensitivity="GaussAdjoint", step=0.1)
    @test_throws Refused run(; method="FBDF", sensitivity="GaussAdjoint", T=Float32)
    @test_throws Refused run(; method="FBDF", sensitivity="GaussAdjoint", replay=exact.steps)
    @test_throws UnknownName run(; method="FDBF", sensitivity="GaussAdjoint")
    @test_throws UnknownName run(; method="FBDF", sensitivity="Gauss")
end

@testset "a failed column leaves the others alone" begin
    starts = [psi psi]
    starts[:, 1] .= 50  # saturated without specific storage: heads have no rate
    dry = merge(soils, (; specific_storage=[0.0; 0.0;;]))
    both = solve(m, forcing, dry, starts, DAY_ENDS; method="FBDF", sensitivity="GaussAdjoint", rtol=1e-6)
    @test collect(keys(both.failed)) == [1] && both.failed[1][2] == 1
    @test all(isnan, both.states[:, :, 1])
    alone = solve(m, forcing, dry, psi, DAY_ENDS; method="FBDF", sensitivity="GaussAdjoint", rtol=1e-6)
    @test both.states[:, :, 2] == alone.states[:, :, 1]
end
