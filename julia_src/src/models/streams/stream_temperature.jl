# Water and heat of a reach: the equations, widths and sources of stream_temperature.py and stream_temperature.toml. Without branches and with
# derivatives by hand, as `hbv.jl`.

const OF_STREAM = constants("stream_temperature")

"1 where a number is positive, else 0."
@inline over_zero(x) = ifelse(zero(x) < x, one(x), zero(x))

"What weather and flows alone decide; see `drivers` of stream_temperature.py."
@inline function stream_weather(f, p, s, windy::Val{W}) where {W}
    c = OF_STREAM
    shading = in_slot(s, Val(:shade), p, f.season, () -> 0.5 * (p.bare_shade * (1 + f.season) + p.shade * (1 - f.season)))
    memory = f.groundwater_temperature / c.WARM
    deep = in_slot(s, Val(:groundwater), p, memory, () -> memory + p.ground_warming / c.WARM)
    kelvin = f.temperature + ZERO_CELSIUS
    black = c.EMISSIVITY * c.STEFAN * (kelvin * kelvin) * (kelvin * kelvin)
    root = vsqrt(0.01 * f.vapour_pressure + 1e-8)
    clear, clouds = c.SKY + c.SKY_VAPOUR * root, 1 + c.CLOUDS * f.cloud_cover * f.cloud_cover
    open, discharge = 1 - shading.value, max(f.discharge, zero(f.discharge))
    log_flow = vlog(discharge + c.LEAST_DISCHARGE)
    ground = deep.value * c.WARM
    mixed = f.soil_water_temperature + p.ground_share * (ground - f.soil_water_temperature)
    lateral = max(mixed, zero(mixed))
    surface = p.length * p.width * vexp(p.widening * log_flow) / c.CAPACITY
    known = (; f.heat_inflow, f.total_inflow, f.lateral_inflow, f.discharge, f.loss, f.temperature, f.vapour_pressure,
        f.shortwave_down, f.cloud_cover, f.season,
        f.soil_water_temperature, shading, deep, memory, kelvin, black, root, clear, clouds, open, flow=discharge, log_flow,
        ground, mixed, lateral, surface,
        sun=(1 - c.ALBEDO) * open * f.shortwave_down, sky=black * (open * clear * clouds + (1 - open) * c.EMISSIVITY),
        bed=max(ground, zero(ground)),
        rubbing=(c.DENSITY * c.GRAVITY / c.CAPACITY) * discharge * p.slope * p.length)
    if W
        x = f.wind_speed / c.WINDY
        blowing = in_slot(s, Val(:wind), p, x, () -> p.still_wind + p.moving_wind * f.wind_speed)
        return (; known..., f.wind_speed, x, blowing, by_vapour=blowing.value, by_air=(c.GAMMA * blowing.value))
    end
    full, steep = saturation_and_slope(f.temperature)
    short, least = full - f.vapour_pressure, c.LEAST_DEFICIT * full
    deficit, evaporating = max(short, least), c.DENSITY * c.LATENT * f.evaporation
    return (; known..., steep, humid=over_zero(least - short), deficit, evaporating, by_air=c.GAMMA * evaporating / deficit)
end

"What rates and derivatives share, of the state alone: it serves for the next step, too, whose weather is another."
@inline function stream_terms(u, ::Val{W}) where {W}
    c = OF_STREAM
    volume, heat = u
    wet = zero(volume) < volume - c.LEAST_VOLUME
    per = 1 / ifelse(wet, volume, oftype(volume, c.LEAST_VOLUME))
    enthalpy = heat * per
    width = c.FREEZING
    near = min(max(enthalpy, oftype(enthalpy, -width)), oftype(enthalpy, width)) + width
    water = ifelse(zero(enthalpy) < enthalpy - width, enthalpy, near * near / (4 * width))
    kelvin = water + ZERO_CELSIUS
    cube = c.EMISSIVITY * c.STEFAN * kelvin * kelvin * kelvin
    full, steep = W ? saturation_and_slope(water) : (zero(water), zero(water))
    return (;
        heat,
        per,
        by_volume=ifelse(wet, -per * per, zero(per)),
        enthalpy,
        water,
        rise=near / (2 * width),
        kelvin,
        cube,
        emission=cube * kelvin,
        full,
        steep
    )
