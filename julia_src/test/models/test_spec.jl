# Each state has its own tolerance, scale and lower bound; functions of a model return as many values as it declares.

using DiffGeo: ModelSpec, Options, Refused, SMatrix, SVector, SmallModel, StateSpec

const TRACER_STATES = (
    water=StateSpec(:water, 100.0, 100.0, 0.0),
    solute=StateSpec(:solute, 1e-3, 1e-3, 0.0),
    warmth=StateSpec(:warmth, 1.0, 1.0, -Inf)
)

"A linear reservoir, a solute that decays with the water, and a temperature that follows the rain, in this order of states."
function tracer(order)
    spec = ModelSpec("tracer", [TRACER_STATES[k] for k in order], [:k], [:rain], [:runoff], "")
    at = NamedTuple(k => i for (i, k) in enumerate(order))
    return SmallModel{3}(
        spec,
        function (u, f, p)
            water, solute, warmth = u[at.water], u[at.solute], u[at.warmth]
            rates = (water=(f.rain - p.k * water), solute=-(0.4 + 0.02 * water) * solute, warmth=(f.rain - warmth))
            return SVector(map(k -> rates[k], order)), SVector(p.k * water)
        end
    )
end

const TRACER_ORDERS = [(:water, :solute, :warmth), (:warmth, :solute, :water)]
tracer_start(order) = [(water=100.0, solute=1e-3, warmth=-2.0)[k] for k in order]
tracer_run(order; options...) =
    solve(tracer(order), (; rain=[[0.0, 20.0] [30.0, 0.0]]), (; k=[0.7, 0.7]), tracer_start(order), [0.0, 1.0, 2.5]; options...)

@testset "order of states" begin
    for options in
        ((method="kvaerno3",), (method="sdirk2", rtol=1e-4), (method="implicit_euler", step=0.25), (method="sdirk2", step=0.25),
        (method="implicit_euler", step=0.25, checkpoints=true), (method="trbdf2", atol=1e-4))
        first_, other = tracer_run(TRACER_ORDERS[1]; options...), tracer_run(TRACER_ORDERS[2]; options...)
        moved = other.states[[3, 2, 1], :, :]
        @test moved ≈ first_.states rtol = 1e-10
        @test moved[2, :, :] ≈ first_.states[2, :, :] rtol = 1e-10
        @test other.counts == first_.counts
        @test all(>=(0), first_.states[1:2, :, :])
    end
end

@testset "tolerances by state" begin
    m = tracer(TRACER_ORDERS[1])
    o = Options{Float64}(m, "kvaerno3"; rtol=1e-2, atol=[NaN, 1e-9, NaN])
    @test o.atol == [1.0, 1e-9, 1e-2] && o.typical == [100.0, 1e-3, 1.0] && o.lower == [0.0, 0.0, -Inf] &&
          o.bounded == (true, false)
    @test Options{Float64}(m, "kvaerno3"; atol=0.5).atol == fill(0.5, 3)
    @test_throws Refused Options{Float64}(m, "kvaerno3"; atol=[1.0])
    loose, tight =
        tracer_run(TRACER_ORDERS[1]; method="sdirk2"), tracer_run(TRACER_ORDERS[1]; method="sdirk2", atol=[NaN, 1e-9, NaN])
    @test minimum(tight.counts[1, :]) > maximum(loose.counts[1, :])
end

@testset "shapes" begin
    spec = ModelSpec("two", [StateSpec(:a, 1.0, 1.0, -Inf), StateSpec(:b, 1.0, 1.0, -Inf)], [:k], Symbol[], [:out, :into], "")
    rates(u, f, p) = -p.k * u
    both(u, f, p) = SVector(u[1], u[2])
    run(m) = solve(m, (;), (; k=1.0), [1.0, 2.0], [0.0, 1.0]; method="implicit_euler", step=0.5)
    @test run(SmallModel{2}(spec, rates; fluxes=both)).fluxes.out[1] > 0
    for (m, message) in (
        SmallModel{2}(
            spec,
            rates;
            fluxes=(u, f, p) -> SVector(u[1])
        ) => "fluxes returns 1 values; it must return 2, one for each of the fluxes out, into",
        SmallModel{2}(spec, (u, f, p) -> SVector(u[1], u[2], u[1]); fluxes=both) => "rates returns 3 values",
        SmallModel{2}(spec, (u, f, p) -> u[1]; fluxes=both) => "rates returns Float64; it must return an SVector of 2 values",
        SmallModel{2}(spec, rates; fluxes=both, storage=(u, p) -> SVector(u[1])) => "storage returns 1 values",
        SmallModel{2}(spec, rates; fluxes=both, jacobian=(u, f, p) -> SMatrix{1,1}(-p.k)) => "jacobian returns")
        @test_throws message run(m)
    end
    whole = ModelSpec("rod", [StateSpec(:a, 1.0, 1.0, -Inf)], [:k], Symbol[], [:out], "")
    partly(out, u, f, p) = (out[1:(end-1)] .= -p.k .* u[1:(end-1)])
    column = DiffGeo.CellModel(whole, 4, partly; (fluxes!)=(out, u, f, p) -> (out[1] = u[1]))
    @test_throws "rates! leaves cell 4 of 4 unset" solve(column, (;), (; k=1.0), 1.0, [0.0, 1.0])
end
