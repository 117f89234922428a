# Networks of one input, side by side, from a table of polynomials: as from the network itself.
using DiffGeo: Closure, LANES, Lanes, Network, Networks, STEEP, SVector, Vec, add_weight_slopes!, bind_weights!, evaluated,
    flush_weights!, value_and_slopes,
    weight_count, Field

rng = Xoshiro(31)
eight(f) = Lanes(Vec(ntuple(f, LANES)))
numbers(x::Lanes) = [x.x[lane] for lane in 1:LANES]
"Networks with weights of their own, as the solvers hold them."
function bound(network, w)
    n = Networks((; network), Lanes{LANES,Float64}, Lanes{LANES,Float64})
    return give!(n, w)
end
give!(n, w) = (GC.@preserve w bind_weights!(n, [Field{Float64}(pointer(w), 0, 0, 1)]); n)
gathered(n) = (g=zeros(length(n.on_weights[1])); GC.@preserve g flush_weights!([Field{Float64}(pointer(g), 0, 0, 1)], n, 1); g)

@testset "$activation, weights of $size, $low to $high" for activation in ("tanh", "sigmoid", "softplus", "swish"),
    size in (0.3, 1.0, 4.0, 16.0),
    (low, high) in ((0.0, 1.0), (0.0, 12.0), (NaN, NaN)), hidden in ((16,), (6, 5))

    network = Network((1, hidden..., 1), activation; low, high)
    n = bound(network, size .* randn(rng, weight_count(network)))
    c = n.closures[1]
    for k in 1:60
        # also beyond the table, which ends between 4 and 32
        x = eight(_ -> 3 * randn(rng) + (k == 60 ? 40.0 : 0.0))
        y, slopes = value_and_slopes(c, SVector(x))
        z, right = evaluated(c, SVector(x))
        scale = max(isnan(low) ? 0.0 : high - low, maximum(abs, numbers(z)))
        @test maximum(abs, numbers(y - z)) <= 3e-13 * scale
        @test maximum(abs, numbers(slopes[1] - right[1])) <= 1e-9 * scale
        isnan(low) || @test all(low .<= numbers(y) .<= high)
    end
    # what the table gathers for the weights is what the network would add at once
    at_once = [zero(Lanes{LANES,Float64}) for _ in 1:weight_count(network)]
    for _ in 1:30
        x, on_output = eight(_ -> 2 * randn(rng)), eight(_ -> randn(rng))
        add_weight_slopes!(n, 1, SVector(x), on_output)
        add_weight_slopes!(at_once, c, SVector(x), on_output)
    end
    by_table, right = gathered(n), map(x -> sum(x.x), at_once)
    # to the rounding of an output, where the networks hardly change any more
    @test maximum(abs, by_table - right) <= 1e-11 * maximum(abs, right) + (isnan(low) ? 0.0 : 1e-13 * (high - low))
end

@testset "other weights, other table" begin
    network = Network((1, 16, 1), "tanh"; low=0.0, high=1.0)
    n, x = bound(network, randn(rng, 49)), eight(lane -> lane / 4)
    first_ = value_and_slopes(n.closures[1], SVector(x))[1]
    made = length(n.closures[1].table.made)
    @test made > 0
    w = randn(rng, 49)
    give!(n, w)
    @test isempty(n.closures[1].table.made)
    @test numbers(value_and_slopes(n.closures[1], SVector(x))[1]) ≈ numbers(evaluated(n.closures[1], SVector(x))[1]) rtol =
        1e-13
    @test !(numbers(value_and_slopes(n.closures[1], SVector(x))[1]) ≈ numbers(first_))
    # the same weights again: the table stays
    made = copy(n.closures[1].table.made)
    give!(n, w)
    @test n.closures[1].table.made == made && !isempty(made)
end

@testset "where no polynomial will do, at $slope" for slope in (300.0, 3e3)
    network = Network((1, 16, 1), "tanh"; low=0.0, high=1.0)
    n = bound(network, [fill(slope, 16); -slope .* (1:16) ./ 16; ones(16); 0.0])
    c = n.closures[1]
    for x in (
        eight(lane -> lane / 8),
        eight(lane -> lane == 3 ? NaN : 0.5),
        eight(lane -> lane == 3 ? -Inf : 0.5),
        eight(lane -> 1e300)
    )
        @test isequal(numbers(value_and_slopes(c, SVector(x))[1]), numbers(evaluated(c, SVector(x))[1]))
    end
    # a bump between two of its points would look flat to a piece
    @test slope == 300 ? count(==(STEEP), c.table.states) >= 2 : all(==(STEEP), c.table.states)
end
