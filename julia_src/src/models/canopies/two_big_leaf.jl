# Two big leaves: the equations of docs/canopies.md, two_big_leaf.toml and pydiffgeo/models/canopies.

"What forcing and parameters alone decide, by functions that give several numbers by name."
function canopy_parts(friction, light)
    layers_ = (:leaf_area_index, :sun_elevation, :leaf_angle, :clumping)
    par, speed = light === :measured ? (:par,) : (),
    friction === :measured ? (:friction_velocity,) : (:vegetation_height, :measurement_height)
    return (;
        radiation=Driver(canopy_radiation, layers_..., :shortwave_down, :diffuse_share, :absorptance, :leaf_absorptivity_nir,
            :soil_albedo_par,
            :soil_albedo_nir, par...), capacity=Driver(canopy_capacity, layers_..., :K_nitrogen),
        air=Driver(canopy_air, layers_..., :pressure, :air_temperature, :wind_speed, :leaf_width, :soil_exchange,
            :bare_soil_exchange, :soil_moisture,
            :saturated_water_content, :soil_resistance_dry, :soil_resistance_slope, speed...),
        soil=Driver(canopy_soil, :R_15, :Q10, :soil_temperature))
end

# what the balance of the canopy reads: of its state and the weather, of radiation, of the air, of its leaves
const CANOPY_STATE = (:warm_sun, :warm_shade, :surface, :vapour)
const CANOPY_WEATHER =
    (:air_temperature, :vapour_pressure, :pressure, :longwave_down, :shortwave_down, :soil_temperature, :soil_heat_conductance)
const CANOPY_RADIATION =
    (:area_sun, :area_shade, :short_sun, :short_shade, :short_soil, :short_reflected, :long_sun_sky, :long_shade_sky,
        :long_sun_soil,
        :long_shade_soil, :long_sky_soil)
const CANOPY_AIR = (:boundary_sun, :boundary_shade, :aerodynamic, :soil_heat, :soil_vapour, :vaporisation, :soil_respiration)
const FLUXES_OF_LEAF = (:assimilation, :gross_assimilation, :day_respiration, :stomatal_conductance, :transpiration)
const LEAF_SUN = (:supply_sun, :net_sun, :gross_sun, :respired_sun, :stomata_sun, :transpired_sun)
const LEAF_SHADE = (:supply_shade, :net_shade, :gross_shade, :respired_shade, :stomata_shade, :transpired_shade)
const BY_CLASS = (:par, :leaf_temperature, :vapour_pressure_deficit, :boundary_layer_conductance)  # inputs of a leaf that are none of the canopy
const CAPACITIES = (:V_cmax25, :J_max25, :R_d25)  # parameters of a leaf that decline with the leaf area above

# What is below is not inlined, since it is long: compiled once for each kind of number, it is called through memory.

"Rates and fluxes of a canopy, of all that it reads by name."
@noinline function canopy_balance(x)
    sun, shade, soil, above, air = 2 * x.boundary_sun, 2 * x.boundary_shade, x.soil_heat, x.aerodynamic, x.air_temperature  # both sides of leaves
    # the air of the canopy is warmer than that above by what it takes from all
    taken = sun * (x.warm_sun - air) + shade * (x.warm_shade - air) + soil * (x.surface - air)
    between = air + taken / (sun + shade + soil + above)
    heat_sun, heat_shade, heat_soil =
        map((g, T) -> OF_CANOPIES.HEAT_CAPACITY * g * (T - between), (sun, shade, soil), (x.warm_sun, x.warm_shade, x.surface))
    water_sun, water_shade = x.vaporisation * x.area_sun * x.transpired_sun, x.vaporisation * x.area_shade * x.transpired_shade
    water_soil = x.vaporisation * x.soil_vapour * (saturation_pressure(x.surface) - x.vapour) / x.pressure
    leaving = x.vaporisation * above * (x.vapour - x.vapour_pressure) / x.pressure
    black_sun, black_shade, black_soil = map((x.warm_sun, x.warm_shade, x.surface)) do T
        squared = (T + ZERO_CELSIUS) * (T + ZERO_CELSIUS)
        return OF_CANOPIES.STEFAN * (squared * squared)
    end
    sky = x.longwave_down
    net_sun = x.short_sun + x.long_sun_sky * (sky - black_sun) + x.long_sun_soil * (black_soil - black_sun)
    net_shade = x.short_shade + x.long_shade_sky * (sky - black_shade) + x.long_shade_soil * (black_soil - black_shade)
    net_soil =
        x.short_soil + x.long_sky_soil * (sky - black_soil) + x.long_sun_soil * (black_sun - black_soil) +
        x.long_shade_soil * (black_shade - black_soil)
    ground = x.soil_heat_conductance * (x.surface - x.soil_temperature)
    latent = water_sun + water_shade + water_soil
    rates = SVector(x.supply_sun, x.supply_shade, (net_sun - heat_sun - water_sun) / x.area_sun,
        (net_shade - heat_shade - water_shade) / x.area_shade,
        net_soil - heat_soil - water_soil - ground, latent - leaving)
    net_radiation =
        x.shortwave_down - x.short_reflected + sky - x.long_sun_sky * black_sun - x.long_shade_sky * black_shade -
        x.long_sky_soil * black_soil
    taken_sun, taken_shade = x.area_sun * x.net_sun, x.area_shade * x.net_shade
    fluxes =
        SVector(latent, heat_sun + heat_shade + heat_soil, net_radiation, ground, x.soil_respiration - taken_sun - taken_shade,
            x.area_sun * x.gross_sun + x.area_shade * x.gross_shade,
            x.soil_respiration + x.area_sun * x.respired_sun + x.area_shade * x.respired_shade,
            taken_sun, taken_shade, water_sun, water_shade, water_soil, x.stomata_sun, x.stomata_shade, x.area_sun,
            x.short_reflected)
    return rates, fluxes
