"""
    Haverkamp()

theta = theta_r + (theta_s - theta_r) A_theta / (A_theta + |psi|^beta), K = K_s A_K / (A_K + |psi|^gamma), psi in cm.
Haverkamp et al. (1977), doi:10.2136/sssaj1977.03615995004100020024x.
"""
struct Haverkamp <: SoilHydraulics end

parameters(::Haverkamp) = (:theta_r, :theta_s, :A_theta, :beta, :A_K, :gamma, :K_s)
reads(::Haverkamp, ::Val{:retention}) = (:theta_r, :theta_s, :A_theta, :beta)
reads(::Haverkamp, ::Val{:conductivity}) = (:A_K, :gamma, :K_s)

const NO_HEAD = OF_RICHARDS.NO_HEAD

derive(::Haverkamp, p) =
    (; theta_r=p[1], span=p[2] - p[1], log_A_theta=vlog(p[3]), beta=p[4], log_A_K=vlog(p[5]), gamma=p[6], K_s=p[7])

@inline function curves(::Haverkamp, s, psi)
    log_suction = vlog(max(-psi, oftype(psi, NO_HEAD)))
    # the fractions as sigmoids of logarithms cannot overflow however dry the soil
    S = sigmoid(s.log_A_theta - s.beta * log_suction)
    k = sigmoid(s.log_A_K - s.gamma * log_suction)
    return s.theta_r + s.span * S, s.K_s * k
end

@inline function sigmoid(x)
    e = vexp(-abs(x))
    return ifelse(x >= 0, one(e), e) / (1 + e)
end
