# Water vapour at saturation, by temperature in degC; the source: pydiffgeo/models/vapour.py.

const ZERO_CELSIUS = 273.15 # K

"Pa."
@inline saturation_pressure(T) = saturation_and_slope(T)[1]

"Pa, and Pa K-1."
@inline function saturation_and_slope(T)
    per = 1 / (T + 237.3)
    full = 610.8 * vexp(17.27 * T * per)
    return full, full * (17.27 * 237.3) * per * per
end

"Pa K-2, Pa K-3 and Pa K-4: the next three derivatives, from the first."
@inline function saturation_bends(T, steep)
    per = 1 / (T + 237.3)
    a = (17.27 * 237.3) * per
    # the logarithm of the first has the derivatives
    g, g2, g3 = (a - 2) * per, (2 - 2 * a) * per * per, (6 * a - 4) * per * per * per
    second = steep * g
    third = second * g + steep * g2
    return second, third, third * g + 2 * second * g2 + steep * g3
end
