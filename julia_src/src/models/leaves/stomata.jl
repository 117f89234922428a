# Conductance of the stomata to water vapour (mol m-2 s-1), least + slope A / (Cs - base), as in pydiffgeo/models/leaves/stomata.py.

"max(x, 0) by a hyperbola, and its root: the slope is the first divided by the second."
@inline function above_zero(x, width)
    root = vsqrt(x * x + width^2)
    large = 0.5 * (abs(x) + root)
    return ifelse(x > 0, large, (0.25 * width^2) / large), root
end

"Vapour pressure deficit that stomata see, kPa."
@inline dryness(vpd) = OF_LEAVES.LEAST_VPD + above_zero(vpd - OF_LEAVES.LEAST_VPD, OF_LEAVES.VPD_WIDTH)[1]
@inline medlyn_slope(vpd, g1) = OF_LEAVES.STOMATA_RATIO * (1 + g1 / vsqrt(dryness(vpd)))
@inline relative_humidity(vpd, T) = above_zero(1 - 1000 * dryness(vpd) / saturation_pressure(T), OF_LEAVES.LEAST_HUMIDITY)[1]
@inline ball_berry_slope(vpd, T, slope) = slope * relative_humidity(vpd, T)
@inline leuning_slope(vpd, slope, D0) = slope / leuning_excess(vpd, D0)
@inline leuning_excess(vpd, D0) = 1 + dryness(vpd) / D0
@inline function buckley_mott_farquhar(par, vpd, pressure, stress, Em, i0, k, b)
    light = par + i0
    return Em * light / (k + b * par + light * (1e6 * dryness(vpd) / pressure)) * stress + OF_LEAVES.LEAST_CONDUCTANCE
end
@inline least_conductance(g0, stress) = g0 * stress + OF_LEAVES.LEAST_CONDUCTANCE

"Conductance, and its slopes in assimilation and in CO2 at the surface."
@inline function conductance(net, surface, leaf)
    haskey(leaf, :slope) || return leaf.least, zero(net), zero(net)
    taken, root = above_zero(net, OF_LEAVES.ASSIMILATION_WIDTH)
    there, far = above_zero(haskey(leaf, :base) ? surface - leaf.base : surface, OF_LEAVES.CO2_WIDTH)
    per = leaf.slope / there
    opened = per * taken
    return leaf.least + opened, per * (taken / root), -opened / far
end

"The same with the humidity at the surface of the leaf: the larger root of a quadratic equation."
@inline conductance_at_surface(net, surface, leaf) =
    haskey(leaf, :g1) ? medlyn_at_surface(net, surface, leaf) : slope_at_surface(net, surface, leaf)

"By the forms of Ball and Berry, or Leuning."
@inline function slope_at_surface(net, surface, leaf)
    taken, root = above_zero(net, OF_LEAVES.ASSIMILATION_WIDTH)
    there, far = above_zero(haskey(leaf, :base) ? surface - leaf.base : surface, OF_LEAVES.CO2_WIDTH)
    per, gb = leaf.slope / there, leaf.boundary_layer_conductance
    t, least = per * taken, leaf.least
    humidity, excess = haskey(leaf, :humidity) ? leaf.humidity : one(gb), haskey(leaf, :excess) ? leaf.excess : one(gb)
    half, c = 0.5 * (least + t - gb * excess), gb * (least * excess + t * humidity)
    between_ = vsqrt(half * half + c)
    far_from_zero = abs(half) + between_
    gs = ifelse(half > 0, far_from_zero, c / far_from_zero)
    by_t = (gs + gb * humidity) / (2 * between_)
    return gs, by_t * per * (taken / root), -by_t * t / far
end

"By Medlyn's form."
@inline function medlyn_at_surface(net, surface, leaf)
    taken, root = above_zero(net, OF_LEAVES.ASSIMILATION_WIDTH)
    there, far = above_zero(surface, OF_LEAVES.CO2_WIDTH)
    per = OF_LEAVES.STOMATA_RATIO / there
    t = per * taken
    per_gb = 1 / leaf.boundary_layer_conductance
    squared = leaf.g1 * leaf.g1 / leaf.dryness
    z = squared * t * per_gb
    inner = vsqrt(squared * (1 + (leaf.least + t + 0.25 * t * z) * per_gb))
    gs = leaf.least + t + t * (0.5 * z + inner)
    by_inner = squared * (1 + 0.5 * z) * per_gb / (2 * inner)
    by_t = 1 + z + inner + t * by_inner
    return gs, by_t * per * (taken / root), -by_t * t / far
end
