# Linear reservoirs in a row: each has its own recession constant and lateral inflow.

function rates!(out, u, f, p)
    above = f.head
    for i in eachindex(u)
        out[i] = above + f.lateral[i] - p.e * u[i] - p.k[i] * u[i]
        above = p.k[i] * u[i]
    end
    return out
end

function fluxes!(out, u, f, p)
    n = length(u)
    out[1] = f.head
    for i in 1:n
        out[1+i] = p.k[i] * u[i]
        out[1+n+i] = f.lateral[i] - p.e * u[i]
    end
    out[2+2n] = p.k[n] * u[n]
    return out
end
