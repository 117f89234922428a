# Networks in the slots of the built-in models, as docs/closures.md has them.

const GUARD = 0.1     # mm: of the factor that stops a flux at an empty store, where the formula itself does that
const FILLING = 10.0  # mm: water in the upper zone at which a network reads that it is half full
const WARM = 10.0     # degC: a network reads how much warmer it is in parts of this
const MELTING = 20.0  # degC above T_max: where the melting that a network gives ends

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
        length(slot["inputs"]) == inputs_of(n) || throw(Refused("the slot $k has the inputs $(join(slot["inputs"], ", ")), got a network of $(inputs_of(n))"))
        low, high = slot["range"]
        low <= n.low && n.high <= high || throw(Refused("the slot $k needs a network with a range within $low and $high"))
    end
    issubset(residual, keys(networks)) || throw(UnknownName("residual names $(join(setdiff(residual, keys(networks)), ", ")), which no network fills"))
    order = Tuple(k for k in slot_names(name) if k in keys(networks))
    own = NamedTuple{order}(networks)
    called = NamedTuple{order}(map((k, n) -> k in residual ? unranged(n) : n, order, Tuple(own)))
    return Slots(called, NamedTuple(k => (own[k].low, own[k].high) for k in order if k in residual))
end

slot_names(name) = ordered_names(read(joinpath(spec_folder(), name * ".toml"), String), "slots")
unranged(::Network{W,A}) where {W,A} = Network{W,A}(NaN, NaN)

const NO_SLOTS = Slots((;), (;))

"A whole specification without the parameters that no formula reads any more."
function slots_spec(name, s::Slots)
    known, whole = first(read_spec(name))["slots"], whole_spec(name)
    gone = [Symbol(p) for k in keys(s.called) if !haskey(s.beside, k) for p in known[String(k)]["replaces"]]
    return ModelSpec(whole.name, setdiff(whole.parameters, gone), whole.forcings, whole.fluxes, whole.scale, whole.storage_scale, whole.digest, whole.lower)
end

"""
    in_slot(s, Val(name), p, x, formula; guard) -> what a slot gives

`formula()` where the slot is empty. A network is among the parameters `p`; in place of the formula it is multiplied by `guard()`.
"""
@inline function in_slot(s::Slots, ::Val{name}, p, x, formula::F, guard::G=unguarded) where {name,F,G}
    haskey(s.called, name) || return @inline formula()
    y = getfield(p, name)(x)
    haskey(s.beside, name) && return beside(@inline(formula()), y, getfield(s.beside, name)...)
    return y * @inline(guard())
end

unguarded() = true

"The logit of a formula's share of a range moved by y, also for a share of 0 or 1."
@inline function beside(formula, y, low, high)
    share = min(max((formula - low) / (high - low), zero(formula)), one(formula))
    t = exp(-min(abs(y), oftype(y, 50)))  # 0 / 0 far beyond
    up, down = ifelse(y < zero(y), t, one(t)), ifelse(y < zero(y), one(t), t)
    return low + (high - low) * share * up / (share * up + (1 - share) * down)
end
