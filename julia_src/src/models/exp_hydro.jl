# EXP-HYDRO: snow and one store whose outflow is exponential in its deficit; the equations, widths and sources of docs/hbv.md and
# exp_hydro.toml. Without branches and with derivatives by hand, as `hbv.jl`.

const SPILL = 1.0  # d-1: rate at which the store spills what it cannot hold

@inline function exp_hydro_weather(f, p, s=NO_SLOTS)
    thawing, above = f.temperature - p.T_max, f.temperature - p.T_min
    warmth, melts = positive(thawing, PHASE_WIDTH)
    rain_share = in_slot(s, Val(:rain), p, above / WARM, () -> positive(above, PHASE_WIDTH)[2])
    melting = haskey(s.called, :melt) ? MELTING * in_slot(s, Val(:melt), p, thawing / WARM, () -> warmth / MELTING) : warmth
    return (; f.precipitation, f.potential_evapotranspiration, warmth, melts, rain_share, rain=f.precipitation * rain_share, melt=p.D_f * melting)
end

"What rates and derivatives share, and the forcing does not change; a pair is a value and its slope in the store."
@inline function exp_hydro_terms(u, w, p, s=NO_SLOTS)
    snow, water = u
    # the smaller of water / S_max and 1: x (1 + x^8)^(-1/8)
    x = water / p.S_max
    root = sqrt(sqrt(sqrt(1 + x^8)))
    under, over = positive(p.S_max - water, STORE_WIDTH), positive(water - p.S_max, STORE_WIDTH)
    in_store = available(water, STORE_WIDTH)
    share = in_slot(s, Val(:evapotranspiration), p, x, () -> x / root, () -> available(water, GUARD)[1])
    outflow = p.Q_max * in_slot(s, Val(:base_flow), p, x, () -> exp(-p.f * under[1]))
    spill = SPILL * over[1] * in_store[1]
    if haskey(s.called, :spill)
        spill = SPILL * water * in_slot(s, Val(:spill), p, x, () -> over[1] / (abs(water) + STORE_WIDTH))
    end
    return (; in_snow=available(snow, STORE_WIDTH), in_store, x, share, share_slope=1 / (root * (1 + x^8)), under, over, outflow, spill)
end

@inline exp_hydro_rates(u, w, p) = exp_hydro_rates(w, exp_hydro_terms(u, w, p))

@inline function exp_hydro_rates(w, t)
    melt = w.melt * t.in_snow[1]
    evapotranspiration = w.potential_evapotranspiration * t.share
    base, spill = t.outflow * t.in_store[1], t.spill
    changes = SVector(w.precipitation - w.rain - melt, w.rain + melt - evapotranspiration - base - spill)
    return changes, SVector(w.precipitation + zero(base), evapotranspiration, base + spill, base, spill)
end

"Slopes of melting, evapotranspiration, base flow and spill in their store."
@inline exp_hydro_slopes(w, p, t) = (; melt=w.melt * t.in_snow[2], evapotranspiration=w.potential_evapotranspiration * t.share_slope / p.S_max,
    base=t.outflow * (p.f * t.under[2] * t.in_store[1] + t.in_store[2]), spill=SPILL * (t.over[2] * t.in_store[1] + t.over[1] * t.in_store[2]))

"As `hbv_linearise`."
@inline function exp_hydro_linearise(u, w, p, t=exp_hydro_terms(u, w, p))
    d = exp_hydro_slopes(w, p, t)
    J = Sparse{2,((1, 1), (2, 1), (2, 2))}(-d.melt, d.melt, -d.evapotranspiration - d.base - d.spill)
    pull(on_changes, on_fluxes) = exp_hydro_pull(w, p, t, d, on_changes, on_fluxes)
    return exp_hydro_rates(w, t)..., J, pull
end

@inline function exp_hydro_pull(w, p, t, d, on_changes, on_fluxes)
    on_snow, on_water = on_changes
    on_inflow, on_evapotranspiration, on_discharge, on_base, on_spill = on_fluxes
    on_rain = on_melt = on_water - on_snow
    on_evapotranspiration -= on_water
    on_base += on_discharge - on_water
    on_spill += on_discharge - on_water
    on_melting, on_outflow = on_melt * t.in_snow[1], on_base * t.in_store[1]
    in_demand = on_evapotranspiration * w.potential_evapotranspiration
    by_melting = on_melting * p.D_f * w.melts
    by_phase = on_rain * w.precipitation * w.rain_share * (1 - w.rain_share) / PHASE_WIDTH
    on_state = SVector(on_melt * d.melt, on_evapotranspiration * d.evapotranspiration + on_base * d.base + on_spill * d.spill)
    on_forcing = (; precipitation=on_snow + on_inflow + on_rain * w.rain_share, temperature=by_melting + by_phase,
        potential_evapotranspiration=on_evapotranspiration * t.share)
    on_parameters = (; T_min=-by_phase, T_max=-by_melting, D_f=on_melting * w.warmth, f=-on_outflow * t.outflow * t.under[1],
        S_max=-in_demand * t.share_slope * t.x / p.S_max - on_outflow * t.outflow * p.f * t.under[2] - on_spill * SPILL * t.over[2] * t.in_store[1],
        Q_max=on_outflow * t.outflow / p.Q_max)
    return on_state, on_forcing, on_parameters
end

"""
    exp_hydro(; networks = (;), residual = ())

EXP-HYDRO with the specification `exp_hydro.toml`; networks as in [`hbv`](@ref).
"""
function exp_hydro(; networks=(;), residual=())
    isempty(networks) && return SmallModel{2}(whole_spec("exp_hydro"), exp_hydro_rates; prepare=exp_hydro_weather, linearise=exp_hydro_linearise,
        terms=exp_hydro_terms)
    s = Slots("exp_hydro", networks, residual)
    return SmallModel{2}(slots_spec("exp_hydro", s), (u, w, p) -> exp_hydro_rates(w, exp_hydro_terms(u, w, p, s));
        prepare=(f, p) -> exp_hydro_weather(f, p, s), networks=s.called)
end
