# Networks in the slots of the built-in models, as docs/closures.md has them.

"""
    Slots(name, networks, residual)

What stands in the slots of a model: `networks`, a NamedTuple in the order of the specification, of which those named in `residual`
stand beside their formula. `called` are the networks as the equations call them, `beside` the ranges of the latter.
"""
struct Slots{C<:NamedTuple,B<:NamedTuple}
    called::C
    beside::B
end

function Slots(name, networks::NamedTuple, residual)
    known = get(first(read_spec(name)), "slots", Dict{String,Any}())
    for (k, n) in pairs(networks)
        slot = lookup(known, String(k), "slot of $name")
        length(slot["inputs"]) == inputs_of(n) ||
            throw(Refused("the slot $k has the inputs $(join(slot["inputs"], ", ")), got a network of $(inputs_of(n))"))
        low, high = slot["range"]
        low <= n.low && n.high <= high || throw(Refused("the slot $k needs a network with a range within $low and $high"))
    end
    issubset(residual, keys(networks)) ||
        throw(UnknownName("residual names $(join(setdiff(residual, keys(networks)), ", ")), which no network fills"))
    order = Tuple(k for k in slot_names(name) if k in keys(networks))
    own = NamedTuple{order}(networks)
    called = NamedTuple{order}(map((k, n) -> k in residual ? unranged(n) : n, order, Tuple(own)))
    return Slots(called, NamedTuple(k => (own[k].low, own[k].high) for k in order if k in residual))
end

slot_names(name) = ordered_names(read(spec_file(name), String), "slots")
unranged(::Network{W,A}) where {W,A} = Network{W,A}(NaN, NaN)

const NO_SLOTS = Slots((;), (;))

"A whole specification without the parameters that no formula reads any more, and without those of options that are not taken."
function slots_spec(name, s::Slots; without=())
    known, whole = first(read_spec(name))["slots"], whole_spec(name)
    gone = [Symbol(p) for k in keys(s.called) if !haskey(s.beside, k) for p in known[String(k)]["replaces"]]
    return ModelSpec(
        whole.name,
        whole.states,
        setdiff(whole.parameters, gone, without),
        whole.forcings,
        whole.fluxes,
        whole.digest
    )
end

"What the formula of a slot gives, where no network is."
struct Formula{V}
    value::V
end

"A network in place of a formula: what it gives times a guard, its output and its slope in its input."
struct Alone{V,R}
    value::V
    output::V
    rise::R
    guard::V
end

"A network beside a formula, the slopes of what both give in the formula and in the output of the network, and its slope in its input."
struct Beside{V,R}
    value::V
    formula::V
    by_formula::V
    by_output::V
    rise::R
end

"""
    in_slot(s, Val(name), p, x, formula, guard) -> Formula, Alone or Beside

`formula()` where the slot is empty. A network is among the parameters `p`; in place of the formula it is multiplied by `guard()`.
"""
@inline function in_slot(s::Slots, ::Val{name}, p, x, formula::F, guard::G=unguarded) where {name,F,G}
    haskey(s.called, name) || return Formula(@inline formula())
    y, rise = value_and_slope(getfield(p, name), x)
    haskey(s.beside, name) && return beside(@inline(formula()), y, rise, getfield(s.beside, name)...)
    g = oftype(y, @inline guard())
    return Alone(y * g, y, rise, g)
end

unguarded() = true

"What a closure gives, and its slope; dual numbers carry that themselves."
@inline value_and_slope(c::Closure, x::Union{Float64,Float32,Lanes}) =
    ((y, slopes)=value_and_slopes(c, SVector(x)); (y, slopes[1]))
@inline value_and_slope(c, x) = c(x), nothing

"The logit of a formula's share of a range moved by y, also for a share of 0 or 1."
@inline function beside(formula, y, rise, low, high)
    inside = (formula - low) / (high - low)
    share = min(max(inside, zero(formula)), one(formula))
    near = min(abs(y), oftype(y, 50))  # 0 / 0 far beyond
    t = exp(-near)
    up, down = ifelse(y < zero(y), t, one(t)), ifelse(y < zero(y), one(t), t)
    per = 1 / (share * up + (1 - share) * down)
    value = low + (high - low) * share * up * per
    slope = t * per * per
    by_formula = ifelse(inside == share, slope, zero(slope))
    by_output = ifelse(near == abs(y), (high - low) * share * (1 - share) * slope, zero(slope))
    return Beside(promote(value, formula, by_formula, by_output)..., rise)
end

"""
    slope_in(slot, by_formula, by_input; by_guard)

Slope of what a slot gives in a number in which its formula, the input of its network and its guard have these slopes; `by_formula` is a
function of the formula's value, since the parameters of a formula that is replaced are none of the model.
"""
@inline slope_in(slot::Formula, by_formula::F, by_input; by_guard=0) where {F} = by_formula(slot.value)
@inline slope_in(slot::Alone, by_formula::F, by_input; by_guard=zero(slot.value)) where {F} =
    muladd(slot.guard * slot.rise, by_input, slot.output * by_guard)
@inline slope_in(slot::Beside, by_formula::F, by_input; by_guard=0) where {F} =
    muladd(slot.by_formula, by_formula(slot.formula), slot.by_output * slot.rise * by_input)

"The cotangent of a network's output from that of what its slot gives."
@inline on_output(slot::Alone, on_value) = on_value * slot.guard
@inline on_output(slot::Beside, on_value) = on_value * slot.by_output

"""
    on_networks(s; name = (slot, x, on_value)...)

For each network its input and the cotangent of its output, from what the slots gave and the cotangents of that.
"""
@inline on_networks(s::Slots{<:NamedTuple{names}}; slots...) where {names} =
    NamedTuple{names}(map(((slot, x, on_value),) -> (x, on_output(slot, on_value)), Tuple(NamedTuple{names}(values(slots)))))
