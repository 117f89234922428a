# Snow, surface layer and root zone of a soil; the equations, widths and sources of two_layer_bucket.py and two_layer_bucket.toml. Without
# branches, as `hbv.jl`; derivatives come from ForwardDiff.

const OF_TWO_LAYERS = constants("two_layer_bucket")

"min(x, 1), smooth."
@inline limited(x) = x - positive(x - 1, OF_TWO_LAYERS.LIMIT_WIDTH)[1]

"A power of a saturation, which is 0 or above."
@inline wet_power(wetness, exponent) = exp(exponent * log(max(wetness, oftype(wetness, OF_TWO_LAYERS.DRIEST))))

@inline function two_layer_weather(f, p)
    warmth, rain_share, _ = positive(f.temperature - p.TT, OF_TWO_LAYERS.PHASE_WIDTH)
    room = p.theta_s - p.theta_r
    return (; f.precipitation, f.potential_evaporation, f.potential_transpiration, rain=(f.precipitation * rain_share),
        melt=(p.CFMAX * warmth), upper=(room * p.surface_depth), lower=(room * p.root_depth), gravity=(2 * p.b + 3))
end

@inline function two_layer_rates(u, w, p)
    snow, surface, root_zone = u
    s1, s2 = surface / w.upper, root_zone / w.lower
    wet1, wet2 = limited(s1), limited(s2)
    melt = w.melt * available(snow, OF_TWO_LAYERS.STORE_WIDTH)[1]
    water = w.rain + melt
    infiltration = water * (1 - wet_power(wet2, p.BETA))
    percolation =
        p.K_s * wet_power(wet1, w.gravity) + OF_TWO_LAYERS.SPILL * positive(surface - w.upper, OF_TWO_LAYERS.STORE_WIDTH)[1] * s1
    rise = p.exchange * (wet2 - wet1)
    evaporation = w.potential_evaporation * limited(s1 / p.s_evaporation)
    from_surface = w.potential_transpiration * p.root_share * limited(s1 / p.s_star)
    from_below = w.potential_transpiration * (1 - p.root_share) * limited(s2 / p.s_star)
    drainage = p.K_d * wet_power(wet2, w.gravity)
    spill = OF_TWO_LAYERS.SPILL * positive(root_zone - w.lower, OF_TWO_LAYERS.STORE_WIDTH)[1] * s2
    changes = SVector(
        w.precipitation - w.rain - melt,
        infiltration - percolation + rise - evaporation - from_surface,
        percolation - rise - from_below - drainage - spill
    )
    return changes,
    SVector(w.precipitation + zero(rise), evaporation, from_surface + from_below, water - infiltration + spill, drainage,
        percolation, rise, p.theta_r + surface / p.surface_depth, p.theta_r + root_zone / p.root_depth)
end

"""
    two_layer_bucket()

Surface layer and root zone with the specification `two_layer_bucket.toml`.
"""
function two_layer_bucket()
    return SmallModel{3}(whole_spec("two_layer_bucket"), two_layer_rates; prepare=two_layer_weather)
end
