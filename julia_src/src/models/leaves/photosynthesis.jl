# Photosynthesis of a leaf: the equations of docs/photosynthesis.md, photosynthesis.toml and pydiffgeo/models/leaves.

"The options of a leaf, which the compiler knows."
struct LeafForm{pathway,stomata,mesophyll,energy_balance,co2_at,humidity_at,kinetics,ratios,product_limit}
    c3::Tuple{Float64,Float64}
    c4::Tuple{Float64,Float64}
end

pathway(::LeafForm{P}) where {P} = P
stomata(::LeafForm{P,S}) where {P,S} = S
mesophyll(::LeafForm{P,S,M}) where {P,S,M} = M
energy_balance(::LeafForm{P,S,M,E}) where {P,S,M,E} = E
co2_in_air(::LeafForm{P,S,M,E,A}) where {P,S,M,E,A} = A === :air
humidity_at_surface(::LeafForm{P,S,M,E,A,H}) where {P,S,M,E,A,H} = H === :surface
partial_pressures(::LeafForm{P,S,M,E,A,H,K}) where {P,S,M,E,A,H,K} = K === :partial_pressure
ratios(::LeafForm{P,S,M,E,A,H,K,R}) where {P,S,M,E,A,H,K,R} = R
product_limit(::LeafForm{P,S,M,E,A,H,K,R,T}) where {P,S,M,E,A,H,K,R,T} = T
has_c3(form::LeafForm) = pathway(form) !== :c4
has_c4(form::LeafForm) = pathway(form) !== :c3

const LEAF_OPTIONS = (pathway=("c3", "c4", "both"),
    stomata=("medlyn", "ball_berry", "leuning", "buckley_mott_farquhar", "measured", "measured_ci"),
    co2_at=("air", "surface"), humidity_at=("air", "surface"), kinetics=("partial_pressure", "mole_fraction"))

# ---- what follows from forcing and parameters, at a temperature ------------------------------------------------------------------

@inline electrons(T, activation, deactivation, entropy, par, absorptance, curvature, capacity...) =
    electron_transport(
        OF_LEAVES.SYSTEM_SHARE * absorptance * par,
        peaked(T, activation, deactivation, entropy, capacity...),
        curvature
    )
@inline triose(T, x...) = OF_LEAVES.PRODUCT_RATIO * peaked(T, x...)
@inline compensation_point(T, at_25, activation) = at_25 * arrhenius(T, activation)
@inline compensation_point(T, at_25, activation, pressure) =
    compensation_point(T, at_25, activation) * (OF_LEAVES.STANDARD_PRESSURE / pressure)
@inline michaelis(T, K_c, for_co2, K_o, for_oxygen) =
    K_c * arrhenius(T, for_co2) * (1 + OF_LEAVES.OXYGEN / (K_o * arrhenius(T, for_oxygen)))
@inline function michaelis(T, K_c, for_co2, K_o, for_oxygen, pressure)
    standard = OF_LEAVES.STANDARD_PRESSURE / pressure
    return K_c * arrhenius(T, for_co2) * standard * (1 + OF_LEAVES.OXYGEN / (K_o * arrhenius(T, for_oxygen) * standard))
end
@inline of_pathway(c4, one, other) = ifelse(c4 > 0.5, other, one)

