# HBV: snow, melt water, soil, upper and lower zone of a basin; the equations, widths and sources of docs/hbv.md and hbv.toml. Without
# branches, so that several basins are solved side by side in registers.

const PHASE_WIDTH = 0.5  # degC: of the thresholds between rain and snow, freezing and melting
const STORE_WIDTH = 1.0  # mm: of the thresholds at an empty store and at a full one
const SNOW_WIDTH = 0.5   # mm: of the threshold above which snow releases its liquid water
const RELEASE = 2.0      # d-1: rate at which snow and soil release what they cannot hold
const DRIEST = 1e-6      # mm: soil water below which the powers of it are no longer evaluated

"max(x, 0), smooth over a width: width log(1 + exp(x / width))."
@inline positive(x, width) = max(x, zero(x)) + width * log(1 + exp(-abs(x) / width))

"The slope of `positive`."
@inline function step_up(x, width)
    e = exp(-abs(x) / width)
    return ifelse(x < zero(x), e, one(e)) / (1 + e)
end

"Part of a demand that a store can meet, 1/2 at `width`; odd, so that an overdrawn store is refilled."
@inline available(store, width) = store / (abs(store) + width)

function hbv_rates(u, f, p)
    snow, melt_water, soil, upper, lower = u
    above = f.temperature - p.TT
    warmth = positive(above, PHASE_WIDTH)
    rain = f.precipitation * step_up(above, PHASE_WIDTH)
    melt = p.CFMAX * warmth * available(snow, STORE_WIDTH)
    in_melt = available(melt_water, STORE_WIDTH)
    refreezing = p.CFR * p.CFMAX * (warmth - above) * in_melt
    released = RELEASE * positive(melt_water - p.CWH * snow, SNOW_WIDTH) * in_melt
    infiltration = rain + released
    wetness = soil / p.FC
    log_wetness = log(max(soil, oftype(soil, DRIEST)) / p.FC)
    recharge = infiltration * exp(p.BETA * log_wetness) + RELEASE * positive(soil - p.FC, STORE_WIDTH) * wetness
    # the smaller of soil / (LP FC) and 1: x (1 + x^8)^(-1/8)
    x = wetness / p.LP
    log_share = log_wetness - log(p.LP) - log(1 + x^8) / 8
    evapotranspiration = f.potential_evapotranspiration * exp(p.BETAET * log_share) * available(soil, STORE_WIDTH)
    in_upper = available(upper, STORE_WIDTH)
    percolation = p.PERC * in_upper
    quick = p.K0 * positive(upper - p.UZL, STORE_WIDTH) * in_upper
    interflow = p.K1 * upper
    base = p.K2 * lower
    changes = SVector(
        f.precipitation - rain - melt + refreezing,
        melt - refreezing - released,
        infiltration - recharge - evapotranspiration,
        recharge - percolation - quick - interflow,
        percolation - base,
    )
    fluxes = SVector(f.precipitation + zero(base), evapotranspiration, quick + interflow + base, quick, interflow, base)
    return changes, fluxes
end

"HBV with the specification `hbv.toml`."
hbv() = SmallModel{5}(whole_spec("hbv"), hbv_rates)
