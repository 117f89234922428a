using DiffGeo: Curves, curves, derive, parameters, pull, seed, slopes!, face_mean, face_slopes, FACE_MEANS, gradient_of
using StaticArrays: SVector
using ForwardDiff: ForwardDiff, value

rng = Xoshiro(3)
soils = ((VanGenuchten(), SVector(0.065, 0.41, 0.075, 1.89, 4.42, 0.5)),
    (VanGenuchten(1.0), SVector(0.068, 0.38, 0.008, 1.09, 0.2, 0.5)),
    (VanGenuchten(), SVector(0.065, 0.41, 0.075, 1.89, 4.42, -1.3)),
    (VanGenuchtenVogel(), SVector(0.068, 0.38, 0.008, 1.09, 0.2, 0.5, 2.0)),
    (VanGenuchtenVogel(), SVector(0.065, 0.41, 0.075, 1.89, 4.42, -1.0, 3.0)),
    (BrooksCorey(), SVector(0.04, 0.42, 20.0, 0.3, 3.0)),
    (BrooksCorey(:mualem), SVector(0.04, 0.42, 20.0, 0.3, 3.0, -1.0)), (Gardner(), SVector(0.06, 0.4, 0.1, 1.0)),
    (Haverkamp(), SVector(0.075, 0.287, 1.611e6, 3.96, 1.175e6, 4.74, 34.0)))

# the formulas as published, in high precision, far from the bands near saturation
function published(h::VanGenuchten, p, psi)
    theta_r, theta_s, alpha, n, K_s, l = big.(p)
    m = 1 - 1 / n
    S = (1 + abs(alpha * psi)^n)^-m
    return theta_r + (theta_s - theta_r) * S, K_s * S^l * (1 - (1 - S^(1 / m))^m)^2
end
function published(h::VanGenuchtenVogel, p, psi)
    theta_r, theta_s, alpha, n, K_s, l, entry = big.(p)
    m = 1 - 1 / n
    bend(x) = (x + entry + sqrt((x - entry)^2 + (h.entry_width * entry)^2)) / 2
    F(s) = (1 + (alpha * s)^n)^-m
    V(s) = 1 - (1 - F(s)^(1 / m))^m
    s, wet = bend(-big(psi)), bend(big(0))
    S = F(s) / F(wet)
    return theta_r + (theta_s - theta_r) * S, K_s * S^l * (V(s) / V(wet))^2
end
published(::Gardner, p, psi) = (p[1] + (p[2] - p[1]) * exp(big(p[3] * psi)), p[4] * exp(big(p[3] * psi)))
function published(h::Haverkamp, p, psi)
    x = abs(big(psi))
    s = x * (x^4 + big(h.entry_width)^4)^((big(p[4]) - 1) / 4)
    return p[1] + (p[2] - p[1]) * p[3] / (p[3] + s), p[7] * p[5] / (p[5] + x^p[6])
end
function published(h::BrooksCorey, p, psi)
    theta_r, theta_s, psi_b, index, K_s = big.(p[1:5])
    b = length(p) == 5 ? 3 : 2 + p[6]
    bend(x) = (x + psi_b + sqrt((x - psi_b)^2 + (h.entry_width * psi_b)^2)) / 2
    S = (bend(big(0)) / bend(-big(psi)))^index
    return theta_r + (theta_s - theta_r) * S, K_s * S^(b + 2 / index)
end

for (h, p) in soils
    n = 400
    psi = [-exp.(9 .* rand(rng, n - 20)); 2 .* rand(rng, 20) .- 1.5]
    soil, out = derive(h, p), Curves{Float64}(n)
    for range in (1:(n-20), (n-19):n)  # dry, and around saturation
        slopes!(out, h, soil, psi, range, true)
    end
    for i in 1:(n-20)
        theta, K = published(h, p, psi[i])
        @test out.theta[i] ≈ theta rtol = 1e-13
        @test out.K[i] ≈ K rtol = 1e-13 * (1 + p[findfirst(==(:K_s), parameters(h))] / K)^0.5  # 1 - U cancels where the soil is dry
    end
    slope(k, x) = ForwardDiff.derivative(y -> curves(h, soil, y)[k], x)
    for i in findall(x -> abs(x) > 1e-9, psi)
        @test out.capacity[i] ≈ slope(1, psi[i]) rtol = 1e-12 atol = 1e-300
        @test out.dK[i] ≈ slope(2, psi[i]) rtol = 1e-9 atol = 1e-12
    end
    w_theta, w_K = randn(rng, n), randn(rng, n)
    total(q) =
        sum(w_theta .* first.(curves.(Ref(h), Ref(derive(h, q)), psi)) .+ w_K .* last.(curves.(Ref(h), Ref(derive(h, q)), psi)))
    both = pull(h, p, soil, out, psi, w_theta, w_K, 1:n)
    @test both ≈ ForwardDiff.gradient(total, p) rtol = 1e-11
end

for mean in values(FACE_MEANS), gradient in (-1.0, 1.0)
    a, b = 0.3, 2.0
    value_, upper, lower = face_slopes(mean, a, b, gradient)
    by = ForwardDiff.gradient(x -> face_mean(mean, x[1], x[2], gradient), [a, b])
    @test value_ ≈ face_mean(mean, a, b, gradient) && [upper, lower] ≈ by
end
