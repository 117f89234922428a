# Columns of a batch over Julia's threads. Each column is solved alone: a failed one does not touch the others.

"A solve between its forward and its backward pass. The memory that `inputs` points to belongs to the caller."
struct Run{T,M<:Model}
    model::M
    inputs::Inputs{T}
    options::Options{T}
    tapes::Vector{Tape{T}}
    threads::Int
end
Base.eltype(::Run{T}) where {T} = T

"Tells a solve to stop: `flag` is set by anybody, `ask` is called now and then on the thread that began the solve."
struct Stop
    flag::Base.RefValue{Bool}
    ask::Ptr{Cvoid}
    asked::Base.RefValue{UInt64}
    calls::Base.RefValue{Int}
end
Stop(ask=C_NULL) = Stop(Ref(false), ask, Ref(time_ns()), Ref(0))

const ASK_EVERY = 50_000_000  # ns
const LOOK_EVERY = 16         # calls: reading the clock takes as long as a day of a basin

"Whether to stop, where no question can be asked."
stopped(s::Stop) = s.flag[]

"Whether to stop, on the thread that began the solve."
function ask!(s::Stop)
    s.ask == C_NULL && return s.flag[]
    s.calls[] += 1
    if s.calls[] % LOOK_EVERY == 0 && time_ns() - s.asked[] > ASK_EVERY
        # garbage may be collected while the answer takes its time
        state = ccall(:jl_gc_safe_enter, Int8, ())
        answer = ccall(s.ask, Cint, ())
        ccall(:jl_gc_safe_leave, Cvoid, (Int8,), state)
        s.asked[] = time_ns()
        answer == 0 || (s.flag[] = true)
    end
    return s.flag[]
end

"""
Call f(worker, column, stop) for every column, on as many threads as asked for, the calling one included. No thread still works
when it returns or throws: the caller may free the memory.
"""
function each_column(f, columns::Int, workers::Int, stop::Stop)
    next = Threads.Atomic{Int}(1)
    function work(number, stopping)
        try
            while !stopping()
                c = Threads.atomic_add!(next, 1)
                c > columns && break
                f(number, c, stopping)
            end
        catch
            stop.flag[] = true
            rethrow()
        end
    end
    if workers == 1
        work(1, () -> ask!(stop))
        return
    end
    tasks = [Threads.@spawn(work(number, () -> stopped(stop))) for number in 2:workers]
    try
        work(1, () -> ask!(stop))
    finally
        while !all(istaskdone, tasks)
            ask!(stop)
            Libc.systemsleep(2e-5)
            yield()
        end
    end
    for task in tasks
        istaskfailed(task) || continue
        try
            wait(task) # throws again, with the backtrace of the task, which stays among the current exceptions
        catch
            throw(task.result)
        end
    end
end

worker_count(threads, columns) = clamp(threads > 0 ? min(threads, Threads.nthreads()) : Threads.nthreads(), 1, max(columns, 1))

# ---- memory that one solve hands to the next ---------------------------------------------------------------------------

"""
A function that the compiler knows nothing about: it is compiled for the types it is called with, it sees functions defined a
moment ago, and what it compiles to does not depend on packages loaded later, which guesses about unknown types would.
"""
dynamic(f) = (arguments...) -> Base.invokelatest(f, arguments...)

"Work space of one model, kind of number and method that nobody uses at the moment."
struct Pool{W}
    free::Vector{W}
    lock::ReentrantLock
end

const POOL_LOCK = ReentrantLock()
const WORK_POOLS = Dict{Tuple{UInt,DataType,String},Any}()
const TAPE_POOL = Dict{DataType,Vector{Any}}()
const POOL_BYTES = Ref(0)
const POOL_LIMIT = 1 << 30

"The pool of a model; the caller goes on in a function that knows its type."
function work_pool(m::Model, ::Type{T}, tableau::Tableau) where {T}
    return lock(POOL_LOCK) do
        get!(WORK_POOLS, (objectid(m), T, tableau.name)) do
            w = Work(m, T, tableau)
            Pool([w], ReentrantLock())
        end
    end
end

take!(pool::Pool{W}, run) where {W} =
    lock(() -> isempty(pool.free) ? (Work(run.model, eltype(run), run.options.tableau)::W) : pop!(pool.free), pool.lock)
give!(pool::Pool, w) = lock(() -> push!(pool.free, w), pool.lock)

const FITTING = Set{UInt}()

"Check the shapes of the functions of a model that is not one of this package, before they are first used."
function check_once(m::Model, inputs)
    (shipped(spec(m)) || lock(() -> objectid(m) in FITTING, POOL_LOCK)) && return
    dynamic(check_shapes)(m, inputs)
    lock(() -> push!(FITTING, objectid(m)), POOL_LOCK)
    return
end

"Forget the work space of a model that is no longer used."
forget(m::Model) =
    lock(POOL_LOCK) do
        filter!(p -> p.first[1] != objectid(m), WORK_POOLS)
        delete!(BRANCHLESS, objectid(m))
        delete!(FITTING, objectid(m))
    end

function take_tape(::Type{T}) where {T}
    found = lock(POOL_LOCK) do
        pool = get!(() -> Any[], TAPE_POOL, T)
        isempty(pool) && return nothing
        size, tape = pop!(pool)
        POOL_BYTES[] -= size
        return tape
    end
    return found === nothing ? Tape{T}() : found::Tape{T}
end

