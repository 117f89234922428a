# Temperature and dissolved oxygen of streams; the equations and sources of models/streams/*.py and *.toml. One state each, whose rate is
# linear in it but for ice: `prepare` computes what forcing and parameters alone decide. Derivatives come from ForwardDiff.

const OF_AIR2STREAM = constants("air2stream")

"What each version does not have; see `air2stream.py`."
const AIR2STREAM_VERSIONS =
    Dict(3 => (:a4, :a5, :a6, :a7, :a8), 4 => (:a5, :a6, :a7, :a8), 5 => (:a4, :a5, :a8), 7 => (:a4,), 8 => ())

"What stands in a slot whose inputs are numbers of the forcing: its network, alone or beside the formula, or the formula."
@inline function from_slot(s::Slots, ::Val{name}, p, x, formula::F) where {name,F}
    haskey(s.called, name) || return @inline formula()
    y = getfield(p, name)(x...)
    haskey(s.beside, name) && return beside(@inline(formula()), y, nothing, getfield(s.beside, name)...).value
    return y
end

"a6 cos(2 pi (t - a7)), from sine and cosine of 2 pi t."
@inline yearly(p, sine, cosine) = (angle=2π * p.a7; p.a6 * (cosine * cos(angle) + sine * sin(angle)))

@inline function air2stream_heat(f, p, ::Val{version}, s) where {version}
    theta = max(f.relative_discharge, oftype(f.relative_discharge, OF_AIR2STREAM.LEAST_DISCHARGE))
    angle = 2π * f.year_fraction
    sine, cosine = sin(angle), cos(angle)
    heat, loss = p.a1 + p.a2 * f.temperature, p.a3 + zero(p.a1)
    none = zero(heat)
    version == 3 && return shifted(heat, loss, none, none, p)
    version == 5 && return shifted(heat, loss, yearly(p, sine, cosine) + none, none, p)
    level = log(theta)
    per_depth = version == 7 ? one(heat) : from_slot(s, Val(:depth), p, (level,), () -> exp(-p.a4 * level))
    version == 4 && return shifted(per_depth * heat, per_depth * loss, none, none, p)
    flow = per_depth * theta
    brought = from_slot(s, Val(:inflow), p, (level, sine, cosine), () -> p.a5 + yearly(p, sine, cosine))
    return shifted(per_depth * heat, per_depth * loss, flow * brought, flow * p.a8, p)
end

"Heat and loss by air and inflow, where all tends to a temperature that is shifted."
@inline shifted(air, air_loss, inflow, inflow_loss, p) =
    (; air=air + air_loss * p.shift, air_loss, inflow=inflow + inflow_loss * p.shift, inflow_loss)

"""
    air2stream(; version = 8, networks = (;), residual = ())

The temperature of a stream with the specification `air2stream.toml`; networks as in [`hbv`](@ref).
"""
function air2stream(; version=8, networks=(;), residual=())
    s = Slots("air2stream", networks, residual)
    without = lookup(Dict(string(k) => v for (k, v) in AIR2STREAM_VERSIONS), string(version), "version")
    @inline prepare(f, p) = air2stream_heat(f, p, Val(version), s)
    @inline function rates(u, w, p)
        air, inflow = w.air - w.air_loss * u[1], w.inflow - w.inflow_loss * u[1]
        freezing = OF_AIR2STREAM.FREEZING * max(-u[1], zero(u[1]))
        return SVector(air + inflow + freezing), SVector(air, inflow, freezing + zero(air), max(u[1], zero(u[1])) + zero(air))
    end
    return SmallModel{1}(slots_spec("air2stream", s; without), rates; prepare, networks=s.called)
end

# ---- oxygen --------------------------------------------------------------------------------------------------------------------

const OF_STREAM_OXYGEN = constants("stream_oxygen")

"Oxygen that fresh water holds in balance with humid air, mg L-1, at a temperature (degC) and a pressure (hPa); see `stream_oxygen.py`."
@inline function oxygen_saturation(temperature, pressure)
    warm = 1 / (temperature + ZERO_CELSIUS)
    at_one = exp(evalpoly(warm, (-139.34411, 1.575701e5, -6.642308e7, 1.243800e10, -8.621949e11)))
    vapour = exp(evalpoly(warm, (11.8571, -3840.70, -216961.0)))
    second = evalpoly(temperature, (9.75e-4, -1.426e-5, 6.436e-8))
    p = pressure / OF_STREAM_OXYGEN.STANDARD
    return at_one * (p - vapour) * (1 - second * p) / ((1 - vapour) * (1 - second))
end

"Schmidt number of oxygen in fresh water."
@inline schmidt_oxygen(temperature) = evalpoly(temperature, (1568.0, -86.04, 2.142, -0.0216))

@inline function stream_oxygen_terms(f, p, s)
    warmer = f.water_temperature - OF_STREAM_OXYGEN.WARM
    depth = max(f.water_depth, oftype(f.water_depth, OF_STREAM_OXYGEN.LEAST_DEPTH))
    light = f.light / p.mean_light
    produced =
        p.GPP * from_slot(
            s,
            Val(:gpp),
            p,
            (light, f.water_temperature / OF_STREAM_OXYGEN.WARM),
            () -> light * exp(warmer * log(p.theta_GPP))
        )
    exchange =
        p.K600 * sqrt(600 / schmidt_oxygen(f.water_temperature)) *
        from_slot(s, Val(:gas_exchange), p, (log(depth),), () -> one(depth))
    return (; produced=produced / depth, respired=p.ER * exp(warmer * log(p.theta_ER)) / depth, exchange,
        saturated=oxygen_saturation(f.water_temperature, f.pressure))
end

"""
    stream_oxygen(; networks = (;), residual = ())

The oxygen of a stream with the specification `stream_oxygen.toml`; networks as in [`hbv`](@ref).
"""
function stream_oxygen(; networks=(;), residual=())
    s = Slots("stream_oxygen", networks, residual)
    @inline prepare(f, p) = stream_oxygen_terms(f, p, s)
    @inline function rates(u, w, p)
        reaeration = w.exchange * (w.saturated - u[1])
        none = zero(reaeration)
        there = max(u[1], zero(u[1])) / OF_STREAM_OXYGEN.LACK
        fourth = there * there * there * there
        respired = w.respired * fourth / (fourth + 1)
        return SVector(w.produced + respired + reaeration),
        SVector(w.produced + none, none - respired, reaeration, u[1] + none, w.saturated + none)
    end
    return SmallModel{1}(slots_spec("stream_oxygen", s), rates; prepare, networks=s.called)
end
