# EXP-HYDRO: snow and one store whose outflow is exponential in its deficit; the equations, widths and sources of docs/hbv.md and
# exp_hydro.toml. Without branches and with derivatives by hand, as `hbv.jl`.

const OF_EXP_HYDRO = constants("exp_hydro")

@inline function exp_hydro_weather(f, p, s=NO_SLOTS)
    thawing, above = f.temperature - p.T_max, f.temperature - p.T_min
    warmth, melts, _ = positive(thawing, OF_EXP_HYDRO.PHASE_WIDTH)
    _, share, rises = positive(above, OF_EXP_HYDRO.PHASE_WIDTH)
    falls = in_slot(s, Val(:rain), p, above / OF_EXP_HYDRO.WARM, () -> share)
    melting = in_slot(s, Val(:melt), p, thawing / OF_EXP_HYDRO.WARM, () -> warmth / OF_EXP_HYDRO.MELTING)
    rain_share, degrees = falls.value, haskey(s.called, :melt) ? OF_EXP_HYDRO.MELTING * melting.value : warmth
    return (; f.precipitation, f.potential_evapotranspiration, above, thawing, melts, falls, rises, rain_share,
        rain=(f.precipitation * rain_share), melting,
        degrees, melt=(p.D_f * degrees))
end

"What rates and derivatives share, and the forcing does not change; a pair is a value and its slope in the store."
@inline function exp_hydro_terms(u, w, p, s=NO_SLOTS)
    snow, water = u
    x = water / p.S_max
    beyond = positive(x - 1, OF_EXP_HYDRO.LIMIT_WIDTH)
    under, over = positive(p.S_max - water, OF_EXP_HYDRO.STORE_WIDTH), positive(water - p.S_max, OF_EXP_HYDRO.STORE_WIDTH)
    in_store, guard = available(water, OF_EXP_HYDRO.STORE_WIDTH), available(water, OF_EXP_HYDRO.GUARD)
    share = in_slot(s, Val(:evapotranspiration), p, x, () -> x - beyond[1], () -> guard[1])
    emptying = in_slot(s, Val(:base_flow), p, x, () -> exp(-p.f * under[1]))
    room = abs(water) + OF_EXP_HYDRO.STORE_WIDTH
    spilled = in_slot(s, Val(:spill), p, x, () -> over[1] / room)
    spill = haskey(s.called, :spill) ? OF_EXP_HYDRO.SPILL * water * spilled.value : OF_EXP_HYDRO.SPILL * over[1] * in_store[1]
    return (; in_snow=available(snow, OF_EXP_HYDRO.STORE_WIDTH), in_store, guard, x, share, share_slope=1 - beyond[2],
        under, over, emptying,
        outflow=(p.Q_max * emptying.value), room, spilled, spill)
end

@inline function exp_hydro_rates(w, t)
    melt = w.melt * t.in_snow[1]
    evapotranspiration = w.potential_evapotranspiration * t.share.value
    base, spill = t.outflow * t.in_store[1], t.spill
    changes = SVector(w.precipitation - w.rain - melt, w.rain + melt - evapotranspiration - base - spill)
    return changes, SVector(w.precipitation + zero(base), evapotranspiration, base + spill, base, spill)
end

"Slopes of melting, evapotranspiration, base flow and spill in their store."
@inline function exp_hydro_slopes(u, w, p, t, s)
    per = 1 / p.S_max
    emptying = slope_in(t.emptying, y -> p.f * y * t.under[2], per)
    if haskey(s.called, :spill)
        # of over / (|water| + 1 mm), which the network stands beside
        by_formula = (t.over[2] - t.over[1] * sign_of(u[2]) / t.room) / t.room
        spill = OF_EXP_HYDRO.SPILL * (t.spilled.value + u[2] * slope_in(t.spilled, _ -> by_formula, per))
    else
        spill = OF_EXP_HYDRO.SPILL * (t.over[2] * t.in_store[1] + t.over[1] * t.in_store[2])
    end
    return (; melt=(w.melt * t.in_snow[2]),
        evapotranspiration=(w.potential_evapotranspiration *
                            slope_in(t.share, _ -> t.share_slope * per, per; by_guard=t.guard[2])),
        base=p.Q_max * emptying * t.in_store[1] + t.outflow * t.in_store[2], spill)
