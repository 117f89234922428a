# HBV: snow, melt water, soil, upper and lower zone of a basin; the equations, widths and sources of docs/hbv.md and hbv.toml. Without
# branches, so that several basins are solved side by side in registers, and with derivatives by hand, which cost a fraction of those by
# dual numbers.

const OF_HBV = constants("hbv")

"How far x has come from -3 to 3 widths, from 0 to 1."
@inline within(x, width) = min(max(muladd(x, 1 / (6 * width), 0.5), zero(x)), one(x))

"""
max(x, 0), smooth: exact beyond 3 widths, 0.5625 widths above it at 0; its slope, a polynomial that rises from 0 to 1 between them; and the slope of that.
"""
@inline function positive(x, width)
    s = within(x, width)
    square = s * s
    return 3 * width * (square * s) * (2 - s) + max(x - 3 * width, zero(x)), square * (3 - 2 * s), s * (1 - s) / width
end

"""
max(x, 0) as a hyperbola, half a width at 0; and its slope. For thresholds that may lie beyond all that happens: the slope falls with the
square of the distance, and is never zero.
"""
@inline function with_tail(x, width)
    root = vsqrt(muladd(x, x, oftype(x, width * width)))
    # the sum of both would cancel far below the threshold
    y = ifelse(x < zero(x), (width * width / 2) / (root + abs(x)), (x + root) / 2)
    return y, y / root
end

"Part of a demand that a store can meet, 1/2 at `width`; odd, so that an overdrawn store is refilled. And its slope."
@inline available(store, width) = only(available((store,), width))
@inline available(stores::Tuple, width) =
    map((store, per) -> (store * per, width * per * per), stores, inverses(map(store -> abs(store) + width, stores)...))

"What no store changes: rain, and what temperature melts and freezes at most."
@inline function hbv_weather(f, p)
    phase = positive(f.temperature - p.TT, OF_HBV.PHASE_WIDTH)
    own = haskey(p, :TTM)  # else TT parts freezing from melting too
    warmth, warm_share, _ = own ? positive(f.temperature - p.TTM, OF_HBV.PHASE_WIDTH) : phase
    _, rain_share, rises = phase
    cold = warmth - (f.temperature - (own ? p.TTM : p.TT))
    return (; f.precipitation, f.potential_evapotranspiration, warmth, cold, rain_share, rises, warm_share,
        rain=(f.precipitation * rain_share),
        melt=(p.CFMAX * warmth), freezing=(p.CFR * p.CFMAX * cold), log_LP=vlog(p.LP), per_FC=1 / p.FC,
        per_limit=1 / (p.FC * p.LP))
end

"What rates and derivatives share, and the forcing does not change; a pair is a value and its slope in the store."
@inline function hbv_terms(u, w, p, s=NO_SLOTS)
    snow, melt_water, soil, upper, _ = u
    held = max(soil, oftype(soil, OF_HBV.DRIEST))
    log_wetness = vlog(held * w.per_FC)
    wetness = soil * w.per_FC
    x = soil * w.per_limit
    dryness = positive(w.log_LP - log_wetness, OF_HBV.LIMIT_WIDTH)  # -log(min(x, 1))
    in_snow, in_melt, in_soil, in_upper = available((snow, melt_water, soil, upper), OF_HBV.STORE_WIDTH)
    passed = in_slot(s, Val(:recharge), p, wetness, () -> vexp(p.BETA * log_wetness))
    demand = in_slot(s, Val(:evapotranspiration), p, x, () -> falling_exp(-p.BETAET * dryness[1]))
    passing = in_slot(
        s,
        Val(:percolation),
        p,
        available(upper, OF_HBV.FILLING)[1],
        () -> in_upper[1],
        () -> available(upper, OF_HBV.GUARD)[1]
    )
    return (; in_snow, in_melt, in_soil, in_upper, passing, loose=positive(melt_water - p.CWH * snow, OF_HBV.SNOW_WIDTH),
        over=positive(soil - p.FC, OF_HBV.STORE_WIDTH), brim=with_tail(upper - p.UZL, OF_HBV.STORE_WIDTH), log_wetness, wetness,
        dryness, passed, demand, known=ifelse(soil > oftype(soil, OF_HBV.DRIEST), one(soil), zero(soil)) / held)
