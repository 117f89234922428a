# Cotangents of an interval by derivatives forward in time: in the states of its start and in the wanted numbers of its parameter vector.
# Parameters change relative to their size, so that no derivative is out of proportion in the error control.

"Whether the gradient of each number of the parameter vector is wanted."
wanted_inputs(seeds::Cotangents, m::Model) =
    findall(
        reduce(vcat, [fill(wanted(x), w) for (w, x) in zip(widths(m), Iterators.flatten((seeds.parameters, seeds.forcing)))])
    )

relative(x) = x == 0 ? 1.0 : abs(x)

check(solution, how) = SciMLBase.successful_retcode(solution) || error("the solve with $how ended with $(solution.retcode)")

"By solving again with dual numbers, some derivatives at a time."
function by_duals(e::Equations, o, start, p, length_, on_end, states, inputs)
    alg, out, on_p = algorithm(o, e.model), zeros(length(start)), zeros(length(p))
    for chunk in Iterators.partition([states; length(start) .+ inputs], CHUNK)
        y, x = Duals.(start), Duals.(p)
        for (i, at) in enumerate(chunk)
            k = at - length(start)
            k > 0 ? (x[k] = Duals(p[k], unit(i) * relative(p[k]))) : (y[at] = Duals(start[at], unit(i)))
        end
        solution = solve_interval(e, alg, o, y, x, length_, false)
        check(solution, "dual numbers")
        total = sum(on_end .* solution.u[end])
        for (i, at) in enumerate(chunk)
            k = at - length(start)
            k > 0 ? (on_p[k] = partials(total, i) / relative(p[k])) : (out[at] = partials(total, i))
        end
    end
    return out, on_p
end

"""
By SciML's forward sensitivities, which start from zero and are those in a vector of parameters. That vector is here how much each
wanted number has changed, the states of the start included: these change nothing in the equations, and their sensitivities start from one.
"""
function by_sensitivities(e::Equations, o, start, p, length_, on_end, states, inputs)
    size_, blocks = length(start), 1 + length(states) + length(inputs)
    slopes!, parameter_slopes!, by_p = jac(e), paramjac(e), zeros(length(start), length(p))
    rates(du, u, changes, t) = e(du, u, p, t)
    slopes(J, u, changes, t) = slopes!(J, u, p, t)
    function by_changes(S, u, changes, t)
        parameter_slopes!(by_p, u, p, t)
        fill!(S, 0)
        for (column, k) in enumerate(inputs), row in 1:size_
            S[row, length(states)+column] = by_p[row, k] * relative(p[k])
        end
    end
    sensitivity = ForwardSensitivity(autodiff=false, autojacvec=false)
    problem = ODEForwardSensitivityProblem(ODEFunction{true,FullSpecialize}(rates; jac=slopes, paramjac=by_changes), start,
        (0.0, length_),
        zeros(blocks - 1); sensealg=sensitivity)
    foreach(i -> problem.u0[i*size_+i] = 1, states)
    # each sensitivity has the Jacobian of the states; how they depend on the states is left out, which Newton's iteration makes up for
    block = pattern(e.model, Float64)
    function block_jacobian(J, u, changes, t)
        slopes!(block, view(u, 1:size_), p, t)
        foreach(k -> copyto!(nonzeros(J), (k - 1) * length(nonzeros(block)) + 1, nonzeros(block)), 1:blocks)
    end
    f = ODEFunction{true,FullSpecialize}((du, u, changes, t) -> problem.f(du, u, changes, t); jac=block_jacobian, tgrad=no_time,
        jac_prototype=kron(sparse(1.0I, blocks, blocks), block))
    solution = solve(ODEProblem(f, problem.u0, problem.tspan, problem.p), algorithm(o, e.model; blocks); reltol=o.rtol,
        abstol=repeated(tolerances(e.model, o), blocks), save_everystep=false, limits(o)...)
    check(solution, "forward sensitivities")
    found = reshape(solution.u[end], size_, blocks)' * on_end
    out, on_p = zeros(size_), zeros(length(p))
    out[states] .= found[1 .+ states]
    on_p[inputs] .= found[(1+length(states)+1):end] ./ relative.(p[inputs])
    return out, on_p
end

repeated(x::Vector, count) = repeat(x, count)
repeated(x::Number, count) = x

const TANGENTS = Dict{String,Function}("ForwardDiff" => by_duals, "ForwardSensitivity" => by_sensitivities)
