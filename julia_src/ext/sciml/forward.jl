# The forward solve of every column, interval by interval.

const ALGORITHMS = Dict{String,Function}(
    "FBDF" => b -> FBDF(linsolve=b),
    "QNDF" => b -> QNDF(linsolve=b),
    "Rodas5P" => b -> Rodas5P(linsolve=b),
    "KenCarp3" => b -> KenCarp3(linsolve=b),
    "KenCarp4" => b -> KenCarp4(linsolve=b),
    "TRBDF2" => b -> TRBDF2(linsolve=b),
    "RadauIIA5" => b -> RadauIIA5(linsolve=b)
)
algorithm(o::SciMLOptions, m::Model; before=0, blocks=1) = ALGORITHMS[o.method](Bordered(statesize(m), before, blocks))

"What a column keeps for the gradient: its equations, and the solution of each interval unless they are solved again."
struct Kept
    equations::Equations
    solutions::Vector{Any}
end

"Absolute tolerances of the unknowns; RadauIIA5 has one for all."
tolerances(m::Model, o::SciMLOptions) =
    o.method == "RadauIIA5" ? o.storage_atol : [o.atol; fill(o.storage_atol, length(spec(m).fluxes))]

"Parameters of column c and forcing of interval k, one after another."
function parameter_vector!(p, m::Model, inputs::Inputs, c, k)
    next = 0
    for (width, field) in zip(widths(m), Iterators.flatten((inputs.parameters, inputs.forcing))), l in 1:width
        p[next+=1] = load(field, c, k, l)
    end
    return p
end

"Solve one interval of this length; `dense` keeps what interpolation needs."
function solve_interval(e::Equations, alg, o::SciMLOptions, start::Vector{T}, p, length, dense) where {T}
    problem = ODEProblem(problem_function(e, T), start, (0.0, length), p)
    return solve(
        problem,
        alg;
        reltol=o.rtol,
        abstol=tolerances(e.model, o),
        dense,
        save_everystep=dense,
        save_start=true,
        limits(o)...
    )
end

"How long steps may take, and that nothing is printed: how a solve ended is looked at here."
limits(o::SciMLOptions) =
    (; maxiters=o.max_steps, verbose=SciMLLogging.None(), (o.initial_step > 0 ? (; dt=o.initial_step) : (;))...)

function DiffGeo.sciml_forward(
    m::Model,
    inputs::Inputs{Float64},
    o::SciMLOptions,
    results,
    counts,
    failures;
    record=true,
    threads=0,
    stop=Stop()
)
    columns, T = inputs.columns, intervals(inputs)
    run = SciMLRun(m, inputs, o, zeros(statesize(m), T + 1, columns), zeros(Int, columns), Any[nothing for _ in 1:columns],
        worker_count(threads, columns))
    fill!(counts, 0)
    alg = algorithm(o, m)
    each_column(columns, run.threads, stop) do _, c, stopping
        interruptible(() -> forward_column!(run, alg, c, results, counts, failures, record, stopping))
    end
    return run
end

outcome(code) =
    code == ReturnCode.MaxIters ? DiffGeo.TOO_MANY :
    code == ReturnCode.DtLessThanMin ? DiffGeo.TOO_SHORT :
    code == ReturnCode.Unstable ? DiffGeo.UNSTABLE : DiffGeo.UNSOLVED

function forward_column!(run::SciMLRun, alg, c, results, counts, failures, record, stopping)
    m, inputs, o = run.model, run.inputs, run.options
    n, q, T = statesize(m), length(spec(m).fluxes), intervals(inputs)
    keep = Kept(Equations(m, stopping), Any[])
    run.columns[c] = keep
    p, y = zeros(sum(widths(m))), zeros(n + q)
    dense = record && !o.checkpoints && haskey(ADJOINTS, o.sensitivity)
    for i in 1:n
        y[i] = load(inputs.initial, c, 1, i)
    end
    run.starts[:, 1, c] .= view(y, 1:n)
    failures[1, c] = failures[2, c] = 0
    for k in 1:T
        y[(n+1):end] .= 0
        p = parameter_vector!(similar(p), m, inputs, c, k)
        k == 1 && write_storage!(results, keep.equations, y, p, c, T, 0)
        solution = solve_interval(keep.equations, alg, o, copy(y), p, inputs.lengths[k], dense)
        counts[1, c] += solution.stats.naccept
        counts[2, c] += solution.stats.nreject
        counts[3, c] += solution.stats.nnonliniter
        if !SciMLBase.successful_retcode(solution)
            failures[1, c], failures[2, c] = Int(outcome(solution.retcode)), k
            missing_from!(results, m, c, T, k)
            return
        end
        dense && push!(keep.solutions, solution)
        y = solution.u[end]
        run.starts[:, k+1, c] .= view(y, 1:n)
        run.done[c] = k
        unsafe_copyto!(results.states + ((c - 1) * T + k - 1) * n * sizeof(Float64), pointer(y), n)
        write_storage!(results, keep.equations, y, p, c, T, k)
        for j in 1:q
            unsafe_store!(results.fluxes, y[n+j] / inputs.lengths[k], ((c - 1) * T + k - 1) * q + j)
        end
    end
    return
end

function write_storage!(results, e::Equations, y, p, c, T, k)
    lin = evaluate!(kernel(e, Float64), y, p)
    unsafe_copyto!(
        results.storage + ((c - 1) * (T + 1) + k) * length(lin.storage) * sizeof(Float64),
        pointer(lin.storage),
        length(lin.storage)
    )
    return
end

"What was not reached, from interval `first` on, is NaN."
function missing_from!(results, m, c, T, first)
    n, q = statesize(m), length(spec(m).fluxes)
    for k in first:T
        foreach(i -> unsafe_store!(results.states, NaN, ((c - 1) * T + k - 1) * n + i), 1:n)
        foreach(i -> unsafe_store!(results.storage, NaN, ((c - 1) * (T + 1) + k) * n + i), 1:n)
        foreach(i -> unsafe_store!(results.fluxes, NaN, ((c - 1) * T + k - 1) * q + i), 1:q)
    end
end