"The drivers of a leaf by name; `slope` is that of a formula, which a network may replace."
function leaf_drivers(form::LeafForm)
    T, V = :leaf_temperature, :V_cmax25
    responses(name) = ntuple(i -> Symbol(name, :_, (:activation, :deactivation, :entropy)[i]), 3)
    at_25(name, ending="") = ratios(form) ? (Symbol(name, "_ratio", ending), V) : (name,)
    stress = stomata(form) === :measured_ci ? () : (:soil_water_stress,)
    pressure = partial_pressures(form) ? (:pressure,) : ()
    own(name) = pathway(form) === :both ? (:c4, name, Symbol(name, :_c4)) : has_c3(form) ? (name,) : (Symbol(name, :_c4),)
    pick_own(f) = pathway(form) === :both ? (x, c4, one, other) -> f(x, of_pathway(c4, one, other)) : f
    compensation = Driver(compensation_point, T, :Gamma_star25, :Gamma_star_activation, pressure...)
    out = (;)
    if has_c3(form)
        out = (; V=Driver(peaked, T, responses(:V_cmax)..., V, stress...),
            J=Driver(electrons, T, responses(:J_max)..., :par, :absorptance, :theta_J, at_25(:J_max25)...), compensation,
            michaelis=Driver(michaelis, T, :K_c25, :K_c_activation, :K_o25, :K_o_activation, pressure...),
            R=Driver(peaked, T, responses(:R_d)..., at_25(:R_d25)...))
        product_limit(form) && (out = (; out..., product=Driver(triose, T, responses(:TPU)..., at_25(:TPU25)...)))
    end
    if has_c4(form)
        out = (; out..., V_c4=Driver(limited_c4, T, V, stress...), light_c4=Driver(*, :quantum_yield_c4, :par),
            slope_c4=Driver(doubling, T, :slope_ratio_c4, V), R_c4=Driver(respiration_c4, T, at_25(:R_d25, "_c4")...))
        pathway(form) === :both && (out = (; out..., c4=Driver(identity, :c4)))
    end
    mesophyll(form) && (out = (; out..., gm=Driver(peaked, T, responses(:gm)..., :gm25)))
    passed(names...) = NamedTuple{names}(map(k -> Driver(identity, k), names))
    stomata(form) === :measured_ci && return (; out..., passed(:intercellular_co2)...)
    out = (; out..., passed(:co2, :boundary_layer_conductance, :vapour_pressure_deficit, :pressure)...)
    energy_balance(form) && (out = (; out..., passed(:air_temperature, :shortwave, :longwave)...))
    kind, vpd = stomata(form), :vapour_pressure_deficit
    kind === :measured && return (; out..., least=Driver(identity, :stomatal_conductance))
    kind === :buckley_mott_farquhar &&
        return (; out..., least=Driver(buckley_mott_farquhar, :par, vpd, :pressure, :soil_water_stress, :Em, :i0, :k, :b))
    out = (; out..., least=Driver(pick_own((stress, g0) -> least_conductance(g0, stress)), :soil_water_stress, own(:g0)...))
    if humidity_at_surface(form)
        kind === :ball_berry &&
            return (; out..., slope=Driver(identity, :ball_berry_slope), humidity=Driver(relative_humidity, vpd, T))
        kind === :leuning &&
            return (; out..., slope=Driver(identity, :leuning_slope), excess=Driver(leuning_excess, vpd, :D0), base=compensation)
    end
    kind === :ball_berry && return (; out..., slope=Driver(ball_berry_slope, vpd, T, :ball_berry_slope))
    kind === :leuning && return (; out..., slope=Driver(leuning_slope, vpd, :leuning_slope, :D0), base=compensation)
    humidity_at_surface(form) &&
        return (;
            out...,
            dryness=Driver(dryness, vpd),
            g1=pathway(form) === :both ? Driver(of_pathway, own(:g1)...) : Driver(identity, own(:g1)...)
        )
    return (; out..., slope=Driver(pick_own(medlyn_slope), vpd, own(:g1)...))
end

# ---- the equations -----------------------------------------------------------------------------------------------------------------

"CO2 that comes back from the air less that assumed, its slope in that, and what flows; as `exchange` in pydiffgeo/models/leaves/exchange.py."
@inline function leaf_exchange(co2, leaf, form::LeafForm)
    gross, rise, respired = assimilation(co2, leaf, form)
    net = gross - respired
    inside, inside_rise = mesophyll(form) ? (co2 + net / leaf.gm, 1 + rise / leaf.gm) : (co2, one(co2))
    if stomata(form) === :measured_ci
        return (; net, gross, respired, stomata=net, inside, left=(leaf.intercellular_co2 - inside), slope=(-inside_rise))
    end
    by_net = co2_in_air(form) ? -OF_LEAVES.BOUNDARY_RATIO / leaf.boundary_layer_conductance : zero(net)
    surface = leaf.co2 + by_net * net
    gs, by_rate, by_surface =
        humidity_at_surface(form) ? conductance_at_surface(net, surface, leaf) : conductance(net, surface, leaf)
    per_gs = 1 / gs
    resistance = OF_LEAVES.STOMATA_RATIO * per_gs
    drawn = resistance * net
    slope = rise * (by_net - resistance + drawn * per_gs * (by_rate + by_surface * by_net)) - inside_rise
    return (; net, gross, respired, stomata=gs, inside, left=surface - drawn - inside, slope)