function give_tape(tape::Tape{T}) where {T}
    size = bytes(tape)
    empty!(tape)
    lock(POOL_LOCK) do
        if POOL_BYTES[] + size <= POOL_LIMIT
            push!(get!(() -> Any[], TAPE_POOL, T), (size, tape))
            POOL_BYTES[] += size
        end
    end
    return
end

"Give the tapes back; the next run of as many columns takes each for the same column, with memory that is large enough."
release(run::Run) = foreach(give_tape, Iterators.reverse(run.tapes))

# ---- forward and backward ------------------------------------------------------------------------------------------------

"""
    forward(m, inputs, o, results, counts, failures; record, replay, threads, stop) -> Run

Solve every column. `counts` (3, column) receives accepted and rejected steps and Newton iterations, `failures` (2, column) the
outcome and, where it is not ARRIVED, the interval; results that were not reached are NaN.
"""
function forward(m::Model, inputs::Inputs{T}, o::Options{T}, results, counts::Matrix{Int64}, failures::Matrix{Int64};
    record::Bool,
    replay=nothing, threads=0, stop=Stop()) where {T}
    check_once(m, inputs)
    stationary(m) && return dynamic(stationary_forward)(m, inputs, o, results, counts, failures, record, threads, stop)
    run = Run(m, inputs, o, Tape{T}[take_tape(T) for _ in 1:inputs.columns], worker_count(threads, inputs.columns))
    dynamic(forward!)(work_pool(m, T, o.tableau), run, results, counts, failures, record, replay, stop)
    return run
end

function forward!(pool::Pool, run::Run, results, counts, failures, record, replay, stop)
    fill!(counts, 0)
    together = side_by_side(run.model, run.options, replay) && run.inputs.columns > 1
    with_work(pool, run, together ? LANES : 1, stop) do w, columns, stopping
        together && forward_group!(run, columns, w.networks, results, counts, failures, record, stopping) && return
        for c in columns
            forward_column!(w, run, c, results, counts, failures, record, replay, stopping)
        end
    end
end

"Call f(work space, columns, stop) for all columns of a run, a few at a time."
function with_work(f, pool::Pool{W}, run::Run, width, stop) where {W}
    works = W[take!(pool, run) for _ in 1:run.threads]
    columns = run.inputs.columns
    try
        each_column(cld(columns, width), run.threads, stop) do number, k, stopping
            f(works[number], ((k-1)*width+1):min(k*width, columns), stopping)
        end
    finally
        foreach(w -> give!(pool, w), works)
    end
    return
end

function forward_column!(w, run::Run{T}, c, results, counts, failures, record, replay, stopping) where {T}
    m, inputs, o, tape = run.model, run.inputs, run.options, run.tapes[c]
    write_storage!(results, start!(w, m, inputs, c, o), c, intervals(inputs), 0)
    count = MVector{3,Int64}(0, 0, 0)
    outcome = ARRIVED
    for until in stretches(o, intervals(inputs), record)
        keep = o.checkpoints && record
        keep && push!(tape.stretches, copy(w.carry))
        outcome = integrate!(w, m, inputs, c, until, o, results, count, tape, record && !keep, replay, stopping)
        outcome == ARRIVED || break
    end
    for i in 1:3
        counts[i, c] = count[i]
    end
    failures[1, c], failures[2, c] = Int(outcome), w.carry.interval
    outcome == ARRIVED || missing!(results, w.carry, c, intervals(inputs))
    return
end

"Ends of the stretches between checkpoints: about as many as intervals in each."
function stretches(o::Options, T, record)
    o.checkpoints && record && T > 3 || return T:T
    step = ceil(Int, sqrt(T))
    return [min(first + step - 1, T) for first in 1:step:T]
end

"Cotangents of every input from those of the results; the fields of `seeds` are added to. False where it was stopped."
function backward(run::Run{T}, seeds::Cotangents{T}; replay=nothing, stop=Stop()) where {T}
    dynamic(backward!)(work_pool(run.model, T, run.options.tableau), run, seeds, replay, stop)
    return !stop.flag[]
end

function backward!(pool::Pool, run::Run, seeds, replay, stop)
    together = side_by_side(run.model, run.options, replay) && run.inputs.columns > 1
    with_work(pool, run, together ? LANES : 1, stop) do w, columns, stopping
        run.tapes[first(columns)].group > 0 && return backward_group!(run, columns, w.networks, seeds, stopping)
        for c in columns
            backward_column!(w, run, c, seeds, replay, stopping)
        end
    end
end

function backward_column!(w, run::Run{T}, c, seeds, replay, stopping) where {T}
    m, inputs, o, tape = run.model, run.inputs, run.options, run.tapes[c]
    release!(w.column)
    for x in (w.on_storage, w.on_rates, w.on_state, w.weight_fluxes)
        x .= 0
    end
    last = last_wanted(seeds, c, intervals(inputs), statesize(m))
    if isempty(tape.stretches)
        sweep!(w, m, inputs, c, o, tape, seeds, last, stopping)
    else
        ends = stretches(o, intervals(inputs), true)
        for k in length(tape.stretches):-1:1
            stopping() && return
            k > 1 && ends[k-1] >= last && continue
            empty!(w.tape)
            release!(w.column)
            copyto!(w.carry, tape.stretches[k])
            integrate!(w, m, inputs, c, ends[k], o, nothing, MVector{3,Int64}(0, 0, 0), w.tape, true, replay, stopping)
            sweep!(w, m, inputs, c, o, w.tape, seeds, last, stopping)
        end
    end
    last > 0 || wants_start(seeds, c, intervals(inputs), statesize(m)) || return
    finish!(w, m, inputs, c, seeds, o)
    return
end
