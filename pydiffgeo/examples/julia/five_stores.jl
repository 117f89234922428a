# The equations of five_stores.toml: everything that a model needs. Jacobian and gradients come from ForwardDiff.

# max(x, 0), smooth over a width w
smooth(x, w) = max(x, zero(x)) + w * log(1 + exp(-abs(x) / w))

# a store gives its water, but not more than it has
available(x) = x / (x + 1)

function rates(u, f, p)
    snow, melt_water, soil, upper, lower = u
    above = f.temperature - p.TT
    rain = f.precipitation / (1 + exp(-above / 0.5))
    melt = p.CFMAX * smooth(above, 0.5) * available(snow)
    refreezing = p.CFR * p.CFMAX * smooth(-above, 0.5) * available(melt_water)
    released = 2 * smooth(melt_water - p.CWH * snow, 0.5) * available(melt_water)
    wetness = soil / p.FC
    recharge = (rain + released) * power(wetness, p.BETA) + 2 * smooth(soil - p.FC, 1.0) * wetness
    x = wetness / p.LP
    evapotranspiration = f.potential_evapotranspiration * x / sqrt(sqrt(1 + x^4))
    percolation = p.PERC * available(upper)
    fast = p.K0 * smooth(upper - p.UZL, 1.0) * available(upper) + p.K1 * upper
    slow = p.K2 * lower
    changes = SVector(
        f.precipitation - rain - melt + refreezing,
        melt - refreezing - released,
        rain + released - recharge - evapotranspiration,
        recharge - percolation - fast,
        percolation - slow
    )
    fluxes = SVector(f.precipitation + zero(fast), evapotranspiration, fast + slow)
    return changes, fluxes
end
