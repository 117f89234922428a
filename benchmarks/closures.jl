# What does a network of 16 hidden units cost in place of a formula?
#
#     julia --project=... benchmarks/closures.jl
#
# The five stores with the power law of the recharge, and with a network of the same input: one call, and forward and gradient of a whole
# solve. Lux evaluates the same chain on static arrays where the project has it. One thread, the best of several runs.

using DiffGeo, Random
using DiffGeo: Closure, Lanes, Network, SVector, power, seed
using DiffGeo.StaticArrays: SMatrix

const NET = Network((1, 16, 1), "tanh"; low=0.0, high=1.0)
const EXAMPLE = joinpath(@__DIR__, "../pydiffgeo/examples/julia/five_stores")

best(f, runs=7) = (f(); minimum(@elapsed(f()) for _ in 1:runs))
many(f::F, x, n=20_000) where {F} = (y=f(x); for _ in 1:n
    ;
    y = f(x + 0 * y);
end; y)
nanoseconds(f, x) = round(1e9 * best(() -> many(f, x)) / 20_000; digits=1)

function one_call()
    c = Closure(NET)
    c.weights .= randn(Xoshiro(1), length(c.weights))
    law(x) = power(x, oftype(x, 2.2))
    alone, side = 0.6, Lanes(DiffGeo.Vec(ntuple(i -> 0.1i, 8)))
    for (name, x) in ("a number" => alone, "eight columns" => side)
        println("one call, $name: law $(nanoseconds(law, x)) ns, network $(nanoseconds(c, x)) ns")
    end
    if Base.find_package("Lux") !== nothing
        @eval Main using Lux: Lux
        println("the same chain of Lux on static arrays: $(Base.invokelatest(lux_call, c)) ns")
    end
end

function lux_call(c)
    chain = DiffGeo.lux_chain(NET)
    _, state = Main.Lux.setup(Xoshiro(1), chain)
    p = DiffGeo.lux_parameters(NET, c.weights)
    static = (layer_1=(weight=SMatrix{16,1}(p.layer_1.weight), bias=SVector{16}(p.layer_1.bias)),
        layer_2=(weight=SMatrix{1,16}(p.layer_2.weight), bias=SVector{1}(p.layer_2.bias)), layer_3=p.layer_3)
    return nanoseconds(x -> chain(SVector(x), static, state)[1][1], 0.6)
end

"A copy of the example whose recharge is a network."
function learned(folder)
    code = read(EXAMPLE * ".jl", String)
    write(joinpath(folder, "learned.jl"), replace(code, "power(wetness, p.BETA)" => "p.recharge(wetness)"))
    cp(EXAMPLE * ".toml", joinpath(folder, "learned.toml"))
    return load_model(joinpath(folder, "learned.jl"); networks=(; recharge=NET))
end

function whole_solve(days, basins)
    rng = Xoshiro(1)
    season = sin.(2pi .* (1:days) ./ 365)
    forcing = (precipitation=max.(0.0, 2 .+ 6 .* randn(rng, days)), temperature=8 .+ 12 .* season .+ 3 .* randn(rng, days),
        potential_evapotranspiration=2 .+ 1.5 .* season)
    parameters = (TT=0.3, CFMAX=3.0, CFR=0.05, CWH=0.1, FC=200.0, LP=0.7, BETA=2.2, PERC=1.5, UZL=20.0, K0=0.3, K1=0.1,
        K2=0.01 .+ 0.02 .* (1:basins) ./ basins)
    fluxes = ones(3, days, basins)
    weights = (; recharge=0.5 .* randn(rng, DiffGeo.weight_count(NET)))
    seconds = map(((load_model(EXAMPLE * ".jl"), (;)), (learned(mktempdir()), weights))) do (m, w)
        best() do
            s = solve(
                m,
                forcing,
                parameters,
                [1.0, 1.0, 120.0, 10.0, 30.0],
                0:days;
                weights=w,
                method="implicit_euler",
                step=1.0,
                threads=1
            )
            pullback(s; fluxes)
            DiffGeo.release(s.run)
        end
    end
    law, network = round.(1e6 .* seconds ./ (days * basins); digits=2)
    println("$basins basins: law $law us per basin-day, network $network, ratio $(round(network / law; digits=2))")
end

one_call()
whole_solve(730, 64)
whole_solve(3650, 1)
