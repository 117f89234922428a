# The equations of lake.toml, as in lake.py.

const EDGE = 1.0

function rates(u, f, p)
    volume, heat = u
    temperature = heat / max(volume, EDGE)
    over = volume - p.sill
    depth = (over + sqrt(over * over + EDGE * EDGE)) / 2000
    water_in = f.inflow + zero(volume)
    evaporated = f.evaporation * volume / (volume + EDGE)
    outflow = p.rating * depth * sqrt(depth)
    heat_in = f.inflow * f.inflow_temperature + zero(volume)
    heat_of_surface = p.exchange * (f.temperature + p.warming - temperature)
    heat_out = (evaporated + outflow) * temperature
    changes = SVector(water_in - evaporated - outflow, heat_in + heat_of_surface - heat_out)
    return changes, SVector(water_in, evaporated, outflow, heat_in, heat_of_surface, heat_out, temperature)
end