end

"The same with weather."
@inline function stream_exchange(t, w, p, ::Val{W}) where {W}
    latent = W ? w.by_vapour * (w.vapour_pressure - t.full) : zero(t.water) - w.evaporating
    sensible, bed = w.by_air * (w.temperature - t.water), p.bed_exchange * (w.bed - t.water)
    net = w.sun + w.sky - t.emission + latent + sensible + bed
    ice = t.enthalpy * (-1 / OF_STREAM.ICE)
    frozen = min(max(ice, zero(ice)), one(ice))
    losing = over_zero(-net)
    return (;
        t...,
        latent,
        sensible,
        bed,
        net,
        frozen,
        freezing=over_zero(ice) * over_zero(1 - ice),
        losing,
        kept=-frozen * losing * net
    )
end

"""
Where Newton's method begins in an implicit step of length h from a state: the volume is known, and the change d of the temperature solves
c[1] d + c[2] d^2 + c[3] d^3 + c[4] d^4 = gained, Taylor's series of the heat budget, by a step of Halley's and one of Newton's method. Water
that is or becomes ice begins with the temperature that it has.
"""
@inline function stream_ahead(u, w, p, t, h, windy::Val{W}) where {W}
    x, leaving = stream_exchange(t, w, p, windy), w.discharge + w.loss
    volume = u[1] + h * (w.total_inflow - leaving)
    held, by_surface = max(volume, oftype(volume, OF_STREAM.LEAST_VOLUME)), h * w.surface
    gained =
        t.heat + h * (w.heat_inflow + w.lateral_inflow * w.lateral + w.rubbing - leaving * t.enthalpy) + by_surface * x.net -
        held * t.enthalpy
    squared = OF_STREAM.EMISSIVITY * OF_STREAM.STEFAN * t.kelvin * t.kelvin
    second, third, fourth = W ? saturation_bends(t.water, t.steep) : (zero(t.water), zero(t.water), zero(t.water))
    by_vapour = W ? w.by_vapour : zero(t.water)
    c = (held + h * leaving + by_surface * (4 * t.cube + w.by_air + p.bed_exchange + by_vapour * t.steep),
        by_surface * (6 * squared + by_vapour * second / 2),
        by_surface * (4 * OF_STREAM.EMISSIVITY * OF_STREAM.STEFAN * t.kelvin + by_vapour * third / 6),
        by_surface * (OF_STREAM.EMISSIVITY * OF_STREAM.STEFAN + by_vapour * fourth / 24))
    per = 1 / c[1]
    first = gained * per
    d = first / (1 + first * c[2] * per)
    d += (gained - d * (c[1] + d * (c[2] + d * (c[3] + d * c[4])))) / (c[1] + d * (2 * c[2] + d * (3 * c[3] + d * (4 * c[4]))))
    liquid = (OF_STREAM.FREEZING < t.enthalpy) & (OF_STREAM.FREEZING < t.enthalpy + d) & (abs(d) < 20)
    return SVector(volume, held * (t.enthalpy + ifelse(liquid, d, zero(d))))
end

@inline function stream_rates(w, t)
    came, leaving, lost =
        w.heat_inflow + w.lateral_inflow * w.lateral + zero(t.net), w.discharge * t.enthalpy, w.loss * t.enthalpy
    flow = w.total_inflow - w.discharge - w.loss + zero(t.net)
    a, rubbing = w.surface, w.rubbing + zero(t.net)
    changes = SVector(flow, came + rubbing + a * (t.net + t.kept) - leaving - lost)
    return changes,
    SVector(came, a * w.sun + zero(came), a * w.sky + zero(came), a * t.emission, a * t.latent, a * t.sensible, a * t.bed,
        rubbing, a * t.kept,
        leaving, lost, t.water, t.frozen)
