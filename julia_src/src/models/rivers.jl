# Reaches of a river: one store each. The equations, widths and sources of docs/rivers.md, models/rivers/*.py and *.toml. Without branches
# and with derivatives by hand, as `hbv.jl`.

const LEAST_SHARE, SHARE_WIDTH = constants("muskingum").LEAST_SHARE, constants("muskingum").SHARE_WIDTH
const TINY_AREA = constants("kinematic_wave").LEAST_AREA

"""
X / (1 - X), where 1 - X is kept above `LEAST_SHARE` by a hyperbola; and its slope in 1 - X as it was before. Far below, the hyperbola is
written so that it is not the small difference of large numbers.
"""
@inline function weight_of_rise(share)
    over = share - LEAST_SHARE
    root = vsqrt(over * over + SHARE_WIDTH^2)
    low, far = over < zero(over), root + abs(over)
    across, along = ifelse(low, far, one(far)), ifelse(low, oftype(far, SHARE_WIDTH^2), far)
    per, per_root = inverses(LEAST_SHARE * across + 0.5 * along, root)
    per_share = across * per
    return per_share - 1, -0.5 * along * per * per_root * per_share
end

"""
Outflow of a store whose weighted discharge X I + (1 - X) Q is `normal`, and its slopes in `normal`, the inflow, and `weight`, which is
X / (1 - X). It goes to zero in front of a wave.
"""
@inline function weighted_outflow(normal, inflow, weight)
    push = weight * (inflow - normal)
    front = zero(push) < push
    per = 1 / (abs(normal) + ifelse(front, push, zero(push)) + 1e-30)
    rising = normal * normal * per
    outflow = ifelse(front, rising, normal - push)
    # of push in the outflow
    by_push = ifelse(front, -rising * per, -one(push))
    by_normal = ifelse(front, (2 * normal - rising * sign_of(normal)) * per, one(push)) - weight * by_push
    return outflow, by_normal, weight * by_push, (inflow - normal) * by_push
end

# ---- cross-sections ------------------------------------------------------------------------------------------------------------
#
# Of a filled area: depth, top width, its slope in the area, hydraulic radius, slope of the wetted perimeter in the area, celerity in parts
# of the velocity (`relative`), and one over the perimeter and over top * relative. `curve` is the slope of that of the perimeter.

@inline function trapezoid(area, p)
    bottom, side = p.width, p.side_slope
    banks, top = 2 * vsqrt(1 + side * side), vsqrt(bottom * bottom + 4 * side * area)
    both = bottom + top
    under = bottom * both + 2 * banks * area
    over = (5 / 3) * top * under - (2 / 3) * banks * area * both
    per_top, per_both, per_under, per_over = inverses(top, both, under, over)
    per_perimeter, steep, widening = both * per_under, banks * per_top, 2 * side * per_top
    return (; depth=2 * area * per_both, top, widening, radius=area * per_perimeter, steep, curve=-steep * widening * per_top,
        relative=over * per_under * per_top, per_perimeter, per_wide=under * per_over, per_top, banks)
end

@inline function power_law(area, p)
    power, more = p.q, 1 + p.q
    per_more = 1 / more
    log_filled = vlog(more * area / p.p)
    depth = vexp(log_filled * per_more)
    per_depth = 1 / depth
    top = more * area * per_depth
    rise = top * per_depth
    cubed = power * power * power
    bank = vsqrt(4 * depth * depth + power * power * top * top)
    per_bank, per_perimeter, per_top = inverses(bank, top * (1 - power) + bank, top)
    # of the banks, and their first and second derivative in the depth
    first = depth * (4 + cubed * rise * rise) * per_bank
    second = (4 + cubed * (2 * power - 1) * rise * rise - first * first) * per_bank
    widening, radius = power * per_depth, area * per_perimeter
    steep = (power * (1 - power) * rise + first) * per_top
    relative = 5 / 3 - (2 / 3) * radius * steep
    curve = ((second - power * (1 - power) * (1 - power) * rise * per_depth) * per_top - steep * widening) * per_top
    return (; depth, top, widening, radius, steep, curve, relative, per_perimeter, per_wide=per_top / relative, per_top, bank,
        per_bank, first,
        rise, per_depth, log_filled, per_more)
