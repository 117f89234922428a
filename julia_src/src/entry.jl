# Functions that C, and so Python's ctypes, calls with plain numbers and pointers, from any thread.
#
# Each returns a negative number on failure and writes the reason into `message`. Exceptions never leave Julia.

const MODELS = Dict{Int,Model}()
const RUNS = Dict{Int,Any}()
const ENTRY_LOCK = ReentrantLock()
const LAST_NUMBER = Ref(0)
const FAILED, STOPPED = -1, -2

keep!(table, x) =
    lock(ENTRY_LOCK) do
        table[LAST_NUMBER[]+=1] = x
        return LAST_NUMBER[]
    end

"Run f, or write why it failed into `message`, a buffer of `size` bytes: the error, a zero, and the backtrace, where there is room, and a zero."
function guarded(f, message::Ptr{UInt8}, size::Int64)
    try
        return f()::Int64
    catch error
        text, trace = sprint(showerror, error), backtrace_of(error)
        at = write_text(message, 0, text, isempty(trace) ? size : size ÷ 4)
        at < size && write_text(message, at, trace, size)
        return Int64(FAILED)
    end
end

"Write a text and a zero behind the first `at` bytes, of which there are `size` in all, and return where it ends."
function write_text(message, at, text, size)
    n = min(ncodeunits(text), size - at - 1)
    GC.@preserve text unsafe_copyto!(message + at, pointer(text), n)
    unsafe_store!(message, 0x00, at + n + 1)
    return at + n + 1
end

"Where an error that nobody foresaw came from, on its own thread and on this one."
backtrace_of(::Union{UnknownName,SpecMismatch,Refused}) = ""
function backtrace_of(error)
    try
        return sprint(show, MIME("text/plain"), current_exceptions())
    catch
        return ""
    end
end

"Number of the model that a TOML text describes; see `open_model`."
c_open(text::Ptr{UInt8}, message::Ptr{UInt8}, size::Int64) =
    guarded(() -> keep!(MODELS, dynamic(open_model)(TOML.parse(unsafe_string(text)))), message, size)

"Forget a model."
c_close(model::Int64) =
    lock(ENTRY_LOCK) do
        m = pop!(MODELS, model, nothing)
        m === nothing || dynamic(forget)(m)
        return Int64(0)
    end

"Forget a run, and hand its memory to the next."
function c_release(number::Int64)
    run = lock(() -> pop!(RUNS, number, nothing), ENTRY_LOCK)
    run === nothing || dynamic(release)(run)
    return Int64(0)
end

"""
Numbers of a forward call, in this order: columns, intervals, record, threads, and the addresses of lengths, states, storage,
fluxes, counts, failures, replayed steps (and their stride), name of the method, question whether to stop, name of the sensitivity,
bits of the fluxes that alone are wanted (0: all results); then address and strides (column, time, layer) of the initial state, each parameter, each forcing and the weights of each network.

Its options: rtol, step, initial step, Newton tolerance, most Newton iterations, most steps, checkpoints, and the absolute tolerance of each
state of the specification, NaN for the default.
"""
const CALL_HEAD = 16

c_forward(model::Int64, bits::Int64, call::Ptr{Int64}, options::Ptr{Float64}, message::Ptr{UInt8}, size::Int64) =
    guarded(message, size) do
        m = lock(() -> MODELS[model], ENTRY_LOCK)
        return dynamic(forward_call)(m, bits == 32 ? Float32 : Float64, call, options)
    end

function read_inputs(m::Model, ::Type{T}, call::Ptr{Int64}) where {T}
    s, skip = spec(m), CALL_HEAD
    initial = only(fields(T, call, skip, 1))
    parameters = fields(T, call, skip + 4, length(s.parameters))
    forcing = fields(T, call, skip + 4 + 4 * length(s.parameters), length(s.forcings))
    weights = fields(T, call, skip + 4 + 4 * (length(s.parameters) + length(s.forcings)), length(networks(m)))
    lengths = copy(unsafe_wrap(Array, Ptr{T}(unsafe_load(call, 5) % UInt), unsafe_load(call, 2)))
    return Inputs{T}(unsafe_load(call, 1), lengths, initial, parameters, forcing, weights)
end

