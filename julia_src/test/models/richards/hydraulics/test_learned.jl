# Networks as soil curves: slopes, gradients in parameters and weights, the range of the curves.
using DiffGeo: Curves, Learned, Network, bind_weights!, curves, derive, for_column, networks, parameters, pull,
    pull_conductivity, slopes!,
    weight_count, Field, flush_weights!
using ForwardDiff: Dual, partials
using StaticArrays: SVector, setindex

rng = Xoshiro(7)
ranges = (; retention=(0.0, 1.0), conductivity=(0.0, 12.0))
net(k) = Network((1, 5, 1), "tanh"; low=ranges[k][1], high=ranges[k][2])
formulas = (VanGenuchten(), VanGenuchtenVogel(), BrooksCorey(:mualem), Gardner(), Haverkamp())
known = Dict(:theta_r => 0.065, :theta_s => 0.41, :alpha => 0.075, :n => 1.89, :K_s => 4.42, :psi_b => 20.0, :pore_index => 0.3,
    :A_theta => 1.6e6,
    :beta => 3.96, :A_K => 1.2e6, :gamma => 4.74, :pore_connectivity => -0.7, :air_entry => 2.0)
"Weights with which the output rises: those on the way from the input to it are positive."
rising() = [abs.(randn(rng, 5)); randn(rng, 5); abs.(randn(rng, 5)); randn(rng)]

function difference(f, x)
    step = 1e-5 * max(abs(x), 1)
    return (8 * (f(x + step) - f(x - step)) - f(x + 2step) + f(x - 2step)) / 12step
end

"Hydraulics of one column with these weights."
function with_weights(h, weights)
    own = for_column(h, 37, Float64)
    GC.@preserve weights bind_weights!(own, [Field{Float64}(pointer(w), 0, 0, 1) for w in weights])
    return own
end

for formula in formulas, names in ((:retention,), (:conductivity,), (:retention, :conductivity)), residual in ((), names)
    h = Learned(formula; networks=NamedTuple(k => net(k) for k in names), residual)
    weights = [rising() for _ in names]
    p = SVector(map(k -> known[k], parameters(h)))
    n = 37  # no multiple of the cells that are computed at once
    psi = [-exp.(7 .* rand(rng, n - 3)); 0.1; 1.0; 30.0]  # zero itself is a kink of the formulas
    own, out = with_weights(h, weights), Curves{Float64}(n)
    soil = derive(own, p)
    slopes!(out, own, soil, psi, 1:20, true)
    slopes!(out, own, soil, psi, 21:n, true)
    at(x) = curves(own, soil, x)
    @test out.theta ≈ first.(at.(psi)) rtol = 1e-14
    @test out.K ≈ last.(at.(psi)) rtol = 1e-12
    slope(k, x) = partials(at(Dual{Nothing}(x, 1.0))[k], 1)
    @test out.capacity ≈ slope.(1, psi) rtol = 1e-11
    @test out.dK ≈ slope.(2, psi) rtol = 1e-11
    dry = findall(<(-0.1), psi)
    @test out.capacity[dry] ≈ [difference(x -> first(at(x)), x) for x in psi[dry]] rtol = 1e-6
    @test out.dK[dry] ≈ [difference(x -> last(at(x)), x) for x in psi[dry]] rtol = 1e-6
    @test all(0.065 - 1e-15 .<= out.theta .<= 0.41 + 1e-15) && all(0 .< out.K .<= 4.42 * (1 + 1e-15))
    @test minimum(out.capacity) >= -1e-15 && all(out.dK .>= -1e-13 .* out.K)
    # theta_s and K_s where the soil is saturated; Brooks and Corey's conductivity there is that of the formula
    @test out.theta[(end-2):end] ≈ fill(0.41, 3) && out.K[(end-2):end] ≈ fill(4.42, 3)

    w_theta, w_K, head, weight = randn(rng, n), randn(rng, n), -33.0, 0.7
    total(q, w) = (o=with_weights(h, w); s=derive(o, q);
        sum(w_theta .* first.(curves.(Ref(o), Ref(s), psi)) .+ w_K .* last.(curves.(Ref(o), Ref(s), psi))) +
        weight * last(curves(o, s, head)))
    on_p =
        pull(own, p, soil, out, psi, w_theta, w_K, 1:20) + pull(own, p, soil, out, psi, w_theta, w_K, 21:n) +
        pull_conductivity(own, p, head, weight)
    on_w = [zeros(weight_count(net(k))) for k in names]
    flush_weights!([Field{Float64}(pointer(g), 0, 0, 1) for g in on_w], own, 1)
    by_p = [difference(x -> total(setindex(p, x, i), weights), p[i]) for i in eachindex(p)]
    @test on_p ≈ by_p rtol = 1e-7
    for k in eachindex(weights)
        moved(x, i) = [j == k ? setindex!(copy(w), x, i) : w for (j, w) in enumerate(weights)]
        # differences of a total near 10 over steps of 1e-5 have rounding of 1e-10
        @test on_w[k] ≈ [difference(x -> total(p, moved(x, i)), weights[k][i]) for i in eachindex(weights[k])] rtol = 1e-7 atol =
            1e-9
    end
end