end

"Cotangents of the two parameters of a section from those of depth, top width, radius and `relative`, at a given area."
@inline function trapezoid_pull(area, p, s, on_depth, on_top, on_radius, on_relative)
    @inline function by(top, depth, perimeter, steep)
        radius = -s.radius * s.per_perimeter * perimeter
        return on_depth * depth + on_top * top + on_radius * radius -
               (2 / 3) * on_relative * (radius * s.steep + s.radius * steep)
    end
    narrowing = -s.depth * s.per_top
    by_side = 4 * p.side_slope / s.banks # of the banks
    in_bottom = by(p.width * s.per_top, narrowing, 1 + s.banks * narrowing, -s.steep * p.width * s.per_top * s.per_top)
    in_side = by(2 * area * s.per_top, narrowing * s.depth, by_side * s.depth + s.banks * narrowing * s.depth,
        (by_side - s.steep * 2 * area * s.per_top) * s.per_top)
    return (; width=in_bottom, side_slope=in_side)
end

@inline function power_law_pull(area, p, s, on_depth, on_top, on_radius, on_relative)
    q, top, depth = p.q, s.top, s.depth
    # by logarithmic slopes of depth and top width, and what the power does besides
    @inline function by(of_depth, of_top, alone)
        bank = (4 * depth * depth * of_depth + q * q * top * top * of_top + alone * q * top * top) * s.per_bank
        perimeter = top * of_top * (1 - q) + bank - alone * top
        rise = s.rise * (of_top - of_depth)
        above = 4 * depth * of_depth + q * q * q * (rise * top + s.rise * top * of_top) + alone * 3 * q * q * s.rise * top
        by_depth = q * (1 - q) * rise + alone * (1 - 2 * q) * s.rise + (above - s.first * bank) * s.per_bank
        steep = by_depth * s.per_top - s.steep * of_top
        radius = -s.radius * s.per_perimeter * perimeter
        return on_depth * depth * of_depth + on_top * top * of_top + on_radius * radius -
               (2 / 3) * on_relative * (radius * s.steep + s.radius * steep)
    end
    of_depth = (1 - s.log_filled) * s.per_more * s.per_more
    return (; p=by(-s.per_more / p.p, s.per_more / p.p, zero(q)), q=by(of_depth, s.per_more - of_depth, one(q)))
end

const SECTIONS = (trapezoid=(trapezoid, trapezoid_pull, (:width, :side_slope)), power_law=(power_law, power_law_pull, (:p, :q)))

# ---- models --------------------------------------------------------------------------------------------------------------------

@inline function reach_flows(w, discharge, loss)
    gain = w.inflow + w.lateral_inflow + zero(discharge)
    return SVector(gain - discharge - loss), SVector(gain, discharge, loss)
end

"Cotangents of gain, discharge and loss from those of rate and fluxes."
@inline flow_cotangents(on_changes, on_fluxes) =
    on_fluxes[1] + on_changes[1], on_fluxes[2] - on_changes[1], on_fluxes[3] - on_changes[1]

"Muskingum's linear reach; see `muskingum.py`."
function muskingum(; positive=true)
    @inline function prepare(f, p)
        per_K = 1 / p.K
        weight, by_share = weight_of_rise(1 - p.X - 0.5 * p.step * per_K)
        return (; f.inflow, f.lateral_inflow, per_K, weight, by_share)
    end
    @inline function outflow(u, w)
        normal = u[1] * w.per_K
        positive && return normal, weighted_outflow(normal, w.inflow, w.weight)
        return normal, (normal - w.weight * (w.inflow - normal), 1 + w.weight, -w.weight, normal - w.inflow)
    end
    @inline rates(u, w, p) = reach_flows(w, outflow(u, w)[2][1], p.leakance * u[1])
    @inline function linearise(u, w, p)
        normal, (discharge, by_normal, by_inflow, by_weight) = outflow(u, w)
        slope = by_normal * w.per_K
        @inline function pull(on_changes, on_fluxes)
            on_gain, on_discharge, on_loss = flow_cotangents(on_changes, on_fluxes)
            on_share = on_discharge * by_weight * w.by_share
            on_K = 0.5 * on_share * p.step * w.per_K - on_discharge * by_normal * normal
            return SVector(on_discharge * slope + on_loss * p.leakance),
            (; inflow=on_gain + on_discharge * by_inflow, lateral_inflow=on_gain),
            (; K=on_K * w.per_K, X=(-on_share), step=-0.5 * on_share * w.per_K, leakance=on_loss * u[1])
        end
        return reach_flows(w, discharge, p.leakance * u[1])..., Sparse{1,((1, 1),)}(-slope - p.leakance), pull
    end
    return SmallModel{1}(whole_spec("muskingum"), rates; prepare, linearise)