end

@inline sign_of(x) = ifelse(x < zero(x), -one(x), one(x))

"As `hbv_linearise`."
@inline function exp_hydro_linearise(u, w, p, s, t)
    d = exp_hydro_slopes(u, w, p, t, s)
    J = Sparse{2,((1, 1), (2, 1), (2, 2))}(-d.melt, d.melt, -d.evapotranspiration - d.base - d.spill)
    pull(on_changes, on_fluxes) = exp_hydro_pull(u, w, p, t, d, s, on_changes, on_fluxes)
    return exp_hydro_rates(w, t)..., J, pull
end

@inline function exp_hydro_pull(u, w, p, t, d, s, on_changes, on_fluxes)
    on_snow, on_water = on_changes
    on_inflow, on_evapotranspiration, on_discharge, on_base, on_spill = on_fluxes
    on_rain = on_melt = on_water - on_snow
    on_evapotranspiration -= on_water
    on_base += on_discharge - on_water
    on_spill += on_discharge - on_water
    on_degrees, on_outflow = on_melt * t.in_snow[1] * p.D_f, on_base * t.in_store[1]
    on_share, on_emptying, on_spilled =
        on_evapotranspiration * w.potential_evapotranspiration, on_outflow * p.Q_max, on_spill * OF_EXP_HYDRO.SPILL * u[2]
    on_falls, on_melting = on_rain * w.precipitation, on_degrees * OF_EXP_HYDRO.MELTING
    by_phase = on_falls * slope_in(w.falls, _ -> w.rises, 1 / OF_EXP_HYDRO.WARM)
    by_melting =
        haskey(s.called, :melt) ? on_melting * slope_in(w.melting, _ -> w.melts / OF_EXP_HYDRO.MELTING, 1 / OF_EXP_HYDRO.WARM) :
        on_degrees * w.melts
    on_state = SVector(on_melt * d.melt, on_evapotranspiration * d.evapotranspiration + on_base * d.base + on_spill * d.spill)
    on_forcing = (; precipitation=on_snow + on_inflow + on_rain * w.rain_share, temperature=by_melting + by_phase,
        potential_evapotranspiration=on_evapotranspiration * t.share.value)
    # slopes in S_max: that of x is -x / S_max
    by_x = -t.x / p.S_max
    by_spill =
        haskey(s.called, :spill) ? on_spilled * slope_in(t.spilled, _ -> -t.over[2] / t.room, by_x) :
        -on_spill * OF_EXP_HYDRO.SPILL * t.over[2] * t.in_store[1]
    on_parameters = (; T_min=(-by_phase), T_max=(-by_melting), D_f=on_melt * t.in_snow[1] * w.degrees,
        f=on_emptying * slope_in(t.emptying, y -> -y * t.under[1], zero(t.x)),
        S_max=on_share * slope_in(t.share, _ -> t.share_slope * by_x, by_x) +
              on_emptying * slope_in(t.emptying, y -> -y * p.f * t.under[2], by_x) + by_spill,
        Q_max=on_outflow * t.emptying.value)
    return on_state,
    on_forcing,
    on_parameters,
    on_networks(s; rain=(w.falls, w.above / OF_EXP_HYDRO.WARM, on_falls),
        melt=(w.melting, w.thawing / OF_EXP_HYDRO.WARM, on_melting),
        evapotranspiration=(t.share, t.x, on_share), base_flow=(t.emptying, t.x, on_emptying),
        spill=(t.spilled, t.x, on_spilled))
end

"""
    exp_hydro(; networks = (;), residual = ())

EXP-HYDRO with the specification `exp_hydro.toml`; networks as in [`hbv`](@ref).
"""
function exp_hydro(; networks=(;), residual=())
    s = Slots("exp_hydro", networks, residual)
    @inline prepare(f, p) = exp_hydro_weather(f, p, s)
    @inline terms(u, w, p) = exp_hydro_terms(u, w, p, s)
    @inline linearise(u, w, p, t=terms(u, w, p)) = exp_hydro_linearise(u, w, p, s, t)
    @inline rates(u, w, p) = exp_hydro_rates(w, terms(u, w, p))
    return SmallModel{2}(slots_spec("exp_hydro", s), rates; prepare, linearise, terms, networks=s.called)
end
