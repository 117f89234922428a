"""
    Haverkamp(entry_width = 0.5)

theta = theta_r + (theta_s - theta_r) A_theta / (A_theta + s), K = K_s A_K / (A_K + |psi|^gamma), psi in cm, with
s = |psi| (|psi|^4 + w^4)^((beta - 1) / 4), w = entry_width: s is |psi|^beta as published, but for a bend within w of saturation,
where the published curves are level, so that Newton's method finds no head of a full column that drains.
Haverkamp et al. (1977), doi:10.2136/sssaj1977.03615995004100020024x.
"""
struct Haverkamp <: SoilHydraulics
    entry_width::Float64
end
Haverkamp() = Haverkamp(0.5)

parameters(::Haverkamp) = (:theta_r, :theta_s, :A_theta, :beta, :A_K, :gamma, :K_s)
reads(::Haverkamp, ::Val{:retention}) = (:theta_r, :theta_s, :A_theta, :beta)
reads(::Haverkamp, ::Val{:conductivity}) = (:A_K, :gamma, :K_s)

const NO_HEAD = OF_RICHARDS.NO_HEAD

derive(h::Haverkamp, p) =
    (; theta_r=p[1], span=p[2] - p[1], log_A_theta=vlog(p[3]), beta_minus_1=p[4] - 1, log_A_K=vlog(p[5]), gamma=p[6], K_s=p[7],
        width=oftype(p[4], h.entry_width))

@inline function curves(::Haverkamp, s, psi)
    suction = max(-psi, oftype(psi, NO_HEAD))
    log_suction = vlog(suction)
    # (|psi|^4 + w^4)^(1/4), which cannot overflow
    smaller, larger = min(suction, s.width), max(suction, s.width)
    ratio = smaller / larger
    log_bent = vlog(larger) + vlog(1 + ratio * ratio * ratio * ratio) / 4
    # the fractions as sigmoids of logarithms cannot overflow however dry the soil
    S = sigmoid(s.log_A_theta - log_suction - s.beta_minus_1 * log_bent)
    k = sigmoid(s.log_A_K - s.gamma * log_suction)
    return s.theta_r + s.span * S, s.K_s * k
end

@inline function sigmoid(x)
    e = vexp(-abs(x))
    return ifelse(x >= 0, one(e), e) / (1 + e)
end