end

"What is the same at all volumes."
@inline function channel_inputs(f, p)
    per_length, per_slope, per_n = inverses(p.length, p.slope, p.n)
    within = haskey(p, :step) ? 0.5 * p.step * per_length : per_length
    return (;
        f.inflow,
        f.lateral_inflow,
        per_length,
        per_slope,
        per_n,
        conveyance=vsqrt(p.slope) * per_n,
        within,
        steepness=0.5 * per_slope * per_length
    )
end

"""
Of a volume: its section, velocity at normal flow, and the slope of that in the area over a cube root; normal flow and loss to the bed, and
their slopes in the area.
"""
@inline function channel_terms(section::F, u, w, p) where {F}
    area = u[1] * w.per_length
    size = abs(area) + TINY_AREA
    s = section(size, p)
    per_root = per_cube_root(s.radius)
    speed = w.conveyance * per_root
    velocity, by_size = speed * s.radius, speed * s.per_perimeter * (s.relative - 1)
    under = p.length * s.top * s.depth * ifelse(area < zero(area), -one(area), one(area))
    return (; area, size, s, speed, velocity, by_size, normal=area * velocity, growth=velocity + abs(area) * by_size, under,
        loss=(p.leakance * under),
        seeping=(p.leakance * p.length * (1 + s.depth * s.widening)))
end

"""
Cotangents of the parameters that all channels have, and of the state: from those of normal flow, loss, top width and `relative`, that of the
area by the last two, and that of the velocity and the length besides normal flow.
"""
@inline function channel_pull(
    pull::F,
    w,
    p,
    t,
    on_normal,
    on_loss,
    on_top,
    on_relative,
    by_area,
    on_velocity,
    on_length
) where {F}
    on_velocity += on_normal * t.area
    on_bed, sided = on_loss * p.leakance, ifelse(t.area < zero(t.area), -one(t.area), one(t.area))
    on_area = on_normal * t.growth + on_loss * t.seeping + by_area
    of_section = pull(t.size, p, t.s, on_bed * sided * p.length * t.s.top, on_top + on_bed * sided * p.length * t.s.depth,
        on_velocity * (2 / 3) * t.speed, on_relative)
    return SVector(on_area * w.per_length),
    (; n=-on_velocity * t.velocity * w.per_n, slope=0.5 * on_velocity * t.velocity * w.per_slope,
        length=on_length + (on_bed * t.under - on_area * t.area) * w.per_length, leakance=on_loss * t.under, of_section...)
end

"A reach as a nonlinear reservoir; see `kinematic_wave.py`."
function kinematic_wave(; section="trapezoid")
    shape, pull_section, spec = section_of("kinematic_wave", section)
    @inline terms(u, w, p) = channel_terms(shape, u, w, p)
    @inline rates(u, w, p) = (t=terms(u, w, p); reach_flows(w, t.normal, t.loss))
    @inline function linearise(u, w, p, t=terms(u, w, p))
        @inline function pull(on_changes, on_fluxes)
            on_gain, on_discharge, on_loss = flow_cotangents(on_changes, on_fluxes)
            none = zero(on_gain)
            on_state, on_p = channel_pull(pull_section, w, p, t, on_discharge, on_loss, none, none, none, none, none)
            return on_state, (; inflow=on_gain, lateral_inflow=on_gain), on_p
        end
        return reach_flows(w, t.normal, t.loss)..., Sparse{1,((1, 1),)}(-(t.growth + t.seeping) * w.per_length), pull
    end
    return SmallModel{1}(spec, rates; prepare=channel_inputs, linearise, terms)