end

"A canopy: its leaf, what decides its drivers, the inputs that a leaf has from the canopy, and of these the capacities."
struct Canopy{L<:Leaf,P<:NamedTuple,known,scaled}
    leaf::L
    parts::P
end

"What depends on no state: what the balance reads, and the inputs of a leaf of each class."
@noinline function canopy_prepare(c::Canopy{L,P,known}, f, p) where {L,P,known}
    given = merge(f, p)
    values_ = merge(driven(c.parts, given)...)
    of_leaf = NamedTuple{known}(given)
    constant = merge(NamedTuple{CANOPY_WEATHER}(given), NamedTuple{CANOPY_RADIATION}(values_), NamedTuple{CANOPY_AIR}(values_))
    sun = leaf_in_class(c, of_leaf, values_.light_sun, values_.boundary_sun, values_.area_sun, values_.capacity_sun)
    shade = leaf_in_class(c, of_leaf, values_.light_shade, values_.boundary_shade, values_.area_shade, values_.capacity_shade)
    return (; given, constant, sun, shade, capacity_sun=values_.capacity_sun, capacity_shade=values_.capacity_shade)
end
@inline leaf_in_class(::Canopy{L,P,known,scaled}, of_leaf, par, boundary, area, capacity) where {L,P,known,scaled} =
    merge(
        of_leaf,
        (; par, boundary_layer_conductance=OF_CANOPIES.VAPOUR_FACTOR * boundary / area),
        map(v -> v * capacity, NamedTuple{scaled}(of_leaf))
    )

"Inputs of a leaf at its temperature and the vapour pressure around it, and what its drivers give."
@noinline function leaf_in_canopy(c::Canopy, of_class, T, vapour)
    given = merge(of_class, (; leaf_temperature=T, vapour_pressure_deficit=0.001 * (saturation_pressure(T) - vapour)))
    values_, slot = leaf_terms(c.leaf, given)
    return (; given, values=values_, slot)
end
@noinline function leaf_gives(c::Canopy, of_class, co2, T, vapour)
    left, fluxes = leaf_rates(c.leaf, SVector(co2), leaf_in_canopy(c, of_class, T, vapour))
    return left[1], fluxes...
end

@inline in_canopy(u) = (; warm_sun=u[3], warm_shade=u[4], surface=u[5], vapour=u[6])
@inline canopy_rates(c::Canopy, u, w) = canopy_balance(
    merge(w.constant, in_canopy(u),
        NamedTuple{LEAF_SUN}(leaf_gives(c, w.sun, u[1], u[3], u[6])),
        NamedTuple{LEAF_SHADE}(leaf_gives(c, w.shade, u[2], u[4], u[6])))
)

# a leaf depends on three of the six states: its tangents are those of these, and stand among six afterwards
@inline among_six(x, place) = x
@inline among_six(x::Dual{G}, ::Val{:sun}) where {G} =
    (p=partials(x); z=zero(p[1]); Dual{G}(value(x), ForwardDiff.Partials((p[1], z, p[2], z, z, p[3]))))
@inline among_six(x::Dual{G}, ::Val{:shade}) where {G} =
    (p=partials(x); z=zero(p[1]); Dual{G}(value(x), ForwardDiff.Partials((z, p[1], z, p[2], z, p[3]))))

@inline function canopy_linearise(c::Canopy, u, w, p)
    changes, fluxes, J = canopy_jacobian(c, u, w)
    return changes, fluxes, J, (on_rates, on_fluxes) -> canopy_pull(c, u, w, on_rates, on_fluxes)
