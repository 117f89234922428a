# Gradients against central differences on the same accepted steps.

const TIGHT = (; newton_tolerance=1e-10, max_newton=30, rtol=1e-2)

function compare(m, forcing, parameters, psi; method="kvaerno3", options...)
    s = solve(m, forcing, parameters, psi, TIMES; method, TIGHT..., options...)
    @test isempty(s.failed)
    count, rng = length(DiffGeo.spec(m).fluxes), Xoshiro(4)  # the same for each, whatever is tested before
    w = (; states=randn(rng, size(s.states)), storage=randn(rng, size(s.storage)), fluxes=randn(rng, count, 3, 1))
    g = pullback(s; w...)
    function loss(forcing, parameters, psi)
        x = solve(m, forcing, parameters, psi, TIMES; method, replay=s.steps, TIGHT..., options...)
        sum(w.states .* x.states) + sum(w.storage .* x.storage) + sum(w.fluxes[i, :, :] ⋅ x.fluxes[i] for i in 1:count)
    end
    a ⋅ b = sum(a .* b)
    function difference(change, size)
        h = 3e-5 * size  # smaller ones drown in what Newton leaves, larger ones see the curvature at air entry
        return (change(h) - change(-h)) / 2h
    end
    for k in keys(parameters), i in eachindex(parameters[k] isa Number ? [0] : parameters[k])
        x = parameters[k]
        size = max(abs(x isa Number ? x : x[i]), 1e-4)
        found = difference(
            h -> loss(forcing, merge(parameters, (; k => (x isa Number ? x + h : (y=copy(x); y[i] += h; y)))), psi),
            size
        )
        @test g.parameters[k][i] ≈ found rtol = 1e-5 atol = 1e-6 / size
    end
    for k in keys(forcing), i in 1:3
        x = forcing[k]
        found = difference(h -> loss(merge(forcing, (; k => (y=copy(x); y[i] += h; y))), parameters, psi), max(abs(x[i]), 1e-2))
        @test g.forcing[k][i] ≈ found rtol = 1e-5 atol = 1e-6 / max(abs(x[i]), 1e-2)
    end
    for i in eachindex(psi)
        found = difference(h -> loss(forcing, parameters, (y=copy(psi); y[i] += h; y)), abs(psi[i]))
        @test g.initial[i] ≈ found rtol = 1e-5 atol = 1e-7
    end
end

@testset "$method" for method in sort!(collect(keys(METHODS)))
    compare(small(; roots="exponential")...; method)
end
@testset "$name" for name in sort!(collect(keys(SOILS)))
    compare(small(name; roots="linear")...)
end
@testset "$top $bottom $face_mean" for (top, bottom, face_mean) in
                                       (("head", "head", "geometric"), ("flux", "seepage_face", "harmonic"),
    ("atmospheric", "flux", "arithmetic"), ("head", "seepage_face", "upstream"))
    compare(small(; top, bottom, face_mean)...)
end
@testset "surface layer, demand-dependent roots" begin
    m, forcing, parameters, psi = small(; top="surface_layer", roots=RootUptake("linear"; demand_dependent=true))
    for pond in (psi[1], 0.45)  # nearly full, and above its greatest depth
        compare(m, forcing, parameters, [pond; psi[2:end]])
    end
end
@testset "compensated roots, omega_c $omega_c, $top" for omega_c in (0.1, 0.97), top in ("atmospheric", "surface_layer")
    m, forcing, parameters, psi = small(; top, roots=RootUptake("linear"; demand_dependent=true, compensated=true))
    compare(m, forcing, merge(parameters, (; omega_c)), psi)
end
@testset "roots of one's own" begin
    compare(small(; roots=RootUptake([0.1, 0.05, 0.0, 0.1, 0.02, 0.003]))...)
end
@testset "one soil" begin
    compare(small(; layers=false)...)
end
@testset "parameters that change in time" begin
    m, forcing, parameters, psi = small()
    changing = merge(parameters, (K_s=[4.42 3.0 5.0; 0.26 0.3 0.2][:, :, :], ponding_height=reshape([0.3, 0.2, 0.4], 1, 3, 1)))
    compare(m, forcing, changing, psi)
end
@testset "checkpoints" begin
    m, forcing, parameters, psi = small(; roots="exponential")
    times, many = collect(0.0:0.25:4.0), map(x -> repeat(x; outer=6)[1:16], forcing)
    rng = Xoshiro(4)
    w = (; states=randn(rng, 6, 16, 1), fluxes=randn(rng, 5, 16, 1))
    run(checkpoints) = pullback(solve(m, many, parameters, psi, times; checkpoints); w...)
    whole, parts = run(false), run(true)
    for k in keys(parameters)
        @test parts.parameters[k] ≈ whole.parameters[k] rtol = 1e-12
    end
    @test parts.initial ≈ whole.initial rtol = 1e-12
end