end

@inline function hbv_rates(u, w, p, t)
    _, _, _, upper, lower = u
    melt, refreezing = w.melt * t.in_snow[1], w.freezing * t.in_melt[1]
    released = OF_HBV.RELEASE * t.loose[1] * t.in_melt[1]
    infiltration = w.rain + released
    recharge = infiltration * t.passed.value + OF_HBV.RELEASE * t.over[1] * t.wetness
    evapotranspiration = w.potential_evapotranspiration * t.demand.value * t.in_soil[1]
    percolation = p.PERC * t.passing.value
    quick, interflow, base = p.K0 * t.brim[1] * t.in_upper[1], p.K1 * upper, p.K2 * lower
    changes = SVector(
        w.precipitation - w.rain - melt + refreezing,
        melt - refreezing - released,
        infiltration - recharge - evapotranspiration,
        recharge - percolation - quick - interflow,
        percolation - base
    )
    return changes, SVector(w.precipitation + zero(base), evapotranspiration, quick + interflow + base, quick, interflow, base)
end

"Slopes of melting, refreezing, release (in snow and melt water), recharge, evapotranspiration, percolation and quick flow in their store."
@inline function hbv_slopes(u, w, p, t)
    released = OF_HBV.RELEASE * (t.loose[2] * t.in_melt[1] + t.loose[1] * t.in_melt[2])
    passed = slope_in(t.passed, y -> p.BETA * y * t.known, w.per_FC)
    demand = slope_in(t.demand, y -> p.BETAET * y * t.dryness[2] * t.known, w.per_limit)
    return (; melt=(w.melt * t.in_snow[2]), refreezing=(w.freezing * t.in_melt[2]),
        released_snow=-OF_HBV.RELEASE * p.CWH * t.loose[2] * t.in_melt[1],
        released,
        recharge=(w.rain + OF_HBV.RELEASE * t.loose[1] * t.in_melt[1]) * passed +
                 OF_HBV.RELEASE * (t.over[2] * t.wetness + t.over[1] * w.per_FC),
        evapotranspiration=(w.potential_evapotranspiration * (demand * t.in_soil[1] + t.demand.value * t.in_soil[2])),
        percolation=(p.PERC * slope_in(
            t.passing,
            _ -> t.in_upper[2],
            available(u[4], OF_HBV.FILLING)[2];
            by_guard=available(u[4], OF_HBV.GUARD)[2]
        )),
        quick=(p.K0 * (t.brim[2] * t.in_upper[1] + t.brim[1] * t.in_upper[2])))
end

const HBV_PATTERN = ((1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3), (4, 1), (4, 2), (4, 3), (4, 4), (5, 4), (5, 5))

"Rates, fluxes, Jacobian of the rates, and what pulls cotangents back."
@inline function hbv_linearise(u, w, p, s, t)
    d = hbv_slopes(u, w, p, t)
    kept = 1 - t.passed.value
    J = Sparse{5,HBV_PATTERN}(
        -d.melt, d.refreezing,
        d.melt - d.released_snow, -d.refreezing - d.released,
        d.released_snow * kept, d.released * kept, -d.recharge - d.evapotranspiration,
        d.released_snow * t.passed.value, d.released * t.passed.value, d.recharge, -d.percolation - d.quick - p.K1,
        d.percolation, -p.K2
    )
    @inline pull(on_changes, on_fluxes) = hbv_pull(u, w, p, t, d, s, on_changes, on_fluxes)
    return hbv_rates(u, w, p, t)..., J, pull
end

