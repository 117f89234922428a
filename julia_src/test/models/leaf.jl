# A leaf over a store of water: diffusion into the leaf is what assimilation takes, at all times.

function rates(u, f, p)
    ci, water = u
    conductance = p.g * water / (water + p.half)
    assimilation = p.V * ci / (p.K + ci)
    transpiration, drainage = f.dryness * conductance * (1 + constants.OPENING * ci), p.k * water
    changes = SVector(conductance * (f.co2 - ci) - assimilation, f.rain - transpiration - drainage)
    return changes, SVector(f.rain + zero(water), transpiration, drainage, assimilation)
end
