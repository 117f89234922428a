using DiffGeo: vexp, vlog, vsqrt
using ForwardDiff: Dual, partials, value

rng = Xoshiro(1)
ulps(x, y) = abs(x - y) / eps(y)

@test maximum(x -> ulps(vexp(x), Float64(exp(big(x)))), 1400 .* rand(rng, 10^4) .- 700) < 1.2
@test maximum(x -> ulps(vlog(x), Float64(log(big(x)))), exp.(1400 .* rand(rng, 10^4) .- 700)) < 1.1
@test vexp(0.0) == 1 && vexp(-800.0) == 0 && vexp(800.0) == Inf && isnan(vexp(NaN))
@test vlog(1.0) == 0 && vlog(Inf) == Inf && all(isnan, vlog.((NaN, 0.0, -1.0)))
@test vexp(1f0) isa Float32 && vlog(2f0) ≈ log(2f0)
for (f, slope) in ((vexp, exp), (vlog, inv), (vsqrt, x -> 0.5 / sqrt(x)))
    @test partials(f(Dual(1.7, 1.0)), 1) ≈ slope(1.7) rtol = 1e-15
end
