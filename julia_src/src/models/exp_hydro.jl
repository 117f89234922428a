# EXP-HYDRO: snow and one store whose outflow is exponential in its deficit; the equations, widths and sources of docs/hbv.md and
# exp_hydro.toml. Without branches, as `hbv.jl`.

const SPILL = 1.0  # d-1: rate at which the store spills what it cannot hold

function exp_hydro_rates(u, f, p)
    snow, water = u
    rain = f.precipitation * step_up(f.temperature - p.T_min, PHASE_WIDTH)
    melt = p.D_f * positive(f.temperature - p.T_max, PHASE_WIDTH) * available(snow, STORE_WIDTH)
    # the smaller of water / S_max and 1: x (1 + x^8)^(-1/8)
    x = water / p.S_max
    evapotranspiration = f.potential_evapotranspiration * x / sqrt(sqrt(sqrt(1 + x^8)))
    over = water - p.S_max
    in_store = available(water, STORE_WIDTH)
    base = p.Q_max * exp(-p.f * positive(-over, STORE_WIDTH)) * in_store
    spill = SPILL * positive(over, STORE_WIDTH) * in_store
    changes = SVector(f.precipitation - rain - melt, rain + melt - evapotranspiration - base - spill)
    return changes, SVector(f.precipitation + zero(base), evapotranspiration, base + spill, base, spill)
end

"EXP-HYDRO with the specification `exp_hydro.toml`."
exp_hydro() = SmallModel{2}(whole_spec("exp_hydro"), exp_hydro_rates)