end

@inline function assimilation(co2, leaf, form::LeafForm)
    has_c4(form) || return (c3_assimilation(co2, leaf, form.c3)..., leaf.R)
    gross, rise = c4_assimilation(co2, leaf, form.c4)
    has_c3(form) || return gross, rise, leaf.R_c4
    one_, other = (c3_assimilation(co2, leaf, form.c3)..., leaf.R), (gross, rise, leaf.R_c4)
    return map((a, b) -> of_pathway(leaf.c4, a, b), one_, other)
end

"All fluxes by name, and what leaf and air exchange of energy."
@inline function leaf_fluxes(co2, T, e, leaf, form::LeafForm)
    limits = has_c3(form) ? c3_limits(co2, leaf) : c4_limits(co2, leaf)
    if pathway(form) === :both
        limits = map((a, b) -> of_pathway(leaf.c4, a, b), limits, c4_limits(co2, leaf)[1:length(limits)])
    end
    out = (; assimilation=e.net, gross_assimilation=e.gross, day_respiration=e.respired, stomatal_conductance=e.stomata,
        intercellular_co2=e.inside,
        NamedTuple{(:rubisco_limited, :light_limited, :product_limited)[1:length(limits)]}(limits)...)
    stomata(form) === :measured_ci && return out
    out = (; out..., transpiration=transpiration(e, leaf))
    return energy_balance(form) ? (; out..., leaf_heat(T, out.transpiration, leaf)...) : out
end

@inline transpiration(e, leaf) =
    e.stomata * leaf.boundary_layer_conductance / (e.stomata + leaf.boundary_layer_conductance) *
    leaf.vapour_pressure_deficit * 1000 / leaf.pressure

const MOLAR_MASS = 0.018015  # kg mol-1, of water

"Energy balance of a leaf of two sides: Campbell & Norman (1998), chapter 14."
@inline function leaf_heat(T, vapour, leaf)
    kelvin = T + ZERO_CELSIUS
    squared = kelvin * kelvin
    net_radiation =
        leaf.shortwave + 2 * OF_LEAVES.EMISSIVITY * (leaf.longwave - OF_LEAVES.STEFAN_BOLTZMANN * (squared * squared))
    sensible_heat =
        OF_LEAVES.HEAT_CAPACITY * (2 * leaf.boundary_layer_conductance / OF_LEAVES.HEAT_RATIO) * (T - leaf.air_temperature)
    return (; net_radiation, latent_heat=MOLAR_MASS * (2.501e6 - 2361 * T) * vapour, sensible_heat)
end

# ---- the model -----------------------------------------------------------------------------------------------------------------------

"A leaf: its form, drivers, networks, and the names of its fluxes."
struct Leaf{form,drivers,S<:Slots,names}
    form::form
    drivers::drivers
    slots::S
end
Leaf(form, drivers, s, names) = Leaf{typeof(form),typeof(drivers),typeof(s),names}(form, drivers, s)

"Inputs by name, with the temperature of a leaf that has an energy balance."
@inline inputs_at(leaf::Leaf, u, given) =
    energy_balance(leaf.form) ?
    merge(
        given,
        (; leaf_temperature=u[2], vapour_pressure_deficit=0.001 * (saturation_pressure(u[2]) - given.vapour_pressure))
    ) : given

