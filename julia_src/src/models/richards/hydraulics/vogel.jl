"""
    VanGenuchtenVogel(entry_width = 0.03)

The curves of van Genuchten and Mualem below the head -h, h the parameter `air_entry`, scaled so that the soil is saturated from there on:
S = F(s) / F(s(0)) and K = K_s S^l [(1 - U(s)) / (1 - U(s(0)))]^2 with F = (1 + (alpha s)^n)^-m and U = (1 - F^(1/m))^m. The bend at -h is the
hyperbola s = (|psi| + h + sqrt((|psi| - h)^2 + (entry_width h)^2)) / 2.
Vogel et al. (2001), eqs. 5 to 8, doi:10.1016/S0309-1708(00)00037-3.
"""
struct VanGenuchtenVogel <: SoilHydraulics
    entry_width::Float64
end
VanGenuchtenVogel() = VanGenuchtenVogel(0.03)

parameters(::VanGenuchtenVogel) = (:theta_r, :theta_s, :alpha, :n, :K_s, :pore_connectivity, :air_entry)
reads(::VanGenuchtenVogel, ::Val{:retention}) = (:theta_r, :theta_s, :alpha, :n, :air_entry)
reads(::VanGenuchtenVogel, ::Val{:conductivity}) = (:alpha, :n, :K_s, :pore_connectivity, :air_entry)

function derive(h::VanGenuchtenVogel, p)
    theta_r, theta_s, alpha, n, K_s, l, air_entry = p
    own =
        (; alpha, n_minus_1=n - 1, neg_m=1 / n - 1, air_entry, width=oftype(air_entry, h.entry_width) * air_entry, l, theta_r,
            span=theta_s - theta_r, K_s, series=dry_series(1 - 1 / n))
    y, w = powers(own, air_entry * oftype(air_entry, 0.5 + 0.5 * sqrt(1 + h.entry_width^2)))
    log_w_wet = vlog(w)
    return (; own..., log_w_wet, per_V_wet=1 / permeable(y * vexp(own.neg_m * log_w_wet), w, own.series))
end

"(alpha s)^(n - 1), and 1 + (alpha s)^n."
@inline function powers(p, s)
    x = p.alpha * s
    y = vexp(p.n_minus_1 * vlog(x))
    return y, muladd(x, y, one(x))
end

@inline function curves(::VanGenuchtenVogel, s, psi)
    gap = max(-psi, zero(psi)) - s.air_entry
    root = vsqrt(gap * gap + s.width * s.width)
    y, w = powers(s, s.air_entry + (gap + root) / 2)
    log_w = vlog(w)
    log_S = s.neg_m * (log_w - s.log_w_wet)
    V = permeable(y * vexp(s.neg_m * log_w), w, s.series) * s.per_V_wet
    return s.theta_r + s.span * vexp(log_S), s.K_s * vexp(s.l * log_S) * V * V
end
