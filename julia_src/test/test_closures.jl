# Networks inside the equations.

using DiffGeo: Closure, Lanes, Network, SVector, add_weight_slopes!, branchless, called, value_and_slopes, weight_count
using DiffGeo.ForwardDiff: ForwardDiff

rng = Xoshiro(21)
a ⋅ b = sum(a .* b)

"The network written down with matrices."
function reference(widths, activation, low, high, w, x)
    f = Dict(
        "tanh" => tanh,
        "sigmoid" => z -> 1 / (1 + exp(-z)),
        "softplus" => z -> log1p(exp(z)),
        "swish" => z -> z / (1 + exp(-z))
    )[activation]
    at = 0
    for l in 1:(length(widths)-1)
        I, O = widths[l], widths[l+1]
        W, b = reshape(w[(at+1):(at+I*O)], O, I), w[(at+I*O+1):(at+(I+1)*O)]
        x = W * x + b
        l < length(widths) - 1 && (x = f.(x))
        at += (I + 1) * O
    end
    return isnan(low) ? only(x) : low + (high - low) / (1 + exp(-only(x)))
end

@testset "$widths $activation" for (widths, activation, low, high) in
                                   (((1, 16, 1), "tanh", NaN, NaN), ((3, 5, 7, 1), "swish", -1.0, 4.0),
    ((2, 8, 1), "softplus", 0.0, 1.0), ((2, 3, 1), "sigmoid", NaN, NaN), ((4, 1), "tanh", NaN, NaN))
    c = Closure(Network(widths, activation; low, high))
    c.weights .= randn(rng, length(c.weights))
    f(w, x) = reference(widths, activation, low, high, w, x)
    X = randn(rng, widths[1], 8)
    columns = SVector(ntuple(i -> Lanes(DiffGeo.Vec(Tuple(X[i, :]))), widths[1]))
    on_weights, side = zeros(length(c.weights)), zeros(eltype(columns), length(c.weights))
    y = called(c, columns)
    add_weight_slopes!(side, c, columns, Lanes(DiffGeo.Vec(ntuple(i -> i / 8, 8))))
    by_column = zeros(length(c.weights), 8)
    for i in 1:8
        x = X[:, i]
        @test called(c, SVector(Tuple(x))) ≈ f(c.weights, x) rtol = 1e-13
        @test y.x[i] ≈ f(c.weights, x) rtol = 1e-13
        z, slopes = value_and_slopes(c, SVector(Tuple(x)))
        @test z ≈ f(c.weights, x) rtol = 1e-13
        @test collect(slopes) ≈ ForwardDiff.gradient(x -> f(c.weights, x), x) rtol = 1e-11
        fill!(on_weights, 0)
        add_weight_slopes!(on_weights, c, SVector(Tuple(x)), i / 8)
        @test on_weights ≈ i / 8 * ForwardDiff.gradient(w -> f(w, x), c.weights) rtol = 1e-11
        @test on_weights ≈ [s.x[i] for s in side] rtol = 1e-12
    end
end

# the recharge of the five stores given by a network of the wetness
closure_code = replace(read(FIVE, String), "power(wetness, p.BETA)" => "p.recharge(wetness)")
folder = mktempdir()
write(joinpath(folder, "learned.jl"), closure_code)
cp(replace(FIVE, ".jl" => ".toml"), joinpath(folder, "learned.toml"))
const NET = Network((1, 16, 1), "tanh"; low=0.0, high=1.0)