"What a forward call says besides its inputs, but for what only single columns read."
function read_call(m::Model, ::Type{T}, call::Ptr{Int64}, x::Ptr{Float64}, columns) where {T}
    number(i) = unsafe_load(call, i)
    address(::Type{X}, i) where {X} = Ptr{X}(number(i) % UInt)
    value(i) = unsafe_load(x, i)
    o = choose(T, m, unsafe_string(address(UInt8, 13)), unsafe_string(address(UInt8, 15)); rtol=value(1), step=value(2),
        initial_step=value(3),
        newton_tolerance=value(4), max_newton=Int(value(5)), max_steps=Int(value(6)), checkpoints=value(7) != 0,
        atol=map(i -> value(7 + i), eachindex(spec(m).states)))
    results = Results{T}(address(T, 6), address(T, 7), address(T, 8), number(16))
    counts, failures = unsafe_wrap(Array, address(Int64, 9), (3, columns)), unsafe_wrap(Array, address(Int64, 10), (2, columns))
    return o, results, counts, failures, (; record=number(3) != 0, threads=number(4), stop=Stop(address(Cvoid, 14)))
end

function forward_call(m::Model, ::Type{T}, call::Ptr{Int64}, x::Ptr{Float64}) where {T}
    inputs = read_inputs(m, T, call)
    o, results, counts, failures, rest = read_call(m, T, call, x, inputs.columns)
    replay = replay_field(T, Ptr{T}(unsafe_load(call, 11) % UInt), unsafe_load(call, 12))
    run = forward(m, inputs, o, results, counts, failures; replay, rest...)
    if rest.stop.flag[]
        release(run)
        return Int64(STOPPED)
    end
    return keep!(RUNS, run)
end

"""
A forward call for the columns of a river, whose steps are means over intervals. Numbers of the river, in this order: steps in an interval,
flux and forcing that are joined, forcing that arrives later (0 for none), and the addresses of the column below each (0 for none), the delay
of each in steps, and the gradient of that. Returns `BY_LEVELS` where the columns cannot all be solved side by side.
"""
c_river(
    model::Int64,
    bits::Int64,
    call::Ptr{Int64},
    river::Ptr{Int64},
    options::Ptr{Float64},
    message::Ptr{UInt8},
    size::Int64
) =
    guarded(message, size) do
        m = lock(() -> MODELS[model], ENTRY_LOCK)
        return dynamic(river_call)(m, bits == 32 ? Float32 : Float64, call, river, options)
    end

const BY_LEVELS = -3

function river_call(m::Model, ::Type{T}, call::Ptr{Int64}, numbers::Ptr{Int64}, x::Ptr{Float64}) where {T}
    number(i) = unsafe_load(numbers, i)
    address(::Type{X}, i) where {X} = Ptr{X}(number(i) % UInt)
    inputs = read_inputs(m, T, call)
    o, results, counts, failures, rest = read_call(m, T, call, x, inputs.columns)
    o isa Options || return Int64(BY_LEVELS)
    below = copy(unsafe_wrap(Array, address(Int64, 5), inputs.columns))
    river = River{T}(
        below,
        number(1),
        number(2),
        number(3),
        number(4),
        Field{T}(address(T, 6), 1, 0, 0),
        Field{T}(address(T, 7), 1, 0, 0)
    )
    fill!(view(failures, 1, :), Int(ARRIVED))
    fill!(view(failures, 2, :), intervals(inputs) + 1)
    run = river_forward(m, inputs, o, river, results, counts; rest...)
    if rest.stop.flag[]
        run === nothing || release(run)
        return Int64(STOPPED)
    end
    return run === nothing ? Int64(BY_LEVELS) : keep!(RUNS, run)
end

"""
Storage, rates and fluxes of each column at its state, under the first interval: a call as for `c_forward`, whose states, storage
and fluxes receive storage (size, column), rates (size, column) and fluxes (flux, column).
"""
c_evaluate(model::Int64, bits::Int64, call::Ptr{Int64}, message::Ptr{UInt8}, size::Int64) =
    guarded(message, size) do
        m = lock(() -> MODELS[model], ENTRY_LOCK)
        return dynamic(evaluate_call)(m, bits == 32 ? Float32 : Float64, call)
    end