end

@inline function stream_linearise(u, w, p, s, of_state, windy::Val{W}) where {W}
    c, t = OF_STREAM, stream_exchange(of_state, w, p, windy)
    cooling = 4 * t.cube + w.by_air + p.bed_exchange
    W && (cooling += w.by_vapour * t.steep)
    cooling *= t.rise
    slope = -cooling + t.losing * (t.frozen * cooling + t.freezing * t.net / c.ICE)
    by_enthalpy = w.surface * slope - w.discharge - w.loss
    J = Sparse{2,((2, 1), (2, 2))}(by_enthalpy * t.heat * t.by_volume, by_enthalpy * t.per)
    pull(on_changes, on_fluxes) = stream_pull(w, p, t, s, windy, on_changes, on_fluxes)
    return stream_rates(w, t)..., J, pull
end

@inline function stream_pull(w, p, t, s, windy::Val{W}, (on_flow, r), o) where {W}
    c, a = OF_STREAM, w.surface
    # of what is multiplied by the surface, and of that itself
    sun, sky, emission, latent, sensible, bed, kept = r + o[2], r + o[3], o[4] - r, r + o[5], r + o[6], r + o[7], r + o[9]
    on_surface =
        sun * w.sun + sky * w.sky + emission * t.emission + latent * t.latent + sensible * t.sensible + bed * t.bed +
        kept * t.kept
    on_net, on_frozen = -a * kept * t.frozen * t.losing, o[13] - a * kept * t.losing * t.net
    sun, sky, emission = a * sun + on_net, a * sky + on_net, a * emission - on_net
    latent, sensible, bed = a * latent + on_net, a * sensible + on_net, a * bed + on_net
    came, rubbing, leaving, lost = r + o[1], r + o[8], o[10] - r, o[11] - r
    on_water = o[12] + 4 * emission * t.cube - sensible * w.by_air - bed * p.bed_exchange
    W && (on_water -= latent * w.by_vapour * t.steep)
    on_enthalpy = on_water * t.rise - on_frozen * t.freezing / c.ICE + leaving * w.discharge + lost * w.loss
    on_state = SVector(on_enthalpy * t.heat * t.by_volume, on_enthalpy * t.per)
    on_by_air = sensible * (w.temperature - t.water)
    on_lateral = came * w.lateral_inflow * over_zero(w.mixed)
    on_ground = on_lateral * p.ground_share + bed * p.bed_exchange * over_zero(w.ground)
    on_shade = sky * w.black * (c.EMISSIVITY - w.clear * w.clouds) - (1 - c.ALBEDO) * sun * w.shortwave_down
    on_sky = sky * w.black * w.open
    on_vapour, on_air = on_sky * w.clouds * c.SKY_VAPOUR * 0.005 / w.root, sensible * w.by_air + 4 * sky * w.sky / w.kelvin
    none, flowing, moved = zero(r), over_zero(w.discharge), on_surface * a
    rubbed, on_deep = rubbing * (c.DENSITY * c.GRAVITY / c.CAPACITY), on_ground * c.WARM
    on_wind, still, moving, on_evaporation = none, none, none, none
    if W
        on_blowing = latent * (w.vapour_pressure - t.full) + c.GAMMA * on_by_air
        on_wind = on_blowing * slope_in(w.blowing, _ -> p.moving_wind, 1 / c.WINDY)
        still, moving =
            on_blowing * slope_in(w.blowing, one, none), on_blowing * slope_in(w.blowing, y -> w.wind_speed + zero(y), none)
    else
        on_blowing = none
        on_deficit = -on_by_air * w.by_air / w.deficit
        on_evaporation = (on_by_air * c.GAMMA / w.deficit - latent) * c.DENSITY * c.LATENT
        on_vapour -= on_deficit * (1 - w.humid)
        on_air += on_deficit * (w.humid * c.LEAST_DEFICIT + 1 - w.humid) * w.steep
    end
    W && (on_vapour += latent * w.by_vapour)
    on_forcing = (; heat_inflow=came, total_inflow=on_flow + none, lateral_inflow=came * w.lateral,
        discharge=leaving * t.enthalpy - on_flow +
                  flowing * (moved * p.widening / (w.flow + c.LEAST_DISCHARGE) + rubbed * p.slope * p.length),
        loss=lost * t.enthalpy - on_flow, temperature=on_air, shortwave_down=sun * (1 - c.ALBEDO) * w.open,
        vapour_pressure=on_vapour,
        cloud_cover=2 * c.CLOUDS * on_sky * w.clear * w.cloud_cover, wind_speed=on_wind, evaporation=on_evaporation,
        groundwater_temperature=on_deep * slope_in(w.deep, y -> (1 / c.WARM) * one(y), 1 / c.WARM),
        soil_water_temperature=on_lateral * (1 - p.ground_share),
        season=on_shade * slope_in(w.shading, _ -> 0.5 * (p.bare_shade - p.shade), one(r)))
    on_parameters = (; shade=on_shade * slope_in(w.shading, y -> 0.5 * (1 - w.season) + zero(y), none),
        bare_shade=on_shade * slope_in(w.shading, y -> 0.5 * (1 + w.season) + zero(y), none), width=moved / p.width,
        widening=moved * w.log_flow,
        still_wind=still, moving_wind=moving, bed_exchange=bed * (w.bed - t.water),
        ground_share=on_lateral * (w.ground - w.soil_water_temperature),
        ground_warming=on_deep * slope_in(w.deep, y -> (1 / c.WARM) * one(y), none), slope=rubbed * w.flow * p.length,
        length=moved / p.length + rubbed * w.flow * p.slope)
    networks =
        W ?
        on_networks(
            s;
            shade=(w.shading, w.season, on_shade),
            wind=(w.blowing, w.x, on_blowing),
            groundwater=(w.deep, w.memory, on_deep)
        ) :
        on_networks(s; shade=(w.shading, w.season, on_shade), groundwater=(w.deep, w.memory, on_deep))
    return on_state, on_forcing, on_parameters, networks
