# Memory of the solvers, allocated once and used for one column after another.

"Everything that a column takes from one step to the next."
mutable struct Carry{T}
    psi::Vector{T}
    storage::Vector{T}
    rates::Vector{T}
    fluxes::Vector{T}
    total::Vector{T}
    psi_before::Vector{T}
    psi_between::Vector{T}
    interval::Int
    elapsed::T
    step::T
    step_before::T
    error_before::T
    contraction::T
    starts::Bool
    attempts::Int
    taken::Int
    asked::Int   # interval and time in it where the column was last asked whether it makes progress,
    slow::Int    # and how often in a row it made none
    reached::T
end

function Carry{T}(size::Integer, fluxes::Integer) where {T}
    state() = zeros(T, size)
    return Carry{T}(
        state(),
        state(),
        state(),
        zeros(T, fluxes),
        zeros(T, fluxes),
        state(),
        state(),
        1,
        0,
        0,
        0,
        0,
        0,
        true,
        0,
        0,
        1,
        0,
        0
    )
end

Base.copy(y::Carry{T}) where {T} = copyto!(Carry{T}(length(y.psi), length(y.total)), y)

function Base.copyto!(to::Carry, from::Carry)
    for name in fieldnames(Carry)
        x = getfield(from, name)
        x isa Vector ? copyto!(getfield(to, name), x) : setfield!(to, name, x)
    end
    return to
end

"""
What the forward solve keeps of a column for the gradient: the states of the stages of each accepted step, one after another.
A step with `first` begins an interval, one with `landed` ends it. `begins` is the state before the first step;
`starts` are those at the starts of intervals, of a model with algebraic states, which a method solves for there. Columns that were
solved side by side have their states in the tape of the first, where `group` says how many they are.
"""
mutable struct Tape{T}
    states::Vector{T}
    steps::Vector{T}
    interval::Vector{Int32}
    first::Vector{Bool}
    landed::Vector{Bool}
    begins::Vector{T}
    starts::Vector{T}
    stretches::Vector{Carry{T}}
    group::Int
end

Tape{T}() where {T} = Tape{T}(T[], T[], Int32[], Bool[], Bool[], T[], T[], Carry{T}[], 0)

function Base.empty!(tape::Tape)
    for x in (tape.states, tape.steps, tape.interval, tape.first, tape.landed, tape.begins, tape.starts, tape.stretches)
        empty!(x)
    end
    tape.group = 0
    return tape
end

"Memory of a tape in bytes."
bytes(tape::Tape{T}) where {T} =
    sizeof(T) * (length(tape.states) + length(tape.steps) + length(tape.starts)) + 6 * length(tape.steps) +
    sum(sizeof(T) * (6 * length(y.psi) + 2 * length(y.total) + 8) for y in tape.stretches; init=0)

"Vectors of one solve, `[size]` unless said otherwise."
struct Work{T,L,C,J,N}
    linearisation::L
    column::C
    networks::N                 # of columns that are solved side by side
    filter::Tuple{J,Vector{T}}  # Jacobian and capacity at the guess of the last stage: they filter the error estimate
    carry::Carry{T}
    tape::Tape{T}
    states::Vector{Vector{T}}   # of the stages
    rates::Vector{Vector{T}}
    fluxes::Vector{Vector{T}}
    target::Vector{T}
    right::Vector{T}
    update::Vector{T}
    moved::Vector{T}            # the last one that was taken
    tolerance::Vector{T}
    scale::Vector{T}            # one over the tolerance
    reach::Vector{T}            # one over the longest update of Newton
    multipliers::Vector{Vector{T}}
    on_storage::Vector{T}       # cotangents carried backwards: of the storage at the end of a step,
    on_rates::Vector{T}         # of the rates there,
    on_state::Vector{T}         # of the state itself
    weight_storage::Vector{T}
    weight_rates::Vector{T}
    weight_fluxes::Vector{T}
end

function Work(m::Model, ::Type{T}, tableau::Tableau) where {T}
    n, q, s = statesize(m), flux_count(m), stages(tableau)
    state() = zeros(T, n)
    several(k) = [state() for _ in 1:k]
    return Work(Linearisation(m, T), column(m, T), networks_of_lanes(m, T), (jacobian(m, T), state()), Carry{T}(n, q),
        Tape{T}(),
        several(s), several(s + 1), [zeros(T, q) for _ in 1:(s+1)], state(), state(), state(), state(), state(), state(),
        state(), several(s), state(), state(), state(), state(), state(), zeros(T, q))
end

networks_of_lanes(m::Model, ::Type{T}) where {T} = nothing
networks_of_lanes(m::SmallModel, ::Type{Float64}) = Networks(networks(m), LaneNumber{Float64}, LaneNumber{Float64})
