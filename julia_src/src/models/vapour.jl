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
