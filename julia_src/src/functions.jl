# Array functions of a user, differentiated by a backend of choice.

"""
    ArrayFunction(f, backend)

A function from a vector to a vector or a number, and the package that differentiates it: "ForwardDiff", or "ReverseDiff" or
"Zygote", which are loaded when asked for.
"""
struct ArrayFunction{F,B}
    f::F
    called::Set{Tuple{Function,DataType}}
    lock::ReentrantLock
end
ArrayFunction(f::F, backend::Symbol) where {F} = ArrayFunction{F,backend}(f, Set{Tuple{Function,DataType}}(), ReentrantLock())

const BACKENDS =
    Dict("ForwardDiff" => "f6369f11-7733-5829-9624-2563aa707210", "ReverseDiff" => "37e2e3b7-166d-5795-8a7a-e32c996b4267",
        "Zygote" => "e88e6eb3-aa80-5325-afca-941959d7151f")

"Gradient of the product of the weights w with f(x)."
pullback(g::ArrayFunction{F,:ForwardDiff}, x::AbstractVector, w::AbstractVector) where {F} =
    ForwardDiff.gradient(z -> product(w, g.f(z)), x)

product(w, y::Number) = w[1] * y
product(w, y) = sum(w .* y)

"The function that Julia code stands for, or that is given, with its backend loaded."
function open_function(f, backend::String)
    id = lookup(BACKENDS, backend, "backend of automatic differentiation")
    backend == "ForwardDiff" || Base.require(Base.PkgId(Base.UUID(id), backend))
    return ArrayFunction(f, Symbol(backend))
end
open_function(code::String, backend::String) = open_function(Core.eval(Module(), Meta.parseall(code)), backend)

"Number of values of f(x); 0 for a plain number."
function output_size(g::ArrayFunction, x)
    first_call(() -> g.f(x), g, (output_size, eltype(x)))
    y = g.f(x)
    return y isa Number ? 0 : length(y)
end

rows(pointer::Ptr{T}, n, count) where {T} = unsafe_wrap(Array, pointer, (n, count))

function apply!(y::Matrix{T}, g::ArrayFunction, x::Matrix{T}, stop) where {T}
    each_row(c -> (y[:, c] .= g.f(x[:, c])), g, (apply!, T), size(x, 2), stop)
end

function pullback!(gradient::Matrix{T}, g::ArrayFunction, x::Matrix{T}, w::Matrix{T}, stop) where {T}
    each_row(c -> (gradient[:, c] .= dynamic(pullback)(g, x[:, c], w[:, c])), g, (pullback!, T), size(x, 2), stop)
end

"""
Call f(c) for every row, on all threads. The first row of a first call is alone: it compiles what the others use, and fills what packages of
automatic differentiation keep for later.
"""
function each_row(f, g::ArrayFunction, call, count, stop)
    alone = count > 0 && first_call(() -> f(1), g, call)
    each_column((_, c, _) -> f(c + alone), count - alone, worker_count(0, count - alone), stop)
end

const FIRST_CALL = ReentrantLock()

"""
Call f() where no such call of the function has ended yet, and say so. No thread compiles while another does, be it for another function:
they share what packages of automatic differentiation keep.
"""
function first_call(f, g::ArrayFunction, call)
    lock(() -> call in g.called, g.lock) && return false
    lock(f, FIRST_CALL)
    lock(() -> push!(g.called, call), g.lock)
    return true
end

# ---- calls from other languages ------------------------------------------------------------------------------------------

const FUNCTIONS = Dict{Int,ArrayFunction}()

"Keep a function, for the calls below, under the number that is returned."
keep_function(f, backend) = keep!(FUNCTIONS, open_function(f, String(backend)))

c_function_open(code::Ptr{UInt8}, backend::Ptr{UInt8}, message::Ptr{UInt8}, size::Int64) =
    guarded(() -> keep_function(unsafe_string(code), unsafe_string(backend)), message, size)

c_function_close(number::Int64) = (lock(() -> delete!(FUNCTIONS, number), ENTRY_LOCK); Int64(0))

"Number of values that a function gives for x of length n."
c_function_size(number::Int64, bits::Int64, x::Ptr{Cvoid}, n::Int64, message::Ptr{UInt8}, size::Int64) =
    guarded(message, size) do
        g, T = lock(() -> FUNCTIONS[number], ENTRY_LOCK), bits == 32 ? Float32 : Float64
        return Int64(dynamic(output_size)(g, copy(unsafe_wrap(Array, Ptr{T}(x), n))))
    end

"""
Numbers of a call: rows, length of x, length of y, question whether to stop, and the addresses of x and y; for the gradient also those
of the weights of y (where y stood) and of the gradient.
"""
c_function_call(number::Int64, bits::Int64, call::Ptr{Int64}, message::Ptr{UInt8}, size::Int64) =
    guarded(
        () -> dynamic(function_call)(lock(() -> FUNCTIONS[number], ENTRY_LOCK), bits == 32 ? Float32 : Float64, call),
        message,
        size
    )

function function_call(g::ArrayFunction, ::Type{T}, call::Ptr{Int64}) where {T}
    count, n, m, ask, x, y, gradient = ntuple(i -> unsafe_load(call, i), 7)
    matrix(address, k) = rows(Ptr{T}(address % UInt), k, count)
    stop = Stop(Ptr{Cvoid}(ask % UInt))
    if gradient == 0
        dynamic(apply!)(matrix(y, m), g, matrix(x, n), stop)
    else
        dynamic(pullback!)(matrix(gradient, n), g, matrix(x, n), matrix(y, m), stop)
    end
    return Int64(stop.flag[] ? STOPPED : 0)
end
