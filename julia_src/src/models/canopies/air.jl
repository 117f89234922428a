# Air above and between the leaves of a canopy, as in pydiffgeo/models/canopies/air.py: conductances in mol m-2 s-1.

"By the law of the wall, which does not hold below the top of the canopy: there is no number then."
@inline function friction_of(wind, canopy_height, height)
    friction =
        OF_CANOPIES.KARMAN * wind /
        vlog((height - OF_CANOPIES.DISPLACEMENT * canopy_height) / (OF_CANOPIES.ROUGHNESS * canopy_height))
    return ifelse(canopy_height < height, friction, friction * NaN)
end
@inline friction_of(wind, friction) = friction

const WIND_AT_TOP = log((1 - OF_CANOPIES.DISPLACEMENT) / OF_CANOPIES.ROUGHNESS) / OF_CANOPIES.KARMAN  # in parts of the friction velocity

"Conductances between leaves, soil, the air of the canopy and that above; `friction` measured, or heights of canopy and wind."
@inline function canopy_air(
    lai,
    sun_elevation,
    leaf_angle,
    clumping,
    pressure,
    temperature,
    wind,
    width,
    dense,
    bare,
    moisture,
    saturated,
    dry,
    slope,
    friction...
)
    area, black, _ = leaf_layers(lai, sun_elevation, leaf_angle, clumping)
    speed = friction_of(wind, friction...)
    moving = vsqrt(speed * speed + OF_CANOPIES.LEAST_FRICTION^2)
    density = pressure / (GAS * (temperature + ZERO_CELSIUS))
    at_top, decline = OF_CANOPIES.LEAF_BOUNDARY * vsqrt(WIND_AT_TOP * moving / width), 0.5 * OF_CANOPIES.WIND_DECAY
    boundary_sun = at_top * area * mean_exp(black * area + decline)
    open_ = vexp(-area)
    soil_heat = density * moving * (bare * open_ + dense * (1 - open_))
    resistance = vexp(dry - slope * min(moisture / saturated, 1.0))
    return (; boundary_sun, boundary_shade=at_top * area * mean_exp(decline) - boundary_sun,
        aerodynamic=density * moving * moving / vsqrt(wind * wind + OF_CANOPIES.LEAST_WIND^2), soil_heat,
        soil_vapour=1 / (1 / soil_heat + resistance / density),
        vaporisation=(OF_CANOPIES.VAPORISATION - OF_CANOPIES.VAPORISATION_SLOPE * temperature))
end

@inline canopy_soil(R_15, Q10, temperature) =
    (; soil_respiration=R_15 * vexp((temperature - OF_CANOPIES.REFERENCE_SOIL) / 10 * vlog(Q10)))
