# A leaf that stores nothing: diffusion into it is what assimilation takes, and what it absorbs is what it gives off.

function rates(u, f, p)
    ci, warmth = u
    heat = exp(warmth / 30)
    rubisco, light = p.V * heat * ci / (ci + 600), p.yield * f.light * ci / (ci + 100)
    total = rubisco + light
    assimilation =
        (total - sqrt(total * total - 4 * constants.WIDTH * rubisco * light)) / (2 * constants.WIDTH) - 0.02 * p.V * heat
    conductance = 0.02 + (1 + p.g1 / sqrt(f.dryness)) * max(assimilation, 0) / f.co2
    changes = SVector(conductance * (f.co2 - ci) - assimilation, 0.2 * f.light - 30 * warmth - 700 * conductance * f.dryness)
    return changes, SVector(assimilation, conductance)
end

guess(f, p) = SVector(0.7 * f.co2, zero(f.co2))
