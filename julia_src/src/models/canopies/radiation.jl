# Radiation in a canopy, as in pydiffgeo/models/canopies/radiation.py: what sunlit leaves, shaded leaves and the soil absorb.

const OF_CANOPIES = constants("two_big_leaf")
const NEAR_ZERO = 1e-4  # argument of `mean_exp` below which its series is exact to rounding

"(1 - exp(-x)) / x, the mean of exp(-x s) for s from 0 to 1; 1 at x = 0."
@inline function mean_exp(x)
    near = abs(x) < NEAR_ZERO
    safe = ifelse(near, one(x), x)
    series = 1 - x * (1 / 2 - x * (1 / 6 - x * (1 / 24 - x / 120)))
    return ifelse(near, series, -expm1(-safe) / safe)
end

"Leaf area that is projected on the ground along the beam, per leaf area."
@inline function extinction(sun_elevation, leaf_angle)
    sine = max(sin(sun_elevation * (pi / 180)), OF_CANOPIES.LEAST_SINE)
    tangent = (1 - sine * sine) / (sine * sine)  # of the zenith angle, squared
    spread = leaf_angle + 1.774 * vexp(-0.733 * vlog(leaf_angle + 1.182))
    return vsqrt(leaf_angle * leaf_angle + tangent) / spread
end

"Leaf area, and extinction of beam and diffuse radiation by black leaves."
@inline leaf_layers(leaf_area_index, sun_elevation, leaf_angle, clumping) =
    max(leaf_area_index, OF_CANOPIES.LEAST_AREA),
    clumping * extinction(sun_elevation, leaf_angle),
    clumping * OF_CANOPIES.K_DIFFUSE

"Integral of exp(-K depth) over a canopy."
@inline area_within(area, K) = area * mean_exp(K * area)

"Down plus up stream at depth s is `size` (exp(-decay s) + back exp(-decay (2 L - s)))."
@inline function two_streams(area, K, absorptivity, soil_albedo)
    root = vsqrt(absorptivity)
    deep = (1 - root) / (1 + root)  # reflectance of a canopy without end
    decay = root * K
    back = (soil_albedo - deep) / (1 - soil_albedo * deep)
    through = vexp(-decay * area)
    first_ = 1 / (1 + deep * back * through * through)
    return (; size=first_ * (1 + deep), back, decay, through, reflected=first_ * (deep + back * through * through),
        reaching=first_ * through * (1 + deep * back))
end

"Integral of both streams times exp(-K depth) over the leaf area."
@inline over_depth(s, area, K) =
    s.size * area * (mean_exp((s.decay + K) * area) + s.back * (s.through * s.through) * mean_exp((K - s.decay) * area))

"Who absorbs the radiation of one band, and what leaves at the top."
@inline function absorbed(beam, diffuse, area, K_beam, K_diffuse, absorptivity, soil_albedo)
    b, d = two_streams(area, K_beam, absorptivity, soil_albedo), two_streams(area, K_diffuse, absorptivity, soil_albedo)
    per_b, per_d = absorptivity * K_beam, absorptivity * K_diffuse
    met = area_within(area, K_beam)  # the beam before it is scattered
    scattered = per_b * (over_depth(b, area, K_beam) - area_within(area, 2 * K_beam))  # by sunlit leaves
    beam_shade = per_b * (over_depth(b, area, 0.0) - met) - scattered
    diffuse_sun = per_d * over_depth(d, area, K_beam)
    diffuse_shade = per_d * over_depth(d, area, 0.0) - diffuse_sun
    return (; sun=beam * (per_b * met + scattered) + diffuse * diffuse_sun, shade=beam * beam_shade + diffuse * diffuse_shade,
        soil=(1 - soil_albedo) * (beam * b.reaching + diffuse * d.reaching),
        reflected=beam * b.reflected + diffuse * d.reflected)
end

"Areas of both classes of leaves, short wave radiation, light on leaves, and shares of long wave radiation; `par` where it is measured."
@inline function canopy_radiation(
    lai,
    sun_elevation,
    leaf_angle,
    clumping,
    total,
    diffuse_share,
    absorptance,
    absorptivity_nir,
    albedo_par,
    albedo_nir,
    par...
)
    area, black, diffuse = leaf_layers(lai, sun_elevation, leaf_angle, clumping)
    area_sun = area_within(area, black)
    area_shade = area - area_sun
    share = OF_CANOPIES.PAR_SHARE
    of_par = share * ((1 + 0.3 * (1 - diffuse_share * diffuse_share)) * diffuse_share)
    of_nir = diffuse_share - of_par
    light = absorbed(share - of_par, of_par, area, black, diffuse, absorptance, albedo_par)
    near = absorbed(1 - share - of_nir, of_nir, area, black, diffuse, absorptivity_nir, albedo_nir)
    photons = photons_of(total, par...) / absorptance  # as if they were incident: the leaf absorbs its part of them
    through = vexp(-diffuse * area)
    long_sun_sky = diffuse * area_within(area, diffuse + black)
    long_sun_soil = diffuse * through * area_within(area, black - diffuse)
    long_leaves = diffuse * area_within(area, diffuse)
    return (; area_sun, area_shade, short_sun=total * (light.sun + near.sun), short_shade=total * (light.shade + near.shade),
        short_soil=total * (light.soil + near.soil), short_reflected=total * (light.reflected + near.reflected),
        light_sun=photons * light.sun / area_sun, light_shade=photons * light.shade / area_shade, long_sun_sky,
        long_shade_sky=long_leaves - long_sun_sky, long_sun_soil, long_shade_soil=long_leaves - long_sun_soil,
        long_sky_soil=through)
end
@inline photons_of(total) = OF_CANOPIES.PAR_ENERGY * total
@inline photons_of(total, par) = par / OF_CANOPIES.PAR_SHARE

"Capacities of mean leaves of both classes, in parts of those at the top."
@inline function canopy_capacity(lai, sun_elevation, leaf_angle, clumping, decline)
    area, black, _ = leaf_layers(lai, sun_elevation, leaf_angle, clumping)
    area_sun, of_sun = area_within(area, black), area_within(area, black + decline)
    return (; capacity_sun=of_sun / area_sun, capacity_shade=(area_within(area, decline) - of_sun) / (area - area_sun))
end
