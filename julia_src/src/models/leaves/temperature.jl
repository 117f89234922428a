# How rates of a leaf respond to its temperature (degC); energies in J mol-1, entropies in J mol-1 K-1; factors are 1 at 25 degC. Sources:
# pydiffgeo/models/leaves/temperature.py.

const GAS = 8.3144598  # J mol-1 K-1
const STANDARD = ZERO_CELSIUS + 25.0
const DOUBLED = 0.06931471805599453  # log(2) / 10: of C4 leaves, per K

@inline arrhenius(T, activation) = vexp(activation * ((1 / STANDARD - 1 / (T + ZERO_CELSIUS)) / GAS))

"Response that falls again above an optimum, of a product of factors."
@inline function peaked(T, activation, deactivation, entropy, factors...)
    per_kelvin = 1 / (T + ZERO_CELSIUS)
    lost = vexp((entropy - deactivation * per_kelvin) / GAS)
    at_standard = vexp((entropy - deactivation / STANDARD) / GAS)
    return *(factors...) * vexp(activation * ((1 / STANDARD - per_kelvin) / GAS)) * (1 + at_standard) / (1 + lost)
end

@inline doubling(T, factors...) = *(factors...) * vexp((T - 25.0) * DOUBLED)
@inline limited_c4(T, factors...) = doubling(T, factors...) / ((1 + vexp(0.2 * (15.0 - T))) * (1 + vexp(0.3 * (T - 40.0))))
@inline respiration_c4(T, factors...) = doubling(T, factors...) / (1 + vexp(1.3 * (T - 55.0)))