@inline function hbv_pull(u, w, p, t, d, s, on_changes, on_fluxes)
    snow, _, _, upper, lower = u
    on_snow, on_melt_water, on_soil, on_upper, on_lower = on_changes
    on_inflow, on_evapotranspiration, on_discharge, on_quick, on_interflow, on_base = on_fluxes
    # of the processes, each of which leaves one store and enters another or an output
    on_melt = on_melt_water - on_snow
    on_recharge = on_upper - on_soil
    on_infiltration = on_soil + on_recharge * t.passed.value
    on_released = on_infiltration - on_melt_water
    on_rain = on_infiltration - on_snow
    on_evapotranspiration -= on_soil
    on_percolation = on_lower - on_upper
    on_quick += on_discharge - on_upper
    on_interflow += on_discharge - on_upper
    on_base += on_discharge - on_lower
    # of what stands in their formulas
    on_melting, on_freezing = on_melt * t.in_snow[1], -on_melt * t.in_melt[1]
    on_warmth = p.CFMAX * (on_melting + p.CFR * on_freezing)
    by_melting = on_warmth * w.warm_share - p.CFR * p.CFMAX * on_freezing
    by_phase = on_rain * w.precipitation * w.rises
    on_passed = on_recharge * (w.rain + OF_HBV.RELEASE * t.loose[1] * t.in_melt[1])
    on_demand = on_evapotranspiration * w.potential_evapotranspiration * t.in_soil[1]
    on_passing = on_percolation * p.PERC
    # slopes in the logarithms of FC, and of LP FC
    x = u[3] * w.per_limit
    by_FC = slope_in(t.passed, y -> -p.BETA * y, -t.wetness)
    by_limit = on_demand * slope_in(t.demand, y -> -p.BETAET * y * t.dryness[2], -x)
    on_full = on_recharge * OF_HBV.RELEASE * t.over[1] * t.wetness
    on_brim = on_quick * t.in_upper[1]
    on_state = SVector(
        on_melt * d.melt + on_released * d.released_snow,
        -on_melt * d.refreezing + on_released * d.released,
        on_recharge * d.recharge + on_evapotranspiration * d.evapotranspiration,
        on_percolation * d.percolation + on_quick * d.quick + on_interflow * p.K1,
        on_base * p.K2
    )
    on_forcing = (; precipitation=on_snow + on_inflow + on_rain * w.rain_share, temperature=by_melting + by_phase,
        potential_evapotranspiration=on_evapotranspiration * t.demand.value * t.in_soil[1])
    on_parameters = (; BETA=on_passed * slope_in(t.passed, y -> y * t.log_wetness, zero(t.wetness)),
        FC=(on_passed * by_FC + by_limit - on_full) * w.per_FC - on_recharge * OF_HBV.RELEASE * t.over[2] * t.wetness,
        K0=on_brim * t.brim[1], K1=on_interflow * upper, K2=on_base * lower, LP=by_limit / p.LP,
        PERC=on_percolation * t.passing.value,
        UZL=-on_brim * p.K0 * t.brim[2], TT=(-(haskey(p, :TTM) ? by_phase : by_melting + by_phase)), TTM=(-by_melting),
        CFMAX=on_melting * w.warmth + p.CFR * on_freezing * w.cold,
        CFR=(p.CFMAX * on_freezing * w.cold), CWH=-on_released * OF_HBV.RELEASE * t.loose[2] * t.in_melt[1] * snow,
        BETAET=on_demand * slope_in(t.demand, y -> -y * t.dryness[1], zero(x)))
    return on_state,
    on_forcing,
    on_parameters,
    on_networks(s; recharge=(t.passed, t.wetness, on_passed),
        evapotranspiration=(t.demand, x, on_demand), percolation=(t.passing, available(upper, OF_HBV.FILLING)[1], on_passing))
end

"""
    hbv(; networks = (;), residual = (), melt_threshold = false)

HBV with the specification `hbv.toml`. `networks` fill its slots, in place of formulas or, those named in `residual`, beside them. With
`melt_threshold` melting and refreezing have the threshold TTM, else TT.
"""
function hbv(; networks=(;), residual=(), melt_threshold=false)
    s = Slots("hbv", networks, residual)
    # inlined, or every evaluation would be a call through memory
    @inline terms(u, w, p) = hbv_terms(u, w, p, s)
    @inline linearise(u, w, p, t=terms(u, w, p)) = hbv_linearise(u, w, p, s, t)
    @inline rates(u, w, p) = hbv_rates(u, w, p, terms(u, w, p))
    return SmallModel{5}(
        slots_spec("hbv", s; without=melt_threshold ? () : (:TTM,)),
        rates;
        prepare=hbv_weather,
        linearise,
        terms,
        networks=s.called
    )
end
