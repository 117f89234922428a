# Cotangents of a column, from its last interval to its first. Each interval turns those of its end into those of its start, of the
# parameters and of its forcing: by an adjoint equation of SciML, or by solving again with derivatives (tangents.jl).

# The Jacobians and products of the equations are used, whatever kind is named here: those without automatic differentiation
const ADJOINTS = Dict{String,Function}(
    "GaussAdjoint" => _ -> GaussAdjoint(autodiff=false, autojacvec=false),
    "QuadratureAdjoint" => o -> QuadratureAdjoint(autodiff=false, autojacvec=false, abstol=(o.rtol / 10), reltol=o.rtol),
    "InterpolatingAdjoint" => _ -> InterpolatingAdjoint(autodiff=false, autojacvec=false, checkpointing=false)
)

function DiffGeo.sciml_backward(run::SciMLRun, seeds::Cotangents{Float64}, stop::Stop)
    alg = algorithm(run.options, run.model)
    each_column(run.inputs.columns, run.threads, stop) do _, c, stopping
        interruptible(() -> backward_column!(run, alg, c, seeds, stopping))
    end
    return
end

function backward_column!(run::SciMLRun, alg, c, seeds, stopping)
    m, inputs = run.model, run.inputs
    n, q, T = statesize(m), length(spec(m).fluxes), intervals(inputs)
    keep = run.columns[c]::Kept
    keep.equations.stopping = stopping
    done, p = run.done[c], zeros(sum(widths(m)))
    on_end = zeros(n + q)
    for k in done:-1:1
        parameter_vector!(p, m, inputs, c, k)
        row = (c - 1) * T + k - 1
        if seeds.states != C_NULL
            foreach(i -> on_end[i] += unsafe_load(seeds.states, row * n + i), 1:n)
        end
        storage_seed!(on_end, run, keep, c, k, p, seeds)
        for j in 1:q
            on_end[n+j] = given(seeds.fluxes[j], c, k) / inputs.lengths[k]
        end
        on_start, on_p = interval_cotangents(run, alg, keep, c, k, p, on_end, seeds)
        scatter!(seeds, m, on_p, c, k)
        on_end[1:n] .= view(on_start, 1:n)
    end
    done > 0 || return
    parameter_vector!(p, m, inputs, c, 1)
    storage_seed!(on_end, run, keep, c, 0, p, seeds)
    seeds.initial == C_NULL || unsafe_copyto!(seeds.initial + (c - 1) * n * sizeof(Float64), pointer(on_end), n)
    return
end

"Storage at the end of interval k, or at the start for k = 0, depends on the state there and on the parameters."
function storage_seed!(on_state, run::SciMLRun, keep::Kept, c, k, p, seeds)
    seeds.storage == C_NULL && return
    n = size(run.starts, 1)
    weights = unsafe_wrap(Array, seeds.storage + ((c - 1) * (intervals(run.inputs) + 1) + k) * n * sizeof(Float64), n)
    pull_storage!(on_state, kernel(keep.equations, Float64), view(run.starts, :, k + 1, c), p, weights)
    scatter!(seeds, run.model, kernel(keep.equations, Float64).grad, c, max(k, 1))
    return
end

function pull_storage!(on_state, k::Kernel, u, p, weights)
    lin = evaluate!(k, u, p, true)
    copyto!(k.on_storage, weights)
    foreach(x -> fill!(x, 0), (k.on_rates, k.on_fluxes, k.grad))
    pull!(k.column, k.model, k.state, k.on_storage, k.on_rates, k.on_fluxes)
    flush!(k.grads..., k.column, k.model, 1, 1)
    for i in eachindex(weights)
        on_state[i] += lin.capacity[i] * weights[i]
    end
    return
end

"Add the cotangents of a parameter vector to those of the inputs."
function scatter!(seeds::Cotangents, m::Model, on_p, c, k)
    next = 0
    for (width, field) in zip(widths(m), Iterators.flatten((seeds.parameters, seeds.forcing))), l in 1:width
        add!(field, on_p[next+=1], c, k, l)
    end
    return
end