"What the drivers give, and the slope of the conductance in its slot."
@inline function leaf_terms(leaf::Leaf, x)
    out = driven(leaf.drivers, x)
    haskey(leaf.slots.called, :stomata) || return out, nothing
    humidity = 1 / (1 + dryness(x.vapour_pressure_deficit))
    slot = in_slot(leaf.slots, Val(:stomata), x, humidity, () -> medlyn_slope_of(leaf, x))
    return (; out..., slope=slot.value), slot
end
@inline medlyn_slope_of(leaf::Leaf, x) = medlyn_slope(x.vapour_pressure_deficit, leaf_g1(leaf, x))
@inline leaf_g1(leaf::Leaf, x) =
    pathway(leaf.form) === :both ? of_pathway(x.c4, x.g1, x.g1_c4) : has_c3(leaf.form) ? x.g1 : x.g1_c4

"What depends on no state: the inputs by name and, without an energy balance, what the drivers give."
@inline function leaf_prepare(leaf::Leaf, f, p)
    given = merge(f, p)
    energy_balance(leaf.form) && return (; given)
    values_, slot = leaf_terms(leaf, given)
    return (; given, values=values_, slot)
end

@inline leaf_values(leaf::Leaf, u, w) = energy_balance(leaf.form) ? leaf_terms(leaf, inputs_at(leaf, u, w.given))[1] : w.values

"Equations and fluxes, of what the drivers give."
@inline function leaf_balance(leaf::Leaf{F,D,S,names}, u, values_) where {F,D,S,names}
    e = leaf_exchange(u[1], values_, leaf.form)
    fluxes = leaf_fluxes(u[1], energy_balance(leaf.form) ? u[2] : u[1], e, values_, leaf.form)
    left =
        energy_balance(leaf.form) ? SVector(e.left, fluxes.net_radiation - fluxes.latent_heat - fluxes.sensible_heat) :
        SVector(e.left)
    return left, SVector(promote(map(k -> getfield(fluxes, k), names)...)), e.slope
end

@inline leaf_rates(leaf::Leaf, u, w) = leaf_balance(leaf, u, leaf_values(leaf, u, w))[1:2]

@inline function leaf_linearise(leaf::Leaf, u::SVector{N,L}, w, p) where {N,L}
    if energy_balance(leaf.form)
        left, fluxes = leaf_rates(leaf, seed(u), w)
        changes, found, J = map(value_of, left), map(value_of, fluxes), slopes_of(left, Val(N), L)
    else
        changes, found, slope = leaf_balance(leaf, u, w.values)
        J = SMatrix{1,1}(slope)
    end
    return changes, found, J, LeafPull(leaf, u, w)
end

"The derivatives of a leaf at a state."
struct LeafPull{F<:Leaf,U<:SVector,W}
    leaf::F
    u::U
    w::W
end
@inline (x::LeafPull)(on_rates, on_fluxes) = leaf_pull(x.leaf, x.u, x.w, on_rates, on_fluxes)
@inline on_state(x::LeafPull, on_rates, on_fluxes) = leaf_state_pull(x.leaf, x.u, x.w, Weighted(on_rates, on_fluxes))

"Rates and fluxes times their cotangents."
struct Weighted{R,Q}
    on_rates::R
    on_fluxes::Q
end
@inline (x::Weighted)((rates, fluxes)) = sum(map(*, x.on_rates, rates)) + sum(map(*, x.on_fluxes, fluxes))

@inline leaf_state_pull(leaf::Leaf, u::SVector{N,L}, w, total) where {N,L} =
    all_slopes(total(leaf_rates(leaf, seed(u), w)), L, Val(N))

