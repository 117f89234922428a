# Gradients of SciML's methods and sensitivities against the discrete adjoint of kvaerno3 at rtol 1e-8.
#
#     julia --project=<a project with SciML> benchmarks/sensitivities.jl [--all] [cases, methods and sensitivities ...]
#
# with the folder julia_src of this repository on the load path. Prints a row of docs/sensitivities.md for each combination. With
# `--all` also those that are refused: the refusals of pydiffgeo/solvers/sciml.toml come from this. A solve of more than 20,000 steps counts as
# stalled.

using DiffGeo, Printf

const FACTORS = (theta_r=0.95, theta_s=1.02, alpha=1.05, n=0.97, K_s=1.15)  # parameters of the target, relative to those of the solve
const TIGHT = (; method="kvaerno3", rtol=1e-8)

struct Case
    name::String
    model::Richards
    forcing::NamedTuple
    parameters::NamedTuple
    initial::Float64
    times::Vector{Float64}
end

"Celia et al. (1990): a day of infiltration from a given head into a dry soil of 100 cells."
new_mexico() = Case("New Mexico", Richards(0.0:1.0:100.0; top="head", bottom="head"), (top_head=-75.0, bottom_head=-1000.0),
    (theta_r=0.102, theta_s=0.368, alpha=0.0335, n=2.0, K_s=0.00922 * 3600, specific_storage=1e-6), -1000.0, [0.0, 24.0])

"Twelve days of rain and evaporation on two soils with roots, 40 cells."
function forced()
    m = Richards(collect(0.0:2.5:100.0); layers=[0.0, 30.0], top="atmospheric", bottom="free_drainage", roots="exponential")
    forcing = (rain=[0, 0, 0.1, 0.2, 0, 0, 0, 0.02, 0.15, 0, 0, 0.0],
        potential_evaporation=[2, 2, 1, 0.5, 2, 2, 2, 1, 0.5, 2, 2, 2] ./ 240,
        potential_transpiration=[3, 3, 2, 1, 3, 3, 3, 2, 1, 3, 3, 3] ./ 240)
    parameters =
        (theta_r=[0.065; 0.095;;], theta_s=[0.41; 0.41;;], alpha=[0.075; 0.019;;], n=[1.89; 1.31;;], K_s=[4.42; 0.26;;],
            specific_storage=[1e-6; 1e-6;;], ponding_height=0.0, minimum_surface_head=-15000.0, root_depth=30.0, feddes_1=-10.0,
            feddes_2=-25.0, feddes_3=-500.0, feddes_4=-15000.0)
    return Case("forced", m, forcing, parameters, -150.0, collect(0.0:24.0:288.0))
end

run_case(c::Case; parameters=c.parameters, options...) = solve(c.model, c.forcing, parameters, c.initial, c.times; options...)

"Loss: mean square of the differences to a target, in heads of 100 cm and fluxes of 0.1 cm/h; with its cotangents."
function loss(s, target)
    flux(x) = permutedims(stack(collect(x.fluxes)), (3, 1, 2))
    heads, fluxes = (s.states .- target.states) ./ 100, (flux(s) .- flux(target)) ./ 0.1
    value = sum(abs2, heads) / length(heads) + sum(abs2, fluxes) / length(fluxes)
    return value, (; states=2 .* heads ./ (100 * length(heads)), fluxes=2 .* fluxes ./ (0.1 * length(fluxes)))
end

"Gradient in all numbers, each times its own size."
scaled(g, c::Case) = [vcat([vec(g.parameters[k] .* c.parameters[k]) for k in keys(c.parameters)]...);
    vcat([vec(g.forcing[k][1, :, 1] .* c.forcing[k]) for k in keys(c.forcing)]...)]
distance(a, b) = sqrt(sum(abs2, a .- b) / sum(abs2, b))

function measure(c::Case, target, reference, method, sensitivity, rtol)
    options = (; method, sensitivity, rtol, max_steps=20_000)
    once() = (s=run_case(c; options...); (s, loss(s, target)[2]))
    try
        s, w = once()
        isempty(s.failed) || return "solve failed: $(first(s.failed)[2])"
        g = pullback(s; w...)
        forward, total = minimum(@elapsed(once()) for _ in 1:2), minimum(@elapsed(pullback(once()[1]; w...)) for _ in 1:2)
        heads = maximum(abs.(s.states .- reference.states))
        return @sprintf("%.1e | %.1e | %.1e | %.3f | %.3f", distance(scaled(g, c), reference.gradient),
            distance(g.initial, reference.initial),
            heads, forward, total)
    catch error
        return first(split(sprint(showerror, error), '\n'))
    end
end

function main(arguments)
    everything = "--all" in arguments
    named = filter(!startswith("--"), arguments)
    sensitivities, methods, all_cases =
        filter(in(DiffGeo.SENSITIVITIES), named), filter(in(DiffGeo.method_names()), named), (new_mexico(), forced())
    cases = filter(c -> c.name in named, all_cases)
    everything && empty!(DiffGeo.REFUSED)
    println(
        "| case | method | sensitivity | rtol | gradient error | in the initial state | heads, cm | forward, s | with gradient, s |\n|",
        "---|"^9
    )
    for c in (isempty(cases) ? all_cases : cases)
        target = run_case(
            c;
            parameters=merge(c.parameters, NamedTuple(k => c.parameters[k] .* FACTORS[k] for k in keys(FACTORS))),
            TIGHT...
        )
        s = run_case(c; TIGHT...)
        g = pullback(s; loss(s, target)[2]...)
        reference = (; s.states, g.initial, gradient=scaled(g, c))
        for method in (isempty(methods) ? ("kvaerno3", DiffGeo.SCIML_METHODS...) : methods),
            sensitivity in (DiffGeo.is_sciml(method) ? DiffGeo.allowed(method) : ["discrete"]), rtol in (1e-4, 1e-5, 1e-6)

            isempty(sensitivities) || sensitivity in sensitivities || continue
            print(stderr, "\r$(c.name) $method $sensitivity $rtol  ")
            seconds = @elapsed row = measure(c, target, reference, method, sensitivity, rtol)
            println("| $(c.name) | $method | $sensitivity | $rtol | $row |", everything ? @sprintf(" %.1f", seconds) : "")
            flush(stdout)
        end
    end
end

main(ARGS)
