# Assimilation from the CO2 at the chloroplasts: C3 and C4 leaves, each with the slope in CO2, as in pydiffgeo/models/leaves/biochemistry.py.

const OF_LEAVES = constants("photosynthesis")
const TINY = 1e-20

"Smaller root x of c x^2 - (a + b) x + a b = 0, and the root of its discriminant: the slope of x in a is (b - x) / root."
@inline function smooth_minimum(a, b, curvature)
    total, product = a + b, a * b
    root = vsqrt(total * total - 4 * curvature * product + TINY)
    return 2 * product / (total + root + TINY), root
end

@inline function electron_transport(absorbed, most, curvature)
    total, product = absorbed + most, absorbed * most
    return 2 * product / (total + vsqrt(total * total - 4 * curvature * product + TINY))
end

@inline function c3_assimilation(co2, leaf, curvatures)
    point = leaf.compensation
    over = co2 - point
    per_v, per_j = inverses(co2 + leaf.michaelis, 4 * co2 + 8 * point)
    rubisco, light = leaf.V * per_v, leaf.J * per_j
    least, root = smooth_minimum(rubisco, light, curvatures[1])
    falling = (light - least) * rubisco * per_v + 4 * (rubisco - least) * light * per_j
    gross, slope = over * least, least - over * falling / root
    haskey(leaf, :product) || return gross, slope
    limited_, root = smooth_minimum(gross, leaf.product, curvatures[2])
    return limited_, slope * (leaf.product - limited_) / root
end

@inline function c4_assimilation(co2, leaf, curvatures)
    ceiling = smooth_minimum(leaf.V_c4, leaf.light_c4, curvatures[1])[1]
    gross, root = smooth_minimum(leaf.slope_c4 * co2, ceiling, curvatures[2])
    return gross, leaf.slope_c4 * (ceiling - gross) / root
end

@inline function c3_limits(co2, leaf)
    over = co2 - leaf.compensation
    rubisco, light = leaf.V * over / (co2 + leaf.michaelis), leaf.J * over / (4 * co2 + 8 * leaf.compensation)
    return haskey(leaf, :product) ? (rubisco, light, leaf.product) : (rubisco, light)
end
@inline c4_limits(co2, leaf) = leaf.V_c4, leaf.light_c4, leaf.slope_c4 * co2
