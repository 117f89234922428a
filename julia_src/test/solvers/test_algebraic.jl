# States that store nothing: 0 = f(u), solved with the others, side by side and column by column.

using DiffGeo.StaticArrays: SVector

const LEAF = load_model(joinpath(@__DIR__, "../models/leaf.jl"))
const DRY = (V=40.0, K=30.0, g=[1.0, 0.6, 1.5], half=8.0, k=0.1)
const SKY = (rain=[0.0, 6.0, 1.0], co2=[30.0, 60.0, 40.0], dryness=[1.0, 0.4, 1.8])
const GUESS = [20.0, 12.0]

supply_less_demand(u, c, k) =
    (p=map(x -> x isa Vector ? x[c] : x, DRY); f=map(x -> x[k], SKY); first(LEAF.rates(SVector(u...), f, p)[1]))

@testset "equations hold and gradients are right by $method, $(step > 0 ? "fixed steps" : "error control")" for (
    method,
    step
) in
                                                                                                                (
    ("implicit_euler", 1.0),
    ("sdirk2", 0.5),
    ("implicit_euler", 0.0),
    ("trbdf2", 0.5),
    ("trbdf2", 0.0),
    ("kvaerno3", 0.0)
)
    options = (; method, step, newton_tolerance=1e-8, max_newton=40)
    s = solve(LEAF, SKY, DRY, GUESS, 0:3; options...)
    @test isempty(s.failed)
    @test maximum(abs(supply_less_demand(s.states[:, k, c], c, k)) for k in 1:3, c in 1:3) < 1e-10
    @test all(iszero, s.storage[1, :, :]) && s.storage[2, 1, :] == fill(12.0, 3)
    q = s.fluxes
    @test vec(sum(q.rain_in - q.transpiration - q.drainage; dims=1)) ≈ s.storage[2, 4, :] - s.storage[2, 1, :] rtol = 1e-12
    w = (; states=randn(Xoshiro(1), 2, 3, 3), storage=randn(Xoshiro(2), 2, 4, 3), fluxes=randn(Xoshiro(3), 4, 3, 3))
    g = pullback(s; w...)
    replay = step > 0 ? nothing : s.steps
    loss(f, p, u) = begin
        x = solve(LEAF, f, p, u, 0:3; options..., replay)
        sum(w.states .* x.states) + sum(w.storage .* x.storage) + sum(sum(w.fluxes[i, :, :] .* x.fluxes[i]) for i in 1:4)
    end
    near(found, moved) = @test found ≈ (moved(1e-5) - moved(-1e-5)) / 2e-5 rtol = 1e-5 atol = 1e-6
    for k in keys(DRY)
        near(sum(g.parameters[k]), d -> loss(SKY, merge(DRY, (; k => DRY[k] .+ d)), GUESS))
    end
    for k in keys(SKY)
        near(sum(g.forcing[k]), d -> loss(merge(SKY, (; k => SKY[k] .+ d)), DRY, GUESS))
    end
    near(sum(g.initial[2, :]), d -> loss(SKY, DRY, GUESS + [0.0, d]))
    @test all(iszero, g.initial[1, :])
end
