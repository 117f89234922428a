# 100 cells of 1 cm; heads at the outer faces.

function storage(psi, p)
    m = 1 - 1 / p.n
    return p.theta_r + (p.theta_s - p.theta_r) * exp(-m * log(1 + exp(p.n * log(-p.alpha * psi))))
end

function conductivity(psi, p)
    x = exp((p.n - 1) * log(-p.alpha * psi))
    root = exp((0.5 / p.n - 0.5) * log(1 - p.alpha * psi * x))
    V = 1 - root * root * x
    return p.K_s * root * V * V
end

function rates!(out, psi, f, p)
    n = length(psi)
    above, K_above = f.top_head + zero(psi[1]), conductivity(f.top_head + zero(psi[1]), p)
    K = conductivity(psi[1], p)
    inflow = -(K_above + K) / 2 * ((psi[1] - above) * 2 - 1)
    for i in 1:n
        if i < n
            K_below = conductivity(psi[i+1], p)
            outflow = -(K + K_below) / 2 * ((psi[i+1] - psi[i]) - 1)
        else
            K_below = conductivity(f.bottom_head + zero(psi[n]), p)
            outflow = -(K + K_below) / 2 * ((f.bottom_head - psi[n]) * 2 - 1)
        end
        out[i] = inflow - outflow
        inflow, K = outflow, K_below
    end
end