end

"""
    stream_temperature(; exchange = "wind", networks = (;), residual = ())

Water and heat of a reach, with latent and sensible heat by "wind" or by "evaporation", and the specification `stream_temperature.toml`; networks
as in [`hbv`](@ref).
"""
function stream_temperature(; exchange="wind", networks=(;), residual=())
    windy = lookup(Dict("wind" => Val(true), "evaporation" => Val(false)), exchange, "exchange with the air")
    return dynamic(stream_temperature)(windy, Slots("stream_temperature", networks, residual))
end

function stream_temperature(windy::Val{W}, s::Slots) where {W}
    @inline prepare(f, p) = stream_weather(f, p, s, windy)
    @inline terms(u, w, p) = stream_terms(u, windy)
    @inline linearise(u, w, p, t=terms(u, w, p)) = stream_linearise(u, w, p, s, t, windy)
    @inline rates(u, w, p) = stream_rates(w, stream_exchange(terms(u, w, p), w, p, windy))
    @inline ahead(u, w, p, t, h) = stream_ahead(u, w, p, t, h, windy)
    whole = slots_spec("stream_temperature", s; without=W ? () : (:still_wind, :moving_wind))
    forcings = setdiff(whole.forcings, W ? (:evaporation,) : (:wind_speed,))
    spec = ModelSpec(whole.name, whole.states, whole.parameters, forcings, whole.fluxes, whole.digest)
    return SmallModel{2}(spec, rates; prepare, linearise, terms, ahead, networks=s.called)
end
