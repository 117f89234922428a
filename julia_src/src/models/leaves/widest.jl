# Of several states of a leaf with an energy balance that with the stomata widest open: what is said in pydiffgeo/models/leaves/widest.py.

const TURNS = 200       # of conductance and temperature
const LOOKS = 4         # turns before a leaf whose turns lead to the state found is left there
const PART = 1 / 3      # of the way to it, at most, that a turn goes on by
const STEEPEST = 0.6    # of the change in a turn by that in the turn before
const ALIKE = 1e-3      # K, between temperatures that are one
const SETTLED = 1e-6    # K, between two turns
const MOST_STEPS = 60   # for a CO2 or a temperature

"Whether the stomata may be open wider than at a state with these fluxes: they are nearly shut where a leaf assimilates less than it respires."
@inline function leaf_doubtful(::Leaf{F,D,S,names}, fluxes, w) where {F,D,S,names}
    found = NamedTuple{names}(Tuple(fluxes))
    return (found.assimilation < found.day_respiration) & (zero(w.given.par) < w.given.par)
end

"CO2 and temperature near which the stomata are open widest; NaN where that is at the state given."
@inline function leaf_widest(leaf::Leaf, u::SVector{2,L}, w) where {L}
    f, found, none = w.given, u[2], L(NaN)
    gb = f.boundary_layer_conductance
    co2, temperature, before, after = leaf_guess(leaf, w)[1], none, none, none
    t, at, waiting = temperature_at(gb, found, f), none, found < found
    for turn in 1:TURNS
        co2, gs = conductance_at(leaf, co2, leaf_terms(leaf, inputs_at(leaf, SVector(co2, t), f))[1])
        new = temperature_at(gs * gb / (gs + gb), t, f)
        away = found - t
        side = ifelse(away < zero(L), -one(L), one(L))
        reached = (found - new) * side <= ALIKE
        settled = !waiting & !reached & (abs(new - t) < SETTLED)
        temperature, at = ifelse(settled, new, temperature), ifelse(settled, co2, at)
        waiting = waiting | settled | (abs(away) <= ALIKE) | !isfinite(new)
        turn > LOOKS && (waiting = waiting | reached)
        all(waiting) && break
        # by a line through two turns: back as far as it says, on by half of that, but not too far
        slope = (new - after) / (t - before)
        slope = ifelse(isfinite(slope), min(slope, L(STEEPEST)), zero(L))
        step = (new - t) * (1 + ifelse(zero(L) < slope, L(0.5), one(L)) * slope / (1 - slope))
        step = side * min(step * side, PART * abs(away))
        before, after, t = ifelse(waiting, before, t), ifelse(waiting, after, new), ifelse(waiting, t, t + step)
    end
    return SVector(at, temperature)
end

"CO2 and conductance of a leaf whose temperature is known."
@inline function conductance_at(leaf::Leaf, co2::L, values_) where {L}
    bounds, waiting = Between(co2, 0.0, 100.0), co2 < co2
    for _ in 1:MOST_STEPS
        e = leaf_exchange(co2, values_, leaf.form)
        bounds, new = between(bounds, co2, e.left, e.slope)
        done = abs(new - co2) <= 1e-12 * abs(new)
        co2 = ifelse(waiting, co2, new)
        waiting = waiting | done
        all(waiting) && break
    end
    return co2, leaf_exchange(co2, values_, leaf.form).stomata
end

"Temperature at which the energy of a leaf closes with some conductance of stomata and boundary layer together."
@inline function temperature_at(conductance, t::L, f) where {L}
    per_pascal, waiting = conductance / f.pressure, t < t
    warmed = 2 * OF_LEAVES.HEAT_CAPACITY / OF_LEAVES.HEAT_RATIO * f.boundary_layer_conductance
    for _ in 1:20
        per = 1 / (t + 237.3)
        vapour = saturation_pressure(t)
        e = leaf_heat(t, per_pascal * (vapour - f.vapour_pressure), f)
        kelvin = t + ZERO_CELSIUS
        emitted = 8 * OF_LEAVES.EMISSIVITY * OF_LEAVES.STEFAN_BOLTZMANN * (kelvin * kelvin * kelvin)
        dried = MOLAR_MASS * (2.501e6 - 2361 * t) * per_pascal * vapour * (17.27 * 237.3) * per * per
        step = (e.net_radiation - e.latent_heat - e.sensible_heat) / (emitted + warmed + dried)
        t = ifelse(waiting, t, t + step)
        waiting = waiting | !(abs(step) >= SETTLED)
        all(waiting) && break
    end
    return t
end
