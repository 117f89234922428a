using DiffGeo: falling_exp, inverses, vexp, vlog, vsqrt
using ForwardDiff: Dual, partials, value

rng = Xoshiro(1)
ulps(x, y) = abs(x - y) / eps(y)

@test maximum(x -> ulps(vexp(x), Float64(exp(big(x)))), 1400 .* rand(rng, 10^4) .- 700) < 1.2
@test maximum(x -> ulps(falling_exp(x), Float64(exp(big(x)))), -700 .* rand(rng, 10^4)) < 1.2
@test falling_exp(0.0) == 1 && 0 < falling_exp(-1e9) < 1e-300 && isnan(falling_exp(NaN))
@test maximum(x -> ulps(vlog(x), Float64(log(big(x)))), exp.(1400 .* rand(rng, 10^4) .- 700)) < 1.1
@test vexp(0.0) == 1 && vexp(-800.0) == 0 && vexp(800.0) == Inf && isnan(vexp(NaN))
@test vlog(1.0) == 0 && vlog(Inf) == Inf && all(isnan, vlog.((NaN, 0.0, -1.0)))
@test vexp(1.0f0) isa Float32 && vlog(2.0f0) ≈ log(2.0f0)
for (f, slope) in ((vexp, exp), (falling_exp, exp), (vlog, inv), (vsqrt, x -> 0.5 / sqrt(x)))
    @test partials(f(Dual(0.7, 1.0)), 1) ≈ slope(0.7) rtol = 1e-15
end

@test all(inverses(3.0, 0.2, -7.0, 1e-6) .≈ 1 ./ (3.0, 0.2, -7.0, 1e-6))
