"""
    BrooksCorey(conductivity = :burdine, entry_width = 0.03)

theta = theta_r + (theta_s - theta_r) S with S = (s(0) / s)^lambda, and K = K_s S^(b + 2 / lambda); the two branches of
the published curves, suction above and below the air-entry value, are joined by the hyperbola
s = (|psi| + psi_b + sqrt((|psi| - psi_b)^2 + (entry_width psi_b)^2)) / 2. b is 3 after Burdine (1953),
doi:10.2118/225-G, or 2 + l after Mualem (1976), doi:10.1029/WR012i003p00513, with l the parameter `pore_connectivity`.
Brooks & Corey (1964), Hydrology Paper 3, Colorado State University.
"""
struct BrooksCorey{C} <: SoilHydraulics
    entry_width::Float64
end
BrooksCorey(conductivity=:burdine, entry_width=0.03) = BrooksCorey{conductivity}(entry_width)

connectivity(::BrooksCorey{:burdine}) = ()
connectivity(::BrooksCorey{:mualem}) = (:pore_connectivity,)
parameters(h::BrooksCorey) = (:theta_r, :theta_s, :psi_b, :pore_index, :K_s, connectivity(h)...)
reads(::BrooksCorey, ::Val{:retention}) = (:theta_r, :theta_s, :psi_b, :pore_index)
reads(h::BrooksCorey, ::Val{:conductivity}) = (:psi_b, :pore_index, :K_s, connectivity(h)...)

@inline exponent_of(::BrooksCorey{:burdine}, p) = oftype(p[4], 3)
@inline exponent_of(::BrooksCorey{:mualem}, p) = 2 + p[6]

function derive(h::BrooksCorey, p)
    theta_r, theta_s, psi_b, pore_index, K_s = p
    number = oftype
    return (; psi_b, s_wet=psi_b * number(psi_b, 0.5 + 0.5 * sqrt(1 + h.entry_width^2)), pore_index,
        K_exponent=exponent_of(h, p) * pore_index + 2, theta_r, span=theta_s - theta_r, K_s,
        width=number(psi_b, h.entry_width) * psi_b)
end

@inline function curves(::BrooksCorey, s, psi)
    gap = max(-psi, zero(psi)) - s.psi_b
    root = vsqrt(gap * gap + s.width * s.width)
    ratio = vlog(s.s_wet / (s.psi_b + (gap + root) / 2))
    return s.theta_r + s.span * vexp(s.pore_index * ratio), s.K_s * vexp(s.K_exponent * ratio)
end
