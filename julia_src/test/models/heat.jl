# Conduction in a rod of length 1 with given temperature at both ends; the storage is capacity times temperature.

storage(u, p) = p.capacity * u

function rates!(out, u, f, p)
    n = length(u)
    k = p.diffusivity * n^2
    for i in 1:n
        left = i == 1 ? 2 * (f.ends - u[1]) : u[i-1] - u[i]
        right = i == n ? 2 * (f.ends - u[n]) : u[i+1] - u[i]
        out[i] = k * (left + right)
    end
end

function fluxes!(out, u, f, p)
    n = length(u)
    out[1] = p.diffusivity * n^2 * 2 * (2 * f.ends - u[1] - u[n])
end