@inline function leaf_pull(leaf::Leaf, u::SVector{N,L}, w, on_rates, on_fluxes) where {N,L}
    total = Weighted(on_rates, on_fluxes)
    on_u = leaf_state_pull(leaf, u, w, total)
    x = inputs_at(leaf, u, w.given)
    values_, slot = energy_balance(leaf.form) ? leaf_terms(leaf, x) : (w.values, w.slot)
    on = on_values(leaf, u, values_, total)
    known = names_of_inputs(x)
    on_inputs = through_drivers(leaf.drivers, x, on, known)
    on_network = (;)
    if slot !== nothing
        humidity = 1 / (1 + dryness(x.vapour_pressure_deficit))
        by_humidity = slopes_at(vpd -> 1 / (1 + dryness(vpd)), x.vapour_pressure_deficit)[1]
        on_inputs = merge(on_inputs, through_slot(leaf, slot, x, on.slope, on_inputs, by_humidity))
        on_network = on_networks(leaf.slots; stomata=(slot, humidity, on.slope))
    end
    if energy_balance(leaf.form)
        on_inputs = merge(on_inputs, (; vapour_pressure=-0.001 * on_inputs.vapour_pressure_deficit))
    end
    return on_u, on_inputs, on_inputs, on_network
end

@inline names_of_inputs(x::NamedTuple{names}) where {names} = Val(names)

"Cotangents of what the drivers give."
@inline function on_values(leaf::Leaf, u, values_::NamedTuple{names}, total::F) where {names,F}
    L, K = eltype(u), length(names)
    seeded = NamedTuple{names}(Tuple(seed(SVector(Tuple(values_)))))
    return NamedTuple{names}(Tuple(all_slopes(total(leaf_balance(leaf, u, seeded)[1:2]), L, Val(K))))
end

"Cotangents of the inputs of the slot and its formula, added to those that the drivers gave."
@inline function through_slot(leaf::Leaf, slot, x, on_slope, on, by_humidity)
    formula_names = pathway(leaf.form) === :both ? (:g1, :g1_c4) : has_c3(leaf.form) ? (:g1,) : (:g1_c4,)
    vapour_pressure_deficit =
        on.vapour_pressure_deficit +
        on_slope *
        slope_in(slot, _ -> slopes_at(vpd -> medlyn_slope(vpd, leaf_g1(leaf, x)), x.vapour_pressure_deficit)[1], by_humidity)
    slot isa Beside || return (; vapour_pressure_deficit)
    by_g1 =
        on_slope *
        slope_in(slot, _ -> slopes_at(g1 -> medlyn_slope(x.vapour_pressure_deficit, g1), leaf_g1(leaf, x))[1], zero(on_slope))
    pathway(leaf.form) === :both || return merge((; vapour_pressure_deficit), NamedTuple{formula_names}((by_g1,)))
    none = zero(by_g1)
    return merge(
        (; vapour_pressure_deficit),
        NamedTuple{formula_names}((ifelse(x.c4 > 0.5, none, by_g1), ifelse(x.c4 > 0.5, by_g1, none)))
    )
end

"CO2 that Medlyn's form would keep in strong light, in a leaf as warm as the air."
@inline function leaf_guess(leaf::Leaf, w)
    f = w.given
    stomata(leaf.form) === :measured_ci && return SVector(f.intercellular_co2)
    kept =
        haskey(leaf.drivers, :slope) && !energy_balance(leaf.form) ? 1 - 1.6 / max(w.values.slope, oftype(w.values.slope, 3)) :
        oftype(f.co2, 0.7)
    co2 = f.co2 * kept * (mesophyll(leaf.form) ? 0.8 : 1.0)
    return energy_balance(leaf.form) ? SVector(promote(co2, f.air_temperature)) : SVector(co2)
end

"""
    photosynthesis(; pathway = "c3", stomata = "medlyn", mesophyll = false, energy_balance = false, co2_at = "air", humidity_at = "air",
                   kinetics = "partial_pressure", ratios = true, product_limit = false, c3 = (0.999, 0.999), c4 = (0.999, 0.999), networks = (;),
                   residual = ())

Photosynthesis of a leaf with the specification `photosynthesis.toml`; the options are those of the Python class, but `c3` and `c4`, curvatures
of the smooth minima. `networks` fill the slot `stomata`.
"""
photosynthesis(; networks=(;), residual=(), options...) =
    dynamic(leaf_model)(leaf_form(; options...), Slots("photosynthesis", networks, residual))

