# Two stores in a row, the first with a quadratic outflow; its derivatives are written by hand.

prepare(f, p) = (; f.rain, f.temperature, falls=(f.rain * ifelse(f.temperature > 0, one(f.rain), 0.5 * one(f.rain))))

function rates(u, w, p)
    passed, base = p.k * u[1] * u[1], p.b * u[2]
    return SVector(w.falls - passed, passed - base), SVector(base)
end

function linearise(u, w, p)
    slope = 2 * p.k * u[1]
    function pull(on_rates, on_fluxes)
        on_passed, on_base = on_rates[2] - on_rates[1], on_fluxes[1] - on_rates[2]
        forcing = (; rain=on_rates[1] * ifelse(w.temperature > 0, one(slope), 0.5 * one(slope)), temperature=zero(slope))
        return SVector(on_passed * slope, on_base * p.b), forcing, (; k=on_passed * u[1] * u[1], b=on_base * u[2])
    end
    return rates(u, w, p)..., Sparse{2,((1, 1), (2, 1), (2, 2))}(-slope, slope, -p.b), pull
end