"Cotangents of the start (states and integrals) and of the parameter vector of interval k, from those of its end."
function interval_cotangents(run::SciMLRun, alg, keep::Kept, c, k, p, on_end, seeds)
    o, m = run.options, run.model
    size_ = maximum(abs, on_end)
    size_ == 0 && return zero(on_end), zero(p)
    start = [run.starts[:, k, c]; zeros(length(on_end) - size(run.starts, 1))]
    if haskey(TANGENTS, o.sensitivity)
        # the start of the first interval depends on nothing but the initial state
        states = k > 1 || seeds.initial != C_NULL ? (1:statesize(m)) : (1:0)
        return TANGENTS[o.sensitivity](
            keep.equations,
            o,
            start,
            p,
            run.inputs.lengths[k],
            on_end,
            states,
            wanted_inputs(seeds, m)
        )
    end
    solution = if isempty(keep.solutions)
        solve_interval(keep.equations, alg, o, start, copy(p), run.inputs.lengths[k], true)
    else
        keep.solutions[k]
    end
    # The adjoint equations are linear: scaled, their tolerances mean the same whatever the size of the loss
    scaled = on_end ./ size_
    seed(out, u, p, t, i) = (out.=scaled; nothing)
    sensitivity, ends = ADJOINTS[o.sensitivity](o), [solution.t[end]]
    method = sensitivity isa InterpolatingAdjoint ? get(BACKWARD, o.method, o.method) : o.method
    back = ALGORITHMS[method](Bordered(statesize(m), length(on_end) - size(run.starts, 1), 1))
    options = (; reltol=o.rtol, abstol=ADJOINT_ATOL * o.rtol, maxiters=o.max_steps, verbose=STRICT)
    on_start, on_p = try
        if sensitivity isa InterpolatingAdjoint
            interpolating(solution, back, keep.equations, ends, seed, sensitivity, options)
        else
            adjoint_sensitivities(solution, back; t=ends, dgdu_discrete=seed, sensealg=sensitivity, options...)
        end
    catch error
        error isa ErrorException || rethrow()
        why = first(split(error.msg, '\n'))
        throw(
            Refused(
                "the adjoint equation of column $(c - 1), interval $(k - 1), was not solved by $(o.method) with " *
                "$(o.sensitivity) at rtol=$(o.rtol) ($why). Take the sensitivity GaussAdjoint, or another rtol."
            )
        )
    end
    return size_ .* vec(on_start), size_ .* vec(on_p)
end

"""
The adjoint that carries the gradient of the parameters as further unknowns. The pattern that SciML gives its Jacobian lacks the
coupling of these to the rest, and its values would come from automatic differentiation of the kernels: here it has the whole Jacobian.
"""
function interpolating(solution, alg, e::Equations, ends, seed, sensitivity, options)
    problem = ODEAdjointProblem(solution, sensitivity, alg, ends, seed; options.reltol, options.abstol)
    p, forward = solution.prob.p, pattern(e.model, Float64)
    size_, slopes! = size(forward, 1), jac(e)
    by_p, parameter_slopes! = zeros(size_, length(p)), paramjac(e)
    prototype = [sparse(forward') spzeros(size_, length(p)); sparse(ones(length(p), size_)) sparse(1.0I, length(p), length(p))]
    function adjoint_jacobian(J, u, p, t)
        y = solution(t; continuity=:right)
        slopes!(forward, y, p, t)
        parameter_slopes!(by_p, y, p, t)
        fill!(nonzeros(J), 0)
        fill_adjoint!(J, forward, by_p)
        return nothing
    end
    f = ODEFunction{true,FullSpecialize}(problem.f.f; jac=adjoint_jacobian, jac_prototype=prototype)
    found = solve(remake(problem; f), alg; save_everystep=false, save_start=false, options...).u[end]
    return found[1:size_], found[(size_+1):end]
end

"J = -[A' 0; G' 0], column by column."
function fill_adjoint!(J::SparseMatrixCSC, A::SparseMatrixCSC, G)
    rows, values, size_ = rowvals(J), nonzeros(J), Base.size(A, 1)
    for j in 1:size_, k in nzrange(J, j)
        i = rows[k]
        values[k] = i > size_ ? -G[j, i-size_] : -A[j, i]
    end
    return
end

const ADJOINT_ATOL = 1e-2

# With the gradient of the parameters among the unknowns, multistep methods ended in "max iters" on intervals of weather; KenCarp4 does not
const BACKWARD = Dict("FBDF" => "KenCarp4", "QNDF" => "KenCarp4")

# SciML does not look at how the solve of an adjoint equation ended, so that one that gave up would go unnoticed: it throws instead
const STRICT = DEVerbosity(dt_NaN=ErrorLevel(), max_iters=ErrorLevel(), dt_min_unstable=ErrorLevel(), dt_epsilon=ErrorLevel(),
    instability=ErrorLevel())
