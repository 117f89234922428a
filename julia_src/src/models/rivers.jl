# Reaches of a river: one store each. The equations, widths and sources of docs/rivers.md, models/rivers/*.py and *.toml. Without branches.

const LEAST_SHARE = 0.02   # 1: least share of the outflow in the weighted discharge
const SHARE_WIDTH = 0.002  # 1: of the threshold there
const TINY_AREA = 1e-12    # m2: an area below which no power is evaluated

"1 - X, kept above `LEAST_SHARE` by a hyperbola."
@inline function share_of_outflow(share)
    over = share - LEAST_SHARE
    root = vsqrt(over * over + SHARE_WIDTH^2)
    low = SHARE_WIDTH^2 / (root + abs(over))  # the same: far below, over + root would be nothing but rounding
    return LEAST_SHARE + 0.5 * ifelse(over < zero(over), low, over + root)
end

"Outflow of a store whose weighted discharge X I + (1 - X) Q is `normal`; `share` is 1 - X. It goes to zero in front of a wave."
@inline function weighted_outflow(normal, inflow, share)
    push = (1 / share - 1) * (inflow - normal)
    front = zero(push) < push
    rising = normal * normal / (abs(normal) + ifelse(front, push, zero(push)) + 1e-30)
    return ifelse(front, rising, normal - push)
end

# Depth, top width, wetted perimeter and its slope in the area

@inline function trapezoid(area, p)
    top = vsqrt(p.width * p.width + 4 * p.side_slope * area)
    depth, banks = 2 * area / (p.width + top), 2 * vsqrt(1 + p.side_slope * p.side_slope)
    return depth, top, p.width + banks * depth, banks / top
end

@inline function power_law(area, p)
    depth = vexp(vlog((1 + p.q) * area / p.p) / (1 + p.q))
    top = (1 + p.q) * area / depth
    bank = vsqrt(4 * depth * depth + p.q * p.q * top * top)
    by_depth = p.q * (1 - p.q) * top / depth + (4 * depth + p.q * p.q * p.q * top * top / depth) / bank
    return depth, top, top * (1 - p.q) + bank, by_depth / top
end

const SECTIONS = (trapezoid=(trapezoid, (:width, :side_slope)), power_law=(power_law, (:p, :q)))

"Filled area, section, velocity at normal flow, and celerity in parts of it."
@inline function channel(section::F, volume, p) where {F}
    area = volume / p.length
    size = abs(area) + TINY_AREA
    depth, top, perimeter, by_area = section(size, p)
    radius = size / perimeter
    velocity = vsqrt(p.slope) / p.n * vexp(vlog(radius) * (2 / 3))
    return area, depth, top, velocity, 5 / 3 - (2 / 3) * radius * by_area
end

@inline bed_loss(depth, top, area, p) = p.leakance * p.length * top * depth * ifelse(area < zero(area), -one(area), one(area))

@inline function reach_flows(volume, f, discharge, loss)
    gain = f.inflow + f.lateral_inflow + zero(discharge)
    return SVector(gain - discharge - loss), SVector(gain, discharge, loss)
end

"Muskingum's linear reach; see `muskingum.py`."
function muskingum(; positive=true)
    function rates(u, f, p)
        normal = u[1] / p.K
        share = share_of_outflow(1 - p.X - p.step / (2 * p.K))
        discharge = positive ? weighted_outflow(normal, f.inflow, share) : normal - (1 / share - 1) * (f.inflow - normal)
        return reach_flows(u[1], f, discharge, p.leakance * u[1])
    end
    return SmallModel{1}(whole_spec("muskingum"), rates)
end

"A reach as a nonlinear reservoir; see `kinematic_wave.py`."
function kinematic_wave(; section="trapezoid")
    shape, spec = section_of("kinematic_wave", section)
    function rates(u, f, p)
        area, depth, top, velocity, _ = channel(shape, u[1], p)
        return reach_flows(u[1], f, area * velocity, bed_loss(depth, top, area, p))
    end
    return SmallModel{1}(spec, rates)
end

"Muskingum's reach with travel time and X from its channel; see `muskingum_cunge.py`."
function muskingum_cunge(; section="trapezoid")
    shape, spec = section_of("muskingum_cunge", section)
    function rates(u, f, p)
        area, depth, top, velocity, relative = channel(shape, u[1], p)
        spread = abs(area) / (2 * top * p.slope * p.length * relative)
        within = velocity * relative * p.step / (2 * p.length)
        discharge = weighted_outflow(area * velocity, f.inflow, share_of_outflow(0.5 + spread - within))
        return reach_flows(u[1], f, discharge, bed_loss(depth, top, area, p))
    end
    return SmallModel{1}(spec, rates)
end

"The function of a cross-section, and the specification without the parameters of the others."
function section_of(name, section)
    shape, own = lookup(Dict(String(k) => v for (k, v) in pairs(SECTIONS)), section, "cross-section")
    others = setdiff([k for (_, names) in values(SECTIONS) for k in names], own)
    spec = whole_spec(name)
    return shape, select(name, setdiff(spec.parameters, others), spec.forcings)
end