function evaluate_call(m::Model, ::Type{T}, call::Ptr{Int64}) where {T}
    inputs = read_inputs(m, T, call)
    check_once(m, inputs)
    lin, col, u = Linearisation(m, T), column(m, T), zeros(T, statesize(m))
    outputs = map(i -> Ptr{T}(unsafe_load(call, i) % UInt), (6, 7, 8))
    for c in 1:inputs.columns
        release!(col)
        bind!(col, m, inputs, c, 1)
        for i in eachindex(u)
            u[i] = load(inputs.initial, c, 1, i)
        end
        evaluate!(lin, col, m, u)
        for (values, pointer) in zip((lin.storage, lin.rates, lin.fluxes), outputs), i in eachindex(values)
            unsafe_store!(pointer, values[i], (c - 1) * length(values) + i)
        end
    end
    return Int64(0)
end

"Number of the weights of a model's network number k, and, where there is room for them, those at the start."
c_weights(model::Int64, k::Int64, out::Ptr{Float64}, message::Ptr{UInt8}, size::Int64) =
    guarded(() -> dynamic(first_weights)(lock(() -> MODELS[model], ENTRY_LOCK), k, out), message, size)

function first_weights(m::Model, k, out)
    initial = with_weights(networks(m)[k]).weights
    out == C_NULL || unsafe_copyto!(out, pointer(initial), length(initial))
    return length(initial)
end

replay_field(::Type{T}, pointer, stride) where {T} = pointer == C_NULL ? nothing : Field{T}(pointer, stride, 0, 1)

fields(::Type{T}, call, skip, count) where {T} =
    [
        Field{T}(Ptr{T}(unsafe_load(call, skip + 4i - 3) % UInt), unsafe_load(call, skip + 4i - 2),
            unsafe_load(call, skip + 4i - 1),
            unsafe_load(call, skip + 4i)) for i in 1:count
    ]

"Write the accepted steps of each column, `stride` apart; returns the bytes that the run has recorded."
c_steps(number::Int64, steps::Ptr{Cvoid}, stride::Int64, message::Ptr{UInt8}, size::Int64) =
    guarded(() -> dynamic(write_steps)(lock(() -> RUNS[number], ENTRY_LOCK), steps, stride), message, size)

# those of a river and of SciML's methods are not kept
write_steps(run::RiverRun, steps::Ptr{Cvoid}, stride) = bytes(run)
function write_steps(run::StationaryRun{T}, steps::Ptr{Cvoid}, stride) where {T}
    lengths = run.inputs.lengths
    foreach(
        c -> unsafe_copyto!(Ptr{T}(steps) + (c - 1) * stride * sizeof(T), pointer(lengths), min(stride, length(lengths))),
        1:run.inputs.columns
    )
    return bytes(run)
end
write_steps(run::SciMLRun, steps::Ptr{Cvoid}, stride) = sizeof(run.starts)
function write_steps(run::Run{T}, steps::Ptr{Cvoid}, stride) where {T}
    for (c, tape) in enumerate(run.tapes)
        unsafe_copyto!(Ptr{T}(steps) + (c - 1) * stride * sizeof(T), pointer(tape.steps), length(tape.steps))
    end
    return sum(bytes, run.tapes)
end

"""
Numbers of a backward call: addresses of the cotangents of states and storage (0 where there is none), of the gradient of the
initial state, of replayed steps (and their stride), question whether to stop; then, by address and strides as in the forward call,
the cotangent of each flux and where the gradients of parameters, forcing and weights are added (address 0 where it is not wanted).
"""
const BACK_HEAD = 6

c_backward(number::Int64, call::Ptr{Int64}, message::Ptr{UInt8}, size::Int64) =
    guarded(() -> dynamic(backward_call)(lock(() -> RUNS[number], ENTRY_LOCK), call), message, size)

function backward_call(run, call::Ptr{Int64})
    T = eltype(run)
    address(i) = Ptr{T}(unsafe_load(call, i) % UInt)
    s = spec(run.model)
    counts = (flux_count(run.model), length(s.parameters), length(s.forcings), length(networks(run.model)))
    fluxes, inputs... = map((count, before) -> fields(T, call, BACK_HEAD + 4before, count), counts, cumsum((0, counts[1:3]...)))
    seeds = Cotangents{T}(address(1), address(2), fluxes, address(3), inputs...)
    stop = Stop(Ptr{Cvoid}(address(6)))
    return Int64(backward(run, seeds; replay=replay_field(T, address(4), unsafe_load(call, 5)), stop) ? 0 : STOPPED)
end

"A call that does nothing with three arrays: what crossing the bridge costs."
c_nothing(a::Ptr{Float64}, b::Ptr{Float64}, c::Ptr{Float64}) = (unsafe_store!(c, unsafe_load(a) + unsafe_load(b)); Int64(0))
