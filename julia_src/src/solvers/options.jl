"""
    Options{T}(method; rtol, atol, step, initial_step, max_steps, newton_tolerance, max_newton, checkpoints)

How to integrate in time, as in the Python package's `Solver`. `atol` and `storage_atol` are in the units of state and storage;
`step` is a fixed step, or 0 for error control; `initial_step` 0 takes 1e-5 of the first interval.
"""
struct Options{T}
    tableau::Tableau
    rtol::T
    atol::T
    storage_atol::T
    step::T
    initial_step::T
    max_steps::Int
    newton_tolerance::T
    max_newton::Int
    checkpoints::Bool
    typical::T
    rounding::T
end

function Options{T}(m::Model, method::AbstractString; rtol=1e-3, atol=nothing, step=0.0, initial_step=0.0, max_steps=100_000,
    newton_tolerance=0.005, max_newton=8, checkpoints=false) where {T}
    s = spec(m)
    # an update of Newton is at most the state's magnitude plus the typical one
    return Options{T}(lookup(METHODS, method, "method"), rtol, something(atol, rtol * s.scale), rtol * s.storage_scale, step,
        initial_step, max_steps, newton_tolerance, max_newton, checkpoints, s.scale, max(2e-12, 16 * eps(T)) * s.storage_scale)
end
