"""
    Gardner()

theta = theta_r + (theta_s - theta_r) exp(alpha psi), K = K_s exp(alpha psi) below zero head. Gardner (1958),
doi:10.1097/00010694-195804000-00006; Srivastava & Yeh (1991), eqs. 3, 4, doi:10.1029/90WR02772.
"""
struct Gardner <: SoilHydraulics end

bends(::Gardner) = true

parameters(::Gardner) = (:theta_r, :theta_s, :alpha, :K_s)
reads(::Gardner, ::Val{:retention}) = (:theta_r, :theta_s, :alpha)
reads(::Gardner, ::Val{:conductivity}) = (:alpha, :K_s)

derive(::Gardner, p) = (; theta_r=p[1], span=p[2] - p[1], alpha=p[3], K_s=p[4])

@inline function curves(::Gardner, s, psi)
    S = vexp(s.alpha * min(psi, zero(psi)))
    return s.theta_r + s.span * S, s.K_s * S
end
