"""
    Options{T}(m, method; rtol, atol, step, initial_step, max_steps, newton_tolerance, max_newton, checkpoints)

How to integrate in time, as in the Python package's `Solver`. `atol` is a number for all states, or a vector with one for each state of
the specification, NaN for `rtol` times its typical magnitude; `step` is a fixed step, or 0 for error control; `initial_step` 0 takes 1e-5
of the first interval.

What counts as small is kept for each of a column's values: `atol` and `storage_atol`, absolute tolerances in the units of state and
storage; `typical`, to which, with the state's magnitude, an update of Newton is limited; `lower`, where a store is empty; `rounding`, what
may be left of the storage to reach, or of the equation of a state that stores nothing; `stored` says which do.
"""
struct Options{T}
    tableau::Tableau
    rtol::T
    atol::Vector{T}
    storage_atol::Vector{T}
    typical::Vector{T}
    lower::Vector{T}
    rounding::Vector{T}
    bounded::Tuple{Bool,Bool}  # whether any state, and whether every state, is a store
    stored::Vector{Bool}
    algebraic::Bool            # whether any state stores nothing
    step::T
    initial_step::T
    max_steps::Int
    newton_tolerance::T
    max_newton::Int
    checkpoints::Bool
end

function Options{T}(m::Model, method::AbstractString; rtol=1e-3, atol=nothing, step=0.0, initial_step=0.0, max_steps=100_000,
    newton_tolerance=0.005, max_newton=8, checkpoints=false) where {T}
    states = each_state(spec(m), statesize(m))
    stores = [s.lower > -Inf for s in states]
    part = max(2e-12, 16 * eps(T))
    return Options{T}(lookup(METHODS, method, "method"), rtol, absolute(m, rtol, atol),
        [rtol * s.storage_scale for s in states],
        [s.scale for s in states], [s.lower for s in states], [part * s.storage_scale for s in states],
        (any(stores), all(stores)),
        [!s.algebraic for s in states], any(s -> s.algebraic, states), step, initial_step,
        max_steps, newton_tolerance, max_newton, checkpoints)
end

"Absolute tolerance of each of a column's values."
function absolute(m::Model, rtol, atol)
    states = spec(m).states
    given = atol === nothing ? fill(NaN, length(states)) : atol isa Number ? fill(Float64(atol), length(states)) : atol
    length(given) == length(states) ||
        throw(Refused("atol has $(length(given)) values for the states $(join((s.name for s in states), ", "))"))
    each = [isnan(a) ? rtol * s.scale : a for (a, s) in zip(given, states)]
    return each[state_numbers(spec(m), statesize(m))]
end
