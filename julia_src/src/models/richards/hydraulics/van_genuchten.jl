"""
    VanGenuchten(entry_width = 0.5)

theta = theta_r + (theta_s - theta_r) S, S = (1 + |alpha psi|^n)^-m; K = K_s S^l (1 - (1 - S^(1/m))^m)^2, m = 1 - 1/n,
with l the parameter `pore_connectivity`.
Between `-entry_width` (cm) and zero head the term (1 - S^(1/m))^m is multiplied by |psi| / entry_width, since the slope of K
is unbounded there for n < 2. van Genuchten (1980), eqs. 3, 8, 9, doi:10.2136/sssaj1980.03615995004400050002x; Mualem (1976),
doi:10.1029/WR012i003p00513.
"""
struct VanGenuchten <: SoilHydraulics
    entry_width::Float64
end
VanGenuchten() = VanGenuchten(0.5)

parameters(::VanGenuchten) = (:theta_r, :theta_s, :alpha, :n, :K_s, :pore_connectivity)
reads(::VanGenuchten, ::Val{:retention}) = (:theta_r, :theta_s, :alpha, :n)
reads(::VanGenuchten, ::Val{:conductivity}) = (:alpha, :n, :K_s, :pore_connectivity)

const NO_SUCTION, DRY = OF_RICHARDS.NO_SUCTION, OF_RICHARDS.DRY

"What `permeable` needs of m = 1 - 1/n: the series of (1 - (1 - r)^m) / (m r) in r."
@inline function dry_series(m)
    a = (1 - m) / 2
    b = a * (2 - m) / 3
    c = b * (3 - m) / 4
    d = c * (4 - m) / 5
    e = d * (5 - m) / 6
    return (m, m * a, m * b, m * c, m * d, m * e, m * e * (6 - m) / 7)
end

"1 - U for U = (1 - 1/w)^m, to all digits also in dry soil, where U is nearly 1."
@inline function permeable(U, w, series)
    r = 1 / w
    return ifelse(w > oftype(w, DRY), r * polynomial(r, series...), 1 - U)
end

function derive(h::VanGenuchten, p)
    theta_r, theta_s, alpha, n, K_s, l = p
    neg_half_m = oftype(n, 0.5) / n - oftype(n, 0.5)
    return (; neg_alpha=(-alpha), n_minus_1=n - 1, neg_half_m, neg_l_m=2l * neg_half_m, l, two_minus_2n=2 - 2n,
        theta_r, span=theta_s - theta_r, K_s, series=dry_series(1 - 1 / n), per_width=oftype(K_s, 1 / h.entry_width))
end

@inline function curves(::VanGenuchten, s, psi)
    x = max(s.neg_alpha * psi, oftype(s.neg_alpha * psi, NO_SUCTION))
    y = vexp(s.n_minus_1 * vlog(x))
    w = muladd(x, y, one(x))
    log_w = vlog(w)
    root, power = vexp(s.neg_half_m * log_w), vexp(s.neg_l_m * log_w)  # sqrt(S) and S^l
    S = root * root
    # (1 - S^(1/m))^m = S y since m n = n - 1
    U = S * y
    V = permeable(U, w, s.series) + U * (1 - min(max(-psi * s.per_width, zero(psi)), one(psi)))
    return muladd(s.span, S, s.theta_r), s.K_s * power * V * V
end

function slopes!(out::Curves{T}, h::VanGenuchten, s, psi::Vector{T}, range, keep::Bool) where {T}
    wettest = typemin(T)
    @inbounds @simd for i in range
        wettest = max(wettest, psi[i])
    end
    # one look at the wettest cell decides whether the band near saturation needs its extra work
    if !is_half(s.l)
        # seldom: one version of the code will do for all
        fill_lanes!(out, s, psi, range, Val(true), Val(true), Val(false))
    elseif wettest > -h.entry_width
        keep ? fill_lanes!(out, s, psi, range, Val(true), Val(true), Val(true)) :
        fill_lanes!(out, s, psi, range, Val(true), Val(false), Val(true))
    else
        keep ? fill_lanes!(out, s, psi, range, Val(false), Val(true), Val(true)) :
        fill_lanes!(out, s, psi, range, Val(false), Val(false), Val(true))
    end
    return out
end