end

@noinline function canopy_jacobian(c::Canopy, u::SVector{6,L}, w) where {L}
    sun = map(x -> among_six(x, Val(:sun)), leaf_gives(c, w.sun, seed(SVector(u[1], u[3], u[6]))...))
    shade = map(x -> among_six(x, Val(:shade)), leaf_gives(c, w.shade, seed(SVector(u[2], u[4], u[6]))...))
    changes, fluxes =
        canopy_balance(merge(w.constant, in_canopy(seed(u)), NamedTuple{LEAF_SUN}(sun), NamedTuple{LEAF_SHADE}(shade)))
    return map(value_of, changes), map(value_of, fluxes), slopes_of(changes, Val(6), L)
end

"Slopes of a number in some of what it is made from."
@inline function slopes_by_name(total::F, x::NamedTuple, ::Val{names}, ::Type{L}) where {F,names,L}
    seeded = NamedTuple{names}(Tuple(seed(SVector(Tuple(NamedTuple{names}(x))))))
    return NamedTuple{names}(Tuple(all_slopes(total(merge(x, seeded)), L, Val(length(names)))))
end

"Sum of the values of some names, of each that has them."
@generated function sums_by_name(::Val{names}, none, parts::NamedTuple...) where {names}
    total(k) = foldl((a, b) -> :($a + $b), [:(parts[$i].$k) for i in eachindex(parts) if k in fieldnames(parts[i])]; init=:none)
    return :(Base.@_inline_meta; NamedTuple{names}(($(map(total, names)...),)))
end
@generated weighted_sum(on::SVector{N}, y::SVector{N}) where {N} =
    :(Base.@_inline_meta; $(foldl((a, b) -> :($a + $b), [:(on[$i] * y[$i]) for i in 1:N])))
@generated weighted_sum(on::NamedTuple, y::NamedTuple{names}) where {names} =
    :(Base.@_inline_meta; $(foldl((a, b) -> :($a + $b), [:(on.$k * y.$k) for k in names])))

"A part, weighted by the cotangents of what it gives."
@inline function weighted_part(d::Driver{names}, on) where {names}
    @inline total(x...) = weighted_sum(on, @inline d.f(x...))
    return Driver{names,typeof(total)}(total)
end

@noinline function canopy_pull(c::Canopy, u::SVector{6,L}, w, on_rates, on_fluxes) where {L}
    leaf_sun, leaf_shade = leaf_in_canopy(c, w.sun, u[3], u[6]), leaf_in_canopy(c, w.shade, u[4], u[6])
    gives(co2, leaf) = ((left, fluxes)=leaf_rates(c.leaf, SVector(co2), leaf); (left[1], fluxes...))
    x = merge(
        w.constant,
        in_canopy(u),
        NamedTuple{LEAF_SUN}(gives(u[1], leaf_sun)),
        NamedTuple{LEAF_SHADE}(gives(u[2], leaf_shade))
    )
    total(x) = ((rates, fluxes)=canopy_balance(x); weighted_sum(on_rates, rates) + weighted_sum(on_fluxes, fluxes))
    on_leaves = slopes_by_name(total, x, Val((LEAF_SUN..., LEAF_SHADE...)), L)
    on_state, on_weather = slopes_by_name(total, x, Val(CANOPY_STATE), L), slopes_by_name(total, x, Val(CANOPY_WEATHER), L)
    on_radiation, on_air = slopes_by_name(total, x, Val(CANOPY_RADIATION), L), slopes_by_name(total, x, Val(CANOPY_AIR), L)
    sun = pull_in_class(c, SVector(u[1]), leaf_sun, Tuple(NamedTuple{LEAF_SUN}(on_leaves)), w.given, w.capacity_sun, x.area_sun)
    shade = pull_in_class(
        c,
        SVector(u[2]),
        leaf_shade,
        Tuple(NamedTuple{LEAF_SHADE}(on_leaves)),
        w.given,
        w.capacity_shade,
        x.area_shade
    )
    on_parts = merge(
        on_radiation,
        on_air,
        (; light_sun=sun.light, light_shade=shade.light, capacity_sun=sun.capacity, capacity_shade=shade.capacity,
            boundary_sun=(on_air.boundary_sun + sun.boundary), boundary_shade=(on_air.boundary_shade + shade.boundary),
            area_sun=(on_radiation.area_sun + sun.area), area_shade=(on_radiation.area_shade + shade.area))
    )
    parts = map(d -> weighted_part(d, on_parts), c.parts)
    inputs_ = names_of_inputs(w.given)
    on_inputs = sums_by_name(
        inputs_,
        zero(L),
        through_drivers(parts, w.given, map(d -> one(L), parts), inputs_),
        on_weather,
        sun.inputs,
        shade.inputs
    )
    on_u = SVector(sun.co2, shade.co2, on_state.warm_sun + sun.warm, on_state.warm_shade + shade.warm, on_state.surface,
        on_state.vapour + sun.vapour + shade.vapour)
    return on_u, on_inputs, on_inputs, map((a, b) -> (a, b), sun.networks, shade.networks)
