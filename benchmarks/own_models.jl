# What does a model of a user's own cost, of which only the rates are written down?
#
#     julia --project=... benchmarks/own_models.jl
#
# Five stores with daily forcing, in microseconds per basin and day; and Richards' equation written as rates of cells, against the
# built-in model on the same steps. One thread, the best of several runs, forward and gradient.

using DiffGeo, Random

best(f, runs=5) = (f(); minimum(@elapsed(f()) for _ in 1:runs))

function both(m, forcing, parameters, initial, times; options...)
    s = solve(m, forcing, parameters, initial, times; threads=1, options...)
    fluxes = isempty(s.fluxes) ? nothing : ones(length(s.fluxes), length(times) - 1, size(s.states, 3))
    pullback(s; states=s.states, fluxes)
    DiffGeo.release(s.run)
    return s
end

function five_stores(days, basins)
    rng = Xoshiro(1)
    m = load_model(joinpath(@__DIR__, "../pydiffgeo/examples/julia/five_stores.jl"))
    season = sin.(2pi .* (1:days) ./ 365)
    forcing = (precipitation=max.(0.0, 2 .+ 6 .* randn(rng, days)), temperature=8 .+ 12 .* season .+ 3 .* randn(rng, days),
        potential_evapotranspiration=2 .+ 1.5 .* season)
    parameters = (TT=0.3, CFMAX=3.0, CFR=0.05, CWH=0.1, FC=200.0, LP=0.7, BETA=2.2, PERC=1.5, UZL=20.0, K0=0.3, K1=0.1,
        K2=collect(range(0.01, 0.03; length=basins)))
    for (name, options) in (("implicit_euler, one step a day", (; method="implicit_euler", step=1.0)),
        ("implicit_euler, rtol 1e-2", (; method="implicit_euler", rtol=1e-2)), ("kvaerno3, rtol 1e-2", (; rtol=1e-2)))
        run() = both(m, forcing, parameters, [1.0, 1.0, 120.0, 10.0, 30.0], 0:days; options...)
        s = run()
        steps, iterations = round.(sum(s.counts[[1, 3], :]; dims=2) ./ (days * basins); digits=2)
        println("five stores, $name: $(round(1e6 * best(run) / (days * basins); digits=2)) us per basin-day, ",
            "$steps steps and $iterations iterations a day")
    end
end

function richards()
    soil = (theta_r=0.102, theta_s=0.368, alpha=0.0335, n=2.0, K_s=33.192)
    heads = (top_head=-75.0, bottom_head=-1000.0)
    own = load_model(joinpath(@__DIR__, "julia/own_richards.jl"); cells=100)
    built_in = Richards(range(0.0, 100.0; length=101); top="head", bottom="head")
    ours() = both(own, heads, soil, -1000.0, [0.0, 24.0]; rtol=1e-3)
    theirs() = both(built_in, heads, merge(soil, (specific_storage=0.0,)), -1000.0, [0.0, 24.0]; rtol=1e-3)
    a, b = ours(), theirs()
    println("heads differ by $(maximum(abs, a.states - b.states)) cm; steps $(a.counts[1]) and $(b.counts[1])")
    s, t = best(ours), best(theirs)
    println(
        "Richards from rates: $(round(1e3s; digits=2)) ms, built in: $(round(1e3t; digits=2)) ms, ratio $(round(s / t; digits=1))"
    )
end

five_stores(3650, 8)
richards()