@testset "gradient of a solve by $method, $kind" for (method, step, kind) in (
    ("implicit_euler", 1.0, "side by side"),
    ("implicit_euler", 1.0, "alone"),
    ("kvaerno3", 0.0, "alone")
)
    days, basins = 15, 3
    m = load_model(joinpath(folder, "learned.jl"); networks=(; recharge=NET))
    kind == "side by side" || (DiffGeo.BRANCHLESS[objectid(m)] = false)
    f, start = weather(days, rng), [30.0, 1.0, 120.0, 10.0, 30.0]
    p, w = merge(HBV, (; FC=[150.0, 200.0, 250.0])), (; recharge=0.5 .* randn(rng, weight_count(NET)))
    options = (; method, step, rtol=1e-3, newton_tolerance=1e-10, max_newton=40)
    s = solve(m, f, p, start, 0:days; weights=w, options...)
    @test isempty(s.failed) && (s.run.tapes[1].group == 3) == (kind == "side by side")
    q = s.fluxes
    @test vec(sum(q.inflow - q.evapotranspiration - q.discharge; dims=1)) ≈
          vec(sum(s.storage[:, end, :] - s.storage[:, 1, :]; dims=1)) rtol = 1e-9
    v = (; states=randn(rng, 5, days, basins), fluxes=randn(rng, 3, days, basins))
    g = pullback(s; v...)
    loss(p, w) = begin
        x = solve(m, f, p, start, 0:days; weights=w, options..., replay=s.steps)
        v.states ⋅ x.states + sum(v.fluxes[i, :, :] ⋅ x.fluxes[i] for i in 1:3)
    end
    for i in (1, 7, 16, 17, 20, 33, 40, 49)
        moved(d) = loss(p, (; recharge=(y=copy(w.recharge); y[i] += d; y)))
        @test g.weights.recharge[i] ≈ (moved(1e-5) - moved(-1e-5)) / 2e-5 rtol = 1e-6 atol = 1e-7
    end
    for k in (:FC, :K1)
        moved(d) = loss(merge(p, (; k => p[k] .+ d)), w)
        @test sum(g.parameters[k]) ≈ (moved(1e-4) - moved(-1e-4)) / 2e-4 rtol = 1e-6
    end
end

@testset "refused" begin
    write(
        joinpath(folder, "twice.jl"),
        replace(closure_code, "p.recharge(wetness)" => "p.recharge(wetness) * p.recharge(wetness / 2)")
    )
    cp(joinpath(folder, "learned.toml"), joinpath(folder, "twice.toml"))
    m = load_model(joinpath(folder, "twice.jl"); networks=(; recharge=NET))
    s = solve(
        m,
        weather(3, rng),
        HBV,
        [30.0, 1.0, 120.0, 10.0, 30.0],
        0:3;
        weights=(; recharge=zeros(49)),
        method="implicit_euler",
        step=1.0
    )
    @test_throws "called once" pullback(s; states=s.states)
    @test_throws Refused solve(m, weather(3, rng), HBV, ones(5), 0:3)
    @test_throws Refused solve(m, weather(3, rng), HBV, ones(5), 0:3; weights=(; recharge=zeros(48)))
    @test_throws Refused Network((1, 16, 2), "tanh")
    @test_throws Refused Network((1, 16, 1), "tanh"; low=1.0, high=0.0)
    @test_throws UnknownName Network((1, 16, 1), "tang")
end

# networks in the slots of the built-in models, in place of formulas and beside them
const SHARE = Network((1, 5, 1), "tanh"; low=0.0, high=1.0)