end

"Cotangents of what a leaf of a class reads, from those of what it gives."
@noinline function pull_in_class(
    c::Canopy{M,P,known,scaled},
    co2::SVector{1,L},
    leaf,
    on,
    given,
    capacity,
    area
) where {M,P,known,scaled,L}
    on_co2, on_leaf, _, networks = leaf_pull(c.leaf, co2, leaf, SVector(on[1]), SVector(on[2:6]))
    x = leaf.given
    on_vpd, steeper = 0.001 * on_leaf.vapour_pressure_deficit, saturation_and_slope(x.leaf_temperature)[2]
    on_scaled, at_top = NamedTuple{scaled}(on_leaf), NamedTuple{scaled}(given)
    return (; co2=on_co2[1], warm=(on_leaf.leaf_temperature + on_vpd * steeper), vapour=(-on_vpd), light=on_leaf.par,
        capacity=sum(Tuple(on_scaled) .* Tuple(at_top)),
        boundary=(on_leaf.boundary_layer_conductance * (OF_CANOPIES.VAPOUR_FACTOR / area)),
        area=-on_leaf.boundary_layer_conductance * x.boundary_layer_conductance / area,
        inputs=merge(NamedTuple{known}(on_leaf), map(v -> v * capacity, on_scaled)), networks)
end

"Leaves and soil as warm as the air, as moist as the air above, Ci of 0.7 CO2."
@inline function canopy_guess(w)
    co2, air = 0.7 * w.given.co2, w.given.air_temperature
    return SVector(promote(co2, co2, air, air, air, w.given.vapour_pressure)...)
end

"""
    two_big_leaf(; friction = "measured", light = "measured", networks = (;), residual = (), leaf...)

A canopy with the specification `two_big_leaf.toml`; the options are those of the Python class, `leaf` those of [`photosynthesis`](@ref).
"""
function two_big_leaf(; friction="measured", light="measured", networks=(;), residual=(), leaf...)
    friction in ("measured", "log_law") || throw(UnknownName("friction = $friction is none of measured, log_law"))
    light in ("measured", "shortwave") || throw(UnknownName("light = $light is none of measured, shortwave"))
    form = leaf_form(; leaf...)
    if mesophyll(form) || energy_balance(form) || product_limit(form) || stomata(form) in (:measured, :measured_ci)
        throw(
            Refused(
                "a canopy has leaves without mesophyll, product_limit, an energy balance of their own and stomata that are measured"
            )
        )
    end
    return dynamic(canopy_model)(form, Slots("photosynthesis", networks, residual), Symbol(friction), Symbol(light))
end

function canopy_model(form::LeafForm, s::Slots, friction, light)
    leaf, of_leaf = leaf_of(form, s)
    spec_ = canopy_spec(of_leaf, friction, light)
    known = Tuple(setdiff([of_leaf.parameters; of_leaf.forcings; collect(keys(s.called))], BY_CLASS))
    scaled = Tuple(k for k in CAPACITIES if k in known)
    leaf, parts = Leaf(leaf.form, leaf.drivers, s, FLUXES_OF_LEAF), canopy_parts(friction, light)
    return canopy_model(Canopy{typeof(leaf),typeof(parts),known,scaled}(leaf, parts), spec_)
end

function canopy_model(c::Canopy, spec_)
    @inline prepare(f, p) = canopy_prepare(c, f, p)
    @inline rates(u, w, p) = canopy_rates(c, u, w)
    @inline linearise(u, w, p) = canopy_linearise(c, u, w, p)
    @inline guess(w, p) = canopy_guess(w)
    return SmallModel{6}(spec_, rates; prepare, linearise, guess, networks=c.leaf.slots.called)
end

"Of both specifications what a canopy reads and gives: the parameters of its leaves before its own."
function canopy_spec(of_leaf, friction, light)
    own = whole_spec("two_big_leaf")
    unread = friction === :measured ? [:vegetation_height, :measurement_height] : [:friction_velocity]
    light === :measured || push!(unread, :par)
    return ModelSpec(
        own.name,
        own.states,
        setdiff([of_leaf.parameters; :absorptance; own.parameters], unread),
        setdiff(own.forcings, unread),
        own.fluxes,
        own.digest
    )
end