end

"Muskingum's reach with travel time and X from its channel; see `muskingum_cunge.py`."
function muskingum_cunge(; section="trapezoid")
    shape, pull_section, spec = section_of("muskingum_cunge", section)
    @inline function terms(u, w, p)
        t = channel_terms(shape, u, w, p)
        s = t.s
        # D / (c L) and c step / (2 L), in which the celerity is `relative` times the velocity
        by_spread = w.steepness * s.per_wide
        spread, within = abs(t.area) * by_spread, t.velocity * s.relative * w.within
        weight, by_share = weight_of_rise(0.5 + spread - within)
        # slope of `relative` in the size
        bending = -(2 / 3) * (1.5 * (s.relative - 1) * s.per_perimeter * s.steep + s.radius * s.curve)
        by_size =
            by_spread * (1 - abs(t.area) * (s.widening * s.relative + bending * s.top) * s.per_wide) -
            w.within * (t.by_size * s.relative + t.velocity * bending)
        return (;
            t...,
            by_spread,
            spread,
            within,
            weight,
            by_share,
            share_slope=by_size * ifelse(t.area < zero(t.area), -one(t.area), one(t.area))
        )
    end
    @inline rates(u, w, p) = (t=terms(u, w, p); reach_flows(w, weighted_outflow(t.normal, w.inflow, t.weight)[1], t.loss))
    @inline function linearise(u, w, p, t=terms(u, w, p))
        discharge, by_normal, by_inflow, by_weight = weighted_outflow(t.normal, w.inflow, t.weight)
        slope = by_normal * t.growth + by_weight * t.by_share * t.share_slope
        @inline function pull(on_changes, on_fluxes)
            on_gain, on_discharge, on_loss = flow_cotangents(on_changes, on_fluxes)
            on_share = on_discharge * by_weight * t.by_share
            s = t.s
            on_top, on_relative =
                -on_share * t.spread * s.per_top, -on_share * (t.spread * s.per_wide * s.top + t.velocity * w.within)
            on_state, on_p = channel_pull(pull_section, w, p, t, on_discharge * by_normal, on_loss, on_top, on_relative,
                on_share * t.share_slope,
                -on_share * s.relative * w.within, on_share * (t.within - t.spread) * w.per_length)
            return on_state, (; inflow=on_gain + on_discharge * by_inflow, lateral_inflow=on_gain),
            merge(
                on_p,
                (;
                    slope=(on_p.slope - on_share * t.spread * w.per_slope),
                    step=-0.5 * on_share * t.velocity * s.relative * w.per_length
                )
            )
        end
        return reach_flows(w, discharge, t.loss)..., Sparse{1,((1, 1),)}(-(slope + t.seeping) * w.per_length), pull
    end
    return SmallModel{1}(spec, rates; prepare=channel_inputs, linearise, terms)
end

const OF_LEVEL_POOL = constants("level_pool")

"Head above a sill, odd in the depth, and its slopes in depth and sill."
@inline function head_above(depth, sill)
    above, slope, _ = positive(depth - sill, OF_LEVEL_POOL.SILL_WIDTH)
    under, other, _ = positive(-depth - sill, OF_LEVEL_POOL.SILL_WIDTH)
    return above - under, slope + other, other - slope
end