@testset "slots of $name" for (name, build, start, residual, left_out) in (
    ("hbv", hbv, [1.0, 1.0, 120.0, 10.0, 30.0], (:evapotranspiration,), :BETA),
    ("exp_hydro", exp_hydro, [1.0, 300.0], (:melt, :spill), :f))
    slots = DiffGeo.slot_names(name)
    m = build(; networks=NamedTuple(k => SHARE for k in reverse(slots)), residual)
    @test collect(keys(DiffGeo.networks(m))) == slots
    @test !(left_out in DiffGeo.spec(m).parameters) && branchless(m)
    days, basins = 40, 3
    known = DiffGeo.read_spec(name)[1]["parameters"]
    p = (; (k => known[String(k)]["default"] * [0.9, 1.0, 1.1] for k in DiffGeo.spec(m).parameters)...)
    w = NamedTuple(k => randn(rng, weight_count(SHARE)) for k in slots)
    options = (; method="implicit_euler", step=1.0, newton_tolerance=1e-10, max_newton=40)
    f = weather(days, rng)
    side = solve(m, f, p, start, 0:days; weights=w, options...)
    DiffGeo.BRANCHLESS[objectid(m)] = false
    alone = solve(m, f, p, start, 0:days; weights=w, options...)
    DiffGeo.BRANCHLESS[objectid(m)] = true
    @test isempty(side.failed) && side.run.tapes[1].group == 3 && alone.run.tapes[1].group == 0
    @test side.states ≈ alone.states rtol = 1e-9
    @test minimum(side.states) > -1e-12
    net = side.fluxes.inflow .- side.fluxes.evapotranspiration .- side.fluxes.discharge
    @test dropdims(sum(diff(side.storage; dims=2); dims=1); dims=1) ≈ net atol = 1e-9
    v = (; states=randn(rng, size(side.states)), fluxes=randn(rng, length(side.fluxes), days, basins))
    a, b = pullback(side; v...), pullback(alone; v...)
    @test all(a.parameters[k] ≈ b.parameters[k] for k in keys(a.parameters))
    @test all(isapprox(a.weights[k], b.weights[k]; rtol=1e-7) for k in slots)
    loss(w) = (
        x=solve(m, f, p, start, 0:days; weights=w, options...);
        v.states ⋅ x.states + sum(v.fluxes[i, :, :] ⋅ q for (i, q) in enumerate(values(x.fluxes)))
    )
    for k in slots
        d = randn(rng, weight_count(SHARE))
        moved(h) = loss(merge(w, NamedTuple{(k,)}((w[k] .+ h .* d,))))
        @test a.weights[k] ⋅ d ≈ (moved(1e-5) - moved(-1e-5)) / 2e-5 rtol = 1e-5 atol = 1e-7
    end
end

@testset "what no slot takes" begin
    @test_throws UnknownName hbv(; networks=(; melt=SHARE))
    @test_throws Refused hbv(; networks=(; recharge=Network((2, 5, 1), "tanh"; low=0.0, high=1.0)))
    @test_throws Refused hbv(; networks=(; recharge=Network((1, 5, 1), "tanh")))
    @test_throws Refused exp_hydro(; networks=(; melt=Network((1, 5, 1), "tanh"; low=0.0, high=2.0)))
    @test_throws UnknownName hbv(; networks=(; recharge=SHARE), residual=(:percolation,))
    beside(formula, y) = DiffGeo.beside(formula, y, nothing, 0.0, 1.0).value
    @test beside(0.3, 0.0) ≈ 0.3
    @test beside(0.3, 2.0) ≈ 1 / (1 + exp(-(log(0.3 / 0.7) + 2)))
    @test beside(0.0, 900.0) == 0 && beside(1.2, -2.0) == 1
end

if Base.find_package("Lux") !== nothing
    @eval using Lux: Lux
    @testset "as a chain of Lux, $activation" for (activation, low, high) in (
        ("tanh", NaN, NaN),
        ("swish", -1.0, 4.0),
        ("softplus", NaN, NaN),
        ("sigmoid", 0.0, 1.0)
    )
        n = Network((3, 5, 7, 1), activation; low, high)
        c = Closure(n)
        c.weights .= randn(rng, length(c.weights))
        chain = DiffGeo.lux_chain(n)
        parameters = DiffGeo.lux_parameters(n, c.weights)
        given, state = Lux.setup(rng, chain)
        @test typeof(parameters) == typeof(map(p -> map(x -> Float64.(x), p), given))
        @test DiffGeo.flat_weights(n, parameters) == c.weights
        X = randn(rng, 3, 20)
        Y, _ = chain(X, parameters, state)
        @test vec(Y) ≈ [c(x...) for x in eachcol(X)] rtol = 1e-12
    end
else
    @info "Lux is not in this project: its chains were not compared"
end
