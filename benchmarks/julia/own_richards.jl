# 100 cells of 1 cm; heads at the outer faces. Both curves come from one power: with y = (alpha |psi|)^n and m = 1 - 1 / n,
# y^m is y / (alpha |psi|).

"Water content and conductivity."
function storage(psi, p)
    a = -p.alpha * psi
    y = exp(p.n * log(a))
    S = exp((1 / p.n - 1) * log(1 + y))
    V = 1 - S * y / a
    return p.theta_r + (p.theta_s - p.theta_r) * S, p.K_s * sqrt(S) * V * V
end

flux(above, below, K_above, K_below, f, p) = -(K_above + K_below) / 2 * (below - above - 1)

function inflow(psi, K, f, p)
    _, K_top = storage(f.top_head, p)
    return -(K_top + K) / 2 * (2 * (psi - f.top_head) - 1)
end

function outflow(psi, K, f, p)
    _, K_bottom = storage(f.bottom_head, p)
    return -(K + K_bottom) / 2 * (2 * (f.bottom_head - psi) - 1)
end