"The form of a leaf from its options, checked."
function leaf_form(; pathway="c3", stomata="medlyn", mesophyll=false, energy_balance=false, co2_at="air", humidity_at="air",
    kinetics="partial_pressure", ratios=true, product_limit=false, c3=(0.999, 0.999), c4=(0.999, 0.999))
    for (option, value_) in pairs((; pathway, stomata, co2_at, humidity_at, kinetics))
        value_ in LEAF_OPTIONS[option] || throw(UnknownName("$option = $value_ is none of $(join(LEAF_OPTIONS[option], ", "))"))
    end
    return LeafForm{
        Symbol(pathway),
        Symbol(stomata),
        mesophyll,
        energy_balance,
        Symbol(co2_at),
        Symbol(humidity_at),
        Symbol(kinetics),
        ratios,
        product_limit
    }(
        Tuple(c3), Tuple(c4))
end

"A leaf with networks in its slots, and its specification."
function leaf_of(form::LeafForm, s::Slots)
    drivers = leaf_drivers(form)
    if haskey(s.called, :stomata)
        haskey(drivers, :slope) && stomata(form) === :medlyn ||
            throw(Refused("the slot stomata is one of Medlyn's form with the humidity of the air"))
        drivers = Base.structdiff(drivers, (; slope=nothing))
    end
    spec_ = leaf_spec(form, drivers, s)
    return Leaf(form, drivers, s, Tuple(spec_.fluxes)), spec_
end

function leaf_model(form::LeafForm, s::Slots)
    leaf, spec_ = leaf_of(form, s)
    return leaf_model(leaf, spec_, Val(length(spec_.states)))
end

function leaf_model(leaf::Leaf, spec_, ::Val{N}) where {N}
    # inlined, or every evaluation would be a call through memory
    @inline prepare(f, p) = leaf_prepare(leaf, f, p)
    @inline rates(u, w, p) = leaf_rates(leaf, u, w)
    @inline linearise(u, w, p) = leaf_linearise(leaf, u, w, p)
    @inline guess(w, p) = leaf_guess(leaf, w)
    @inline doubtful(fluxes, w) = leaf_doubtful(leaf, fluxes, w)
    @inline preferred(u, w) = leaf_widest(leaf, u, w)
    fed_back = energy_balance(leaf.form) && stomata(leaf.form) in (:medlyn, :ball_berry, :leuning)
    other = fed_back ? (; doubtful, preferred) : nothing
    return SmallModel{N}(spec_, rates; prepare, linearise, guess, other, networks=leaf.slots.called)
end

"Of the whole specification what a form reads and gives."
function leaf_spec(form::LeafForm, drivers, s::Slots)
    whole, kind = whole_spec("photosynthesis"), stomata(form)
    read_ = Set{Symbol}(k for d in drivers for k in names_of(d))
    if energy_balance(form)
        setdiff!(read_, (:leaf_temperature, :vapour_pressure_deficit))
        push!(read_, :vapour_pressure)
    end
    if any(k -> k in keys(s.beside), (:stomata,))
        union!(read_, pathway(form) === :both ? (:g1, :g1_c4, :c4) : has_c3(form) ? (:g1,) : (:g1_c4,))
    end
    given = Set{Symbol}((:assimilation, :gross_assimilation, :day_respiration, :rubisco_limited, :light_limited))
    (product_limit(form) || !has_c3(form)) && push!(given, :product_limited)
    mesophyll(form) && kind !== :measured_ci && push!(given, :intercellular_co2)
    kind === :measured_ci || push!(given, :transpiration)
    kind in (:measured, :measured_ci) || push!(given, :stomatal_conductance)
    energy_balance(form) && union!(given, (:net_radiation, :latent_heat, :sensible_heat))
    states = Set((mesophyll(form) ? :Cc : :Ci, (energy_balance(form) ? (:leaf_temperature,) : ())...))
    return ModelSpec(whole.name, filter(x -> x.name in states, whole.states), filter(in(read_), whole.parameters),
        filter(in(read_), whole.forcings),
        filter(in(given), whole.fluxes), whole.digest)
end