"Whether S^l is sqrt(S), which the curves have anyway; a dual number may have a slope besides."
@inline is_half(l::AbstractFloat) = l == oftype(l, 0.5)
@inline is_half(l) = false

"In whole vectors: the last one overlaps the one before, which costs less than a few cells one by one."
@inline function fill_lanes!(out, s, psi, range, wet, keep, half)
    rest = length(range) % LANES
    if rest == 0 || length(range) < LANES
        fill_slopes!(out, s, psi, range, wet, keep, half)
    else
        fill_slopes!(out, s, psi, first(range):(last(range)-rest), wet, keep, half)
        fill_slopes!(out, s, psi, (last(range)-LANES+1):last(range), wet, keep, half)
    end
end

@noinline function fill_slopes!(
    out::Curves{T},
    s,
    psi::Vector{T},
    range,
    ::Val{Wet},
    ::Val{Keep},
    ::Val{Half}
) where {T,Wet,Keep,Half}
    theta, capacity, Ks, dKs = out.theta, out.capacity, out.K, out.dK
    kept_log, kept_log_w, kept_q, kept_S, kept_V = out.kept
    half_span, half_l = s.span / 2, s.l / 2
    @inbounds @simd ivdep for i in range
        head = psi[i]
        x = s.neg_alpha * head
        if Wet
            x = ifelse(x > T(NO_SUCTION), x, ifelse(isnan(x), x, T(NO_SUCTION)))
        end
        log_x = positive_log(x)
        y = vexp(s.n_minus_1 * log_x)
        xn = x * y
        w = xn + 1
        log_w = positive_log(w)
        root = vexp(s.neg_half_m * log_w)
        S = root * root
        U = y * S
        V = permeable(U, w, s.series)
        if Wet
            unsaturated = head < 0
            per_w = 1 / (w * ifelse(unsaturated, head, -one(T)))
            g = ifelse(unsaturated, s.two_minus_2n * per_w, zero(T))  # dS = S xn g / 2 and dU = -U g / 2
            raw = -head * s.per_width
            band = clamp(raw, zero(T), one(T))
            dV = U * (g * band) + ifelse((raw > 0) & (raw <= 1), U * (2 * s.per_width), zero(T))
            V = muladd(U, 1 - band, V)
        else
            per_w = 1 / (w * head)
            g = s.two_minus_2n * per_w
            dV = U * g
        end
        KV = s.K_s * (Half ? root : vexp(s.neg_l_m * log_w)) * V
        slope = g * xn
        theta[i] = muladd(s.span, S, s.theta_r)
        capacity[i] = slope * S * half_span
        Ks[i] = KV * V
        dKs[i] = muladd(half_l * V, slope, dV) * KV
        if Keep
            kept_log[i], kept_log_w[i], kept_S[i], kept_V[i] = log_x, log_w, S, V
            kept_q[i] = xn * per_w * (Wet ? ifelse(head < 0, head, -one(T)) : head)  # xn / w
        end
    end
end

function pull(::VanGenuchten, p::SVector{6,T}, s, out::Curves{T}, psi, w_theta, w_K, range) where {T}
    log_x, log_w, q, S, V = out.kept
    by_alpha, by_n, by_theta_r, by_theta_s, by_K, by_l = zero(T), zero(T), zero(T), zero(T), zero(T), zero(T)
    per_n, m, l = 1 / p[4], 1 - 1 / p[4], p[6]
    per_n2 = per_n * per_n
    @inbounds @simd for i in range
        K = out.K[i]
        on_S = w_theta[i] * S[i]
        weight_K = w_K[i] * K
        on_log_S = muladd(s.span, on_S, l * weight_K)
        on_log_U = -2 * weight_K * (1 - V[i]) / V[i]
        both = on_log_S + on_log_U
        by_alpha += muladd(-both, q[i], on_log_U)
        by_n += muladd(-both, muladd(log_w[i], per_n2, m * q[i] * log_x[i]), on_log_U * log_x[i])
        by_theta_s += on_S
        by_theta_r += w_theta[i] - on_S
        by_K += weight_K
        by_l -= weight_K * m * log_w[i]
    end
    return SVector(by_theta_r, by_theta_s, by_alpha * s.n_minus_1 / p[3], by_n, by_K / p[5], by_l)
end
