"""
    rehearse(m, T, values; method = "kvaerno3", sensitivity = "discrete")

Solve one column for two intervals and go backwards, through the functions that other languages call; `values` has a number for
each parameter and forcing. Returns the gradients, in the order of the specification.
"""
function rehearse(
    m::Model,
    ::Type{T},
    values;
    method="kvaerno3",
    sensitivity="discrete",
    initial=-100.0,
    lengths=[0.5, 0.5]
) where {T}
    s, n, count = spec(m), statesize(m), length(lengths)
    number = keep!(MODELS, m)
    p, f = T[values[k] for k in s.parameters], T[values[k] for k in s.forcings]
    steps, state = T.(lengths), fill(T(initial), n)
    states, storage, fluxes = ones(T, n, count), ones(T, n, count + 1), ones(T, length(s.fluxes), count)
    counts, failures, options = zeros(Int64, 3),
    zeros(Int64, 2),
    [is_sciml(method) ? SCIML_RTOL : 1e-3, 0.0, 0.0, 0.005, 8.0, 1e5, 0.0, map(_ -> NaN, s.states)...]
    grad_p, grad_f, grad_state, message = zero(p), zero(f), zero(state), zeros(UInt8, 1024)
    describe(x, time=0) =
        reduce(vcat, [[reinterpret(Int64, UInt(pointer(x, i))), 0, time, 0] for i in axes(x, 1)]; init=Int64[])
    address(x) = reinterpret(Int64, UInt(pointer(x)))
    call =
        [1, count, 1, 1, address(steps), address(states), address(storage), address(fluxes), address(counts), address(failures),
            0, 0, address(method), 0, address(sensitivity), 0, address(state), 0, 0, 1, describe(p)..., describe(f)...]
    back = [
        address(states),
        address(storage),
        address(grad_state),
        0,
        0,
        0,
        describe(fluxes, length(s.fluxes))...,
        describe(grad_p)...,
        describe(grad_f)...
    ]
    GC.@preserve p f steps state states storage fluxes counts failures method sensitivity options call message grad_p grad_f grad_state back begin
        run = c_forward(number, T === Float64 ? 64 : 32, pointer(call), pointer(options), pointer(message), 1024)
        run > 0 || error(unsafe_string(pointer(message)))
        table = zeros(T, counts[1])
        GC.@preserve table c_steps(run, Ptr{Cvoid}(pointer(table))::Ptr{Cvoid}, counts[1], pointer(message), 1024)
        c_backward(run, pointer(back), pointer(message), 1024) == 0 || error(unsafe_string(pointer(message)))
        c_release(run)
        c_close(number)
    end
    return grad_p, grad_f
end