"A lake or reservoir with a level surface, an orifice and a weir; see `level_pool.py`."
function level_pool()
    bed_depth, speed = OF_LEVEL_POOL.BED_DEPTH, sqrt(2 * OF_LEVEL_POOL.GRAVITY)
    @inline function prepare(f, p)
        log_crest, per_more = vlog(1 + p.crest / bed_depth), 1 / (1 + p.shape)
        bed = p.lake_area * vexp(-p.shape * log_crest)
        return (; f.inflow, f.lateral_inflow, log_crest, per_more, bed, per_room=(1 + p.shape) / (bed * bed_depth),
            orifice=speed * p.orifice_coefficient * p.orifice_area,
            weir=(2 / 3) * speed * p.weir_coefficient * p.weir_width)
    end
    @inline function terms(u, w, p)
        sided = sign_of(u[1])
        filled = abs(u[1]) * w.per_room
        log_filled = vlog(1 + filled)
        grown = vexp(log_filled * w.per_more)
        depth, surface = sided * bed_depth * (grown - 1), w.bed * (1 + filled) / grown
        lower, upper = head_above(depth, p.orifice_height), head_above(depth, p.crest)
        x, y = lower[1] * lower[1], upper[1] * upper[1]
        low, high = x + OF_LEVEL_POOL.ROOT_WIDTH^2, y + OF_LEVEL_POOL.ROOT_WIDTH^2
        root, power = vsqrt(vsqrt(low)), vsqrt(vsqrt(high))
        by_head, by_fall = (1 - 0.5 * x / low) / root, (1 + 0.5 * y / high) * power
        return (; sided, filled, log_filled, grown, depth, surface, widening=(sided * p.shape * surface / (bed_depth * grown)),
            out=(lower[1] / root), over=(upper[1] * power),
            by_orifice=(w.orifice * by_head * lower[3]), by_crest=(w.weir * by_fall * upper[3]),
            by_depth=(w.orifice * by_head * lower[2] + w.weir * by_fall * upper[2]))
    end
    @inline flows(w, p, t) = reach_flows(w, w.orifice * t.out + w.weir * t.over, p.leakance * t.depth * t.surface)
    @inline rates(u, w, p) = flows(w, p, terms(u, w, p))
    @inline function linearise(u, w, p, t=terms(u, w, p))
        slope = (t.by_depth + p.leakance * (t.surface + t.depth * t.widening)) / t.surface
        @inline function pull(on_changes, on_fluxes)
            on_gain, on_discharge, on_loss = flow_cotangents(on_changes, on_fluxes)
            on_depth = on_discharge * t.by_depth + on_loss * p.leakance * t.surface
            on_surface, share = on_loss * p.leakance * t.depth, t.filled / (1 + t.filled)
            # of parameters that change the logarithm of the bed, and the power, at a given volume
            @inline function by(of_bed, of_shape)
                filling = share * (w.per_more * of_shape - of_bed)
                growing = w.per_more * (filling - w.per_more * t.log_filled * of_shape)
                return on_depth * t.sided * bed_depth * t.grown * growing + on_surface * t.surface * (of_bed + filling - growing)
            end
            none = zero(on_gain)
            on_orifice, on_weir = on_discharge * speed * t.out, (2 / 3) * on_discharge * speed * t.over
            return SVector((on_depth + on_surface * t.widening) / t.surface),
            (; inflow=on_gain, lateral_inflow=on_gain),
            (; lake_area=by(1 / p.lake_area, none), shape=by(-w.log_crest, one(none)),
                crest=by(-p.shape / (bed_depth + p.crest), none) + on_discharge * t.by_crest,
                weir_width=on_weir * p.weir_coefficient, weir_coefficient=on_weir * p.weir_width,
                orifice_area=on_orifice * p.orifice_coefficient, orifice_height=on_discharge * t.by_orifice,
                orifice_coefficient=on_orifice * p.orifice_area, leakance=on_loss * t.depth * t.surface)
        end
        return flows(w, p, t)..., Sparse{1,((1, 1),)}(-slope), pull
    end
    return SmallModel{1}(whole_spec("level_pool"), rates; prepare, linearise, terms)
end

"The function of a cross-section, its pull, and the specification without the parameters of the others."
function section_of(name, section)
    shape, pull, own = lookup(Dict(String(k) => v for (k, v) in pairs(SECTIONS)), section, "cross-section")
    others = setdiff([k for (_, _, names) in values(SECTIONS) for k in names], own)
    spec = whole_spec(name)
    return shape, pull, select(name, setdiff(spec.parameters, others), spec.forcings)
end
